//! Receiving a body: bytes are counted while they arrive, never announced lengths trusted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Error, Options};

/// A received body, with its share of the memory all bodies may take.
pub(super) struct Received {
    pub(super) bytes: Vec<u8>,
    pub(super) share: Option<OwnedSemaphorePermit>,
}

/// Refuses a body whose announced length is over the limit, before a byte of it is read.
pub(super) fn check_length(headers: &HeaderMap, options: &Options) -> Result<(), Error> {
    let length =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match length {
        Some(length) if length > options.max_body_bytes as u64 => {
            Err(Error::TooLarge { limit: options.max_body_bytes })
        }
        _ => Ok(()),
    }
}

/// Reads a body up to the limits: bytes of this one, bytes of all together, pauses.
pub(super) async fn receive(
    body: &mut Body,
    memory: &Arc<Semaphore>,
    options: &Options,
) -> Result<Received, Error> {
    let mut received = Received { bytes: Vec::new(), share: None };
    loop {
        let frame = match timeout(options.body_pause, body.frame()).await {
            Err(_) => return Err(Error::BodyTimeout),
            Ok(None) => return Ok(received),
            Ok(Some(Err(_))) => return Err(Error::Malformed("the request body broke off".to_owned())),
            Ok(Some(Ok(frame))) => frame,
        };
        let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) else { continue };
        if received.bytes.len() + data.len() > options.max_body_bytes {
            return Err(Error::TooLarge { limit: options.max_body_bytes });
        }
        let bytes = u32::try_from(data.len()).map_err(|_| Error::Internal)?;
        let share = Arc::clone(memory).try_acquire_many_owned(bytes).map_err(|_| Error::QueueFull)?;
        match &mut received.share {
            Some(held) => held.merge(share),
            held => *held = Some(share),
        }
        received.bytes.extend_from_slice(data);
    }
}

/// Reads on, into nothing, for a client that sends its whole body before it listens: closing while bytes arrive
/// would reset the connection and take the answer with it. Bounded in bytes and time, and over as soon as the
/// client pauses.
pub(super) async fn discard(body: &mut Body, headers: &HeaderMap, options: &Options) {
    // Such a client waits for permission to send; reading would give it.
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let end = Instant::now() + Duration::from_secs(2);
    let mut left = 2 * options.max_body_bytes;
    while let Ok(Some(Ok(frame))) = timeout(Duration::from_millis(20), body.frame()).await {
        let n = frame.data_ref().map_or(0, |data| data.len());
        match left.checked_sub(n) {
            Some(rest) if Instant::now() < end => left = rest,
            _ => return,
        }
    }
}

//! The accept loop. `axum::serve` has no header timeout, no connection limit and no bounded drain; this has.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::Options;

/// Open connections of one server.
pub(super) struct Connections {
    listener: TcpListener,
    http: http1::Builder,
    router: Router,
    open: Arc<Semaphore>,
    watched: GracefulShutdown,
}

impl Connections {
    pub(super) fn new(listener: TcpListener, router: Router, options: &Options) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(options.header_timeout)
            .max_headers(100)
            .max_header_size(64 * 1024)
            .max_buf_size(64 * 1024);
        let open = Arc::new(Semaphore::new(options.max_connections.clamp(1, Semaphore::MAX_PERMITS)));
        Self { listener, http, router, open, watched: GracefulShutdown::new() }
    }

    /// Accepts connections for ever; dropping the future stops.
    pub(super) async fn accept(&self) -> Infallible {
        loop {
            let Ok(permit) = Arc::clone(&self.open).acquire_owned().await else {
                std::future::pending::<()>().await;
                continue;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => self.serve(stream, permit),
                // Out of file descriptors, or a client that was gone before it was accepted.
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn serve(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.watched.watch(self.http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
            drop(permit);
        });
    }

    /// Stops accepting and waits for requests in flight; whether all were answered within `limit`.
    pub(super) async fn close(self, limit: Duration) -> bool {
        drop(self.listener);
        timeout(limit, self.watched.shutdown()).await.is_ok()
    }
}

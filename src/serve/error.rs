use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a request is not answered with a prediction. The text is for the client: it says what to change and
/// holds no path, no type name and no state of the machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 400: the request is not what the endpoint expects.
    #[error("{0}")]
    Malformed(String),
    /// 404.
    #[error("no such endpoint; POST a recording to `invocations`")]
    NotFound,
    /// 405.
    #[error("this endpoint does not take this method")]
    MethodNotAllowed,
    /// 408: the body stopped arriving.
    #[error("the request body stopped arriving")]
    BodyTimeout,
    /// 413.
    #[error("the request body is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Largest accepted body in bytes.
        limit: usize,
    },
    /// 415.
    #[error("the content type is not supported; send audio as application/octet-stream, or application/json")]
    MediaType,
    /// 422: the audio cannot be decoded.
    #[error("{0}")]
    Undecodable(String),
    /// 429: every place in the queue is taken.
    #[error("the server is busy; try again in a second")]
    QueueFull,
    /// 500.
    #[error("the server failed on this request; the request id helps to find out why")]
    Internal,
    /// 503: the model is not there yet.
    #[error("the model is still loading")]
    Loading,
    /// 503: the request waited too long.
    #[error("the request was not answered in time")]
    Deadline,
}

/// What a client reads.
#[derive(Debug, Serialize)]
struct Body {
    error: String,
    code: &'static str,
}

impl Error {
    /// Status, and a stable word for programs.
    pub fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Malformed(_) => (StatusCode::BAD_REQUEST, "malformed"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::Undecodable(_) => (StatusCode::UNPROCESSABLE_ENTITY, "undecodable"),
            Self::QueueFull => (StatusCode::TOO_MANY_REQUESTS, "queue_full"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
            Self::Loading => (StatusCode::SERVICE_UNAVAILABLE, "loading"),
            Self::Deadline => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
        }
    }

    /// The `reason` of `audio_rejected_total`, for requests refused before or instead of an inference.
    pub(super) fn rejection(&self) -> Option<&'static str> {
        match self {
            Self::QueueFull | Self::TooLarge { .. } | Self::Undecodable(_) | Self::Deadline => {
                Some(self.status().1)
            }
            _ => None,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, code) = self.status();
        let mut response = (status, Json(Body { error: self.to_string(), code })).into_response();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

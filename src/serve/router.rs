use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{self, Request};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::{get, post};

use super::endpoints::{health, invocations};
use super::{Error, State};

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The endpoints of a server; usable without a socket.
pub fn router(state: Arc<State>) -> Router {
    Router::new()
        .route("/ping", get(health::ping))
        .route("/invocations", post(invocations::invocations))
        .route("/v2/health/live", get(health::live))
        .route("/v2/health/ready", get(health::ready))
        .route("/metrics", get(health::metrics))
        .fallback(async || Error::NotFound)
        .method_not_allowed_fallback(async || Error::MethodNotAllowed)
        .layer(from_fn_with_state(Arc::clone(&state), observe))
        .with_state(state)
}

/// Gives every request an id, a log line and a count; asks clients to close while draining.
async fn observe(
    extract::State(state): extract::State<Arc<State>>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    let route = route(request.uri().path());
    let method = method(request.method());
    let mut response = next.run(request).await;
    let took = started.elapsed();
    let status = response.status().as_u16();
    tracing::info!(
        request_id = id.to_str().unwrap_or_default(),
        method,
        route,
        status,
        milliseconds = took.as_secs_f64() * 1e3,
        "request"
    );
    state.metrics.request(route, method, status, took);
    response.headers_mut().insert(REQUEST_ID.clone(), id);
    if state.draining() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// The endpoint as metrics call it: a closed set, because a client chooses the path.
fn route(path: &str) -> &'static str {
    const ROUTES: [&str; 5] = ["/ping", "/invocations", "/v2/health/live", "/v2/health/ready", "/metrics"];
    ROUTES.into_iter().find(|route| *route == path).unwrap_or("other")
}

/// A closed set, because a client chooses the method and every value is a time series.
fn method(method: &axum::http::Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// The client's id when it is harmless, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let harmless = |value: &&HeaderValue| {
        let bytes = value.as_bytes();
        (1..=64).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
    };
    request.headers().get(&REQUEST_ID).filter(harmless).cloned().unwrap_or_else(|| {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
        let id = format!("{nanos:016x}-{:x}", COUNT.fetch_add(1, Ordering::Relaxed));
        HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("unknown"))
    })
}

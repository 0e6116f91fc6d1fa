//! Probes and metrics: never behind the queue, never behind the model.

use std::sync::Arc;

use axum::Json;
use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::json;

use crate::serve::State;

fn status(state: &State) -> StatusCode {
    if state.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// `GET /ping` (SageMaker): 200 with an empty body once the model is there.
pub(crate) async fn ping(extract::State(state): extract::State<Arc<State>>) -> StatusCode {
    status(&state)
}

/// `GET /v2/health/live` (Open Inference Protocol): 200 as long as the process answers.
pub(crate) async fn live() -> impl IntoResponse {
    Json(json!({ "live": true }))
}

/// `GET /v2/health/ready`: 503 while loading, while draining, and after repeated panics.
pub(crate) async fn ready(extract::State(state): extract::State<Arc<State>>) -> impl IntoResponse {
    (status(&state), Json(json!({ "live": true, "ready": state.ready() })))
}

/// `GET /metrics` (Prometheus).
pub(crate) async fn metrics(extract::State(state): extract::State<Arc<State>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.metrics.render())
}

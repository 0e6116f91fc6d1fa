use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract;
use axum::http::{HeaderMap, header};
use tokio::time::{Instant as TokioInstant, timeout_at};

use crate::serve::types::{Answer, Dialect};
use crate::serve::{Error, State, body};

/// `POST /invocations` (SageMaker): a recording by content type, or JSON, to a prediction.
pub(crate) async fn invocations(
    extract::State(state): extract::State<Arc<State>>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Json<Answer>, Error> {
    let deadline = Instant::now() + state.options.deadline;
    let result = timeout_at(TokioInstant::from_std(deadline), invoke(&state, &headers, &mut body, deadline))
        .await
        .unwrap_or(Err(Error::Deadline));
    if let Err(error) = &result {
        if let Some(reason) = error.rejection() {
            state.metrics.rejected(reason);
        }
        body::discard(&mut body, &headers, &state.options).await;
    }
    result.map(Json)
}

async fn invoke(
    state: &Arc<State>,
    headers: &HeaderMap,
    body: &mut Body,
    deadline: Instant,
) -> Result<Answer, Error> {
    let content_type = headers.get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
    let dialect = Dialect::of(content_type)?;
    body::check_length(headers, &state.options)?;
    state.check_room()?;
    let received = body::receive(body, &state.memory, &state.options).await?;
    let place = state.admit()?;
    let request = dialect.request(received.bytes, &state.options)?;
    let answer = state.answer(request, place, deadline).await;
    drop(received.share);
    answer
}

//! The HTTP side: one route, the operation in a header, JSON both ways.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Code;
use super::{Error, Queues, messages, new_id, operations};

/// Room for a batch of 1 MiB in its worst JSON spelling: 16 MiB.
const LARGEST_REQUEST_BYTES: usize = 16 << 20;

pub(super) fn router(queues: Queues) -> Router {
    Router::new()
        .route("/", post(dispatch))
        .layer(DefaultBodyLimit::max(LARGEST_REQUEST_BYTES))
        .with_state(queues)
}

async fn dispatch(State(queues): State<Queues>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix("AmazonSQS."));
    match perform(&queues, operation.unwrap_or_default(), &body).await {
        Ok(body) => answer(StatusCode::OK, body),
        Err(error) => refusal(&error),
    }
}

async fn perform(queues: &Queues, operation: &str, body: &[u8]) -> Result<Vec<u8>, Error> {
    match operation {
        "ChangeMessageVisibility" => write(&messages::change_visibility(queues, &read(body)?)?),
        "ChangeMessageVisibilityBatch" => {
            write(&messages::change_visibility_batch(queues, read(body)?)?)
        }
        "CreateQueue" => write(&operations::create(queues, read(body)?)?),
        "DeleteMessage" => write(&messages::delete(queues, &read(body)?)?),
        "DeleteMessageBatch" => write(&messages::delete_batch(queues, read(body)?)?),
        "DeleteQueue" => write(&operations::delete(queues, &read(body)?)?),
        "GetQueueAttributes" => write(&operations::attributes(queues, &read(body)?)?),
        "GetQueueUrl" => write(&operations::queue_url(queues, &read(body)?)?),
        "ListDeadLetterSourceQueues" => {
            write(&operations::dead_letter_sources(queues, &read(body)?)?)
        }
        "ListQueues" => write(&operations::list(queues, &read(body)?)?),
        "ListQueueTags" => write(&operations::tags(queues, &read(body)?)?),
        "PurgeQueue" => write(&operations::purge(queues, &read(body)?)?),
        "ReceiveMessage" => write(&messages::receive(queues, read(body)?).await?),
        "SendMessage" => write(&messages::send(queues, read(body)?)?),
        "SendMessageBatch" => write(&messages::send_batch(queues, read(body)?)?),
        "SetQueueAttributes" => write(&operations::set_attributes(queues, &read(body)?)?),
        "TagQueue" => write(&operations::tag(queues, read(body)?)?),
        "UntagQueue" => write(&operations::untag(queues, &read(body)?)?),
        _ => Err(Code::UnsupportedOperation.with(format!(
            "The local cloud has no SQS operation {operation:?}."
        ))),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body)
        .map_err(|error| Code::InvalidRequest.with(format!("The request cannot be read: {error}")))
}

fn write<T: Serialize>(answer: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(answer).map_err(|error| Code::InternalFailure.with(error.to_string()))
}

fn refusal(error: &Error) -> Response {
    let code = error.code();
    let (status, whose) = if code.is_senders() {
        (StatusCode::BAD_REQUEST, "Sender")
    } else {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "a queue operation failed"
        );
        (StatusCode::INTERNAL_SERVER_ERROR, "Receiver")
    };
    let body = serde_json::json!({
        "__type": format!("com.amazonaws.sqs#{}", code.name()),
        "message": error.message(),
    });
    let mut response = answer(status, body.to_string().into_bytes());
    if let Ok(value) = HeaderValue::from_str(&format!("{};{whose}", code.query_name())) {
        response.headers_mut().insert("x-amzn-query-error", value);
    }
    response
}

fn answer(status: StatusCode, body: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/x-amz-json-1.0"),
        ("x-amzn-requestid", &new_id()),
    ];
    (status, headers, body).into_response()
}

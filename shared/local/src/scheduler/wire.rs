//! EventBridge Scheduler's REST-JSON protocol, as far as it goes here.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Error, Schedules, arn, key, moment};
use crate::sqs;

/// What a client sets on a schedule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Definition {
    #[serde(default = "default_action")]
    pub(super) action_after_completion: String,
    pub(super) client_token: Option<String>,
    description: Option<String>,
    flexible_time_window: Value,
    #[serde(default = "default_group")]
    pub(super) group_name: String,
    schedule_expression: String,
    #[serde(default = "default_timezone")]
    schedule_expression_timezone: String,
    #[serde(default = "default_state")]
    pub(super) state: String,
    pub(super) target: Target,
}

/// Where a schedule's message goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Target {
    pub(super) arn: String,
    role_arn: String,
    #[serde(default = "default_input")]
    pub(super) input: String,
    #[serde(flatten)]
    others: serde_json::Map<String, Value>,
}

fn default_action() -> String {
    "NONE".to_owned()
}

fn default_group() -> String {
    "default".to_owned()
}

fn default_timezone() -> String {
    "UTC".to_owned()
}

fn default_state() -> String {
    "ENABLED".to_owned()
}

fn default_input() -> String {
    "{}".to_owned()
}

impl Definition {
    /// Whether it can be kept, and when it is due, in milliseconds since the Unix epoch.
    pub(super) fn check(&self, name: &str) -> Result<u64, Error> {
        let is_name = |text: &str| {
            (1..=64).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        if !is_name(name) || !is_name(&self.group_name) {
            return Err(invalid(
                "Names are 1 to 64 letters, digits, hyphens, underscores and dots.",
            ));
        }
        if self.message().is_none() {
            return Err(invalid("The local cloud's schedules only send to queues."));
        }
        if self.schedule_expression_timezone != "UTC" {
            return Err(invalid("The local cloud's schedules are in UTC."));
        }
        if !["NONE", "DELETE"].contains(&self.action_after_completion.as_str()) {
            return Err(invalid("ActionAfterCompletion is NONE or DELETE."));
        }
        moment(&self.schedule_expression).ok_or_else(|| {
            invalid("Invalid Schedule Expression: the local cloud takes at(yyyy-mm-ddThh:mm:ss).")
        })
    }

    /// What is sent when it fires: a queue as target takes the input as body, the universal target takes the parameters
    /// of `SendMessage` as input. None for any other target.
    pub(super) fn message(&self) -> Option<Message> {
        let Target {
            arn, input, others, ..
        } = &self.target;
        if arn == SEND_MESSAGE {
            let parameters: SendMessage = serde_json::from_str(input).ok()?;
            return Some(Message {
                queue: sqs::name_in(&parameters.queue_url).to_owned(),
                body: parameters.message_body,
                group_id: parameters.message_group_id,
            });
        }
        let group = || others.get("SqsParameters")?.get("MessageGroupId")?.as_str();
        arn.starts_with("arn:aws:sqs:").then(|| Message {
            queue: sqs::name_in(arn).to_owned(),
            body: input.clone(),
            group_id: group().map(str::to_owned),
        })
    }
}

/// The universal target that calls `SendMessage`.
const SEND_MESSAGE: &str = "arn:aws:scheduler:::aws-sdk:sqs:sendMessage";

/// The input of the universal target.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SendMessage {
    queue_url: String,
    message_body: String,
    message_group_id: Option<String>,
}

/// What a schedule sends.
pub(super) struct Message {
    pub(super) queue: String,
    pub(super) body: String,
    pub(super) group_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    #[serde(default = "default_group")]
    group_name: String,
}

pub(super) fn router(schedules: Schedules) -> Router {
    Router::new()
        .route("/schedules/{name}", post(create).get(read).delete(delete))
        .with_state(schedules)
}

async fn create(
    State(schedules): State<Schedules>,
    Path(name): Path<String>,
    body: Bytes,
) -> Response {
    let created = serde_json::from_slice(&body)
        .map_err(|error| invalid(&error.to_string()))
        .and_then(|definition| schedules.create(&name, definition));
    answer(created.map(|arn| json!({ "ScheduleArn": arn })))
}

async fn read(
    State(schedules): State<Schedules>,
    Path(name): Path<String>,
    Query(group): Query<Group>,
) -> Response {
    answer(schedules.read(&group.group_name, &name).map(|schedule| {
        let mut shown = json!(schedule.definition);
        let created_at = Value::from(schedule.created_at_ms / 1000);
        shown["Name"] = Value::from(name.as_str());
        shown["Arn"] = Value::from(arn(&key(&group.group_name, &name)));
        shown["CreationDate"] = created_at.clone();
        shown["LastModificationDate"] = created_at;
        if let Some(shown) = shown.as_object_mut() {
            shown.remove("ClientToken");
            shown.retain(|_, value| !value.is_null());
        }
        shown
    }))
}

async fn delete(
    State(schedules): State<Schedules>,
    Path(name): Path<String>,
    Query(group): Query<Group>,
) -> Response {
    answer(
        schedules
            .delete(&group.group_name, &name)
            .map(|()| json!({})),
    )
}

fn answer(result: Result<Value, Error>) -> Response {
    let error = match result {
        Ok(body) => return axum::Json(body).into_response(),
        Err(error) => error,
    };
    let (status, name) = match &error {
        Error::Invalid(_) => (StatusCode::BAD_REQUEST, "ValidationException"),
        Error::Exists(_) => (StatusCode::CONFLICT, "ConflictException"),
        Error::Missing(_) => (StatusCode::NOT_FOUND, "ResourceNotFoundException"),
        Error::Journal(_) => {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "a schedule cannot be written"
            );
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalServerException")
        }
    };
    let body = axum::Json(json!({ "Message": error.to_string() }));
    (status, [("x-amzn-errortype", name)], body).into_response()
}

fn invalid(reason: &str) -> Error {
    Error::Invalid(reason.to_owned())
}

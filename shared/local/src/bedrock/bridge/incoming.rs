//! An OpenAI chat completion as a Converse reply, and its errors as Bedrock's.

use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use crate::bedrock::{
    failure::{Failure, Kind},
    reply::{Part, Reply, Stop, Usage},
};

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
    usage: Option<WireUsage>,
}

#[derive(Deserialize)]
struct Choice {
    message: Answer,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Deserialize)]
struct ToolCall {
    id: Option<String>,
    #[serde(rename = "function")]
    called: Called,
}

#[derive(Deserialize)]
struct Called {
    name: String,
    #[serde(default)]
    arguments: Value,
}

/// `usage` of an answer or of the last chunk.
#[derive(Debug, Deserialize)]
pub(super) struct WireUsage {
    #[serde(default)]
    prompt_tokens: u64,
    #[serde(default)]
    completion_tokens: u64,
    prompt_tokens_details: Option<PromptDetails>,
}

#[derive(Debug, Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

impl From<WireUsage> for Usage {
    /// Bedrock counts cached input apart, OpenAI within the prompt.
    fn from(wire: WireUsage) -> Self {
        let cached = wire
            .prompt_tokens_details
            .and_then(|d| d.cached_tokens)
            .unwrap_or(0);
        Self {
            input_tokens: wire.prompt_tokens.saturating_sub(cached),
            output_tokens: wire.completion_tokens,
            cache_read_tokens: cached,
            cache_write_tokens: 0,
        }
    }
}

/// The reply and its usage, when the server tells it.
pub(super) fn reply(body: &[u8]) -> Result<(Reply, Option<Usage>), Failure> {
    let unreadable = |why: &str| {
        Failure::new(
            Kind::ModelError,
            format!("The model server's answer is not readable: {why}."),
        )
    };
    let completion: Completion =
        serde_json::from_slice(body).map_err(|error| unreadable(&error.to_string()))?;
    let choice = completion
        .choices
        .into_iter()
        .next()
        .ok_or_else(|| unreadable("it has no choice"))?;
    let mut parts = Vec::new();
    if let Some(text) = choice.message.content.filter(|text| !text.is_empty()) {
        parts.push(Part::Text(text));
    }
    let calls = choice.message.tool_calls.unwrap_or_default();
    let mut stop = stop(choice.finish_reason.as_deref(), !calls.is_empty());
    for (place, call) in calls.into_iter().enumerate() {
        match input(call.called.arguments) {
            Some(input) => parts.push(Part::ToolUse {
                id: call
                    .id
                    .filter(|id| !id.is_empty())
                    .unwrap_or_else(|| format!("tooluse_{place}")),
                name: call.called.name,
                input,
            }),
            None => stop = Stop::MalformedToolUse,
        }
    }
    if stop == Stop::MalformedToolUse {
        parts.retain(|part| matches!(part, Part::Text(_)));
    }
    Ok((Reply::new(parts, stop), completion.usage.map(Usage::from)))
}

/// The stop reason. Some servers say `stop` although they call tools.
pub(super) fn stop(finish_reason: Option<&str>, calls: bool) -> Stop {
    match finish_reason {
        Some("length") => Stop::MaxTokens,
        Some("content_filter") => Stop::ContentFiltered,
        _ if calls => Stop::ToolUse,
        _ => Stop::Finished,
    }
}

/// Arguments as a JSON object: a text that holds one, as OpenAI sends it, or the object itself, as
/// some servers do. Nothing at all is an empty object.
fn input(arguments: Value) -> Option<Box<RawValue>> {
    let text = match arguments {
        Value::String(text) => text,
        Value::Null => String::new(),
        Value::Object(_) => arguments.to_string(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => return None,
    };
    object(&text)
}

/// `text` if it is a JSON object, blank text being an empty one.
pub(super) fn object(text: &str) -> Option<Box<RawValue>> {
    let text = match text.trim() {
        "" => "{}",
        text => text,
    };
    RawValue::from_string(text.to_owned())
        .ok()
        .filter(|raw| raw.get().starts_with('{'))
}

/// An error answer of the server.
pub(super) fn failure(status: u16, body: &[u8]) -> Failure {
    let kind = match status {
        401 | 403 => Kind::AccessDenied,
        404 => Kind::ResourceNotFound,
        408 => Kind::ModelTimeout,
        429 => Kind::Throttling,
        500..=599 => Kind::ServiceUnavailable,
        _ => Kind::Validation,
    };
    let said = match serde_json::from_slice::<Value>(body) {
        Ok(value) => error_text(&value),
        Err(_) => String::from_utf8_lossy(&body[..body.len().min(500)])
            .trim()
            .to_owned(),
    };
    Failure::new(kind, format!("The model server answered {status}: {said}"))
}

/// What an error body says: `{"error":{"message":..}}`, `{"error":".."}`, `{"message":..}`.
pub(super) fn error_text(value: &Value) -> String {
    let places = ["/error/message", "/error", "/message", "/detail"];
    let said = places
        .iter()
        .find_map(|place| value.pointer(place)?.as_str());
    said.map_or_else(|| value.to_string(), str::to_owned)
}

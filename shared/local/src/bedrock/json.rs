//! `local.json`: a JSON object that fits the schema of the request.
//!
//! The schema is the one of `outputConfig`, or a fenced `json-schema` block in the system prompt, or
//! the first JSON object there that reads like a schema. A text with "broken once" gets broken JSON
//! until a later message asks again; "broken always" gets it always.

use serde_json::{Value, json};

use super::{
    extract,
    reply::Reply,
    request::{Request, Role, is_complaint},
};

const BROKEN: &str = "{\"answer\": \"this object never en";

pub(super) fn answer(request: &Request<'_>) -> Reply {
    let texts: Vec<_> = (0..request.messages.len())
        .filter(|place| request.messages[*place].role == Role::User)
        .map(|place| request.text_at(place))
        .filter(|text| !text.is_empty())
        .collect();
    let Some(last) = texts.len().checked_sub(1) else {
        return Reply::text("{}");
    };
    let asked_at = texts.iter().rposition(|text| !is_repair(text)).unwrap_or(0);
    let repairing = asked_at < last;
    let asked = &texts[asked_at];
    if asked.contains("broken always") || (asked.contains("broken once") && !repairing) {
        return Reply::text(BROKEN);
    }
    match schema(request) {
        Some(schema) => Reply::text(fitting(&schema, asked)),
        None => Reply::text(json!({ "text": asked }).to_string()),
    }
}

/// A JSON text that fits `schema`, filled from `text`.
pub(super) fn fitting(schema: &Value, text: &str) -> String {
    extract::value(schema, text).to_string()
}

/// The schema that the request states as such: in `outputConfig` or in a `json-schema` fence.
pub(super) fn stated_schema(request: &Request<'_>) -> Option<Value> {
    if let Some(text) = request.output_schema() {
        return serde_json::from_str(text).ok();
    }
    let system = request.system_text();
    let (_, rest) = system.split_once("```json-schema")?;
    let (text, _) = rest.split_once("```")?;
    serde_json::from_str(text).ok()
}

/// The schema that the answer must fit, wherever the request has it.
fn schema(request: &Request<'_>) -> Option<Value> {
    if let Some(stated) = stated_schema(request) {
        return Some(stated);
    }
    let system = request.system_text();
    system.match_indices('{').find_map(|(place, _)| {
        let mut values = serde_json::Deserializer::from_str(&system[place..]).into_iter::<Value>();
        let value = values.next()?.ok()?;
        let schema = [
            "type",
            "properties",
            "$schema",
            "$ref",
            "enum",
            "anyOf",
            "oneOf",
        ];
        schema
            .iter()
            .any(|key| value.get(key).is_some())
            .then_some(value)
    })
}

/// Whether a message asks to mend an answer rather than for something new.
fn is_repair(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    is_complaint(text)
        || ["json", "schema"].iter().any(|word| lower.contains(word))
            && [
                "repair", "valid", "correct", "again", "fix", "only", "conform", "match", "error",
            ]
            .iter()
            .any(|word| lower.contains(word))
}

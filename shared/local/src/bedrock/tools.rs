//! `local.tools`: calls the tools that the text asks for, then quotes what they returned.
//!
//! How many calls it has made since the text stands in the conversation, and the plan follows from
//! the text alone, so it never asks for more than was asked and always comes to an end.

use std::{
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde_json::Value;

use super::{
    json,
    plan::{self, Call, Plan},
    reply::{Part, Reply, Stop, raw},
    request::{Message, Request, ToolChoice, ToolResult, ToolUse},
};

/// The most bytes of a tool result that are quoted.
const QUOTE_BYTES: usize = 600;

pub(super) fn answer(request: &Request<'_>) -> Reply {
    let Some(asked_at) = request.asked_at() else {
        return Reply::text("There is nothing to answer.");
    };
    let text = request.text_at(asked_at);
    let since = &request.messages[asked_at + 1..];
    let done = since.iter().flat_map(Message::tool_uses).count();
    let plan = Plan::read(&text, request);
    if done < plan.len() {
        let end = if plan.parallel { plan.len() } else { done + 1 };
        let calls = (done..end).map(|place| plan.call(place));
        return call(request, &text, calls, done == 0);
    }
    if done == 0
        && let Some(forced) = forced(request, &text)
    {
        return call(request, &text, std::iter::once(&forced), false);
    }
    let report = report(request, since, done);
    match json::stated_schema(request) {
        Some(schema) => Reply::text(json::fitting(&schema, &format!("{text}\n{report}"))),
        None => Reply::text(report),
    }
}

/// A reply that calls tools, with a word on the first ones.
pub(super) fn call<'a>(
    request: &Request<'_>,
    text: &str,
    calls: impl Iterator<Item = &'a Call>,
    announced: bool,
) -> Reply {
    let before = request.messages.iter().flat_map(Message::tool_uses).count();
    let mut parts = Vec::with_capacity(2);
    for (place, call) in calls.enumerate() {
        if announced && place == 0 {
            parts.push(Part::Text(format!("I will use the tool {}.", call.tool)));
        }
        parts.push(Part::ToolUse {
            id: id(text, before + place),
            name: call.tool.clone(),
            input: raw(&call.input),
        });
    }
    Reply::new(parts, Stop::ToolUse)
}

/// Unique in its conversation, the same each time.
fn id(text: &str, ordinal: usize) -> String {
    let mut hasher = DefaultHasher::new();
    (text, ordinal).hash(&mut hasher);
    format!("tooluse_{:016x}", hasher.finish())
}

/// The call that `toolChoice` demands although the text asks for none.
fn forced(request: &Request<'_>, text: &str) -> Option<Call> {
    let choice = request.tool_config.as_ref()?.tool_choice.as_ref()?;
    let tool = match choice {
        ToolChoice::Auto {} => None,
        ToolChoice::Any {} => request.tools().next(),
        ToolChoice::Tool { name } => request.tools().find(|tool| tool.name == *name),
    }?;
    Some(plan::call_of(tool, text))
}

/// The answer in words: one sentence for each tool call since the text.
pub(super) fn report(request: &Request<'_>, since: &[Message<'_>], done: usize) -> String {
    if done == 0 {
        let names: Vec<&str> = request.tools().map(|tool| &*tool.name).collect();
        return if names.is_empty() {
            "I have no tools to answer with.".to_owned()
        } else {
            format!(
                "Nothing in that calls for a tool. I have: {}.",
                names.join(", ")
            )
        };
    }
    let results: Vec<&ToolResult<'_>> = since.iter().flat_map(Message::tool_results).collect();
    let mut report = String::new();
    for used in since.iter().flat_map(Message::tool_uses) {
        if !report.is_empty() {
            report.push(' ');
        }
        let result = results.iter().find(|r| r.tool_use_id == used.tool_use_id);
        sentence(&mut report, used, result.copied());
    }
    report
}

fn sentence(report: &mut String, used: &ToolUse<'_>, result: Option<&ToolResult<'_>>) {
    let tool = &*used.name;
    let input: Value = serde_json::from_str(used.input.get()).unwrap_or_default();
    let given = |key: &str| input.get(key).map(plain).unwrap_or_default();
    let Some(result) = result else {
        let _ = write!(report, "The tool {tool} returned nothing.");
        return;
    };
    let quote = quote(&result.text());
    let _ = if result.failed() {
        write!(report, "The tool {tool} failed: {quote}")
    } else {
        match tool {
            "calculator" => write!(report, "{} is {quote}", given("expression")),
            "clock" => write!(report, "The time is {quote}"),
            "http_get" => write!(report, "{} answered: {quote}", given("url")),
            "wait" => write!(report, "Waited {} seconds: {quote}", given("seconds")),
            "slow_research" => write!(report, "On {}: {quote}", given("topic")),
            _ => write!(report, "The tool {tool} returned: {quote}"),
        }
    };
    if !report.ends_with(['.', '!', '?']) {
        report.push('.');
    }
}

/// The telling part of a tool result: its `result`, its only member, or all of it.
fn quote(text: &str) -> String {
    let telling = match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(members)) => {
            let known = ["result", "value", "answer"]
                .iter()
                .find_map(|key| members.get(*key));
            let only = || members.values().next().filter(|_| members.len() == 1);
            known.or_else(only).map(plain)
        }
        Ok(Value::String(text)) => Some(text),
        Ok(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) | Err(_) => None,
    };
    let whole = telling.unwrap_or_else(|| text.trim().to_owned());
    if whole.len() <= QUOTE_BYTES {
        return whole;
    }
    format!("{}…", &whole[..whole.floor_char_boundary(QUOTE_BYTES)])
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

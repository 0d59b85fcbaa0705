//! The request rules that Bedrock itself enforces, so that a wrong conversation fails here too.

use std::collections::HashSet;

use super::{
    failure::Failure,
    request::{Block, Inference, Message, Request, Role},
};

/// Most points up to which a request asks to be kept.
const MOST_CACHE_POINTS: usize = 4;

/// Refuses what the Converse API refuses with `ValidationException`.
pub(super) fn request(request: &Request<'_>) -> Result<(), Failure> {
    inference(&request.inference_config).map_err(Failure::validation)?;
    tools(request).map_err(Failure::validation)?;
    cache_points(request).map_err(Failure::validation)?;
    messages(request).map_err(Failure::validation)
}

fn inference(inference: &Inference<'_>) -> Result<(), String> {
    if inference.max_tokens.is_some_and(|n| n < 1) {
        return Err("inferenceConfig.maxTokens must be at least 1.".to_owned());
    }
    for (name, value) in [
        ("temperature", inference.temperature),
        ("topP", inference.top_p),
    ] {
        if value.is_some_and(|v| !(0.0..=1.0).contains(&v)) {
            return Err(format!("inferenceConfig.{name} must be between 0 and 1."));
        }
    }
    if inference.stop_sequences.iter().any(|s| s.0.is_empty()) {
        return Err("inferenceConfig.stopSequences must not hold an empty string.".to_owned());
    }
    Ok(())
}

fn tools(request: &Request<'_>) -> Result<(), String> {
    let Some(config) = &request.tool_config else {
        return Ok(());
    };
    if config.tools.is_empty() {
        return Err("toolConfig.tools must hold at least one tool.".to_owned());
    }
    let mut seen = HashSet::with_capacity(config.tools.len());
    for tool in request.tools() {
        let letters = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
        if tool.name.is_empty() || tool.name.len() > 64 || !tool.name.bytes().all(letters) {
            return Err(format!(
                "The tool name {:?} does not match [a-zA-Z0-9_-]{{1,64}}.",
                tool.name
            ));
        }
        if !seen.insert(&*tool.name) {
            return Err(format!(
                "The toolConfig holds duplicate tools with the name {}.",
                tool.name
            ));
        }
    }
    Ok(())
}

fn cache_points(request: &Request<'_>) -> Result<(), String> {
    let messages = request.messages.iter().flat_map(|message| &message.content);
    let points = request
        .system
        .iter()
        .chain(messages)
        .filter_map(|block| match block {
            Block::CachePoint(point) => Some(point),
            _ => None,
        });
    let ttls: Vec<_> = points.map(|point| point.ttl).collect();
    if ttls.len() > MOST_CACHE_POINTS {
        return Err(format!(
            "The request has {} cache points; at most {MOST_CACHE_POINTS} are allowed.",
            ttls.len()
        ));
    }
    if ttls.is_sorted_by(|earlier, later| earlier >= later) {
        Ok(())
    } else {
        Err(
            "A cache point with a longer TTL must not come after one with a shorter TTL."
                .to_owned(),
        )
    }
}

fn messages(request: &Request<'_>) -> Result<(), String> {
    if request
        .messages
        .first()
        .is_none_or(|m| m.role != Role::User)
    {
        return Err("A conversation must start with a user message. \
                    Try again with a conversation that starts with a user message."
            .to_owned());
    }
    let mut before: Option<&Message<'_>> = None;
    for (place, message) in request.messages.iter().enumerate() {
        if before.is_some_and(|b| b.role == message.role) {
            return Err("A conversation must alternate between user and assistant roles. \
                        Make sure the conversation alternates between user and assistant roles and try again."
                .to_owned());
        }
        content(request, message, place)?;
        pairs(before, message, place)?;
        before = Some(message);
    }
    if before.is_some_and(|last| last.tool_uses().next().is_some()) {
        return Err("The conversation ends with tool use that has no tool result.".to_owned());
    }
    Ok(())
}

fn content(request: &Request<'_>, message: &Message<'_>, place: usize) -> Result<(), String> {
    if message.content.is_empty() {
        return Err(format!(
            "The content field in the Message object at messages.{place} is empty. \
             Add a ContentBlock object to the content field and try again."
        ));
    }
    for (at, block) in message.content.iter().enumerate() {
        let wrong = match block {
            Block::Text(text) if text.trim().is_empty() => {
                format!("The text field in the ContentBlock object at messages.{place}.content.{at} is blank.")
            }
            Block::ToolUse(_) | Block::ToolResult(_) if request.tool_config.is_none() => {
                "The toolConfig field must be defined when using toolUse and toolResult content blocks.".to_owned()
            }
            Block::ToolUse(call) if message.role != Role::Assistant || !call.input.get().starts_with('{') => {
                format!("The toolUse at messages.{place}.content.{at} needs an assistant message and a JSON object as input.")
            }
            Block::ToolResult(_) if message.role != Role::User => {
                format!("The toolResult at messages.{place}.content.{at} needs a user message.")
            }
            Block::Json(_) => format!("The content block at messages.{place}.content.{at} is of an unknown kind."),
            Block::Text(_) | Block::ToolUse(_) | Block::ToolResult(_) | Block::CachePoint(_) | Block::Other(..) => continue,
        };
        return Err(wrong);
    }
    Ok(())
}

/// Every tool use is answered by the next message, exactly once, and nothing else is answered.
fn pairs(before: Option<&Message<'_>>, message: &Message<'_>, place: usize) -> Result<(), String> {
    let mut open: Vec<&str> = before.map_or_else(Vec::new, |b| {
        b.tool_uses().map(|c| &*c.tool_use_id).collect()
    });
    for result in message.tool_results() {
        let Some(at) = open.iter().position(|id| *id == result.tool_use_id) else {
            return Err(format!(
                "The toolResult block at messages.{place} with the id {} answers no toolUse block of the message before it.",
                result.tool_use_id
            ));
        };
        open.swap_remove(at);
    }
    if open.is_empty() {
        return Ok(());
    }
    Err(format!(
        "Expected toolResult blocks at messages.{place}.content for the following Ids: {}",
        open.join(", ")
    ))
}

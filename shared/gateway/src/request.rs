//! A request in Bedrock's form.
//!
//! Bedrock demands what the domain does not: roles that alternate, no blank text, tool results before other content of their message,
//! tool names of `[a-zA-Z0-9_-]{1,64}`, arguments that are objects, and a tool configuration wherever the conversation has tool
//! calls. Here every conversation is brought into that form.
//!
//! And it can be told up to where a prompt is to be kept, so that the next call reads that part for a tenth of its price. A
//! transcript only grows, so what one call of a run sent is the beginning of what the next one sends: there is a point behind
//! the system prompt, which all runs of an agent share, and where more calls are to be expected, behind the two last messages of
//! the user: what the call before has left, and what this one leaves. Bedrock takes four, and does without those that have too
//! little before them to be worth it.

use aws_sdk_bedrockruntime::types::{
    CachePointBlock, CachePointType, CacheTtl, ContentBlock, ConversationRole,
    InferenceConfiguration, Message as BedrockMessage, SystemContentBlock, Tool, ToolConfiguration,
    ToolInputSchema, ToolResultBlock, ToolResultContentBlock, ToolResultStatus, ToolSpecification,
    ToolUseBlock,
};
use aws_smithy_types::Document;
use domain::model::{Content, Message, PromptCache, Request, Role, ToolCall};
use serde_json::{Value, json};

use crate::verbatim;

/// What `Converse` and `ConverseStream` both take.
pub(crate) struct Input {
    pub(crate) system: Option<Vec<SystemContentBlock>>,
    pub(crate) messages: Vec<BedrockMessage>,
    pub(crate) tools: Option<ToolConfiguration>,
    pub(crate) inference: InferenceConfiguration,
}

impl Input {
    /// The request, with points up to which the provider keeps it as long as `cache` says.
    pub(crate) fn new(request: &Request<'_>, cache: PromptCache) -> Self {
        let point = cache_point(cache);
        Self {
            system: system(request.system, point.clone()),
            messages: messages(request, point),
            tools: tools(request),
            inference: inference(request),
        }
    }
}

fn inference(request: &Request<'_>) -> InferenceConfiguration {
    let inference = request.inference;
    let stops = &inference.stop_sequences;
    InferenceConfiguration::builder()
        .max_tokens(i32::try_from(request.max_output_tokens).unwrap_or(i32::MAX))
        .set_temperature(inference.temperature)
        .set_top_p(inference.top_p)
        .set_stop_sequences((!stops.is_empty()).then(|| stops.clone()))
        .build()
}

fn cache_point(cache: PromptCache) -> Option<CachePointBlock> {
    let ttl = match cache {
        PromptCache::Off => return None,
        // What Bedrock does unless told otherwise, and all that some models know.
        PromptCache::FiveMinutes => None,
        PromptCache::OneHour => Some(CacheTtl::OneHour),
    };
    let point = CachePointBlock::builder()
        .r#type(CachePointType::Default)
        .set_ttl(ttl);
    Some(point.build().expect("the type is set"))
}

fn system(system: &str, point: Option<CachePointBlock>) -> Option<Vec<SystemContentBlock>> {
    if is_blank(system) {
        return None;
    }
    let mut blocks = vec![SystemContentBlock::Text(system.to_owned())];
    blocks.extend(point.map(SystemContentBlock::CachePoint));
    Some(blocks)
}

fn messages(request: &Request<'_>, point: Option<CachePointBlock>) -> Vec<BedrockMessage> {
    let messages = request.messages;
    let mut merged: Vec<(Role, Vec<ContentBlock>)> = Vec::with_capacity(messages.len());
    for message in messages {
        let mut blocks = message.content.iter().filter_map(block).peekable();
        if blocks.peek().is_none() {
            continue;
        }
        match merged.last_mut() {
            Some((role, content)) if *role == message.role => content.extend(blocks),
            _ => merged.push((message.role, blocks.collect())),
        }
    }
    for (_, content) in &mut merged {
        content.sort_by_key(|block| !block.is_tool_result());
    }
    let goes_on = !request.tools.is_empty() || messages.len() > 1;
    if let Some(point) = point.filter(|_| goes_on) {
        let of_user = merged.iter_mut().filter(|(role, _)| *role == Role::User);
        for (_, content) in of_user.rev().take(2) {
            content.push(ContentBlock::CachePoint(point.clone()));
        }
    }
    merged
        .into_iter()
        .map(|(role, content)| {
            BedrockMessage::builder()
                .role(match role {
                    Role::User => ConversationRole::User,
                    Role::Assistant => ConversationRole::Assistant,
                })
                .set_content(Some(content))
                .build()
                .expect("role and content are set")
        })
        .collect()
}

fn block(content: &Content) -> Option<ContentBlock> {
    match content {
        Content::Text { text } if is_blank(text) => None,
        Content::Text { text } => Some(ContentBlock::Text(text.clone())),
        Content::ToolCall(call) => Some(ContentBlock::ToolUse(tool_use(call))),
        Content::ToolResult {
            call_id,
            text,
            is_error,
        } => Some(ContentBlock::ToolResult(tool_result(
            call_id, text, *is_error,
        ))),
    }
}

fn tool_use(call: &ToolCall) -> ToolUseBlock {
    let input = match &call.arguments {
        object @ Value::Object(_) => verbatim::document(object),
        // A model can write arguments that are no object; it is shown them again inside one.
        other => verbatim::document(&json!({ "arguments": other })),
    };
    ToolUseBlock::builder()
        .tool_use_id(&call.id)
        .name(tool_name(&call.name))
        .input(input)
        .build()
        .expect("id, name and input are set")
}

fn tool_result(call_id: &str, text: &str, is_error: bool) -> ToolResultBlock {
    let text = if is_blank(text) { "(empty)" } else { text };
    ToolResultBlock::builder()
        .tool_use_id(call_id)
        .content(ToolResultContentBlock::Text(text.to_owned()))
        .set_status(is_error.then_some(ToolResultStatus::Error))
        .build()
        .expect("id and content are set")
}

/// A name that a model made up, in the letters that Bedrock accepts.
fn tool_name(name: &str) -> String {
    let letter = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' => c,
        _ => '_',
    };
    let name: String = name.chars().take(64).map(letter).collect();
    if name.is_empty() {
        "_".to_owned()
    } else {
        name
    }
}

fn tools(request: &Request<'_>) -> Option<ToolConfiguration> {
    let tools: Vec<Tool> = if request.tools.is_empty() {
        withdrawn(request.messages)
    } else {
        let offered = request.tools.iter();
        offered
            .map(|tool| {
                let schema = verbatim::document(&tool.input_schema);
                specification(tool.name.clone(), &tool.description, schema)
            })
            .collect()
    };
    if tools.is_empty() {
        return None;
    }
    let configuration = ToolConfiguration::builder().set_tools(Some(tools)).build();
    Some(configuration.expect("tools are set"))
}

/// The tools that were called earlier in a conversation which offers none any more. Bedrock refuses it without them.
fn withdrawn(messages: &[Message]) -> Vec<Tool> {
    let mut names: Vec<String> = Vec::new();
    for content in messages.iter().flat_map(|message| &message.content) {
        if let Content::ToolCall(call) = content {
            let name = tool_name(&call.name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let schema = || verbatim::document(&json!({ "type": "object" }));
    names
        .into_iter()
        .map(|name| specification(name, "No longer available. Do not call it.", schema()))
        .collect()
}

fn specification(name: String, description: &str, schema: Document) -> Tool {
    Tool::ToolSpec(
        ToolSpecification::builder()
            .name(name)
            .set_description((!is_blank(description)).then(|| description.to_owned()))
            .input_schema(ToolInputSchema::Json(schema))
            .build()
            .expect("name and schema are set"),
    )
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

#[cfg(test)]
mod tests;

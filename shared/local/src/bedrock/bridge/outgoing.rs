//! A Converse request as an OpenAI chat completion request.

use serde_json::{Map, Value, json, value::RawValue};

use crate::bedrock::{
    failure::Failure,
    request::{Block, Message, Request, Role, ToolChoice, ToolConfig, ToolResult},
};

/// The body of `POST /chat/completions`.
pub(super) fn body(id: &str, request: &Request<'_>, streamed: bool) -> Result<Value, Failure> {
    let mut messages = Vec::with_capacity(request.messages.len() + 1);
    let system = request.system_text();
    if !system.is_empty() {
        messages.push(json!({ "role": "system", "content": system }));
    }
    for message in &request.messages {
        match message.role {
            Role::User => user(message, &mut messages)?,
            Role::Assistant => messages.push(assistant(message)?),
        }
    }
    let mut body = Map::new();
    body.insert("model".into(), id.into());
    body.insert("messages".into(), messages.into());
    if let Some(config) = &request.tool_config {
        tools(config, request, &mut body)?;
    }
    inference(request, &mut body);
    if let Some(schema) = request.output_schema() {
        let schema: Value = serde_json::from_str(schema).map_err(|error| {
            Failure::validation(format!("outputConfig holds no JSON Schema: {error}."))
        })?;
        let format =
            json!({ "type": "json_schema", "json_schema": { "name": "answer", "schema": schema } });
        body.insert("response_format".into(), format);
    }
    if streamed {
        body.insert("stream".into(), true.into());
        body.insert("stream_options".into(), json!({ "include_usage": true }));
    }
    Ok(body.into())
}

/// Tool results become messages of their own; they stand before whatever else the user said, for
/// they must follow the calls they answer.
fn user(message: &Message<'_>, out: &mut Vec<Value>) -> Result<(), Failure> {
    for result in message.tool_results() {
        out.push(json!({
            "role": "tool",
            "tool_call_id": result.tool_use_id,
            "content": result_text(result),
        }));
    }
    let mut parts = Vec::new();
    for block in &message.content {
        match block {
            Block::Text(text) => parts.push(json!({ "type": "text", "text": text })),
            Block::Other(kind, raw) => parts.push(other(kind, raw)?),
            Block::ToolResult(_) | Block::ToolUse(_) | Block::Json(_) | Block::CachePoint(_) => {}
        }
    }
    let plain = parts.iter().all(|part| part["type"] == "text");
    match parts.len() {
        0 => {}
        1 if plain => out.push(json!({ "role": "user", "content": parts[0]["text"] })),
        // Many small servers take no parts, so they see them only where there is no other way.
        _ if plain => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part["text"].as_str())
                .collect();
            out.push(json!({ "role": "user", "content": texts.join("\n") }));
        }
        _ => out.push(json!({ "role": "user", "content": parts })),
    }
    Ok(())
}

fn result_text(result: &ToolResult<'_>) -> String {
    if result.failed() {
        format!("Error: {}", result.text())
    } else {
        result.text().into_owned()
    }
}

fn other(kind: &str, raw: &RawValue) -> Result<Value, Failure> {
    let unsupported = || {
        Failure::validation(format!(
            "The model server takes no {kind} blocks of this form."
        ))
    };
    let value: Value = serde_json::from_str(raw.get()).map_err(|_| unsupported())?;
    match kind {
        "image" => {
            let format = value["format"].as_str().ok_or_else(unsupported)?;
            let bytes = value["source"]["bytes"].as_str().ok_or_else(unsupported)?;
            let url = format!("data:image/{format};base64,{bytes}");
            Ok(json!({ "type": "image_url", "image_url": { "url": url } }))
        }
        "document" => {
            let text = value["source"]["text"].as_str().ok_or_else(unsupported)?;
            Ok(json!({ "type": "text", "text": text }))
        }
        "guardContent" => {
            let text = value["text"]["text"].as_str().ok_or_else(unsupported)?;
            Ok(json!({ "type": "text", "text": text }))
        }
        _ => Err(unsupported()),
    }
}

/// What the model said before. Its reasoning stays out: these servers do not take it back.
fn assistant(message: &Message<'_>) -> Result<Value, Failure> {
    let text: Vec<&str> = message.text().collect();
    let content = if text.is_empty() {
        Value::Null
    } else {
        text.join("\n").into()
    };
    let calls: Vec<Value> = message
        .tool_uses()
        .map(|call| {
            json!({
                "id": call.tool_use_id,
                "type": "function",
                "function": { "name": call.name, "arguments": call.input.get() },
            })
        })
        .collect();
    for block in &message.content {
        if let Block::Other(kind, _) = block
            && kind != "reasoningContent"
        {
            return Err(Failure::validation(format!(
                "The model server takes no {kind} blocks from the assistant."
            )));
        }
    }
    let mut message = json!({ "role": "assistant", "content": content });
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    Ok(message)
}

fn tools(
    config: &ToolConfig<'_>,
    request: &Request<'_>,
    body: &mut Map<String, Value>,
) -> Result<(), Failure> {
    let mut tools = Vec::with_capacity(config.tools.len());
    for tool in request.tools() {
        let parameters: Value =
            serde_json::from_str(tool.input_schema.json.get()).map_err(|error| {
                Failure::validation(format!(
                    "The schema of {} is not valid: {error}.",
                    tool.name
                ))
            })?;
        let mut spec = json!({ "name": tool.name, "parameters": parameters });
        if let Some(description) = &tool.description {
            spec["description"] = json!(description.0);
        }
        tools.push(json!({ "type": "function", "function": spec }));
    }
    body.insert("tools".into(), tools.into());
    let choice = match &config.tool_choice {
        None => return Ok(()),
        Some(ToolChoice::Auto {}) => json!("auto"),
        Some(ToolChoice::Any {}) => json!("required"),
        Some(ToolChoice::Tool { name }) => {
            json!({ "type": "function", "function": { "name": name } })
        }
    };
    body.insert("tool_choice".into(), choice);
    Ok(())
}

fn inference(request: &Request<'_>, body: &mut Map<String, Value>) {
    let inference = &request.inference_config;
    if let Some(limit) = inference.max_tokens {
        body.insert("max_tokens".into(), limit.into());
    }
    if let Some(temperature) = inference.temperature {
        body.insert("temperature".into(), temperature.into());
    }
    if let Some(top_p) = inference.top_p {
        body.insert("top_p".into(), top_p.into());
    }
    if !inference.stop_sequences.is_empty() {
        let stop: Vec<&str> = inference.stop_sequences.iter().map(|s| &*s.0).collect();
        body.insert("stop".into(), json!(stop));
    }
}

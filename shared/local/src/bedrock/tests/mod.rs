mod bridge;
mod fitting;
mod flaky;
mod planning;
mod prompt_cache;
mod protocol;

use aws_sdk_bedrockruntime::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
    error::SdkError,
    operation::converse::{ConverseError, ConverseOutput},
    types::{
        ContentBlock, ConversationRole, InferenceConfiguration, Message, Tool, ToolConfiguration,
        ToolInputSchema, ToolResultBlock, ToolResultContentBlock, ToolResultStatus,
        ToolSpecification, ToolUseBlock,
    },
};
use aws_smithy_types::{Document, Number};
use axum::{Router, serve::ListenerExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Bridge, Config, Models};

/// The router on a loopback listener, and the official client for it.
async fn start(bridge: Option<Bridge>) -> (Client, Models) {
    let models = Models::new(Config { bridge });
    let url = serve(models.router()).await;
    let config = aws_sdk_bedrockruntime::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "tests"))
        .retry_config(RetryConfig::disabled())
        .http_client(aws::http_client(b""))
        .endpoint_url(url)
        .build();
    (Client::from_conf(config), models)
}

async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let listener = listener.tap_io(|socket| socket.set_nodelay(true).unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn user(text: &str) -> Message {
    message(
        ConversationRole::User,
        vec![ContentBlock::Text(text.to_owned())],
    )
}

fn message(role: ConversationRole, content: Vec<ContentBlock>) -> Message {
    Message::builder()
        .role(role)
        .set_content(Some(content))
        .build()
        .unwrap()
}

fn inference(max_tokens: i32) -> InferenceConfiguration {
    InferenceConfiguration::builder()
        .max_tokens(max_tokens)
        .build()
}

fn tool(name: &str, schema: Value) -> Tool {
    let spec = ToolSpecification::builder()
        .name(name)
        .description(format!("The {name}."))
        .input_schema(ToolInputSchema::Json(document(schema)))
        .build()
        .unwrap();
    Tool::ToolSpec(spec)
}

/// The five tools that `local.tools` knows.
fn tools() -> ToolConfiguration {
    let string = |key: &str| json!({"type": "object", "properties": {key: {"type": "string"}}, "required": [key]});
    let config = ToolConfiguration::builder()
        .tools(tool("calculator", string("expression")))
        .tools(tool(
            "clock",
            json!({"type": "object", "properties": {"timezone": {"type": "string"}}}),
        ))
        .tools(tool("http_get", string("url")))
        .tools(tool(
            "wait",
            json!({"type": "object", "properties": {"seconds": {"type": "number"}}}),
        ))
        .tools(tool("slow_research", string("topic")));
    config.build().unwrap()
}

fn document(value: Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(truth) => Document::Bool(truth),
        Value::Number(n) => Document::Number(match (n.as_u64(), n.as_i64()) {
            (Some(n), _) => Number::PosInt(n),
            (None, Some(n)) => Number::NegInt(n),
            (None, None) => Number::Float(n.as_f64().unwrap()),
        }),
        Value::String(text) => Document::String(text),
        Value::Array(items) => Document::Array(items.into_iter().map(document).collect()),
        Value::Object(members) => {
            Document::Object(members.into_iter().map(|(k, v)| (k, document(v))).collect())
        }
    }
}

fn value(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(truth) => json!(truth),
        Document::Number(Number::PosInt(n)) => json!(n),
        Document::Number(Number::NegInt(n)) => json!(n),
        Document::Number(Number::Float(n)) => json!(n),
        Document::String(text) => json!(text),
        Document::Array(items) => items.iter().map(value).collect(),
        Document::Object(members) => {
            Value::Object(members.iter().map(|(k, v)| (k.clone(), value(v))).collect())
        }
    }
}

async fn ask(
    client: &Client,
    model: &str,
    text: &str,
) -> Result<ConverseOutput, SdkError<ConverseError>> {
    client
        .converse()
        .model_id(model)
        .messages(user(text))
        .send()
        .await
}

fn reply(output: &ConverseOutput) -> &Message {
    output.output().unwrap().as_message().unwrap()
}

fn text(output: &ConverseOutput) -> String {
    let texts = reply(output)
        .content()
        .iter()
        .filter_map(|block| block.as_text().ok());
    texts.map(String::as_str).collect::<Vec<_>>().join("\n")
}

fn calls(output: &ConverseOutput) -> Vec<ToolUseBlock> {
    reply(output)
        .content()
        .iter()
        .filter_map(|block| block.as_tool_use().ok())
        .cloned()
        .collect()
}

/// A whole conversation: what was called in each step, and the answer.
struct Conversation {
    steps: Vec<Vec<(String, Value)>>,
    answer: String,
}

/// Talks to `model` until it answers; `run` plays the tools.
async fn converse(
    client: &Client,
    model: &str,
    text_in: &str,
    run: impl Fn(&str, &Value) -> Result<Value, String>,
) -> Conversation {
    let mut messages = vec![user(text_in)];
    let mut steps = Vec::new();
    loop {
        let send = client.converse().model_id(model).tool_config(tools());
        let output = send
            .set_messages(Some(messages.clone()))
            .send()
            .await
            .unwrap();
        if output.stop_reason().as_str() != "tool_use" {
            return Conversation {
                steps,
                answer: text(&output),
            };
        }
        let mut step = Vec::new();
        let mut results = Vec::new();
        for call in calls(&output) {
            let input = value(call.input());
            let (content, status) = match run(call.name(), &input) {
                Ok(result) => (
                    ToolResultContentBlock::Json(document(result)),
                    ToolResultStatus::Success,
                ),
                Err(why) => (ToolResultContentBlock::Text(why), ToolResultStatus::Error),
            };
            let result = ToolResultBlock::builder()
                .tool_use_id(call.tool_use_id())
                .content(content)
                .status(status);
            results.push(ContentBlock::ToolResult(result.build().unwrap()));
            step.push((call.name().to_owned(), input));
        }
        steps.push(step);
        messages.push(reply(&output).clone());
        messages.push(message(ConversationRole::User, results));
        assert!(steps.len() < 50, "the conversation does not end");
    }
}

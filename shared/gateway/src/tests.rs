//! Calls of the local models, over Bedrock's wire.

use aws_sdk_bedrockruntime::Config;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::{BehaviorVersion, Credentials, Region};
use axum::Router;
use domain::model::{
    Content, FailureKind, Inference, Message, Role, StopReason, ToolCall, ToolSpec, Usage,
};
use local::bedrock::{self, Models};
use serde_json::json;

use super::*;

mod prompt_cache;
mod wire;

fn gateway(router: Router) -> Gateway {
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "thing", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .http_client(local::wire::connector(router))
        .build();
    Gateway::new(Client::from_conf(config), Prices::builtin())
}

fn models() -> Gateway {
    gateway(Models::new(bedrock::Config::default()).router())
}

fn calculator() -> ToolSpec {
    ToolSpec {
        name: "calculator".into(),
        description: "Evaluates an arithmetic expression.".into(),
        input_schema: json!({
            "type": "object",
            "properties": {"expression": {"type": "string"}},
            "required": ["expression"],
        }),
    }
}

/// A conversation with a model.
struct Talk {
    model: &'static str,
    system: String,
    messages: Vec<Message>,
    tools: Vec<ToolSpec>,
    inference: Inference,
    prompt_cache: PromptCache,
}

impl Talk {
    fn with(model: &'static str, text: &str) -> Self {
        Self {
            model,
            system: "Answer the question.".into(),
            messages: vec![Message::user(text)],
            tools: Vec::new(),
            inference: Inference::default(),
            prompt_cache: PromptCache::default(),
        }
    }

    fn request(&self) -> Request<'_> {
        Request {
            model: self.model,
            system: &self.system,
            messages: &self.messages,
            tools: &self.tools,
            inference: &self.inference,
            prompt_cache: self.prompt_cache,
            max_output_tokens: self.inference.max_output_tokens,
        }
    }
}

/// What both ways of calling answer; they must agree in all but time.
async fn ask(gateway: &Gateway, talk: &Talk) -> (Answer, Vec<Delta>) {
    let whole = gateway.call(&talk.request()).await.unwrap();
    let mut deltas = Vec::new();
    let request = talk.request();
    let streamed = gateway.stream(&request, |delta| deltas.push(delta));
    let streamed = streamed.await.unwrap();
    let timeless = |answer: &Answer| Answer {
        duration_ms: 0,
        ..answer.clone()
    };
    assert_eq!(timeless(&whole), timeless(&streamed));
    (whole, deltas)
}

fn text_of(answer: &Answer) -> String {
    let texts = answer.content.iter().map(|content| match content {
        Content::Text { text } => text.as_str(),
        Content::ToolCall(_) | Content::ToolResult { .. } => "",
    });
    texts.collect()
}

fn call_of(answer: &Answer) -> &ToolCall {
    let mut calls = answer.content.iter().filter_map(|content| match content {
        Content::ToolCall(call) => Some(call),
        Content::Text { .. } | Content::ToolResult { .. } => None,
    });
    calls.next().expect("a tool call")
}

#[tokio::test]
async fn a_text_is_answered_whole_and_in_pieces_alike() {
    let (answer, deltas) = ask(&models(), &Talk::with("local.echo", "the geese fly south")).await;
    assert_eq!(text_of(&answer), "the geese fly south");
    assert_eq!(answer.stop_reason, StopReason::EndTurn);
    assert!(deltas.len() > 1);
    let pieces: String = deltas
        .iter()
        .map(|delta| match delta {
            Delta::Text { text } => text.as_str(),
            Delta::ToolCall { name, .. } => panic!("a call of {name}"),
        })
        .collect();
    assert_eq!(pieces, "the geese fly south");
}

#[tokio::test]
async fn usage_is_counted_and_priced() {
    let gateway = models();
    let talk = Talk::with("local.echo", "the geese fly south");
    let (answer, _) = ask(&gateway, &talk).await;
    assert!(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
    // $1 per million is one micro-USD a token.
    let cost = answer.usage.input_tokens + 5 * answer.usage.output_tokens;
    assert_eq!(answer.cost_micro_usd, cost);
    assert_eq!(
        gateway
            .price("local.echo", talk.prompt_cache)
            .of(&answer.usage),
        cost
    );
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_answered() {
    let gateway = models();
    let mut talk = Talk::with("local.tools", "What is 17 * 23?");
    talk.tools.push(calculator());
    let (answer, deltas) = ask(&gateway, &talk).await;
    assert_eq!(answer.stop_reason, StopReason::ToolUse);
    let call = call_of(&answer).clone();
    assert_eq!(
        (call.name.as_str(), &call.arguments),
        ("calculator", &json!({"expression": "17 * 23"}))
    );
    assert!(deltas.contains(&Delta::ToolCall {
        ordinal: 0,
        name: "calculator".into()
    }));

    talk.messages.push(Message {
        role: Role::Assistant,
        content: answer.content,
    });
    talk.messages.push(Message {
        role: Role::User,
        content: vec![Content::ToolResult {
            call_id: call.id,
            text: "391".into(),
            is_error: false,
        }],
    });
    let (answer, _) = ask(&gateway, &talk).await;
    assert_eq!(answer.stop_reason, StopReason::EndTurn);
    assert!(text_of(&answer).contains("391"), "{answer:?}");

    talk.tools.clear();
    assert!(gateway.call(&talk.request()).await.is_ok());
}

#[tokio::test]
async fn every_failure_of_the_provider_is_sorted() {
    let gateway = models();
    for (text, kind) in [
        ("throttle", FailureKind::Throttled),
        ("unavailable", FailureKind::Transient),
        ("timeout", FailureKind::Transient),
        ("fault", FailureKind::Fault),
        ("model error", FailureKind::Fault),
        ("deny", FailureKind::Refused),
    ] {
        let talk = Talk::with("local.flaky", text);
        let request = talk.request();
        let called = gateway.call(&request).await.unwrap_err();
        let streamed = gateway.stream(&request, |delta| panic!("{delta:?}"));
        assert_eq!(streamed.await.unwrap_err(), called);
        assert_eq!(called.kind, kind, "{text}");
        assert_eq!(
            called.message,
            format!("The text asked for this failure: {text}.")
        );
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_right_is_invalid() {
    let gateway = models();
    let unknown = Talk::with("no.such-model", "hello");
    let failure = gateway.call(&unknown.request()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid);
    let blank = Talk::with("local.echo", " ");
    let failure = gateway.call(&blank.request()).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid, "{failure:?}");
}

#[tokio::test]
async fn every_way_to_stop_is_told_apart() {
    let gateway = models();
    for (text, reason) in [
        ("refuse", StopReason::Refused),
        ("filter", StopReason::Refused),
        ("malformed", StopReason::Malformed),
        ("long", StopReason::MaxTokens),
        ("empty", StopReason::EndTurn),
    ] {
        let (answer, _) = ask(&gateway, &Talk::with("local.flaky", text)).await;
        assert_eq!(answer.stop_reason, reason, "{text}");
        assert_eq!(
            answer.content.is_empty(),
            ["malformed", "empty"].contains(&text)
        );
    }
}

#[tokio::test]
async fn a_stream_that_breaks_gives_no_answer() {
    let gateway = models();
    for (text, kind) in [
        ("break stream", FailureKind::Fault),
        ("cut stream", FailureKind::Lost),
    ] {
        let talk = Talk::with("local.flaky", text);
        let request = talk.request();
        let mut pieces = 0;
        let streamed = gateway.stream(&request, |_| pieces += 1);
        let failure = streamed.await.unwrap_err();
        assert!(pieces > 0);
        assert_eq!(failure.kind, kind, "{failure:?}");
    }
}

#[tokio::test]
async fn messages_of_one_role_reach_the_provider_as_one() {
    let mut talk = Talk::with("local.echo", "first");
    talk.messages.push(Message::user(""));
    talk.messages.push(Message::user("second"));
    let answer = models().call(&talk.request()).await.unwrap();
    assert!(text_of(&answer).contains("second"));
}

#[tokio::test]
async fn calls_can_be_made_on_any_thread() {
    fn sendable<T: Send>(value: T) -> T {
        value
    }
    let (gateway, talk) = (models(), Talk::with("local.echo", "hello"));
    let request = talk.request();
    sendable(gateway.call(&request)).await.unwrap();
    sendable(gateway.stream(&request, |_| ())).await.unwrap();
}

#[tokio::test]
async fn the_duration_is_measured() {
    let talk = Talk::with("local.echo-20", "hello");
    let answer = models().call(&talk.request()).await.unwrap();
    assert!(answer.duration_ms >= 20, "{}", answer.duration_ms);
}

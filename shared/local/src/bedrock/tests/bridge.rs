use std::sync::{Arc, Mutex};

use aws_sdk_bedrockruntime::types::{SpecificToolChoice, SystemContentBlock, ToolChoice};
use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header::AUTHORIZATION},
    routing::post,
};

use super::{protocol::stream, *};

/// The `Authorization` header and the body of one request.
type Seen = (Option<String>, Value);

type Kind = fn(&ConverseError) -> bool;

/// An OpenAI-compatible server with one answer, which keeps what it was sent.
#[derive(Clone)]
struct Stub {
    status: StatusCode,
    answer: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Stub {
    async fn start(status: u16, answer: impl Into<String>) -> (Client, Self) {
        let stub = Self {
            status: StatusCode::from_u16(status).unwrap(),
            answer: answer.into(),
            seen: Arc::default(),
        };
        let router = Router::new()
            .route("/v1/chat/completions", post(complete))
            .with_state(stub.clone());
        let url = format!("{}/v1/", serve(router).await);
        let (client, _) = super::start(Some(Bridge {
            url,
            key: Some("k1".into()),
        }))
        .await;
        (client, stub)
    }

    fn last(&self) -> Seen {
        self.seen.lock().unwrap().last().cloned().unwrap()
    }
}

async fn complete(
    State(stub): State<Stub>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, String) {
    let key = headers
        .get(AUTHORIZATION)
        .map(|value| value.to_str().unwrap().to_owned());
    stub.seen
        .lock()
        .unwrap()
        .push((key, serde_json::from_str(&body).unwrap()));
    (stub.status, stub.answer)
}

fn answer(message: &Value, finish_reason: &str) -> String {
    let usage = json!({"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35, "prompt_tokens_details": {"cached_tokens": 10}});
    json!({"choices": [{"index": 0, "message": message, "finish_reason": finish_reason}], "usage": usage}).to_string()
}

fn events(chunks: &[Value]) -> String {
    let events: String = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\r\n\r\n"))
        .collect();
    format!(": hello\n\n{events}data: [DONE]\n\n")
}

fn delta(delta: Value, finish_reason: Value) -> Value {
    json!({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})
}

#[tokio::test]
async fn a_whole_conversation_is_translated_both_ways() {
    let (client, stub) = Stub::start(
        200,
        answer(&json!({"role": "assistant", "content": "Four."}), "stop"),
    )
    .await;
    let call = ToolUseBlock::builder()
        .tool_use_id("c1")
        .name("calculator")
        .input(document(json!({"expression": "2+2"})));
    let result = |id: &str, status, block| {
        let result = ToolResultBlock::builder()
            .tool_use_id(id)
            .content(block)
            .status(status)
            .build()
            .unwrap();
        ContentBlock::ToolResult(result)
    };
    let failed = ToolUseBlock::builder()
        .tool_use_id("c2")
        .name("clock")
        .input(document(json!({})));
    let messages = vec![
        user("2+2?"),
        message(
            ConversationRole::Assistant,
            vec![
                ContentBlock::Text("Let me see.".into()),
                ContentBlock::ToolUse(call.build().unwrap()),
                ContentBlock::ToolUse(failed.build().unwrap()),
            ],
        ),
        message(
            ConversationRole::User,
            vec![
                result(
                    "c1",
                    ToolResultStatus::Success,
                    ToolResultContentBlock::Json(document(json!({"result": 4}))),
                ),
                result(
                    "c2",
                    ToolResultStatus::Error,
                    ToolResultContentBlock::Text("broken".into()),
                ),
                ContentBlock::Text("Be quick.".into()),
            ],
        ),
    ];
    let tool_choice = ToolChoice::Tool(
        SpecificToolChoice::builder()
            .name("calculator")
            .build()
            .unwrap(),
    );
    let schema = json!({"type": "object", "properties": {"expression": {"type": "string"}}});
    let config = ToolConfiguration::builder()
        .tools(tool("calculator", schema.clone()))
        .tool_choice(tool_choice);
    let inference = InferenceConfiguration::builder()
        .max_tokens(99)
        .temperature(0.5)
        .top_p(0.25)
        .stop_sequences("END");
    let output = client
        .converse()
        .model_id("qwen3:8b")
        .system(SystemContentBlock::Text("Be kind.".into()))
        .set_messages(Some(messages))
        .tool_config(config.build().unwrap())
        .inference_config(inference.build())
        .send()
        .await
        .unwrap();
    let (key, body) = stub.last();
    assert_eq!(key.as_deref(), Some("Bearer k1"));
    let expected = json!({
        "model": "qwen3:8b",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "2+2?"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "calculator", "arguments": "{\"expression\":\"2+2\"}"}},
                {"id": "c2", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "{\"result\":4}"},
            {"role": "tool", "tool_call_id": "c2", "content": "Error: broken"},
            {"role": "user", "content": "Be quick."}
        ],
        "tools": [{"type": "function", "function": {"name": "calculator", "description": "The calculator.", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "calculator"}},
        "max_tokens": 99, "temperature": 0.5, "top_p": 0.25, "stop": ["END"]
    });
    assert_eq!(body, expected);
    assert_eq!(text(&output), "Four.");
    assert_eq!(output.stop_reason().as_str(), "end_turn");
    let usage = output.usage().unwrap();
    assert_eq!(
        (
            usage.input_tokens(),
            usage.output_tokens(),
            usage.total_tokens()
        ),
        (20, 5, 35)
    );
    assert_eq!(usage.cache_read_input_tokens(), Some(10));
}

#[tokio::test]
async fn tool_calls_and_stop_reasons_come_back() {
    let call = json!([{"id": "c9", "type": "function", "function": {"name": "clock", "arguments": "{\"timezone\":\"UTC\"}"}}]);
    let (client, _) = Stub::start(
        200,
        answer(&json!({"content": null, "tool_calls": call}), "stop"),
    )
    .await;
    let output = ask(&client, "some-model", "time?").await.unwrap();
    assert_eq!(output.stop_reason().as_str(), "tool_use");
    let calls = calls(&output);
    assert_eq!((calls[0].tool_use_id(), calls[0].name()), ("c9", "clock"));
    assert_eq!(value(calls[0].input()), json!({ "timezone": "UTC" }));
    for (finish, stop) in [
        ("length", "max_tokens"),
        ("content_filter", "content_filtered"),
        ("stop", "end_turn"),
    ] {
        let (client, _) = Stub::start(200, answer(&json!({"content": "x"}), finish)).await;
        assert_eq!(
            ask(&client, "some-model", "hi")
                .await
                .unwrap()
                .stop_reason()
                .as_str(),
            stop
        );
    }
    let broken =
        json!([{"id": "c9", "function": {"name": "clock", "arguments": "{\"timezone\":"}}]);
    let (client, _) = Stub::start(
        200,
        answer(
            &json!({"content": null, "tool_calls": broken}),
            "tool_calls",
        ),
    )
    .await;
    let output = ask(&client, "some-model", "time?").await.unwrap();
    assert_eq!(output.stop_reason().as_str(), "malformed_tool_use");
}

#[tokio::test]
async fn a_stream_of_text_and_tools_is_translated() {
    let piece = |index: u64, id: Value, name: Value, arguments: &str| json!({"tool_calls": [{"index": index, "id": id, "function": {"name": name, "arguments": arguments}}]});
    let chunks = [
        delta(json!({"role": "assistant", "content": ""}), Value::Null),
        delta(json!({"content": "Let me "}), Value::Null),
        delta(json!({"content": "see."}), Value::Null),
        delta(piece(0, json!("a"), json!("calculator"), ""), Value::Null),
        delta(
            piece(0, Value::Null, Value::Null, "{\"expression\":"),
            Value::Null,
        ),
        delta(piece(0, Value::Null, Value::Null, "\"1+1\"}"), Value::Null),
        delta(piece(1, json!("b"), json!("clock"), ""), Value::Null),
        delta(json!({}), json!("tool_calls")),
        json!({"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 7}}),
    ];
    let (client, stub) = Stub::start(200, events(&chunks)).await;
    let streamed = stream(
        client
            .converse_stream()
            .model_id("m")
            .messages(user("1+1, time"))
            .tool_config(tools()),
    )
    .await;
    assert!(streamed.error.is_none());
    assert_eq!(streamed.pieces, ["Let me ", "see."]);
    let calls: Vec<(&str, &str)> = streamed
        .calls
        .iter()
        .map(|(name, input)| (&**name, &**input))
        .collect();
    assert_eq!(
        calls,
        [("calculator", "{\"expression\":\"1+1\"}"), ("clock", "{}")]
    );
    assert_eq!(streamed.stop, "tool_use");
    let usage = streamed.usage.unwrap();
    assert_eq!(
        (
            usage.input_tokens(),
            usage.output_tokens(),
            usage.total_tokens()
        ),
        (12, 7, 19)
    );
    let (_, body) = stub.last();
    assert_eq!(body["stream"], true);
    assert_eq!(body["stream_options"], json!({ "include_usage": true }));
}

#[tokio::test]
async fn a_stream_without_usage_is_estimated() {
    let chunks = [
        delta(json!({"content": "one two"}), Value::Null),
        delta(json!({}), json!("length")),
    ];
    let (client, _) = Stub::start(200, events(&chunks)).await;
    let streamed = stream(
        client
            .converse_stream()
            .model_id("m")
            .messages(user("hi you")),
    )
    .await;
    assert_eq!(streamed.stop, "max_tokens");
    let usage = streamed.usage.unwrap();
    assert_eq!((usage.input_tokens(), usage.output_tokens()), (2, 2));
}

#[tokio::test]
async fn streams_that_break_off_end_in_an_exception() {
    let half = format!("data: {}\n\n", delta(json!({"content": "on"}), Value::Null));
    let error = format!(
        "{half}data: {}\n\n",
        json!({"error": {"message": "out of memory"}})
    );
    for (sent, said) in [
        (half, "broke off"),
        (error, "out of memory"),
        ("data: {nonsense\n\n".into(), "unreadable"),
    ] {
        let (client, _) = Stub::start(200, sent).await;
        let streamed = stream(client.converse_stream().model_id("m").messages(user("hi"))).await;
        let error = streamed.error.unwrap().into_service_error();
        assert!(error.is_model_stream_error_exception(), "{error:?}");
        assert!(
            format!("{error:?}").contains(said),
            "{error:?} lacks {said}"
        );
    }
}

#[tokio::test]
async fn errors_of_the_server_become_bedrock_errors() {
    let body = json!({"error": {"message": "says the server"}}).to_string();
    let cases: [(u16, Kind); 7] = [
        (400, ConverseError::is_validation_exception),
        (401, ConverseError::is_access_denied_exception),
        (404, ConverseError::is_resource_not_found_exception),
        (422, ConverseError::is_validation_exception),
        (429, ConverseError::is_throttling_exception),
        (500, ConverseError::is_service_unavailable_exception),
        (503, ConverseError::is_service_unavailable_exception),
    ];
    for (status, is_expected) in cases {
        let (client, _) = Stub::start(status, body.clone()).await;
        let error = ask(&client, "m", "hi")
            .await
            .unwrap_err()
            .into_service_error();
        assert!(is_expected(&error), "{status} became {error:?}");
        assert!(format!("{error:?}").contains("says the server"));
        let send = client.converse_stream().model_id("m").messages(user("hi"));
        assert!(send.send().await.is_err());
    }
    let (client, _) = Stub::start(200, "<html>").await;
    assert!(
        ask(&client, "m", "hi")
            .await
            .unwrap_err()
            .into_service_error()
            .is_model_error_exception()
    );
}

#[tokio::test]
async fn an_unreachable_server_is_unavailable_and_local_models_still_answer() {
    let bridge = Bridge {
        url: "http://127.0.0.1:1/v1".into(),
        key: None,
    };
    assert!(
        !format!(
            "{:?}",
            Bridge {
                key: Some("k1".into()),
                ..bridge.clone()
            }
        )
        .contains("k1")
    );
    let (client, _) = super::start(Some(bridge)).await;
    let error = ask(&client, "m", "hi")
        .await
        .unwrap_err()
        .into_service_error();
    let ConverseError::ServiceUnavailableException(error) = error else {
        panic!("{error:?}")
    };
    assert!(
        error.message().unwrap().contains("SKEIN_MODEL_URL"),
        "{error:?}"
    );
    assert_eq!(text(&ask(&client, "local.echo", "hi").await.unwrap()), "hi");
    assert!(
        ask(&client, "local.missing", "hi")
            .await
            .unwrap_err()
            .into_service_error()
            .is_resource_not_found_exception()
    );
}

//! Answers that the local models never give, written byte by byte.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message as Frame};
use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode};

use super::*;

/// A provider that gives every request the same answer.
fn provider(
    status: u16,
    headers: &[(&'static str, &'static str)],
    body: impl Into<Bytes>,
) -> Gateway {
    let (headers, body) = (headers.to_vec(), body.into());
    gateway(Router::new().fallback(async move || {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in headers {
            response.headers_mut().insert(name, value.parse().unwrap());
        }
        response
    }))
}

fn frame(kind: &'static str, name: &'static str, payload: &str) -> Vec<u8> {
    let header = |name: &'static str, value: &'static str| {
        Header::new(name, HeaderValue::String(value.into()))
    };
    let named = if kind == "event" {
        ":event-type"
    } else {
        ":exception-type"
    };
    let frame = Frame::new(Bytes::copy_from_slice(payload.as_bytes()))
        .add_header(header(":message-type", kind))
        .add_header(header(named, name))
        .add_header(header(":content-type", "application/json"));
    let mut bytes = Vec::new();
    write_message_to(&frame, &mut bytes).unwrap();
    bytes
}

fn event(name: &'static str, payload: &str) -> Vec<u8> {
    frame("event", name, payload)
}

fn streaming(frames: &[Vec<u8>]) -> Gateway {
    let headers = [("content-type", "application/vnd.amazon.eventstream")];
    provider(200, &headers, frames.concat())
}

fn beginning() -> Vec<Vec<u8>> {
    vec![
        event("messageStart", r#"{"role":"assistant"}"#),
        event(
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"text":"half"}}"#,
        ),
    ]
}

async fn called(gateway: &Gateway) -> Result<Answer, Failure> {
    gateway.call(&Talk::with("any", "hello").request()).await
}

async fn streamed(gateway: &Gateway) -> Result<Answer, Failure> {
    let talk = Talk::with("any", "hello");
    gateway.stream(&talk.request(), |_| ()).await
}

fn failure(kind: FailureKind, message: &str, retry_after_ms: Option<u64>) -> Failure {
    Failure {
        kind,
        message: message.into(),
        retry_after_ms,
    }
}

#[tokio::test]
async fn errors_are_sorted_by_name_and_then_by_status() {
    use FailureKind::{Fault, Invalid, Refused, Throttled, Transient};
    for (status, name, kind) in [
        (429, "ThrottlingException", Throttled),
        (400, "ServiceQuotaExceededException", Throttled),
        (429, "ModelNotReadyException", Transient),
        (408, "ModelTimeoutException", Transient),
        (503, "ServiceUnavailableException", Transient),
        (403, "ExpiredTokenException", Transient),
        (403, "AccessDeniedException", Refused),
        (403, "UnrecognizedClientException", Refused),
        (400, "ValidationException", Invalid),
        (404, "ResourceNotFoundException", Invalid),
        (500, "InternalServerException", Fault),
        (424, "ModelErrorException", Fault),
        (400, "SomethingNewException", Fault),
        (429, "SomethingNewException", Throttled),
        (503, "SomethingNewException", Transient),
    ] {
        let provider = provider(
            status,
            &[("x-amzn-errortype", name)],
            r#"{"message":"Words."}"#,
        );
        let expected = Err(failure(kind, "Words.", None));
        assert_eq!(called(&provider).await, expected, "{name}");
        assert_eq!(streamed(&provider).await, expected, "{name}");
    }
}

#[tokio::test]
async fn the_wait_that_the_provider_asks_for_is_handed_on() {
    for (name, value, wait) in [
        ("retry-after", "3", Some(3_000)),
        ("x-amz-retry-after", "1500", Some(1_500)),
        ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT", None),
    ] {
        let headers = [("x-amzn-errortype", "ThrottlingException"), (name, value)];
        let provider = provider(429, &headers, r#"{"message":"Slow down."}"#);
        let expected = failure(FailureKind::Throttled, "Slow down.", wait);
        assert_eq!(called(&provider).await, Err(expected));
    }
}

#[tokio::test]
async fn an_error_without_words_is_named() {
    let named = provider(429, &[("x-amzn-errortype", "ThrottlingException")], "{}");
    let expected = failure(FailureKind::Throttled, "ThrottlingException", None);
    assert_eq!(called(&named).await, Err(expected));
    let bare = provider(502, &[], "<html>Bad gateway</html>");
    let failure = called(&bare).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (
            FailureKind::Transient,
            "the provider answered with HTTP status 502 and no reason"
        )
    );
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_a_failure_in_words() {
    let failure = called(&provider(200, &[], "<html>")).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Fault, "the provider's answer cannot be read")
    );
}

#[tokio::test]
async fn an_exception_in_a_stream_is_sorted_by_its_name() {
    use FailureKind::{Fault, Invalid, Throttled, Transient};
    for (name, kind) in [
        ("throttlingException", Throttled),
        ("serviceUnavailableException", Transient),
        ("modelTimeoutException", Transient),
        ("validationException", Invalid),
        ("internalServerException", Fault),
        ("modelStreamErrorException", Fault),
        ("somethingNewException", Fault),
    ] {
        let mut frames = beginning();
        frames.push(frame("exception", name, r#"{"message":"Words."}"#));
        let expected = failure(kind, "Words.", None);
        assert_eq!(streamed(&streaming(&frames)).await, Err(expected), "{name}");
    }
}

#[tokio::test]
async fn a_stream_that_is_cut_short_is_lost() {
    let whole = streaming(&beginning());
    let failure = streamed(&whole).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (
            FailureKind::Lost,
            "the provider's answer ended before it was complete"
        )
    );

    let mut within_a_frame = beginning();
    within_a_frame[1].truncate(40);
    let failure = streamed(&streaming(&within_a_frame)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Lost);
    assert!(
        failure
            .message
            .starts_with("the provider's answer broke off"),
        "{failure:?}"
    );

    let mut damaged = beginning();
    damaged[1][50] ^= 1;
    let failure = streamed(&streaming(&damaged)).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Lost, "{failure:?}");
}

#[tokio::test]
async fn a_malformed_tool_call_in_a_stream_is_an_answer() {
    let answer = streamed(&streaming(&[
        event("messageStart", r#"{"role":"assistant"}"#),
        event(
            "contentBlockStart",
            r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"c1","name":"look"}}}"#,
        ),
        event(
            "contentBlockDelta",
            r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{\"at\": }"}}}"#,
        ),
        event("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        event("messageStop", r#"{"stopReason":"tool_use"}"#),
        event(
            "metadata",
            r#"{"usage":{"inputTokens":10,"outputTokens":5,"totalTokens":15},"metrics":{"latencyMs":1}}"#,
        ),
    ]))
    .await
    .unwrap();
    assert_eq!(answer.stop_reason, StopReason::Malformed);
    assert_eq!(call_of(&answer).arguments, json!("{\"at\": }"));
}

#[tokio::test]
async fn content_of_unknown_kinds_is_left_out_and_cached_tokens_are_priced() {
    let body = r#"{
        "output": {"message": {"role": "assistant", "content": [
            {"reasoningContent": {"reasoningText": {"text": "hm"}}},
            {"somethingNew": {"a": 1}},
            {"text": "hello"}
        ]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 2015,
                  "cacheReadInputTokens": 1000, "cacheWriteInputTokens": 1000},
        "metrics": {"latencyMs": 1}
    }"#;
    let provider = provider(200, &[("content-type", "application/json")], body);
    let talk = Talk::with("us.anthropic.claude-haiku-4-5-20251001-v1:0", "hello");
    let answer = provider.call(&talk.request()).await.unwrap();
    assert_eq!(answer.content.len(), 1);
    assert_eq!(text_of(&answer), "hello");
    let usage = Usage {
        input_tokens: 10,
        output_tokens: 5,
        cache_read_tokens: 1_000,
        cache_write_tokens: 1_000,
    };
    assert_eq!(answer.usage, usage);
    // 11 + 27.5 + 110 + 1,375, rounded up once
    assert_eq!(answer.cost_micro_usd, 1_524);

    // 150 + 375 + 1,500 + 18,750
    let unknown = called(&provider).await.unwrap();
    assert_eq!(unknown.cost_micro_usd, 20_775);
}

#[tokio::test]
async fn a_connection_that_breaks_is_transient() {
    let faults = local::wire::Faults::none();
    faults.add(local::wire::Rule::new(local::wire::Fault::LoseResponse));
    let router = Models::new(bedrock::Config::default()).router();
    let gateway = gateway(faults.wrap(router));
    for failure in [
        called(&gateway).await.unwrap_err(),
        streamed(&gateway).await.unwrap_err(),
    ] {
        assert_eq!(failure.kind, FailureKind::Transient);
        assert!(
            failure
                .message
                .starts_with("the provider could not be reached: "),
            "{failure:?}"
        );
        assert!(!failure.message.contains('{'), "{failure:?}");
    }
}

use std::time::{Duration, Instant};

use aws_sdk_bedrockruntime::{
    operation::{
        converse_stream::builders::ConverseStreamFluentBuilder, count_tokens::CountTokensError,
    },
    types::{
        AnyToolChoice, ContentBlockDelta, ContentBlockStart, ConverseStreamOutput,
        ConverseTokensRequest, CountTokensInput, SystemContentBlock, TokenUsage, ToolChoice,
        error::ConverseStreamOutputError,
    },
};

use tower::ServiceExt as _;

use super::*;

/// A stream put together again.
#[derive(Debug, Default)]
pub(super) struct Streamed {
    pub(super) pieces: Vec<String>,
    pub(super) calls: Vec<(String, String)>,
    pub(super) stop: String,
    pub(super) usage: Option<TokenUsage>,
    pub(super) order: Vec<&'static str>,
    pub(super) error:
        Option<SdkError<ConverseStreamOutputError, aws_smithy_types::event_stream::RawMessage>>,
}

pub(super) async fn stream(send: ConverseStreamFluentBuilder) -> Streamed {
    let mut output = send.send().await.unwrap();
    let mut streamed = Streamed::default();
    loop {
        let event = match output.stream.recv().await {
            Ok(Some(event)) => event,
            Ok(None) => return streamed,
            Err(error) => {
                streamed.error = Some(error);
                return streamed;
            }
        };
        let name = match event {
            ConverseStreamOutput::MessageStart(_) => "start",
            ConverseStreamOutput::ContentBlockStart(event) => {
                let Some(ContentBlockStart::ToolUse(call)) = event.start else {
                    panic!("a tool use")
                };
                streamed.calls.push((call.name, String::new()));
                "block start"
            }
            ConverseStreamOutput::ContentBlockDelta(event) => {
                match event.delta {
                    Some(ContentBlockDelta::Text(piece)) => streamed.pieces.push(piece),
                    Some(ContentBlockDelta::ToolUse(piece)) => {
                        streamed.calls.last_mut().unwrap().1.push_str(&piece.input);
                    }
                    other => panic!("{other:?}"),
                }
                "delta"
            }
            ConverseStreamOutput::ContentBlockStop(_) => "block stop",
            ConverseStreamOutput::MessageStop(event) => {
                streamed.stop = event.stop_reason.as_str().to_owned();
                "stop"
            }
            ConverseStreamOutput::Metadata(event) => {
                assert!(event.metrics.is_some());
                streamed.usage = event.usage;
                "metadata"
            }
            other => panic!("{other:?}"),
        };
        if streamed.order.last() != Some(&name) {
            streamed.order.push(name);
        }
    }
}

#[tokio::test]
async fn echo_answers_with_the_last_text_and_honest_usage() {
    let (client, models) = start(None).await;
    let output = ask(&client, "local.echo", "Hello, \"wörld\"!\n")
        .await
        .unwrap();
    assert_eq!(text(&output), "Hello, \"wörld\"!\n");
    assert_eq!(output.stop_reason().as_str(), "end_turn");
    let usage = output.usage().unwrap();
    assert_eq!(
        (
            usage.input_tokens(),
            usage.output_tokens(),
            usage.total_tokens()
        ),
        (8, 8, 16)
    );
    assert!(output.metrics().is_some());
    assert_eq!(models.calls(), 1);
}

#[tokio::test]
async fn echo_streams_word_by_word() {
    let (client, _) = start(None).await;
    let streamed = stream(
        client
            .converse_stream()
            .model_id("local.echo")
            .messages(user("one two three")),
    )
    .await;
    assert_eq!(streamed.pieces, ["one ", "two ", "three"]);
    assert_eq!(streamed.stop, "end_turn");
    assert_eq!(
        streamed.order,
        ["start", "delta", "block stop", "stop", "metadata"]
    );
    assert_eq!(streamed.usage.unwrap().output_tokens(), 4);
}

#[tokio::test]
async fn a_streamed_tool_use_comes_in_pieces_that_make_one_json_object() {
    let (client, _) = start(None).await;
    let send = client
        .converse_stream()
        .model_id("local.tools")
        .tool_config(tools());
    let streamed = stream(send.messages(user(
        "together 1 + 2 and fetch https://example.com/a/long/path",
    )))
    .await;
    assert_eq!(streamed.stop, "tool_use");
    let calls: Vec<(&str, Value)> = streamed
        .calls
        .iter()
        .map(|(name, input)| (&**name, serde_json::from_str(input).unwrap()))
        .collect();
    assert_eq!(calls[0], ("calculator", json!({ "expression": "1 + 2" })));
    assert_eq!(
        calls[1],
        (
            "http_get",
            json!({ "url": "https://example.com/a/long/path" })
        )
    );
    let tail = ["block start", "delta", "block stop", "stop", "metadata"];
    assert!(streamed.order.ends_with(&tail), "{:?}", streamed.order);
}

#[tokio::test]
async fn encoded_model_ids_are_understood() {
    let (client, _) = start(None).await;
    let id = "arn:aws:bedrock:us-east-1::foundation-model/some.model-v1:0";
    let error = ask(&client, id, "hi")
        .await
        .unwrap_err()
        .into_service_error();
    let ConverseError::ResourceNotFoundException(error) = error else {
        panic!("{error:?}")
    };
    let message = error.message().unwrap();
    for part in [id, "local.tools", "SKEIN_MODEL_URL"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(ask(&client, "local.nothing", "hi").await.is_err());
    assert!(ask(&client, "local.echo-fast", "hi").await.is_err());
}

#[tokio::test]
async fn tokens_are_counted_as_they_are_used() {
    let (client, models) = start(None).await;
    let system = SystemContentBlock::Text("Be brief, please.".into());
    let converse = ConverseTokensRequest::builder()
        .messages(user("What is 2+2?"))
        .system(system.clone())
        .tool_config(tools());
    let input = CountTokensInput::Converse(converse.build());
    let counted = client
        .count_tokens()
        .model_id("local.tools")
        .input(input.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(models.calls(), 0);
    let send = client
        .converse()
        .model_id("local.tools")
        .messages(user("What is 2+2?"))
        .system(system);
    let used = send.tool_config(tools()).send().await.unwrap();
    assert_eq!(counted.input_tokens(), used.usage().unwrap().input_tokens());
    let unknown = client
        .count_tokens()
        .model_id("nobody.knows")
        .input(input)
        .send()
        .await
        .unwrap_err();
    assert!(matches!(
        unknown.into_service_error(),
        CountTokensError::ResourceNotFoundException(_)
    ));
}

#[tokio::test]
async fn max_tokens_truncates_text_and_drops_tool_use() {
    let (client, _) = start(None).await;
    let send = client
        .converse()
        .model_id("local.echo")
        .messages(user("one two three four"));
    let output = send.inference_config(inference(2)).send().await.unwrap();
    assert_eq!(text(&output), "one two");
    assert_eq!(output.stop_reason().as_str(), "max_tokens");
    assert_eq!(output.usage().unwrap().output_tokens(), 2);
    let send = client
        .converse()
        .model_id("local.tools")
        .messages(user("2+2"))
        .tool_config(tools());
    let output = send.inference_config(inference(10)).send().await.unwrap();
    assert!(calls(&output).is_empty());
    assert_eq!(output.stop_reason().as_str(), "max_tokens");
}

#[tokio::test]
async fn stop_sequences_end_the_answer_before_them() {
    let (client, _) = start(None).await;
    let inference = InferenceConfiguration::builder()
        .stop_sequences("END")
        .stop_sequences("and")
        .build();
    let send = client
        .converse()
        .model_id("local.echo")
        .messages(user("this and that END"));
    let output = send.inference_config(inference).send().await.unwrap();
    assert_eq!(text(&output), "this ");
    assert_eq!(output.stop_reason().as_str(), "stop_sequence");
}

#[tokio::test]
async fn slow_takes_its_time_and_streams_over_it() {
    let (client, _) = start(None).await;
    let started = Instant::now();
    let streamed = stream(
        client
            .converse_stream()
            .model_id("local.slow-60")
            .messages(user("one two")),
    )
    .await;
    assert_eq!(streamed.pieces, ["one ", "two"]);
    assert!(started.elapsed() >= Duration::from_millis(60));
    let started = Instant::now();
    ask(&client, "local.tools-40", "hi").await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(40));
}

#[tokio::test]
async fn a_demanded_tool_is_called_once_although_nothing_asks_for_it() {
    let (client, _) = start(None).await;
    let choice = ToolChoice::Any(AnyToolChoice::builder().build());
    let config = tools();
    let config = ToolConfiguration::builder()
        .set_tools(Some(config.tools))
        .tool_choice(choice)
        .build()
        .unwrap();
    let send = client
        .converse()
        .model_id("local.tools")
        .messages(user("hello"))
        .tool_config(config);
    let output = send.send().await.unwrap();
    assert_eq!(calls(&output)[0].name(), "calculator");
}

#[tokio::test]
async fn wrong_conversations_are_refused_as_bedrock_refuses_them() {
    let (client, _) = start(None).await;
    let call = ToolUseBlock::builder()
        .tool_use_id("x")
        .name("clock")
        .input(document(json!({})))
        .build()
        .unwrap();
    let called = message(
        ConversationRole::Assistant,
        vec![ContentBlock::ToolUse(call)],
    );
    let said = message(
        ConversationRole::Assistant,
        vec![ContentBlock::Text("yes".into())],
    );
    let cases = [
        (vec![], "must start with a user message"),
        (vec![said.clone()], "must start with a user message"),
        (vec![user("a"), user("b")], "must alternate"),
        (vec![user(" ")], "is blank"),
        (vec![message(ConversationRole::User, vec![])], "is empty"),
        (
            vec![user("a"), called.clone(), user("b")],
            "Expected toolResult blocks at messages.2.content for the following Ids: x",
        ),
        (vec![user("a"), called], "no tool result"),
    ];
    for (messages, expected) in cases {
        let send = client
            .converse()
            .model_id("local.echo")
            .tool_config(tools());
        let error = send
            .set_messages(Some(messages))
            .send()
            .await
            .unwrap_err()
            .into_service_error();
        let ConverseError::ValidationException(error) = error else {
            panic!("{error:?}")
        };
        assert!(
            error.message().unwrap().contains(expected),
            "{error:?} lacks {expected}"
        );
    }
    let send = client
        .converse()
        .model_id("local.echo")
        .messages(user("a"))
        .inference_config(inference(0));
    assert!(matches!(
        send.send().await.unwrap_err().into_service_error(),
        ConverseError::ValidationException(_)
    ));
}

#[tokio::test]
async fn a_body_that_is_too_large_or_no_json_is_a_validation_error() {
    let (client, models) = start(None).await;
    let text = "x".repeat(25_000_001);
    let error = ask(&client, "local.echo", &text)
        .await
        .unwrap_err()
        .into_service_error();
    assert!(error.is_validation_exception(), "{error:?}");
    for body in [
        "",
        "{",
        "{\"messages\": 1}",
        "{\"messages\":[{\"role\":\"user\",\"content\":[{}]}]}",
    ] {
        let request = axum::http::Request::post("/model/local.echo/converse")
            .body(body.to_owned())
            .unwrap();
        let response = models.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
        assert_eq!(
            response.headers()["x-amzn-errortype"],
            "ValidationException"
        );
    }
}

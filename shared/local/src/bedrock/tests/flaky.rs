use super::{
    protocol::{Streamed, stream},
    *,
};

#[tokio::test]
async fn each_error_is_parsed_into_its_own_type() {
    let (client, _) = start(None).await;
    let error = async |text: &str| {
        ask(&client, "local.flaky", text)
            .await
            .unwrap_err()
            .into_service_error()
    };
    assert!(error("throttle").await.is_throttling_exception());
    assert!(error("fault").await.is_internal_server_exception());
    assert!(
        error("unavailable")
            .await
            .is_service_unavailable_exception()
    );
    assert!(error("timeout").await.is_model_timeout_exception());
    assert!(error("model error").await.is_model_error_exception());
    assert!(error("deny").await.is_access_denied_exception());
    let send = client
        .converse_stream()
        .model_id("local.flaky")
        .messages(user("throttle"));
    assert!(
        send.send()
            .await
            .unwrap_err()
            .into_service_error()
            .is_throttling_exception()
    );
}

#[tokio::test]
async fn a_number_of_failures_holds_for_each_conversation_alone() {
    let (client, _) = start(None).await;
    let fails = async |text: &str| ask(&client, "local.flaky", text).await.is_err();
    assert!(fails("throttle 2 first").await);
    assert!(fails("throttle 2 second").await);
    assert!(fails("throttle 2 first").await);
    assert!(!fails("throttle 2 first").await);
    assert!(fails("throttle 2 second").await);
    assert!(!fails("throttle 2 second").await);
    assert!(
        fails("throttle 2 first").await,
        "counting starts anew after success"
    );
    assert!(!fails("nothing here goes wrong by default").await);
}

#[tokio::test]
async fn after_its_failures_it_works_with_tools() {
    let (client, _) = start(None).await;
    let first = client
        .converse()
        .model_id("local.flaky")
        .messages(user("fault 1 and 2+2"))
        .tool_config(tools());
    assert!(first.send().await.is_err());
    let run = |_: &str, _: &Value| Ok(json!({ "result": 4 }));
    let done = converse(&client, "local.flaky", "fault 1 and 2+2", run).await;
    assert_eq!(done.answer, "2+2 is 4.");
}

#[tokio::test]
async fn refusals_and_nonsense_have_their_stop_reasons() {
    let (client, _) = start(None).await;
    let cases = [
        ("refuse", "guardrail_intervened"),
        ("filter", "content_filtered"),
        ("malformed", "malformed_tool_use"),
        ("empty", "end_turn"),
        ("long", "max_tokens"),
    ];
    for (text, stop) in cases {
        let output = ask(&client, "local.flaky", text).await.unwrap();
        assert_eq!(output.stop_reason().as_str(), stop);
        assert_eq!(
            reply(&output).content().is_empty(),
            matches!(text, "malformed" | "empty"),
            "{text}"
        );
    }
    let send = client
        .converse()
        .model_id("local.flaky")
        .messages(user("long"))
        .inference_config(inference(7));
    assert_eq!(
        send.send().await.unwrap().usage().unwrap().output_tokens(),
        7
    );
}

#[tokio::test]
async fn nonsense_tool_calls_are_made_once_and_then_reported() {
    let (client, _) = start(None).await;
    let refuse = |name: &str, _: &Value| Err(format!("{name} was refused"));
    let done = converse(&client, "local.flaky", "unknown tool", refuse).await;
    assert_eq!(done.steps.len(), 1);
    assert_eq!(done.steps[0][0].0, "no_such_tool");
    assert_eq!(
        done.answer,
        "The tool no_such_tool failed: no_such_tool was refused."
    );
    let done = converse(&client, "local.flaky", "bad arguments", refuse).await;
    assert!(done.steps[0][0].1["expression"].is_array());
    assert_eq!(
        done.answer,
        "The tool calculator failed: calculator was refused."
    );
}

#[tokio::test]
async fn a_stream_can_break_in_its_midst() {
    let (client, _) = start(None).await;
    let send = async |text: &str| -> Streamed {
        stream(
            client
                .converse_stream()
                .model_id("local.flaky")
                .messages(user(text)),
        )
        .await
    };
    let broken = send("break stream please").await;
    assert_eq!(broken.pieces.concat(), "break stream please");
    assert!(
        broken
            .error
            .unwrap()
            .into_service_error()
            .is_model_stream_error_exception()
    );
    let cut = send("cut stream please").await;
    assert!(cut.error.unwrap().as_service_error().is_none());
    assert_eq!(cut.stop, "");
}

#[tokio::test]
async fn after_a_complaint_it_answers_the_text_before() {
    let (client, _) = start(None).await;
    let send = async |first: &str, complaint: &str| {
        let asked = user(first);
        let send = client
            .converse()
            .model_id("local.flaky")
            .tool_config(tools());
        let unusable = send.messages(asked.clone()).send().await.unwrap();
        assert!(reply(&unusable).content().is_empty());
        let placeholder = message(
            ConversationRole::Assistant,
            vec![ContentBlock::Text("(nothing)".into())],
        );
        let send = client
            .converse()
            .model_id("local.flaky")
            .tool_config(tools());
        send.messages(asked)
            .messages(placeholder)
            .messages(user(complaint))
            .send()
            .await
            .unwrap()
    };
    let mended = send(
        "empty 1 and 2+2",
        "Your last answer was empty. Please answer.",
    )
    .await;
    assert_eq!(
        value(calls(&mended)[0].input()),
        json!({ "expression": "2+2" })
    );
    let complaint = "Your last tool call could not be read. Write it again as valid JSON.";
    let mended = send("malformed 1 and 3+3", complaint).await;
    assert_eq!(
        value(calls(&mended)[0].input()),
        json!({ "expression": "3+3" })
    );
    let again = send("malformed", complaint).await;
    assert_eq!(again.stop_reason().as_str(), "malformed_tool_use");
}

#[tokio::test]
async fn a_complaint_in_the_message_that_asked_is_no_other_conversation() {
    let (client, _) = start(None).await;
    let text = |text: &str| ContentBlock::Text(text.into());
    let asked = |content| {
        let send = client.converse().model_id("local.flaky");
        let send = send.messages(message(ConversationRole::User, content));
        send.tool_config(tools()).send()
    };
    let first = asked(vec![text("malformed 1 and 3+3")]).await.unwrap();
    assert_eq!(first.stop_reason().as_str(), "malformed_tool_use");
    let complaint = text("Your last tool call could not be read. Write it again as valid JSON.");
    let mended = asked(vec![text("malformed 1 and 3+3"), complaint])
        .await
        .unwrap();
    assert_eq!(
        value(calls(&mended)[0].input()),
        json!({ "expression": "3+3" })
    );
}

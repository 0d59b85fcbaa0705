use aws_sdk_bedrockruntime::types::SystemContentBlock;
use serde_json::{Value, json};

use super::*;
use crate::bedrock::{json::fitting, plan::Plan, request::Request, tools};

fn succeed(name: &str, input: &Value) -> Result<Value, String> {
    match name {
        "calculator" if input["expression"] == "17 * 23 + 4" => Ok(json!({ "result": 395 })),
        "calculator" => Ok(json!({ "result": 4 })),
        "clock" => Ok(json!({ "time": "2026-11-21T09:00:00Z" })),
        _ => Ok(json!({ "result": format!("{name} went well") })),
    }
}

#[track_caller]
fn check_steps(conversation: &Conversation, expected: &Value) {
    let steps: Vec<Vec<Value>> = conversation
        .steps
        .iter()
        .map(|step| {
            step.iter()
                .map(|(name, input)| json!([name, input]))
                .collect()
        })
        .collect();
    assert_eq!(json!(steps), *expected);
}

#[tokio::test]
async fn arithmetic_is_calculated_and_answered_in_a_sentence() {
    let (client, _) = start(None).await;
    let done = converse(&client, "local.tools", "What is 17 * 23 + 4?", succeed).await;
    check_steps(
        &done,
        &json!([[["calculator", {"expression": "17 * 23 + 4"}]]]),
    );
    assert_eq!(done.answer, "17 * 23 + 4 is 395.");
}

#[tokio::test]
async fn several_things_are_done_one_per_step_in_their_order() {
    let (client, _) = start(None).await;
    let ask = "What time is it in Europe/Berlin and 2+2, then wait 5 seconds, fetch https://example.com/a?b=1. \
               Research the history of tea.";
    let done = converse(&client, "local.tools", ask, succeed).await;
    let expected = json!([
        [["clock", {"timezone": "Europe/Berlin"}]],
        [["calculator", {"expression": "2+2"}]],
        [["wait", {"seconds": 5}]],
        [["http_get", {"url": "https://example.com/a?b=1"}]],
        [["slow_research", {"topic": "the history of tea"}]],
    ]);
    check_steps(&done, &expected);
    for quote in [
        "2026-11-21T09:00:00Z",
        "2+2 is 4.",
        "wait went well",
        "http_get went well",
        "slow_research went well",
    ] {
        assert!(
            done.answer.contains(quote),
            "{quote} is missing in {}",
            done.answer
        );
    }
}

#[tokio::test]
async fn together_calls_everything_in_one_step() {
    let (client, _) = start(None).await;
    let done = converse(
        &client,
        "local.tools",
        "Together: what time is it? And 3 * 4",
        succeed,
    )
    .await;
    check_steps(
        &done,
        &json!([[["clock", {}], ["calculator", {"expression": "3 * 4"}]]]),
    );
}

#[tokio::test]
async fn repetition_makes_successive_calls() {
    let (client, models) = start(None).await;
    let done = converse(&client, "local.tools", "calculate 5 times 1+1", succeed).await;
    check_steps(
        &done,
        &json!(vec![json!([["calculator", {"expression": "1+1"}]]); 5]),
    );
    assert_eq!(models.calls(), 6);
    let done = converse(&client, "local.tools", "repeat 3: wait 1 second", succeed).await;
    check_steps(&done, &json!(vec![json!([["wait", {"seconds": 1}]]); 3]));
    let done = converse(&client, "local.tools", "what is 5 times 3", succeed).await;
    check_steps(&done, &json!([[["calculator", {"expression": "5 * 3"}]]]));
}

#[tokio::test]
async fn counting_to_four_takes_five_model_steps() {
    let (client, models) = start(None).await;
    let done = converse(
        &client,
        "local.tools",
        "Count to 4 with the calculator",
        succeed,
    )
    .await;
    assert_eq!(done.steps.len(), 4);
    assert_eq!(
        done.steps[3],
        [("calculator".to_owned(), json!({ "expression": "3 + 1" }))]
    );
    assert_eq!(models.calls(), 5);
}

#[tokio::test]
async fn a_failed_tool_is_reported_and_the_rest_goes_on() {
    let (client, _) = start(None).await;
    let fail = |name: &str, input: &Value| match name {
        "calculator" => Err("division by zero".to_owned()),
        _ => succeed(name, input),
    };
    let done = converse(&client, "local.tools", "1/0, then wait 1.5 minutes", fail).await;
    assert_eq!(done.steps.len(), 2);
    assert_eq!(
        done.answer,
        "The tool calculator failed: division by zero. Waited 90 seconds: wait went well."
    );
}

#[tokio::test]
async fn only_tools_on_offer_are_called_and_others_by_their_name() {
    let (client, _) = start(None).await;
    let schema = json!({"type": "object", "properties": {"to": {"type": "string", "format": "email"}}, "required": ["to"]});
    let config = ToolConfiguration::builder()
        .tools(tool("send_email", schema))
        .build()
        .unwrap();
    let send = client
        .converse()
        .model_id("local.tools")
        .tool_config(config);
    let output = send
        .messages(user("2+2, then send email to ada@example.com"))
        .send()
        .await
        .unwrap();
    let calls = calls(&output);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].name(), "send_email");
    assert_eq!(value(calls[0].input()), json!({ "to": "ada@example.com" }));
}

#[tokio::test]
async fn a_text_that_needs_no_tool_is_answered_at_once() {
    let (client, _) = start(None).await;
    let done = converse(
        &client,
        "local.tools",
        "Hello there, on 2026-11-21.",
        succeed,
    )
    .await;
    assert!(done.steps.is_empty());
    assert!(
        done.answer
            .contains("calculator, clock, http_get, wait, slow_research"),
        "{}",
        done.answer
    );
    assert_eq!(
        text(&ask(&client, "local.tools", "2+2").await.unwrap()),
        "I have no tools to answer with."
    );
}

#[tokio::test]
async fn a_second_question_in_the_conversation_is_planned_anew() {
    let (client, _) = start(None).await;
    let call = ToolUseBlock::builder()
        .tool_use_id("a")
        .name("calculator")
        .input(document(json!({})))
        .build()
        .unwrap();
    let result = ToolResultBlock::builder()
        .tool_use_id("a")
        .content(ToolResultContentBlock::Text("4".into()))
        .build();
    let messages = vec![
        user("2+2"),
        message(
            ConversationRole::Assistant,
            vec![ContentBlock::ToolUse(call)],
        ),
        message(
            ConversationRole::User,
            vec![ContentBlock::ToolResult(result.unwrap())],
        ),
        message(
            ConversationRole::Assistant,
            vec![ContentBlock::Text("It is 4.".into())],
        ),
        user("and 5+5?"),
    ];
    let send = client
        .converse()
        .model_id("local.tools")
        .tool_config(tools());
    let output = send.set_messages(Some(messages)).send().await.unwrap();
    let calls = calls(&output);
    assert_eq!(value(calls[0].input()), json!({ "expression": "5+5" }));
    assert_ne!(calls[0].tool_use_id(), "a");
}

#[tokio::test]
async fn an_answer_that_needs_a_form_has_it() {
    let (client, _) = start(None).await;
    let schema = json!({"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]});
    let system = SystemContentBlock::Text(format!("```json-schema\n{schema}\n```"));
    let send = client
        .converse()
        .model_id("local.tools")
        .messages(user("Hello"))
        .system(system);
    let answer = text(&send.send().await.unwrap());
    assert!(answer.starts_with("{\"answer\":\"Hello"), "{answer}");
}

#[test]
fn no_text_whatever_breaks_the_planner() {
    const PIECES: [&str; 34] = [
        "1",
        "23",
        "(",
        ")",
        "+",
        "-",
        "*",
        "/",
        ".",
        ",",
        " ",
        "  ",
        "times",
        "5 times",
        "wait",
        "for",
        "seconds",
        "what time",
        "research",
        "and",
        "then",
        "https://",
        "é",
        "日",
        "count to ",
        "repeat ",
        "twice",
        "calculator",
        "-",
        ": ",
        "\n",
        "plus",
        "2026-11-21",
        "together",
    ];
    let tools: Vec<Value> = ["calculator", "clock", "http_get", "wait", "slow_research", "look_up"]
        .iter()
        .map(|name| json!({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object", "properties": {"x": {"type": "integer"}}}}}}))
        .collect();
    let mut seed: usize = 1;
    for _ in 0..3_000 {
        let mut text = String::new();
        for _ in 0..12 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            text.push_str(PIECES[(seed >> 33) % PIECES.len()]);
        }
        let body = json!({"messages": [{"role": "user", "content": [{"text": text}]}], "toolConfig": {"tools": tools}});
        let body = body.to_string();
        let request: Request<'_> = serde_json::from_str(&body).unwrap();
        let plan = Plan::read(&text, &request);
        assert!(plan.len() <= 1_000, "{text}");
        let form = json!({"properties": {"name": {"type": "string"}, "n": {"type": "number"}, "is_ok": {"type": "boolean"}}});
        fitting(&form, &text);
        tools::answer(&request);
    }
}

#[tokio::test]
async fn a_clock_without_zones_is_given_none() {
    let (client, _) = start(None).await;
    let config = ToolConfiguration::builder()
        .tools(tool("clock", json!({"type": "object", "properties": {}})))
        .build();
    let send = client
        .converse()
        .model_id("local.tools")
        .tool_config(config.unwrap());
    let output = send
        .messages(user("What time is it in Europe/Berlin?"))
        .send()
        .await
        .unwrap();
    assert_eq!(value(calls(&output)[0].input()), json!({}));
}

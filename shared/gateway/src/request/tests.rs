use domain::model::{Inference, ToolSpec};

use super::*;

fn text(text: &str) -> Content {
    Content::Text { text: text.into() }
}

fn call(name: &str, arguments: Value) -> Content {
    Content::ToolCall(ToolCall {
        id: "call-1".into(),
        name: name.into(),
        arguments,
    })
}

fn result(text: &str, is_error: bool) -> Content {
    Content::ToolResult {
        call_id: "call-1".into(),
        text: text.into(),
        is_error,
    }
}

fn said(role: Role, content: Vec<Content>) -> Message {
    Message { role, content }
}

fn translate(messages: &[Message], tools: &[ToolSpec]) -> Input {
    kept(messages, tools, PromptCache::Off)
}

fn kept(messages: &[Message], tools: &[ToolSpec], cache: PromptCache) -> Input {
    let request = Request {
        model: "m",
        system: "",
        messages,
        tools,
        inference: &Inference::default(),
        prompt_cache: cache,
        max_output_tokens: 7,
    };
    Input::new(&request, cache)
}

/// A line for each message: its role, then its blocks.
fn outline(input: &Input) -> Vec<String> {
    let block = |block: &ContentBlock| match block {
        ContentBlock::Text(text) => format!("{text:?}"),
        ContentBlock::ToolUse(call) => {
            let input = verbatim::value(&call.input);
            format!("{}{input}", call.name)
        }
        ContentBlock::ToolResult(result) => {
            let text = result.content[0].as_text().unwrap();
            let status = result.status.as_ref().map_or("", |status| status.as_str());
            format!("={text}{status}")
        }
        ContentBlock::CachePoint(point) => {
            format!("|{}", point.ttl.as_ref().map_or("", |ttl| ttl.as_str()))
        }
        other => panic!("an unexpected block: {other:?}"),
    };
    let lines = input.messages.iter().map(|message| {
        let blocks: Vec<_> = message.content.iter().map(block).collect();
        format!("{} {}", message.role, blocks.join(" "))
    });
    lines.collect()
}

#[test]
fn messages_of_one_role_are_merged() {
    let input = translate(
        &[
            Message::user("a"),
            Message::user("b"),
            said(Role::Assistant, vec![text("c")]),
            said(Role::Assistant, vec![text("d"), text("e")]),
            Message::user("f"),
        ],
        &[],
    );
    assert_eq!(
        outline(&input),
        [r#"user "a" "b""#, r#"assistant "c" "d" "e""#, r#"user "f""#]
    );
}

#[test]
fn a_prompt_is_kept_up_to_what_the_last_two_calls_sent() {
    let ask = || said(Role::Assistant, vec![call("look", json!({}))]);
    let answer = |text: &str| said(Role::User, vec![result(text, false)]);
    let talk = [
        Message::user("a"),
        ask(),
        answer("b"),
        ask(),
        answer("c"),
        Message::user("d"),
    ];
    let look = ToolSpec {
        name: "look".into(),
        description: String::new(),
        input_schema: json!({}),
    };
    let tools = std::slice::from_ref(&look);
    let input = kept(&talk, tools, PromptCache::FiveMinutes);
    assert_eq!(
        outline(&input),
        [
            "user \"a\"",
            "assistant look{}",
            "user =b |",
            "assistant look{}",
            "user =c \"d\" |"
        ]
    );
    let input = kept(&talk[..1], tools, PromptCache::OneHour);
    assert_eq!(outline(&input), ["user \"a\" |1h"]);
    let input = kept(&talk[..1], &[], PromptCache::OneHour);
    assert_eq!(
        outline(&input),
        ["user \"a\""],
        "no other call is to be expected"
    );
}

#[test]
fn a_system_prompt_is_kept() {
    let blocks = |text| system(text, cache_point(PromptCache::FiveMinutes)).unwrap_or_default();
    assert_eq!([blocks("Be brief.").len(), blocks(" ").len()], [2, 0]);
}

#[test]
fn blank_texts_and_what_they_leave_empty_are_dropped() {
    let input = translate(
        &[
            Message::user("a"),
            said(Role::Assistant, vec![text(" \n")]),
            said(Role::Assistant, vec![]),
            said(Role::User, vec![text(""), text("b")]),
        ],
        &[],
    );
    assert_eq!(outline(&input), [r#"user "a" "b""#]);
}

#[test]
fn tool_results_go_before_texts_of_their_message() {
    let input = translate(
        &[
            Message::user("a"),
            said(
                Role::Assistant,
                vec![text("let me see"), call("look", json!({"at": [1, 2.5]}))],
            ),
            Message::user("by the way"),
            said(Role::User, vec![result("seen", false)]),
        ],
        &[],
    );
    assert_eq!(
        outline(&input),
        [
            r#"user "a""#,
            r#"assistant "let me see" look{"at":[1,2.5]}"#,
            r#"user =seen "by the way""#
        ]
    );
}

#[test]
fn failed_and_empty_results_are_told_apart_from_others() {
    let input = translate(&[said(Role::User, vec![result("no such file", true)])], &[]);
    assert_eq!(outline(&input), ["user =no such fileerror"]);
    let input = translate(&[said(Role::User, vec![result("", false)])], &[]);
    assert_eq!(outline(&input), ["user =(empty)"]);
}

#[test]
fn nonsense_that_a_model_wrote_is_brought_into_an_acceptable_form() {
    let input = translate(
        &[said(
            Role::Assistant,
            vec![
                call("a b/ü", json!("{\"x\": ")),
                call("", json!([1])),
                call(&"x".repeat(70), json!({})),
            ],
        )],
        &[],
    );
    let long = "x".repeat(64);
    assert_eq!(
        outline(&input),
        [format!(
            r#"assistant a_b__{{"arguments":"{{\"x\": "}} _{{"arguments":[1]}} {long}{{}}"#
        )]
    );
}

#[test]
fn offered_tools_are_specified() {
    let schema = json!({"type": "object", "properties": {"at": {"type": "integer"}}});
    let tools = [
        ToolSpec {
            name: "look".into(),
            description: "Looks.".into(),
            input_schema: schema.clone(),
        },
        ToolSpec {
            name: "wait".into(),
            description: String::new(),
            input_schema: json!(true),
        },
    ];
    let configuration = translate(&[Message::user("a")], &tools).tools.unwrap();
    let look = configuration.tools[0].as_tool_spec().unwrap();
    assert_eq!(
        (look.name.as_str(), look.description.as_deref()),
        ("look", Some("Looks."))
    );
    let Some(ToolInputSchema::Json(given)) = look.input_schema.clone() else {
        panic!("no schema");
    };
    assert_eq!(verbatim::value(&given), schema);
    assert_eq!(
        configuration.tools[1].as_tool_spec().unwrap().description,
        None
    );
    assert!(translate(&[Message::user("a")], &[]).tools.is_none());
}

#[test]
fn tools_that_were_withdrawn_are_still_named() {
    let calls = vec![call("look", json!({})), call("look", json!({"n": 1}))];
    let messages = [Message::user("a"), said(Role::Assistant, calls)];
    let tools = translate(&messages, &[]).tools.unwrap().tools;
    let names: Vec<_> = tools
        .iter()
        .map(|tool| tool.as_tool_spec().unwrap().name.as_str())
        .collect();
    assert_eq!(names, ["look"]);
}

#[test]
fn parameters_are_set_only_where_the_request_has_them() {
    let inference = Inference {
        max_output_tokens: 100,
        temperature: Some(0.5),
        top_p: None,
        stop_sequences: vec!["END".into()],
    };
    let request = Request {
        model: "m",
        system: "Be brief.",
        messages: &[Message::user("a")],
        tools: &[],
        inference: &inference,
        prompt_cache: PromptCache::Off,
        max_output_tokens: u32::MAX,
    };
    let input = Input::new(&request, PromptCache::Off);
    assert_eq!(input.inference.max_tokens, Some(i32::MAX));
    assert_eq!(input.inference.temperature, Some(0.5));
    assert_eq!(input.inference.top_p, None);
    assert_eq!(input.inference.stop_sequences(), ["END"]);
    assert_eq!(input.system.unwrap()[0].as_text().unwrap(), "Be brief.");

    let bare = translate(&[Message::user("a")], &[]);
    assert_eq!(bare.inference.max_tokens, Some(7));
    assert_eq!(bare.inference.stop_sequences, None);
    assert!(bare.system.is_none());
}

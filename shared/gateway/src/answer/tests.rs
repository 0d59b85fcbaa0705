use aws_sdk_bedrockruntime::types::{
    CachePointBlock, CachePointType, ContentBlockDeltaEvent, ContentBlockStartEvent,
    ConversationRole, ConverseStreamMetadataEvent, Message, MessageStopEvent, ToolUseBlock,
    ToolUseBlockDelta, ToolUseBlockStart,
};
use domain::model::FailureKind;
use serde_json::json;

use super::*;

fn usage() -> TokenUsage {
    TokenUsage::builder()
        .input_tokens(10)
        .output_tokens(5)
        .total_tokens(22)
        .cache_read_input_tokens(4)
        .cache_write_input_tokens(3)
        .build()
        .unwrap()
}

fn counted() -> Usage {
    Usage {
        input_tokens: 10,
        output_tokens: 5,
        cache_read_tokens: 4,
        cache_write_tokens: 3,
    }
}

fn output(blocks: Vec<ContentBlock>, stop: BedrockStop) -> ConverseOutput {
    let message = Message::builder()
        .role(ConversationRole::Assistant)
        .set_content(Some(blocks))
        .build()
        .unwrap();
    ConverseOutput::builder()
        .output(Said::Message(message))
        .stop_reason(stop)
        .usage(usage())
        .build()
        .unwrap()
}

fn text(index: i32, text: &str) -> ConverseStreamOutput {
    delta(index, ContentBlockDelta::Text(text.into()))
}

fn arguments(index: i32, input: &str) -> ConverseStreamOutput {
    let input = ToolUseBlockDelta::builder().input(input).build().unwrap();
    delta(index, ContentBlockDelta::ToolUse(input))
}

fn delta(index: i32, delta: ContentBlockDelta) -> ConverseStreamOutput {
    ConverseStreamOutput::ContentBlockDelta(
        ContentBlockDeltaEvent::builder()
            .content_block_index(index)
            .delta(delta)
            .build()
            .unwrap(),
    )
}

fn call(index: i32, id: &str, name: &str) -> ConverseStreamOutput {
    let start = ToolUseBlockStart::builder()
        .tool_use_id(id)
        .name(name)
        .build()
        .unwrap();
    ConverseStreamOutput::ContentBlockStart(
        ContentBlockStartEvent::builder()
            .content_block_index(index)
            .start(ContentBlockStart::ToolUse(start))
            .build()
            .unwrap(),
    )
}

fn stop(reason: BedrockStop) -> ConverseStreamOutput {
    let event = MessageStopEvent::builder().stop_reason(reason).build();
    ConverseStreamOutput::MessageStop(event.unwrap())
}

fn metadata() -> ConverseStreamOutput {
    let event = ConverseStreamMetadataEvent::builder()
        .usage(usage())
        .build();
    ConverseStreamOutput::Metadata(event)
}

fn assemble(events: Vec<ConverseStreamOutput>) -> (Vec<Delta>, Result<Parts, Failure>) {
    let mut assembly = Assembly::default();
    let deltas = events
        .into_iter()
        .filter_map(|e| assembly.take(e))
        .collect();
    (deltas, assembly.finish())
}

#[test]
fn pieces_make_the_same_answer_as_the_whole() {
    let lookup = ToolUseBlock::builder()
        .tool_use_id("c1")
        .name("look")
        .input(document::from_value(
            &json!({"at": [1, -2, 0.5], "x": null}),
        ))
        .build()
        .unwrap();
    let clock = ToolUseBlock::builder()
        .tool_use_id("c2")
        .name("clock")
        .input(document::from_value(&json!({})))
        .build()
        .unwrap();
    let cache_point = CachePointBlock::builder()
        .r#type(CachePointType::Default)
        .build()
        .unwrap();
    let whole = whole(output(
        vec![
            ContentBlock::Text("Let me look.".into()),
            ContentBlock::CachePoint(cache_point),
            ContentBlock::Text(String::new()),
            ContentBlock::ToolUse(lookup),
            ContentBlock::ToolUse(clock),
        ],
        BedrockStop::ToolUse,
    ));
    let (deltas, pieces) = assemble(vec![
        text(0, ""),
        text(0, "Let me "),
        text(0, "look."),
        call(1, "c1", "look"),
        arguments(1, "{\"at\": [1, -2"),
        call(2, "c2", "clock"),
        arguments(1, ", 0.5], \"x\": null}"),
        stop(BedrockStop::ToolUse),
        metadata(),
    ]);
    assert_eq!(whole, pieces);
    let parts = pieces.unwrap();
    assert_eq!((parts.content.len(), parts.usage), (3, counted()));
    let tool = |ordinal, name: &str| Delta::ToolCall {
        ordinal,
        name: name.into(),
    };
    let text = |text: &str| Delta::Text { text: text.into() };
    assert_eq!(
        deltas,
        [
            text("Let me "),
            text("look."),
            tool(0, "look"),
            tool(1, "clock")
        ]
    );
}

#[test]
fn arguments_that_are_not_json_are_kept_and_named_malformed() {
    for reason in [BedrockStop::ToolUse, BedrockStop::MaxTokens] {
        let (_, parts) = assemble(vec![
            call(0, "c1", "look"),
            arguments(0, "{\"at\": "),
            stop(reason),
            metadata(),
        ]);
        let parts = parts.unwrap();
        assert_eq!(parts.stop_reason, StopReason::Malformed);
        let Content::ToolCall(call) = &parts.content[0] else {
            panic!("no call");
        };
        assert_eq!(call.arguments, json!("{\"at\": "));
    }
}

#[test]
fn a_refusal_outweighs_arguments_that_are_not_json() {
    let (_, parts) = assemble(vec![
        call(0, "c1", "look"),
        arguments(0, "{"),
        stop(BedrockStop::GuardrailIntervened),
        metadata(),
    ]);
    assert_eq!(parts.unwrap().stop_reason, StopReason::Refused);
}

#[test]
fn a_stream_without_its_end_was_cut_short() {
    let endings = [
        vec![],
        vec![text(0, "half")],
        vec![stop(BedrockStop::EndTurn)],
        vec![metadata()],
    ];
    for events in endings {
        let (_, parts) = assemble(events);
        assert_eq!(parts.unwrap_err().kind, FailureKind::Lost);
    }
}

#[test]
fn an_empty_answer_is_an_answer() {
    let (deltas, parts) = assemble(vec![stop(BedrockStop::EndTurn), metadata()]);
    assert_eq!((deltas.len(), parts.unwrap().content.len()), (0, 0));
    let whole = whole(output(vec![], BedrockStop::EndTurn)).unwrap();
    assert!(whole.content.is_empty());
}

#[test]
fn an_answer_without_usage_is_a_fault() {
    let mut output = output(vec![], BedrockStop::EndTurn);
    output.usage = None;
    let failure = whole(output).unwrap_err();
    assert_eq!(
        (failure.kind, failure.message.as_str()),
        (FailureKind::Fault, "the provider's answer has no usage")
    );
}

#[test]
fn every_stop_reason_has_its_meaning() {
    let reasons = [
        ("end_turn", StopReason::EndTurn),
        ("tool_use", StopReason::ToolUse),
        ("max_tokens", StopReason::MaxTokens),
        ("stop_sequence", StopReason::StopSequence),
        ("guardrail_intervened", StopReason::Refused),
        ("content_filtered", StopReason::Refused),
        ("malformed_model_output", StopReason::Malformed),
        ("malformed_tool_use", StopReason::Malformed),
        ("model_context_window_exceeded", StopReason::ContextExceeded),
        ("newer_than_this", StopReason::EndTurn),
    ];
    for (name, meaning) in reasons {
        assert_eq!(stop_reason(&name.into(), &[]), meaning, "{name}");
    }
    let call = Content::ToolCall(ToolCall {
        id: "c1".into(),
        name: "look".into(),
        arguments: json!({}),
    });
    assert_eq!(
        stop_reason(&"newer_than_this".into(), &[call]),
        StopReason::ToolUse
    );
}

//! A model's answer from Bedrock's form, whole or in pieces.

use aws_sdk_bedrockruntime::operation::converse::ConverseOutput;
use aws_sdk_bedrockruntime::types::{
    ContentBlock, ContentBlockDelta, ContentBlockStart, ConverseOutput as Said,
    ConverseStreamOutput, StopReason as BedrockStop, TokenUsage,
};
use domain::model::{Content, Failure, StopReason, ToolCall, Usage};
use serde_json::Value;

use crate::{Delta, document, failure};

/// An answer without its price and duration.
#[derive(Debug, PartialEq)]
pub(crate) struct Parts {
    pub(crate) content: Vec<Content>,
    pub(crate) stop_reason: StopReason,
    pub(crate) usage: Usage,
}

/// Reads a whole answer. Content that the domain does not know is left out.
pub(crate) fn whole(output: ConverseOutput) -> Result<Parts, Failure> {
    // Without its usage an answer has no price, and a budget could not be kept.
    let usage = output
        .usage
        .as_ref()
        .ok_or_else(|| failure::incomplete("usage"))?;
    let blocks = match output.output {
        Some(Said::Message(message)) => message.content,
        _ => Vec::new(),
    };
    let content: Vec<_> = blocks.into_iter().filter_map(content).collect();
    Ok(Parts {
        stop_reason: stop_reason(&output.stop_reason, &content),
        usage: tokens(usage),
        content,
    })
}

fn content(block: ContentBlock) -> Option<Content> {
    match block {
        ContentBlock::Text(text) => (!text.is_empty()).then_some(Content::Text { text }),
        ContentBlock::ToolUse(call) => Some(Content::ToolCall(ToolCall {
            id: call.tool_use_id,
            name: call.name,
            arguments: document::into_value(call.input),
        })),
        _ => None,
    }
}

fn tokens(usage: &TokenUsage) -> Usage {
    let count = |n: i32| u64::try_from(n).unwrap_or(0);
    Usage {
        input_tokens: count(usage.input_tokens),
        output_tokens: count(usage.output_tokens),
        cache_read_tokens: count(usage.cache_read_input_tokens.unwrap_or(0)),
        cache_write_tokens: count(usage.cache_write_input_tokens.unwrap_or(0)),
    }
}

fn stop_reason(stop: &BedrockStop, content: &[Content]) -> StopReason {
    match stop {
        BedrockStop::EndTurn => StopReason::EndTurn,
        BedrockStop::ToolUse => StopReason::ToolUse,
        BedrockStop::MaxTokens => StopReason::MaxTokens,
        BedrockStop::StopSequence => StopReason::StopSequence,
        BedrockStop::ContentFiltered | BedrockStop::GuardrailIntervened => StopReason::Refused,
        BedrockStop::MalformedModelOutput | BedrockStop::MalformedToolUse => StopReason::Malformed,
        BedrockStop::ModelContextWindowExceeded => StopReason::ContextExceeded,
        // A reason newer than this code: what the model wrote tells as much as can be told.
        _ if content.iter().any(|c| matches!(c, Content::ToolCall(_))) => StopReason::ToolUse,
        _ => StopReason::EndTurn,
    }
}

/// An answer that arrives in pieces.
#[derive(Debug, Default)]
pub(crate) struct Assembly {
    blocks: Vec<Block>,
    stop: Option<BedrockStop>,
    usage: Option<Usage>,
    calls: u32,
}

#[derive(Debug)]
struct Block {
    index: i32,
    piece: Piece,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Call {
        id: String,
        name: String,
        arguments: String,
    },
}

impl Assembly {
    /// Takes the next piece in; returns what is new for a reader.
    pub(crate) fn take(&mut self, event: ConverseStreamOutput) -> Option<Delta> {
        match event {
            ConverseStreamOutput::ContentBlockStart(event) => {
                self.start(event.content_block_index, event.start?)
            }
            ConverseStreamOutput::ContentBlockDelta(event) => {
                self.append(event.content_block_index, event.delta?)
            }
            ConverseStreamOutput::MessageStop(event) => {
                self.stop = Some(event.stop_reason);
                None
            }
            ConverseStreamOutput::Metadata(event) => {
                self.usage = event.usage.as_ref().map(tokens).or(self.usage);
                None
            }
            _ => None,
        }
    }

    fn start(&mut self, index: i32, start: ContentBlockStart) -> Option<Delta> {
        let ContentBlockStart::ToolUse(start) = start else {
            return None;
        };
        let delta = Delta::ToolCall {
            ordinal: self.calls,
            name: start.name.clone(),
        };
        self.calls += 1;
        let piece = Piece::Call {
            id: start.tool_use_id,
            name: start.name,
            arguments: String::new(),
        };
        self.blocks.push(Block { index, piece });
        Some(delta)
    }

    fn append(&mut self, index: i32, delta: ContentBlockDelta) -> Option<Delta> {
        let block = self.blocks.iter_mut().rfind(|block| block.index == index);
        match (delta, block.map(|block| &mut block.piece)) {
            (ContentBlockDelta::Text(text), _) if text.is_empty() => None,
            (ContentBlockDelta::Text(text), Some(Piece::Text(whole))) => {
                whole.push_str(&text);
                Some(Delta::Text { text })
            }
            (ContentBlockDelta::Text(text), None) => {
                let piece = Piece::Text(text.clone());
                self.blocks.push(Block { index, piece });
                Some(Delta::Text { text })
            }
            (ContentBlockDelta::ToolUse(delta), Some(Piece::Call { arguments, .. })) => {
                arguments.push_str(&delta.input);
                None
            }
            _ => None,
        }
    }

    /// Whether nothing more is needed.
    pub(crate) fn is_complete(&self) -> bool {
        self.stop.is_some() && self.usage.is_some()
    }

    /// The answer, once the stream has ended. A stream that ended without a stop reason or usage was cut short.
    pub(crate) fn finish(mut self) -> Result<Parts, Failure> {
        let (Some(stop), Some(usage)) = (self.stop, self.usage) else {
            return Err(failure::cut_short());
        };
        self.blocks.sort_by_key(|block| block.index);
        let mut readable = true;
        let content: Vec<_> = self
            .blocks
            .into_iter()
            .map(|block| match block.piece {
                Piece::Text(text) => Content::Text { text },
                Piece::Call {
                    id,
                    name,
                    arguments,
                } => Content::ToolCall(ToolCall {
                    id,
                    name,
                    arguments: parse(arguments).unwrap_or_else(|written| {
                        readable = false;
                        Value::String(written)
                    }),
                }),
            })
            .collect();
        let stop_reason = match stop_reason(&stop, &content) {
            refused @ (StopReason::Refused | StopReason::ContextExceeded) => refused,
            _ if !readable => StopReason::Malformed,
            other => other,
        };
        Ok(Parts {
            content,
            stop_reason,
            usage,
        })
    }
}

/// The arguments of a tool call; none at all are an empty object. What is not JSON is handed back as it was written.
fn parse(written: String) -> Result<Value, String> {
    if written.trim().is_empty() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str(&written).map_err(|_| written)
}

#[cfg(test)]
mod tests;

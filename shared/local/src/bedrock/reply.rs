//! What a model answers, before it takes a wire form.

use serde_json::value::RawValue;

use super::{prompt_cache::Read, request::Inference, tokens};

/// The answer of one model call.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) parts: Vec<Part>,
    pub(super) stop: Stop,
    /// Set by `local.flaky` only: how a streamed answer ends early.
    pub(super) cut: Option<Cut>,
}

#[derive(Debug)]
pub(super) enum Part {
    Text(String),
    ToolUse {
        id: String,
        name: String,
        input: Box<RawValue>,
    },
}

/// How a stream ends before its message does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// An exception event after the first pieces.
    Exception,
    /// The connection closes after the first pieces.
    Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Finished,
    ToolUse,
    MaxTokens,
    Sequence,
    ContentFiltered,
    GuardrailIntervened,
    MalformedToolUse,
}

impl Stop {
    /// The wire's `stopReason`.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Stop::Finished => "end_turn",
            Stop::ToolUse => "tool_use",
            Stop::MaxTokens => "max_tokens",
            Stop::Sequence => "stop_sequence",
            Stop::ContentFiltered => "content_filtered",
            Stop::GuardrailIntervened => "guardrail_intervened",
            Stop::MalformedToolUse => "malformed_tool_use",
        }
    }
}

/// Token usage of one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) input_tokens: u64,
    pub(super) output_tokens: u64,
    /// Input read from the provider's prompt cache; not part of `input_tokens`.
    pub(super) cache_read_tokens: u64,
    /// Input that the prompt cache keeps from now on; not part of `input_tokens` either.
    pub(super) cache_write_tokens: u64,
}

impl Usage {
    /// What was used for `reply` to a request that was read like that.
    pub(super) fn of(read: Read, reply: &Reply) -> Self {
        Self {
            input_tokens: read.anew,
            output_tokens: reply.parts.iter().map(Part::tokens).sum(),
            cache_read_tokens: read.kept,
            cache_write_tokens: read.to_keep,
        }
    }

    pub(super) fn total_tokens(self) -> u64 {
        self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens
    }
}

impl Part {
    fn tokens(&self) -> u64 {
        match self {
            Part::Text(text) => tokens::count(text),
            Part::ToolUse { name, input, .. } => tokens::count(name) + tokens::count(input.get()),
        }
    }
}

impl Reply {
    pub(super) fn text(text: impl Into<String>) -> Self {
        Self::new(vec![Part::Text(text.into())], Stop::Finished)
    }

    pub(super) fn new(parts: Vec<Part>, stop: Stop) -> Self {
        Self {
            parts,
            stop,
            cut: None,
        }
    }

    /// Honours `stopSequences` and `maxTokens`. A tool use that does not fit whole is left out, for
    /// half a tool use is none.
    pub(super) fn limited(mut self, inference: &Inference<'_>) -> Self {
        if !inference.stop_sequences.is_empty() {
            self.stop_at(inference);
        }
        if let Some(limit) = inference.max_tokens.and_then(|n| u64::try_from(n).ok()) {
            self.truncate(limit);
        }
        self
    }

    fn stop_at(&mut self, inference: &Inference<'_>) {
        for place in 0..self.parts.len() {
            let Part::Text(text) = &mut self.parts[place] else {
                continue;
            };
            let found = inference
                .stop_sequences
                .iter()
                .filter_map(|s| text.find(&*s.0))
                .min();
            if let Some(end) = found {
                text.truncate(end);
                let keep = if end == 0 { place } else { place + 1 };
                self.parts.truncate(keep);
                self.stop = Stop::Sequence;
                return;
            }
        }
    }

    fn truncate(&mut self, limit: u64) {
        let mut left = limit;
        for place in 0..self.parts.len() {
            let used = self.parts[place].tokens();
            if used <= left {
                left -= used;
                continue;
            }
            let mut keep = place;
            if let Part::Text(text) = &mut self.parts[place] {
                let end = tokens::prefix(text, left).trim_end().len();
                text.truncate(end);
                keep += usize::from(end > 0);
            }
            self.parts.truncate(keep);
            self.stop = Stop::MaxTokens;
            return;
        }
    }
}

/// A JSON object as the input of a tool use.
pub(super) fn raw(value: &serde_json::Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).expect("a JSON value always serialises")
}

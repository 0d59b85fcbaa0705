//! The server-sent events of a streamed chat completion as frames of a Bedrock event stream.

use std::time::Instant;

use serde::Deserialize;
use serde_json::Value;

use super::incoming::{self, WireUsage};
use crate::bedrock::{
    reply::{Stop, Usage},
    tokens,
    wire::Frames,
};

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<WireUsage>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
struct Delta {
    content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallPiece>>,
}

#[derive(Deserialize)]
struct CallPiece {
    index: Option<u64>,
    id: Option<String>,
    #[serde(rename = "function")]
    called: Option<CalledPiece>,
}

#[derive(Deserialize)]
struct CalledPiece {
    name: Option<String>,
    arguments: Option<String>,
}

/// The block that is being written.
enum Open {
    Nothing,
    Text,
    Call { index: u64, arguments: String },
}

/// Reads pieces of the event stream as they come and writes frames.
pub(super) struct Translator {
    started: Instant,
    /// Bytes of a line that is not complete yet.
    line: Vec<u8>,
    open: Open,
    /// Index of the block that is open, or of the next one.
    block: usize,
    begun: bool,
    ended: bool,
    calls: bool,
    malformed: bool,
    finish_reason: Option<String>,
    usage: Option<Usage>,
    /// Stands in for the server's usage where it tells none.
    estimate: Usage,
}

impl Translator {
    /// `input_tokens` is the estimate to fall back on.
    pub(super) fn new(started: Instant, input_tokens: u64) -> Self {
        Self {
            started,
            line: Vec::new(),
            open: Open::Nothing,
            block: 0,
            begun: false,
            ended: false,
            calls: false,
            malformed: false,
            finish_reason: None,
            usage: None,
            estimate: Usage {
                input_tokens,
                ..Usage::default()
            },
        }
    }

    /// Takes the next bytes; answers whether the stream has ended.
    pub(super) fn feed(&mut self, bytes: &[u8], frames: &mut Frames) -> bool {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.line(&line, frames);
            }
            if self.ended {
                return true;
            }
        }
        false
    }

    /// The server has closed the stream, orderly or not.
    pub(super) fn end(&mut self, frames: &mut Frames) {
        if self.ended {
            return;
        }
        if self.finish_reason.is_none() {
            self.broken(frames, "The model server broke off its answer.");
            return;
        }
        self.finish(frames);
    }

    fn line(&mut self, line: &[u8], frames: &mut Frames) {
        let Some(data) = line.strip_prefix(b"data:") else {
            return;
        };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.end(frames);
            return;
        }
        match serde_json::from_slice::<Chunk>(data) {
            Ok(Chunk {
                error: Some(error), ..
            }) => {
                let said = incoming::error_text(&serde_json::json!({ "error": error }));
                self.broken(frames, &said);
            }
            Ok(chunk) => self.chunk(chunk, frames),
            Err(error) => self.broken(
                frames,
                &format!("The model server sent an unreadable piece: {error}."),
            ),
        }
    }

    fn chunk(&mut self, chunk: Chunk, frames: &mut Frames) {
        self.begin(frames);
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.into());
        }
        let Some(choice) = chunk.choices.into_iter().next() else {
            return;
        };
        if let Some(text) = choice.delta.content.filter(|text| !text.is_empty()) {
            self.text(&text, frames);
        }
        for piece in choice.delta.tool_calls.unwrap_or_default() {
            self.call(piece, frames);
        }
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
    }

    fn begin(&mut self, frames: &mut Frames) {
        if !self.begun {
            self.begun = true;
            frames.message_start();
        }
    }

    fn text(&mut self, text: &str, frames: &mut Frames) {
        if !matches!(self.open, Open::Text) {
            self.close(frames);
            self.open = Open::Text;
        }
        self.estimate.output_tokens += tokens::count(text);
        frames.text(self.block, text);
    }

    /// Calls come one after the other. A piece with a new index, or with a new id where a server
    /// sends no index, starts the next one.
    fn call(&mut self, piece: CallPiece, frames: &mut Frames) {
        let (name, more) = piece
            .called
            .map_or((None, None), |called| (called.name, called.arguments));
        let same = match &self.open {
            Open::Call { index, .. } => piece.index.map_or(name.is_none(), |new| new == *index),
            Open::Nothing | Open::Text => false,
        };
        if !same {
            self.close(frames);
            let Some(name) = name else {
                self.malformed = true;
                return;
            };
            let id = piece
                .id
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| format!("tooluse_{}", self.block));
            frames.tool_start(self.block, &id, &name);
            self.calls = true;
            self.estimate.output_tokens += tokens::count(&name);
            self.open = Open::Call {
                index: piece.index.unwrap_or_default(),
                arguments: String::new(),
            };
        }
        let Some(more) = more.filter(|more| !more.is_empty()) else {
            return;
        };
        self.estimate.output_tokens += tokens::count(&more);
        frames.tool_input(self.block, &more);
        if let Open::Call { arguments, .. } = &mut self.open {
            arguments.push_str(&more);
        }
    }

    fn close(&mut self, frames: &mut Frames) {
        match std::mem::replace(&mut self.open, Open::Nothing) {
            Open::Nothing => return,
            Open::Text => {}
            Open::Call { arguments, .. } => {
                if arguments.trim().is_empty() {
                    frames.tool_input(self.block, "{}");
                }
                self.malformed |= incoming::object(&arguments).is_none();
            }
        }
        frames.block_stop(self.block);
        self.block += 1;
    }

    fn finish(&mut self, frames: &mut Frames) {
        self.begin(frames);
        self.close(frames);
        let stop = match incoming::stop(self.finish_reason.as_deref(), self.calls) {
            Stop::ToolUse | Stop::Finished if self.malformed => Stop::MalformedToolUse,
            stop => stop,
        };
        frames.message_stop(stop);
        frames.metadata(self.usage.unwrap_or(self.estimate), self.started.elapsed());
        self.ended = true;
    }

    fn broken(&mut self, frames: &mut Frames, why: &str) {
        frames.exception("modelStreamErrorException", why);
        self.ended = true;
    }
}

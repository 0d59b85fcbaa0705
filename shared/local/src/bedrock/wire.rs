//! Answers in their wire form: one JSON body, or frames of an event stream.

use std::time::Duration;

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::{
    event_stream::{Header, HeaderValue, Message},
    str_bytes::StrBytes,
};
use bytes::{Bytes, BytesMut};

use super::reply::{Cut, Part, Reply, Stop, Usage};

/// The body of a `Converse` answer.
pub(super) fn body(reply: &Reply, usage: Usage, latency: Duration) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":[");
    for (place, part) in reply.parts.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        match part {
            Part::Text(text) => {
                out.extend_from_slice(b"{\"text\":");
                string(&mut out, text);
                out.push(b'}');
            }
            Part::ToolUse { id, name, input } => {
                out.extend_from_slice(b"{\"toolUse\":{\"toolUseId\":");
                string(&mut out, id);
                out.extend_from_slice(b",\"name\":");
                string(&mut out, name);
                out.extend_from_slice(b",\"input\":");
                out.extend_from_slice(input.get().as_bytes());
                out.extend_from_slice(b"}}");
            }
        }
    }
    out.extend_from_slice(b"]}},\"stopReason\":");
    string(&mut out, reply.stop.as_str());
    out.push(b',');
    metadata(&mut out, usage, latency);
    out.push(b'}');
    out
}

fn metadata(out: &mut Vec<u8>, usage: Usage, latency: Duration) {
    let text = format!(
        "\"usage\":{{\"inputTokens\":{},\"outputTokens\":{},\"totalTokens\":{},\"cacheReadInputTokens\":{},\
         \"cacheWriteInputTokens\":{}}},\"metrics\":{{\"latencyMs\":{}}}",
        usage.input_tokens,
        usage.output_tokens,
        usage.total_tokens(),
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        latency.as_millis()
    );
    out.extend_from_slice(text.as_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string always serialises into memory");
}

/// Frames of one event stream, written one after the other.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: BytesMut,
    /// Where in `buffer` each frame ends; kept for paced streams.
    ends: Vec<usize>,
    payload: Vec<u8>,
}

impl Frames {
    /// The whole answer as frames.
    pub(super) fn of(reply: &Reply, usage: Usage, latency: Duration) -> Self {
        let mut frames = Self::default();
        frames.message_start();
        for (block, part) in reply.parts.iter().enumerate() {
            match part {
                Part::Text(text) => text
                    .split_inclusive(' ')
                    .for_each(|piece| frames.text(block, piece)),
                Part::ToolUse { id, name, input } => {
                    frames.tool_start(block, id, name);
                    pieces(input.get()).for_each(|piece| frames.tool_input(block, piece));
                }
            }
            if reply.cut.is_some() {
                break;
            }
            frames.block_stop(block);
        }
        match reply.cut {
            None => {
                frames.message_stop(reply.stop);
                frames.metadata(usage, latency);
            }
            Some(Cut::Exception) => frames.exception(
                "modelStreamErrorException",
                "The model broke off its answer.",
            ),
            Some(Cut::Connection) => {}
        }
        frames
    }

    pub(super) fn message_start(&mut self) {
        self.event("messageStart", |out| {
            out.extend_from_slice(b"{\"role\":\"assistant\"}");
        });
    }

    pub(super) fn text(&mut self, block: usize, piece: &str) {
        self.event("contentBlockDelta", |out| {
            out.extend_from_slice(b"{\"delta\":{\"text\":");
            string(out, piece);
            index(out, block);
        });
    }

    pub(super) fn tool_start(&mut self, block: usize, id: &str, name: &str) {
        self.event("contentBlockStart", |out| {
            out.extend_from_slice(b"{\"start\":{\"toolUse\":{\"toolUseId\":");
            string(out, id);
            out.extend_from_slice(b",\"name\":");
            string(out, name);
            out.push(b'}');
            index(out, block);
        });
    }

    pub(super) fn tool_input(&mut self, block: usize, piece: &str) {
        self.event("contentBlockDelta", |out| {
            out.extend_from_slice(b"{\"delta\":{\"toolUse\":{\"input\":");
            string(out, piece);
            out.push(b'}');
            index(out, block);
        });
    }

    pub(super) fn block_stop(&mut self, block: usize) {
        self.event("contentBlockStop", |out| {
            out.extend_from_slice(format!("{{\"contentBlockIndex\":{block}}}").as_bytes());
        });
    }

    pub(super) fn message_stop(&mut self, stop: Stop) {
        self.event("messageStop", |out| {
            out.extend_from_slice(b"{\"stopReason\":");
            string(out, stop.as_str());
            out.push(b'}');
        });
    }

    pub(super) fn metadata(&mut self, usage: Usage, latency: Duration) {
        self.event("metadata", |out| {
            out.push(b'{');
            metadata(out, usage, latency);
            out.push(b'}');
        });
    }

    /// An error in the midst of a stream.
    pub(super) fn exception(&mut self, name: &'static str, message: &str) {
        self.frame("exception", ":exception-type", name, |out| {
            out.extend_from_slice(b"{\"message\":");
            string(out, message);
            out.push(b'}');
        });
    }

    fn event(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.frame("event", ":event-type", name, write);
    }

    fn frame(
        &mut self,
        kind: &'static str,
        name_header: &'static str,
        name: &'static str,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.payload.clear();
        write(&mut self.payload);
        let header = |key, value: &'static str| {
            Header::new(
                StrBytes::from(key),
                HeaderValue::String(StrBytes::from(value)),
            )
        };
        let headers = vec![
            header(name_header, name),
            header(":content-type", "application/json"),
            header(":message-type", kind),
        ];
        let message = Message::new_from_parts(headers, Bytes::copy_from_slice(&self.payload));
        write_message_to(&message, &mut self.buffer)
            .expect("a small message always fits its frame");
        self.ends.push(self.buffer.len());
    }

    /// Everything written so far.
    pub(super) fn take(&mut self) -> Bytes {
        self.ends.clear();
        self.buffer.split().freeze()
    }

    /// The frames one by one.
    pub(super) fn split(mut self) -> Vec<Bytes> {
        let mut start = 0;
        self.ends
            .iter()
            .map(|end| {
                let frame = self.buffer.split_to(end - start).freeze();
                start = *end;
                frame
            })
            .collect()
    }
}

fn index(out: &mut Vec<u8>, block: usize) {
    out.extend_from_slice(format!("}},\"contentBlockIndex\":{block}}}").as_bytes());
}

/// Tool input as a provider streams it: in pieces that are not JSON by themselves.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    const PIECE_BYTES: usize = 24;
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (piece, after) = rest.split_at(rest.ceil_char_boundary(PIECE_BYTES));
        rest = after;
        Some(piece)
    })
}

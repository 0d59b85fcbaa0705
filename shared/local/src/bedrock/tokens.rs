//! A deterministic estimate of tokens.
//!
//! The rule: a run of letters, digits, underscores and non-ASCII bytes counts one token for every
//! four bytes begun; every other visible byte counts one; white space counts nothing. So there are
//! never more tokens than bytes, and English prose comes to about four bytes a token.

use super::request::{Block, Request, ToolSpec};

const PIECE_BYTES: usize = 4;

/// Tokens in `text`.
pub(super) fn count(text: &str) -> u64 {
    let (_, tokens) = walk(text, u64::MAX);
    tokens
}

/// The longest beginning of `text` that holds at most `limit` tokens.
pub(super) fn prefix(text: &str, limit: u64) -> &str {
    let (end, _) = walk(text, limit);
    &text[..text.floor_char_boundary(end)]
}

/// Tokens of everything a request sends to the model.
pub(super) fn of_request(request: &Request<'_>) -> u64 {
    let system: u64 = request.system.iter().map(of_block).sum();
    let messages = request.messages.iter().flat_map(|m| &m.content);
    let messages: u64 = messages.map(of_block).sum();
    let tools: u64 = request.tools().map(of_tool).sum();
    let schema = request.output_schema().map_or(0, count);
    system + messages + tools + schema
}

/// Tokens of a tool's specification.
pub(super) fn of_tool(tool: &ToolSpec<'_>) -> u64 {
    count(&tool.name)
        + tool.description.as_ref().map_or(0, |d| count(&d.0))
        + count(tool.input_schema.json.get())
}

/// Tokens of a block.
pub(super) fn of_block(block: &Block<'_>) -> u64 {
    match block {
        Block::Text(text) => count(text),
        Block::Json(raw) | Block::Other(_, raw) => count(raw.get()),
        Block::ToolUse(call) => count(&call.name) + count(call.input.get()),
        Block::ToolResult(result) => result.content.iter().map(of_block).sum(),
        Block::CachePoint(_) => 0,
    }
}

/// Walks until `limit` is used up; returns where it stopped (bytes) and the tokens passed.
fn walk(text: &str, limit: u64) -> (usize, u64) {
    let mut tokens = 0;
    let mut in_piece = 0;
    for (place, byte) in text.bytes().enumerate() {
        if byte.is_ascii_whitespace() {
            in_piece = 0;
            continue;
        }
        let word = byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
        if !word || in_piece == 0 {
            if tokens == limit {
                return (place, tokens);
            }
            tokens += 1;
        }
        in_piece = if word {
            (in_piece + 1) % PIECE_BYTES
        } else {
            0
        };
    }
    (text.len(), tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_count_by_four_bytes_and_punctuation_by_one() {
        assert_eq!(count(""), 0);
        assert_eq!(count("  \n\t"), 0);
        assert_eq!(count("word"), 1);
        assert_eq!(count("words"), 2);
        assert_eq!(count("a b, c!"), 5);
        assert_eq!(count("{\"x\":1}"), 7);
    }

    #[test]
    fn never_more_tokens_than_bytes() {
        for text in ["!!!!", "a.b.c", "Grüße aus Köln", "日本語", "{}[]()"] {
            assert!(count(text) <= text.len() as u64, "{text}");
        }
    }

    #[test]
    fn a_prefix_holds_at_most_the_limit_and_ends_between_characters() {
        let text = "Grüße, 日本語 and more words";
        for limit in 0..20 {
            let cut = prefix(text, limit);
            assert!(count(cut) <= limit);
            assert!(text.starts_with(cut));
        }
        assert_eq!(prefix(text, 100), text);
    }
}

//! The prompt cache of the local models, by Bedrock's rules: a point keeps everything before it (tools, then system prompt, then
//! messages) if that is long enough; a request reads up to its longest point that is kept, and keeps up to its last one.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{
    request::{Block, Request, Ttl},
    tokens,
};

/// Fewest tokens that are kept, as with most of Bedrock's models.
const FEWEST_TOKENS: u64 = 1_024;
/// Most prompts that are kept; those that end soonest make room.
const MOST_PROMPTS: usize = 10_000;

/// What is kept: for each beginning of a request, how long still.
#[derive(Debug, Default)]
pub(super) struct Prompts(Mutex<HashMap<u64, Instant>>);

/// How the tokens of a request are read; together they are all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    /// Read from what was kept.
    pub(super) kept: u64,
    /// Read anew, and kept from now on.
    pub(super) to_keep: u64,
    /// Read anew.
    pub(super) anew: u64,
}

impl Read {
    /// As by a model that keeps nothing.
    pub(super) fn whole(request: &Request<'_>) -> Self {
        Self {
            kept: 0,
            to_keep: 0,
            anew: tokens::of_request(request),
        }
    }
}

/// A beginning of a request that is to be kept.
struct Prefix {
    id: u64,
    tokens: u64,
    ttl: Ttl,
}

impl Prompts {
    /// Reads `request`, and keeps of it what it asks for.
    pub(super) fn read(&self, model: &str, request: &Request<'_>, now: Instant) -> Read {
        let whole = Read::whole(request);
        let prefixes = prefixes(model, request);
        let Some(last) = prefixes.last() else {
            return whole;
        };
        let mut prompts = self.0.lock().expect("nobody panics while holding it");
        let is_kept = |prefix: &&Prefix| prompts.get(&prefix.id).is_some_and(|until| now < *until);
        let kept = prefixes
            .iter()
            .rev()
            .find(is_kept)
            .map_or(0, |prefix| prefix.tokens);
        for prefix in &prefixes {
            let until = now + prefix.ttl.duration();
            let entry = prompts.entry(prefix.id).or_insert(until);
            *entry = until.max(*entry);
        }
        if prompts.len() > MOST_PROMPTS {
            forget(&mut prompts, now);
        }
        Read {
            kept,
            to_keep: last.tokens - kept,
            anew: whole.anew - last.tokens,
        }
    }
}

impl Ttl {
    fn duration(self) -> Duration {
        match self {
            Ttl::FiveMinutes => Duration::from_mins(5),
            Ttl::OneHour => Duration::from_hours(1),
        }
    }
}

/// Drops what has ended, and half of the rest if that is too little.
fn forget(prompts: &mut HashMap<u64, Instant>, now: Instant) {
    prompts.retain(|_, until| now < *until);
    if prompts.len() > MOST_PROMPTS / 2 {
        let mut ends: Vec<_> = prompts.values().copied().collect();
        ends.sort_unstable();
        let middle = ends[ends.len() / 2];
        prompts.retain(|_, until| middle < *until);
    }
}

/// The beginnings of a request that end at a point and are long enough, the longest last.
fn prefixes(model: &str, request: &Request<'_>) -> Vec<Prefix> {
    let mut hasher = DefaultHasher::new();
    model.hash(&mut hasher);
    let mut tokens = 0;
    for tool in request.tools() {
        (&tool.name, tool.input_schema.json.get()).hash(&mut hasher);
        tool.description
            .as_ref()
            .map(|text| &text.0)
            .hash(&mut hasher);
        tokens += tokens::of_tool(tool);
    }
    let messages = request.messages.iter().flat_map(|message| {
        let role = Some(message.role);
        message.content.iter().map(move |block| (role, block))
    });
    let system = request.system.iter().map(|block| (None, block));
    let mut prefixes = Vec::new();
    for (role, block) in system.chain(messages) {
        if let Block::CachePoint(point) = block {
            if tokens >= FEWEST_TOKENS {
                prefixes.push(Prefix {
                    id: hasher.finish(),
                    tokens,
                    ttl: point.ttl,
                });
            }
            continue;
        }
        role.hash(&mut hasher);
        digest(block, &mut hasher);
        tokens += tokens::of_block(block);
    }
    prefixes
}

fn digest(block: &Block<'_>, hasher: &mut DefaultHasher) {
    std::mem::discriminant(block).hash(hasher);
    match block {
        Block::Text(text) => text.hash(hasher),
        Block::Json(raw) => raw.get().hash(hasher),
        Block::Other(member, raw) => (member, raw.get()).hash(hasher),
        Block::ToolUse(call) => (&call.tool_use_id, &call.name, call.input.get()).hash(hasher),
        Block::ToolResult(result) => {
            (&result.tool_use_id, result.failed()).hash(hasher);
            for block in &result.content {
                digest(block, hasher);
            }
        }
        Block::CachePoint(_) => {}
    }
}

//! `local.flaky`: fails as the text says, and otherwise answers like `local.tools` where tools are
//! on offer and like `local.echo` where none are.
//!
//! | the text says | the answer |
//! |---|---|
//! | `throttle` | `ThrottlingException` |
//! | `fault` | `InternalServerException` |
//! | `unavailable` | `ServiceUnavailableException` |
//! | `timeout` | `ModelTimeoutException` |
//! | `model error` | `ModelErrorException` |
//! | `deny` | `AccessDeniedException` |
//! | `refuse` | stop reason `guardrail_intervened` |
//! | `filter` | stop reason `content_filtered` |
//! | `unknown tool` | a call of a tool that is not offered |
//! | `bad arguments` | a call with arguments of wrong types |
//! | `malformed` | stop reason `malformed_tool_use` |
//! | `empty` | no content |
//! | `long` | stop reason `max_tokens` |
//! | `break stream` | an exception event after the first pieces |
//! | `cut stream` | the connection closes after the first pieces |
//!
//! With a number behind it (`throttle 2`) the first so many calls of the conversation do that, and
//! the next answers; without one, all calls do, except that a nonsense tool call is made once only.
//! Only the first step after the text is flaky: once tools have been called, it goes well. A message
//! that complains about the answer ("Your last answer …") counts as the same conversation.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use serde_json::json;

use super::{
    echo,
    failure::{Failure, Kind},
    plan::Call,
    reply::{Cut, Part, Reply, Stop},
    request::{Message, Request, is_complaint},
    tokens, tools,
};

/// The most conversations whose failures are counted; then counting starts anew.
const MAX_CONVERSATIONS: usize = 10_000;

/// Tokens of a `long` answer when the request sets no limit.
const LONG_TOKENS: u64 = 64;

/// How often each conversation has failed so far, by the hash of its messages.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<u64, u64>>);

impl Failures {
    /// Counts one more failure unless `limit` is reached; then it forgets the conversation.
    fn fails(&self, conversation: u64, limit: u64) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= MAX_CONVERSATIONS && !counts.contains_key(&conversation) {
            counts.clear();
        }
        let count = counts.entry(conversation).or_default();
        if *count < limit {
            *count += 1;
            return true;
        }
        counts.remove(&conversation);
        false
    }
}

#[derive(Debug, Clone, Copy)]
enum Flaw {
    Fails(Kind),
    Stops(Stop),
    UnknownTool,
    BadArguments,
    Empty,
    Long,
    Cuts(Cut),
}

const FLAWS: [(&str, Flaw); 15] = [
    ("throttle", Flaw::Fails(Kind::Throttling)),
    ("fault", Flaw::Fails(Kind::InternalServer)),
    ("unavailable", Flaw::Fails(Kind::ServiceUnavailable)),
    ("timeout", Flaw::Fails(Kind::ModelTimeout)),
    ("model error", Flaw::Fails(Kind::ModelError)),
    ("deny", Flaw::Fails(Kind::AccessDenied)),
    ("refuse", Flaw::Stops(Stop::GuardrailIntervened)),
    ("filter", Flaw::Stops(Stop::ContentFiltered)),
    ("malformed", Flaw::Stops(Stop::MalformedToolUse)),
    ("unknown tool", Flaw::UnknownTool),
    ("bad arguments", Flaw::BadArguments),
    ("empty", Flaw::Empty),
    ("long", Flaw::Long),
    ("break stream", Flaw::Cuts(Cut::Exception)),
    ("cut stream", Flaw::Cuts(Cut::Connection)),
];

pub(super) fn answer(failures: &Failures, request: &Request<'_>) -> Result<Reply, Failure> {
    let well = || {
        if request.tool_config.is_some() {
            tools::answer(request)
        } else {
            echo::answer(request)
        }
    };
    let first_step = |place: &usize| {
        let since = &request.messages[place + 1..];
        since.iter().flat_map(Message::tool_uses).next().is_none()
    };
    let Some(asked_at) = request.asked_at().filter(first_step) else {
        return Ok(after_nonsense(request).unwrap_or_else(well));
    };
    let text = request.text_at(asked_at);
    let Some((name, flaw, times)) = flaw(&text) else {
        return Ok(well());
    };
    if times.is_some_and(|times| !failures.fails(conversation(request, asked_at), times)) {
        return Ok(well());
    }
    flawed(flaw, request, &text, name)
}

fn flawed(flaw: Flaw, request: &Request<'_>, text: &str, name: &str) -> Result<Reply, Failure> {
    let call = |tool: &str, input| {
        let call = Call {
            tool: tool.to_owned(),
            input,
        };
        tools::call(request, text, std::iter::once(&call), false)
    };
    Ok(match flaw {
        Flaw::Fails(kind) => {
            return Err(Failure::new(
                kind,
                format!("The text asked for this failure: {name}."),
            ));
        }
        Flaw::Stops(stop @ Stop::MalformedToolUse) => Reply::new(Vec::new(), stop),
        Flaw::Stops(stop) => Reply::new(vec![Part::Text("I cannot answer that.".to_owned())], stop),
        Flaw::UnknownTool => call("no_such_tool", json!({ "anything": 1 })),
        Flaw::BadArguments => {
            let tool = request
                .tools()
                .next()
                .map_or("calculator", |tool| &*tool.name);
            let wrong = json!({ "expression": ["not", "a", "string"], "seconds": "soon", "url": 7, "topic": null, "timezone": {} });
            call(tool, wrong)
        }
        Flaw::Empty => Reply::new(Vec::new(), Stop::Finished),
        Flaw::Long => {
            let limit = request
                .inference_config
                .max_tokens
                .and_then(|n| u64::try_from(n).ok())
                .unwrap_or(LONG_TOKENS);
            let words =
                "and so on ".repeat(usize::try_from(limit / 3 + 1).unwrap_or(1).min(100_000));
            let part = Part::Text(tokens::prefix(&words, limit).to_owned());
            Reply::new(vec![part], Stop::MaxTokens)
        }
        Flaw::Cuts(cut) => Reply {
            cut: Some(cut),
            ..echo::answer(request)
        },
    })
}

/// Reports what became of a nonsense tool call.
fn after_nonsense(request: &Request<'_>) -> Option<Reply> {
    let asked_at = request.asked_at()?;
    let (_, flaw, _) = flaw(&request.text_at(asked_at))?;
    let since = &request.messages[asked_at + 1..];
    let done = since.iter().flat_map(Message::tool_uses).count();
    match flaw {
        Flaw::UnknownTool | Flaw::BadArguments if done == 1 => {
            Some(Reply::text(tools::report(request, since, done)))
        }
        Flaw::UnknownTool
        | Flaw::BadArguments
        | Flaw::Fails(_)
        | Flaw::Stops(_)
        | Flaw::Empty
        | Flaw::Long
        | Flaw::Cuts(_) => None,
    }
}

/// The first flaw that `text` names, with the number behind its name.
fn flaw(text: &str) -> Option<(&'static str, Flaw, Option<u64>)> {
    let lower = text.to_ascii_lowercase();
    let starts = |place: &usize| !lower[..*place].ends_with(char::is_alphanumeric);
    let place = |name: &str| {
        lower
            .match_indices(name)
            .map(|(place, _)| place)
            .find(starts)
    };
    let found = FLAWS
        .iter()
        .filter_map(|(name, flaw)| Some((place(name)?, *name, *flaw)));
    let (place, name, flaw) = found.min_by_key(|(place, ..)| *place)?;
    let rest = lower[place + name.len()..].trim_start();
    let digits = &rest[..rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len())];
    Some((name, flaw, digits.parse().ok()))
}

/// The conversation up to the text that asks; complaints after it do not make it another one.
fn conversation(request: &Request<'_>, asked_at: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    for message in &request.messages[..=asked_at] {
        // An empty answer cannot stand in a conversation, so a complaint about it stands in the message that asked.
        for text in message.text().filter(|text| !is_complaint(text)) {
            text.hash(&mut hasher);
        }
    }
    hasher.finish()
}

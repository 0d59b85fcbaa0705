//! The rules of an agent frame: when to think, what to make of an answer, which tools to call.

use serde_json::Value;

use super::event::{Error, ErrorCode, Event, ParkReason};
use super::follow::is_under_way;
use super::known::Known;
use super::state::{AgentFrame, CallState, Phase, State, Supply};
use crate::budget::{Amount, CHUNK};
use crate::caps::{Cap, Caps};
use crate::id::{FrameId, RunId};
use crate::model::{Content, Failure, FailureKind, Message, Role, StopReason, ToolCall};
use crate::time::At;
use crate::tool::{self, Builtin, Class, Place};

/// Attempts at one step before a failing model fails the run. Throttled attempts do not count.
pub(super) const MAX_ATTEMPTS: u32 = 4;
/// The first pause after a failed attempt; it doubles with each further one.
const BACKOFF_MS: u64 = 1_000;
/// The longest pause, unless the provider asks for a longer one.
const MAX_BACKOFF_MS: u64 = 60_000;
/// Fewest output tokens that a call is made for when the caps leave less than the agent asks for.
const MIN_OUTPUT_TOKENS: u64 = 16;

/// The next model call, if the caps allow its upper bound.
pub(super) fn think(known: &Known, state: &State, id: &FrameId, frame: &AgentFrame) -> Vec<Event> {
    let Some(created) = &state.created else {
        return Vec::new();
    };
    let (caps, totals) = (created.caps, state.totals);
    let again = frame.attempt > 0;
    if !again && totals.steps >= caps.steps {
        return fail_cap(Cap::Steps, u64::from(caps.steps), "model steps");
    }
    let (in_flight_tokens, in_flight_micro_usd) = reserved(state);
    let input = known.request(&frame.transcript, 0).bound_input_tokens();
    let wanted = u64::from(known.agent.inference.max_output_tokens);
    let fewest = wanted.min(MIN_OUTPUT_TOKENS);

    let tokens_left = caps
        .tokens
        .saturating_sub(totals.tokens())
        .saturating_sub(in_flight_tokens);
    let output = wanted.min(tokens_left.saturating_sub(input));
    if output < fewest || tokens_left < input {
        return fail_cap(Cap::Tokens, caps.tokens, "tokens");
    }
    let money_left = caps
        .micro_usd
        .saturating_sub(totals.micro_usd)
        .saturating_sub(in_flight_micro_usd);
    let output = output.min(affordable(known, input, money_left));
    if output < fewest || known.price.bound(input, output) > money_left {
        return fail_cap(Cap::MicroUsd, caps.micro_usd, "micro-USD");
    }
    let next = Amount {
        micro_usd: known.price.bound(input, output),
        tokens: input + output,
    };
    if let Some(short) = shortfall(state, caps, next) {
        return short;
    }
    vec![Event::StepStarted {
        frame: id.clone(),
        step: if again { frame.step } else { frame.step + 1 },
        attempt: frame.attempt,
        max_output_tokens: u32::try_from(output).unwrap_or(u32::MAX),
        reserved_tokens: next.tokens,
        reserved_micro_usd: next.micro_usd,
    }]
}

/// What comes before a call of the bound `next`, which the caps allow, when what was reserved does not hold it: more is
/// reserved, a chunk at least unless a budget is too short for that; or, once a budget is reached, the run parks as soon as
/// nothing is under way that leaving would lose.
fn shortfall(state: &State, caps: Caps, next: Amount) -> Option<Vec<Event>> {
    let account = state.account.as_ref()?;
    let (tokens, micro_usd) = reserved(state);
    let used = state.totals.amount().plus(Amount { micro_usd, tokens });
    let needed = used.plus(next).minus(account.granted);
    if needed == Amount::ZERO {
        return None;
    }
    let more = match &account.supply {
        Supply::Ample => {
            let room = caps.amount().minus(account.granted);
            needed.max(CHUNK).min(room).max(needed)
        }
        Supply::Short => needed,
        Supply::Reached { .. } if is_under_way(state) => return Some(Vec::new()),
        Supply::Reached {
            node,
            period,
            unit,
            until,
        } => {
            let reason = ParkReason::BudgetReached {
                node: node.clone(),
                period: *period,
                unit: *unit,
            };
            return Some(vec![Event::Parked {
                reason,
                until: *until,
            }]);
        }
    };
    Some(vec![Event::BudgetExtended { more }])
}

/// Output tokens that `money_left` pays for after `input` tokens, rounded down.
fn affordable(known: &Known, input: u64, money_left: u64) -> u64 {
    let for_output = money_left.saturating_sub(known.price.bound(input, 0));
    match known.price.output {
        0 => u64::MAX,
        price => u64::try_from(u128::from(for_output) * 1_000_000 / u128::from(price))
            .unwrap_or(u64::MAX),
    }
}

/// What the model calls in flight may still use.
fn reserved(state: &State) -> (u64, u64) {
    state
        .frames
        .values()
        .fold((0, 0), |(tokens, micro_usd), frame| match frame.phase {
            Phase::Thinking {
                reserved_tokens,
                reserved_micro_usd,
                ..
            } => (tokens + reserved_tokens, micro_usd + reserved_micro_usd),
            Phase::Ready
            | Phase::Backoff { .. }
            | Phase::Answered { .. }
            | Phase::Acting { .. } => (tokens, micro_usd),
        })
}

/// What a failed model call leads to.
pub(super) fn failed(
    run: &RunId,
    id: &FrameId,
    frame: &AgentFrame,
    failure: &Failure,
    now: At,
) -> Vec<Event> {
    let pause = backoff_ms(run, frame.attempt).max(failure.retry_after_ms.unwrap_or(0));
    let retry_at = now.plus_ms(pause);
    let repeated = frame.faults + 1 < MAX_ATTEMPTS;
    let (retry_at, error) = match failure.kind {
        FailureKind::Throttled => (Some(retry_at), None),
        FailureKind::Transient | FailureKind::Fault | FailureKind::Lost if repeated => {
            (Some(retry_at), None)
        }
        FailureKind::Transient | FailureKind::Fault | FailureKind::Lost => {
            (None, Some(ErrorCode::ModelFailed))
        }
        FailureKind::Refused => (None, Some(ErrorCode::ModelRefused)),
        FailureKind::Invalid => (None, Some(ErrorCode::ModelInvalid)),
    };
    // The provider did the work, or part of it, and may ask its price.
    let (charged_tokens, charged_micro_usd) = match frame.phase {
        Phase::Thinking {
            reserved_tokens,
            reserved_micro_usd,
            ..
        } if failure.kind == FailureKind::Lost => (reserved_tokens, reserved_micro_usd),
        _ => (0, 0),
    };
    let mut events = vec![Event::ModelFailed {
        frame: id.clone(),
        step: frame.step,
        failure: failure.clone(),
        retry_at,
        charged_tokens,
        charged_micro_usd,
    }];
    events.extend(error.map(|code| fail(code, failure.message.clone())));
    events
}

/// The pause after failed attempt number `attempt` (from 0): doubled each time, between half of it and all of it, so that
/// runs that failed together do not come back together. The run itself is what tells them apart.
fn backoff_ms(run: &RunId, attempt: u32) -> u64 {
    let most = BACKOFF_MS
        .saturating_mul(1 << attempt.min(6))
        .min(MAX_BACKOFF_MS);
    let seed = run.as_str().bytes().fold(u64::from(attempt), |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    most / 2 + seed % (most / 2)
}

/// The verdict on an answer that calls no tool.
pub(super) fn judge(
    known: &Known,
    id: &FrameId,
    frame: &AgentFrame,
    stop_reason: StopReason,
) -> Vec<Event> {
    match stop_reason {
        StopReason::Refused => {
            return vec![fail(
                ErrorCode::ModelRefused,
                "the model or a guardrail refused to answer",
            )];
        }
        StopReason::ContextExceeded => {
            return vec![fail(
                ErrorCode::ContextExceeded,
                "the conversation no longer fits the model's context window",
            )];
        }
        StopReason::Malformed => {
            return repair(
                id,
                frame,
                ErrorCode::AnswerUnusable,
                "Your last tool call could not be read. Write it again as valid JSON.",
            );
        }
        StopReason::EndTurn
        | StopReason::ToolUse
        | StopReason::MaxTokens
        | StopReason::StopSequence => {}
    }
    let text = text_of(frame);
    if text.trim().is_empty() {
        return repair(
            id,
            frame,
            ErrorCode::AnswerUnusable,
            "Your last answer was empty. Please answer.",
        );
    }
    let Some(schema) = &known.output else {
        return vec![Event::Succeeded {
            output: Value::String(text),
        }];
    };
    match parse(&text).and_then(|value| schema.check(&value).map(|()| value)) {
        Ok(output) => vec![Event::Succeeded { output }],
        Err(finding) => repair(
            id,
            frame,
            ErrorCode::OutputInvalid,
            &format!(
                "Your answer does not satisfy the required JSON Schema: {finding}. Answer again with the corrected JSON only."
            ),
        ),
    }
}

/// One more try, told what was wrong; after that, a typed failure.
fn repair(id: &FrameId, frame: &AgentFrame, code: ErrorCode, detail: &str) -> Vec<Event> {
    if frame.repaired {
        return vec![fail(code, detail)];
    }
    vec![Event::AnswerRejected {
        frame: id.clone(),
        step: frame.step,
        detail: detail.to_owned(),
    }]
}

/// The text of the frame's last answer; empty when the model said nothing.
fn text_of(frame: &AgentFrame) -> String {
    let Some(Message {
        role: Role::Assistant,
        content,
    }) = frame.transcript.last()
    else {
        return String::new();
    };
    content
        .iter()
        .filter_map(|content| match content {
            Content::Text { text } => Some(text.as_str()),
            Content::ToolCall(_) | Content::ToolResult { .. } => None,
        })
        .collect()
}

/// The JSON in an answer, with or without the fence that models like to put around it.
fn parse(text: &str) -> Result<Value, String> {
    let text = text.trim();
    let bare = text
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"))
        .map_or(text, |fenced| fenced.strip_prefix("json").unwrap_or(fenced));
    serde_json::from_str(bare.trim()).map_err(|error| format!("it is not JSON ({error})"))
}

/// Settles what the model asked for: begins calls, answers those that cannot be, ends timers and calls that are overdue.
pub(super) fn act(
    known: &Known,
    state: &State,
    id: &FrameId,
    frame: &AgentFrame,
    calls: &[CallState],
    now: At,
) -> Vec<Event> {
    let Some(created) = &state.created else {
        return Vec::new();
    };
    let cap = created.caps.tool_calls;
    let asked = calls
        .iter()
        .filter(|call| matches!(call, CallState::Asked))
        .count();
    if u64::from(state.totals.tool_calls) + asked as u64 > u64::from(cap) {
        return fail_cap(Cap::ToolCalls, u64::from(cap), "tool calls");
    }
    let mut events = Vec::new();
    for ((request, call), ordinal) in frame.tool_calls().zip(calls).zip(0..) {
        match call {
            CallState::Asked => begin(known, id, frame.step, ordinal, request, now, &mut events),
            CallState::Called {
                place: Place::Timer,
                due_at,
                ..
            } if *due_at <= now => {
                events.push(settled(
                    id,
                    frame.step,
                    ordinal,
                    "The time is over.".to_owned(),
                    false,
                ));
            }
            CallState::Called {
                place: Place::Worker,
                due_at,
                ..
            } if *due_at <= now => {
                events.push(settled(
                    id,
                    frame.step,
                    ordinal,
                    "timeout: the tool did not answer in time".to_owned(),
                    true,
                ));
            }
            CallState::Called { .. } | CallState::Returned { .. } => {}
        }
    }
    events
}

fn begin(
    known: &Known,
    id: &FrameId,
    step: u32,
    ordinal: u32,
    request: &ToolCall,
    now: At,
    events: &mut Vec<Event>,
) {
    let offered = known.agent.tools.contains(&request.name);
    let builtin = tool::builtin(&request.name).filter(|_| offered);
    let called = |class, place, due_at| Event::ToolCalled {
        frame: id.clone(),
        step,
        call: ordinal,
        tool: request.name.clone(),
        class,
        place,
        due_at,
    };
    let refusal = match builtin {
        Some(tool) => match tool.check(&request.arguments) {
            Ok(()) => {
                events.push(called(
                    tool.class,
                    tool.place,
                    due_at(tool, &request.arguments, now),
                ));
                return;
            }
            Err(finding) => format!("invalid_arguments: {finding}"),
        },
        None => format!(
            "unknown_tool: there is no tool `{}`; there are: {}",
            request.name,
            known.agent.tools.join(", ")
        ),
    };
    events.push(called(Class::Pure, Place::Inline, now));
    events.push(settled(id, step, ordinal, refusal, true));
}

/// When a call must have answered: its timeout from now, or for a timer the seconds that the model asked for.
fn due_at(tool: &Builtin, arguments: &Value, now: At) -> At {
    let asked_ms = (tool.place == Place::Timer)
        .then(|| arguments.get("seconds").and_then(Value::as_f64))
        .flatten()
        .map(|seconds| {
            u64::try_from(std::time::Duration::from_secs_f64(seconds.clamp(0.0, 1e9)).as_millis())
                .unwrap_or(u64::MAX)
        });
    now.plus_ms(asked_ms.unwrap_or(tool.timeout_ms).min(tool.timeout_ms))
}

fn settled(id: &FrameId, step: u32, call: u32, text: String, is_error: bool) -> Event {
    Event::ToolReturned {
        frame: id.clone(),
        step,
        call,
        text,
        is_error,
        duration_ms: 0,
    }
}

fn fail(code: ErrorCode, message: impl Into<String>) -> Event {
    Event::Failed {
        error: Error {
            code,
            message: message.into(),
        },
    }
}

fn fail_cap(cap: Cap, limit: u64, unit: &str) -> Vec<Event> {
    vec![fail(
        ErrorCode::CapReached { cap },
        format!("the run's cap of {limit} {unit} does not allow the next step"),
    )]
}

//! Recording: one event after the other, without a rule and without a way to fail.

use std::sync::Arc;

use super::event::{Commit, Created, Event};
use super::head::Status;
use super::state::{Account, AgentFrame, CallState, Phase, State, Supply};
use crate::id::{FrameId, RunId, TenantId};
use crate::model::{Answer, Content, FailureKind, Message, Role, StopReason};
use crate::time::At;
use crate::tool::Place;

/// Folds one commit. A commit that does not follow the last one folded is ignored: it was folded already, or it belongs
/// to a place that is not reached yet.
pub fn evolve(state: &mut State, commit: &Commit) {
    if commit.first != state.next_event() {
        return;
    }
    foresee(state, &commit.events, commit.at);
    written(state, commit);
}

/// Turns a foresight into what folding the log gives, once the commit that holds its last events was written.
pub fn written(state: &mut State, commit: &Commit) {
    if let Some(driver) = &commit.driver {
        state.driver = Some((driver.clone(), commit.at));
    }
    state.commits += 1;
}

/// The state that a whole log, in order, stands for.
#[must_use]
pub fn fold<'a>(tenant: TenantId, run: RunId, log: impl IntoIterator<Item = &'a Commit>) -> State {
    let mut state = State::empty(tenant, run);
    for commit in log {
        evolve(&mut state, commit);
    }
    state
}

/// Folds the events of a decision that is not yet committed.
pub(super) fn foresee(state: &mut State, events: &[Event], at: At) {
    for event in events {
        record(state, event, at);
        state.last_event += 1;
    }
}

/// Folds one event that was decided at `at`, before its commit is written.
fn record(state: &mut State, event: &Event, at: At) {
    match event {
        Event::RunCreated(created) => begin(state, created, at),
        Event::RunStarted { driver } => {
            state.status = Status::Running;
            state.started_at = Some(at);
            state.driver = Some((driver.clone(), at));
        }
        Event::TakenOver { driver, .. } => {
            state.driver = Some((driver.clone(), at));
            orphan(state);
        }
        Event::StepStarted {
            frame,
            step,
            attempt,
            max_output_tokens,
            reserved_tokens,
            reserved_micro_usd,
        } => {
            if *attempt == 0 {
                state.totals.steps += 1;
            }
            if let Some(frame) = state.frames.get_mut(frame) {
                frame.step = *step;
                frame.attempt = *attempt;
                frame.phase = Phase::Thinking {
                    max_output_tokens: *max_output_tokens,
                    reserved_tokens: *reserved_tokens,
                    reserved_micro_usd: *reserved_micro_usd,
                };
            }
        }
        Event::ModelAnswered { frame, answer, .. } => answered(state, frame, answer),
        Event::ModelFailed {
            frame,
            failure,
            retry_at,
            charged_tokens,
            charged_micro_usd,
            ..
        } => {
            state.totals.input_tokens += charged_tokens;
            state.totals.micro_usd += charged_micro_usd;
            if let Some(frame) = state.frames.get_mut(frame) {
                frame.attempt += 1;
                let throttled = failure.kind == FailureKind::Throttled;
                frame.faults += u32::from(!throttled);
                frame.phase =
                    retry_at.map_or(Phase::Ready, |until| Phase::Backoff { until, throttled });
            }
        }
        Event::AnswerRejected { frame, detail, .. } => {
            if let Some(frame) = state.frames.get_mut(frame) {
                frame.repaired = true;
                frame.attempt = 0;
                frame.faults = 0;
                Arc::make_mut(&mut frame.transcript).push(Message::user(detail.clone()));
                frame.phase = Phase::Ready;
            }
        }
        Event::ToolCalled {
            frame,
            call,
            class,
            place,
            due_at,
            ..
        } => {
            state.totals.tool_calls += 1;
            settle(
                state,
                frame,
                *call,
                CallState::Called {
                    class: *class,
                    place: *place,
                    due_at: *due_at,
                    orphaned: false,
                },
            );
        }
        Event::ToolReturned {
            frame,
            call,
            text,
            is_error,
            ..
        } => {
            settle(
                state,
                frame,
                *call,
                CallState::Returned {
                    text: text.clone(),
                    is_error: *is_error,
                },
            );
        }
        Event::Parked { reason, until } => {
            state.status = Status::Parked;
            state.parked = Some((reason.clone(), *until));
        }
        Event::Woken { .. } => {
            if let Some((reason, until)) = &mut state.parked
                && reason.heeds_settings()
            {
                *until = at;
            }
            state.suspend_requested = false;
            if let Some(account) = &mut state.account {
                account.supply = Supply::Ample;
            }
        }
        Event::Resumed { driver } => {
            state.status = Status::Running;
            state.parked = None;
            state.driver = Some((driver.clone(), at));
            if let Some(account) = &mut state.account {
                account.supply = Supply::Ample;
            }
        }
        Event::Moved { epoch, .. } => {
            state.epoch = *epoch;
            // Whoever drives it elsewhere can write nothing that counts.
            if let Some((_, at)) = &mut state.driver {
                *at = At(0);
            }
        }
        Event::Admitted { grant } => {
            if let Some(account) = &mut state.account {
                account.granted = account.granted.plus(*grant);
                account.waiting = false;
            }
        }
        Event::BudgetExtended { more } => {
            if let Some(account) = &mut state.account {
                account.granted = account.granted.plus(*more);
            }
        }
        Event::BudgetShort {
            node,
            period,
            unit,
            until,
        } => {
            if let Some(account) = &mut state.account {
                account.supply = until.map_or(Supply::Short, |until| Supply::Reached {
                    node: node.clone(),
                    period: *period,
                    unit: *unit,
                    until,
                });
            }
        }
        Event::SuspendRequested { .. } => state.suspend_requested = true,
        Event::CancelRequested { .. } => state.cancel_requested = true,
        Event::Succeeded { output } => {
            state.output = Some(output.clone());
            end(state, Status::Succeeded, at);
        }
        Event::Failed { error } => {
            state.error = Some(error.clone());
            end(state, Status::Failed, at);
        }
        Event::Cancelled => end(state, Status::Cancelled, at),
        Event::Expired => end(state, Status::Expired, at),
    }
}

fn begin(state: &mut State, created: &Created, at: At) {
    state.created_at = at;
    state.epoch = created.epoch;
    state.status = Status::Queued;
    let input = match &created.input {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    state.frames.insert(
        FrameId::root(),
        AgentFrame {
            transcript: Arc::new(vec![Message::user(input)]),
            step: 0,
            attempt: 0,
            faults: 0,
            repaired: false,
            phase: Phase::Ready,
        },
    );
    state.account = created.admission.as_ref().map(|admission| Account {
        nodes: admission.nodes.clone(),
        granted: admission.grant,
        waiting: admission.waiting,
        supply: Supply::Ample,
    });
    state.created = Some(Box::new(created.clone()));
}

fn answered(state: &mut State, frame: &FrameId, answer: &Answer) {
    let totals = &mut state.totals;
    totals.input_tokens += answer.usage.total() - answer.usage.output_tokens;
    totals.output_tokens += answer.usage.output_tokens;
    totals.micro_usd += answer.cost_micro_usd;
    if let Some(frame) = state.frames.get_mut(frame) {
        frame.attempt = 0;
        frame.faults = 0;
        let mut content = answer.content.clone();
        if !takes_calls(answer.stop_reason) {
            content.retain(|content| !matches!(content, Content::ToolCall(_)));
        }
        let calls = content
            .iter()
            .filter(|content| matches!(content, Content::ToolCall(_)))
            .count();
        if !content.is_empty() {
            Arc::make_mut(&mut frame.transcript).push(Message {
                role: Role::Assistant,
                content,
            });
        }
        frame.phase = if calls == 0 {
            Phase::Answered {
                stop_reason: answer.stop_reason,
            }
        } else {
            Phase::Acting {
                calls: vec![CallState::Asked; calls],
            }
        };
    }
}

/// Whether the tool calls of an answer that ended this way are whole.
fn takes_calls(stop: StopReason) -> bool {
    match stop {
        StopReason::EndTurn | StopReason::ToolUse | StopReason::StopSequence => true,
        StopReason::MaxTokens
        | StopReason::Refused
        | StopReason::ContextExceeded
        | StopReason::Malformed => false,
    }
}

/// Marks what the replaced driver had begun in its own process.
fn orphan(state: &mut State) {
    for frame in state.frames.values_mut() {
        let Phase::Acting { calls } = &mut frame.phase else {
            continue;
        };
        for call in calls {
            if let CallState::Called {
                place: Place::Inline,
                orphaned,
                ..
            } = call
            {
                *orphaned = true;
            }
        }
    }
}

/// Records what became of one call; the last one settled puts all results into the transcript.
fn settle(state: &mut State, frame: &FrameId, call: u32, to: CallState) {
    let Some(frame) = state.frames.get_mut(frame) else {
        return;
    };
    let Phase::Acting { calls } = &mut frame.phase else {
        return;
    };
    let Some(slot) = usize::try_from(call)
        .ok()
        .and_then(|call| calls.get_mut(call))
    else {
        return;
    };
    *slot = to;
    if calls
        .iter()
        .all(|call| matches!(call, CallState::Returned { .. }))
    {
        let calls = std::mem::take(calls);
        let content = frame
            .tool_calls()
            .zip(calls)
            .filter_map(|(request, call)| match call {
                CallState::Returned { text, is_error } => Some(Content::ToolResult {
                    call_id: request.id.clone(),
                    text,
                    is_error,
                }),
                CallState::Asked | CallState::Called { .. } => None,
            })
            .collect();
        Arc::make_mut(&mut frame.transcript).push(Message {
            role: Role::User,
            content,
        });
        frame.phase = Phase::Ready;
    }
}

fn end(state: &mut State, status: Status, at: At) {
    state.status = status;
    state.ended_at = Some(at);
    state.parked = None;
}

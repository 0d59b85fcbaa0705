//! What follows from a run's state by itself.

use super::answer;
use super::decide::{look_again, lost};
use super::event::{Event, ParkReason};
use super::head::Status;
use super::known::Known;
use super::state::{CallState, Phase, State};
use crate::id::effect_id;
use crate::time::At;
use crate::tool::{Class, Place};

/// What ends the run now, an answer that was given, or that a suspended run parks once nothing is under way that leaving
/// would lose; none begins anything.
pub(super) fn conclude(known: &Known, state: &State, now: At) -> Vec<Event> {
    let Some(created) = &state.created else {
        return Vec::new();
    };
    if state.status.is_terminal() {
        return Vec::new();
    }
    if state.cancel_requested {
        return lost(state, "dropped when the run was cancelled")
            .chain([Event::Cancelled])
            .collect();
    }
    if now >= created.deadline_at {
        return lost(state, "dropped at the run's deadline")
            .chain([Event::Expired])
            .collect();
    }
    if state.status != Status::Running {
        return Vec::new();
    }
    let mut answers = state
        .frames
        .iter()
        .filter_map(|(id, frame)| match frame.phase {
            Phase::Answered { stop_reason } => Some(answer::judge(known, id, frame, stop_reason)),
            Phase::Ready
            | Phase::Backoff { .. }
            | Phase::Thinking { .. }
            | Phase::Acting { .. } => None,
        });
    if let Some(answer) = answers.next() {
        return answer;
    }
    let parks = state.suspend_requested && !is_under_way(state);
    let parked = parks.then_some(Event::Parked {
        reason: ParkReason::Suspended,
        until: look_again(state, now),
    });
    parked.into_iter().collect()
}

/// What follows from the state by itself, one rule at a time; nothing once all that can be done is under way.
pub(super) fn follow(known: &Known, state: &State, now: At) -> Vec<Event> {
    let concluded = conclude(known, state, now);
    if !concluded.is_empty() {
        return concluded;
    }
    let Some(created) = &state.created else {
        return Vec::new();
    };
    if state.status != Status::Running {
        return Vec::new();
    }
    if let Some(parked) = unknown(state, created.deadline_at) {
        return vec![parked];
    }
    if state.suspend_requested {
        return Vec::new();
    }
    for (id, frame) in &state.frames {
        let next = match &frame.phase {
            Phase::Ready => answer::think(known, state, id, frame),
            Phase::Backoff { until, .. } if *until <= now => answer::think(known, state, id, frame),
            Phase::Acting { calls } => answer::act(known, state, id, frame, calls, now),
            Phase::Answered { .. } | Phase::Backoff { .. } | Phase::Thinking { .. } => Vec::new(),
        };
        if !next.is_empty() {
            return next;
        }
    }
    park(state, created.deadline_at).into_iter().collect()
}

/// A destructive call that an earlier driver began and this one cannot know the fate of.
fn unknown(state: &State, deadline_at: At) -> Option<Event> {
    state.frames.iter().find_map(|(id, frame)| {
        let Phase::Acting { calls } = &frame.phase else {
            return None;
        };
        let lost = calls.iter().position(|call| {
            matches!(
                call,
                CallState::Called {
                    class: Class::Destructive,
                    orphaned: true,
                    ..
                }
            )
        })?;
        let effect = effect_id(&state.run, id, frame.step, u32::try_from(lost).ok()?);
        let reason = ParkReason::UnknownEffect { effect };
        Some(Event::Parked {
            reason,
            until: deadline_at,
        })
    })
}

/// Whether a model or a tool was called by the process that drives the run.
pub(super) fn is_under_way(state: &State) -> bool {
    state.frames.values().any(|frame| match &frame.phase {
        Phase::Thinking { .. } => true,
        Phase::Acting { calls } => calls.iter().any(|call| {
            matches!(
                call,
                CallState::Called {
                    place: Place::Inline,
                    ..
                }
            )
        }),
        Phase::Ready | Phase::Backoff { .. } | Phase::Answered { .. } => false,
    })
}

/// Parks the run once every frame waits for something that no process has to stay for.
fn park(state: &State, deadline_at: At) -> Option<Event> {
    let mut waits: Vec<(At, ParkReason)> = Vec::new();
    for frame in state.frames.values() {
        match &frame.phase {
            Phase::Ready | Phase::Thinking { .. } | Phase::Answered { .. } => return None,
            Phase::Backoff {
                until,
                throttled: true,
            } => waits.push((*until, ParkReason::Throttled)),
            Phase::Backoff {
                until,
                throttled: false,
            } => waits.push((*until, ParkReason::Retry)),
            Phase::Acting { calls } => {
                for call in calls {
                    match call {
                        CallState::Called {
                            place: Place::Inline,
                            ..
                        }
                        | CallState::Asked => return None,
                        CallState::Called {
                            place: Place::Timer,
                            due_at,
                            ..
                        } => waits.push((*due_at, ParkReason::Timer)),
                        CallState::Called {
                            place: Place::Worker,
                            due_at,
                            ..
                        } => waits.push((*due_at, ParkReason::Tool)),
                        CallState::Returned { .. } => {}
                    }
                }
            }
        }
    }
    let (until, reason) = waits.into_iter().min_by_key(|(until, _)| *until)?;
    Some(Event::Parked {
        reason,
        until: until.min(deadline_at),
    })
}

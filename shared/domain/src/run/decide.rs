//! Every rule of a run.

use super::answer;
use super::event::{Created, Error, ErrorCode, Event, ParkReason};
use super::evolve::foresee;
use super::follow::{conclude, follow};
use super::head::Status;
use super::known::Known;
use super::state::{AgentFrame, CallState, Phase, State, Supply};
use crate::budget::{Amount, Budget, Node};
use crate::id::{DriverId, FrameId};
use crate::model::{Answer, Failure, FailureKind};
use crate::time::At;
use crate::tool::MAX_RESULT_BYTES;

/// How long a run at most waits for a change of its tenant's settings before it looks itself: a day, in case whoever
/// changed them died before it could tell.
const LOOK_AGAIN_MS: u64 = 86_400_000;

/// An intent, from a driver or from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Bring the run into being.
    Create(Box<Created>),
    /// A driver wants to work on the run, or looks whether something is due.
    Drive {
        /// Who.
        driver: DriverId,
        /// The driver that handed the run over, if one did: its claim does not count.
        handed_over_by: Option<DriverId>,
        /// The last renewal of the lease outside the log, if there is one.
        lease: Option<(DriverId, At)>,
    },
    /// A model call ended.
    Answered {
        /// Where.
        frame: FrameId,
        /// The step it was made for.
        step: u32,
        /// The attempt it was made for.
        attempt: u32,
        /// How it ended.
        outcome: Result<Answer, Failure>,
    },
    /// A tool call ended.
    Returned {
        /// Where.
        frame: FrameId,
        /// The step whose answer asked for it.
        step: u32,
        /// Its place among that answer's calls.
        call: u32,
        /// How it ended.
        outcome: ToolOutcome,
    },
    /// Somebody asks for the end.
    Cancel {
        /// Who.
        by: String,
        /// Why, in their words.
        reason: Option<String>,
    },
    /// A waiting run's turn has come.
    Admit {
        /// What is to be reserved for it.
        grant: Amount,
    },
    /// The home of the run's tenant has moved, and the run with it.
    Move {
        /// The epoch of the home from here on.
        epoch: u64,
        /// The Region that this belongs to.
        region: String,
    },
    /// A budget did not hold what the run asked for.
    Deny {
        /// Whose budget.
        node: Node,
        /// Which one.
        budget: Budget,
        /// When it begins anew, if it does.
        renews_at: Option<At>,
        /// Whether it was just what the next call needs; otherwise a whole chunk was asked for.
        exact: bool,
    },
    /// The tenant was suspended.
    Suspend {
        /// Who.
        by: String,
    },
    /// What the run waits for may have come: a budget was raised, the tenant is active again.
    Wake {
        /// Who says so.
        by: String,
    },
    /// The run cannot go on for a reason outside the rules.
    Fail(Error),
}

/// How a tool call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolOutcome {
    /// The result as text.
    pub text: String,
    /// Whether it failed; the model is told so.
    pub is_error: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There is no such run.
    #[error("there is no such run")]
    Missing,
    /// The run exists already.
    #[error("the run exists already")]
    Exists,
    /// Another driver is at work on it and alive until then.
    #[error("another driver holds the run until {until}")]
    Held {
        /// When its claim ends, unless renewed.
        until: At,
    },
}

/// Decides `command` in `state` at `now`. What follows from it by itself is [`advance`]'s matter: only a driver may let
/// it follow, since only a driver performs what it begins.
///
/// # Errors
/// [`Rejection`] when the command may not be. A command that comes late or again is `Ok` with no events.
pub fn decide(state: &State, command: &Command, now: At) -> Result<Vec<Event>, Rejection> {
    if let Command::Create(created) = command {
        return if state.created.is_none() {
            Ok(vec![Event::RunCreated(created.clone())])
        } else {
            Err(Rejection::Exists)
        };
    }
    if state.created.is_none() {
        return Err(Rejection::Missing);
    }
    if state.status.is_terminal() {
        return Ok(Vec::new());
    }
    match command {
        Command::Create(_) => Err(Rejection::Exists),
        Command::Drive {
            driver,
            handed_over_by,
            lease,
        } => drive(state, driver, handed_over_by.as_ref(), lease.as_ref(), now),
        Command::Answered {
            frame,
            step,
            attempt,
            outcome,
        } => Ok(answered(state, frame, (*step, *attempt), outcome, now)),
        Command::Returned {
            frame,
            step,
            call,
            outcome,
        } => Ok(returned(state, frame, (*step, *call), outcome)),
        Command::Cancel { by, reason } => Ok(cancel(state, by, reason.as_ref())),
        Command::Admit { grant } => Ok(if state.is_waiting() {
            vec![Event::Admitted { grant: *grant }]
        } else {
            Vec::new()
        }),
        Command::Move { epoch, region } => Ok(if *epoch > state.epoch {
            let region = region.clone();
            vec![Event::Moved {
                epoch: *epoch,
                region,
            }]
        } else {
            Vec::new()
        }),
        Command::Deny {
            node,
            budget,
            renews_at,
            exact,
        } => {
            let latest = look_again(state, now);
            let until = renews_at.map_or(latest, |at| at.min(latest));
            Ok(deny(state, node, *budget, exact.then_some(until)))
        }
        Command::Suspend { by } => {
            let begins = !state.suspend_requested;
            let requested = begins.then(|| Event::SuspendRequested { by: by.clone() });
            Ok(requested.into_iter().collect())
        }
        Command::Wake { by } => Ok(wake(state, by, now)),
        Command::Fail(error) => Ok(lost(state, "dropped when the run failed")
            .chain([Event::Failed {
                error: error.clone(),
            }])
            .collect()),
    }
}

/// Decides `command`, lets everything follow that follows from it, and moves `state` on past all of it: the driver's
/// `decide`. The events are to be committed as they are; until they are, `state` is a foresight.
///
/// # Errors
/// As [`decide`].
pub fn advance(
    known: &Known,
    state: &mut State,
    command: &Command,
    now: At,
) -> Result<Vec<Event>, Rejection> {
    let mut events = decide(state, command, now)?;
    foresee(state, &events, now);
    exhaust(state, &mut events, now, |state| follow(known, state, now));
    Ok(events)
}

/// Decides `command` and moves `state` on past it and whatever ends the run now, but begins nothing: for a driver that is
/// about to hand over.
///
/// # Errors
/// As [`decide`].
pub fn settle(
    known: &Known,
    state: &mut State,
    command: &Command,
    now: At,
) -> Result<Vec<Event>, Rejection> {
    let mut events = decide(state, command, now)?;
    foresee(state, &events, now);
    exhaust(state, &mut events, now, |state| conclude(known, state, now));
    Ok(events)
}

/// Lets `rule` follow as long as it has something to say.
fn exhaust(
    state: &mut State,
    events: &mut Vec<Event>,
    now: At,
    rule: impl Fn(&State) -> Vec<Event>,
) {
    loop {
        let next = rule(state);
        if next.is_empty() {
            return;
        }
        foresee(state, &next, now);
        events.extend(next);
    }
}

fn drive(
    state: &State,
    driver: &DriverId,
    handed_over_by: Option<&DriverId>,
    lease: Option<&(DriverId, At)>,
    now: At,
) -> Result<Vec<Event>, Rejection> {
    match state.status {
        Status::Queued if state.is_waiting() => Ok(Vec::new()),
        Status::Queued => Ok(vec![Event::RunStarted {
            driver: driver.clone(),
        }]),
        Status::Running => match state.holder(lease) {
            Some((holder, _)) if holder == driver => Ok(Vec::new()),
            Some((holder, until)) if handed_over_by != Some(holder) && now < until => {
                Err(Rejection::Held { until })
            }
            Some((holder, _)) => Ok(take_over(state, driver, holder)),
            None => Ok(vec![Event::RunStarted {
                driver: driver.clone(),
            }]),
        },
        Status::Parked => Ok(if is_due(state, now) {
            vec![Event::Resumed {
                driver: driver.clone(),
            }]
        } else {
            Vec::new()
        }),
        Status::Succeeded | Status::Failed | Status::Cancelled | Status::Expired => Ok(Vec::new()),
    }
}

/// The successor of a driver that died or handed over: lost model calls are charged as reserved, a destructive call in
/// flight parks the run, everything else is [`outstanding`](super::outstanding) and performed again.
fn take_over(state: &State, driver: &DriverId, from: &DriverId) -> Vec<Event> {
    let mut events = vec![Event::TakenOver {
        driver: driver.clone(),
        from: from.clone(),
    }];
    events.extend(lost(
        state,
        "the process that called the model ended before the answer was recorded",
    ));
    let is_hopeless = |frame: &AgentFrame| {
        matches!(frame.phase, Phase::Thinking { .. }) && frame.faults + 1 >= answer::MAX_ATTEMPTS
    };
    if state.frames.values().any(is_hopeless) {
        events.push(Event::Failed {
            error: Error {
                code: ErrorCode::ModelFailed,
                message: "one process after the other ended before the model's answer was recorded"
                    .to_owned(),
            },
        });
    }
    events
}

/// Charges every model call in flight at its reserved amount.
pub(super) fn lost<'a>(state: &'a State, message: &'a str) -> impl Iterator<Item = Event> + 'a {
    state.frames.iter().filter_map(move |(id, frame)| {
        let Phase::Thinking {
            reserved_tokens,
            reserved_micro_usd,
            ..
        } = frame.phase
        else {
            return None;
        };
        Some(Event::ModelFailed {
            frame: id.clone(),
            step: frame.step,
            failure: Failure {
                kind: FailureKind::Lost,
                message: message.to_owned(),
                retry_after_ms: None,
            },
            retry_at: None,
            charged_tokens: reserved_tokens,
            charged_micro_usd: reserved_micro_usd,
        })
    })
}

/// What is noted when a budget does not hold what the run asked for: a chunk, or just what the next call needs, which it
/// then asks for again at `until`.
fn deny(state: &State, node: &Node, budget: Budget, until: Option<At>) -> Vec<Event> {
    let (Status::Running, Some(account)) = (state.status, &state.account) else {
        return Vec::new();
    };
    let is_news = match account.supply {
        Supply::Ample => true,
        Supply::Short => until.is_some(),
        Supply::Reached { .. } => false,
    };
    if !is_news {
        return Vec::new();
    }
    vec![Event::BudgetShort {
        node: node.clone(),
        period: budget.period,
        unit: budget.unit,
        until,
    }]
}

/// Until when a run that waits for somebody to change its tenant's settings waits at most.
pub(super) fn look_again(state: &State, now: At) -> At {
    now.plus_ms(LOOK_AGAIN_MS).min(state.deadline_at())
}

/// A run that waits for other settings, or is about to, looks again.
fn wake(state: &State, by: &str, now: At) -> Vec<Event> {
    let is_parked = state
        .parked
        .as_ref()
        .is_some_and(|(reason, until)| reason.heeds_settings() && now < *until);
    let account = state.account.as_ref();
    let is_short = account.is_some_and(|account| match account.supply {
        Supply::Reached { .. } => state.status == Status::Running,
        Supply::Ample | Supply::Short => false,
    });
    let waits = state.suspend_requested || is_parked || is_short;
    let woken = waits.then(|| Event::Woken { by: by.to_owned() });
    woken.into_iter().collect()
}

/// Whether a parked run has something to do.
fn is_due(state: &State, now: At) -> bool {
    let Some((reason, until)) = &state.parked else {
        return true;
    };
    if matches!(reason, ParkReason::UnknownEffect { .. }) {
        return false;
    }
    if reason.heeds_settings() {
        // Not before the instant that was set or until it is woken, whatever else comes.
        return now >= *until;
    }
    now >= *until
        || state
            .frames
            .values()
            .any(|frame| matches!(frame.phase, Phase::Ready))
}

fn answered(
    state: &State,
    id: &FrameId,
    place: (u32, u32),
    outcome: &Result<Answer, Failure>,
    now: At,
) -> Vec<Event> {
    let Some(frame) = state.frames.get(id) else {
        return Vec::new();
    };
    if !matches!(frame.phase, Phase::Thinking { .. }) || (frame.step, frame.attempt) != place {
        return Vec::new();
    }
    match outcome {
        Ok(answer) => vec![Event::ModelAnswered {
            frame: id.clone(),
            step: frame.step,
            answer: answer.clone(),
        }],
        Err(failure) => answer::failed(&state.run, id, frame, failure, now),
    }
}

fn returned(state: &State, id: &FrameId, place: (u32, u32), outcome: &ToolOutcome) -> Vec<Event> {
    let (step, call) = place;
    let Some(frame) = state.frames.get(id).filter(|frame| frame.step == step) else {
        return Vec::new();
    };
    let Phase::Acting { calls } = &frame.phase else {
        return Vec::new();
    };
    let open = usize::try_from(call).ok().and_then(|call| calls.get(call));
    if !matches!(open, Some(CallState::Called { .. })) {
        return Vec::new();
    }
    let bytes = outcome.text.len();
    let (text, is_error) = if bytes > MAX_RESULT_BYTES {
        (
            format!(
                "result_too_large: the tool answered {bytes} bytes; at most {MAX_RESULT_BYTES} are taken"
            ),
            true,
        )
    } else {
        (outcome.text.clone(), outcome.is_error)
    };
    vec![Event::ToolReturned {
        frame: id.clone(),
        step,
        call,
        text,
        is_error,
        duration_ms: outcome.duration_ms,
    }]
}

/// A run that nobody drives ends at once; a driven one is ended by its driver, whose next commit meets this one.
fn cancel(state: &State, by: &str, reason: Option<&String>) -> Vec<Event> {
    let mut events = Vec::new();
    if !state.cancel_requested {
        events.push(Event::CancelRequested {
            by: by.to_owned(),
            reason: reason.cloned(),
        });
    }
    if matches!(state.status, Status::Queued | Status::Parked) {
        events.push(Event::Cancelled);
    }
    events
}

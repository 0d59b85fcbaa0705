//! What the log says when it is folded.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::LEASE_MS;
use super::event::{Created, Error, Event, ParkReason};
use super::head::Status;
use crate::budget::{Amount, Entry, Node, Period, Unit};
use crate::caps::Totals;
use crate::id::{DriverId, FrameId, RunId, TenantId, effect_id};
use crate::model::{Content, Message, StopReason, ToolCall};
use crate::time::At;
use crate::tool::{Class, Place};

/// A run, folded from its log. Written as a snapshot every hundred commits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Who owns it.
    pub tenant: TenantId,
    /// The run.
    pub run: RunId,
    /// Number of the last event folded; 0 for the empty log. The next commit starts one later: that is the fence.
    pub last_event: u64,
    /// Commits folded, for the rhythm of snapshots.
    pub commits: u64,
    /// Where it stands.
    pub status: Status,
    /// How it began; none before the first event.
    pub created: Option<Box<Created>>,
    /// The epoch of its tenant's home that it goes on in.
    #[serde(default)]
    pub epoch: u64,
    /// When it was created.
    pub created_at: At,
    /// When a driver first took it up.
    pub started_at: Option<At>,
    /// When it ended.
    pub ended_at: Option<At>,
    /// The last driver, and when it last wrote.
    pub driver: Option<(DriverId, At)>,
    /// Whether the end was asked for.
    pub cancel_requested: bool,
    /// Whether nothing may begin, since the tenant is suspended.
    #[serde(default)]
    pub suspend_requested: bool,
    /// How it stands in its tenant's ledger; none for a run that no ledger knows of.
    #[serde(default)]
    pub account: Option<Account>,
    /// What it waits for and when it is looked at again, while it is parked.
    pub parked: Option<(ParkReason, At)>,
    /// What it has used.
    pub totals: Totals,
    /// The frames, by their place in the tree.
    pub frames: BTreeMap<FrameId, AgentFrame>,
    /// The answer, once it succeeded.
    pub output: Option<Value>,
    /// The error, once it failed.
    pub error: Option<Error>,
}

/// How a run stands in its tenant's ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The nodes that are charged for it, beside the tenant itself.
    pub nodes: Vec<Node>,
    /// What was reserved for it so far, spent or not.
    pub granted: Amount,
    /// Whether it waits for its turn.
    pub waiting: bool,
    /// What its budgets hold for it.
    pub supply: Supply,
}

/// What a run's budgets hold for it, as far as it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Supply {
    /// Enough, for all it knows: it asks for chunks.
    #[default]
    Ample,
    /// Less than a chunk: it asks for just what the next call needs.
    Short,
    /// Less than the next call needs: it asks for nothing until then, or until it is woken.
    Reached {
        /// Whose budget.
        node: Node,
        /// Which of its budgets.
        period: Period,
        /// What it counts.
        unit: Unit,
        /// When it asks again.
        until: At,
    },
}

/// An agent at work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentFrame {
    /// The conversation; appended, never rewritten. Shared with the model call in flight, so nothing is copied for it.
    pub transcript: Arc<Vec<Message>>,
    /// The current step, 0 before the first.
    pub step: u32,
    /// Attempts at the current step that gave no answer.
    pub attempt: u32,
    /// Those of them that count towards failing the run: throttled ones do not.
    pub faults: u32,
    /// Whether the one repair of an unusable answer was spent.
    pub repaired: bool,
    /// What is going on.
    pub phase: Phase,
}

/// What an agent frame is at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "phase", rename_all = "snake_case")]
pub enum Phase {
    /// The model is to be called next.
    Ready,
    /// The model failed in a way that passes; it is called again at an instant.
    Backoff {
        /// That instant.
        until: At,
        /// Whether the provider asked for it.
        throttled: bool,
    },
    /// The model was called: the intent stands in the log.
    Thinking {
        /// Most tokens of the answer.
        max_output_tokens: u32,
        /// Upper bound of its tokens.
        reserved_tokens: u64,
        /// Upper bound of its price.
        reserved_micro_usd: u64,
    },
    /// The model answered without calling a tool; the answer is being judged.
    Answered {
        /// Why it stopped.
        stop_reason: StopReason,
    },
    /// The model answered; its tool calls, in its order, are being settled.
    Acting {
        /// One for each call of the last answer.
        calls: Vec<CallState>,
    },
}

/// One tool call of an answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum CallState {
    /// The model asked for it.
    Asked,
    /// It is under way.
    Called {
        /// What repeating it does.
        class: Class,
        /// Where it is performed.
        place: Place,
        /// When it must have answered.
        due_at: At,
        /// Whether the driver that began it was replaced, so that nobody here knows its fate.
        orphaned: bool,
    },
    /// It is settled.
    Returned {
        /// The result.
        text: String,
        /// Whether it failed.
        is_error: bool,
    },
}

/// An act that the log owes the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Call the model with a frame's transcript.
    CallModel {
        /// Where.
        frame: FrameId,
        /// The step.
        step: u32,
        /// The attempt at this step.
        attempt: u32,
        /// Most tokens of the answer.
        max_output_tokens: u32,
    },
    /// Perform a tool call, or have the worker perform it.
    CallTool {
        /// Where.
        frame: FrameId,
        /// The step whose answer asked for it.
        step: u32,
        /// Its place among that answer's calls.
        call: u32,
        /// The call as the model wrote it.
        request: ToolCall,
        /// What repeating it does.
        class: Class,
        /// Where it is performed; never [`Place::Timer`].
        place: Place,
        /// When it must have answered.
        due_at: At,
        /// Its `Idempotency-Key`.
        effect: String,
    },
}

impl Effect {
    /// Whether the log must hold the intent before this starts.
    #[must_use]
    pub fn needs_intent(&self) -> bool {
        match self {
            Self::CallModel { .. } => true,
            Self::CallTool { class, place, .. } => class.needs_intent() || *place == Place::Worker,
        }
    }

    /// Whether another process performs this, so that beginning it is only to send a message.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(
            self,
            Self::CallTool {
                place: Place::Worker,
                ..
            }
        )
    }

    /// What tells this effect from every other of the same run.
    #[must_use]
    pub fn key(&self) -> (FrameId, u32, Option<u32>, u32) {
        match self {
            Self::CallModel {
                frame,
                step,
                attempt,
                ..
            } => (frame.clone(), *step, None, *attempt),
            Self::CallTool {
                frame, step, call, ..
            } => (frame.clone(), *step, Some(*call), 0),
        }
    }
}

impl State {
    /// The state before the first event.
    #[must_use]
    pub fn empty(tenant: TenantId, run: RunId) -> Self {
        Self {
            tenant,
            run,
            last_event: 0,
            commits: 0,
            status: Status::Queued,
            created: None,
            epoch: 0,
            created_at: At(0),
            started_at: None,
            ended_at: None,
            driver: None,
            cancel_requested: false,
            suspend_requested: false,
            account: None,
            parked: None,
            totals: Totals::default(),
            frames: BTreeMap::new(),
            output: None,
            error: None,
        }
    }

    /// Number that the next commit must start with.
    #[must_use]
    pub fn next_event(&self) -> u64 {
        self.last_event + 1
    }

    /// When it expires unless it ended; never before it was created.
    #[must_use]
    pub fn deadline_at(&self) -> At {
        let created = self.created.as_ref();
        created.map_or(At(u64::MAX), |created| created.deadline_at)
    }

    /// Whether it waits for its turn.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.account.as_ref().is_some_and(|account| account.waiting)
    }

    /// What `events`, the last ones folded, change in the ledgers of the run's nodes.
    #[must_use]
    pub fn entry(&self, events: &[Event]) -> Entry {
        let mut entry = Entry::default();
        let Some(account) = &self.account else {
            return entry;
        };
        for event in events {
            match event {
                Event::RunCreated(created) => match &created.admission {
                    Some(admission) if admission.waiting => entry.waiting += 1,
                    Some(admission) => {
                        entry.active += 1;
                        entry.reserve = entry.reserve.plus(admission.grant);
                    }
                    None => {}
                },
                Event::Admitted { grant } => {
                    entry.active += 1;
                    entry.waiting -= 1;
                    entry.reserve = entry.reserve.plus(*grant);
                }
                Event::BudgetExtended { more } => entry.reserve = entry.reserve.plus(*more),
                ended if ended.is_terminal() && account.waiting => entry.waiting -= 1,
                ended if ended.is_terminal() => {
                    entry.active -= 1;
                    entry.release = account.granted;
                    entry.spent = self.totals.amount();
                }
                _ => {}
            }
        }
        entry
    }

    /// When the janitor looks whether the run is stuck: one claim's time after whatever should have happened by then. While
    /// a worker is to perform a call, that is its claim of the call.
    #[must_use]
    pub fn watch_at(&self) -> Option<At> {
        let driven_at = self.driver.as_ref().map(|(_, at)| *at);
        let expected = match self.status {
            Status::Queued => Some(self.created_at),
            Status::Running => driven_at,
            Status::Parked => match &self.parked {
                Some((ParkReason::Tool, until)) => driven_at.map(|at| at.min(*until)),
                Some((_, until)) => Some(*until),
                None => None,
            },
            Status::Succeeded | Status::Failed | Status::Cancelled | Status::Expired => None,
        };
        expected.map(|at| at.plus_ms(LEASE_MS))
    }

    /// Whether the one who holds the run may still be alive at `now`, given the last renewal of the lease outside the
    /// log. Gives the driver and the end of its claim.
    #[must_use]
    pub fn holder(&self, lease: Option<&(DriverId, At)>) -> Option<(&DriverId, At)> {
        let (driver, wrote_at) = self.driver.as_ref()?;
        let renewed_at = lease
            .filter(|(by, _)| by == driver)
            .map_or(*wrote_at, |(_, at)| *at);
        Some((driver, renewed_at.max(*wrote_at).plus_ms(LEASE_MS)))
    }
}

impl AgentFrame {
    /// The tool calls of the last answer.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.transcript
            .last()
            .into_iter()
            .flat_map(|message| &message.content)
            .filter_map(|content| match content {
                Content::ToolCall(call) => Some(call),
                Content::Text { .. } | Content::ToolResult { .. } => None,
            })
    }
}

/// Every act that the log owes the world in this state: what a driver that takes over has to begin again. Each carries
/// its place in the log, so an answer that comes late is known as such.
#[must_use]
pub fn outstanding(state: &State) -> Vec<Effect> {
    let mut effects = Vec::new();
    if state.status.is_terminal() || state.cancel_requested {
        return effects;
    }
    for (id, frame) in &state.frames {
        match &frame.phase {
            Phase::Ready | Phase::Backoff { .. } | Phase::Answered { .. } => {}
            Phase::Thinking {
                max_output_tokens, ..
            } => effects.push(Effect::CallModel {
                frame: id.clone(),
                step: frame.step,
                attempt: frame.attempt,
                max_output_tokens: *max_output_tokens,
            }),
            Phase::Acting { calls } => {
                for ((call, request), ordinal) in calls.iter().zip(frame.tool_calls()).zip(0..) {
                    let CallState::Called {
                        class,
                        place,
                        due_at,
                        ..
                    } = call
                    else {
                        continue;
                    };
                    if *place == Place::Timer {
                        continue;
                    }
                    effects.push(Effect::CallTool {
                        frame: id.clone(),
                        step: frame.step,
                        call: ordinal,
                        request: request.clone(),
                        class: *class,
                        place: *place,
                        due_at: *due_at,
                        effect: effect_id(&state.run, id, frame.step, ordinal),
                    });
                }
            }
        }
    }
    effects
}

//! What is written: events, in commits.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::used::Used;
use crate::agent::AgentRef;
use crate::budget::{Amount, Node, Period, Unit};
use crate::caps::{Cap, Caps};
use crate::id::{DriverId, FrameId, KeyId, ProjectId};
use crate::model::{Answer, Failure};
use crate::time::At;
use crate::tool::{Class, Place};

/// Which run queue carries a run.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Lane {
    /// Somebody is waiting.
    Interactive,
    /// The default.
    #[default]
    Standard,
    /// Whenever there is room.
    Batch,
}

/// Events written together by one writer: the unit of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// Number of the first event; the others count on from it. The first commit of a run starts at 1.
    pub first: u64,
    /// When it was written.
    pub at: At,
    /// The driver that wrote it; none when it came from outside (API, worker, janitor).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverId>,
    /// The events, at least one.
    pub events: Vec<Event>,
    /// What the run used of the platform since this was last told: told by who ends or parks it or is about to hand it over,
    /// and by workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
}

impl Commit {
    /// Number of the last event.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + self.events.len() as u64 - 1
    }

    /// The events with their numbers.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Event)> {
        (self.first..).zip(&self.events)
    }
}

/// How a run begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// What it executes, pinned.
    pub agent: AgentRef,
    /// The caller's input: a text or any JSON value.
    pub input: Value,
    /// Its hard caps.
    pub caps: Caps,
    /// The queue that carries it.
    #[serde(default)]
    pub lane: Lane,
    /// When it expires unless it ended.
    pub deadline_at: At,
    /// Until when it is kept; none for a run that nobody deletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<At>,
    /// The caller's labels, at most 16.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// SHA-256 (hex) of the request that created it, when it carried an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// The project that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// The API key that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// How it stands in its tenant's ledger; none for a run that no ledger knows of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// The epoch of its tenant's home, which says what Region it is created in: see [`crate::region`].
    #[serde(default, skip_serializing_if = "is_zero_64")]
    pub epoch: u64,
}

/// How a run stands in its tenant's ledger when it is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// The nodes that have budgets, beside the tenant itself: all of them are charged for the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<Node>,
    /// What is reserved for it; nothing while it waits.
    pub grant: Amount,
    /// Whether it waits for its turn, since as many runs are under way as may be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
}

/// Why a run waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum ParkReason {
    /// For an instant.
    Timer,
    /// For tool calls that are performed elsewhere.
    Tool,
    /// For the model's provider to have room again.
    Throttled,
    /// For the pause before a failed model call is made again.
    Retry,
    /// A destructive call was begun and its outcome is not known.
    UnknownEffect {
        /// The effect in question.
        effect: String,
    },
    /// A budget of the tenant does not hold the next model call.
    BudgetReached {
        /// Whose budget.
        node: Node,
        /// Which of its budgets.
        period: Period,
        /// What it counts.
        unit: Unit,
    },
    /// The tenant is suspended.
    Suspended,
}

impl ParkReason {
    /// Whether the run waits for a change of its tenant's settings.
    #[must_use]
    pub fn heeds_settings(&self) -> bool {
        match self {
            Self::BudgetReached { .. } | Self::Suspended => true,
            Self::Timer
            | Self::Tool
            | Self::Throttled
            | Self::Retry
            | Self::UnknownEffect { .. } => false,
        }
    }
}

/// Why a run failed, as a code that never changes meaning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum ErrorCode {
    /// A cap was reached.
    CapReached {
        /// Which one.
        cap: Cap,
    },
    /// The model or its provider refused.
    ModelRefused,
    /// The model call cannot be right as it stands.
    ModelInvalid,
    /// The model failed again and again.
    ModelFailed,
    /// The conversation no longer fits the model.
    ContextExceeded,
    /// The answer broke the output schema, after one repair.
    OutputInvalid,
    /// The model answered nothing that can be used, after one repair.
    AnswerUnusable,
    /// The definition that the run pins cannot be read.
    DefinitionMissing,
    /// An input or result is larger than what can be stored.
    TooLarge,
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// The kind, for programs.
    #[serde(flatten)]
    pub code: ErrorCode,
    /// What happened, for people.
    pub message: String,
}

/// A fact in a run's log. The tag of a stored event never changes meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// The run exists.
    RunCreated(Box<Created>),
    /// A driver took it up for the first time.
    RunStarted {
        /// Who.
        driver: DriverId,
    },
    /// Another driver took it over from one that died or handed over.
    TakenOver {
        /// Who took over.
        driver: DriverId,
        /// From whom.
        from: DriverId,
    },
    /// A model call is about to start: the intent.
    StepStarted {
        /// Where.
        frame: FrameId,
        /// The step, from 1 within the frame.
        step: u32,
        /// From 0; counts the attempts at this step.
        #[serde(default, skip_serializing_if = "is_zero")]
        attempt: u32,
        /// Most tokens that the answer may have.
        max_output_tokens: u32,
        /// Upper bound of its tokens, in and out.
        reserved_tokens: u64,
        /// Upper bound of its price.
        reserved_micro_usd: u64,
    },
    /// The model answered.
    ModelAnswered {
        /// Where.
        frame: FrameId,
        /// The step it belongs to.
        step: u32,
        /// What it said, used and cost.
        #[serde(flatten)]
        answer: Answer,
    },
    /// The model gave no answer.
    ModelFailed {
        /// Where.
        frame: FrameId,
        /// The step it belongs to.
        step: u32,
        /// Why.
        #[serde(flatten)]
        failure: Failure,
        /// When the same step is attempted again; none for at once, or not at all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<At>,
        /// Tokens charged for the lost attempt.
        #[serde(default, skip_serializing_if = "is_zero_64")]
        charged_tokens: u64,
        /// Price charged for the lost attempt.
        #[serde(default, skip_serializing_if = "is_zero_64")]
        charged_micro_usd: u64,
    },
    /// The answer cannot be used; the model is asked once more.
    AnswerRejected {
        /// Where.
        frame: FrameId,
        /// The step it belongs to.
        step: u32,
        /// What the model is told.
        detail: String,
    },
    /// A tool call is due: the intent, where its class needs one.
    ToolCalled {
        /// Where.
        frame: FrameId,
        /// The step whose answer asked for it.
        step: u32,
        /// Its place among that answer's calls, from 0.
        call: u32,
        /// The tool.
        tool: String,
        /// What repeating it does.
        class: Class,
        /// Where it is performed.
        place: Place,
        /// When it must have answered; for a timer, when it is over.
        due_at: At,
    },
    /// A tool call is settled.
    ToolReturned {
        /// Where.
        frame: FrameId,
        /// The step whose answer asked for it.
        step: u32,
        /// Its place among that answer's calls.
        call: u32,
        /// The result as text.
        text: String,
        /// Whether it failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
        /// How long it took, in milliseconds.
        #[serde(default)]
        duration_ms: u64,
    },
    /// Nothing can be done before an instant or a message; no process is kept for it.
    Parked {
        /// For what.
        #[serde(flatten)]
        reason: ParkReason,
        /// When it is looked at again, whatever happens.
        until: At,
    },
    /// The tenant's settings, which the run waits for or is about to, were changed: its driver looks again.
    Woken {
        /// Who says so.
        by: String,
    },
    /// There is something to do again.
    Resumed {
        /// The driver that goes on.
        driver: DriverId,
    },
    /// The run's turn has come.
    Admitted {
        /// What is reserved for it.
        grant: Amount,
    },
    /// The run goes on in another Region. What was written for it elsewhere beyond this point is void.
    Moved {
        /// The epoch of its tenant's home from here on.
        epoch: u64,
        /// The Region that this belongs to.
        region: String,
    },
    /// More was reserved for the run.
    BudgetExtended {
        /// How much more.
        more: Amount,
    },
    /// A budget of the tenant did not hold what the run asked for.
    BudgetShort {
        /// Whose budget.
        node: Node,
        /// Which of its budgets.
        period: Period,
        /// What it counts.
        unit: Unit,
        /// When the run asks again, unless it is woken, if it had asked for just what the next call needs. Otherwise it had
        /// asked for a whole chunk, and from here on asks for just that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<At>,
    },
    /// The tenant was suspended. What is under way ends, nothing begins.
    SuspendRequested {
        /// Who.
        by: String,
    },
    /// Somebody asked for the end. No effect starts after this.
    CancelRequested {
        /// Who.
        by: String,
        /// Why, in their words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// The end: an answer.
    Succeeded {
        /// The answer: a text, or the JSON value that the output schema asked for.
        output: Value,
    },
    /// The end: no answer.
    Failed {
        /// Why.
        error: Error,
    },
    /// The end: it was cancelled.
    Cancelled,
    /// The end: its deadline passed.
    Expired,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_zero_64(n: &u64) -> bool {
    *n == 0
}

impl Event {
    /// The tag that it is stored under, which is also its SSE event name.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::RunCreated(_) => "run_created",
            Self::RunStarted { .. } => "run_started",
            Self::TakenOver { .. } => "taken_over",
            Self::StepStarted { .. } => "step_started",
            Self::ModelAnswered { .. } => "model_answered",
            Self::ModelFailed { .. } => "model_failed",
            Self::AnswerRejected { .. } => "answer_rejected",
            Self::ToolCalled { .. } => "tool_called",
            Self::ToolReturned { .. } => "tool_returned",
            Self::Parked { .. } => "parked",
            Self::Woken { .. } => "woken",
            Self::Resumed { .. } => "resumed",
            Self::Admitted { .. } => "admitted",
            Self::Moved { .. } => "moved",
            Self::BudgetExtended { .. } => "budget_extended",
            Self::BudgetShort { .. } => "budget_short",
            Self::SuspendRequested { .. } => "suspend_requested",
            Self::CancelRequested { .. } => "cancel_requested",
            Self::Succeeded { .. } => "succeeded",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// Whether the run is over.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(
            self,
            Self::Succeeded { .. } | Self::Failed { .. } | Self::Cancelled | Self::Expired
        )
    }

    /// Whether it rests on the tenant's settings, and must not be written once they have changed.
    #[must_use]
    pub fn heeds_settings(&self) -> bool {
        matches!(self, Self::Parked { reason, .. } if reason.heeds_settings())
    }

    /// Whether the run's head says something else from here on: its status changes.
    #[must_use]
    pub fn moves_head(&self) -> bool {
        self.is_terminal()
            || matches!(
                self,
                Self::RunCreated(_)
                    | Self::Admitted { .. }
                    | Self::RunStarted { .. }
                    | Self::Parked { .. }
                    | Self::Woken { .. }
                    | Self::Resumed { .. }
                    | Self::Moved { .. }
            )
    }
}

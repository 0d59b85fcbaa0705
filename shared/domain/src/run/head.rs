//! What lists and reads need of a run, without its log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::{Lane, ParkReason};
use super::state::State;
use crate::agent::AgentRef;
use crate::caps::{Caps, Totals};
use crate::id::{KeyId, ProjectId, RunId};
use crate::time::At;

/// Where a run stands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, not yet taken up.
    #[default]
    Queued,
    /// A driver works on it.
    Running,
    /// It waits; no process is kept for it.
    Parked,
    /// It ended with an answer.
    Succeeded,
    /// It ended without one.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its deadline passed.
    Expired,
}

impl Status {
    /// Every status, in the order of a run's life.
    pub const ALL: [Self; 7] = [
        Self::Queued,
        Self::Running,
        Self::Parked,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    /// Whether the run is over.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Parked => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::Expired => true,
        }
    }

    /// The word that stands in JSON and in keys.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Parked => "parked",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    /// The status that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// A run, without its log. Written with the commits that change its status, never at a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The run.
    pub run: RunId,
    /// Where it stands.
    pub status: Status,
    /// What it waits for, while it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parked: Option<ParkReason>,
    /// What it executes.
    pub agent: AgentRef,
    /// Its caps.
    pub caps: Caps,
    /// What it had used when the head was written.
    pub totals: Totals,
    /// The queue that carries it.
    pub lane: Lane,
    /// The project that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// The API key that asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyId>,
    /// Whether it waits for its turn, since as many of the tenant's runs are under way as may be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waiting: bool,
    /// The epoch of its tenant's home that it goes on in, which says in what Region.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub epoch: u64,
    /// When it was created.
    pub created_at: At,
    /// When a driver first took it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<At>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<At>,
    /// When it expires unless it ended.
    pub deadline_at: At,
    /// Until when it is kept; none for a run that nobody deletes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_until: Option<At>,
    /// When the janitor looks whether it is stuck; none once it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_at: Option<At>,
    /// Number of the last event when the head was written.
    pub last_event: u64,
    /// The caller's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// SHA-256 (hex) of the creating request, when it carried an idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Head {
    /// Whether the run is kept at `now`. One that is not is as good as gone, even if its items are still there.
    #[must_use]
    pub fn is_kept(&self, now: At) -> bool {
        self.kept_until.is_none_or(|until| now < until)
    }

    /// The head of a run in this state.
    ///
    /// # Panics
    /// Never for a state that holds at least the creation; there is no head before it.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let created = state
            .created
            .as_ref()
            .expect("a head is written with or after the creation");
        Self {
            run: state.run.clone(),
            status: state.status,
            parked: state.parked.as_ref().map(|(reason, _)| reason.clone()),
            agent: created.agent.clone(),
            caps: created.caps,
            totals: state.totals,
            lane: created.lane,
            project: created.project.clone(),
            key: created.key.clone(),
            waiting: state.is_waiting() && !state.status.is_terminal(),
            epoch: state.epoch,
            created_at: state.created_at,
            started_at: state.started_at,
            ended_at: state.ended_at,
            deadline_at: created.deadline_at,
            kept_until: created.kept_until,
            watch_at: state.watch_at(),
            last_event: state.last_event,
            metadata: created.metadata.clone(),
            fingerprint: created.fingerprint.clone(),
        }
    }
}

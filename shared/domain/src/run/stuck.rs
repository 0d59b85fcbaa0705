//! Runs on which nobody is at work though somebody should be, as an operator asks about them.

use super::event::ParkReason;
use super::head::{Head, Status};
use crate::time::At;

/// Why nobody is at work on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stuck {
    /// Its deadline has passed, and nobody has ended it.
    DeadlinePassed,
    /// No driver has taken it up.
    NotTakenUp,
    /// Its driver shows no life.
    DriverGone,
    /// It waits for a tool whose worker shows no life.
    WorkerGone,
    /// What it waited for has come, and nobody woke it.
    NotWoken,
}

impl Stuck {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::DeadlinePassed,
        Self::NotTakenUp,
        Self::DriverGone,
        Self::WorkerGone,
        Self::NotWoken,
    ];

    /// The word that stands in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DeadlinePassed => "deadline_passed",
            Self::NotTakenUp => "not_taken_up",
            Self::DriverGone => "driver_gone",
            Self::WorkerGone => "worker_gone",
            Self::NotWoken => "not_woken",
        }
    }
}

/// Why a run with this head is stuck at `now`, and since when, if it is for `patience_ms` milliseconds at least. `seen_at` is
/// the last sign of life: of its driver or worker, else the instant at which somebody should have seen to it. A run that
/// waits for its turn needs nobody before its deadline.
#[must_use]
pub fn stuck(head: &Head, seen_at: At, now: At, patience_ms: u64) -> Option<(Stuck, At)> {
    let is_long_past = |at: At| now.since_ms(at) >= patience_ms;
    if is_long_past(head.deadline_at) && !head.status.is_terminal() {
        return Some((Stuck::DeadlinePassed, head.deadline_at));
    }
    if head.waiting || !is_long_past(seen_at) {
        return None;
    }
    let why = match head.status {
        Status::Queued => Stuck::NotTakenUp,
        Status::Running => Stuck::DriverGone,
        Status::Parked if head.parked == Some(ParkReason::Tool) => Stuck::WorkerGone,
        Status::Parked => Stuck::NotWoken,
        Status::Succeeded | Status::Failed | Status::Cancelled | Status::Expired => return None,
    };
    Some((why, seen_at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::AgentRef;
    use crate::caps::{Caps, Totals};
    use crate::id::{AgentId, RunId};
    use crate::run::Lane;

    fn head(status: Status, parked: Option<ParkReason>) -> Head {
        Head {
            run: RunId::from_bytes([1; 16]),
            status,
            parked,
            agent: AgentRef {
                id: AgentId::parse("agent").unwrap(),
                version: 1,
            },
            caps: Caps::default(),
            totals: Totals::default(),
            lane: Lane::Standard,
            project: None,
            key: None,
            waiting: false,
            created_at: At(0),
            started_at: None,
            ended_at: None,
            deadline_at: At(1_000_000),
            kept_until: None,
            watch_at: None,
            last_event: 1,
            epoch: 0,
            metadata: std::collections::BTreeMap::new(),
            fingerprint: None,
        }
    }

    #[test]
    fn who_is_missing_says_where_the_run_stands() {
        let why = |status, parked| stuck(&head(status, parked), At(5_000), At(65_000), 60_000);
        let since = At(5_000);
        assert_eq!(why(Status::Queued, None), Some((Stuck::NotTakenUp, since)));
        assert_eq!(why(Status::Running, None), Some((Stuck::DriverGone, since)));
        assert_eq!(
            why(Status::Parked, Some(ParkReason::Tool)),
            Some((Stuck::WorkerGone, since))
        );
        assert_eq!(
            why(Status::Parked, Some(ParkReason::Timer)),
            Some((Stuck::NotWoken, since))
        );
        assert_eq!(why(Status::Succeeded, None), None);
    }

    #[test]
    fn a_run_is_given_time_and_one_in_line_all_of_its_time() {
        let mut run = head(Status::Running, None);
        assert_eq!(stuck(&run, At(5_000), At(64_999), 60_000), None);
        run.waiting = true;
        assert_eq!(stuck(&run, At(5_000), At(900_000), 60_000), None);
        let late = At(1_060_000);
        let expected = Some((Stuck::DeadlinePassed, At(1_000_000)));
        assert_eq!(stuck(&run, late, late, 60_000), expected);
    }
}

//! Runs: the log, its head, the driver's lease, snapshots.

mod read;
mod write;

use domain::budget::Denial;
use domain::id::DriverId;
use domain::run::{Head, State};
use domain::time::At;

pub(crate) use read::{contiguous, first_of};

/// What became of a creation.
#[derive(Clone, Debug, PartialEq)]
pub enum Creation {
    /// The run is new.
    New,
    /// There is a run of that id; this is its head.
    Exists(Box<Head>),
    /// A ledger refused it; nothing was written.
    Denied(Denial),
    /// The tenant was changed since the decision; nothing was written.
    Stale,
    /// The tenant's definitions were changed since the decision; nothing was written.
    Redefined,
}

/// A run, read from its log.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The state, folded.
    pub state: State,
    /// The driver that renewed the lease last, and when.
    pub lease: Option<(DriverId, At)>,
    /// Commits folded after the snapshot, or all when there is none.
    pub tail: u32,
}

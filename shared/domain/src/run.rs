//! The run machine: how a run's log is decided, folded and acted upon.
//!
//! [`decide`] holds every rule, [`evolve`] records and cannot fail, [`outstanding`] lists the acts that the log owes the
//! world. None of them does I/O; whoever drives a run (`engine`) loads the log, decides, commits and performs.

mod answer;
mod decide;
mod event;
mod evolve;
mod follow;
mod head;
mod known;
mod state;
mod stuck;
#[cfg(test)]
mod tests;
mod used;

pub use decide::{Command, Rejection, ToolOutcome, advance, decide, settle};
pub use event::{Admission, Commit, Created, Error, ErrorCode, Event, Lane, ParkReason};
pub use evolve::{evolve, fold, written};
pub use head::{Head, Status};
pub use known::Known;
pub use state::{Account, AgentFrame, CallState, Effect, Phase, State, Supply, outstanding};
pub use stuck::{Stuck, stuck};
pub use used::{Cost, Used};

/// How long a claim lasts after its last sign of life, in milliseconds. Who does not renew it for so long counts as dead; the
/// rest of the 30 s within which a death is noticed (design rule) is for whoever looks.
pub const LEASE_MS: u64 = 25_000;

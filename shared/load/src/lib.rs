//! Load: scenarios as data, the load that they describe, and what it showed.
//!
//! Arrivals are open-loop: a request is due when the scenario says so, whatever became of those before it, and its latency
//! counts from then on. So a platform that stalls cannot hide it by slowing its clients down. Every run that was created is
//! followed to its end.
//!
//! It is a client of the HTTP API like any other: it names no other crate of ours, and does not print.

mod api;
mod drive;
mod error;
mod export;
mod follow;
mod measured;
mod memory;
mod mix;
mod page;
mod plot;
mod report;
mod scenario;
mod schedule;
mod spans;
mod targets;

pub use api::Api;
pub use drive::{Progress, drive};
pub use error::Error;
pub use export::{Format, export};
pub use measured::{Bin, Costs, Measured, Runs};
pub use memory::Resident;
pub use mix::{Mix, Operation};
pub use report::{Report, Table};
pub use scenario::{Agent, SCENARIOS, Scenario, span};
pub use schedule::Stage;
pub use spans::Spans;
pub use targets::{Figure, Outcome, Verdict};

//! Whole features, faults, bad input and the house rules.
//!
//! Tests over HTTP share one [`platform`] with real function processes: this binary runs itself again as each function.
//! Tests of [`faults`] that need no process drive the engine over the stand-ins in one thread, on a clock that jumps.

#![expect(clippy::unwrap_used, reason = "a test fails where its surroundings do")]

mod agents;
mod archive;
mod audit;
mod bad_input;
mod bridge;
mod client;
mod closing;
mod crashes;
mod events;
mod faults;
mod gates;
mod invariants;
mod isolation;
mod kill;
mod lists;
mod load;
mod logs;
mod matrix;
mod nonsense;
mod operate;
mod platform;
mod regions;
mod requests;
mod runs;
mod streams;
mod tenants;
mod tidy;
mod traces;
mod units;
mod usage;
mod world;

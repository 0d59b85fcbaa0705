//! The rules of Skein, and nothing else.
//!
//! What a tenant, an agent and a run are, which limits hold, and how a run's log is interpreted: pure functions over plain
//! data. **Invariant:** this crate does no I/O, reads no clock, draws no randomness, and names no AWS crate, no tokio and
//! no tracing; time, ids and random bytes are arguments.

pub mod agent;
pub mod audit;
pub mod budget;
pub mod caps;
pub mod closing;
pub mod flag;
pub mod gate;
pub mod id;
pub mod limit;
pub mod maintenance;
pub mod model;
pub mod plan;
pub mod price;
pub mod receipt;
pub mod region;
pub mod run;
pub mod schema;
pub mod service;
pub mod tenant;
pub mod tier;
pub mod time;
pub mod tool;
pub mod trace;
pub mod usage;

//! Queues and timers: typed messages out, deliveries in.
//!
//! [`Queue`] sends a run to its lane, a tool call to the task queue, and either of them later; [`Queue::consume`] works
//! through one delivery, record by record, and keeps it in flight meanwhile. Messages are hints, never state: a lost, late or
//! doubled one is made harmless by the run's log. **Invariant:** only this crate names the SDKs of SQS and EventBridge
//! Scheduler, and none of their types leaves it except the clients that are passed in. It knows nothing of what a run does.

mod config;
mod consume;
mod dead;
mod error;
mod heartbeat;
mod message;
mod send;
#[cfg(test)]
mod tests;
mod timer;
mod toll;

use std::sync::Arc;

pub use config::{Beat, Config, Origin, Timers};
pub use consume::{Disposition, Record};
pub use dead::{Dead, DeadLetter, Redriven, Which};
pub use error::Error;
pub use message::{
    About, ClosingMessage, First, HOPS_ALARM, Malformed, Message, RunMessage, SweepMessage,
    ToolMessage,
};
pub use send::Depth;
pub use toll::Toll;

/// The run lanes, the task queue and the timers. Clones are cheap and share the clients.
#[derive(Clone, Debug)]
pub struct Queue(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sqs: aws_sdk_sqs::Client,
    scheduler: Option<aws_sdk_scheduler::Client>,
    config: Config,
}

impl Queue {
    /// Queues reached through these clients. Without a scheduler, or without [`Config::timers`], delays over 15 minutes
    /// are made of several of 15 minutes: see [`Queue::send_run`].
    #[must_use]
    pub fn new(
        sqs: aws_sdk_sqs::Client,
        scheduler: Option<aws_sdk_scheduler::Client>,
        config: Config,
    ) -> Self {
        Self(Arc::new(Inner {
            sqs,
            scheduler,
            config,
        }))
    }
}

//! The whole platform on one machine: the stand-ins of `local`, our own functions as processes, the samples.
//!
//! `skein dev` and the end-to-end tests start a [`Platform`]; tests that need no processes take the [`Cloud`] alone, with an
//! engine whose SDK clients are plugged straight into the stand-ins.

mod access;
mod cloud;
mod plans;
mod platform;
mod seed;
mod state;

pub use cloud::{AUDIT_BUCKET, Cloud, CloudConfig, Isolation, QUEUES};
pub use platform::{FUNCTIONS, Launch, Platform};
pub use seed::{Keys, SAMPLES, TENANT, issue_operator_key};
pub use state::{Folder, Taken};

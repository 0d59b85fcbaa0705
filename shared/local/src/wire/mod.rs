//! The wire between SDK clients and the stand-ins: a router as an SDK's HTTP connector
//! ([`connector`]), a router on a socket ([`serve`](serve())), faults injected on the way
//! ([`Faults`]), transactions that
//! meet ([`Conflicts`]) and requests counted on the way ([`Meter`]). It never interprets what a service
//! means, only how a request names its operation.

mod conflicts;
mod connector;
mod faults;
mod meter;
mod operation;
mod serve;
#[cfg(test)]
pub(crate) mod tests;

pub use conflicts::Conflicts;
pub use connector::connector;
pub use faults::{Call, Fault, Faults, Rule};
pub use meter::{Count, Meter, Snapshot};
pub use serve::serve;

/// Marks an answer that must not arrive: both the connector and the server break the connection
/// in its place.
#[derive(Clone, Copy, Debug)]
struct Severed;

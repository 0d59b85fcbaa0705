//! Logs, metrics and traces of the functions, on standard output, in CloudWatch and at a collector.
//!
//! [`init`] sets up logging once a process; after that everything is written with the macros of `tracing`. A line is one JSON
//! object with the keys that Powertools for AWS Lambda uses, the fields of the spans around it and its own, or readable text
//! for people. [`Metrics`] is a unit of work: one line of metrics, properties included, so it is also the one wide event that
//! a run leaves behind. **Rule:** at the default level a run writes at most 1 KB (source: $0.50 per GB of logs, against about
//! $10 per million runs for everything else). [`Tracer`] makes spans, which go to a collector of OpenTelemetry
//! before an invocation ends, if there is one. Nothing here knows what a run is.

mod chain;
mod emf;
mod gauges;
mod held;
mod json;
mod log;
mod trace;

pub use chain::chain;
pub use emf::{Metrics, Unit, service};
pub use gauges::{Error, Gauges};
pub use held::work;
pub use log::init;
pub use trace::{Collector, Kind, Span, Tracer, Value};

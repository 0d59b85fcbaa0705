//! Requests counted between a client and a stand-in.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;

use super::operation::{Protocol, operation};

/// Operations of the table that only read.
const READS: [&str; 5] = [
    "GetItem",
    "BatchGetItem",
    "TransactGetItems",
    "Query",
    "Scan",
];

/// Counts requests by operation and sums the table's consumed capacity, where the caller asked
/// for it with `ReturnConsumedCapacity`. A handle that is cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Meter {
    counts: Arc<Mutex<Snapshot>>,
}

/// What a meter had counted at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Counts by operation (`PutItem`, `SendMessage`, `Converse`), else by method and path.
    pub operations: BTreeMap<String, Count>,
}

/// What was counted for one operation, or in sum.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// Requests, whatever their answer.
    pub requests: u64,
    /// Requests answered with a status of 400 or more.
    pub errors: u64,
    /// Read units that the table reported; failed requests report none.
    pub read_units: f64,
    /// Write units that the table reported; failed requests report none.
    pub write_units: f64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        self.read_units += other.read_units;
        self.write_units += other.write_units;
    }
}

impl Snapshot {
    /// The count of one operation, zero if it was never called.
    #[must_use]
    pub fn of(&self, operation: &str) -> Count {
        self.operations.get(operation).copied().unwrap_or_default()
    }

    /// The sum over all operations.
    #[must_use]
    pub fn total(&self) -> Count {
        self.operations
            .values()
            .fold(Count::default(), |mut sum, count| {
                sum += *count;
                sum
            })
    }

    /// What was counted after `earlier`, which must be of the same meter.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let operations = self.operations.iter().filter_map(|(name, count)| {
            let before = earlier.of(name);
            let count = Count {
                requests: count.requests - before.requests,
                errors: count.errors - before.errors,
                read_units: count.read_units - before.read_units,
                write_units: count.write_units - before.write_units,
            };
            (count.requests > 0).then(|| (name.clone(), count))
        });
        Self {
            operations: operations.collect(),
        }
    }
}

impl Meter {
    /// A meter at zero.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// `router` with every request to it counted.
    pub fn wrap(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), count))
    }

    /// What has been counted so far.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.clone()
    }

    fn add(&self, operation: String, count: Count) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.operations.entry(operation).or_default() += count;
    }
}

async fn count(State(meter): State<Meter>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let operation = operation(&parts);
    let protocol = Protocol::of(&parts);
    let response = next.run(Request::from_parts(parts, body)).await;
    let mut counted = Count {
        requests: 1,
        errors: u64::from(response.status().as_u16() >= 400),
        ..Count::default()
    };
    if protocol != Protocol::Table {
        meter.add(operation, counted);
        return response;
    }
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let units = units(&body);
    if READS.contains(&operation.as_str()) {
        counted.read_units = units;
    } else {
        counted.write_units = units;
    }
    meter.add(operation, counted);
    Response::from_parts(parts, Body::from(body))
}

#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "ConsumedCapacity")]
    consumed: Option<Consumed>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Consumed {
    Many(Vec<Capacity>),
    One(Capacity),
}

#[derive(Deserialize)]
struct Capacity {
    #[serde(rename = "CapacityUnits", default)]
    units: f64,
}

fn units(body: &[u8]) -> f64 {
    let answer = serde_json::from_slice(body).unwrap_or(Answer { consumed: None });
    match answer.consumed {
        None => 0.0,
        Some(Consumed::One(capacity)) => capacity.units,
        Some(Consumed::Many(all)) => all.iter().map(|capacity| capacity.units).sum(),
    }
}

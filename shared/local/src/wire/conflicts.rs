//! Transactions that take their time and meet, as those of DynamoDB do: the embedded table does them one after another.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Value, json};

use super::operation::{json_error, operation};

/// A layer before the table under which each transaction lasts a while, and a write that meets one is refused: a
/// transaction as `TransactionCanceledException` with the reason `TransactionConflict` for each item that it met at, a
/// single write as `TransactionConflictException`.
///
/// Source: Amazon DynamoDB Developer Guide, "Transaction conflict handling in DynamoDB".
#[derive(Clone, Debug)]
pub struct Conflicts {
    lasts: Duration,
    counts: Arc<Mutex<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    /// Items of transactions under way.
    held: HashSet<String>,
    met: u64,
}

impl Conflicts {
    /// Transactions that last this long.
    #[must_use]
    pub fn lasting(lasts: Duration) -> Self {
        Self {
            lasts,
            counts: Arc::default(),
        }
    }

    /// `router`, the table, with its transactions meeting.
    pub fn wrap(&self, router: Router) -> Router {
        router.layer(from_fn_with_state(self.clone(), conflict))
    }

    /// Writes that were refused so far.
    #[must_use]
    pub fn met(&self) -> u64 {
        self.lock().met
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes all of these items, or tells which are taken.
    fn hold(&self, items: &[String]) -> Result<(), Vec<bool>> {
        let mut counts = self.lock();
        let taken: Vec<_> = items
            .iter()
            .map(|item| counts.held.contains(item))
            .collect();
        if taken.contains(&true) {
            counts.met += 1;
            return Err(taken);
        }
        counts.held.extend(items.iter().cloned());
        Ok(())
    }

    fn release(&self, items: &[String]) {
        let mut counts = self.lock();
        for item in items {
            counts.held.remove(item);
        }
    }
}

async fn conflict(State(conflicts): State<Conflicts>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let operation = operation(&parts);
    let items =
        serde_json::from_slice(&body).map_or_else(|_| Vec::new(), |body| items(&operation, &body));
    let request = Request::from_parts(parts, Body::from(body));
    if items.is_empty() {
        return next.run(request).await;
    }
    if operation != "TransactWriteItems" {
        let meets = conflicts.lock().held.contains(&items[0]);
        if meets {
            conflicts.lock().met += 1;
            const KIND: &str = "com.amazonaws.dynamodb.v20120810#TransactionConflictException";
            return json_error(
                StatusCode::BAD_REQUEST,
                KIND,
                "Transaction is ongoing for the item",
            );
        }
        return next.run(request).await;
    }
    if let Err(taken) = conflicts.hold(&items) {
        return cancelled(&taken);
    }
    tokio::time::sleep(conflicts.lasts).await;
    let response = next.run(request).await;
    conflicts.release(&items);
    response
}

/// The items that a request writes.
fn items(operation: &str, body: &Value) -> Vec<String> {
    let of = |write: &Value| {
        let key = write.get("Key").or_else(|| write.get("Item"))?;
        Some(format!(
            "{} {} {}",
            write["TableName"], key["pk"], key["sk"]
        ))
    };
    match operation {
        "PutItem" | "UpdateItem" | "DeleteItem" => of(body).into_iter().collect(),
        "TransactWriteItems" => {
            let writes = body["TransactItems"].as_array().into_iter().flatten();
            let writes = writes.filter_map(|write| write.as_object()?.values().next());
            writes.filter_map(of).collect()
        }
        _ => Vec::new(),
    }
}

fn cancelled(taken: &[bool]) -> Response {
    let reasons = taken.iter().map(|taken| match taken {
        true => {
            json!({"Code": "TransactionConflict", "Message": "Transaction is ongoing for the item"})
        }
        false => json!({"Code": "None"}),
    });
    let body = json!({
        "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
        "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
        "CancellationReasons": reasons.collect::<Vec<_>>(),
    });
    let headers = [(http::header::CONTENT_TYPE, "application/x-amz-json-1.0")];
    (StatusCode::BAD_REQUEST, headers, body.to_string()).into_response()
}

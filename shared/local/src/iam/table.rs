//! The check before the table: which partition keys a request names.
//!
//! Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/specifying-conditions.html> for
//! `dynamodb:LeadingKeys`, <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html> for
//! transactions, which need the rights of their parts.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request as Asked, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::policy::Request;
use super::{Iam, Principal, Refusal};
use crate::table::Table;

/// The partition keys of tables and of their indexes, by `<table>` and `<table>/index/<index>`.
type Keys = HashMap<String, String>;

#[derive(Clone)]
struct Guard {
    iam: Iam,
    table: Table,
    keys: Arc<Mutex<Keys>>,
}

/// An item or a key, as far as texts go.
type Item = HashMap<String, Attribute>;

#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "S")]
    text: Option<String>,
}

/// What of an operation on one table matters here.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Operation {
    table_name: String,
    index_name: Option<String>,
    key: Option<Item>,
    item: Option<Item>,
    key_condition_expression: Option<String>,
    expression_attribute_names: HashMap<String, String>,
    expression_attribute_values: Item,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Transaction {
    transact_items: Vec<HashMap<String, Operation>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Batch {
    request_items: HashMap<String, Value>,
}

pub(super) fn guard(iam: &Iam, router: Router, table: Table) -> Router {
    let guard = Guard {
        iam: iam.clone(),
        table,
        keys: Arc::default(),
    };
    router.layer(from_fn_with_state(guard, pass))
}

async fn pass(State(guard): State<Guard>, request: Asked, next: Next) -> Response {
    let principal = match guard.iam.principal(request.headers()) {
        Ok(None) => return next.run(request).await,
        Ok(Some(principal)) => principal,
        Err(refusal) => return refused(refusal),
    };
    let (parts, body) = request.into_parts();
    let body = match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => body,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    if let Err(refusal) = guard.check(&principal, &parts.headers, &body) {
        return refused(refusal);
    }
    next.run(Asked::from_parts(parts, Body::from(body))).await
}

impl Guard {
    fn check(
        &self,
        principal: &Principal,
        headers: &HeaderMap,
        body: &[u8],
    ) -> Result<(), Refusal> {
        let target = headers
            .get("x-amz-target")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let operation = target.rsplit_once('.').map_or(target, |(_, name)| name);
        let requests = self.requests(operation, body).unwrap_or_default();
        if requests.is_empty() {
            // What cannot be read names no key, and no statement allows that.
            let nothing = Request {
                action: format!("dynamodb:{operation}"),
                resource: String::new(),
                leading_keys: Vec::new(),
            };
            return self.iam.check(principal, &[nothing]);
        }
        self.iam.check(principal, &requests)
    }

    /// Everything that a request does; none when it cannot be read.
    fn requests(&self, operation: &str, body: &[u8]) -> Option<Vec<Request>> {
        match operation {
            "TransactWriteItems" | "TransactGetItems" => {
                let transaction: Transaction = serde_json::from_slice(body).ok()?;
                let parts = transaction.transact_items.into_iter().flatten();
                let requests = parts.map(|(kind, part)| {
                    let action = match kind.as_str() {
                        "Put" => "PutItem",
                        "Update" => "UpdateItem",
                        "Delete" => "DeleteItem",
                        "Get" => "GetItem",
                        "ConditionCheck" => "ConditionCheckItem",
                        _ => return None,
                    };
                    Some(self.request(action, &part))
                });
                requests.collect()
            }
            "BatchGetItem" | "BatchWriteItem" => {
                let batch: Batch = serde_json::from_slice(body).ok()?;
                let requests = batch.request_items.into_iter().map(|(table, items)| {
                    let key = self.key(&table)?;
                    let mut keys = Vec::new();
                    let whole = batched(&items)?.into_iter().all(|item| {
                        let text = item.get(&key).and_then(|value| value.get("S"));
                        keys.extend(text.and_then(Value::as_str).map(str::to_owned));
                        text.is_some()
                    });
                    Some(Request {
                        action: format!("dynamodb:{operation}"),
                        resource: format!("table/{table}"),
                        leading_keys: if whole { keys } else { Vec::new() },
                    })
                });
                requests.collect()
            }
            _ => {
                let asked: Operation = serde_json::from_slice(body).ok()?;
                Some(vec![self.request(operation, &asked)])
            }
        }
    }

    fn request(&self, operation: &str, asked: &Operation) -> Request {
        let place = match &asked.index_name {
            None => asked.table_name.clone(),
            Some(index) => format!("{}/index/{index}", asked.table_name),
        };
        let leading = self.key(&place).and_then(|key| match operation {
            "Query" => asked.queried(&key),
            "PutItem" => asked.item.as_ref()?.get(&key)?.text.clone(),
            _ => asked.key.as_ref()?.get(&key)?.text.clone(),
        });
        Request {
            action: format!("dynamodb:{operation}"),
            resource: format!("table/{place}"),
            leading_keys: leading.into_iter().collect(),
        }
    }

    /// The name of the partition key of a table or an index.
    fn key(&self, place: &str) -> Option<String> {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.contains_key(place) {
            let table = place.split('/').next().unwrap_or_default();
            let description = self.table.describe(table)?;
            let hash = |of: &Value| {
                let keys = of["KeySchema"].as_array()?;
                let hash = keys.iter().find(|key| key["KeyType"] == "HASH")?;
                hash["AttributeName"].as_str().map(str::to_owned)
            };
            keys.extend(hash(&description).map(|key| (table.to_owned(), key)));
            let indexes = description["GlobalSecondaryIndexes"].as_array();
            keys.extend(indexes.into_iter().flatten().filter_map(|index| {
                let name = index["IndexName"].as_str()?;
                Some((format!("{table}/index/{name}"), hash(index)?))
            }));
        }
        keys.get(place).cloned()
    }
}

impl Operation {
    /// The partition key that a query names: the value that its expression wants `key` to be equal to, if there is exactly
    /// one.
    fn queried(&self, key: &str) -> Option<String> {
        let expression = self.key_condition_expression.as_ref()?.replace('=', " = ");
        let words: Vec<&str> = expression
            .split(|c: char| c.is_whitespace() || c == '(' || c == ')')
            .filter(|word| !word.is_empty())
            .collect();
        let is_key = |word: &str| {
            let name = self.expression_attribute_names.get(word);
            name.map_or(word, String::as_str) == key
        };
        let mut equal = words.windows(3).filter_map(|words| match words {
            [name, "=", value] if is_key(name) => Some(*value),
            [value, "=", name] if is_key(name) => Some(*value),
            _ => None,
        });
        let value = equal.next().filter(|_| equal.next().is_none())?;
        self.expression_attribute_values.get(value)?.text.clone()
    }
}

/// The keys and items of a batch for one table.
fn batched(items: &Value) -> Option<Vec<&Value>> {
    match items {
        Value::Object(get) => Some(get.get("Keys")?.as_array()?.iter().collect()),
        Value::Array(writes) => writes
            .iter()
            .map(|write| {
                let put = write.get("PutRequest").and_then(|put| put.get("Item"));
                let delete = write.get("DeleteRequest").and_then(|put| put.get("Key"));
                put.or(delete)
            })
            .collect(),
        _ => None,
    }
}

fn refused(refusal: Refusal) -> Response {
    let (kind, message) = match refusal {
        Refusal::Denied(message) => ("AccessDeniedException", message),
        Refusal::Expired => (
            "ExpiredTokenException",
            "The security token included in the request is expired".to_owned(),
        ),
        Refusal::Unknown => (
            "UnrecognizedClientException",
            "The security token included in the request is invalid.".to_owned(),
        ),
    };
    let body = json!({"__type": format!("com.amazon.coral.service#{kind}"), "Message": message});
    let headers = [(CONTENT_TYPE, "application/x-amz-json-1.0")];
    (
        StatusCode::BAD_REQUEST,
        headers,
        Body::from(body.to_string()),
    )
        .into_response()
}

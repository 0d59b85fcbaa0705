//! The table: DynamoDB's JSON protocol over an embedded engine, in memory or in one file.
//!
//! The engine's own streams stay off whatever a table asks for: with one enabled it scans all its stream
//! records at every write, which makes writes thirty times slower and ever slower. [`Changes`] take their place.

mod changes;
mod copies;
#[cfg(test)]
pub(crate) mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use dynoxide::{Database, DynoxideError};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use tokio::task::spawn_blocking;
use uuid::Uuid;

pub use changes::Changes;
pub use copies::Copies;
use copies::Tap;

use crate::iam::Iam;

/// The file that holds the table inside the folder of the local cloud.
const FILE: &str = "table.sqlite";

/// DynamoDB's limit for a request.
const REQUEST_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// How often expired items are looked for. AWS promises days; tests call [`Table::sweep_once`].
const SWEEP_EVERY: Duration = Duration::from_secs(30);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Why the table cannot be used.
#[derive(Debug, Error)]
pub enum Error {
    /// The folder cannot be made.
    #[error("the folder {} for the table cannot be made", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the file system said.
        source: std::io::Error,
    },
    /// The file is not one of ours, damaged, or not accessible.
    #[error(
        "the table's file {} cannot be opened; it may be damaged, remove it to start empty",
        path.display()
    )]
    File {
        /// The file.
        path: PathBuf,
        /// What the engine said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The engine failed.
    #[error("the table's engine failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// An open table engine; all clones share it. One engine holds the tables of one region.
#[derive(Clone)]
pub struct Table {
    database: Database,
    changes: Option<Changes>,
    tap: Option<Tap>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Table").finish_non_exhaustive()
    }
}

impl Table {
    /// Opens the tables in `folder`, which is made if it is missing; without a folder they are
    /// kept in memory and end with the last clone.
    ///
    /// # Errors
    /// When the folder cannot be made, or its file is damaged or not accessible.
    pub fn open(folder: Option<&Path>) -> Result<Self, Error> {
        let Some(folder) = folder else {
            let database = Database::memory().map_err(|error| Error::Engine(error.into()))?;
            return Ok(Self::new(database));
        };
        std::fs::create_dir_all(folder).map_err(|source| Error::Folder {
            path: folder.to_owned(),
            source,
        })?;
        let path = folder.join(FILE);
        let database = open_file(&path).map_err(|error| Error::File {
            path,
            source: error.into(),
        })?;
        Ok(Self::new(database))
    }

    fn new(database: Database) -> Self {
        Self {
            database,
            changes: None,
            tap: None,
        }
    }

    /// Tells from now on of items that are put and have this attribute. What was told before and is not done with is kept
    /// in `folder`, if there is one.
    ///
    /// # Errors
    /// When the file of the changes cannot be used.
    pub fn tell(&mut self, folder: Option<&Path>, attribute: &str) -> std::io::Result<Changes> {
        let changes = Changes::open(folder, attribute)?;
        self.changes = Some(changes.clone());
        Ok(changes)
    }

    /// The table's HTTP interface, for [`connector`](crate::wire::connector) or
    /// [`serve`](crate::wire::serve()).
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", post(answer))
            .layer(DefaultBodyLimit::max(REQUEST_LIMIT_BYTES))
            .with_state(self.clone())
    }

    /// The same behind a check of who asks for what.
    pub fn guarded_router(&self, iam: &Iam) -> Router {
        iam.guard_table(self.router(), self.clone())
    }

    /// What a table says of itself; none when it does not exist.
    pub(crate) fn describe(&self, table: &str) -> Option<Value> {
        let request = serde_json::json!({"TableName": table}).to_string();
        let answer = dispatch(&self.database, "DescribeTable", request.as_bytes()).ok()?;
        let mut answer: Value = serde_json::from_str(&answer).ok()?;
        Some(answer["Table"].take())
    }

    /// Deletes expired items every 30 s until `shutdown` resolves.
    pub async fn sweep(&self, shutdown: impl Future<Output = ()>) {
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(SWEEP_EVERY) => {}
            }
            match self.sweep_once().await {
                Ok(0) => {}
                Ok(deleted) => tracing::debug!(deleted, "expired items were deleted"),
                Err(error) => tracing::warn!(?error, "expired items could not be deleted"),
            }
        }
    }

    /// Deletes what has expired by the system's clock now, and says how many items that were.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn sweep_once(&self) -> Result<usize, Error> {
        let database = self.database.clone();
        spawn_blocking(move || database.sweep_ttl())
            .await
            .map_err(|error| Error::Engine(error.into()))?
            .map_err(|error| Error::Engine(error.into()))
    }
}

fn open_file(path: &Path) -> dynoxide::Result<Database> {
    let database = Database::new(&path.to_string_lossy())?;
    // The engine leaves SQLite at `synchronous=FULL`, a disk flush per write. This call sets
    // `NORMAL`: with the write-ahead log nothing tears, and nothing is lost when the process dies.
    database.disable_bulk_loading()?;
    Ok(database)
}

async fn answer(State(table): State<Table>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok())
        .unwrap_or_default();
    let operation = target.rsplit_once('.').map_or(target, |(_, name)| name);
    // Straight on the caller's thread: an operation takes some tens of microseconds under one
    // lock, and handing it to a blocking thread halved what one client alone gets and gained
    // nothing for sixteen.
    let answer = dispatch(&table.database, operation, &body);
    if let (Some(tap), Ok(_)) = (&table.tap, &answer) {
        tap.take(operation, &body);
    }
    let (status, body) = match answer {
        Ok(answer) => match &table.changes {
            // Whatever was asked for when the table was made: see above.
            Some(_) if operation == "DescribeTable" => (StatusCode::OK, with_stream(&answer)),
            Some(changes) => {
                changes.take(operation, &body);
                (StatusCode::OK, answer)
            }
            None => (StatusCode::OK, answer),
        },
        Err(error) => {
            let status = StatusCode::from_u16(error.status_code());
            (status.unwrap_or(StatusCode::BAD_REQUEST), error.to_json())
        }
    };
    let id = Uuid::new_v4().simple().to_string();
    let headers = [
        (CONTENT_TYPE, "application/x-amz-json-1.0"),
        (REQUEST_ID, id.as_str()),
    ];
    (status, headers, Body::from(body)).into_response()
}

fn dispatch(db: &Database, operation: &str, body: &[u8]) -> dynoxide::Result<String> {
    match operation {
        "GetItem" => run(body, |request| db.get_item(request)),
        "PutItem" => run(body, |request| db.put_item(request)),
        "UpdateItem" => run(body, |request| db.update_item(request)),
        "DeleteItem" => run(body, |request| db.delete_item(request)),
        "Query" => run(body, |request| db.query(request)),
        "Scan" => run(body, |request| db.scan(request)),
        "BatchGetItem" => run(body, |request| db.batch_get_item(request)),
        "BatchWriteItem" => run(body, |request| db.batch_write_item(request)),
        "TransactGetItems" => run(body, |request| db.transact_get_items(request)),
        "TransactWriteItems" => run(body, |request| db.transact_write_items(request)),
        "CreateTable" => run(&without_stream(body), |request| db.create_table(request)),
        "UpdateTable" => run(&without_stream(body), |request| db.update_table(request)),
        "DeleteTable" => run(body, |request| db.delete_table(request)),
        "DescribeTable" => run(body, |request| db.describe_table(request)),
        "ListTables" => run(body, |request| db.list_tables(request)),
        "UpdateTimeToLive" => run(body, |request| db.update_time_to_live(request)),
        "DescribeTimeToLive" => run(body, |request| db.describe_time_to_live(request)),
        "TagResource" => run(body, |request| db.tag_resource(request)),
        "UntagResource" => run(body, |request| db.untag_resource(request)),
        "ListTagsOfResource" => run(body, |request| db.list_tags_of_resource(request)),
        "ExecuteStatement" => run(body, |request| db.execute_statement(request)),
        "ExecuteTransaction" => run(body, |request| db.execute_transaction(request)),
        "BatchExecuteStatement" => run(body, |request| db.batch_execute_statement(request)),
        other => Err(DynoxideError::ValidationException(format!(
            "The local table has no operation {other:?}"
        ))),
    }
}

fn run<Q: DeserializeOwned, A: Serialize>(
    body: &[u8],
    execute: impl FnOnce(Q) -> dynoxide::Result<A>,
) -> dynoxide::Result<String> {
    let request = serde_json::from_slice(body).map_err(|error| unreadable(&error))?;
    let answer = execute(request)?;
    serde_json::to_string(&answer)
        .map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}

fn without_stream(body: &[u8]) -> Vec<u8> {
    let Ok(Value::Object(mut request)) = serde_json::from_slice(body) else {
        return body.to_vec();
    };
    request.remove("StreamSpecification");
    Value::Object(request).to_string().into_bytes()
}

/// What a table says of itself where its changes are told.
fn with_stream(answer: &str) -> String {
    let Ok(mut answer) = serde_json::from_str::<Value>(answer) else {
        return answer.to_owned();
    };
    answer["Table"]["StreamSpecification"] =
        serde_json::json!({"StreamEnabled": true, "StreamViewType": "NEW_AND_OLD_IMAGES"});
    answer.to_string()
}

/// The engine marks the class of an error at the head of serde's message; no mark may go out.
fn unreadable(error: &serde_json::Error) -> DynoxideError {
    let text = error.to_string();
    let text = text
        .rsplit_once(" at line ")
        .map_or(&*text, |(head, _)| head);
    let validation = |message: &str| DynoxideError::ValidationException(message.to_owned());
    match text.split_once(':') {
        Some(("VALIDATION" | "VALIDATION_REQUEST" | "VALIDATION_AS_READ", message)) => {
            validation(message)
        }
        Some(("SERIALIZATION" | "SERIALIZATION_AS_READ", message)) => {
            DynoxideError::SerializationException(message.to_owned())
        }
        _ if error.is_data() => validation(text),
        _ => DynoxideError::SerializationException(text.to_owned()),
    }
}

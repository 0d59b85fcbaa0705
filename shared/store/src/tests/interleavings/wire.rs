//! A wire on which every request of a process waits until it is let through.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;

use aws_sdk_dynamodb::types::AttributeValue;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tower::ServiceExt as _;

use crate::Key;
use crate::item::Item;

/// The wire; clones are the same one.
#[derive(Clone, Default)]
pub(in crate::tests) struct Wire(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The process that is at work; none while it is the test itself.
    at_work: Option<usize>,
    /// What each process waits for.
    waiting: BTreeMap<usize, Ticket>,
    table: Router,
}

/// A request that waits, and whom to answer.
pub(in crate::tests) struct Ticket {
    pub(in crate::tests) operation: String,
    parts: Parts,
    pub(super) body: Bytes,
    next: Next,
    asker: oneshot::Sender<Response>,
}

impl Wire {
    /// `router` behind this wire.
    pub(super) fn wrap(&self, router: Router) -> Router {
        self.lock().table = router.clone();
        router.layer(from_fn_with_state(self.clone(), wait))
    }

    /// An item as it stands, read beside everybody and without a client, which would take most of the test's time.
    pub(super) async fn item(&self, key: &Key) -> Option<Item> {
        let key = json!({"pk": {"S": key.pk()}, "sk": {"S": key.sk()}});
        let get = json!({"TableName": "skein", "Key": key, "ConsistentRead": true});
        let request = http::Request::post("/")
            .header("x-amz-target", "DynamoDB_20120810.GetItem")
            .body(Body::from(get.to_string()));
        let table = self.lock().table.clone();
        let answer = table.oneshot(request.unwrap()).await.unwrap();
        let answer = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let attributes = answer.get("Item")?.as_object().unwrap().iter();
        let attributes = attributes.map(|(name, value)| {
            let value = match (value["S"].as_str(), value["N"].as_str()) {
                (Some(text), _) => AttributeValue::S(text.to_owned()),
                (_, number) => AttributeValue::N(number.unwrap().to_owned()),
            };
            (name.clone(), value)
        });
        Some(attributes.collect())
    }

    /// Lets a process go on until it asks for something, or is done.
    pub(in crate::tests) async fn step<T>(
        &self,
        process: usize,
        mut future: Pin<&mut (impl Future<Output = T> + ?Sized)>,
    ) -> Option<T> {
        poll_fn(|context| {
            self.lock().at_work = Some(process);
            let polled = future.as_mut().poll(context);
            self.lock().at_work = None;
            match polled {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if self.is_waiting(process) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    pub(super) fn is_waiting(&self, process: usize) -> bool {
        self.lock().waiting.contains_key(&process)
    }

    /// Takes what the process waits for.
    pub(in crate::tests) fn take(&self, process: usize) -> Option<Ticket> {
        self.lock().waiting.remove(&process)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }
}

async fn wait(State(wire): State<Wire>, request: Request, next: Next) -> Response {
    let Some(process) = wire.lock().at_work else {
        return next.run(request).await;
    };
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let target = parts.headers.get("x-amz-target").unwrap().to_str().unwrap();
    let operation = target.rsplit_once('.').unwrap().1.to_owned();
    let (asker, answer) = oneshot::channel();
    let ticket = Ticket {
        operation,
        parts,
        body,
        next,
        asker,
    };
    let before = wire.lock().waiting.insert(process, ticket);
    assert!(before.is_none(), "a process asks one thing at a time");
    answer.await.unwrap_or_else(|_| failed())
}

impl Ticket {
    /// Lets the request through, which stays here to be let through again; its answer is kept back.
    pub(in crate::tests) async fn pass(&self) -> Response {
        let body = Body::from(self.body.clone());
        let request = Request::from_parts(self.parts.clone(), body);
        self.next.clone().run(request).await
    }

    /// Answers whoever asked, if anybody is left.
    pub(in crate::tests) fn answer(self, response: Response) {
        let _nobody = self.asker.send(response);
    }
}

/// What a client hears whose answer got lost, or whose request was never done: the two look the same.
pub(super) fn failed() -> Response {
    refusal(
        StatusCode::INTERNAL_SERVER_ERROR,
        "InternalServerError",
        "{}",
    )
}

/// What a client hears whose write met a transaction, so that nothing was done.
pub(super) fn conflict(operation: &str) -> Response {
    if operation == "TransactWriteItems" {
        let reasons = r#"{"CancellationReasons":[{"Code":"TransactionConflict","Message":"met"}]}"#;
        refusal(
            StatusCode::BAD_REQUEST,
            "TransactionCanceledException",
            reasons,
        )
    } else {
        refusal(
            StatusCode::BAD_REQUEST,
            "TransactionConflictException",
            "{}",
        )
    }
}

fn refusal(status: StatusCode, kind: &str, with: &str) -> Response {
    let mut body: Value = serde_json::from_str(with).unwrap();
    body["__type"] = format!("com.amazonaws.dynamodb.v20120810#{kind}").into();
    body["message"] = "as the test wants it".into();
    let headers = [(CONTENT_TYPE, "application/x-amz-json-1.0")];
    (status, headers, body.to_string()).into_response()
}

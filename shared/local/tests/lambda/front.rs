//! The REST front door over real functions.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use skein_local::{
    front::{self, Route},
    lambda::{Lambda, Mode},
};
use tokio::net::TcpListener;

use crate::{Gate, PATIENCE, function, start_with, within};

struct Site {
    lambda: Lambda,
    address: String,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Site {
    async fn start(buffered_timeout: Duration) -> Self {
        let mode = Mode::Concurrent { slots: 2 };
        let functions = ["web", "flow", "steps"].map(|name| function(name, mode, PATIENCE));
        let lambda = start_with(functions.into(), Arc::new(|_, _| {}));
        let route = |pattern: &str, function: &str, streaming| Route {
            method: Some(Method::GET),
            pattern: pattern.to_owned(),
            function: function.to_owned(),
            streaming,
        };
        let routes = vec![
            route("/v1/runs/{run}", "web", false),
            route("/v1/runs/{run}/events", "flow", true),
            route("/buffered-flow", "flow", false),
            route("/odd", "steps", false),
        ];
        let mut config = front::Config::new(routes, "web");
        config.buffered_timeout = buffered_timeout;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(front::serve(
            listener,
            front::router(lambda.clone(), config),
        ));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self {
            lambda,
            address,
            client,
        }
    }

    async fn send(&self, method: Method, path: &str, body: impl Into<Bytes>) -> Response<Incoming> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .body(Full::new(body.into()))
            .unwrap();
        within(self.client.request(request)).await.unwrap()
    }
}

async fn bytes(response: Response<Incoming>) -> Bytes {
    within(response.into_body().collect())
        .await
        .unwrap()
        .to_bytes()
}

async fn check_problem(response: Response<Incoming>, status: u16, code: &str) -> Value {
    assert_eq!(response.status(), status);
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let problem: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    assert_eq!(problem["status"], status);
    assert_eq!(problem["code"], code);
    problem
}

#[tokio::test]
async fn request_and_answer_pass_whole() {
    let site = Site::start(PATIENCE).await;
    let path = "/v1/runs/r%201?tag=a+b&tag=%26";
    let response = site.send(Method::GET, path, "").await;
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers()["x-one"], "1");
    assert_eq!(response.headers()["x-amzn-requestid"].len(), 36);
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let seen: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    assert_eq!(seen["path"], "/v1/runs/r%201");
    assert_eq!(seen["run"], "r 1");
    assert_eq!(seen["query"], serde_json::json!(["a b", "&"]));

    let response = site.send(Method::POST, "/elsewhere", "text").await;
    let seen: Value = serde_json::from_slice(&bytes(response).await).unwrap();
    assert_eq!(seen["body"], "text");

    let response = site.send(Method::GET, "/empty", "").await;
    assert_eq!(response.status(), 204);
    site.lambda.stop().await;
}

#[tokio::test]
async fn binary_bodies_pass_unchanged() {
    let site = Site::start(PATIENCE).await;
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let response = site.send(Method::POST, "/binary", body.clone()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(bytes(response).await, body);
    site.lambda.stop().await;
}

#[tokio::test]
async fn streamed_answer_passes_chunk_by_chunk() {
    let site = Site::start(PATIENCE).await;
    let gate = Gate::new().await;
    let path = format!("/v1/runs/r1/events?gate={}", gate.address());
    let mut response = site.send(Method::GET, &path, "").await;
    assert_eq!(response.status(), 202);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-one"], "1");
    let cookies: Vec<_> = response.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    let first = within(response.frame()).await.unwrap().unwrap();
    assert_eq!(first.into_data().unwrap(), "data: first\n\n");
    drop(gate.reached().await);
    assert_eq!(bytes(response).await, "data: later\n\n");
    site.lambda.stop().await;
}

#[tokio::test]
async fn client_that_leaves_does_not_stop_the_function() {
    let site = Site::start(PATIENCE).await;
    let (first, second) = (Gate::new().await, Gate::new().await);
    let gates = format!("gate={}&gate={}", first.address(), second.address());
    for path in ["/gate", "/v1/runs/r1/events"] {
        let path = format!("{path}?{gates}");
        let client = site.send(Method::GET, &path, "");
        tokio::select! {
            at_first = first.reached() => drop(at_first),
            _ = async { client.await; std::future::pending::<()>().await } => {}
        }
        drop(second.reached().await);
    }
    site.lambda.stop().await;
}

#[tokio::test]
async fn failures_of_the_function_are_problems() {
    let site = Site::start(PATIENCE).await;
    let response = site.send(Method::GET, "/fail", "").await;
    let problem = check_problem(response, 502, "function_failed").await;
    assert_eq!(problem["title"], "The function failed");
    let response = site.send(Method::GET, "/odd", "").await;
    check_problem(response, 502, "function_answer_malformed").await;
    let response = site.send(Method::GET, "/buffered-flow", "").await;
    check_problem(response, 502, "function_answer_malformed").await;
    site.lambda.stop().await;
}

#[tokio::test]
async fn slow_buffered_answer_is_a_timeout() {
    let site = Site::start(Duration::from_millis(50)).await;
    let gate = Gate::new().await;
    let path = format!("/gate?gate={}", gate.address());
    let response = site.send(Method::GET, &path, "").await;
    check_problem(response, 504, "function_timeout").await;
    site.lambda.stop().await;
}

#[tokio::test]
async fn body_over_the_limit_is_refused() {
    let site = Site::start(PATIENCE).await;
    let over = vec![b'x'; front::BODY_LIMIT_BYTES + 1];
    let response = site.send(Method::POST, "/elsewhere", over).await;
    check_problem(response, 413, "body_too_large").await;
    // Within the limit of the front door, but over that of an event.
    let large = vec![b'x'; 7_000_000];
    let response = site.send(Method::POST, "/elsewhere", large).await;
    check_problem(response, 413, "body_too_large").await;
    let response = site.send(Method::POST, "/elsewhere", "small").await;
    assert_eq!(response.status(), 201);
    site.lambda.stop().await;
}

//! The other side: what this binary does when it is launched as a function.

use std::{convert::Infallible, process::Stdio};

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use lambda_http::{Request, RequestExt as _, Response};
use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::{net::TcpListener, process::Command};

use crate::{invoke, pass, start, within};

/// Names the function to be.
pub(crate) const VARIABLE: &str = "SKEIN_TEST_FUNCTION";

/// The test that becomes the function when launched as one.
pub(crate) const TEST: &str = "function::launched_binary_serves_events";

#[test]
fn launched_binary_serves_events() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    if let Ok(name) = std::env::var(VARIABLE) {
        skein_local::lambda::end_with_parent();
        return runtime.block_on(serve(&name)).unwrap();
    }
    runtime.block_on(async {
        let lambda = start("steps");
        let event = json!({ "do": "echo", "text": "ä" });
        assert_eq!(
            invoke(&lambda, "steps", event.clone()).await.unwrap(),
            event
        );
        lambda.stop().await;
    });
}

#[tokio::test]
async fn launched_binary_ends_when_its_launcher_is_gone() {
    let runtime_api = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([TEST, "--exact", "--nocapture"])
        .env(VARIABLE, "steps")
        .env("AWS_LAMBDA_FUNCTION_NAME", "steps")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env(
            "AWS_LAMBDA_RUNTIME_API",
            runtime_api.local_addr().unwrap().to_string(),
        )
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let _polls = within(runtime_api.accept()).await.unwrap();
    drop(child.stdin.take());
    assert!(within(child.wait()).await.unwrap().success());
}

async fn serve(name: &str) -> Result<(), Error> {
    match name {
        "steps" => lambda_runtime::run_concurrent(service_fn(step)).await,
        "batch" => lambda_runtime::run_concurrent(service_fn(batch)).await,
        "web" => lambda_http::run_concurrent(service_fn(web)).await,
        "flow" => lambda_http::run_with_streaming_response_concurrent(service_fn(flow)).await,
        other => panic!("`{other}` does not start"),
    }
}

#[expect(clippy::print_stdout, reason = "what a function prints is its log")]
async fn step(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (payload, context) = event.into_parts();
    if let Some(kind) = payload["detail-type"].as_str() {
        println!("scheduled: {kind}");
    }
    match payload["do"].as_str() {
        Some("fail") => return Err("told to fail".into()),
        Some("panic") => panic!("told to panic"),
        Some("exit") => std::process::exit(7),
        Some("large") => return Ok(Value::String("x".repeat(7_000_000))),
        Some("print") => println!("printed by the function"),
        Some("context") => {
            return Ok(json!({
                "pid": std::process::id(),
                "request_id": context.request_id,
                "deadline": context.deadline,
                "arn": context.invoked_function_arn,
                "trace_id": context.xray_trace_id,
                "memory": context.env_config.memory,
                "region": std::env::var("AWS_REGION")?,
                "log_group": context.env_config.log_group,
                "slots": std::env::var("AWS_LAMBDA_MAX_CONCURRENCY").ok(),
            }));
        }
        _ => {}
    }
    for gate in payload["gates"].as_array().into_iter().flatten() {
        pass(gate.as_str().unwrap()).await;
    }
    Ok(payload)
}

async fn batch(event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    let mut response = SqsBatchResponse::default();
    for record in event.payload.records {
        let body: Value = serde_json::from_str(&record.body.unwrap_or_default())?;
        if let Some(gate) = body["gate"].as_str() {
            pass(gate).await;
        }
        match body["do"].as_str() {
            Some("fail") => {
                let mut failure = BatchItemFailure::default();
                failure.item_identifier = record.message_id.unwrap_or_default();
                response.batch_item_failures.push(failure);
            }
            Some("error") => return Err("told to fail".into()),
            _ => {}
        }
    }
    Ok(response)
}

async fn web(request: Request) -> Result<Response<lambda_http::Body>, Error> {
    let response = Response::builder();
    let response = match request.raw_http_path() {
        "/empty" => response.status(204).body(lambda_http::Body::Empty)?,
        "/fail" => return Err("told to fail".into()),
        "/binary" => response
            .header("content-type", "application/octet-stream")
            .body(request.into_body().to_vec().into())?,
        "/gate" => {
            for gate in request.query_string_parameters().all("gate").unwrap() {
                pass(gate).await;
            }
            response.body(lambda_http::Body::Empty)?
        }
        path => {
            let seen = json!({
                "path": path,
                "query": request.query_string_parameters().all("tag"),
                "run": request.path_parameters().first("run"),
                "body": String::from_utf8_lossy(request.body()),
            });
            response
                .status(201)
                .header("x-one", "1")
                .header("set-cookie", "a=1")
                .header("set-cookie", "b=2")
                .header("content-type", "application/json")
                .body(seen.to_string().into())?
        }
    };
    Ok(response)
}

async fn flow(request: Request) -> Result<Response<Body>, Infallible> {
    let parameters = request.query_string_parameters();
    let gates: Vec<String> = parameters
        .all("gate")
        .unwrap_or_default()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let rest = stream::iter(gates).then(|gate| async move {
        pass(&gate).await;
        Ok::<_, Infallible>(Bytes::from_static(b"data: later\n\n"))
    });
    let first = stream::iter([Ok(Bytes::from_static(b"data: first\n\n"))]);
    let response = Response::builder()
        .status(202)
        .header("content-type", "text/event-stream")
        .header("x-one", "1")
        .header("set-cookie", "a=1")
        .header("set-cookie", "b=2")
        .body(Body::from_stream(first.chain(rest)));
    Ok(response.expect("the parts are valid"))
}

//! The sample events in `events/`, each given to its function as Lambda would.

use std::fs;
use std::path::Path;

use aws_lambda_events::apigw::ApiGatewayProxyRequest;
use aws_lambda_events::eventbridge::EventBridgeEvent;
use aws_lambda_events::sqs::SqsEvent;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::platform::{Running, shared, within};

/// The key that the samples carry.
const KEY: &str =
    "skn_std_0707070707070707_07070707070707070707070707070707070707070707070779dbe8a2";

/// The text of a sample, which must be an event of type `T`.
fn sample<T: DeserializeOwned>(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../events")
        .join(name);
    let text = fs::read_to_string(&path).unwrap();
    if let Err(error) = serde_json::from_str::<T>(&text) {
        panic!("{name}: {error}");
    }
    text
}

async fn invoke(running: &Running, function: &str, event: String) -> Vec<u8> {
    let reply = within(running.platform.lambda.invoke(function, event.into()))
        .await
        .unwrap();
    within(reply.bytes()).await.unwrap().to_vec()
}

/// Status and body of the buffered answer to a sample, which is named after its function.
async fn proxied(name: &str) -> (u64, Value) {
    let running = shared();
    running.admit("samples", KEY).await;
    let (function, _) = name.split_once('-').unwrap();
    let answer = invoke(running, function, sample::<ApiGatewayProxyRequest>(name)).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let body = answer["body"].as_str().unwrap_or_default();
    (
        answer["statusCode"].as_u64().unwrap(),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

/// Head and text of a streamed answer: JSON, eight zero bytes, the body.
async fn streamed(name: &str) -> (Value, String) {
    let running = shared();
    running.admit("samples", KEY).await;
    let answer = invoke(running, "stream", sample::<ApiGatewayProxyRequest>(name)).await;
    let end = answer.windows(8).position(|bytes| bytes == [0; 8]).unwrap();
    let head = serde_json::from_slice(&answer[..end]).unwrap();
    (head, String::from_utf8(answer[end + 8..].to_vec()).unwrap())
}

async fn failures(function: &str, name: &str) -> Vec<String> {
    let answer = invoke(shared(), function, sample::<SqsEvent>(name)).await;
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    let failures = answer["batchItemFailures"].as_array().unwrap();
    failures
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn samples_of_the_api_are_answered() {
    assert_eq!(
        proxied("api-health.json").await,
        (200, json!({"status": "ok"}))
    );
    let (status, agent) = proxied("api-create-agent.json").await;
    assert!([200, 201].contains(&status), "{agent}");
    assert_eq!(
        (&agent["id"], &agent["version"]),
        (&json!("goose-guide"), &json!(1))
    );
    let (status, runs) = proxied("api-list-runs.json").await;
    assert_eq!(status, 200);
    assert!(runs["items"].is_array(), "{runs}");
    let (status, problem) = proxied("api-malformed-json.json").await;
    assert_eq!((status, &problem["code"]), (400, &json!("malformed_json")));
    let (status, problem) = proxied("api-unauthorized.json").await;
    assert_eq!((status, &problem["code"]), (401, &json!("unauthenticated")));
}

#[tokio::test]
async fn the_sample_of_an_operator_is_refused_to_a_tenant() {
    let (status, problem) = proxied("admin-create-tenant.json").await;
    assert_eq!((status, &problem["code"]), (403, &json!("scope_missing")));
}

#[tokio::test]
async fn samples_of_the_stream_are_answered() {
    let running = shared();
    running.admit("samples", KEY).await;
    let client = crate::client::Client::new(&running.platform.url, KEY);
    let agent = json!({"model": "local.tools", "tools": ["calculator"]});
    client.post("/v1/agents/calculator", &agent).await;
    let (head, text) = streamed("stream-create-run.json").await;
    assert_eq!(head["statusCode"], 200, "{head} {text}");
    assert!(
        text.contains("event: succeeded") && text.contains("event: end"),
        "{text}"
    );
    assert!(text.contains("12 * 7 is 84."), "{text}");
    let (head, text) = streamed("stream-run-events.json").await;
    assert_eq!(head["statusCode"], 404, "{head} {text}");
    assert!(text.contains("not_found"), "{text}");
}

#[tokio::test]
async fn samples_of_the_queues_are_worked_through() {
    assert_eq!(
        failures("orchestrator", "orchestrator-run.json").await,
        [""; 0]
    );
    assert_eq!(failures("worker", "worker-task.json").await, [""; 0]);
    let poison = failures("orchestrator", "orchestrator-poison.json").await;
    assert_eq!(poison.len(), 1, "{poison:?}");
    let batch = failures("orchestrator", "orchestrator-batch.json").await;
    assert_eq!(
        batch.len(),
        1,
        "the malformed record fails alone: {batch:?}"
    );
}

#[tokio::test]
async fn the_sample_of_the_stream_is_counted() {
    let event = sample::<Value>("relay-run-ended.json");
    assert_eq!(invoke(shared(), "relay", event).await, b"null");
}

#[tokio::test]
async fn samples_of_the_schedule_and_of_its_queue_are_sweeps() {
    let event = sample::<EventBridgeEvent<Value>>("janitor-schedule.json");
    assert_eq!(invoke(shared(), "janitor", event).await, b"null");
    let event = sample::<SqsEvent>("janitor-sweep.json");
    assert_eq!(invoke(shared(), "janitor", event).await, b"null");
}

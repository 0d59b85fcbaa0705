//! Traces, as a collector receives them from function processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::platform::{Running, within};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
/// Stands in a prompt, and must stand nowhere else.
const CANARY: &str = "cormorant7f3a";

/// A collector that keeps what it gets.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Value>>>);

/// A span, as far as it is looked at.
#[derive(Clone, Debug)]
struct Span {
    service: String,
    trace: String,
    id: String,
    parent: String,
    name: String,
    kind: u64,
    attributes: BTreeMap<String, Value>,
    links: Vec<String>,
    failed: bool,
}

impl Collector {
    /// Listens, and says where.
    async fn start(&self) -> String {
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(self.clone());
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<Span> {
        let bodies = self.0.lock().unwrap();
        let resources = bodies.iter().flat_map(|body| list(&body["resourceSpans"]));
        let mut spans = Vec::new();
        for resource in resources {
            let process = attributes(&resource["resource"]);
            let scopes = list(&resource["scopeSpans"]);
            for span in scopes.iter().flat_map(|scope| list(&scope["spans"])) {
                spans.push(read(&process, span));
            }
        }
        spans
    }

    /// Waits for the spans of this trace, which are all there when its last drive is.
    async fn trace(&self, trace: &str) -> Vec<Span> {
        let complete = async {
            loop {
                let mut spans = self.spans();
                spans.retain(|span| span.trace == trace);
                let is_last = |span: &Span| {
                    span.kind == 1 && span.attributes.get("skein.outcome") == Some(&json!("ended"))
                };
                let last = spans.iter().find(|span| is_last(span));
                let whole = |span: &Span| {
                    span.parent == CALLER || spans.iter().any(|other| other.id == span.parent)
                };
                if last.is_some() && spans.iter().all(whole) {
                    return spans;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(complete).await
    }
}

async fn take(State(collector): State<Collector>, body: String) -> &'static str {
    let body = serde_json::from_str(&body).unwrap();
    collector.0.lock().unwrap().push(body);
    "{}"
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Attributes, by their keys; numbers come as texts.
fn attributes(of: &Value) -> BTreeMap<String, Value> {
    let read = |attribute: Value| {
        let key = attribute["key"].as_str().unwrap().to_owned();
        let value = attribute["value"].as_object().unwrap().values().next();
        (key, value.unwrap().clone())
    };
    list(&of["attributes"]).into_iter().map(read).collect()
}

fn read(process: &BTreeMap<String, Value>, span: Value) -> Span {
    let text = |name: &str| span[name].as_str().unwrap_or_default().to_owned();
    let links = list(&span["links"]).into_iter();
    Span {
        service: process["service.name"].as_str().unwrap().to_owned(),
        trace: text("traceId"),
        id: text("spanId"),
        parent: text("parentSpanId"),
        name: text("name"),
        kind: span["kind"].as_u64().unwrap(),
        attributes: attributes(&span),
        links: links
            .map(|link| link["spanId"].as_str().unwrap().to_owned())
            .collect(),
        failed: span["status"]["code"] == 2,
    }
}

/// The spans of this name, in the order in which they are told.
fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

/// The one span of this name below that one.
#[track_caller]
fn below<'a>(spans: &'a [Span], parent: &Span, name: &str) -> &'a Span {
    let mut found = named(spans, name);
    found.retain(|span| span.parent == parent.id);
    let [span] = found[..] else {
        panic!("{} of `{name}` below {parent:#?}\n{spans:#?}", found.len());
    };
    span
}

#[tokio::test]
async fn one_request_is_one_trace_through_api_queue_drives_steps_models_and_tools() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let running = Running::own_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let client = running.tenant("traced").await;
    let definition = json!({
        "model": "local.tools", "tools": ["calculator", "slow_research"],
        "system": format!("Be a {CANARY}."),
    });
    let agent = client.agent(&definition).await;
    let input = format!("research {CANARY}, then 1+1");
    let request = client.request(Method::POST, "/v1/runs");
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    let body = json!({"agent": agent, "input": input});
    let run = client.send(request.json(&body)).await.expect(202)["id"].clone();
    let ended = client.ended(run.as_str().unwrap()).await;
    assert_eq!(ended["status"], "succeeded");

    client.get("/health/live").await.expect(200);

    let spans = collector.trace(TRACE).await;
    let [request] = named(&spans, "POST /v1/runs")[..] else {
        panic!("{spans:#?}");
    };
    assert_eq!((&*request.parent, request.kind), (CALLER, 2));
    assert_eq!(request.attributes["http.response.status_code"], "202");
    let queued = below(&spans, request, "process runs");
    assert_eq!((&*queued.service, queued.kind), ("orchestrator", 5));
    let drive = below(&spans, queued, &format!("invoke_agent {agent}"));
    assert_eq!(drive.attributes["skein.outcome"], "parked");
    assert_eq!(drive.links, [""; 0], "nothing was before it");
    let step = below(&spans, drive, "step");
    let chat = below(&spans, step, "chat local.tools");
    let task = below(&spans, step, "process tasks");
    let tool = below(&spans, task, "execute_tool slow_research");
    assert_eq!((&*tool.service, tool.kind), ("worker", 1));
    let woken = below(&spans, task, "process runs");
    let second = below(&spans, woken, &format!("invoke_agent {agent}"));
    assert_eq!(second.links, [&*drive.id], "it goes on from the first");
    assert_eq!(second.attributes["skein.status"], "succeeded");
    let steps = named(&spans, "step");
    let of_second = steps.iter().filter(|step| step.parent == second.id);
    let numbers: BTreeSet<_> = of_second
        .map(|step| step.attributes["skein.step"].as_str().unwrap())
        .collect();
    assert_eq!(numbers, BTreeSet::from(["2", "3"]));
    assert_eq!(named(&spans, "execute_tool calculator").len(), 1);
    assert_eq!(named(&spans, "chat local.tools").len(), 3);

    assert_eq!(chat.kind, 3);
    for (key, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "aws.bedrock"),
        ("gen_ai.request.model", "local.tools"),
        ("skein.step", "1"),
    ] {
        assert_eq!(chat.attributes[key], value, "{key}");
    }
    let path = format!("/v1/runs/{}/steps", run.as_str().unwrap());
    let told = &client.get(&path).await.expect(200)["items"][0]["usage"];
    for (key, name) in [
        ("gen_ai.usage.input_tokens", "input_tokens"),
        ("gen_ai.usage.output_tokens", "output_tokens"),
    ] {
        assert_eq!(chat.attributes[key], told[name].to_string(), "{told}");
    }
    for span in &spans {
        assert_eq!(span.attributes["tenant.id"], "traced", "{span:#?}");
        assert_eq!(span.attributes["run.id"], run, "{span:#?}");
        assert!(!span.failed, "{span:#?}");
    }
    let is_of_health = |span: &Span| span.name.contains("health");
    assert!(!collector.spans().iter().any(is_of_health));
    let sent = Value::from(collector.0.lock().unwrap().clone()).to_string();
    assert!(!sent.contains(CANARY), "a prompt is told");
    running.platform.stop().await;
}

#[tokio::test]
async fn a_streamed_run_is_told_before_its_answer_ends() {
    let collector = Collector::default();
    let endpoint = collector.start().await;
    let running = Running::own_in(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]).await;
    let client = running.demo();
    let definition = json!({"model": "local.tools", "tools": ["calculator", "wait"]});
    let agent = client.agent(&definition).await;
    let input = "1+1, then wait 1 second, then 2*3";
    let body = json!({"agent": agent, "input": input, "stream": true});
    let request = client.request(Method::POST, "/v1/runs").json(&body);
    let parent = format!("00-{TRACE}-{CALLER}-01");
    let answer = client.send(request.header("traceparent", parent)).await;
    assert!(answer.text.contains("event: end"), "{answer:?}");
    let mut spans = collector.spans();
    spans.retain(|span| span.trace == TRACE);
    let request = named(&spans, "POST /v1/runs")[0];
    let name = format!("invoke_agent {agent}");
    let drive = below(&spans, request, &name);
    assert_eq!(drive.service, "stream");
    assert_eq!(drive.attributes["skein.outcome"], "parked");

    let whole = collector.trace(TRACE).await;
    let woken = below(&whole, drive, "process runs");
    let second = below(&whole, woken, &name);
    assert_eq!(
        (&*second.service, &*second.links),
        ("orchestrator", &[drive.id.clone()][..])
    );
    assert_eq!(named(&whole, "execute_tool calculator").len(), 2);
    running.platform.stop().await;
}

#[tokio::test]
async fn a_collector_that_never_answers_harms_no_run() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "300"),
    ];
    let running = Running::own_in(&environment).await;
    let client = running.demo();
    let began = Instant::now();
    for _ in 0..20 {
        let run = client.run("calculator", "1+1").await;
        assert_eq!(run["status"], "succeeded");
    }
    // Each function waits for it once.
    assert!(began.elapsed() < Duration::from_secs(10));
    running.platform.stop().await;
}

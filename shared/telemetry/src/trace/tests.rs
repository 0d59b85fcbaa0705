use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value as Json, json};

use super::*;

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Status(u16),
    Nothing,
    Broken,
}

#[derive(Clone, Debug)]
struct Receiver {
    answer: Answer,
    requests: Arc<AtomicUsize>,
    bodies: Arc<Mutex<Vec<Json>>>,
}

impl HttpConnector for Receiver {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.requests.fetch_add(1, Ordering::Relaxed);
        assert_eq!(request.headers().get("x-key"), Some("geese"));
        let status = match self.answer {
            Answer::Status(status) => status,
            Answer::Nothing => return HttpConnectorFuture::new(std::future::pending()),
            Answer::Broken => {
                return HttpConnectorFuture::ready(Err(ConnectorError::io("refused".into())));
            }
        };
        let body = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        self.bodies.lock().unwrap().push(body);
        let answer = http::Response::builder().status(status);
        let answer = answer.body(SdkBody::from("{}")).unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::try_from(answer).unwrap()))
    }
}

impl Receiver {
    fn new(answer: Answer) -> Self {
        Self {
            answer,
            requests: Arc::default(),
            bodies: Arc::default(),
        }
    }

    fn tracer(&self, per_mille: u16) -> Tracer {
        self.tracer_with(per_mille, Duration::from_secs(60))
    }

    fn tracer_with(&self, per_mille: u16, pause: Duration) -> Tracer {
        let key = http::HeaderValue::from_static("geese");
        Tracer::to(Collector {
            url: "http://collector/v1/traces".to_owned(),
            headers: vec![(http::HeaderName::from_static("x-key"), key)],
            timeout: Duration::from_millis(20),
            pause,
            per_mille,
            connector: SharedHttpConnector::new(self.clone()),
            resource: vec![("service.name", "orchestrator".to_owned())],
        })
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn spans(&self) -> Vec<Json> {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |body: &Json| {
            let spans = &body["resourceSpans"][0]["scopeSpans"][0]["spans"];
            spans.as_array().unwrap().clone()
        };
        bodies.iter().flat_map(of).collect()
    }
}

fn parent(sampled: bool) -> Context {
    Context {
        trace_id: 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c,
        span_id: 0xb7ad_6b71_6920_3331,
        sampled,
    }
}

fn named(name: &'static str) -> impl FnOnce() -> String {
    move || name.to_owned()
}

#[tokio::test]
async fn a_span_is_what_otlp_has_for_it() {
    let receiver = Receiver::new(Answer::Status(200));
    let tracer = receiver.tracer(1_000);
    let mut span = tracer.span(Kind::Client, Some(parent(true)), named("chat \"m\""));
    let long = "ü".repeat(MAX_BYTES);
    span.put("run.id", "run_1")
        .put("n", 7_u64)
        .put("stream", true)
        .put("long", &*long)
        .put("reasons", Value::Only("end_turn"))
        .fail("throttled")
        .link(parent(true));
    let context = span.context().unwrap();
    assert_eq!(context.trace_id, parent(true).trace_id);
    assert_eq!(receiver.requests(), 0, "it has not ended");
    drop(span);
    tracer.flush().await;
    let mut span = receiver.spans().pop().unwrap();
    let mut instant = |name: &str| -> u128 {
        let text = span.as_object_mut().unwrap().remove(name).unwrap();
        text.as_str().unwrap().parse().unwrap()
    };
    assert!(instant("startTimeUnixNano") <= instant("endTimeUnixNano"));
    assert_eq!(
        span,
        json!({
            "traceId": "0af7651916cd43dd8448eb211c80319c",
            "spanId": format!("{:016x}", context.span_id),
            "parentSpanId": "b7ad6b7169203331",
            "flags": 1,
            "name": "chat \"m\"",
            "kind": 3,
            "attributes": [
                {"key": "run.id", "value": {"stringValue": "run_1"}},
                {"key": "n", "value": {"intValue": "7"}},
                {"key": "stream", "value": {"boolValue": true}},
                {"key": "long", "value": {"stringValue": "ü".repeat(MAX_BYTES / 2)}},
                {"key": "reasons", "value": {"arrayValue": {"values": [{"stringValue": "end_turn"}]}}},
                {"key": "error.type", "value": {"stringValue": "throttled"}},
            ],
            "links": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}],
            "status": {"code": 2},
        })
    );
    let resource = &receiver.bodies.lock().unwrap()[0]["resourceSpans"][0]["resource"];
    let service = json!([{"key": "service.name", "value": {"stringValue": "orchestrator"}}]);
    assert_eq!(resource["attributes"], service);
}

#[tokio::test]
async fn what_whoever_asks_does_not_record_is_not_recorded() {
    let receiver = Receiver::new(Answer::Status(200));
    let tracer = receiver.tracer(1_000);
    let span = tracer.span(Kind::Server, Some(parent(false)), || unreachable!());
    let child = tracer.span(Kind::Internal, span.context(), || unreachable!());
    assert!(!child.context().unwrap().sampled);
    drop((span, child));
    drop(
        receiver
            .tracer(0)
            .span(Kind::Server, None, || unreachable!()),
    );
    tracer.flush().await;
    assert_eq!(receiver.requests(), 0);
    drop(
        receiver
            .tracer(0)
            .span(Kind::Server, Some(parent(true)), named("a parent decides")),
    );
}

#[tokio::test]
async fn without_a_collector_nothing_happens() {
    let tracer = Tracer::off();
    let mut span = tracer.span(Kind::Server, Some(parent(true)), || unreachable!());
    span.put("n", 1_u64).fail("never");
    assert_eq!(span.context(), None);
    tracer.flush().await;
}

#[tokio::test]
async fn a_collector_that_fails_is_asked_once_in_a_while() {
    for answer in [Answer::Nothing, Answer::Broken, Answer::Status(503)] {
        for (pause_s, asked) in [(60, 1), (0, 3)] {
            let receiver = Receiver::new(answer);
            let tracer = receiver.tracer_with(1_000, Duration::from_secs(pause_s));
            for _ in 0..3 {
                drop(tracer.span(Kind::Server, None, named("GET /")));
                tracer.flush().await;
            }
            assert_eq!(receiver.requests(), asked, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn many_spans_go_out_before_they_are_asked_for() {
    let receiver = Receiver::new(Answer::Status(200));
    let tracer = receiver.tracer(1_000);
    for _ in 0..1_000 {
        drop(tracer.span(Kind::Internal, None, named("step")));
    }
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert!(receiver.requests() >= 1);
    tracer.flush().await;
    assert_eq!(receiver.spans().len(), 1_000);
    let traces = receiver
        .spans()
        .into_iter()
        .map(|span| span["traceId"].to_string());
    let traces: std::collections::HashSet<String> = traces.collect();
    assert_eq!(traces.len(), 1_000);
}

#[test]
fn what_waits_is_bounded() {
    let receiver = Receiver::new(Answer::Status(200));
    let tracer = receiver.tracer(1_000);
    // No runtime: nobody exports.
    for _ in 0..3_000 {
        drop(tracer.span(Kind::Internal, None, named("step")));
    }
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().build().unwrap();
    runtime.block_on(tracer.flush());
    assert_eq!(receiver.spans().len(), 2_048);
}

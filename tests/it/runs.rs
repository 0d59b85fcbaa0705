//! Runs over HTTP, from POST to their end.

use serde_json::{Value, json};

use crate::client::types;
use crate::platform::shared;

const OVER: [&str; 4] = ["succeeded", "failed", "cancelled", "expired"];

/// The events of a run that thinks once, as the queue carries it.
const SHORTEST: [&str; 5] = [
    "run_created",
    "run_started",
    "step_started",
    "model_answered",
    "succeeded",
];

fn numbers(events: &[Value]) -> Vec<u64> {
    events
        .iter()
        .map(|event| event["event"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn hello_goes_from_post_to_done() {
    let client = shared().demo();
    let body = json!({"agent": "hello", "input": "Hello, geese", "metadata": {"from": "a test"}});
    let created = client.post("/v1/runs", &body).await;
    let queued = created.expect(202);
    let id = queued["id"].as_str().unwrap();
    assert_eq!(created.header("location"), format!("/v1/runs/{id}"));
    assert_eq!(
        (&queued["status"], &queued["last_event"]),
        (&json!("queued"), &json!(1))
    );

    let run = client.ended(id).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(run["output"], "Hello, geese");
    assert_eq!(run["agent"], json!({"id": "hello", "version": 1}));
    assert_eq!(run["metadata"], json!({"from": "a test"}));
    assert_eq!(run["totals"]["steps"], 1);
    assert!(
        run["started_at"].is_string() && run["ended_at"].is_string(),
        "{run}"
    );

    let events = client.events(id).await;
    assert_eq!(types(&events), SHORTEST);
    assert_eq!(numbers(&events), (1..=5).collect::<Vec<_>>());
    assert_eq!(run["last_event"], 5);
}

#[tokio::test]
async fn a_calculation_is_one_tool_call_between_two_steps() {
    let client = shared().demo();
    let run = client.run("calculator", "What is 17 * 23 + 4?").await;
    assert_eq!(run["output"], "17 * 23 + 4 is 395.", "{run}");
    let id = run["id"].as_str().unwrap();
    let events = client.events(id).await;
    assert_eq!(
        types(&events),
        [
            "run_created",
            "run_started",
            "step_started",
            "model_answered",
            "tool_called",
            "tool_returned",
            "step_started",
            "model_answered",
            "succeeded"
        ]
    );
    let (called, returned) = (&events[4], &events[5]);
    assert_eq!(
        (&called["tool"], &called["class"]),
        (&json!("calculator"), &json!("pure"))
    );
    assert_eq!(
        (&returned["text"], &returned["step"], &returned["call"]),
        (&json!("395"), &json!(1), &json!(0))
    );

    let steps = client
        .get(&format!("/v1/runs/{id}/steps"))
        .await
        .expect(200);
    let steps = steps["items"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    assert_eq!(steps[0]["tool_calls"][0]["status"], "succeeded");
    assert_eq!(steps[0]["stop_reason"], "tool_use");
    let of_steps: u64 = steps
        .iter()
        .map(|step| step["usage"]["input_tokens"].as_u64().unwrap())
        .sum();
    assert_eq!(run["totals"]["input_tokens"], of_steps);
    assert_eq!(
        (&run["totals"]["steps"], &run["totals"]["tool_calls"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn calls_of_one_answer_are_all_settled_before_the_next_step() {
    let client = shared().demo();
    let run = client
        .run("calculator", "1+1 and 2*3 and 9-4 in parallel")
        .await;
    assert_eq!(run["output"], "1+1 is 2. 2*3 is 6. 9-4 is 5.", "{run}");
    assert_eq!(
        (&run["totals"]["steps"], &run["totals"]["tool_calls"]),
        (&json!(2), &json!(3))
    );
}

#[tokio::test]
async fn slow_research_is_done_by_the_worker_while_the_run_is_parked() {
    let client = shared().demo();
    let run = client.create("researcher", "research geese").await;
    let mut stream = client.follow(&run, 0).await;
    stream.until("parked").await;
    let parked = client.read(&run).await;
    if parked["status"] == "parked" {
        assert_eq!(parked["parked"]["reason"], "tool");
    }
    stream.until("end").await;
    let events = client.events(&run).await;
    assert_eq!(
        types(&events),
        [
            "run_created",
            "run_started",
            "step_started",
            "model_answered",
            "tool_called",
            "parked",
            "tool_returned",
            "resumed",
            "step_started",
            "model_answered",
            "succeeded"
        ]
    );
    assert_eq!(events[4]["place"], "worker");
    let output = client.read(&run).await["output"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(output.contains("three sources agree"), "{output}");
}

#[tokio::test]
async fn a_wait_parks_the_run_and_a_timer_resumes_it() {
    let client = shared().demo();
    let run = client.run("researcher", "wait 1 second, then 2+2").await;
    assert_eq!(run["status"], "succeeded", "{run}");
    let events = client.events(run["id"].as_str().unwrap()).await;
    let kinds = types(&events);
    assert_eq!(
        kinds[4..8],
        ["tool_called", "parked", "resumed", "tool_returned"],
        "{kinds:?}"
    );
    assert_eq!(
        (&events[5]["reason"], &events[4]["place"]),
        (&json!("timer"), &json!("timer"))
    );
    assert!(
        run["output"].as_str().unwrap().ends_with("2+2 is 4."),
        "{run}"
    );
    assert!(
        events[6]["at"].as_str() >= events[5]["until"].as_str(),
        "{events:#?}"
    );
}

#[tokio::test]
async fn an_extraction_satisfies_its_schema() {
    let client = shared().demo();
    let run = client
        .run("extractor", "Ada Lovelace, ada@example.com")
        .await;
    assert_eq!(run["output"]["email"], "ada@example.com", "{run}");
    assert!(
        run["output"]["name"].as_str().unwrap().contains("Ada"),
        "{run}"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_the_schema_is_repaired_once() {
    let client = shared().demo();
    let run = client
        .run("extractor", "broken once: Ada Lovelace, ada@example.com")
        .await;
    assert_eq!(run["status"], "succeeded", "{run}");
    let events = client.events(run["id"].as_str().unwrap()).await;
    assert_eq!(
        types(&events)[3..6],
        ["model_answered", "answer_rejected", "step_started"]
    );
    assert_eq!(run["totals"]["steps"], 2);
}

#[tokio::test]
async fn an_answer_that_breaks_the_schema_twice_is_a_typed_failure() {
    let client = shared().demo();
    let run = client.run("extractor", "broken always: Ada").await;
    assert_eq!(run["status"], "failed", "{run}");
    assert_eq!(run["error"]["code"], "output_invalid", "{run}");
    assert!(
        run["error"]["message"].as_str().unwrap().contains("JSON"),
        "{run}"
    );
    let events = client.events(run["id"].as_str().unwrap()).await;
    let rejected = types(&events)
        .into_iter()
        .filter(|kind| *kind == "answer_rejected");
    assert_eq!(rejected.count(), 1);
}

#[tokio::test]
async fn a_waited_for_run_answers_with_its_result() {
    let client = shared().demo();
    let body = json!({"agent": "calculator", "input": "2+3"});
    let answer = client
        .post_with("/v1/runs", &[("prefer", "wait=20")], &body)
        .await;
    let run = answer.expect(200);
    assert_eq!(
        (&run["status"], &run["output"]),
        (&json!("succeeded"), &json!("2+3 is 5."))
    );
    assert_eq!(run["lane"], "interactive");
    assert_eq!(answer.header("preference-applied"), "wait=20");
}

#[tokio::test]
async fn a_wait_that_is_too_short_answers_with_the_run_as_it_is() {
    let client = shared().demo();
    let body = json!({"agent": "researcher", "input": "wait 3 seconds"});
    let answer = client
        .post_with("/v1/runs", &[("prefer", "wait=1")], &body)
        .await;
    let run = answer.expect(202);
    assert!(!OVER.contains(&run["status"].as_str().unwrap()), "{run}");
    assert_eq!(
        client.ended(run["id"].as_str().unwrap()).await["status"],
        "succeeded"
    );
}

#[tokio::test]
async fn a_parked_run_is_cancelled_at_once_and_cancelling_again_changes_nothing() {
    let client = shared().demo();
    let run = client.create("researcher", "wait 600 seconds").await;
    client.follow(&run, 0).await.until("parked").await;
    let path = format!("/v1/runs/{run}/cancel");
    let cancelled = client
        .post(&path, &json!({"reason": "a test"}))
        .await
        .expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    let again = client.post(&path, &json!({})).await.expect(200);
    assert_eq!(again["last_event"], cancelled["last_event"]);
    let events = client.events(&run).await;
    let kinds = types(&events);
    assert_eq!(kinds[kinds.len() - 2..], ["cancel_requested", "cancelled"]);
    assert_eq!(events[events.len() - 2]["reason"], "a test");
}

#[tokio::test]
async fn a_running_run_is_cancelled_and_starts_nothing_after_it() {
    let client = shared().demo();
    let agent = client
        .agent(&json!({"model": "local.tools-400", "tools": ["calculator"]}))
        .await;
    let run = client.create(&agent, "count to 30").await;
    client.follow(&run, 0).await.until("tool_returned").await;
    let answer = client
        .post(&format!("/v1/runs/{run}/cancel"), &json!({}))
        .await;
    assert!([200, 202].contains(&answer.status), "{answer:?}");
    assert_eq!(client.ended(&run).await["status"], "cancelled");
    let events = client.events(&run).await;
    let kinds = types(&events);
    let asked = kinds
        .iter()
        .position(|kind| *kind == "cancel_requested")
        .unwrap();
    assert!(!kinds[asked..].contains(&"step_started"), "{kinds:?}");
    assert!(!kinds[asked..].contains(&"tool_called"), "{kinds:?}");
}

#[tokio::test]
async fn a_run_that_ended_stays_as_it_is_when_it_is_cancelled() {
    let client = shared().demo();
    let run = client.run("hello", "done").await;
    let path = format!("/v1/runs/{}/cancel", run["id"].as_str().unwrap());
    let after = client
        .send(client.request(reqwest::Method::POST, &path))
        .await
        .expect(200);
    assert_eq!(
        (&after["status"], &after["last_event"]),
        (&run["status"], &run["last_event"])
    );
}

#[tokio::test]
async fn a_repeated_key_names_the_same_run_and_another_body_is_refused() {
    let client = shared().demo();
    let key = [("idempotency-key", "\"a key of runs.rs\"")];
    let body = json!({"agent": "hello", "input": "once"});
    let first = client.post_with("/v1/runs", &key, &body).await;
    let run = first.expect(202)["id"].as_str().unwrap().to_owned();
    assert_eq!(first.header("idempotent-replayed"), "");
    let again = client.post_with("/v1/runs", &key, &body).await;
    assert_eq!(again.expect(202)["id"], json!(run));
    assert_eq!(again.header("idempotent-replayed"), "true");

    client.ended(&run).await;
    let late = client
        .post_with(
            "/v1/runs",
            &key,
            &json!({"input": "once", "agent": "hello"}),
        )
        .await;
    assert_eq!(
        (
            late.json()["id"].as_str(),
            late.header("idempotent-replayed")
        ),
        (Some(run.as_str()), "true")
    );
    let other = client
        .post_with(
            "/v1/runs",
            &key,
            &json!({"agent": "hello", "input": "twice"}),
        )
        .await;
    other.problem(422, "idempotency_key_reused");
    let events = client.events(&run).await;
    assert_eq!(types(&events), SHORTEST, "nothing ran twice");
}

#[tokio::test]
async fn each_cap_ends_the_run_that_reaches_it() {
    let client = shared().demo();
    for (caps, cap) in [
        (json!({"steps": 2}), "steps"),
        (json!({"tool_calls": 1}), "tool_calls"),
        (json!({"tokens": 40}), "tokens"),
    ] {
        let body = json!({"agent": "calculator", "input": "count to 9", "caps": caps});
        let run = client.create_of(&body).await;
        let run = client.ended(&run).await;
        assert_eq!(run["status"], "failed", "{run}");
        assert_eq!(
            (&run["error"]["code"], &run["error"]["cap"]),
            (&json!("cap_reached"), &json!(cap)),
            "{run}"
        );
        if cap != "tokens" {
            assert!(run["totals"][cap].as_u64() <= caps[cap].as_u64(), "{run}");
        }
    }
}

#[tokio::test]
async fn a_run_past_its_deadline_expires() {
    let client = shared().demo();
    let body =
        json!({"agent": "researcher", "input": "wait 600 seconds", "caps": {"wall_ms": 1_500}});
    let run = client.create_of(&body).await;
    assert_eq!(client.ended(&run).await["status"], "expired");
}

#[tokio::test]
async fn health_tells_of_each_dependency() {
    let client = shared().stranger();
    assert_eq!(client.get("/health/live").await.expect(200)["status"], "ok");
    let ready = client.get("/health/ready").await.expect(200);
    assert_eq!(
        ready["dependencies"],
        json!({"table": "ok", "payloads": "ok", "queues": "ok"})
    );
}

#[tokio::test]
async fn the_openapi_document_is_served_to_everybody() {
    let document = shared().stranger().get("/openapi.json").await.expect(200);
    assert!(
        document["openapi"].as_str().unwrap().starts_with("3.1"),
        "{document}"
    );
    assert!(document["paths"]["/v1/runs"]["post"].is_object());
}

//! Invocations in concurrent mode.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::json;
use skein_local::lambda::{Body, HTTP_INTEGRATION_RESPONSE, InvokeError, Mode};

use crate::{Gate, PATIENCE, function, invoke, lines, start, start_with, within};

#[tokio::test]
async fn function_sees_the_context_of_its_invocation() {
    let lambda = start("steps");
    let context = invoke(&lambda, "steps", json!({ "do": "context" }))
        .await
        .unwrap();
    assert_eq!(
        context["arn"],
        "arn:aws:lambda:eu-central-1:000000000000:function:steps"
    );
    assert_eq!(context["memory"], 256);
    assert_eq!(context["region"], "eu-central-1");
    assert_eq!(context["log_group"], "/aws/lambda/steps");
    assert_eq!(context["slots"], "4");
    assert_eq!(context["request_id"].as_str().unwrap().len(), 36);
    let trace_id = context["trace_id"].as_str().unwrap();
    assert!(trace_id.starts_with("Root=1-"), "{trace_id}");
    let left_ms = context["deadline"].as_u64().unwrap() - epoch_ms();
    let timeout_ms = u64::try_from(PATIENCE.as_millis()).unwrap();
    assert!((1..=timeout_ms).contains(&left_ms), "{left_ms}");
    lambda.stop().await;
}

fn epoch_ms() -> u64 {
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn slow_invocations_overlap_in_one_process() {
    let lambda = start("steps");
    let gate = Gate::new().await;
    let event = json!({ "gates": [gate.address()] });
    let test = async {
        let (first, second) = (gate.reached().await, gate.reached().await);
        assert_eq!(lambda.pids("steps").len(), 1);
        drop((first, second));
    };
    let (one, two, ()) = tokio::join!(
        invoke(&lambda, "steps", event.clone()),
        invoke(&lambda, "steps", event.clone()),
        test,
    );
    assert_eq!((one.unwrap(), two.unwrap()), (event.clone(), event));
    lambda.stop().await;
}

#[tokio::test]
async fn events_beyond_the_slots_wait_in_line() {
    let lambda = start("steps");
    let gate = Gate::new().await;
    let events = (0..crate::SLOTS * 3).map(|n| {
        invoke(
            &lambda,
            "steps",
            json!({ "n": n, "gates": [gate.address()] }),
        )
    });
    let test = async {
        for _ in 0..crate::SLOTS * 3 {
            drop(gate.reached().await);
        }
    };
    let (replies, ()) = tokio::join!(futures_util::future::join_all(events), test);
    for (n, reply) in replies.into_iter().enumerate() {
        assert_eq!(reply.unwrap()["n"], n);
    }
    lambda.stop().await;
}

#[tokio::test]
async fn error_and_panic_of_the_function_are_reported() {
    let lambda = start("steps");
    for what in ["fail", "panic"] {
        let error = invoke(&lambda, "steps", json!({ "do": what }))
            .await
            .unwrap_err();
        let InvokeError::Failed { message, .. } = &error else {
            panic!("a reported failure expected, not {error}");
        };
        assert!(message.contains(&format!("told to {what}")), "{message}");
    }
    lambda.stop().await;
}

#[tokio::test]
async fn invocation_over_its_timeout_is_given_up_and_its_process_serves_on() {
    let mode = Mode::Concurrent { slots: 2 };
    let config = function("steps", mode, Duration::from_millis(200));
    let lambda = start_with(vec![config], Arc::new(|_, _| {}));
    within(lambda.ready("steps")).await.unwrap();
    let gate = Gate::new().await;
    let event = json!({ "gates": [gate.address()] });
    let (outcome, at_gate) = tokio::join!(invoke(&lambda, "steps", event), gate.reached());
    assert_eq!(outcome.unwrap_err().error_type(), "Sandbox.Timedout");
    let pids = lambda.pids("steps");
    // Its late answer is refused without harm.
    drop(at_gate);
    for _ in 0..4 {
        let event = json!({ "do": "echo" });
        assert!(invoke(&lambda, "steps", event).await.is_ok());
    }
    assert_eq!(lambda.pids("steps"), pids);
    lambda.stop().await;
}

#[tokio::test]
async fn killed_process_fails_what_it_had_and_is_replaced() {
    let lambda = start("steps");
    let gate = Gate::new().await;
    let event = json!({ "gates": [gate.address()] });
    let test = async {
        let at_gate = gate.reached().await;
        let pids = lambda.pids("steps");
        assert_eq!(lambda.kill("steps"), 1);
        // Kept until the process is gone: a gate that opens would let it answer with its last breath.
        (pids, at_gate)
    };
    let (outcome, (pids, _at_gate)) = tokio::join!(invoke(&lambda, "steps", event), test);
    assert_eq!(outcome.unwrap_err().error_type(), "Runtime.ExitError");
    let context = invoke(&lambda, "steps", json!({ "do": "context" }))
        .await
        .unwrap();
    assert_ne!(context["pid"], pids[0]);
    lambda.stop().await;
}

#[tokio::test]
async fn process_that_exits_is_replaced() {
    let lambda = start("steps");
    for _ in 0..2 {
        let error = invoke(&lambda, "steps", json!({ "do": "exit" }))
            .await
            .unwrap_err();
        assert_eq!(error.error_type(), "Runtime.ExitError");
        assert!(error.to_string().contains("exit status: 7"), "{error}");
    }
    assert!(invoke(&lambda, "steps", json!({})).await.is_ok());
    lambda.stop().await;
}

#[tokio::test]
async fn function_that_does_not_start_fails_its_events() {
    let lambda = start("broken");
    let error = invoke(&lambda, "broken", json!({})).await.unwrap_err();
    assert_eq!(error.error_type(), "Runtime.InitError");
    lambda.stop().await;
}

#[tokio::test]
async fn sizes_are_limited_in_both_directions() {
    let lambda = start("steps");
    let large = Bytes::from(vec![b' '; 7_000_000]);
    let error = within(lambda.invoke("steps", large)).await.unwrap_err();
    assert_eq!(error.error_type(), "RequestTooLargeException");
    // More often than there are slots: a refusal does not cost one.
    for _ in 0..=crate::SLOTS {
        let event = json!({ "do": "large" });
        let error = invoke(&lambda, "steps", event).await.unwrap_err();
        assert_eq!(error.error_type(), "Function.ResponseSizeTooLarge");
    }
    let error = within(lambda.invoke("nobody", Bytes::new()))
        .await
        .unwrap_err();
    assert_eq!(error.error_type(), "ResourceNotFoundException");
    assert!(invoke(&lambda, "steps", json!({})).await.is_ok());
    lambda.stop().await;
}

fn http_event(gates: &[&Gate]) -> Bytes {
    let gates: Vec<String> = gates.iter().map(|gate| gate.address()).collect();
    let event = json!({
        "resource": "/", "path": "/", "httpMethod": "GET",
        "headers": {}, "multiValueHeaders": {},
        "queryStringParameters": null,
        "multiValueQueryStringParameters": { "gate": gates },
        "requestContext": { "httpMethod": "GET" },
    });
    event.to_string().into()
}

#[tokio::test]
async fn streamed_chunks_arrive_before_the_end() {
    let lambda = start("flow");
    let gate = Gate::new().await;
    let reply = within(lambda.invoke("flow", http_event(&[&gate])))
        .await
        .unwrap();
    assert_eq!(
        reply.content_type.as_deref(),
        Some(HTTP_INTEGRATION_RESPONSE)
    );
    let Body::Streamed(mut chunks) = reply.body else {
        panic!("a streamed reply expected");
    };
    let mut seen = Vec::new();
    while !seen.ends_with(b"data: first\n\n") {
        seen.extend(within(chunks.next()).await.unwrap().unwrap());
    }
    drop(gate.reached().await);
    let last = within(chunks.next()).await.unwrap().unwrap();
    assert_eq!(last, "data: later\n\n");
    assert!(within(chunks.next()).await.is_none());
    lambda.stop().await;
}

#[tokio::test]
async fn small_chunks_do_not_wait_for_delayed_acknowledgements() {
    // One slot has one connection; delays begin when the kernel has seen it go back and forth for a while.
    let mode = Mode::Concurrent { slots: 1 };
    let lambda = start_with(vec![function("flow", mode, PATIENCE)], Arc::new(|_, _| {}));
    let gate = Gate::new().await;
    let mut fastest = PATIENCE;
    for round in 0..60 {
        let asked_at = Instant::now();
        let reply = within(lambda.invoke("flow", http_event(&[&gate])))
            .await
            .unwrap();
        let Body::Streamed(mut chunks) = reply.body else {
            panic!("a streamed reply expected");
        };
        let mut seen = Vec::new();
        while !seen.ends_with(b"data: first\n\n") {
            seen.extend(within(chunks.next()).await.unwrap().unwrap());
        }
        if round >= 50 {
            fastest = fastest.min(asked_at.elapsed());
        }
        drop(gate.reached().await);
    }
    // Linux delays them by 40 ms.
    assert!(fastest < Duration::from_millis(35), "{fastest:?}");
    lambda.stop().await;
}

#[tokio::test]
async fn stream_of_a_killed_process_ends_with_an_error() {
    let lambda = start("flow");
    let gate = Gate::new().await;
    let reply = within(lambda.invoke("flow", http_event(&[&gate])))
        .await
        .unwrap();
    let _at_gate = gate.reached().await;
    assert_eq!(lambda.kill("flow"), 1);
    let error = within(reply.bytes()).await.unwrap_err();
    assert_eq!(error.error_type(), "Runtime.ExitError");
    lambda.stop().await;
}

#[tokio::test]
async fn stream_over_its_timeout_ends_with_an_error() {
    let mode = Mode::Concurrent { slots: 2 };
    let config = function("flow", mode, Duration::from_millis(200));
    let lambda = start_with(vec![config], Arc::new(|_, _| {}));
    let gate = Gate::new().await;
    let reply = within(lambda.invoke("flow", http_event(&[&gate])))
        .await
        .unwrap();
    let error = within(reply.bytes()).await.unwrap_err();
    assert_eq!(error.error_type(), "Sandbox.Timedout");
    lambda.stop().await;
}

#[tokio::test]
async fn caller_that_leaves_does_not_stop_the_function() {
    let lambda = start("flow");
    let (first, second) = (Gate::new().await, Gate::new().await);
    let reply = within(lambda.invoke("flow", http_event(&[&first, &second])))
        .await
        .unwrap();
    let at_first = first.reached().await;
    drop(reply);
    drop(at_first);
    drop(second.reached().await);
    lambda.stop().await;
}

#[tokio::test]
async fn lines_of_a_function_reach_the_sink() {
    let (sink, mut lines) = lines();
    let mode = Mode::Concurrent { slots: 1 };
    let lambda = start_with(vec![function("steps", mode, PATIENCE)], sink);
    invoke(&lambda, "steps", json!({ "do": "print" }))
        .await
        .unwrap();
    let expected = ("steps".to_owned(), "printed by the function".to_owned());
    within(async { while lines.recv().await.unwrap() != expected {} }).await;
    lambda.stop().await;
}

#[tokio::test]
async fn scheduled_function_gets_scheduled_events() {
    let (sink, mut lines) = lines();
    let mode = Mode::Concurrent { slots: 1 };
    let lambda = start_with(vec![function("steps", mode, PATIENCE)], sink);
    lambda.schedule("nobody", Duration::from_millis(1));
    lambda.schedule("steps", Duration::from_millis(1));
    let expected = "scheduled: Scheduled Event";
    within(async { while lines.recv().await.unwrap().1 != expected {} }).await;
    lambda.stop().await;
}

#[tokio::test]
async fn stopped_lambda_has_no_processes_and_takes_no_events() {
    let lambda = start("steps");
    within(lambda.ready("steps")).await.unwrap();
    within(lambda.stop()).await;
    assert_eq!(lambda.pids("steps"), Vec::<u32>::new());
    let error = invoke(&lambda, "steps", json!({})).await.unwrap_err();
    assert!(matches!(error, InvokeError::Stopped), "{error}");
}

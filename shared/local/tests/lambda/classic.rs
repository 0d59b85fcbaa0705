//! Classic mode: one event at a time per process.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};

use crate::{Gate, Mode, PATIENCE, function, invoke, start_with};

#[tokio::test]
async fn every_event_has_a_process_to_itself_up_to_the_most() {
    let mode = Mode::Classic { max_processes: 2 };
    let lambda = start_with(vec![function("steps", mode, PATIENCE)], Arc::new(|_, _| {}));
    assert!(lambda.pids("steps").is_empty());
    let gate = Gate::new().await;
    let event = json!({ "gates": [gate.address()] });
    let test = async {
        let (first, second) = (gate.reached().await, gate.reached().await);
        assert_eq!(lambda.pids("steps").len(), 2);
        drop(first);
        let third = gate.reached().await;
        drop((second, third));
    };
    let (one, two, three, ()) = tokio::join!(
        invoke(&lambda, "steps", event.clone()),
        invoke(&lambda, "steps", event.clone()),
        invoke(&lambda, "steps", event.clone()),
        test,
    );
    assert!(one.is_ok() && two.is_ok() && three.is_ok());
    let pids = lambda.pids("steps");
    let context = invoke(&lambda, "steps", json!({ "do": "context" }))
        .await
        .unwrap();
    let pid = u32::try_from(context["pid"].as_u64().unwrap()).unwrap();
    assert!(pids.contains(&pid), "an idle process is used again");
    assert_eq!(context["slots"], Value::Null);
    lambda.stop().await;
}

#[tokio::test]
async fn timeout_kills_the_process() {
    let mode = Mode::Classic { max_processes: 1 };
    let config = function("steps", mode, Duration::from_secs(1));
    let lambda = start_with(vec![config], Arc::new(|_, _| {}));
    let gate = Gate::new().await;
    let event = json!({ "gates": [gate.address()] });
    let (outcome, (pids, _at_gate)) = tokio::join!(invoke(&lambda, "steps", event), async {
        let at_gate = gate.reached().await;
        (lambda.pids("steps"), at_gate)
    });
    assert_eq!(outcome.unwrap_err().error_type(), "Sandbox.Timedout");
    let context = invoke(&lambda, "steps", json!({ "do": "context" }))
        .await
        .unwrap();
    assert_ne!(context["pid"], pids[0]);
    lambda.stop().await;
}

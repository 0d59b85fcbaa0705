//! Queues that feed functions.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use skein_local::{
    lambda::{Lambda, Mapping},
    sqs::{Depth, Queues, SendOptions},
};

use crate::{Gate, start, within};

const QUEUE: &str = "runs";

/// A queue whose messages reappear a second after they were received and not deleted.
fn queue() -> Queues {
    let queues = Queues::open(None).unwrap();
    let attributes = [("VisibilityTimeout".to_owned(), "1".to_owned())];
    queues.create(QUEUE, &BTreeMap::from(attributes)).unwrap();
    queues
}

fn send(queues: &Queues, body: &Value) {
    queues
        .send(QUEUE, body.to_string(), SendOptions::default())
        .unwrap();
}

fn map(lambda: &Lambda, queues: &Queues, batch_size: usize, max_concurrency: usize) {
    let mapping = Mapping {
        queue: QUEUE.to_owned(),
        function: "batch".to_owned(),
        batch_size,
        max_concurrency,
        batching_window: Duration::ZERO,
    };
    lambda.map_queue(queues.clone(), mapping);
}

fn count(depth: Depth) -> usize {
    depth.visible + depth.in_flight + depth.delayed
}

/// Waits until so many messages are left.
async fn left(queues: &Queues, messages: usize) {
    within(async {
        while count(queues.depth(QUEUE)) != messages {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn only_successes_of_a_batch_are_deleted() {
    let (lambda, queues) = (start("batch"), queue());
    send(&queues, &json!({}));
    send(&queues, &json!({ "do": "fail" }));
    send(&queues, &json!({}));
    map(&lambda, &queues, 10, 1);
    left(&queues, 1).await;
    lambda.stop().await;
    let rest = within(queues.receive(QUEUE, 10, Duration::from_secs(20))).await;
    let bodies: Vec<&str> = rest.iter().map(|message| message.body.as_str()).collect();
    assert_eq!(bodies, [r#"{"do":"fail"}"#]);
}

#[tokio::test]
async fn failed_batch_is_delivered_again_whole() {
    let (lambda, queues) = (start("batch"), queue());
    let gate = Gate::new().await;
    send(&queues, &json!({}));
    send(&queues, &json!({ "gate": gate.address(), "do": "error" }));
    map(&lambda, &queues, 10, 1);
    drop(gate.reached().await);
    let _again = gate.reached().await;
    assert_eq!(count(queues.depth(QUEUE)), 2);
    lambda.stop().await;
}

#[tokio::test]
async fn message_of_a_killed_process_is_delivered_again() {
    let (lambda, queues) = (start("batch"), queue());
    let gate = Gate::new().await;
    map(&lambda, &queues, 10, 2);
    send(&queues, &json!({ "gate": gate.address() }));
    let _at_gate = gate.reached().await;
    let pids = lambda.pids("batch");
    assert_eq!(lambda.kill("batch"), 1);
    drop(gate.reached().await);
    left(&queues, 0).await;
    assert_ne!(lambda.pids("batch"), pids);
    lambda.stop().await;
}

#[tokio::test]
async fn batches_run_side_by_side_up_to_the_maximum() {
    let (lambda, queues) = (start("batch"), queue());
    let gate = Gate::new().await;
    for _ in 0..3 {
        send(&queues, &json!({ "gate": gate.address() }));
    }
    map(&lambda, &queues, 1, 2);
    let (first, second) = (gate.reached().await, gate.reached().await);
    assert_eq!(queues.depth(QUEUE).visible, 1);
    drop(first);
    drop(gate.reached().await);
    drop(second);
    left(&queues, 0).await;
    lambda.stop().await;
}

#[tokio::test]
async fn batching_window_waits_for_a_full_batch() {
    let (lambda, queues) = (start("batch"), queue());
    let gate = Gate::new().await;
    let mapping = Mapping {
        queue: QUEUE.to_owned(),
        function: "batch".to_owned(),
        batch_size: 2,
        max_concurrency: 1,
        batching_window: Duration::from_secs(300),
    };
    send(&queues, &json!({ "gate": gate.address() }));
    lambda.map_queue(queues.clone(), mapping);
    // Received, but not delivered before the batch is full.
    within(async {
        while queues.depth(QUEUE).in_flight == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    send(&queues, &json!({}));
    drop(gate.reached().await);
    left(&queues, 0).await;
    lambda.stop().await;
}

//! Faults at the wire: whatever fails, comes twice or out of order, the result is the same.

use std::time::Duration;

use domain::run::{State, Status};
use futures_util::future::join_all;
use local::wire::{Call, Fault, Rule};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::world::{Delivery, Process, World};

/// Worlds with random faults in each test.
const SEEDS: u64 = 3;

type Results = Vec<(Status, Option<Value>, u32, u32)>;

/// Runs at the same time.
const RUNS: u64 = 12;

fn agent() -> Value {
    json!({"model": "local.tools-20", "tools": ["calculator", "slow_research", "wait"]})
}

fn input(number: u64) -> String {
    match number % 3 {
        0 => format!("count to {}", 2 + number % 4),
        1 => format!("{number}+1, then wait 1 second, then {number}*2"),
        _ => format!("{number}+1 and {number}*2 in parallel, then research geese"),
    }
}

fn of_the_table(call: &Call<'_>) -> bool {
    [
        "PutItem",
        "GetItem",
        "Query",
        "TransactWriteItems",
        "UpdateItem",
        "DeleteItem",
    ]
    .contains(&call.operation)
}

/// What must not depend on faults. Lost model calls are charged, so tokens and price may differ.
fn what_counts(state: &State) -> (Status, Option<Value>, u32, u32) {
    (
        state.status,
        state.output.clone(),
        state.totals.steps,
        state.totals.tool_calls,
    )
}

/// The results of [`RUNS`] runs under `rules`, with processes that are replaced each time `crashes` says.
async fn results(rules: Vec<Rule>, delivery: Delivery, crashes: Option<u64>) -> Results {
    let world = World::new(agent()).await;
    for rule in rules {
        world.cloud.faults.add(rule);
    }
    let mut processes: Vec<Process> = (0..3).map(|_| world.process(delivery)).collect();
    let client = world.engine();
    let mut runs = Vec::new();
    for number in 0..RUNS {
        runs.push(
            world
                .create(&client, World::request(number, &input(number)))
                .await,
        );
    }
    if let Some(seed) = crashes {
        let mut random = StdRng::seed_from_u64(seed);
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
            let place = random.random_range(0..processes.len());
            let crashed = std::mem::replace(&mut processes[place], world.process(delivery));
            crashed.crash().await;
        }
    }
    let states = world.ended(&runs).await;
    states.iter().map(what_counts).collect()
}

/// Results under several sets of faults at the same time, each in a world of its own, which must all be these.
async fn assert_all<F: Future<Output = Results>>(worlds: impl IntoIterator<Item = F>) {
    let expected = undisturbed().await;
    let worlds = worlds.into_iter().map(Box::pin);
    for (number, results) in join_all(worlds).await.into_iter().enumerate() {
        assert_eq!(results, expected, "under faults {number}");
    }
}

async fn undisturbed() -> Results {
    let results = results(Vec::new(), Delivery::default(), None).await;
    assert!(
        results
            .iter()
            .all(|(status, ..)| *status == Status::Succeeded),
        "{results:#?}"
    );
    results
}

fn often(fault: Fault, probability: f64, seed: u64) -> Rule {
    Rule::new(fault).with_probability(probability, seed)
}

#[tokio::test]
async fn lost_responses_change_nothing() {
    assert_all((1..=SEEDS).map(|seed| {
        let rules = vec![often(Fault::LoseResponse, 0.25, seed)];
        results(rules, Delivery::default(), None)
    }))
    .await;
}

#[tokio::test]
async fn a_throttled_table_and_model_change_nothing() {
    assert_all((1..=SEEDS).map(|seed| {
        let rules = vec![
            often(Fault::Throttle, 0.3, seed).when(of_the_table),
            often(Fault::Throttle, 0.4, seed).on("Converse"),
        ];
        results(rules, Delivery::default(), None)
    }))
    .await;
}

#[tokio::test]
async fn a_failing_table_and_model_change_nothing() {
    assert_all((1..=SEEDS).map(|seed| {
        let rules = vec![
            often(Fault::FailBefore, 0.2, seed).when(of_the_table),
            often(Fault::FailBefore, 0.2, seed).on("Converse"),
            often(Fault::FailBefore, 0.2, seed).on("SendMessage"),
        ];
        results(rules, Delivery::default(), None)
    }))
    .await;
}

#[tokio::test]
async fn duplicate_and_reordered_messages_change_nothing() {
    assert_all(
        [(true, false), (false, true), (true, true)]
            .into_iter()
            .map(|(twice, reversed)| {
                let rules = vec![Rule::new(Fault::Duplicate).on("SendMessage")];
                results(
                    rules,
                    Delivery {
                        twice,
                        reversed,
                        ..Delivery::default()
                    },
                    None,
                )
            }),
    )
    .await;
}

#[tokio::test]
async fn everything_at_once_and_crashes_change_nothing() {
    assert_all((1..=SEEDS).map(|seed| {
        let rules = vec![
            often(Fault::LoseResponse, 0.1, seed),
            often(Fault::Throttle, 0.1, seed + 100),
            often(Fault::FailBefore, 0.05, seed + 200),
            often(Fault::Duplicate, 0.3, seed + 300).on("SendMessage"),
            often(Fault::Delay(Duration::from_millis(200)), 0.1, seed + 400),
        ];
        let delivery = Delivery {
            twice: seed % 2 == 0,
            reversed: true,
            ..Delivery::default()
        };
        results(rules, delivery, Some(seed))
    }))
    .await;
}

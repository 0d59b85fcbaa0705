//! `kill -9` of every function while many runs are in flight.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domain::id::RunId;
use domain::run::{Event, Status};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::Client;
use crate::invariants;
use crate::platform::{Running, demo};

/// Runs in flight.
const RUNS: usize = 200;
/// How long processes are killed for.
const KILLING: Duration = Duration::from_secs(8);
/// Longest until every run has ended: half a minute until a death is noticed, twice, and slow machines.
const PATIENCE: Duration = Duration::from_secs(150);
/// Promised: a dead driver is noticed within 30 s. The rest is for what a busy machine takes to act on it.
const NOTICED_MS: u64 = 30_000 + 15_000;

const SEED: u64 = 20_261_121;

fn now_ms() -> u64 {
    u64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap()
}

fn input(number: usize) -> String {
    match number % 4 {
        0 => "research geese, then 1+1".to_owned(),
        1 => "1+1, then wait 1 second, then 2*3".to_owned(),
        _ => "count to 6".to_owned(),
    }
}

fn output(number: usize) -> &'static str {
    match number % 4 {
        0 => "1+1 is 2.",
        1 => "2*3 is 6.",
        _ => "0 + 1 is 1. 1 + 1 is 2. 2 + 1 is 3. 3 + 1 is 4. 4 + 1 is 5. 5 + 1 is 6.",
    }
}

/// Creates a run as a client does that repeats its request, with the same key, until it is answered.
async fn create(client: &Client, agent: &str, number: usize) -> RunId {
    let body = json!({"agent": agent, "input": input(number)});
    let key = format!("\"kill {number}\"");
    loop {
        let request = client
            .request(reqwest::Method::POST, "/v1/runs")
            .json(&body);
        if let Ok(response) = request.header("idempotency-key", &key).send().await
            && response.status().is_success()
            && let Ok(run) = response.json::<Value>().await
        {
            return RunId::parse(run["id"].as_str().unwrap()).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Kills functions at random for a while; answers with when the orchestrator was killed.
async fn kill(running: &Running) -> Vec<u64> {
    let mut random = StdRng::seed_from_u64(SEED);
    let lambda = &running.platform.lambda;
    let functions: Vec<String> = lambda.functions().map(str::to_owned).collect();
    let mut killed = BTreeMap::<String, Vec<u64>>::new();
    let until = Instant::now() + KILLING;
    while Instant::now() < until || killed.len() < functions.len() {
        tokio::time::sleep(Duration::from_millis(random.random_range(20..400))).await;
        let name = &functions[random.random_range(0..functions.len())];
        if lambda.kill(name) > 0 {
            killed.entry(name.clone()).or_default().push(now_ms());
        }
    }
    killed.remove("orchestrator").unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_functions_lose_nothing_and_do_nothing_twice() {
    let running = Running::own().await;
    let client = running.demo();
    let definition =
        json!({"model": "local.tools-100", "tools": ["calculator", "slow_research", "wait"]});
    let agent = client.agent(&definition).await;

    let creating = async {
        let mut runs = Vec::new();
        for number in 0..RUNS {
            runs.push(create(&client, &agent, number).await);
        }
        runs
    };
    let (runs, killed_at) = tokio::join!(creating, kill(&running));

    let store = running.cloud().store();
    let patience = Instant::now() + PATIENCE;
    let mut taken_over = 0;
    for (number, run) in runs.iter().enumerate() {
        let head = loop {
            let (head, _) = store.read(&demo(), run, true).await.unwrap().unwrap();
            if head.status.is_terminal() {
                break head;
            }
            if Instant::now() > patience {
                let log = invariants::log(&store, &demo(), run).await;
                panic!(
                    "{run} does not end\n{}\n{}",
                    invariants::show(&log),
                    running.last_lines()
                );
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let log = invariants::log(&store, &demo(), run).await;
        let state = invariants::check(&demo(), run, &log, &head);
        assert_eq!(
            state.status,
            Status::Succeeded,
            "{}",
            invariants::show(&log)
        );
        let answer = state.output.unwrap();
        assert!(
            answer.as_str().unwrap().ends_with(output(number)),
            "{answer}"
        );

        for pair in log.windows(2) {
            if !pair[1]
                .events
                .iter()
                .any(|event| matches!(event, Event::TakenOver { .. }))
            {
                continue;
            }
            taken_over += 1;
            let died_at = killed_at.iter().find(|at| **at >= pair[0].at.0);
            let died_at = died_at.unwrap_or_else(|| {
                panic!("taken over from the living\n{}", invariants::show(&log))
            });
            let noticed_after_ms = pair[1].at.0.saturating_sub(*died_at);
            assert!(
                noticed_after_ms <= NOTICED_MS,
                "{noticed_after_ms} ms\n{}",
                invariants::show(&log)
            );
        }
    }
    assert!(!killed_at.is_empty(), "the orchestrator was killed");
    assert!(
        taken_over > 0,
        "no run was in flight when its driver was killed"
    );
    assert_eq!(
        client.run("hello", "and the next one").await["output"],
        "and the next one"
    );
    running.platform.stop().await;
}

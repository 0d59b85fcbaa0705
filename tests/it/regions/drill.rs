//! A Region is lost while runs are under way, with real processes: how long that is missed, and how much.
//!
//! `cargo nextest run -E 'test(the_drill)' --no-capture` prints what it measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use dev::{Cloud, CloudConfig, Isolation as By};
use domain::id::RunId;
use domain::region::Regions;
use domain::run::{Commit, Event};
use domain::time::At;
use local::table::Copies;
use serde_json::json;
use store::Store;

use super::{REGIONS, moves, tenant};
use crate::invariants;
use crate::platform::{Running, within};

/// How far the copy is behind.
const LAG: Duration = Duration::from_millis(400);
/// Runs under way.
const RUNS: usize = 12;
/// What is promised: row S1-09.
const RECOVERED_WITHIN: Duration = Duration::from_secs(300);
/// How late a copy may come beyond its lag on a machine that is busy.
const BUSY: Duration = Duration::from_secs(2);

#[tokio::test]
async fn the_drill_loses_a_region_and_misses_no_more_than_the_lag() {
    let config = |own| CloudConfig {
        regions: Regions::parse(REGIONS, own).unwrap(),
        isolation: By::Session,
        ..CloudConfig::default()
    };
    let mut us = Cloud::open(None, config("us-east-1")).await.unwrap();
    let mut eu = Cloud::open(None, config("eu-west-1")).await.unwrap();
    let copies = Copies::between(&mut us.table, &mut eu.table);
    let us = Running::start(us).await;
    copies.arrive(false);
    tokio::spawn(copies.clone().run(LAG, std::future::pending()));
    let eu = us.beside(eu).await;
    let agent = json!({"model": "local.tools", "tools": ["calculator", "slow_research", "wait"]});
    let client = us.demo();
    client.post("/v1/agents/drill", &agent).await.expect(201);
    let input =
        "1+1, then research geese, then wait 1 seconds, then 2*3, then wait 1 seconds, then 3*4";
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(RunId::parse(&client.create("drill", input).await).unwrap());
        tokio::time::sleep(LAG / 4).await;
    }

    copies.cut(true);
    let (lost, lost_at) = (Instant::now(), us.cloud().engine(None).now());
    let before = logs(&us.cloud().store(), &runs).await;
    us.platform.stop().await;
    let body = json!({"from": "us-east-1", "to": "eu-west-1", "tenant": "demo"});
    let moved = eu
        .operator()
        .post("/v1/admin/regions/failover", &body)
        .await;
    let moved = moved.expect(200);
    let answered = lost.elapsed();
    assert_eq!(moved["is_complete"], true, "{moved}");
    let known: Vec<&RunId> = runs
        .iter()
        .filter(|run| before.contains_key(*run))
        .collect();
    let client = eu.demo();
    let mut missing = 0;
    let mut driven = Duration::ZERO;
    for run in known {
        // One that was created within the lag never arrived.
        if client.get(&format!("/v1/runs/{run}")).await.status == 404 {
            missing += 1;
            assert!(age(&before[run][0], lost_at) <= LAG + BUSY);
            continue;
        }
        let ended = within(client.ended(run.as_str())).await;
        assert_eq!(ended["status"], "succeeded", "{ended}\n{}", eu.last_lines());
    }
    let ended = lost.elapsed();

    let after = logs(&eu.cloud().store(), &runs).await;
    let (mut lost_events, mut most_ms, mut calls) = (0, 0, 0);
    for (run, log) in &after {
        let Some((cut, _)) = moves(log).first().copied() else {
            continue;
        };
        let void = before[run].iter().filter(|commit| commit.first >= cut);
        for commit in void {
            assert!(age(commit, lost_at) <= LAG + BUSY, "{commit:?}");
            most_ms = most_ms.max(lost_at.since_ms(commit.at));
            lost_events += commit.events.len();
            let paid = |event: &&Event| matches!(event, Event::ModelAnswered { .. });
            calls += commit.events.iter().filter(paid).count();
        }
        let first = log
            .iter()
            .find(|commit| commit.first > cut && commit.driver.is_some());
        let first = first.map_or(0, |commit| commit.at.since_ms(lost_at));
        driven = driven.max(Duration::from_millis(first));
    }
    assert!(ended < RECOVERED_WITHIN, "{ended:?}");
    println!(
        "lag {LAG:?}; failover answered after {answered:?}, the last run driven again after {driven:?}, all ended after \
         {ended:?}; {} runs moved, {missing} of {RUNS} never arrived, {lost_events} events lost, the oldest {most_ms} ms old, \
         {calls} model calls made again",
        moved["tenants"][0]["runs"],
    );
}

async fn logs(store: &Store, runs: &[RunId]) -> BTreeMap<RunId, Vec<Commit>> {
    let mut logs = BTreeMap::new();
    for run in runs {
        let log = invariants::log(store, &tenant(), run).await;
        if !log.is_empty() {
            logs.insert(run.clone(), log);
        }
    }
    logs
}

fn age(commit: &Commit, at: At) -> Duration {
    Duration::from_millis(at.since_ms(commit.at))
}

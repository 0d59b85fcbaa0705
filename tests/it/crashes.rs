//! A crash at every request that a run makes, and what comes after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dev::CloudConfig;
use domain::id::RunId;
use domain::run::{Event, State, Status};
use domain::time::At;
use engine::{Limits, Work};
use futures_util::StreamExt;
use local::wire::{Call, Fault, Faults, Rule};
use queue::{Message as _, ToolMessage};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::invariants;
use crate::world::{Delivery, World, tenant};

/// Inline tools, a tool on the worker and a timer.
const INPUT: &str = "1+1, then research geese, then wait 2 seconds, then 2*3";
/// More requests than such a run makes.
const MOST_REQUESTS: u64 = 60;
/// Worlds at the same time: they mostly wait for the slow tool.
const AT_ONCE: usize = 20;

fn agent() -> Value {
    json!({"model": "local.tools", "tools": ["calculator", "slow_research", "wait"]})
}

/// Lets request number `n` hang instead of reaching its service, and tells of it.
fn hang_at(faults: &Faults, n: u64) -> Arc<Notify> {
    let reached = Arc::new(Notify::new());
    let (told, seen) = (reached.clone(), AtomicU64::new(0));
    let rule = Rule::new(Fault::Delay(Duration::from_secs(24 * 3_600)));
    faults.add(rule.when(move |_| {
        let is_it = seen.fetch_add(1, Ordering::Relaxed) + 1 == n;
        if is_it {
            told.notify_one();
        }
        is_it
    }));
    reached
}

/// A run whose processes all crash right before request number `n`, and are started again; none when there is no such
/// request.
async fn crashed_at(n: u64) -> Option<State> {
    let world = World::new(agent()).await;
    let reached = hang_at(&world.cloud.faults, n);
    let new = World::request(1, INPUT);
    let first = world.process(Delivery::default());
    let client = world.engine();
    let crashed = tokio::select! {
        () = reached.notified() => true,
        () = async {
            world.create(&client, new.clone()).await;
            world.idle().await;
        } => false,
    };
    first.crash().await;
    world.cloud.faults.clear();
    let _second = world.process(Delivery::default());
    // Whoever got no answer asks again with the same key; whoever got one need not.
    let run = world.create(&world.engine(), new).await;
    let state = world.ended(std::slice::from_ref(&run)).await.remove(0);
    assert_intended(&world, &run).await;
    crashed.then_some(state)
}

/// No model was called but for an intent that stands in the log.
async fn assert_intended(world: &World, run: &RunId) {
    let log = invariants::log(&world.cloud.store(), &tenant(), run).await;
    let intents = log
        .iter()
        .flat_map(|commit| &commit.events)
        .filter(|event| matches!(event, Event::StepStarted { .. }));
    let (calls, intents) = (world.cloud.models.calls(), intents.count());
    assert!(
        calls <= intents as u64,
        "{calls} calls of {intents} intents\n{}",
        invariants::show(&log)
    );
}

fn what_counts(state: &State) -> (Status, Option<&Value>, u32, u32) {
    (
        state.status,
        state.output.as_ref(),
        state.totals.steps,
        state.totals.tool_calls,
    )
}

#[tokio::test]
async fn a_crash_at_any_request_leads_to_the_same_result() {
    let world = World::new(agent()).await;
    let _process = world.process(Delivery::default());
    let run = world
        .create(&world.engine(), World::request(1, INPUT))
        .await;
    let undisturbed = world.ended(&[run]).await.remove(0);
    assert_eq!(undisturbed.status, Status::Succeeded);
    assert_eq!(undisturbed.totals.tool_calls, 4);

    let mut worlds = futures_util::stream::iter(1..=MOST_REQUESTS)
        .map(|n| async move { (n, crashed_at(n).await) })
        .buffered(AT_ONCE);
    let mut crashes = 0;
    while let Some((n, Some(state))) = worlds.next().await {
        assert_eq!(
            what_counts(&state),
            what_counts(&undisturbed),
            "after a crash at request {n}"
        );
        crashes = n;
    }
    assert!(
        (20..MOST_REQUESTS).contains(&crashes),
        "{crashes} requests were crashed at"
    );
}

/// As [`crashed_at`], but the process that crashes drives the run it created while a client waits: no queue knows of it.
pub(crate) async fn crashed_inline_at(n: u64, config: CloudConfig) -> Option<State> {
    let world = World::with(config, agent()).await;
    let reached = hang_at(&world.cloud.faults, n);
    let new = World::request(1, "1+1, then 2*3");
    let engine = world.engine();
    let limits = Limits::within(Duration::from_secs(25));
    tokio::select! {
        () = reached.notified() => {}
        driven = engine.create_and_drive(new.clone(), limits, None) => {
            driven.unwrap();
            // Request number `n` is still to come; it shall not be one of the looks at the result.
            world.cloud.faults.clear();
            world.ended(&[new.run]).await;
            return None;
        }
    }
    world.cloud.faults.clear();
    let _process = world.process(Delivery::default());
    let run = world.create(&world.engine(), new).await;
    let state = world.ended(std::slice::from_ref(&run)).await.remove(0);
    assert_intended(&world, &run).await;
    Some(state)
}

#[tokio::test]
async fn a_run_whose_stream_dies_is_finished_all_the_same() {
    let mut crashes = 0;
    while let Some(state) = crashed_inline_at(crashes + 1, CloudConfig::default()).await {
        assert_eq!(state.output, Some(json!("1+1 is 2. 2*3 is 6.")));
        crashes += 1;
    }
    assert!(crashes >= 5, "{crashes} requests were crashed at");
}

#[tokio::test]
async fn a_dead_driver_is_replaced_within_thirty_seconds() {
    let world = World::new(json!({"model": "local.tools-300", "tools": ["calculator"]})).await;
    let first = world.process(Delivery::default());
    let run = world
        .create(&world.engine(), World::request(1, "count to 4"))
        .await;
    // In the middle of the third model call.
    world.calls(3).await;
    let died_at = world.now();
    first.crash().await;
    let _second = world.process(Delivery::default());
    let state = world.ended(std::slice::from_ref(&run)).await.remove(0);
    assert_eq!(state.status, Status::Succeeded);
    assert_eq!(state.totals.tool_calls, 4);

    let log = invariants::log(&world.cloud.store(), &tenant(), &run).await;
    let taken_over = log
        .iter()
        .find(|commit| {
            commit
                .events
                .iter()
                .any(|event| matches!(event, Event::TakenOver { .. }))
        })
        .unwrap_or_else(|| panic!("nobody took over\n{}", invariants::show(&log)));
    // Time jumps a second at once.
    let noticed_after_ms = taken_over.at.since_ms(died_at);
    assert!(
        noticed_after_ms <= 33_000,
        "{noticed_after_ms} ms\n{}",
        invariants::show(&log)
    );
    let lost = log
        .iter()
        .flat_map(|commit| &commit.events)
        .find_map(|event| match event {
            Event::ModelFailed { charged_tokens, .. } => Some(*charged_tokens),
            _ => None,
        });
    assert!(
        lost.is_some_and(|tokens| tokens > 0),
        "the lost call is charged\n{}",
        invariants::show(&log)
    );
}

/// When the run's log says so for the first time after a death, in milliseconds from there.
async fn noticed_after_ms(
    world: &World,
    run: &RunId,
    died_at: At,
    sign: fn(&Event) -> bool,
) -> u64 {
    let _process = world.process(Delivery::default());
    let state = world.ended(std::slice::from_ref(run)).await.remove(0);
    assert_eq!(state.status, Status::Succeeded);
    let log = invariants::log(&world.cloud.store(), &tenant(), run).await;
    let mut later = log.iter().filter(|commit| commit.at >= died_at);
    let noticed = later.find(|commit| commit.events.iter().any(sign));
    let noticed = noticed.unwrap_or_else(|| panic!("not noticed\n{}", invariants::show(&log)));
    noticed.at.since_ms(died_at)
}

/// A run whose first message somebody has in hand, so that its queue hides it for as long as a function may run.
async fn in_hand(input: &str) -> (World, RunId, Work) {
    let world = World::new(json!({"model": "local.tools-300", "tools": ["slow_research"]})).await;
    let engine = world.engine();
    let run = world.create(&engine, World::request(1, input)).await;
    assert_eq!(world.receive("runs-standard").await.len(), 1);
    let work = Work {
        tenant: tenant(),
        run: run.clone(),
        first: None,
        handed_over_by: None,
        hops: 0,
        wakes_at: None,
        revives: false,
        limits: Limits::within(Duration::from_secs(300)),
        listener: None,
    };
    (world, run, work)
}

#[tokio::test]
async fn who_dies_before_the_first_heartbeat_is_noticed_within_thirty_seconds() {
    let begins: fn(&Event) -> bool = |event| matches!(event, Event::RunStarted { .. });
    let takes_over: fn(&Event) -> bool = |event| matches!(event, Event::TakenOver { .. });
    let returns: fn(&Event) -> bool = |event| matches!(event, Event::ToolReturned { .. });
    let research = "research geese";

    let (world, run, _) = in_hand("hello").await;
    let died_at = world.now();
    let unread = noticed_after_ms(&world, &run, died_at, begins).await;

    let (world, run, work) = in_hand("hello").await;
    let engine = world.engine();
    tokio::select! {
        _ = engine.drive(work) => panic!("it waits for the model"),
        () = world.calls(1) => {}
    }
    let died_at = world.now();
    let driving = noticed_after_ms(&world, &run, died_at, takes_over).await;

    let (world, run, work) = in_hand(research).await;
    world.engine().drive(work).await.unwrap();
    assert_eq!(world.receive("tasks").await.len(), 1);
    let died_at = world.now();
    let unclaimed = noticed_after_ms(&world, &run, died_at, returns).await;

    let (world, run, work) = in_hand(research).await;
    let engine = world.engine();
    engine.drive(work).await.unwrap();
    let task = world.receive("tasks").await.remove(0);
    let task = ToolMessage::parse(&task.body).unwrap();
    tokio::select! {
        _ = engine.perform_tool(&task) => panic!("it is slow"),
        () = world.requested("PutItem") => {}
    }
    let died_at = world.now();
    let performing = noticed_after_ms(&world, &run, died_at, returns).await;

    let (world, run, work) = in_hand(research).await;
    let unsent = Rule::new(Fault::FailBefore).on("SendMessage");
    let is_tool = |call: &Call<'_>| call.body.windows(6).any(|text| text == b"/tasks");
    world.cloud.faults.add(unsent.when(is_tool));
    assert!(world.engine().drive(work).await.is_err(), "it cannot send");
    world.cloud.faults.clear();
    let died_at = world.now();
    let unsent = noticed_after_ms(&world, &run, died_at, returns).await;

    // Time jumps a second at once; a tool takes its own time.
    for (what, ms) in [
        ("unread", unread),
        ("driving", driving),
        ("unclaimed", unclaimed),
        ("performing", performing),
        ("unsent", unsent),
    ] {
        assert!(ms <= 30_000 + 3_000, "{what}: {ms} ms");
    }
}

#[tokio::test]
async fn a_client_that_drives_its_run_is_replaced_within_thirty_seconds() {
    let world = World::new(json!({"model": "local.slow-300", "tools": []})).await;
    let (engine, new) = (world.engine(), World::request(1, "hello"));
    let run = new.run.clone();
    let limits = Limits::within(Duration::from_secs(25));
    tokio::select! {
        _ = engine.create_and_drive(new, limits, None) => panic!("it waits for the model"),
        () = world.calls(1) => {}
    }
    let died_at = world.now();
    let takes_over = |event: &Event| matches!(event, Event::TakenOver { .. });
    let ms = noticed_after_ms(&world, &run, died_at, takes_over).await;
    assert!(ms <= 30_000 + 3_000, "{ms} ms");
}

#[tokio::test]
async fn a_run_longer_than_the_invocation_goes_on_in_the_next() {
    let world = World::new(json!({"model": "local.tools-200", "tools": ["calculator"]})).await;
    let _process = world.process(Delivery {
        remaining: Duration::from_millis(1_500),
        ..Delivery::default()
    });
    let run = world
        .create(&world.engine(), World::request(1, "count to 20"))
        .await;
    let state = world.ended(std::slice::from_ref(&run)).await.remove(0);
    assert_eq!(
        (state.status, state.totals.tool_calls),
        (Status::Succeeded, 20)
    );
    let log = invariants::log(&world.cloud.store(), &tenant(), &run).await;
    let failed = log
        .iter()
        .flat_map(|commit| &commit.events)
        .filter(|event| matches!(event, Event::ModelFailed { .. }));
    assert_eq!(
        failed.count(),
        0,
        "handing over loses no call\n{}",
        invariants::show(&log)
    );
    let drivers: std::collections::BTreeSet<_> = log
        .iter()
        .filter_map(|commit| commit.driver.clone())
        .collect();
    assert!(drivers.len() >= 3, "{} invocations", drivers.len());
}

//! Drivers that die, copies of messages, answers that get lost.

use std::sync::atomic::AtomicU64;

use local::wire::{Fault, Rule};

use super::*;

#[tokio::test]
async fn a_run_whose_driver_died_is_taken_over_once_its_claim_ends() {
    let world = Arc::new(World::with_run("local.slow-500", "hi").await);
    let driving = world.clone();
    let drive = tokio::spawn(async move { driving.engine.drive(driving.work()).await });
    world.calls(1).await;
    drive.abort();
    let again = || Work {
        revives: true,
        ..world.work()
    };
    let held = world.engine.drive(again()).await.unwrap();
    assert!(matches!(held, Outcome::Held { .. }), "{held:?}");
    world.later(30_000);
    let outcome = world.engine.drive(again()).await.unwrap();
    let Outcome::Ended(state) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(state.status, Status::Succeeded);
    assert_eq!((state.totals.steps, world.cloud.models.calls()), (1, 2));
    assert_eq!(world.count("taken_over").await, 1);
    assert_eq!(world.count("model_failed").await, 1);
}

#[tokio::test]
async fn a_copy_of_a_message_does_nothing_while_the_driver_lives() {
    let world = Arc::new(World::with_run("local.slow-2000", "hi").await);
    let driving = world.clone();
    let drive = tokio::spawn(async move { driving.engine.drive(driving.work()).await.unwrap() });
    world.calls(1).await;
    let log = world.log().await;
    // It carries the beginning of the log, where nobody drives the run yet.
    let copy = Work {
        first: log.first().cloned(),
        ..world.work()
    };
    let held = world.engine.drive(copy).await.unwrap();
    assert!(matches!(held, Outcome::Held { .. }), "{held:?}");
    assert_eq!(world.log().await, log);
    let outcome = drive.await.unwrap();
    assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
    assert_eq!(world.cloud.models.calls(), 1);
}

#[tokio::test]
async fn an_answer_of_the_table_that_is_lost_changes_nothing() {
    for nth in 1..=4 {
        let world = World::with_run("local.tools", "calculate 1+1, then 2+2").await;
        for operation in ["PutItem", "TransactWriteItems"] {
            let lost = Rule::new(Fault::LoseResponse).on(operation);
            world.cloud.faults.add(lost.nth(nth));
        }
        let outcome = world.engine.drive(world.work()).await.unwrap();
        assert!(matches!(&outcome, Outcome::Ended(_)), "{outcome:?}");
        assert_eq!(world.folded().await.status, Status::Succeeded);
        assert_eq!(world.count("tool_returned").await, 2);
        assert_eq!(world.count("step_started").await, 3);
        assert_eq!(world.cloud.models.calls(), 3);
    }
}

#[tokio::test]
async fn a_beat_that_fails_does_not_end_the_drive() {
    let world = World::with_run("local.slow-11000", "hi").await;
    let refused = Rule::new(Fault::FailBefore).on("PutItem");
    world.cloud.faults.add(refused.containing("\"fence\""));
    let outcome = world.engine.drive(world.work()).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Ended(state) if text(state) == "hi"),
        "{outcome:?}"
    );
    assert!(world.cloud.faults.struck() > 0);
    assert_eq!(world.cloud.models.calls(), 1);
}

#[tokio::test]
async fn a_run_driven_from_its_creation_is_what_its_head_and_its_log_say() {
    let world = World::new("local.echo").await;
    let ticks = AtomicU64::new(NOW);
    let clock = Arc::new(move || At(ticks.fetch_add(1, Ordering::Relaxed)));
    let engine = world.cloud.engine(Some(clock));
    let limits = Limits::within(Duration::from_secs(900));
    let driven = engine.create_and_drive(world.asks("hi"), limits, None);
    let outcome = driven.await.unwrap();
    let Outcome::Ended(state) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(*state, world.folded().await);
    let read = engine.store.read(&world.tenant, &world.run, true).await;
    let (head, _) = read.unwrap().unwrap();
    assert_eq!(head.created_at, state.created_at);
}

#[tokio::test]
async fn an_answer_that_meets_a_cancel_is_paid_for_as_it_is() {
    let world = Arc::new(World::with_run("local.slow-300", "hi").await);
    let driving = world.clone();
    let drive = tokio::spawn(async move { driving.engine.drive(driving.work()).await.unwrap() });
    world.calls(1).await;
    let cancelled = world.engine.cancel(&world.tenant, &world.run, "key", None);
    cancelled.await.unwrap();
    let outcome = drive.await.unwrap();
    let Outcome::Ended(state) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(state.status, Status::Cancelled);
    let log = world.log().await;
    let events = log.iter().flat_map(|commit| &commit.events);
    let paid: Vec<u64> = events
        .filter_map(|event| match event {
            Event::ModelAnswered { answer, .. } => Some(answer.cost_micro_usd),
            _ => None,
        })
        .collect();
    assert_eq!(paid, [state.totals.micro_usd]);
    assert_eq!(world.count("model_failed").await, 0);
}

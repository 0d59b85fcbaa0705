//! Drives that are short of time, or that somebody else ends.

use local::wire::{Fault, Rule};

use super::*;

#[tokio::test]
async fn a_run_longer_than_its_limits_goes_on_in_the_next_drive_and_loses_nothing() {
    let world = World::with_run("local.tools-50", "calculate 20 times 1+1").await;
    let mut message = world.wake();
    let state = loop {
        let short = limits(Duration::from_millis(200), Duration::from_secs(60));
        match world.drive(&message, short).await {
            Outcome::Ended(state) => break state,
            Outcome::HandedOver(_) => message = world.next_message().await.unwrap(),
            other => panic!("{other:?}"),
        }
    };
    assert!(message.hops >= 3, "{}", message.hops);
    assert_eq!(state.status, Status::Succeeded);
    assert_eq!(*state, world.folded().await);
    assert_eq!(world.count("model_failed").await, 0);
    assert_eq!(world.count("step_started").await, 21);
    assert_eq!(world.count("tool_returned").await, 20);
    assert_eq!(world.cloud.models.calls(), 21);
    assert_eq!(world.next_message().await, None);
}

#[tokio::test]
async fn an_intent_that_was_written_as_time_ran_out_is_begun_and_not_lost() {
    let world = World::with_run("local.echo", "hi").await;
    let slow = Rule::new(Fault::Delay(Duration::from_millis(200))).on("TransactWriteItems");
    world.cloud.faults.add(slow.first(1));
    let short = limits(Duration::from_millis(100), Duration::from_secs(60));
    let outcome = world.drive(&world.wake(), short).await;
    assert!(
        matches!(&outcome, Outcome::Ended(state) if text(state) == "hi"),
        "{outcome:?}"
    );
    assert_eq!(world.count("model_failed").await, 0);
}

#[tokio::test]
async fn a_call_that_outlasts_its_process_is_handed_over_and_charged_as_lost() {
    let world = World::with_run("local.slow-1000", "hi").await;
    let short = limits(Duration::from_millis(300), Duration::from_millis(400));
    let message = world.wake();
    let outcome = world.drive(&message, short).await;
    assert!(matches!(outcome, Outcome::HandedOver(_)), "{outcome:?}");
    let message = world.next_message().await.unwrap();
    let outcome = world.drive(&message, world.work().limits).await;
    assert!(matches!(&outcome, Outcome::Ended(_)), "{outcome:?}");
    let log = world.log().await;
    let mut events = log.iter().flat_map(|commit| &commit.events);
    let lost = events.find(is_model_failure);
    assert!(
        matches!(lost, Some(Event::ModelFailed { charged_tokens, .. }) if *charged_tokens > 0),
        "{lost:?}"
    );
}

#[tokio::test]
async fn a_cancel_ends_a_slow_model_call_within_a_beat() {
    let world = Arc::new(World::with_run("local.slow-120000", "hi").await);
    let driving = world.clone();
    let drive = tokio::spawn(async move { driving.engine.drive(driving.work()).await.unwrap() });
    world.calls(1).await;
    let cancelled = world
        .engine
        .cancel(&world.tenant, &world.run, "key_1", None);
    cancelled.await.unwrap();
    let began = Instant::now();
    let outcome = drive.await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Ended(state) if state.status == Status::Cancelled),
        "{outcome:?}"
    );
    assert!(
        began.elapsed() <= Duration::from_secs(11),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(world.folded().await.status, Status::Cancelled);
}

#[tokio::test]
async fn a_run_expires_although_its_driver_may_begin_nothing() {
    let world = World::with_run("local.slow-120000", "hi").await;
    world.later(3_600_000 - 2_000);
    let short = limits(Duration::from_millis(500), Duration::from_secs(90));
    let message = world.wake();
    let outcome = world.drive(&message, short).await;
    assert!(
        matches!(&outcome, Outcome::Ended(state) if state.status == Status::Expired),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn a_run_resumes_from_its_snapshot_as_from_its_whole_log() {
    let world = World::with_run("local.tools-10", "calculate 120 times 1+1").await;
    let mut message = world.wake();
    let mut resumed = 0;
    loop {
        let short = limits(Duration::from_millis(150), Duration::from_secs(60));
        let outcome = world.drive(&message, short).await;
        let loaded = world.engine.store.load(&world.tenant, &world.run).await;
        let loaded = loaded.unwrap().unwrap();
        assert_eq!(loaded.state, world.folded().await);
        resumed += u32::from(u64::from(loaded.tail) < loaded.state.commits);
        match outcome {
            Outcome::Ended(state) => {
                assert_eq!(state.status, Status::Succeeded);
                break;
            }
            Outcome::HandedOver(state) => {
                assert_eq!(*state, loaded.state);
                message = world.next_message().await.unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(resumed > 1, "{resumed}");
    assert_eq!(world.count("tool_returned").await, 120);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_written_stops_nothing() {
    let world = World::with_run("local.tools", "calculate 120 times 1+1").await;
    let refused = Rule::new(Fault::FailBefore).on("PutItem");
    world.cloud.faults.add(refused.containing("\"state\""));
    let outcome = world.engine.drive(world.work()).await.unwrap();
    assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
    assert!(world.cloud.faults.struck() > 0);
    assert_eq!(world.count("model_failed").await, 0);
}

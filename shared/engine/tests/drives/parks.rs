//! Runs that wait: what is sent for them, once.

use super::*;

impl World {
    fn delayed(&self) -> u64 {
        u64::try_from(self.cloud.queues.depth(RUNS).delayed).unwrap()
    }

    fn tools(&self) -> u64 {
        u64::try_from(self.cloud.queues.depth(TASKS).visible).unwrap()
    }
}

#[tokio::test]
async fn a_parked_run_goes_on_with_its_timer_message() {
    let world = World::with_run("local.tools", "wait 1 second").await;
    let until = world.parks(&world.wake()).await;
    assert_eq!(world.next_message().await, None);
    let patience = Duration::from_secs(20);
    let timer = world.cloud.queues.receive(RUNS, 1, patience).await;
    let message = RunMessage::parse(&timer[0].body).unwrap();
    assert_eq!((message.wakes_at, message.hops), (Some(until), 1));
    world.succeeds(&message).await;
    assert_eq!(world.count("parked").await, 1);
}

#[tokio::test]
async fn only_an_early_or_a_reviving_message_sets_a_timer_again() {
    let world = World::with_run("local.tools", "wait 60 seconds").await;
    let until = world.parks(&world.wake()).await;
    assert_eq!(world.delayed(), 1);
    world.parks(&world.wake()).await;
    let mut timer = world.wake().next_hop();
    timer.wakes_at = Some(At(until.0 - 1_000));
    world.parks(&timer).await;
    assert_eq!(world.delayed(), 1, "a message of another wait sets none");
    timer.wakes_at = Some(until);
    world.parks(&timer).await;
    assert_eq!(world.delayed(), 2);
    let again = Work {
        revives: true,
        ..world.work()
    };
    let outcome = world.engine.drive(again).await.unwrap();
    assert!(matches!(outcome, Outcome::Parked(_)), "{outcome:?}");
    assert_eq!(world.delayed(), 3);
}

#[tokio::test]
async fn a_slow_tool_is_sent_again_only_when_its_sender_may_have_died() {
    let world = World::with_run("local.tools", "research geese").await;
    world.parks(&world.wake()).await;
    world.parks(&world.wake()).await;
    assert_eq!(world.tools(), 1);
    let again = Work {
        revives: true,
        ..world.work()
    };
    let outcome = world.engine.drive(again).await.unwrap();
    assert!(matches!(outcome, Outcome::Parked(_)), "{outcome:?}");
    assert_eq!(world.tools(), 2);
}

#[tokio::test]
async fn a_worker_that_answers_twice_is_heard_once() {
    let world = World::with_run("local.tools", "research geese").await;
    world.parks(&world.wake()).await;
    let tool = world.next_tool().await.unwrap();
    world.engine.perform_tool(&tool).await.unwrap();
    let log = world.log().await;
    world.engine.perform_tool(&tool).await.unwrap();
    assert_eq!(world.log().await, log);
    let message = world.next_message().await.unwrap();
    world.succeeds(&message).await;
    assert_eq!(world.count("tool_returned").await, 1);
    let second = world.next_message().await.unwrap();
    world.succeeds(&second).await;
}

#[tokio::test]
async fn a_run_whose_message_was_never_sent_is_woken_by_the_sweep_and_then_left_alone() {
    use local::wire::{Fault, Rule};
    let world = World::new("local.echo").await;
    world
        .cloud
        .faults
        .add(Rule::new(Fault::FailBefore).on("SendMessage"));
    assert!(world.engine.create(world.asks("hi")).await.is_err());
    world.cloud.faults.clear();
    assert_eq!(world.engine.sweep().await.unwrap().woken, 0);
    let mut woken = 0;
    for _ in 0..20 {
        world.later(60_000);
        woken += world.engine.sweep().await.unwrap().woken;
    }
    assert!((1..=6).contains(&woken), "in twenty minutes {woken} times");
    let message = world.next_message().await.unwrap();
    world.succeeds(&message).await;
    world.later(3_600_000);
    assert_eq!(world.engine.sweep().await.unwrap().due, 0);
}

//! Runs that wait for their turn: what they ask of the table, and what a process believes of a line.

use local::wire::Count;
use skein_engine::Admitted;

use super::*;

/// A world whose tenant may have one run under way.
async fn world() -> World {
    let world = World::new("local.tools").await;
    let store = &world.engine.store;
    let old = store.tenant(&world.tenant).await.unwrap().unwrap();
    let mut new = old.clone();
    new.overrides.concurrent_runs = Some(1);
    new.revision += 1;
    store.put_tenant(&new, Some(&old)).await.unwrap();
    world.later(61_000);
    world
}

fn run(number: u8) -> RunId {
    RunId::from_bytes([number; 16])
}

/// Creates a run and tells its place in line.
async fn create(world: &World, engine: &Engine, number: u8) -> Option<u64> {
    let new = NewRun {
        run: run(number),
        ..world.asks("calculate 1+1")
    };
    match engine.create(new).await.unwrap() {
        Admitted::New { place, .. } => place,
        other => panic!("{other:?}"),
    }
}

async fn drive(world: &World, engine: &Engine, number: u8) {
    let work = Work {
        run: run(number),
        ..world.work()
    };
    let outcome = engine.drive(work).await.unwrap();
    assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
}

async fn waits(world: &World, number: u8) -> bool {
    let store = &world.engine.store;
    let read = store.read(&world.tenant, &run(number), true).await;
    read.unwrap().unwrap().0.waiting
}

fn transactions(world: &World) -> Count {
    world.cloud.meter.snapshot().of("TransactWriteItems")
}

#[tokio::test]
async fn a_run_that_joins_a_line_asks_for_no_better_place_and_is_told_which_it_has() {
    let world = world().await;
    assert_eq!(create(&world, &world.engine, 1).await, None);
    assert_eq!(create(&world, &world.engine, 2).await, Some(1));
    let (before, all) = (transactions(&world), world.cloud.meter.snapshot());
    assert_eq!(create(&world, &world.engine, 3).await, Some(2));
    let (after, all) = (
        transactions(&world),
        world.cloud.meter.snapshot().since(&all),
    );
    assert_eq!(after.requests - before.requests, 1);
    assert_eq!(after.errors, before.errors);
    assert_eq!(all.of("Query").requests, 0, "nobody counts the line");
}

#[tokio::test]
async fn runs_that_end_while_others_wait_let_them_in_without_a_refused_write() {
    let world = world().await;
    for number in 1..=4 {
        create(&world, &world.engine, number).await;
    }
    let before = transactions(&world).errors;
    for number in 1..=4 {
        assert!(!waits(&world, number).await, "{number}");
        drive(&world, &world.engine, number).await;
    }
    assert_eq!(transactions(&world).errors, before);
}

#[tokio::test]
async fn who_believes_in_a_line_that_is_gone_begins_all_the_same() {
    let world = world().await;
    let other = world.cloud.engine(Some(world.clock.clone()));
    for number in [1, 2] {
        create(&world, &world.engine, number).await;
    }
    for number in [1, 2] {
        drive(&world, &other, number).await;
    }
    while world.next_message().await.is_some() {}
    create(&world, &world.engine, 3).await;
    assert!(!waits(&world, 3).await);
    let message = world.next_message().await.unwrap();
    assert_eq!(message.run, run(3));
    drive(&world, &world.engine, 3).await;
    assert_eq!(
        create(&world, &world.engine, 4).await,
        None,
        "it has seen that"
    );
}

#[tokio::test]
async fn a_tenant_that_may_have_no_line_is_not_believed_to_have_one() {
    let world = world().await;
    for number in [1, 2] {
        create(&world, &world.engine, number).await;
    }
    let store = &world.engine.store;
    let old = store.tenant(&world.tenant).await.unwrap().unwrap();
    let mut new = old.clone();
    new.overrides.concurrent_runs = Some(5);
    new.overrides.waiting_runs = Some(0);
    new.revision += 1;
    store.put_tenant(&new, Some(&old)).await.unwrap();
    world.later(61_000);
    let other = world.cloud.engine(Some(world.clock.clone()));
    for number in [1, 2] {
        drive(&world, &other, number).await;
    }
    assert_eq!(create(&world, &world.engine, 3).await, None);
}

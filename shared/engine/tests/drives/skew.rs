//! Processes whose clocks are off by five minutes, either way.

use domain::budget::{Budget, Node, Period, Unit};
use skein_engine::{Admitted, Refusal};

use super::*;

const SKEW_MS: u64 = 300_000;
/// Two minutes before midnight, after [`NOW`].
const TO_EVENING_MS: u64 = 6_280_000;
/// Micro-USD: several runs.
const A_DAY: u64 = 20_000;

/// One process with a clock that is behind, one with the right time, one with a clock that is ahead.
fn engines(world: &World) -> [Engine; 3] {
    let behind = world.clock.clone();
    let ahead = world.clock.clone();
    [
        Arc::new(move || At(behind().0 - SKEW_MS)) as Clock,
        world.clock.clone(),
        Arc::new(move || ahead().plus_ms(SKEW_MS)),
    ]
    .map(|clock| world.cloud.engine(Some(clock)))
}

fn work(world: &World, run: &RunId) -> Work {
    Work {
        run: run.clone(),
        ..world.work()
    }
}

/// Creates runs in one process and drives them there until none may begin; how many that were.
async fn spend_all(world: &World, engine: &Engine, number: &mut u8) -> u32 {
    let mut created = 0;
    loop {
        *number += 1;
        let run = RunId::from_bytes([*number; 16]);
        let new = NewRun {
            run: run.clone(),
            ..world.asks("calculate 1+1")
        };
        match engine.create(new).await.unwrap() {
            Admitted::New { .. } => created += 1,
            Admitted::Refused(Refusal::BudgetReached { .. }) => return created,
            other => panic!("{other:?}"),
        }
        engine.drive(work(world, &run)).await.unwrap();
    }
}

#[tokio::test]
async fn a_day_of_a_budget_begins_once_however_far_apart_clocks_are() {
    let world = World::new("local.tools").await;
    let budget = Budget {
        period: Period::Day,
        unit: Unit::MicroUsd,
        limit: A_DAY,
    };
    let store = &world.engine.store;
    let old = store.tenant(&world.tenant).await.unwrap().unwrap();
    let mut new = old.clone();
    new.budgets.insert(Node::Tenant, vec![budget]);
    new.revision += 1;
    store.put_tenant(&new, Some(&old)).await.unwrap();
    world.later(TO_EVENING_MS);
    let [behind, right, ahead] = engines(&world);
    let mut number = 0;

    assert!(spend_all(&world, &behind, &mut number).await > 1);
    assert_eq!(spend_all(&world, &right, &mut number).await, 0);
    assert!(
        spend_all(&world, &ahead, &mut number).await > 1,
        "a new day"
    );
    for engine in [&behind, &right, &ahead] {
        assert_eq!(spend_all(&world, engine, &mut number).await, 0);
    }
    world.later(SKEW_MS);
    assert_eq!(spend_all(&world, &right, &mut number).await, 0);
    let ledger = store.ledger(&new, &Node::Tenant).await.unwrap().unwrap();
    let spent = ledger.spent.micro_usd;
    assert!((A_DAY + 1..=2 * A_DAY).contains(&spent), "{ledger:?}");
    let (_, left) = ledger.left[&(Period::Day, Unit::MicroUsd)];
    assert!(left >= 0, "{ledger:?}");
}

#[tokio::test]
async fn a_driver_that_a_clock_ahead_takes_for_dead_writes_nothing_more() {
    let world = World::with_run("local.slow-1500", "hi").await;
    let [behind, _, ahead] = engines(&world);
    let slow = tokio::spawn({
        let work = world.work();
        async move { behind.drive(work).await.unwrap() }
    });
    world.calls(1).await;
    let outcome = ahead.drive(world.work()).await.unwrap();
    assert!(
        matches!(&outcome, Outcome::Ended(state) if state.status == Status::Succeeded),
        "{outcome:?}"
    );
    slow.await.unwrap();
    assert_eq!(world.count("succeeded").await, 1);
    assert_eq!(world.count("model_answered").await, 1);
    let state = world.folded().await;
    let store = &world.engine.store;
    let tenant = store.tenant(&world.tenant).await.unwrap().unwrap();
    let ledger = store.ledger(&tenant, &Node::Tenant).await;
    let ledger = ledger.unwrap().unwrap();
    assert_eq!(ledger.spent.micro_usd, state.totals.micro_usd);
    assert_eq!((ledger.active, ledger.held.micro_usd), (0, 0));
}

#[tokio::test]
async fn a_wait_ends_whichever_clock_it_began_and_goes_on_by() {
    let world = World::with_run("local.tools", "wait 60 seconds").await;
    let engines = engines(&world);
    let parked = engines[2].drive(world.work()).await.unwrap();
    assert!(matches!(parked, Outcome::Parked(_)), "{parked:?}");
    for _ in 0..20 {
        for engine in &engines {
            let outcome = engine.drive(world.work()).await.unwrap();
            if let Outcome::Ended(state) = outcome {
                assert_eq!(state.status, Status::Succeeded);
                assert_eq!(world.count("succeeded").await, 1);
                return;
            }
        }
        world.later(60_000);
    }
    panic!("{:?}", world.log().await);
}

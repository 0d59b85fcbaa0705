//! What a log tells of what a run used of the platform.

use domain::receipt::Receipt;
use domain::run::Used;

use super::*;

impl World {
    async fn platform(&self) -> Used {
        Receipt::of(&self.log().await).platform
    }
}

#[tokio::test]
async fn a_receipt_counts_every_request_but_the_last() {
    let world = World::with_run("local.tools", "calculate 1+1, then 2+2").await;
    let before = world.engine.store.consumed();
    let outcome = world.engine.drive(world.work()).await.unwrap();
    assert!(matches!(outcome, Outcome::Ended(_)), "{outcome:?}");
    let after = world.engine.store.consumed();
    let used = world.platform().await;
    let writes = |consumed: &store::Consumed| consumed.writes + consumed.transactions;
    assert_eq!(used.writes, writes(&after) - writes(&before) - 1);
    assert!(used.writes > 0 && used.reads > 0);
}

#[tokio::test]
async fn a_receipt_adds_up_those_who_parked_the_run_the_worker_and_who_ended_it() {
    let world = World::with_run("local.tools", "research geese").await;
    world.parks(&world.wake()).await;
    let parked = world.platform().await;
    assert!(parked.reads > 0, "{parked:?}");
    let tool = world.next_tool().await.unwrap();
    world.engine.perform_tool(&tool).await.unwrap();
    let worked = world.platform().await;
    assert!(worked.reads > parked.reads, "{worked:?}");
    let message = world.next_message().await.unwrap();
    world.succeeds(&message).await;
    let ended = world.platform().await;
    assert!(ended.reads > worked.reads, "{ended:?}");
}

#[tokio::test]
async fn who_lets_the_next_run_in_tells_its_log_nothing() {
    let world = World::new("local.tools").await;
    let store = &world.engine.store;
    let old = store.tenant(&world.tenant).await.unwrap().unwrap();
    let mut new = old.clone();
    new.overrides.concurrent_runs = Some(1);
    new.revision += 1;
    store.put_tenant(&new, Some(&old)).await.unwrap();
    let next = NewRun {
        run: RunId::from_bytes([8; 16]),
        ..world.asks("hi")
    };
    world.engine.create(world.asks("hi")).await.unwrap();
    world.engine.create(next.clone()).await.unwrap();
    world.succeeds(&world.wake()).await;
    let log = store
        .commits(&world.tenant, &next.run, 1, 100)
        .await
        .unwrap();
    let admitted = &log.last().unwrap().events[0];
    assert!(matches!(admitted, Event::Admitted { .. }), "{admitted:?}");
    assert_eq!(Receipt::of(&log).platform, Used::default());
}

use domain::run::{Head, LEASE_MS, Status};
use local::wire::{Fault, Rule};

use super::*;
use crate::{Error, Key};

#[tokio::test]
async fn every_item_of_a_run_may_go_when_it_is_kept_no_longer_and_what_is_left_of_it_is_no_run() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    let commit = script.next(Some("d1"), vec![step(1), answered(1, "hi")]);
    let kept_until = Some(NOW.plus_ms(KEPT_MS));
    let written = store.append_charged(&acme, &run, &commit, None, None, kept_until);
    written.await.unwrap();
    script.append(&store, vec![succeeded()]).await;
    store.snapshot(&script.state).await.unwrap();
    let keys = [
        Key::head(&acme, &run),
        Key::commit(&acme, &run, 1),
        Key::commit(&acme, &run, 2),
        Key::commit(&acme, &run, 4),
        Key::snapshot(&acme, &run, 4),
    ];
    for key in keys.clone() {
        let item = store.get(key, true).await.unwrap().unwrap();
        let ttl = item.get("ttl").and_then(|ttl| ttl.as_n().ok()).unwrap();
        assert_eq!(ttl, &((NOW.0 + KEPT_MS) / 1_000).to_string());
    }
    // The table deletes them in any order.
    let [head, ..] = keys;
    store.put(crate::table::Write::delete(head)).await.unwrap();
    assert_eq!(store.read(&acme, &run, true).await.unwrap(), None);
}

#[tokio::test]
async fn a_run_is_created_once_and_shows_its_head_the_second_time() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let first = Script::created(&store, &acme, &run).await;
    let mut second = Script::new(&acme, &run);
    let commit = second.next(None, vec![created("other", NOW)]);
    let creation = store.create(&acme, &second.head(), &commit).await.unwrap();
    assert_eq!(creation, Creation::Exists(Box::new(first.head())));
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!(loaded.state, first.state);
    assert_eq!((loaded.lease, loaded.tail), (None, 1));
}

#[tokio::test]
async fn a_creation_whose_answer_was_lost_is_new_and_stays_so_when_repeated() {
    let World { store, faults, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    faults.add(
        Rule::new(Fault::LoseResponse)
            .on("TransactWriteItems")
            .nth(1),
    );
    let mut script = Script::created(&store, &acme, &run).await;
    assert_eq!(faults.struck(), 1);
    let (head, commit) = (script.head(), script.log[0].clone());
    script
        .append(
            &store,
            vec![Event::RunStarted {
                driver: driver("d1"),
            }],
        )
        .await;
    let again = store.create(&acme, &head, &commit).await.unwrap();
    assert_eq!(again, Creation::New);
    let (stored, _) = store.read(&acme, &run, true).await.unwrap().unwrap();
    assert_eq!(stored.status, Status::Running);
}

#[tokio::test]
async fn another_tenant_sees_nothing_of_a_run() {
    let World { store, .. } = world().await;
    let (acme, evil, run) = (tenant("acme"), tenant("evil"), run(1));
    let script = Script::created(&store, &acme, &run).await;
    store
        .renew(&acme, &run, &driver("d1"), 1, NOW)
        .await
        .unwrap();
    store.snapshot(&script.state).await.unwrap();
    assert_eq!(store.load(&evil, &run).await.unwrap(), None);
    assert_eq!(store.read(&evil, &run, true).await.unwrap(), None);
    assert!(store.events(&evil, &run, 0, 10).await.unwrap().is_empty());
    let listed = store
        .runs(&evil, &Default::default(), 10, None, NOW)
        .await
        .unwrap();
    assert!(listed.items.is_empty());
    assert!(
        !store
            .postpone(&evil, &run, Status::Queued, NOW.plus_ms(LEASE_MS), NOW)
            .await
            .unwrap()
    );
    let missing = store
        .append(&evil, &run, &script.log[0], Some(&script.head()))
        .await;
    assert!(matches!(missing, Err(Error::Missing)));
}

#[tokio::test]
async fn of_two_writers_of_one_commit_the_second_is_told_so() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut winner = Script::created(&store, &acme, &run).await;
    let mut loser = Script::new(&acme, &run);
    loser.next(None, winner.log[0].events.clone());
    winner.append(&store, vec![step(1)]).await;
    for head in [None, Some(loser.head())] {
        let stale = loser.next(Some("d2"), vec![step(1)]);
        loser.state.last_event -= 1;
        let raced = store.append(&acme, &run, &stale, head.as_ref()).await;
        assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    }
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!(loaded.state, winner.state);
}

#[tokio::test]
async fn a_lost_race_leaves_the_head_as_it_was() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut winner = Script::created(&store, &acme, &run).await;
    let mut loser = Script::new(&acme, &run);
    loser.next(None, winner.log[0].events.clone());
    let late = loser.next(None, vec![Event::Cancelled]);
    winner
        .append(
            &store,
            vec![Event::RunStarted {
                driver: driver("d1"),
            }],
        )
        .await;
    let raced = store.append(&acme, &run, &late, Some(&loser.head())).await;
    assert!(matches!(raced, Err(Error::Raced)));
    let (head, newest) = store.read(&acme, &run, true).await.unwrap().unwrap();
    assert_eq!((head, newest), (winner.head(), winner.log[1].clone()));
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_not_a_lost_race() {
    let World { store, faults, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    faults.add(Rule::new(Fault::LoseResponse).on("PutItem").nth(1));
    script.append(&store, vec![step(1)]).await;
    faults.clear();
    faults.add(
        Rule::new(Fault::LoseResponse)
            .on("TransactWriteItems")
            .nth(1),
    );
    script
        .append(&store, vec![answered(1, "42"), succeeded()])
        .await;
    faults.clear();
    faults.add(Rule::new(Fault::Duplicate));
    let large = "x".repeat(70_000);
    script.append(&store, vec![answered(2, &large)]).await;
    faults.clear();
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!(loaded.state, script.folded());
}

#[tokio::test]
async fn a_table_that_stays_silent_is_a_transient_error() {
    let World { store, faults, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    let commit = script.next(Some("d1"), vec![step(1)]);
    for fault in [Fault::Throttle, Fault::FailBefore, Fault::LoseResponse] {
        faults.add(Rule::new(fault));
        let error = store.append(&acme, &run, &commit, None).await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert!(std::error::Error::source(&error).is_some());
        assert!(store.ping().await.unwrap_err().is_transient());
        faults.clear();
    }
    store.append(&acme, &run, &commit, None).await.unwrap();
    store.ping().await.unwrap();
}

#[tokio::test]
async fn folding_from_a_snapshot_equals_folding_the_log() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    script
        .append(
            &store,
            vec![
                Event::RunStarted {
                    driver: driver("d1"),
                },
                step(1),
            ],
        )
        .await;
    for n in 1..=250 {
        script
            .append(&store, vec![answered(n, "go on"), step(n + 1)])
            .await;
        if n % 100 == 0 {
            store.snapshot(&script.state).await.unwrap();
        }
    }
    store
        .renew(&acme, &run, &driver("d1"), script.state.last_event, NOW)
        .await
        .unwrap();
    let before = store.consumed();
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!(loaded.state, script.folded());
    assert_eq!(loaded.lease, Some((driver("d1"), NOW)));
    assert_eq!(loaded.tail, 50);
    assert_eq!(store.consumed().reads - before.reads, 1);
}

#[tokio::test]
async fn a_long_run_without_a_snapshot_loads_page_by_page() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    let text = "x".repeat(20_000);
    for n in 1..=120 {
        script.append(&store, vec![answered(n, &text)]).await;
    }
    let before = store.consumed();
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!(loaded.state, script.folded());
    assert_eq!(
        store.consumed().reads - before.reads,
        3,
        "2.4 MB are three pages"
    );
}

#[tokio::test]
async fn a_snapshot_in_an_unknown_shape_is_passed_over() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    script.append(&store, vec![step(1)]).await;
    let (pk, sk) = Key::snapshot(&acme, &run, 1).into_parts();
    let put = store.access.table.put_item().table_name("skein");
    let put = put
        .item("pk", crate::item::text(pk))
        .item("sk", crate::item::text(sk));
    let put = put.item(
        "state",
        crate::item::text("{\"shape\":\"of another time\"}"),
    );
    put.send().await.unwrap();
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!((loaded.state, loaded.tail), (script.folded(), 2));
}

#[tokio::test]
async fn a_log_with_a_gap_is_not_folded() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    script.next(None, vec![step(1)]);
    script.append(&store, vec![answered(1, "42")]).await;
    let error = store.load(&acme, &run).await.unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
}

#[tokio::test]
async fn events_are_read_from_any_number_on() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    script
        .append(&store, vec![step(1), answered(1, "a"), step(2)])
        .await;
    script
        .append(&store, vec![answered(2, "b"), succeeded()])
        .await;
    let log = &script.log;
    for (after, expected) in [
        (0, &log[0..]),
        (1, &log[1..]),
        (2, &log[1..]),
        (3, &log[1..]),
        (4, &log[2..]),
        (5, &log[2..]),
        (6, &log[3..]),
        (60, &log[3..]),
    ] {
        let events = store.events(&acme, &run, after, 100).await.unwrap();
        assert_eq!(events, expected, "after {after}");
        let one = store.events(&acme, &run, after, 1).await.unwrap();
        assert_eq!(one, expected[..expected.len().min(1)], "one after {after}");
    }
    assert_eq!(store.commits(&acme, &run, 2, 100).await.unwrap(), log[1..]);
    assert!(store.commits(&acme, &run, 7, 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_replaced_driver_cannot_renew_the_lease() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    Script::created(&store, &acme, &run).await;
    let (old, new) = (driver("old"), driver("new"));
    let later = NOW.plus_ms(10_000);
    assert!(store.renew(&acme, &run, &old, 1, NOW).await.unwrap());
    assert!(store.renew(&acme, &run, &old, 1, later).await.unwrap());
    assert!(store.renew(&acme, &run, &new, 2, later).await.unwrap());
    assert!(
        !store
            .renew(&acme, &run, &old, 1, later.plus_ms(1))
            .await
            .unwrap()
    );
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!(loaded.lease, Some((new, later)));
}

#[tokio::test]
async fn a_stored_head_reads_back_as_it_was_written() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let script = Script::created(&store, &acme, &run).await;
    let (head, commit): (Head, _) = store.read(&acme, &run, false).await.unwrap().unwrap();
    assert_eq!((head, commit), (script.head(), script.log[0].clone()));
}

#[tokio::test]
async fn every_kind_of_call_can_be_spawned() {
    let World { store, .. } = world().await;
    let spawned = tokio::spawn(async move {
        let (acme, run) = (tenant("acme"), run(1));
        let script = Script::created(&store, &acme, &run).await;
        store.snapshot(&script.state).await?;
        store.load(&acme, &run).await?;
        store.events(&acme, &run, 0, 10).await?;
        let (filter, clerk) = (
            crate::RunFilter::default(),
            AgentId::parse("clerk").unwrap(),
        );
        store.runs(&acme, &filter, 10, None, NOW).await?;
        store.watched(0, NOW, 10).await?;
        store.agent(&acme, &clerk).await?;
        store.archive_agent(&acme, &clerk, NOW).await
    });
    assert!(!spawned.await.unwrap().unwrap());
}

use std::collections::BTreeSet;
use std::sync::LazyLock;

use domain::run::{Head, LEASE_MS, Status};

use local::wire::{Fault, Rule};

use super::*;
use crate::{CURSOR_LIFETIME_MS, Claimed, Error, RunFilter, WATCH_SHARDS};

/// Sixty runs, a second apart, of two agents and several statuses. Gives their heads, newest first.
async fn many(store: &Store, acme: &TenantId) -> Vec<Head> {
    let mut heads = Vec::new();
    for n in 0..60_u8 {
        let agent = if n % 3 == 0 { "clerk" } else { "scout" };
        let mut script = Script::new(acme, &run(n));
        let mut commit = script.next(None, vec![created(agent, NOW)]);
        script.state = State::empty(acme.clone(), run(n));
        commit.at = NOW.plus_ms(u64::from(n) * 1_000);
        evolve(&mut script.state, &commit);
        store.create(acme, &script.head(), &commit).await.unwrap();
        if n % 2 == 0 {
            script.append(store, vec![step(1), succeeded()]).await;
        }
        heads.push(script.head());
    }
    heads.reverse();
    heads
}

async fn all(store: &Store, acme: &TenantId, filter: &RunFilter, limit: u32) -> Vec<Head> {
    let (mut heads, mut cursor) = (Vec::new(), None);
    loop {
        let page = store
            .runs(acme, filter, limit, cursor.as_deref(), NOW)
            .await
            .unwrap();
        assert!(page.items.len() <= usize::try_from(limit).unwrap());
        heads.extend(page.items);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return heads,
        }
    }
}

#[tokio::test]
async fn lists_merge_their_partitions_newest_first_whatever_the_page() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    let heads = many(&store, &acme).await;
    for limit in [1, 7, 60, 200] {
        let listed = all(&store, &acme, &RunFilter::default(), limit).await;
        assert_eq!(listed, heads, "pages of {limit}");
    }
}

#[tokio::test]
async fn lists_hold_what_the_filter_admits() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    let heads = many(&store, &acme).await;
    let from = NOW.plus_ms(10_000);
    let to = NOW.plus_ms(50_000);
    let clerk = AgentId::parse("clerk").unwrap();
    for filter in [
        RunFilter {
            status: Some(Status::Queued),
            ..RunFilter::default()
        },
        RunFilter {
            agent: Some(clerk.clone()),
            ..RunFilter::default()
        },
        RunFilter {
            status: Some(Status::Succeeded),
            agent: Some(clerk),
            created_from: Some(from),
            created_to: Some(to),
        },
        RunFilter {
            created_from: Some(to),
            created_to: Some(from),
            ..RunFilter::default()
        },
        RunFilter {
            agent: Some(AgentId::parse("nobody").unwrap()),
            ..RunFilter::default()
        },
    ] {
        let admitted = heads.iter().filter(|head| {
            filter.status.is_none_or(|status| status == head.status)
                && filter.agent.as_ref().is_none_or(|id| *id == head.agent.id)
                && filter.created_from.is_none_or(|at| at <= head.created_at)
                && filter.created_to.is_none_or(|at| head.created_at < at)
        });
        let admitted: Vec<Head> = admitted.cloned().collect();
        for limit in [3, 100] {
            assert_eq!(
                all(&store, &acme, &filter, limit).await,
                admitted,
                "{filter:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_page_takes_a_bounded_number_of_queries() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    many(&store, &acme).await;
    let before = store.consumed().reads;
    let page = store
        .runs(&acme, &RunFilter::default(), 20, None, NOW)
        .await
        .unwrap();
    assert_eq!(page.items.len(), 20);
    let queries = store.consumed().reads - before;
    assert!((28..=28 + 16).contains(&queries), "{queries} queries");
}

#[tokio::test]
async fn a_cursor_that_is_forged_foreign_or_old_is_refused() {
    let World { store, .. } = world().await;
    let (acme, evil) = (tenant("acme"), tenant("evil"));
    many(&store, &acme).await;
    let filter = RunFilter::default();
    let page = store.runs(&acme, &filter, 5, None, NOW).await.unwrap();
    let cursor = page.next.unwrap();
    let queued = RunFilter {
        status: Some(Status::Queued),
        ..RunFilter::default()
    };
    let forged = format!("{}A", &cursor[..cursor.len() - 1]);
    for (tenant, filter, cursor) in [
        (&evil, &filter, &cursor),
        (&acme, &queued, &cursor),
        (&acme, &filter, &"AAAA".to_owned()),
        (&acme, &filter, &forged.replace('A', "B")),
    ] {
        let refused = store.runs(tenant, filter, 5, Some(cursor), NOW).await;
        assert!(matches!(refused, Err(Error::BadCursor)), "{refused:?}");
    }
    let late = NOW.plus_ms(CURSOR_LIFETIME_MS);
    let refused = store.runs(&acme, &filter, 5, Some(&cursor), late).await;
    assert!(matches!(refused, Err(Error::ExpiredCursor)));
}

#[tokio::test]
async fn a_run_is_watched_until_it_ends() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    let due = script.head().watch_at.unwrap();
    assert_eq!(due, NOW.plus_ms(LEASE_MS));
    assert!(watched(&store, due).await.is_empty());
    let at_due = watched(&store, due.plus_ms(1)).await;
    assert_eq!(at_due, [(acme.clone(), run.clone(), due)].into());

    let later = due.plus_ms(60_000);
    let postpone = |status, from| store.postpone(&acme, &run, status, from, later);
    assert!(!postpone(Status::Running, due).await.unwrap());
    assert!(postpone(Status::Queued, due).await.unwrap());
    assert!(
        !postpone(Status::Queued, due).await.unwrap(),
        "the second one loses"
    );
    assert!(watched(&store, later).await.is_empty());
    assert_eq!(watched(&store, later.plus_ms(1)).await.len(), 1);

    script.append(&store, vec![succeeded()]).await;
    assert!(watched(&store, At(9_999_999_999_999)).await.is_empty());
    assert!(!postpone(Status::Succeeded, later).await.unwrap());
}

#[tokio::test]
async fn the_watch_sees_who_is_at_work() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    assert_eq!(store.sight(&acme, &run).await.unwrap(), None);
    let script = Script::created(&store, &acme, &run).await;
    let seen_at = async |tenant| {
        let sight = store.sight(tenant, &run).await.unwrap();
        sight.map(|sight| (sight.head, sight.seen_at))
    };
    let head = script.head();
    assert_eq!(seen_at(&acme).await, Some((head.clone(), NOW)));
    let evil = tenant("evil");
    assert_eq!(seen_at(&evil).await, None);

    let driven_at = NOW.plus_ms(5_000);
    let driver = driver("d1");
    let renewed = store.renew(&acme, &run, &driver, 1, driven_at);
    assert!(renewed.await.unwrap());
    assert_eq!(seen_at(&acme).await, Some((head.clone(), driven_at)));
    for (call, at) in [(0, 7_000), (12, 9_000), (3, 8_000)] {
        let call = Claimed {
            call,
            ..claim(&acme, &run)
        };
        let claimed = store.claim_call(call, &driver, NOW.plus_ms(at));
        assert!(claimed.await.unwrap());
    }
    assert_eq!(seen_at(&acme).await, Some((head, NOW.plus_ms(9_000))));
    let (_, newest) = store.read(&acme, &run, true).await.unwrap().unwrap();
    assert_eq!(newest, script.log[0], "claims hide no commit");
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!(loaded.lease, Some((driver, driven_at)));
}

fn claim<'a>(tenant: &'a TenantId, run: &'a RunId) -> Claimed<'a> {
    static ROOT: LazyLock<FrameId> = LazyLock::new(FrameId::root);
    Claimed {
        tenant,
        run,
        frame: &ROOT,
        step: 1,
        call: 0,
    }
}

#[tokio::test]
async fn a_call_is_claimed_by_one_worker_as_long_as_that_lives() {
    let World { store, faults, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let (call, [one, other]) = (claim(&acme, &run), ["w1", "w2"].map(driver));
    let claims = async |call, worker, ms| {
        let claimed = store.claim_call(call, worker, NOW.plus_ms(ms)).await;
        claimed.unwrap()
    };
    faults.add(Rule::new(Fault::LoseResponse).on("PutItem").nth(1));
    assert!(claims(call, &one, 0).await, "its answer was lost");
    assert!(!claims(call, &other, 0).await);
    assert!(claims(call, &one, 10_000).await);
    assert!(!claims(call, &other, 10_000 + LEASE_MS - 1).await);
    assert!(claims(call, &other, 10_000 + LEASE_MS).await);
    assert!(!claims(call, &one, 10_000 + LEASE_MS + 1).await);

    let next = Claimed { step: 2, ..call };
    assert!(claims(next, &one, 10_000 + LEASE_MS + 2).await);
    assert!(
        !claims(call, &other, 90_000).await,
        "a step that is over is nobody's"
    );
}

#[tokio::test]
async fn one_of_many_sweeps_up_to_an_instant() {
    let World { store, .. } = world().await;
    let begins = async |ms| store.begin_sweep(NOW.plus_ms(ms)).await.unwrap();
    assert!(begins(2_000).await);
    assert!(!begins(2_000).await);
    assert!(begins(6_000).await);
    assert!(!begins(4_000).await, "that was swept as well");
}

async fn watched(store: &Store, before: At) -> BTreeSet<(TenantId, RunId, At)> {
    let mut found = BTreeSet::new();
    for shard in 0..WATCH_SHARDS {
        found.extend(store.watched(shard, before, 100).await.unwrap());
    }
    found
}

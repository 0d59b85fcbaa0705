use domain::limit::Leased;
use domain::tier::{Subject, Window};
use futures_util::future::join_all;
use local::wire::{Fault, Rule};

use super::*;
use crate::item::Read;
use crate::{Error, Key};

/// A part of the update that opens a window, and of the one that takes from it.
const OPENS: &str = "attribute_not_exists";
const TAKES: &str = "tokens_left - :n";

fn limit(requests: u64) -> Window {
    Window {
        name: "permin".to_owned(),
        requests,
        seconds: 60,
        by: Subject::Tenant,
    }
}

fn leased(window: u64, tokens: u64, left: u64) -> Leased {
    Leased {
        window,
        tokens,
        left,
    }
}

#[tokio::test]
async fn who_asks_for_more_than_is_left_gets_what_is_left() {
    let World { store, .. } = world().await;
    let (acme, limit) = (tenant("acme"), limit(10));
    for (want, lease, writes) in [
        (6, leased(7, 6, 4), 2),
        (1, leased(7, 1, 3), 1),
        (6, leased(7, 3, 0), 2),
        (6, leased(7, 0, 0), 1),
    ] {
        let metered = store.metered();
        assert_eq!(
            metered.lease(&acme, &limit, None, 7, want).await.unwrap(),
            lease
        );
        assert_eq!(metered.consumed().writes, writes);
    }
}

#[tokio::test]
async fn a_new_window_has_all_of_its_tokens() {
    let World { store, .. } = world().await;
    let (acme, limit) = (tenant("acme"), limit(10));
    let lease = async |index, want| store.lease(&acme, &limit, None, index, want).await.unwrap();
    assert_eq!(lease(7, 10).await, leased(7, 10, 0));
    assert_eq!(lease(8, 4).await, leased(8, 4, 6));
    assert_eq!(lease(13, 99).await, leased(13, 10, 0));
    let key = Key::limit(&acme, &limit, None).unwrap();
    let item = store.get(key, true).await.unwrap().unwrap();
    assert_eq!(item.number("ttl").unwrap(), 14 * 60 + 86_400);
}

#[tokio::test]
async fn a_late_lease_takes_from_the_window_that_is_open() {
    let World { store, .. } = world().await;
    let (acme, limit) = (tenant("acme"), limit(10));
    let lease = async |index, want| store.lease(&acme, &limit, None, index, want).await.unwrap();
    assert_eq!(lease(12, 4).await, leased(12, 4, 6));
    let writes = store.consumed().writes;
    assert_eq!(lease(7, 4).await, leased(12, 4, 2));
    assert_eq!(store.consumed().writes, writes + 2);
    assert_eq!(lease(7, 4).await, leased(12, 2, 0));
    assert_eq!(lease(7, 4).await, leased(12, 0, 0));
}

#[tokio::test]
async fn a_window_is_opened_once() {
    let World { store, .. } = world().await;
    let (acme, limit) = (tenant("acme"), limit(10));
    for window in [7, 8] {
        let leases = (0..16).map(|_| store.lease(&acme, &limit, None, window, 1));
        let leases = join_all(leases).await;
        let tokens: u64 = leases
            .into_iter()
            .map(Result::unwrap)
            .map(|lease| {
                assert_eq!(lease.window, window);
                lease.tokens
            })
            .sum();
        assert_eq!(tokens, 10);
    }
}

#[tokio::test]
async fn the_window_never_goes_back() {
    let World { store, .. } = world().await;
    let (acme, limit) = (tenant("acme"), limit(10));
    let leases = (0..15).map(|n| store.lease(&acme, &limit, None, 9 - n % 3, 1));
    let leases = join_all(leases).await.into_iter().map(Result::unwrap);
    let of_the_last = leases.filter(|lease| lease.window == 9);
    let taken: u64 = of_the_last.map(|lease| lease.tokens).sum();
    let rest = store.lease(&acme, &limit, None, 7, 10).await.unwrap();
    assert_eq!(rest, leased(9, 10 - taken, 0));
}

#[tokio::test]
async fn many_leasers_never_take_more_than_the_limit() {
    let World { store, .. } = world().await;
    let (acme, limit) = (tenant("acme"), limit(500));
    let leaser = async |n: u64| {
        let mut taken = 0;
        for round in 0.. {
            let want = 1 + (n + round) % 9;
            match store.lease(&acme, &limit, None, 7, want).await.unwrap() {
                Leased { tokens: 0, .. } => break,
                Leased { tokens, .. } => taken += tokens,
            }
        }
        taken
    };
    let taken: u64 = join_all((0..16).map(leaser)).await.iter().sum();
    assert_eq!(taken, 500);
}

#[tokio::test]
async fn a_lost_answer_loses_tokens_and_makes_none() {
    // One token is taken before; of two takes of 3 the first one is lost.
    let World { store, faults, .. } = world().await;
    let (acme, limit) = (tenant("acme"), limit(10));
    store.lease(&acme, &limit, None, 7, 1).await.unwrap();
    faults.add(Rule::new(Fault::LoseResponse).containing(TAKES).nth(1));
    let lease = store.lease(&acme, &limit, None, 7, 3).await.unwrap();
    assert_eq!((faults.struck(), lease), (1, leased(7, 3, 3)));
    // The window was opened with 3 tokens taken, which nobody got.
    faults.add(Rule::new(Fault::LoseResponse).containing(OPENS).nth(1));
    let lease = store.lease(&acme, &limit, None, 8, 3).await.unwrap();
    assert_eq!((faults.struck(), lease), (2, leased(8, 3, 4)));
    let rest = store.lease(&acme, &limit, None, 8, 10).await.unwrap();
    assert_eq!(rest, leased(8, 4, 0));
}

#[tokio::test]
async fn faults_of_the_wire_never_make_tokens() {
    for seed in 0..4 {
        let World { store, faults, .. } = world().await;
        for (fault, probability) in [
            (Fault::LoseResponse, 0.1),
            (Fault::Duplicate, 0.1),
            (Fault::FailBefore, 0.05),
        ] {
            let rule = Rule::new(fault).on("UpdateItem");
            faults.add(rule.with_probability(probability, seed));
        }
        let (acme, limit) = (tenant("acme"), limit(100));
        let leaser = async |n: u64| {
            let mut taken = [0_u64; 2];
            for round in 0..12 {
                let window = round / 6;
                let lease = store
                    .lease(&acme, &limit, None, 7 + window, 1 + n % 4)
                    .await;
                if let Ok(lease) = lease {
                    taken[usize::try_from(lease.window - 7).unwrap()] += lease.tokens;
                }
            }
            taken
        };
        let taken = join_all((0..16).map(leaser)).await;
        for window in 0..2 {
            let taken: u64 = taken.iter().map(|taken| taken[window]).sum();
            assert!((1..=100).contains(&taken), "{seed}: {taken}");
        }
        assert!(faults.struck() > 0);
    }
}

#[tokio::test]
async fn counters_of_other_tenants_subjects_and_lengths_are_apart() {
    let World { store, .. } = world().await;
    let (acme, evil) = (tenant("acme"), tenant("evil"));
    let minute = limit(10);
    let hour = Window {
        seconds: 3_600,
        ..minute.clone()
    };
    let drain = store.lease(&evil, &minute, None, 9, 10).await.unwrap();
    assert_eq!(drain, leased(9, 10, 0));
    for (limit, subject) in [
        (&minute, None),
        (&minute, Some("k1")),
        (&minute, Some("k2")),
        (&hour, None),
    ] {
        let lease = store.lease(&acme, limit, subject, 7, 4).await.unwrap();
        assert_eq!(lease, leased(7, 4, 6), "{subject:?}");
    }
    let bad = store.lease(&acme, &minute, Some("a#b"), 7, 1).await;
    assert!(matches!(bad, Err(Error::BadLimit)));
}

#[tokio::test]
async fn a_limit_of_nothing_gives_nothing_and_writes_nothing() {
    let World { store, .. } = world().await;
    let lease = store.lease(&tenant("acme"), &limit(0), None, 7, 1).await;
    assert_eq!(lease.unwrap(), leased(7, 0, 0));
    assert_eq!(store.consumed().writes, 0);
}

#[tokio::test]
async fn a_counter_that_cannot_be_reached_is_a_transient_error() {
    let World { store, faults, .. } = world().await;
    for fault in [Fault::Throttle, Fault::FailBefore, Fault::LoseResponse] {
        faults.add(Rule::new(fault));
        let lease = store.lease(&tenant("acme"), &limit(10), None, 7, 1).await;
        assert!(lease.unwrap_err().is_transient());
        faults.clear();
    }
}

//! Requests: each is counted once, whatever becomes of answers.

use domain::id::KeyId;
use domain::usage::{Interval, Row, Subject, Usage};
use local::wire::{Fault, Rule};

use super::*;
use crate::{MOST_TALLIED, Tallied, Tally};

fn row(minute: u64, key: &str, requests: u64, refused_requests: u64) -> Row {
    Row {
        start: Interval::Minute.start(NOW).plus_ms(minute * 60_000),
        subject: Subject {
            key: Some(KeyId::parse(key).unwrap()),
            ..Subject::default()
        },
        usage: Usage {
            requests,
            refused_requests,
            ..Usage::default()
        },
    }
}

fn tally(process: &str, number: u64, rows: Vec<Row>) -> Tally {
    Tally {
        process: process.to_owned(),
        number,
        rows,
    }
}

async fn counted(store: &Store, tenant: &TenantId, interval: Interval) -> (u64, u64) {
    let (from, to) = (Interval::Day.start(NOW), NOW.plus_ms(40 * 86_400_000));
    let rows = store.usage(tenant, interval, from, to).await.unwrap();
    let sum = rows
        .iter()
        .fold(Usage::default(), |sum, row| sum.plus(row.usage));
    assert_eq!(sum.runs, 0);
    (sum.requests, sum.refused_requests)
}

async fn onboarded(store: &Store) -> TenantId {
    let acme = tenant("acme");
    let settings = domain::tenant::Tenant::new(acme.clone(), "Acme", "free", NOW);
    store.put_tenant(&settings, None).await.unwrap();
    acme
}

#[tokio::test]
async fn a_tally_counts_once_however_often_it_is_told() {
    let World { store, faults, .. } = world().await;
    let acme = onboarded(&store).await;
    faults.add(Rule::new(Fault::LoseResponse).with_probability(0.3, 1));
    faults.add(Rule::new(Fault::Throttle).with_probability(0.2, 2));
    let mut sum = (0, 0);
    for number in 1..=30 {
        for process in ["a", "b"] {
            let rows = vec![row(number, "k1", number, 1), row(number + 1, "k2", 2, 0)];
            let tally = tally(process, number, rows);
            // Twice, and until it is known what became of it.
            for _ in 0..2 {
                while let Err(error) = store.count_requests(&acme, &tally, NOW).await {
                    assert!(error.is_transient(), "{error:?}");
                }
            }
            sum = (sum.0 + number + 2, sum.1 + 1);
        }
    }
    faults.clear();
    for interval in Interval::ALL {
        assert_eq!(counted(&store, &acme, interval).await, sum, "{interval:?}");
    }
}

#[tokio::test]
async fn a_tally_that_comes_late_is_not_counted_again() {
    let World { store, .. } = world().await;
    let acme = onboarded(&store).await;
    let first = tally("a", 1, vec![row(0, "k1", 5, 0)]);
    let second = tally("a", 7, vec![row(0, "k1", 1, 0)]);
    let told = async |tally: &Tally| store.count_requests(&acme, tally, NOW).await.unwrap();
    assert_eq!(told(&first).await, Tallied::Now);
    assert_eq!(told(&second).await, Tallied::Now);
    assert_eq!(told(&first).await, Tallied::Before);
    assert_eq!(told(&second).await, Tallied::Before);
    assert_eq!(counted(&store, &acme, Interval::Day).await, (6, 0));
    let other = tally("b", 1, vec![row(0, "k1", 1, 0)]);
    assert_eq!(told(&other).await, Tallied::Now, "processes count apart");
}

#[tokio::test]
async fn nothing_is_counted_for_a_tenant_that_is_not_there() {
    let World { store, .. } = world().await;
    let gone = tenant("gone");
    let tally = tally("a", 1, vec![row(0, "k1", 5, 0)]);
    let told = store.count_requests(&gone, &tally, NOW).await.unwrap();
    assert_eq!(told, Tallied::Gone);
    assert_eq!(counted(&store, &gone, Interval::Day).await, (0, 0));
}

#[tokio::test]
async fn the_largest_tally_is_one_transaction() {
    let World { store, .. } = world().await;
    let acme = onboarded(&store).await;
    let day = 24 * 60;
    let rows = (0..u64::try_from(MOST_TALLIED).unwrap()).map(|n| row(n * day, "k1", 1, 0));
    let before = store.consumed();
    let tally = tally("a", 1, rows.collect());
    store.count_requests(&acme, &tally, NOW).await.unwrap();
    let after = store.consumed();
    assert_eq!(after.transactions - before.transactions, 1);
    assert_eq!(counted(&store, &acme, Interval::Hour).await, (32, 0));
}

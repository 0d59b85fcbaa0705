//! Periods and settings that change while somebody acts on the old ones.

use domain::budget::Warning;

use super::*;
use crate::ledger::{Periods, Verdict};
use crate::table::{Outcome, Write};

/// The transactions that begin tomorrow for a node, as whoever finds the ledger in yesterday decides them.
async fn renewals(store: &Store, of: &Tenant, node: &Node) -> Vec<Vec<Write>> {
    let others: Vec<_> = [node.clone()]
        .into_iter()
        .filter(|node| *node != Node::Tenant)
        .collect();
    let charge = Charge {
        tenant: of,
        most: (10, 10),
        nodes: &others,
        entry: Entry {
            reserve: money(1),
            ..Entry::default()
        },
        at: NOW.plus_ms(DAY_MS),
        definitions: None,
        line: false,
    };
    let mut periods = Periods::default();
    let writes = charge.writes(&periods, true);
    let Outcome::Refused(refusals) = store.transact(writes).await.unwrap() else {
        panic!("the ledger counts yesterday");
    };
    match charge.verdict(&refusals, &mut periods).unwrap() {
        Verdict::Renew(renewals) => renewals,
        _ => panic!("a day began"),
    }
}

#[tokio::test]
async fn no_period_begins_under_settings_that_have_changed_since() {
    for node in ["tenant", "project:web"] {
        let World { store, .. } = world().await;
        let node = Node::try_from(node.to_owned()).unwrap();
        let old = onboarded(&store, &[(node.clone(), vec![usd(500)])]).await;
        let late = renewals(&store, &old, &node).await;
        let new = Tenant {
            revision: 2,
            ..account("acme", &[(node.clone(), vec![usd(100)])])
        };
        store.put_tenant(&new, Some(&old)).await.unwrap();
        store.renew_ledgers(late).await.unwrap();
        let ledger = store.ledger(&new, &node).await.unwrap().unwrap();
        let left = ledger.left[&(Period::Day, Unit::MicroUsd)];
        let today = Period::Day.number(NOW);
        assert_eq!(left, (today, 100), "{node}: others begin the day");
    }
}

#[tokio::test]
async fn a_period_that_has_begun_does_not_begin_again() {
    let World { store, .. } = world().await;
    let acme = onboarded(&store, &[(Node::Tenant, vec![usd(100)])]).await;
    let late = renewals(&store, &acme, &Node::Tenant).await;
    let tomorrow = NOW.plus_ms(DAY_MS);
    let (mut script, _) = begin(&store, &acme, 1, 90, (10, 10), tomorrow).await;
    let last = vec![step(1), answered(1, "42"), succeeded()];
    go_on(&store, &acme, &mut script, last, 10, tomorrow).await;
    store.renew_ledgers(late).await.unwrap();
    assert_eq!(parts(&store, &acme).await, (88, 0, 12));
}

#[tokio::test]
async fn a_ledger_can_be_read_by_who_does_not_know_that_a_budget_is_gone() {
    let World { store, .. } = world().await;
    let old = onboarded(&store, &[(Node::Tenant, vec![usd(100)])]).await;
    let new = Tenant {
        budgets: BTreeMap::new(),
        revision: 2,
        ..old.clone()
    };
    store.put_tenant(&new, Some(&old)).await.unwrap();
    assert_eq!(ledger(&store, &old).await, Ledger::default());
}

#[tokio::test]
async fn nobody_warns_of_a_period_that_is_over() {
    let World { store, .. } = world().await;
    let acme = onboarded(&store, &[(Node::Tenant, vec![usd(100)])]).await;
    let late = Warning {
        node: Node::Tenant,
        budget: usd(100),
        period: Period::Day.number(NOW) - 1,
        percent: 50,
        spent: 50,
    };
    assert!(!store.warn(&acme, &late, NOW).await.unwrap());
    assert_eq!(ledger(&store, &acme).await.warned, BTreeMap::new());
}

//! Checkpoints of audit trails: which trails wait for one, and that each is made once.

use domain::audit::{Checkpoint, EVERY_MS};
use futures_util::future::join_all;
use local::wire::{Fault, Rule};

use super::*;
use crate::item::{Set as _, keyed};
use crate::table::Write;
use crate::{Error, Key, Plan, Trail};

/// Adds a link of this instant to a trail.
async fn link(store: &Store, tenant: &TenantId, at: At) {
    let store = store.on_behalf_of("operator:1", at);
    // Agents of other names are other changes.
    let agent = AgentId::parse(&format!("a{}", at.0)).unwrap();
    let definition = serde_json::from_value(json!({"model": "local.echo"})).unwrap();
    store
        .put_agent(tenant, &agent, &definition, at)
        .await
        .unwrap();
}

/// The trails that wait at an instant, with when they were due.
async fn due(store: &Store, now: At) -> Vec<(String, At)> {
    let due = store.trails_due(now, 100).await.unwrap();
    due.into_iter()
        .map(|(tenant, at)| (tenant.to_string(), at))
        .collect()
}

/// The checkpoint of these entries, whose signature nobody looks at here.
async fn checkpoint(store: &Store, tenant: &TenantId, from: u64, to: u64) -> Checkpoint {
    let last = store
        .audit(tenant, to - 1, 1)
        .await
        .unwrap()
        .items
        .remove(0);
    Checkpoint {
        tenant: tenant.clone(),
        from,
        to,
        hash: last.hash,
        object: format!("tenants/{tenant}/audit/2023/11/{from:012}.jsonl"),
        sha256: "ab".repeat(32),
        at: NOW,
        key_id: "cd".repeat(32),
        public_key: "a key".to_owned(),
        signature: "a signature".to_owned(),
    }
}

async fn plan(store: &Store, tenant: &TenantId, from: u64, to: u64) -> Plan {
    let new = Plan { to, at: NOW };
    store.plan_checkpoint(tenant, from, new).await.unwrap()
}

#[tokio::test]
async fn a_trail_waits_from_its_first_entry_that_no_checkpoint_covers() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    assert_eq!(store.trail(&acme).await.unwrap(), None);
    link(&store, &acme, NOW).await;
    link(&store, &acme, NOW.plus_ms(1_000)).await;
    let hour = NOW.plus_ms(EVERY_MS);
    assert_eq!(due(&store, hour).await, []);
    let waits = [("acme".to_owned(), hour)];
    assert_eq!(due(&store, hour.plus_ms(1)).await, waits);

    plan(&store, &acme, 1, 2).await;
    link(&store, &acme, NOW.plus_ms(2_000)).await;
    let first = checkpoint(&store, &acme, 1, 2).await;
    assert!(store.put_checkpoint(&first).await.unwrap());
    let third = hour.plus_ms(2_000);
    assert_eq!(
        due(&store, third).await,
        [],
        "the third one waits since it came"
    );
    let waits = [("acme".to_owned(), third)];
    assert_eq!(due(&store, third.plus_ms(1)).await, waits);

    plan(&store, &acme, 3, 3).await;
    let second = checkpoint(&store, &acme, 3, 3).await;
    assert!(store.put_checkpoint(&second).await.unwrap());
    let ages = hour.plus_ms(1_000 * EVERY_MS);
    assert_eq!(
        due(&store, ages).await,
        [],
        "where nothing moves, nobody looks"
    );
    link(&store, &acme, NOW.plus_ms(9 * EVERY_MS)).await;
    assert_eq!(due(&store, ages).await.len(), 1);
    let trail = Trail {
        number: 4,
        covered: 3,
    };
    assert_eq!(store.trail(&acme).await.unwrap(), Some(trail));
    let kept = store.checkpoints(&acme, 0, 100).await.unwrap();
    assert_eq!(kept.items, [first, second]);
    let evil = store.checkpoints(&tenant("evil"), 0, 100).await.unwrap();
    assert_eq!(evil.items, []);
}

#[tokio::test]
async fn the_first_plan_holds_and_is_no_checkpoint_yet() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    link(&store, &acme, NOW).await;
    link(&store, &acme, NOW.plus_ms(1)).await;
    assert_eq!(store.planned_checkpoint(&acme, 1).await.unwrap(), None);
    let first = plan(&store, &acme, 1, 1).await;
    let other = Plan {
        to: 2,
        at: NOW.plus_ms(5),
    };
    let again = store.plan_checkpoint(&acme, 1, other).await.unwrap();
    assert_eq!(again, first);
    let found = store.planned_checkpoint(&acme, 1).await.unwrap();
    assert_eq!(found, Some(first));
    assert_eq!(store.checkpoints(&acme, 0, 100).await.unwrap().items, []);
}

#[tokio::test]
async fn a_checkpoint_is_stored_once_and_as_it_was_planned() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    for n in 0..3 {
        link(&store, &acme, NOW.plus_ms(n)).await;
    }
    let first = checkpoint(&store, &acme, 1, 2).await;
    let unplanned = store.put_checkpoint(&first).await;
    assert!(matches!(unplanned, Err(Error::Raced)), "{unplanned:?}");
    plan(&store, &acme, 1, 2).await;
    let longer = checkpoint(&store, &acme, 1, 3).await;
    let otherwise = store.put_checkpoint(&longer).await;
    assert!(matches!(otherwise, Err(Error::Raced)), "{otherwise:?}");
    plan(&store, &acme, 3, 3).await;
    let second = checkpoint(&store, &acme, 3, 3).await;
    let early = store.put_checkpoint(&second).await;
    assert!(matches!(early, Err(Error::Raced)), "{early:?}");

    assert!(store.put_checkpoint(&first).await.unwrap());
    let mut forged = first.clone();
    forged.signature = "another signature".to_owned();
    assert!(!store.put_checkpoint(&forged).await.unwrap());
    assert!(store.put_checkpoint(&second).await.unwrap());
    let kept = store.checkpoints(&acme, 0, 1).await.unwrap();
    assert_eq!(
        (&kept.items, kept.next.as_deref()),
        (&vec![first], Some("2"))
    );
    let kept = store.checkpoints(&acme, 2, 1).await.unwrap();
    assert_eq!(kept.items, [second]);
}

#[tokio::test]
async fn changes_and_checkpoints_at_once_lose_neither() {
    let World { store, faults, .. } = world().await;
    let acme = tenant("acme");
    link(&store, &acme, NOW).await;
    plan(&store, &acme, 1, 1).await;
    let first = checkpoint(&store, &acme, 1, 1).await;
    faults.add(Rule::new(Fault::LoseResponse).with_probability(0.2, 5));
    let storing = (0..4).map(|_| async {
        while let Err(error) = store.put_checkpoint(&first).await {
            assert!(
                error.is_transient() || matches!(error, Error::Raced),
                "{error:?}"
            );
        }
    });
    let changing = (1..6).map(|n| {
        let at = NOW.plus_ms(n);
        let store = store.on_behalf_of("operator:1", at);
        let agent = AgentId::parse(&format!("b{n}")).unwrap();
        let definition = serde_json::from_value(json!({"model": "local.echo"})).unwrap();
        let acme = &acme;
        async move {
            while let Err(error) = store.put_agent(acme, &agent, &definition, at).await {
                assert!(
                    error.is_transient() || matches!(error, Error::Raced),
                    "{error:?}"
                );
            }
        }
    });
    tokio::join!(join_all(storing), join_all(changing));
    faults.clear();
    let trail = store.trail(&acme).await.unwrap().unwrap();
    assert_eq!(trail.covered, 1);
    assert!(trail.number >= 6, "{trail:?}");
    assert_eq!(due(&store, NOW.plus_ms(2 * EVERY_MS)).await.len(), 1);
    assert_eq!(
        store.checkpoints(&acme, 0, 100).await.unwrap().items,
        [first]
    );
}

#[tokio::test]
async fn a_trail_that_is_older_than_checkpoints_waits_from_its_next_entry_on() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    link(&store, &acme, NOW).await;
    let entry = store.audit(&acme, 0, 1).await.unwrap().items.remove(0);
    let mut tip = keyed(Key::audit_tip(&acme), 2);
    tip.set_number("tip_number", 1);
    tip.set_text("tip_hash", &entry.hash);
    store.put(Write::new(tip, None)).await.unwrap();
    let ages = NOW.plus_ms(1_000 * EVERY_MS);
    assert_eq!(due(&store, ages).await, []);
    link(&store, &acme, NOW.plus_ms(7)).await;
    assert_eq!(due(&store, ages).await.len(), 1);
    let trail = store.trail(&acme).await.unwrap().unwrap();
    assert_eq!((trail.number, trail.covered), (2, 0));
}

#[tokio::test]
async fn a_trail_that_is_put_off_waits_until_then() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    link(&store, &acme, NOW).await;
    let (hour, later) = (NOW.plus_ms(EVERY_MS), NOW.plus_ms(5 * EVERY_MS));
    let outdated = NOW.plus_ms(1);
    store.postpone_trail(&acme, outdated, later).await.unwrap();
    assert_eq!(due(&store, later).await, [("acme".to_owned(), hour)]);
    store.postpone_trail(&acme, hour, later).await.unwrap();
    assert_eq!(due(&store, later).await, []);
    let waits = [("acme".to_owned(), later)];
    assert_eq!(due(&store, later.plus_ms(1)).await, waits);
}

#[tokio::test]
async fn of_many_that_store_a_checkpoint_at_once_one_does() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    link(&store, &acme, NOW).await;
    link(&store, &acme, NOW.plus_ms(1)).await;
    plan(&store, &acme, 1, 1).await;
    let first = checkpoint(&store, &acme, 1, 1).await;
    let versions: Vec<Checkpoint> = (0..6)
        .map(|n| Checkpoint {
            signature: format!("signature {n}"),
            ..first.clone()
        })
        .collect();
    let storing = versions.iter().map(|version| store.put_checkpoint(version));
    let stored = join_all(storing).await;
    let stored: Vec<bool> = stored.into_iter().map(Result::unwrap).collect();
    let place = stored.iter().position(|stored| *stored).unwrap();
    assert_eq!(stored.iter().filter(|stored| **stored).count(), 1);
    let kept = store.checkpoints(&acme, 0, 10).await.unwrap().items;
    assert_eq!(kept, [versions[place].clone()]);
}

#[tokio::test]
async fn an_entry_that_comes_while_a_checkpoint_is_stored_waits_for_the_next() {
    let World { store, faults, .. } = world().await;
    let acme = tenant("acme");
    link(&store, &acme, NOW).await;
    plan(&store, &acme, 1, 1).await;
    let first = checkpoint(&store, &acme, 1, 1).await;
    let slow = Rule::new(Fault::Delay(Duration::from_millis(200)));
    let slow = slow.on("TransactWriteItems").containing("CHECK#");
    faults.add(slow.first(1));
    let later = NOW.plus_ms(5);
    let storing = store.put_checkpoint(&first);
    let (stored, ()) = tokio::join!(storing, link(&store, &acme, later));
    assert!(stored.unwrap());
    let waits = [("acme".to_owned(), later.plus_ms(EVERY_MS))];
    assert_eq!(due(&store, NOW.plus_ms(9 * EVERY_MS)).await, waits);
}

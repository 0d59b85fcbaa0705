//! Conditions that guard what other conditions guard as well, each on its own: writes that come late, and items that are
//! not as they should be.

use domain::budget::{Denial, Entry, Node};
use domain::tenant::Tenant;

use super::interleavings::wire::Ticket;
use super::interleavings::{Stand, stand};
use super::ledgers::{account, money, usd};
use super::*;
use crate::item::{Item, Read as _, Set as _, keyed};
use crate::table::Write;
use crate::{Charge, Error, Key, Written};

/// The transaction of a call that gets no further: it is done when the test has it done.
async fn late<T>(stand: &Stand, call: impl Future<Output = T>) -> Ticket {
    let (wire, mut call) = (&stand.wire, Box::pin(call));
    loop {
        wire.step(0, call.as_mut()).await;
        let ticket = wire.take(0).expect("it asks for something");
        if ticket.operation == "TransactWriteItems" {
            return ticket;
        }
        let answer = ticket.pass().await;
        ticket.answer(answer);
    }
}

async fn is_refused(ticket: &Ticket) -> bool {
    !ticket.pass().await.status().is_success()
}

async fn remove(store: &Store, key: Key) {
    store.transact(vec![Write::delete(key)]).await.unwrap();
}

async fn put(store: &Store, item: Item) {
    store.put(Write::new(item, None)).await.unwrap();
}

fn agent(system: &str) -> domain::agent::Agent {
    serde_json::from_value(json!({"model": "local.echo", "system": system})).unwrap()
}

#[tokio::test]
async fn a_creation_leaves_a_commit_that_stands_there_without_a_head() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut there = Script::new(&acme, &run);
    let commit = there.next(None, vec![created("clerk", NOW)]);
    store.append(&acme, &run, &commit, None).await.unwrap();
    let mut other = Script::new(&acme, &run);
    let another = other.next(None, vec![created("other", NOW)]);
    let raced = store.create(&acme, &other.head(), &another).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    assert_eq!(
        store.commits(&acme, &run, 1, 10).await.unwrap(),
        [commit],
        "it is the first one"
    );
}

#[tokio::test]
async fn nobody_begins_while_others_wait_though_there_is_room() {
    let World { store, .. } = world().await;
    let acme = account("acme", &[]);
    store.put_tenant(&acme, None).await.unwrap();
    let begin = async |n, grant, most| ledgers::begin(&store, &acme, n, grant, most, NOW).await.1;
    assert_eq!(begin(1, 5, (1, 2)).await, Creation::New);
    assert_eq!(begin(2, 0, (1, 2)).await, Creation::New, "it waits");
    let denied = begin(3, 5, (5, 2)).await;
    assert_eq!(denied, Creation::Denied(Denial::Full));
}

#[tokio::test]
async fn a_charge_to_a_node_that_has_no_ledger_is_stale() {
    let World { store, .. } = world().await;
    let acme = account("acme", &[]);
    store.put_tenant(&acme, None).await.unwrap();
    let run = run(1);
    let mut script = Script::created(&store, &acme.id, &run).await;
    let nodes = [Node::try_from("project:web".to_owned()).unwrap()];
    let charge = Charge {
        tenant: &acme,
        most: (10, 10),
        nodes: &nodes,
        entry: Entry {
            reserve: money(1),
            ..Entry::default()
        },
        at: NOW,
        definitions: None,
        line: false,
    };
    let commit = script.next(None, vec![step(1)]);
    let written = store.append_charged(&acme.id, &run, &commit, None, Some(&charge), None);
    assert_eq!(written.await.unwrap(), Written::Stale);
}

#[tokio::test]
async fn tenants_and_their_ledgers_are_stored_together_or_not_at_all() {
    let World { store, .. } = world().await;
    let first = account("acme", &[(Node::Tenant, vec![usd(100)])]);
    let other = Tenant {
        name: "else".to_owned(),
        ..first.clone()
    };
    store.put_tenant(&first, None).await.unwrap();
    store.put_tenant(&first, None).await.unwrap();
    let ledger = Key::ledger(&first.id, &Node::Tenant);

    let refused = async |new: &Tenant, old: Option<&Tenant>| {
        let raced = store.put_tenant(new, old).await;
        assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    };
    let mut strange = store.get(ledger.clone(), true).await.unwrap().unwrap();
    strange.set_number("tenant_revision", 7);
    put(&store, strange).await;
    let changed = Tenant {
        revision: 2,
        ..other.clone()
    };
    refused(&changed, Some(&first)).await;
    remove(&store, Key::tenant(&first.id, 0)).await;
    refused(&other, None).await;
    assert_eq!(store.tenant(&first.id).await.unwrap(), None);
}

#[tokio::test]
async fn a_tenant_is_not_onboarded_where_one_is_though_its_ledger_be_lost() {
    let World { store, .. } = world().await;
    let first = account("acme", &[]);
    store.put_tenant(&first, None).await.unwrap();
    remove(&store, Key::ledger(&first.id, &Node::Tenant)).await;
    let other = Tenant {
        name: "else".to_owned(),
        ..first.clone()
    };
    let raced = store.put_tenant(&other, None).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    assert_eq!(store.tenant(&first.id).await.unwrap(), Some(first));
}

#[tokio::test]
async fn a_change_whose_link_comes_late_is_refused_though_the_links_be_archived() {
    let stand = stand().await;
    let (store, acme) = (&stand.store, tenant("acme"));
    let keyed = |n: u8| ApiKey {
        id: KeyId::parse(&format!("k{n}")).unwrap(),
        ..api_key("4f9a", &acme)
    };
    for n in 1..=2 {
        let late = late(&stand, store.put_key(&keyed(n))).await;
        store.put_key(&keyed(n + 10)).await.unwrap();
        remove(store, Key::audit(&acme, n.into())).await;
        assert!(is_refused(&late).await, "link {n}");
        assert_eq!(store.key(&keyed(n).id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_link_is_never_written_over_though_the_tip_be_set_back() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    store.put_key(&api_key("4f9a", &acme)).await.unwrap();
    let tip = Key::audit_tip(&acme);
    let first = store.get(tip.clone(), true).await.unwrap().unwrap();
    let mut changed = api_key("4f9a", &acme);
    changed.label = "second".to_owned();
    store.put_key(&changed).await.unwrap();
    let before = store.audit(&acme, 0, 10).await.unwrap().items;
    put(&store, first).await;
    changed.label = "third".to_owned();
    let refused = store.put_key(&changed).await.unwrap_err();
    assert!(refused.is_transient(), "{refused:?}");
    let after = store.audit(&acme, 0, 10).await.unwrap().items;
    assert_eq!(after, before);
}

#[tokio::test]
async fn versions_and_pointers_of_agents_are_kept_from_late_writers() {
    let stand = stand().await;
    let (store, acme) = (&stand.store, tenant("acme"));
    let id = AgentId::parse("clerk").unwrap();
    let store_as = async |text: &str| store.put_agent(&acme, &id, &agent(text), NOW).await;
    let latest = async || store.agent(&acme, &id).await.unwrap().unwrap();
    // The audit trail would refuse all of them as well, so it begins anew.
    let forget = async || {
        let tip = Key::audit_tip(&acme);
        let item = store.get(tip.clone(), true).await.unwrap().unwrap();
        let number = item.number("tip_number").unwrap();
        for number in 1..=number {
            remove(store, Key::audit(&acme, number)).await;
        }
        remove(store, tip).await;
    };

    let creation = late(&stand, store.put_agent(&acme, &id, &agent("late"), NOW)).await;
    store_as("one").await.unwrap();
    forget().await;
    remove(store, Key::agent_version(&acme, &id, 1)).await;
    assert!(is_refused(&creation).await, "there is a pointer");

    let archive = late(&stand, store.archive_agent(&acme, &id, NOW)).await;
    let tip_before = store.get(Key::audit_tip(&acme), true).await.unwrap();
    store_as("two").await.unwrap();
    forget().await;
    assert_eq!(tip_before, None);
    assert!(is_refused(&archive).await, "the pointer has moved on");
    assert_eq!(latest().await.0.latest, 2);

    let mut strange: Item = keyed(Key::agent_version(&acme, &id, 3), 2);
    strange.set_number("created_at", 7);
    strange.set_text("definition", crate::item::to_json(&agent("kept")));
    put(store, strange).await;
    let raced = store_as("three").await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    let kept = store.agent_version(&acme, &id, 3).await.unwrap().unwrap();
    assert_eq!(kept.definition, agent("kept"));
}

#[tokio::test]
async fn a_key_is_revoked_by_its_tenant_alone_and_for_ever() {
    let World { store, .. } = world().await;
    let key = api_key("4f9a", &tenant("acme"));
    store.put_key(&key).await.unwrap();
    let revoked = ApiKey {
        revoked_at: Some(NOW),
        ..key.clone()
    };
    let foreign = ApiKey {
        tenant: tenant("evil"),
        ..revoked.clone()
    };
    let raced = store.put_key(&foreign).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    store.put_key(&revoked).await.unwrap();
    let raced = store.put_key(&key).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    let found = store.key(&key.id).await.unwrap().unwrap();
    assert_eq!((found.tenant, found.revoked_at), (key.tenant, Some(NOW)));
}

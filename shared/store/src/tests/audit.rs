//! The audit trail: no change without its link, no link without its change.

use domain::audit::{Entry, Verifier};
use domain::tenant::{Standing, Tenant};
use futures_util::future::join_all;
use local::wire::{Fault, Rule};

use super::*;
use crate::item::Read as _;
use crate::{Error, Refused};

async fn chain(store: &Store, tenant: &TenantId) -> Vec<Entry> {
    let (mut entries, mut next) = (Vec::new(), Some("0".to_owned()));
    while let Some(after) = next {
        let page = store.audit(tenant, after.parse().unwrap(), 7).await;
        let page = page.unwrap();
        entries.extend(page.items);
        next = page.next;
    }
    let mut verifier = Verifier::default();
    for entry in &entries {
        verifier.take(entry).unwrap();
    }
    entries
}

fn acts(entries: &[Entry]) -> Vec<(&str, &str, &str)> {
    let told = entries.iter().map(|entry| &entry.change);
    told.map(|change| (&*change.by, &*change.action, &*change.subject))
        .collect()
}

fn key(id: &str, tenant: &TenantId) -> ApiKey {
    ApiKey {
        hash: "a-hash-that-nobody-may-see".to_owned(),
        ..api_key(id, tenant)
    }
}

#[tokio::test]
async fn every_change_is_told_with_who_made_it() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    let operator = store.on_behalf_of("operator:1", NOW.plus_ms(5));
    let old = Tenant::new(acme.clone(), "Acme", "free", NOW);
    operator.put_tenant(&old, None).await.unwrap();
    let mut new = old.clone();
    new.revision += 1;
    new.standing = Standing::Suspended;
    operator.put_tenant(&new, Some(&old)).await.unwrap();
    let mut stored = key("4f9a", &acme);
    operator.put_key(&stored).await.unwrap();
    stored.revoked_at = Some(NOW);
    store.put_key(&stored).await.unwrap();
    let user = store.on_behalf_of("key:4f9a", NOW.plus_ms(9));
    let agent = AgentId::parse("a").unwrap();
    let definition = serde_json::from_value(json!({"model": "local.echo"})).unwrap();
    for _ in 0..2 {
        user.put_agent(&acme, &agent, &definition, NOW)
            .await
            .unwrap();
        user.archive_agent(&acme, &agent, NOW).await.unwrap();
        user.archive_agent(&acme, &agent, NOW).await.unwrap();
    }

    let entries = chain(&store, &acme).await;
    assert_eq!(
        acts(&entries),
        [
            ("operator:1", "tenant.created", "tenant"),
            ("operator:1", "tenant.changed", "tenant"),
            ("operator:1", "key.stored", "key:4f9a"),
            ("platform", "key.revoked", "key:4f9a"),
            ("key:4f9a", "agent.stored", "agent:a"),
            ("key:4f9a", "agent.archived", "agent:a"),
            ("key:4f9a", "agent.stored", "agent:a"),
            ("key:4f9a", "agent.archived", "agent:a"),
        ],
        "what changes nothing is not told"
    );
    assert_eq!(entries[1].change.state["standing"], "suspended");
    assert_eq!(entries[4].change.at, NOW.plus_ms(9));
    let text = serde_json::to_string(&entries).unwrap();
    assert!(!text.contains("nobody-may-see"));
    assert_eq!(chain(&store, &tenant("evil")).await, []);
}

#[tokio::test]
async fn what_is_refused_is_not_told() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    let first = Tenant::new(acme.clone(), "Acme", "free", NOW);
    store.put_tenant(&first, None).await.unwrap();
    let other = Tenant::new(acme.clone(), "Another", "free", NOW);
    let raced = store.put_tenant(&other, None).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    store.put_key(&key("4f9a", &acme)).await.unwrap();
    let stolen = store.put_key(&key("4f9a", &tenant("evil"))).await;
    assert!(matches!(stolen, Err(Error::Raced)), "{stolen:?}");
    assert_eq!(chain(&store, &acme).await.len(), 2);
    assert_eq!(chain(&store, &tenant("evil")).await, []);
}

#[tokio::test]
async fn changes_at_once_and_lost_answers_make_one_chain() {
    let World { store, faults, .. } = world().await;
    let acme = tenant("acme");
    faults.add(Rule::new(Fault::LoseResponse).with_probability(0.2, 1));
    faults.add(Rule::new(Fault::Throttle).with_probability(0.1, 2));
    let ids: Vec<String> = (0..12).map(|n| format!("a{n}")).collect();
    let writers = ids.iter().map(|id| {
        let (store, key) = (&store, key(id, &acme));
        async move {
            while let Err(error) = store.put_key(&key).await {
                assert!(error.is_transient(), "{error:?}");
            }
        }
    });
    join_all(writers).await;
    faults.clear();
    let entries = chain(&store, &acme).await;
    for id in &ids {
        let told = entries
            .iter()
            .filter(|entry| entry.change.subject == format!("key:{id}"));
        assert!(told.count() >= 1, "{id}");
    }
}

#[tokio::test]
async fn a_page_that_is_cut_by_its_bytes_says_where_to_go_on() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    for n in 0..5 {
        let mut large = key(&format!("a{n}"), &acme);
        large.label = "x".repeat(300_000);
        store.put_key(&large).await.unwrap();
    }
    let first = store.audit(&acme, 0, 100).await.unwrap();
    assert!(
        first.items.len() < 5 && first.next.is_some(),
        "1 MB is a page"
    );
    assert_eq!(chain(&store, &acme).await.len(), 5);
}

fn refused<'a>(tenant: &'a TenantId, key: &'a KeyId, code: &'a str, at: At) -> Refused<'a> {
    Refused {
        tenant,
        key,
        code,
        request: "GET /v1/runs/{run}",
        state: json!({ "code": code }),
        at,
    }
}

#[tokio::test]
async fn refusals_are_told_once_a_minute_for_each_key_and_reason_by_however_many_processes() {
    let World { store, faults, .. } = world().await;
    let (acme, evil) = (tenant("acme"), tenant("evil"));
    let keys = ["a1", "b2"].map(|id| KeyId::parse(id).unwrap());
    let minute = |n: u64| At((28_000_000 + n) * 60_000);
    faults.add(Rule::new(Fault::LoseResponse).with_probability(0.2, 3));
    faults.add(Rule::new(Fault::Throttle).with_probability(0.1, 4));
    for at in [minute(0), minute(1).plus_ms(59_999), minute(2)] {
        for key in &keys {
            for code in ["not_found", "scope_missing"] {
                let at_once = (0..6).map(|_| async {
                    let asked = refused(&acme, key, code, at);
                    let store = store.on_behalf_of(&format!("key:{key}"), at);
                    let told = store.tell_refusal(&asked).await;
                    assert!(
                        told.as_ref().err().is_none_or(Error::is_transient),
                        "{told:?}"
                    );
                });
                join_all(at_once).await;
            }
        }
    }
    faults.clear();
    let mut told: Vec<_> = chain(&store, &acme)
        .await
        .into_iter()
        .map(|entry| entry.change)
        .map(|change| (change.at.0 / 60_000, change.by, change.state.to_string()))
        .collect();
    let all = told.len();
    assert!((8..=12).contains(&all), "nearly all are told: {all}");
    told.sort();
    told.dedup();
    assert_eq!(told.len(), all, "none is told twice");
    assert_eq!(chain(&store, &evil).await, []);

    let of_evil = refused(&evil, &keys[0], "not_found", minute(0));
    assert!(store.tell_refusal(&of_evil).await.unwrap());
    assert!(!store.tell_refusal(&of_evil).await.unwrap());
    assert_eq!(chain(&store, &evil).await.len(), 1);
}

#[tokio::test]
async fn the_note_of_a_refusal_goes_by_itself() {
    let World { store, .. } = world().await;
    let (acme, key) = (tenant("acme"), KeyId::parse("a1").unwrap());
    let at = At(28_000_000 * 60_000);
    let asked = refused(&acme, &key, "not_found", at);
    assert!(store.tell_refusal(&asked).await.unwrap());
    let note = crate::Key::refused(&acme, &key, "not_found", 28_000_000);
    let note = store.get(note, true).await.unwrap().unwrap();
    assert_eq!(note.find_number("ttl"), Some(28_000_001 * 60 + 3_600));
}

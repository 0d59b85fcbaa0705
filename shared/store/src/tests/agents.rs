use domain::agent::Agent;
use local::wire::{Fault, Rule};

use domain::gate::AtGate;

use super::*;
use crate::{Error, Page};

fn agent(system: &str) -> Agent {
    serde_json::from_value(json!({"model": "local.echo", "system": system})).unwrap()
}

fn id(id: &str) -> AgentId {
    AgentId::parse(id).unwrap()
}

#[tokio::test]
async fn every_change_is_a_version_and_no_change_is_none() {
    let World { store, .. } = world().await;
    let (acme, clerk) = (tenant("acme"), id("clerk"));
    let put = |text: &'static str, at| {
        let (store, acme, clerk) = (&store, &acme, &clerk);
        async move {
            store
                .put_agent(acme, clerk, &agent(text), at)
                .await
                .unwrap()
        }
    };
    assert_eq!(put("one", NOW).await.version, 1);
    assert_eq!(put("one", NOW.plus_ms(1)).await.version, 1);
    assert_eq!(put("two", NOW.plus_ms(2)).await.version, 2);
    assert_eq!(put("one", NOW.plus_ms(3)).await.version, 3);
    let (head, latest) = store.agent(&acme, &clerk).await.unwrap().unwrap();
    assert_eq!((head.latest, head.created_at), (3, NOW));
    assert_eq!(latest.definition, agent("one"));
    let second = store
        .agent_version(&acme, &clerk, 2)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(second.definition, agent("two"));
    assert_eq!(second.created_at, NOW.plus_ms(2));
    assert_eq!(store.agent_version(&acme, &clerk, 4).await.unwrap(), None);
    let evil = tenant("evil");
    assert_eq!(store.agent(&evil, &clerk).await.unwrap(), None);
    assert_eq!(store.agent_version(&evil, &clerk, 1).await.unwrap(), None);

    let page = store
        .agent_versions(&acme, &clerk, 2, None, NOW)
        .await
        .unwrap();
    let numbers = |page: &Page<crate::AgentVersion>| -> Vec<u32> {
        page.items.iter().map(|version| version.version).collect()
    };
    assert_eq!(numbers(&page), [3, 2]);
    let page = store
        .agent_versions(&acme, &clerk, 2, page.next.as_deref(), NOW)
        .await
        .unwrap();
    assert_eq!(numbers(&page), [1]);
    assert_eq!(page.next, None);
}

#[tokio::test]
async fn a_version_is_read_once_and_the_pointer_each_time() {
    let World { store, .. } = world().await;
    let (acme, clerk) = (tenant("acme"), id("clerk"));
    store
        .put_agent(&acme, &clerk, &agent("one"), NOW)
        .await
        .unwrap();
    let before = store.consumed().reads;
    for _ in 0..3 {
        store
            .agent_version(&acme, &clerk, 1)
            .await
            .unwrap()
            .unwrap();
    }
    assert_eq!(store.consumed().reads, before);
    store.agent(&acme, &clerk).await.unwrap().unwrap();
    assert_eq!(store.consumed().reads, before + 1);
}

#[tokio::test]
async fn two_writers_of_one_agent_make_two_versions() {
    let World { store, .. } = world().await;
    let (acme, clerk) = (tenant("acme"), id("clerk"));
    let (one, two) = (agent("one"), agent("two"));
    let (a, b) = tokio::join!(
        store.put_agent(&acme, &clerk, &one, NOW),
        store.put_agent(&acme, &clerk, &two, NOW),
    );
    let mut versions = [a.unwrap().version, b.unwrap().version];
    versions.sort_unstable();
    assert_eq!(versions, [1, 2]);
}

#[tokio::test]
async fn a_version_whose_answer_was_lost_is_stored_once() {
    let World { store, faults, .. } = world().await;
    let (acme, clerk) = (tenant("acme"), id("clerk"));
    faults.add(
        Rule::new(Fault::LoseResponse)
            .on("TransactWriteItems")
            .nth(1),
    );
    let version = store
        .put_agent(&acme, &clerk, &agent("one"), NOW)
        .await
        .unwrap();
    assert_eq!((version.version, faults.struck()), (1, 1));
    let (head, _) = store.agent(&acme, &clerk).await.unwrap().unwrap();
    assert_eq!(head.latest, 1);
}

#[tokio::test]
async fn an_archived_agent_leaves_the_list_and_comes_back_when_stored() {
    let World { store, .. } = world().await;
    let acme = tenant("acme");
    for name in ["a", "b", "c"] {
        store
            .put_agent(&acme, &id(name), &agent(name), NOW)
            .await
            .unwrap();
    }
    assert!(store.archive_agent(&acme, &id("b"), NOW).await.unwrap());
    assert!(
        store
            .archive_agent(&acme, &id("b"), NOW.plus_ms(5))
            .await
            .unwrap()
    );
    assert!(!store.archive_agent(&acme, &id("z"), NOW).await.unwrap());
    assert_eq!(listed(&store, &acme).await, ["a", "c"]);
    assert!(listed(&store, &tenant("evil")).await.is_empty());
    let (head, _) = store.agent(&acme, &id("b")).await.unwrap().unwrap();
    assert_eq!(head.archived_at, Some(NOW));
    let back = store
        .put_agent(&acme, &id("b"), &agent("b"), NOW)
        .await
        .unwrap();
    assert_eq!(back.version, 1);
    assert_eq!(listed(&store, &acme).await, ["a", "b", "c"]);
}

/// A tenant's agents, read one a page.
async fn listed(store: &Store, tenant: &TenantId) -> Vec<String> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let page = store
            .agents(tenant, 1, cursor.as_deref(), NOW)
            .await
            .unwrap();
        ids.extend(page.items.into_iter().map(|head| head.id.to_string()));
        match page.next {
            Some(next) => cursor = Some(next),
            None => return ids,
        }
    }
}

#[tokio::test]
async fn a_key_is_found_by_its_id_and_belongs_to_one_tenant() {
    let World { store, .. } = world().await;
    let id = |text: &str| KeyId::parse(text).unwrap();
    let key = ApiKey {
        id: id("4f9a"),
        tenant: tenant("acme"),
        project: None,
        hash: "ab".repeat(32),
        scopes: vec!["runs:read".to_owned(), "runs:write".to_owned()],
        label: "the one on the wall".to_owned(),
        created_at: NOW,
        expires_at: Some(NOW.plus_ms(1)),
        revoked_at: None,
        last_used_at: None,
        gate: None,
    };
    store.put_key(&key).await.unwrap();
    assert_eq!(store.key(&id("4f9a")).await.unwrap(), Some(key.clone()));
    assert_eq!(store.key(&id("4f9b")).await.unwrap(), None);
    let revoked = ApiKey {
        revoked_at: Some(NOW),
        ..key.clone()
    };
    store.put_key(&revoked).await.unwrap();
    store
        .key_used(&tenant("acme"), &id("4f9a"), NOW.plus_ms(5))
        .await
        .unwrap();
    let found = store.key(&id("4f9a")).await.unwrap().unwrap();
    assert_eq!(found.revoked_at, Some(NOW));
    assert_eq!(found.last_used_at, Some(NOW.plus_ms(5)));
    let listed = store.keys(&tenant("acme"), 10, None, NOW).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    assert_eq!(listed.items[0].hash, "");
    let others = store.keys(&tenant("evil"), 10, None, NOW).await.unwrap();
    assert!(others.items.is_empty());
    let stolen = ApiKey {
        tenant: tenant("evil"),
        ..key
    };
    assert!(matches!(store.put_key(&stolen).await, Err(Error::Raced)));
    store
        .key_used(&tenant("acme"), &id("4f9b"), NOW)
        .await
        .unwrap();
    assert_eq!(
        store.key(&id("4f9b")).await.unwrap(),
        None,
        "no use makes a key"
    );
}

#[tokio::test]
async fn what_api_gateway_has_of_a_key_is_noted_by_whoever_knows_what_was_noted() {
    let World { store, .. } = world().await;
    let id = |id: &str| KeyId::parse(id).unwrap();
    let at = |plan: &str, is_ready| AtGate {
        plan: plan.to_owned(),
        is_ready,
    };
    let (making, ready, moved) = (at("free", false), at("free", true), at("business", false));
    let missing = store.key_at_gate(&id("4f9a"), None, Some(&making)).await;
    assert!(!missing.unwrap(), "no note makes a key");
    let key = ApiKey {
        gate: Some(making.clone()),
        ..api_key("4f9a", &tenant("acme"))
    };
    store.put_key(&key).await.unwrap();
    let steps = [
        (None, Some(&making), false),
        (Some(&ready), Some(&moved), false),
        (Some(&moved), None, false),
        (Some(&making), Some(&ready), true),
        (Some(&making), Some(&ready), false),
        (Some(&ready), None, true),
        (Some(&ready), None, false),
        (None, Some(&moved), true),
    ];
    for (from, to, is_noted) in steps {
        let noted = store.key_at_gate(&id("4f9a"), from, to).await.unwrap();
        assert_eq!(noted, is_noted, "{from:?} to {to:?}");
    }
    let found = store.key(&id("4f9a")).await.unwrap().unwrap();
    let expected = ApiKey {
        gate: Some(moved),
        ..key
    };
    assert_eq!(found, expected, "nothing else changes");
    let acme = tenant("acme");
    assert_eq!(store.audit(&acme, 0, 9).await.unwrap().items.len(), 1);
}

//! Finding, exporting and deleting what one tenant has.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use domain::closing::{Closing, Counts, Phase, Place};
use domain::tenant::{Standing, Tenant};

use super::*;
use crate::Error;
use crate::item::Item;

/// A tenant with a key, an agent, and a run, one commit of which stands in the bucket.
async fn onboard(store: &Store, id: &str) -> Tenant {
    let settings = Tenant::new(tenant(id), id, "business", NOW);
    store.put_tenant(&settings, None).await.unwrap();
    let key = api_key(&id.replace('-', ""), &tenant(id));
    store.put_key(&key).await.unwrap();
    let agent = serde_json::from_value(json!({"model": "local.echo"})).unwrap();
    let clerk = AgentId::parse("clerk").unwrap();
    store
        .put_agent(&tenant(id), &clerk, &agent, NOW)
        .await
        .unwrap();
    let mut script = Script::created(store, &tenant(id), &run(1)).await;
    let large = answered(1, &id.repeat(70_000));
    script.append(store, vec![step(1), large]).await;
    script.append(store, vec![succeeded()]).await;
    settings
}

/// The tenant as it is closed, its closing at the beginning of the first pass.
async fn closed(store: &Store, old: &Tenant) -> Closing {
    let mut new = old.clone();
    new.standing = Standing::Closing;
    new.revision += 1;
    let closing = Closing::new(old, "operator:1", NOW);
    store.close_tenant(&new, old, &closing).await.unwrap();
    let reading = closing.drained(NOW).begin_pass().held(NOW);
    store.put_closing(&reading, None).await.unwrap();
    reading
}

/// Reads on to the end of the pass.
async fn pass(store: &Store, mut closing: Closing) -> Closing {
    let mut place = Place::Table(None);
    loop {
        let found = store.holdings(&closing.tenant, &place).await.unwrap();
        place = found.next.clone();
        let part = store.export(&closing, found).await.unwrap();
        closing = closing.read_on(part.as_ref(), place.clone()).held(NOW);
        store.put_closing(&closing, part.as_ref()).await.unwrap();
        if place == Place::End {
            return closing;
        }
    }
}

async fn empty(store: &Store, mut closing: Closing) -> Closing {
    while closing.emptied < closing.parts {
        let number = closing.emptied + 1;
        let deleted = store.empty_part(&closing, number).await.unwrap();
        closing = closing.emptied_part(deleted, NOW).held(NOW);
        store.put_closing(&closing, None).await.unwrap();
    }
    closing
}

/// Everything in the table that belongs to none of this tenant's ids, by key.
async fn others(store: &Store, id: &str) -> BTreeMap<String, Item> {
    let scanned = store.access.table.scan().table_name("skein").send();
    let items = scanned.await.unwrap().items.unwrap();
    let text = |item: &Item, name: &str| match item.get(name) {
        Some(AttributeValue::S(text)) => text.clone(),
        _ => String::new(),
    };
    items
        .into_iter()
        .map(|item| (format!("{} {}", text(&item, "pk"), text(&item, "sk")), item))
        .filter(|(key, item)| {
            !key.starts_with(&format!("T#{id} "))
                && !key.starts_with(&format!("T#{id}#"))
                && !key.starts_with(&format!("CLOSED#{id} "))
                && text(item, "tenant") != id
        })
        .collect()
}

async fn objects(store: &Store, prefix: &str) -> Vec<String> {
    store
        .access
        .bucket
        .keys(prefix, None, 1_000)
        .await
        .unwrap()
        .0
}

#[tokio::test]
async fn everything_of_a_tenant_goes_and_nothing_of_one_with_a_similar_id() {
    let World { store, .. } = world().await;
    let acme = onboard(&store, "acme").await;
    for similar in ["acme2", "acm", "acme-x"] {
        onboard(&store, similar).await;
    }
    let closing = closed(&store, &acme).await;
    let before = others(&store, "acme").await;
    assert!(before.len() > 30, "{}", before.len());
    let closing = pass(&store, closing).await;
    // Tenant, ledger, key, agent and version, head, three commits, three links of the trail and its tip; the payload of
    // one commit.
    assert_eq!(
        closing.exported,
        Counts {
            items: 14,
            objects: 1
        }
    );
    let closing = empty(&store, closing).await;
    assert_eq!(closing.deleted, closing.exported);

    assert_eq!(others(&store, "acme").await, before);
    assert_eq!(store.tenant(&acme.id).await.unwrap(), None);
    assert_eq!(
        store.key(&KeyId::parse("acme").unwrap()).await.unwrap(),
        None
    );
    assert!(objects(&store, "tenants/acme/").await.is_empty());
    for similar in ["acme2", "acm", "acme-x"] {
        let left = objects(&store, &format!("tenants/{similar}/")).await;
        assert_eq!(left.len(), 1, "{similar}");
        let read = store.load(&tenant(similar), &run(1)).await.unwrap();
        assert!(read.is_some(), "{similar}");
    }
    for place in [Place::Table(None), Place::Bucket(None)] {
        let left = store.holdings(&acme.id, &place).await.unwrap();
        assert_eq!(left.counts, Counts::default());
    }
    let read = store.closing(&acme.id).await.unwrap();
    assert_eq!(read, Some(closing));
    let again = store.put_tenant(&acme, None).await;
    assert!(matches!(again, Err(Error::Raced)), "{again:?}");
}

#[tokio::test]
async fn an_export_holds_every_item_and_every_object_whole() {
    let World { store, .. } = world().await;
    let acme = onboard(&store, "acme").await;
    let closing = closed(&store, &acme).await;
    let closing = pass(&store, closing).await;
    let manifest = store.put_manifest(&closing).await.unwrap();
    let read = store.access.bucket.object(&manifest.name).await.unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&read).unwrap();
    assert_eq!(
        (&listed["items"], &listed["objects"]),
        (&json!(14), &json!(1))
    );
    let mut lines = Vec::new();
    for part in listed["parts"].as_array().unwrap() {
        let name = format!(
            "exports/acme/{}/{}",
            closing.id,
            part["name"].as_str().unwrap()
        );
        let content = store.access.bucket.object(&name).await.unwrap();
        let content = String::from_utf8(content).unwrap();
        assert_eq!(
            content.len() as u64,
            part["part"]["bytes"].as_u64().unwrap()
        );
        for line in content.lines() {
            lines.push(serde_json::from_str::<serde_json::Value>(line).unwrap());
        }
    }
    assert_eq!(lines.len(), 15);
    let key = lines
        .iter()
        .find(|line| line["item"]["pk"]["S"] == "K#acme")
        .unwrap();
    assert_eq!(key["item"]["tenant"]["S"], "acme");
    let object = lines
        .iter()
        .find(|line| line["object"].is_string())
        .unwrap();
    let events: serde_json::Value = serde_json::from_str(object["text"].as_str().unwrap()).unwrap();
    assert!(events.to_string().contains("acmeacme"));
}

#[tokio::test]
async fn what_changed_after_it_was_exported_stays_and_is_found_again() {
    let World { store, .. } = world().await;
    let acme = onboard(&store, "acme").await;
    let closing = closed(&store, &acme).await;
    let closing = pass(&store, closing).await;
    // An attribute more, an attribute changed, an item more.
    let key = KeyId::parse("acme").unwrap();
    store.key_used(&tenant("acme"), &key, NOW).await.unwrap();
    let run = run(1);
    assert!(
        store
            .renew(&acme.id, &run, &driver("d9"), 7, NOW)
            .await
            .unwrap()
    );
    let mut changed = store.tenant(&acme.id).await.unwrap().unwrap();
    let before = changed.clone();
    changed.revision += 1;
    store.put_tenant(&changed, Some(&before)).await.unwrap();
    let closing = empty(&store, closing).await;
    // The record, its ledger, the tip of the trail and the key have changed; a lease and a link are new.
    assert_eq!(
        closing.deleted,
        Counts {
            items: 10,
            objects: 1
        }
    );
    let closing = pass(&store, closing.wait().begin_pass()).await;
    assert_eq!(
        closing.exported,
        Counts {
            items: 20,
            objects: 1
        }
    );
    let closing = empty(&store, closing).await;
    assert_eq!(
        closing.deleted,
        Counts {
            items: 16,
            objects: 1
        }
    );
    let left = store.holdings(&acme.id, &Place::Table(None)).await.unwrap();
    assert_eq!(left.counts, Counts::default());
}

#[tokio::test]
async fn deleting_a_part_again_changes_nothing_and_a_part_that_was_changed_deletes_nothing() {
    let World { store, .. } = world().await;
    let acme = onboard(&store, "acme").await;
    let other = onboard(&store, "acme2").await;
    let closing = closed(&store, &acme).await;
    let closing = pass(&store, closing).await;
    let names = objects(&store, &format!("exports/acme/{}/", closing.id)).await;
    let part = store.access.bucket.object(&names[0]).await.unwrap();
    let part = String::from_utf8(part).unwrap();
    // Somebody makes it name another tenant's items.
    let forged = part.replace("T#acme", "T#acme2");
    use base64::Engine as _;
    use sha2::Digest as _;
    let hash =
        |text: &str| base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text));
    let bucket = &store.access.bucket;
    let put = async |text: String| {
        let sha256 = hash(&text);
        bucket.put(&names[0], text, &sha256).await.unwrap();
    };
    put(forged).await;
    let refused = store.empty_part(&closing, 1).await;
    assert!(
        matches!(refused, Err(Error::Tampered { .. })),
        "{refused:?}"
    );
    assert_eq!(store.tenant(&other.id).await.unwrap(), Some(other));
    put(part).await;
    let once = store.empty_part(&closing, 1).await.unwrap();
    let twice = store.empty_part(&closing, 1).await.unwrap();
    assert_eq!(once, twice);
}

#[tokio::test]
async fn of_two_that_work_on_a_closing_one_goes_on() {
    let World { store, .. } = world().await;
    let acme = onboard(&store, "acme").await;
    let read = closed(&store, &acme).await;
    let place = Place::Table(None);
    let (one, two) = tokio::join!(
        store.holdings(&acme.id, &place),
        store.holdings(&acme.id, &place)
    );
    let one = store.export(&read, one.unwrap()).await.unwrap();
    let two = store.export(&read, two.unwrap()).await.unwrap();
    let next = |part: &Option<_>| read.clone().read_on(part.as_ref(), Place::Bucket(None));
    let first = next(&one).held(NOW);
    store.put_closing(&first, one.as_ref()).await.unwrap();
    // Said again, it stands already: an answer may have been lost.
    store.put_closing(&first, one.as_ref()).await.unwrap();
    let second = next(&two).held(NOW.plus_ms(1));
    let raced = store.put_closing(&second, two.as_ref()).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    assert_eq!(store.closing(&acme.id).await.unwrap(), Some(first));
}

#[tokio::test]
async fn a_closing_that_was_taken_back_is_worked_on_no_longer() {
    let World { store, .. } = world().await;
    let acme = onboard(&store, "acme").await;
    let closing = closed(&store, &acme).await;
    assert_eq!(
        store.closings(10).await.unwrap(),
        std::slice::from_ref(&acme.id)
    );
    let old = store.tenant(&acme.id).await.unwrap().unwrap();
    let mut new = old.clone();
    new.standing = Standing::Active;
    new.revision += 1;
    let mut outdated = closing.clone();
    outdated.revision -= 1;
    let raced = store.take_closing_back(&new, &old, &outdated).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    store.take_closing_back(&new, &old, &closing).await.unwrap();
    assert!(store.closings(10).await.unwrap().is_empty());
    let late = store.put_closing(&closing.held(NOW), None).await;
    assert!(matches!(late, Err(Error::Raced)), "{late:?}");
    assert_eq!(store.tenant(&acme.id).await.unwrap(), Some(new));
}

#[tokio::test]
async fn a_certificate_stays_and_is_on_no_list_of_closings() {
    let World { store, .. } = world().await;
    let acme = onboard(&store, "acme").await;
    let closing = closed(&store, &acme).await;
    let mut end = closing.held(NOW);
    end.phase = Phase::Closed { at: NOW };
    store.put_closing(&end, None).await.unwrap();
    assert!(store.closings(10).await.unwrap().is_empty());
    assert_eq!(store.closing(&acme.id).await.unwrap(), Some(end));
}

#[tokio::test]
async fn a_run_that_has_not_ended_is_seen_by_the_pass() {
    let World { store, .. } = world().await;
    let acme = onboard(&store, "acme").await;
    let seen = async || {
        let found = store.holdings(&acme.id, &Place::Table(None)).await;
        found.unwrap().unfinished
    };
    assert!(!seen().await);
    let mut script = Script::created(&store, &acme.id, &run(2)).await;
    assert!(seen().await);
    script.append(&store, vec![succeeded()]).await;
    assert!(!seen().await);
}

#[tokio::test]
async fn objects_are_listed_page_by_page() {
    let World { store, .. } = world().await;
    let acme = onboard(&store, "acme").await;
    let mut script = Script::created(&store, &acme.id, &run(2)).await;
    for n in 1..=3 {
        let large = answered(n, &format!("{n}").repeat(70_000));
        script.append(&store, vec![step(n), large]).await;
    }
    let bucket = &store.access.bucket;
    let (all, more) = bucket.keys("tenants/acme/", None, 1_000).await.unwrap();
    assert_eq!((all.len(), more), (4, false));
    let (first, more) = bucket.keys("tenants/acme/", None, 3).await.unwrap();
    assert_eq!((first.as_slice(), more), (&all[..3], true));
    let (rest, more) = bucket
        .keys("tenants/acme/", Some(&all[2]), 3)
        .await
        .unwrap();
    assert_eq!((rest.as_slice(), more), (&all[3..], false));
    bucket.remove(&all[0]).await.unwrap();
    bucket.remove(&all[0]).await.unwrap();
    let (left, _) = bucket.keys("tenants/acme/", None, 1_000).await.unwrap();
    assert_eq!(left, all[1..]);
}

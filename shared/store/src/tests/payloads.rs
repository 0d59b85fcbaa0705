use aws_sdk_s3::primitives::ByteStream;

use super::*;
use crate::{Error, Key, MAX_PAYLOAD_BYTES};

#[tokio::test]
async fn what_is_over_64_kib_goes_to_the_bucket_and_comes_back() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    script
        .append(&store, vec![answered(1, &"s".repeat(60_000))])
        .await;
    assert_eq!(store.consumed().payload_writes, 0);
    script
        .append(&store, vec![answered(2, &"l".repeat(66_000))])
        .await;
    script
        .append(&store, vec![answered(3, &"m".repeat(1_000_000))])
        .await;
    assert_eq!(store.consumed().payload_writes, 2);
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!(loaded.state, script.folded());
    let events = store.events(&acme, &run, 2, 10).await.unwrap();
    assert_eq!(events, script.log[2..]);
    let (_, newest) = store.read(&acme, &run, true).await.unwrap().unwrap();
    assert_eq!(newest, script.log[3]);
    store.snapshot(&script.state).await.unwrap();
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!((loaded.state, loaded.tail), (script.folded(), 0));
}

#[tokio::test]
async fn what_is_over_16_mib_is_refused_before_anything_is_written() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    let text = "x".repeat(usize::try_from(MAX_PAYLOAD_BYTES).unwrap());
    let commit = script.next(None, vec![answered(1, &text)]);
    let before = store.consumed();
    let error = store.append(&acme, &run, &commit, None).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }));
    assert!(!error.is_transient());
    assert_eq!(store.consumed(), before);
}

#[tokio::test]
async fn a_payload_that_was_changed_is_not_believed() {
    let World {
        store, payloads, ..
    } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    script
        .append(&store, vec![answered(1, &"l".repeat(70_000))])
        .await;
    // What the store does with the bucket, as S3's own SDK sees it.
    let bucket = aws_sdk_s3::config::Builder::from(&payloads).force_path_style(true);
    let bucket = aws_sdk_s3::Client::from_conf(bucket.build());
    let listed = bucket
        .list_objects_v2()
        .bucket("payloads")
        .send()
        .await
        .unwrap();
    let name = listed.contents()[0].key().unwrap();
    assert!(
        name.starts_with(&format!("tenants/acme/runs/{run}/")),
        "{name}"
    );
    let other = serde_json::to_vec(&vec![answered(1, "something else")]).unwrap();
    let put = bucket.put_object().bucket("payloads").key(name);
    put.body(ByteStream::from(other)).send().await.unwrap();
    let error = store.load(&acme, &run).await.unwrap_err();
    assert!(matches!(error, Error::Tampered { .. }), "{error:?}");
}

#[tokio::test]
async fn only_the_newest_snapshot_is_kept() {
    let World { store, .. } = world().await;
    let (acme, run) = (tenant("acme"), run(1));
    let mut script = Script::created(&store, &acme, &run).await;
    store.snapshot(&script.state).await.unwrap();
    script.append(&store, vec![step(1)]).await;
    store.snapshot(&script.state).await.unwrap();
    let get = |event| store.get(Key::snapshot(&acme, &run, event), true);
    assert!(get(1).await.unwrap().is_none());
    assert!(get(2).await.unwrap().is_some());
}

//! Batches: entries that fail alone, and batches that fail whole.

use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry,
    SendMessageBatchRequestEntry,
};

use super::*;

fn entry(id: &str, body: &str) -> SendMessageBatchRequestEntry {
    SendMessageBatchRequestEntry::builder()
        .id(id)
        .message_body(body)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_bad_batch_entry_fails_alone() {
    let (queues, client, url) = setup(&[]).await;
    let mut late = entry("late", "x");
    late.delay_seconds = Some(901);
    let batch = client.send_message_batch().queue_url(&url);
    let sent = batch
        .entries(entry("good", "a"))
        .entries(entry("bad", "\u{1}"))
        .entries(late)
        .send()
        .await
        .unwrap();
    assert_eq!(sent.successful()[0].id(), "good");
    let mut failed: Vec<_> = sent
        .failed()
        .iter()
        .map(|failed| (failed.id(), failed.code(), failed.sender_fault()))
        .collect();
    failed.sort_unstable();
    assert_eq!(
        failed,
        [
            ("bad", "InvalidMessageContents", true),
            ("late", "InvalidParameterValue", true)
        ]
    );
    assert_eq!(queues.depth("q").visible, 1);

    let received = receive(&client, &url).await;
    let handle = received[0].receipt_handle().unwrap();
    let change = |id: &str, handle: &str| {
        let entry = ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(id)
            .receipt_handle(handle);
        entry.visibility_timeout(60).build().unwrap()
    };
    let batch = client.change_message_visibility_batch().queue_url(&url);
    let changed = batch
        .entries(change("a", handle))
        .entries(change("b", "nonsense"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (changed.successful()[0].id(), changed.failed()[0].id()),
        ("a", "b")
    );
    let delete = |id: &str, handle: &str| {
        DeleteMessageBatchRequestEntry::builder()
            .id(id)
            .receipt_handle(handle)
            .build()
            .unwrap()
    };
    let batch = client.delete_message_batch().queue_url(&url);
    let deleted = batch
        .entries(delete("a", "nonsense"))
        .entries(delete("b", handle))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful()[0].id(), "b");
    assert_eq!(deleted.failed()[0].code(), "ReceiptHandleIsInvalid");
    assert_eq!(queues.depth("q"), Depth::default());
}

#[tokio::test]
async fn a_batch_that_is_wrong_as_a_whole_is_refused() {
    let (_, client, url) = setup(&[]).await;
    let send = |entries: Vec<SendMessageBatchRequestEntry>| {
        let batch = client
            .send_message_batch()
            .queue_url(&url)
            .set_entries(Some(entries))
            .send();
        async { batch.await.unwrap_err().into_service_error() }
    };
    assert!(send(vec![]).await.is_empty_batch_request());
    assert!(
        send(vec![entry("a", "1"), entry("a", "2")])
            .await
            .is_batch_entry_ids_not_distinct()
    );
    assert!(
        send(vec![entry("not valid", "1")])
            .await
            .is_invalid_batch_entry_id()
    );
    let eleven = (0..11).map(|n| entry(&n.to_string(), "x")).collect();
    assert!(send(eleven).await.is_too_many_entries_in_batch_request());
    let half = "x".repeat((1 << 19) + 1);
    assert!(
        send(vec![entry("a", &half), entry("b", &half)])
            .await
            .is_batch_request_too_long()
    );
}

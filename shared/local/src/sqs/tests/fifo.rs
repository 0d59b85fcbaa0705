//! FIFO queues.

use super::*;

async fn setup_fifo(attributes: &[(QueueAttributeName, &str)]) -> (Queues, Client, String) {
    let (queues, client, _) = setup(&[]).await;
    let mut all = vec![(QueueAttributeName::FifoQueue, "true")];
    all.extend_from_slice(attributes);
    let url = create(&client, "q.fifo", &all).await;
    (queues, client, url)
}

async fn send_in(client: &Client, url: &str, group: &str, id: &str) -> (String, String) {
    let send = client
        .send_message()
        .queue_url(url)
        .message_body(format!("{group}{id}"));
    let sent = send
        .message_group_id(group)
        .message_deduplication_id(id)
        .send()
        .await
        .unwrap();
    (sent.message_id.unwrap(), sent.sequence_number.unwrap())
}

#[tokio::test]
async fn a_groups_messages_come_in_order_and_wait_for_each_other() {
    let (queues, client, url) = setup_fifo(&[]).await;
    for id in ["1", "2", "3"] {
        send_in(&client, &url, "a", id).await;
    }
    send_in(&client, &url, "b", "4").await;
    let one = client
        .receive_message()
        .queue_url(&url)
        .send()
        .await
        .unwrap()
        .messages
        .unwrap();
    assert_eq!(bodies(&one), ["a1"]);
    assert_eq!(
        bodies(&receive(&client, &url).await),
        ["b4"],
        "group a waits for a1"
    );
    queues.advance(secs(30));
    let all = receive(&client, &url).await;
    assert_eq!(
        bodies(&all),
        ["a1", "a2", "a3", "b4"],
        "in order again, one group after the other"
    );
    let stale = client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(one[0].receipt_handle().unwrap())
        .send()
        .await;
    assert_eq!(
        stale.unwrap_err().into_service_error().meta().code(),
        Some("InvalidParameterValue")
    );
    for message in &all {
        delete(&client, &url, message).await;
    }
    assert_eq!(queues.depth("q.fifo"), Depth::default());
}

#[tokio::test]
async fn deleting_a_groups_message_wakes_a_poll_for_the_next() {
    let (queues, client, url) = setup_fifo(&[]).await;
    send_in(&client, &url, "a", "1").await;
    send_in(&client, &url, "a", "2").await;
    let first = queues.receive("q.fifo", 1, Duration::ZERO).await;
    let waiting = tokio::spawn({
        let queues = queues.clone();
        async move { queues.receive("q.fifo", 1, LONG).await }
    });
    let_others_wait().await;
    assert!(!waiting.is_finished());
    queues.delete("q.fifo", &first[0].receipt_handle);
    assert_eq!(waiting.await.unwrap()[0].body, "a2");
}

#[tokio::test]
async fn a_repeated_deduplication_id_is_not_kept_for_five_minutes() {
    let (queues, client, url) = setup_fifo(&[]).await;
    let first = send_in(&client, &url, "a", "1").await;
    assert_eq!(send_in(&client, &url, "a", "1").await, first);
    queues.advance(secs(299));
    assert_eq!(send_in(&client, &url, "a", "1").await, first);
    assert_eq!(queues.depth("q.fifo").visible, 1);
    queues.advance(secs(1));
    assert_ne!(send_in(&client, &url, "a", "1").await, first);
    assert_eq!(queues.depth("q.fifo").visible, 2);
}

#[tokio::test]
async fn ids_come_from_the_body_when_the_queue_says_so() {
    let (queues, client, url) =
        setup_fifo(&[(QueueAttributeName::ContentBasedDeduplication, "true")]).await;
    for body in ["x", "x", "y"] {
        client
            .send_message()
            .queue_url(&url)
            .message_body(body)
            .message_group_id("a")
            .send()
            .await
            .unwrap();
    }
    assert_eq!(queues.depth("q.fifo").visible, 2);
}

#[tokio::test]
async fn what_only_a_fifo_queue_takes_is_told_apart() {
    let (_, client, url) = setup_fifo(&[]).await;
    let code = |send: aws_sdk_sqs::operation::send_message::builders::SendMessageFluentBuilder| async {
        let error = send
            .message_body("x")
            .send()
            .await
            .unwrap_err()
            .into_service_error();
        error.meta().code().unwrap().to_owned()
    };
    assert_eq!(
        code(client.send_message().queue_url(&url)).await,
        "MissingParameter"
    );
    assert_eq!(
        code(client.send_message().queue_url(&url).message_group_id("a")).await,
        "InvalidParameterValue"
    );
    let delayed = client
        .send_message()
        .queue_url(&url)
        .message_group_id("a")
        .message_deduplication_id("1")
        .delay_seconds(1);
    assert_eq!(code(delayed).await, "InvalidParameterValue");
    let standard = client
        .send_message()
        .queue_url(super::url("q"))
        .message_deduplication_id("1");
    assert_eq!(code(standard).await, "InvalidParameterValue");
    for (name, value) in [("q2", "true"), ("q2.fifo", "false")] {
        let create = client
            .create_queue()
            .queue_name(name)
            .attributes(QueueAttributeName::FifoQueue, value);
        assert!(create.send().await.is_err());
    }
}

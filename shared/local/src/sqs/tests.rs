//! The queues through the official SDK, in process.

mod batches;
mod durability;
mod fairness;
mod fifo;
mod protocol;

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Region};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};

use super::*;
use crate::wire::connector;

/// Longer than any test takes: a wait that must be cut short.
const LONG: Duration = Duration::from_secs(20);

fn client(queues: &Queues) -> Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .endpoint_url("http://sqs.local")
        .http_client(connector(queues.router()));
    Client::from_conf(config.build())
}

/// Queues in memory, a client, and the URL of one queue called `q`.
async fn setup(attributes: &[(QueueAttributeName, &str)]) -> (Queues, Client, String) {
    let queues = Queues::open(None).unwrap();
    let client = client(&queues);
    let url = create(&client, "q", attributes).await;
    (queues, client, url)
}

async fn create(client: &Client, name: &str, attributes: &[(QueueAttributeName, &str)]) -> String {
    let mut create = client.create_queue().queue_name(name);
    for (name, value) in attributes {
        create = create.attributes(name.clone(), *value);
    }
    create.send().await.unwrap().queue_url.unwrap()
}

async fn send(client: &Client, url: &str, body: &str) -> String {
    let sent = client
        .send_message()
        .queue_url(url)
        .message_body(body)
        .send()
        .await
        .unwrap();
    sent.message_id.unwrap()
}

async fn receive(client: &Client, url: &str) -> Vec<Message> {
    let receive = client
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(10)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All");
    receive.send().await.unwrap().messages.unwrap_or_default()
}

async fn delete(client: &Client, url: &str, message: &Message) {
    let delete = client.delete_message().queue_url(url);
    delete
        .receipt_handle(message.receipt_handle().unwrap())
        .send()
        .await
        .unwrap();
}

fn bodies(messages: &[Message]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| message.body().unwrap())
        .collect()
}

fn system(message: &Message, name: MessageSystemAttributeName) -> &str {
    &message.attributes().unwrap()[&name]
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets other tasks run until they all wait.
async fn let_others_wait() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_received_message_is_visible_again_exactly_at_its_timeout() {
    let (queues, client, url) = setup(&[(QueueAttributeName::VisibilityTimeout, "5")]).await;
    send(&client, &url, "hello").await;
    let first = receive(&client, &url).await;
    assert_eq!(bodies(&first), ["hello"]);
    assert_eq!(
        system(
            &first[0],
            MessageSystemAttributeName::ApproximateReceiveCount
        ),
        "1"
    );
    queues.advance(Duration::from_millis(4500));
    assert!(receive(&client, &url).await.is_empty());
    queues.advance(Duration::from_millis(500));
    let second = receive(&client, &url).await;
    assert_eq!(
        system(
            &second[0],
            MessageSystemAttributeName::ApproximateReceiveCount
        ),
        "2"
    );
    assert_eq!(
        system(
            &first[0],
            MessageSystemAttributeName::ApproximateFirstReceiveTimestamp
        ),
        system(
            &second[0],
            MessageSystemAttributeName::ApproximateFirstReceiveTimestamp
        ),
    );
    assert_ne!(first[0].receipt_handle(), second[0].receipt_handle());
}

#[tokio::test]
async fn delays_of_queue_and_message_hold_back() {
    let (queues, client, url) = setup(&[(QueueAttributeName::DelaySeconds, "3")]).await;
    send(&client, &url, "by the queue").await;
    for (body, delay) in [("at once", 0), ("later", 900)] {
        client
            .send_message()
            .queue_url(&url)
            .message_body(body)
            .delay_seconds(delay)
            .send()
            .await
            .unwrap();
    }
    assert_eq!(bodies(&receive(&client, &url).await), ["at once"]);
    let depth = queues.depth("q");
    assert_eq!((depth.visible, depth.in_flight, depth.delayed), (0, 1, 2));
    queues.advance(secs(3));
    assert_eq!(bodies(&receive(&client, &url).await), ["by the queue"]);
    queues.advance(secs(897));
    assert!(bodies(&receive(&client, &url).await).contains(&"later"));
}

#[tokio::test]
async fn a_long_poll_wakes_when_a_message_is_sent() {
    let (queues, client, url) = setup(&[]).await;
    let waiting = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move {
            client
                .receive_message()
                .queue_url(url)
                .wait_time_seconds(20)
                .send()
                .await
        }
    });
    let_others_wait().await;
    let sent_at = Instant::now();
    queues
        .send("q", "wake".to_owned(), SendOptions::default())
        .unwrap();
    let received = waiting.await.unwrap().unwrap();
    assert_eq!(received.messages()[0].body(), Some("wake"));
    assert!(sent_at.elapsed() < secs(1));
}

#[tokio::test]
async fn a_long_poll_wakes_for_a_delay_that_began_after_it() {
    let (queues, client, url) = setup(&[]).await;
    let waiting = tokio::spawn({
        let queues = queues.clone();
        async move { queues.receive("q", 1, LONG).await }
    });
    let_others_wait().await;
    client
        .send_message()
        .queue_url(&url)
        .message_body("soon")
        .delay_seconds(10)
        .send()
        .await
        .unwrap();
    let_others_wait().await;
    assert!(!waiting.is_finished());
    queues.advance(secs(10));
    assert_eq!(waiting.await.unwrap()[0].body, "soon");
}

#[tokio::test]
async fn a_long_poll_sees_another_receivers_message_come_back() {
    let (queues, client, url) = setup(&[]).await;
    send(&client, &url, "again").await;
    let waiting = |queues: &Queues| {
        let queues = queues.clone();
        tokio::spawn(async move { queues.receive("q", 1, LONG).await })
    };
    let first = waiting(&queues).await.unwrap();
    let second = waiting(&queues);
    let_others_wait().await;
    queues
        .change_visibility("q", &first[0].receipt_handle, Duration::ZERO)
        .unwrap();
    assert_eq!(second.await.unwrap()[0].message_id, first[0].message_id);
}

#[tokio::test]
async fn a_message_received_too_often_goes_to_the_dead_letter_queue() {
    let (queues, client, _) = setup(&[]).await;
    let policy = format!(
        r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":"2"}}"#,
        arn("q")
    );
    let source = create(
        &client,
        "source",
        &[(QueueAttributeName::RedrivePolicy, &policy)],
    )
    .await;
    let id = send(&client, &source, "poison").await;
    for _ in 0..2 {
        assert_eq!(bodies(&receive(&client, &source).await), ["poison"]);
        queues.advance(secs(30));
    }
    assert!(receive(&client, &source).await.is_empty());
    assert_eq!(queues.depth("source"), Depth::default());
    let dead = receive(&client, &url("q")).await;
    assert_eq!(dead[0].message_id(), Some(id.as_str()));
    assert_eq!(
        system(
            &dead[0],
            MessageSystemAttributeName::DeadLetterQueueSourceArn
        ),
        arn("source")
    );
    let sources = client
        .list_dead_letter_source_queues()
        .queue_url(url("q"))
        .send()
        .await
        .unwrap();
    assert_eq!(sources.queue_urls(), [source]);
}

#[tokio::test]
async fn visibility_changes_by_the_latest_receipt_handle_only() {
    let (queues, client, url) = setup(&[]).await;
    send(&client, &url, "beat").await;
    let stale = receive(&client, &url).await;
    let change = |message: &Message, seconds| {
        let handle = message.receipt_handle().unwrap();
        client
            .change_message_visibility()
            .queue_url(&url)
            .receipt_handle(handle)
            .visibility_timeout(seconds)
            .send()
    };
    change(&stale[0], 100).await.unwrap();
    queues.advance(secs(99));
    assert!(
        receive(&client, &url).await.is_empty(),
        "the timeout was extended"
    );
    queues.advance(secs(1));
    let expired = change(&stale[0], 30)
        .await
        .unwrap_err()
        .into_service_error();
    assert!(expired.is_message_not_inflight(), "{expired:?}");
    let current = receive(&client, &url).await;
    let refused = change(&stale[0], 30)
        .await
        .unwrap_err()
        .into_service_error();
    assert!(refused.is_message_not_inflight(), "{refused:?}");
    delete(&client, &url, &stale[0]).await;
    assert_eq!(
        queues.depth("q").in_flight,
        1,
        "a stale handle deletes nothing"
    );
    delete(&client, &url, &current[0]).await;
    assert_eq!(queues.depth("q"), Depth::default());
    delete(&client, &url, &current[0]).await;
    let gone = change(&current[0], 30)
        .await
        .unwrap_err()
        .into_service_error();
    assert_eq!(gone.meta().code(), Some("InvalidParameterValue"));
}

#[tokio::test]
async fn a_message_stays_in_flight_for_twelve_hours_at_most() {
    let (queues, client, url) = setup(&[]).await;
    send(&client, &url, "long").await;
    let received = queues.receive("q", 1, Duration::ZERO).await;
    let handle = &received[0].receipt_handle;
    queues.advance(secs(10));
    let most = client
        .change_message_visibility()
        .queue_url(&url)
        .receipt_handle(handle);
    assert!(
        most.clone()
            .visibility_timeout(43_200)
            .send()
            .await
            .is_err()
    );
    most.visibility_timeout(43_000).send().await.unwrap();
}

#[tokio::test]
async fn old_messages_expire() {
    let (queues, client, url) = setup(&[(QueueAttributeName::MessageRetentionPeriod, "60")]).await;
    send(&client, &url, "old").await;
    queues.advance(secs(59));
    assert_eq!(queues.depth("q").oldest_age_ms / 1000, 59);
    send(&client, &url, "new").await;
    queues.advance(secs(1));
    assert_eq!(bodies(&receive(&client, &url).await), ["new"]);
}

#[tokio::test]
async fn released_messages_are_visible_at_once() {
    let (queues, client, url) = setup(&[]).await;
    send(&client, &url, "orphan").await;
    assert_eq!(receive(&client, &url).await.len(), 1);
    queues.release_in_flight().unwrap();
    assert_eq!(bodies(&receive(&client, &url).await), ["orphan"]);
}

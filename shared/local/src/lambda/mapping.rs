//! Event source mappings: queues that feed functions.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::Semaphore, time::Instant};

use super::{Lambda, PAYLOAD_LIMIT_BYTES};
use crate::sqs::{self, Queues, Received};

/// How long one receive waits for a message: the longest that SQS allows.
const LONG_POLL: Duration = Duration::from_secs(20);

/// The pause after a receive that came back empty at once, which means that there is no such queue (yet).
const PAUSE_WITHOUT_QUEUE: Duration = Duration::from_millis(50);

/// A queue that feeds a function. Partial batch responses are always on.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// The name of the queue.
    pub queue: String,
    /// The name of the function.
    pub function: String,
    /// How many messages one event holds at most.
    pub batch_size: usize,
    /// How many batches may be in flight at a time (`MaximumConcurrency`). More than the function serves at a time
    /// makes batches wait in line while their visibility timeout runs.
    pub max_concurrency: usize,
    /// How long to wait for a batch to fill; zero delivers what there is at once.
    pub batching_window: Duration,
}

/// Receives for ever. One receiver is enough, since every batch goes its own way once it is received.
pub(super) async fn poll(lambda: Lambda, queues: Queues, mapping: Mapping) {
    let arn: Arc<str> = sqs::arn(&mapping.queue).into();
    let mapping = Arc::new(mapping);
    let permits = Arc::new(Semaphore::new(mapping.max_concurrency.max(1)));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let batch = receive(&queues, &mapping).await;
        if batch.is_empty() {
            continue;
        }
        let (lambda, queues) = (lambda.clone(), queues.clone());
        let (mapping, arn) = (Arc::clone(&mapping), Arc::clone(&arn));
        tokio::spawn(async move {
            let _permit = permit;
            for (messages, event) in events(batch, &arn, lambda.region()) {
                deliver(&lambda, &queues, &mapping, &messages, event).await;
            }
        });
    }
}

async fn receive(queues: &Queues, mapping: &Mapping) -> Vec<Received> {
    let batch_size = mapping.batch_size.max(1);
    let asked_at = Instant::now();
    let mut batch = queues.receive(&mapping.queue, batch_size, LONG_POLL).await;
    if batch.is_empty() {
        if asked_at.elapsed() < PAUSE_WITHOUT_QUEUE {
            tokio::time::sleep(PAUSE_WITHOUT_QUEUE).await;
        }
        return batch;
    }
    let full_at = Instant::now() + mapping.batching_window;
    while batch.len() < batch_size {
        let rest = full_at.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            break;
        }
        let more = queues.receive(&mapping.queue, batch_size - batch.len(), rest);
        let more = more.await;
        if more.is_empty() {
            break;
        }
        batch.extend(more);
    }
    batch
}

/// Invokes the function with one event and deletes what it has done.
async fn deliver(
    lambda: &Lambda,
    queues: &Queues,
    mapping: &Mapping,
    messages: &[Received],
    event: Bytes,
) {
    let reply = match lambda.invoke(&mapping.function, event).await {
        Ok(reply) => reply.bytes().await,
        Err(error) => Err(error),
    };
    let failures = match reply {
        Ok(reply) => failures(&reply, messages),
        Err(error) => {
            tracing::warn!(
                function.name = %mapping.function, queue.name = %mapping.queue,
                messages = messages.len(), %error, "batch failed"
            );
            return;
        }
    };
    match failures {
        Some(failed) => {
            for message in messages {
                if !failed.contains(&message.message_id) {
                    queues.delete(&mapping.queue, &message.receipt_handle);
                }
            }
        }
        None => tracing::warn!(
            function.name = %mapping.function, queue.name = %mapping.queue,
            messages = messages.len(), "batch failed: its response is malformed"
        ),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchResponse {
    batch_item_failures: Option<Vec<BatchItemFailure>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchItemFailure {
    item_identifier: String,
}

/// The messages that a function reports as failed; `None` when its response makes the whole batch a failure.
///
/// An empty response, null and an empty list mean success; anything malformed and an unknown or empty identifier mean
/// failure. Source: <https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>.
fn failures(reply: &[u8], messages: &[Received]) -> Option<Vec<String>> {
    if reply.is_empty() {
        return Some(Vec::new());
    }
    let response: Option<BatchResponse> = serde_json::from_slice(reply).ok()?;
    let failed: Vec<String> = response
        .unwrap_or_default()
        .batch_item_failures
        .unwrap_or_default()
        .into_iter()
        .map(|failure| failure.item_identifier)
        .collect();
    let is_known = |id: &String| messages.iter().any(|message| message.message_id == *id);
    failed.iter().all(is_known).then_some(failed)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    message_id: &'a str,
    receipt_handle: &'a str,
    body: &'a str,
    attributes: &'a BTreeMap<String, String>,
    message_attributes: &'a Value,
    md5_of_body: &'a str,
    event_source: &'static str,
    #[serde(rename = "eventSourceARN")]
    event_source_arn: &'a str,
    aws_region: &'a str,
}

/// The events for a batch: one, unless the batch is over the limit of an event.
fn events(batch: Vec<Received>, arn: &str, region: &str) -> Vec<(Vec<Received>, Bytes)> {
    const HEAD: &[u8] = b"{\"Records\":[";
    let mut events = Vec::new();
    let mut messages = Vec::new();
    let mut event = HEAD.to_vec();
    for message in batch {
        let record = Record {
            message_id: &message.message_id,
            receipt_handle: &message.receipt_handle,
            body: &message.body,
            attributes: &message.attributes,
            message_attributes: &message.message_attributes,
            md5_of_body: &message.md5_of_body,
            event_source: "aws:sqs",
            event_source_arn: arn,
            aws_region: region,
        };
        let record = serde_json::to_vec(&record).expect("strings and maps of strings serialise");
        if !messages.is_empty() && event.len() + record.len() + 3 > PAYLOAD_LIMIT_BYTES {
            event.extend_from_slice(b"]}");
            let full = std::mem::replace(&mut event, HEAD.to_vec());
            events.push((std::mem::take(&mut messages), Bytes::from(full)));
        }
        if !messages.is_empty() {
            event.push(b',');
        }
        event.extend_from_slice(&record);
        messages.push(message);
    }
    if !messages.is_empty() {
        event.extend_from_slice(b"]}");
        events.push((messages, Bytes::from(event)));
    }
    events
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::event::sqs::SqsEvent;

    use super::*;

    fn message(id: &str) -> Received {
        Received {
            message_id: id.to_owned(),
            receipt_handle: format!("handle-{id}"),
            body: format!("{{\"run\":\"{id}\"}}"),
            md5_of_body: "d41d8cd98f00b204e9800998ecf8427e".to_owned(),
            attributes: BTreeMap::from([("MessageGroupId".to_owned(), "acme".to_owned())]),
            message_attributes: serde_json::json!({
                "hops": {
                    "dataType": "Number", "stringValue": "3",
                    "stringListValues": [], "binaryListValues": []
                }
            }),
        }
    }

    #[test]
    fn event_has_the_shape_of_sqs() {
        let arn = "arn:aws:sqs:eu-central-1:000000000000:runs";
        let events = events(vec![message("a"), message("b")], arn, "eu-central-1");
        let [(_, event)] = events.as_slice() else {
            panic!("one event expected, not {}", events.len());
        };
        let event: SqsEvent = serde_json::from_slice(event).unwrap();
        let record = &event.records[0];
        assert_eq!(record.message_id.as_deref(), Some("a"));
        assert_eq!(record.receipt_handle.as_deref(), Some("handle-a"));
        assert_eq!(record.body.as_deref(), Some("{\"run\":\"a\"}"));
        assert_eq!(
            record.md5_of_body.as_deref(),
            Some("d41d8cd98f00b204e9800998ecf8427e")
        );
        assert_eq!(record.attributes["MessageGroupId"], "acme");
        let hops = &record.message_attributes["hops"];
        assert_eq!(hops.string_value.as_deref(), Some("3"));
        assert_eq!(hops.data_type.as_deref(), Some("Number"));
        assert_eq!(record.event_source.as_deref(), Some("aws:sqs"));
        assert_eq!(record.event_source_arn.as_deref(), Some(arn));
        assert_eq!(record.aws_region.as_deref(), Some("eu-central-1"));
        assert_eq!(event.records[1].message_id.as_deref(), Some("b"));
    }

    #[test]
    fn batch_over_the_payload_limit_becomes_several_events() {
        let large = |id| Received {
            body: "x".repeat(PAYLOAD_LIMIT_BYTES / 2),
            ..message(id)
        };
        let events = events(vec![large("a"), large("b"), message("c")], "arn", "region");
        let sizes: Vec<usize> = events.iter().map(|(messages, _)| messages.len()).collect();
        assert_eq!(sizes, [1, 2]);
        for (messages, event) in events {
            let event: SqsEvent = serde_json::from_slice(&event).unwrap();
            assert_eq!(event.records.len(), messages.len());
        }
    }

    #[track_caller]
    fn check(reply: &str, expected: Option<&[&str]>) {
        let failed = failures(reply.as_bytes(), &[message("a"), message("b")]);
        let expected = expected.map(|ids| ids.iter().map(|&id| id.to_owned()).collect());
        assert_eq!(failed, expected, "{reply}");
    }

    #[test]
    fn batch_responses_are_read_as_lambda_reads_them() {
        check("", Some(&[]));
        check("null", Some(&[]));
        check("{}", Some(&[]));
        check(r#"{"batchItemFailures":null}"#, Some(&[]));
        check(r#"{"batchItemFailures":[]}"#, Some(&[]));
        let one = r#"{"batchItemFailures":[{"itemIdentifier":"b"}]}"#;
        check(one, Some(&["b"]));
        check(r#"{"batchItemFailures":[{"itemIdentifier":""}]}"#, None);
        check(r#"{"batchItemFailures":[{"itemIdentifier":null}]}"#, None);
        check(r#"{"batchItemFailures":[{"itemIdentifier":"z"}]}"#, None);
        check(r#"{"batchItemFailures":[{"identifier":"a"}]}"#, None);
        check("nonsense", None);
    }
}

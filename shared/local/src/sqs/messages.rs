//! SQS's operations on messages.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::attributes::{LARGEST_MESSAGE_BYTES, is_name_byte};
use super::fault::{Code, invalid_value, missing};
use super::message::{draft, size};
use super::wire::{
    Batch, BatchAnswer, BatchEntry, Nothing, OneDelivery, ReceiveMessage, SendMessage, SentMessage,
};
use super::{Error, Queues, name_in};

/// The most entries of a batch, and the most messages of one receive.
const MOST_AT_ONCE: usize = 10;
/// The longest visibility timeout: 12 hours.
const LONGEST_VISIBILITY_SECONDS: u64 = 43_200;
/// The longest wait of a receive.
const LONGEST_WAIT_SECONDS: u64 = 20;

pub(super) fn send(queues: &Queues, request: SendMessage) -> Result<SentMessage, Error> {
    let queue = queues.find(name_in(&request.queue_url))?;
    let (body, options, system_md5) = request.into_parts();
    let sent = queues.send_drafts(&queue, |config| Ok(vec![draft(config, body, options)?]))?;
    let sent = sent
        .into_iter()
        .next()
        .ok_or_else(|| Code::InternalFailure.with("nothing was sent"))?;
    Ok(SentMessage::new(sent, system_md5))
}

pub(super) fn send_batch(
    queues: &Queues,
    request: Batch<SendMessage>,
) -> Result<BatchAnswer<SentMessage>, Error> {
    let queue = queues.find(name_in(&request.queue_url))?;
    let entries = checked(request.entries)?;
    let total_bytes: u64 = entries
        .iter()
        .map(|BatchEntry { entry, .. }| {
            let attributes = entry.message_attributes.clone().unwrap_or_default();
            size(
                entry.message_body.as_deref().unwrap_or_default(),
                &attributes,
            )
        })
        .sum();
    if total_bytes > LARGEST_MESSAGE_BYTES {
        return Err(Code::BatchRequestTooLong.with(format!(
            "Batch requests cannot be longer than {LARGEST_MESSAGE_BYTES} bytes. You have sent {total_bytes} bytes."
        )));
    }
    // The bad entries fail alone; the good ones are sent together.
    let mut results = Vec::with_capacity(entries.len());
    let mut good = Vec::with_capacity(entries.len());
    let sent = queues.send_drafts(&queue, |config| {
        let mut drafts = Vec::with_capacity(entries.len());
        for BatchEntry { id, entry } in entries {
            let (body, options, system_md5) = entry.into_parts();
            match draft(config, body, options) {
                Ok(draft) => {
                    drafts.push(draft);
                    good.push((id, system_md5));
                }
                Err(error) => results.push((id, Err(error))),
            }
        }
        Ok(drafts)
    })?;
    for ((id, system_md5), sent) in good.into_iter().zip(sent) {
        results.push((id, Ok(SentMessage::new(sent, system_md5))));
    }
    Ok(BatchAnswer::new(results))
}

pub(super) async fn receive(queues: &Queues, request: ReceiveMessage) -> Result<Value, Error> {
    let name = name_in(&request.queue_url);
    let default_wait = queues.find(name)?.live()?.config().wait_seconds;
    let max = request.max_number_of_messages.unwrap_or(1);
    if !(1..=MOST_AT_ONCE).contains(&max) {
        let reason = "Must be between 1 and 10, if provided.";
        return Err(invalid_value(
            &max.to_string(),
            "MaxNumberOfMessages",
            reason,
        ));
    }
    let wait = request.wait_time_seconds.unwrap_or(default_wait);
    if wait > LONGEST_WAIT_SECONDS {
        return Err(invalid_value(
            &wait.to_string(),
            "WaitTimeSeconds",
            "Must be >= 0 and <= 20, if provided.",
        ));
    }
    let visibility_ms = request.visibility_timeout.map(visibility_ms).transpose()?;
    let deliveries = queues
        .poll(name, max, visibility_ms, Duration::from_secs(wait))
        .await?;
    if deliveries.is_empty() {
        return Ok(json!({}));
    }
    let messages: Vec<_> = deliveries
        .iter()
        .map(|delivery| request.show(delivery))
        .collect();
    Ok(json!({ "Messages": messages }))
}

pub(super) fn delete(queues: &Queues, request: &OneDelivery) -> Result<Nothing, Error> {
    let queue = queues.find(name_in(&request.queue_url))?;
    let deleted = queues.delete_handles(&queue, &[&request.receipt_handle]);
    deleted.into_iter().collect::<Result<(), Error>>()?;
    Ok(Nothing {})
}

pub(super) fn delete_batch(
    queues: &Queues,
    request: Batch<OneDelivery>,
) -> Result<BatchAnswer<Nothing>, Error> {
    let queue = queues.find(name_in(&request.queue_url))?;
    let entries = checked(request.entries)?;
    let handles: Vec<&str> = entries
        .iter()
        .map(|entry| entry.entry.receipt_handle.as_str())
        .collect();
    let deleted = queues.delete_handles(&queue, &handles);
    let ids = entries.iter().map(|entry| entry.id.clone());
    Ok(BatchAnswer::new(
        ids.zip(
            deleted
                .into_iter()
                .map(|deleted| deleted.map(|()| Nothing {})),
        ),
    ))
}

pub(super) fn change_visibility(queues: &Queues, request: &OneDelivery) -> Result<Nothing, Error> {
    change(queues, name_in(&request.queue_url), request)
}

pub(super) fn change_visibility_batch(
    queues: &Queues,
    request: Batch<OneDelivery>,
) -> Result<BatchAnswer<Nothing>, Error> {
    let name = name_in(&request.queue_url);
    queues.find(name)?;
    let entries = checked(request.entries)?;
    Ok(BatchAnswer::new(entries.into_iter().map(|entry| {
        (entry.id, change(queues, name, &entry.entry))
    })))
}

fn change(queues: &Queues, name: &str, request: &OneDelivery) -> Result<Nothing, Error> {
    let timeout = request
        .visibility_timeout
        .ok_or_else(|| missing("VisibilityTimeout"))?;
    let timeout = Duration::from_millis(visibility_ms(timeout)?);
    queues.change_visibility(name, &request.receipt_handle, timeout)?;
    Ok(Nothing {})
}

fn visibility_ms(seconds: u64) -> Result<u64, Error> {
    if seconds > LONGEST_VISIBILITY_SECONDS {
        let reason = "VisibilityTimeout must be an integer between 0 and 43200.";
        return Err(invalid_value(
            &seconds.to_string(),
            "VisibilityTimeout",
            reason,
        ));
    }
    Ok(seconds * 1000)
}

/// A batch's entries, when the batch as a whole is in order.
fn checked<T>(entries: Option<Vec<BatchEntry<T>>>) -> Result<Vec<BatchEntry<T>>, Error> {
    let entries = entries.unwrap_or_default();
    if entries.is_empty() {
        return Err(
            Code::EmptyBatchRequest.with("There should be at least one entry in the request.")
        );
    }
    if entries.len() > MOST_AT_ONCE {
        return Err(Code::TooManyEntriesInBatchRequest.with(format!(
            "Maximum number of entries per request are {MOST_AT_ONCE}. You have sent {}.",
            entries.len()
        )));
    }
    let mut ids = HashSet::new();
    for BatchEntry { id, .. } in &entries {
        if !(1..=80).contains(&id.len()) || !id.bytes().all(is_name_byte) {
            return Err(Code::InvalidBatchEntryId.with(
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. \
                 It can be at most 80 letters long.",
            ));
        }
        if !ids.insert(id) {
            return Err(Code::BatchEntryIdsNotDistinct.with(format!("Id {id} repeated.")));
        }
    }
    Ok(entries)
}

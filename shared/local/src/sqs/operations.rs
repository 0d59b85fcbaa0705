//! SQS's operations on queues.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::attributes::{Config, is_known};
use super::fault::{Code, invalid_value};
use super::wire::{
    CreateQueue, GetQueueAttributes, GetQueueUrl, ListQueues, Nothing, OneQueue,
    SetQueueAttributes, TagQueue, UntagQueue,
};
use super::{Error, Queues, arn, name_in, url};

/// The most queues in one answer.
const MOST_LISTED: usize = 1000;
/// A queue has at most this many tags.
const MOST_TAGS: usize = 50;

pub(super) fn create(queues: &Queues, request: CreateQueue) -> Result<Value, Error> {
    let CreateQueue {
        queue_name,
        attributes,
        tags,
    } = request;
    let attributes = attributes.unwrap_or_default();
    // Checks the name and the attributes of a queue that exists as well.
    Config::new(&queue_name, &attributes)?;
    let queue = queues.create_new(&queue_name, &attributes, tags.unwrap_or_default())?;
    if let Some(name) = queue.live()?.config().differs_in(&attributes) {
        return Err(Code::QueueNameExists.with(format!(
            "A queue already exists with the same name and a different value for attribute {name}"
        )));
    }
    Ok(json!({ "QueueUrl": url(&queue_name) }))
}

pub(super) fn delete(queues: &Queues, request: &OneQueue) -> Result<Nothing, Error> {
    let name = name_in(&request.queue_url);
    let queue = queues.find(name)?;
    // Ended while it can still be found, so that a new queue of this name cannot lose its file here.
    let ended = queue.live()?.end();
    queues.registry_mut().remove(name);
    queue.changed.notify_waiters();
    ended?;
    Ok(Nothing {})
}

pub(super) fn queue_url(queues: &Queues, request: &GetQueueUrl) -> Result<Value, Error> {
    let queue = queues.find(&request.queue_name)?;
    Ok(json!({ "QueueUrl": url(&queue.name) }))
}

pub(super) fn list(queues: &Queues, request: &ListQueues) -> Result<Value, Error> {
    let most = request.max_results.unwrap_or(MOST_LISTED);
    if !(1..=MOST_LISTED).contains(&most) {
        return Err(invalid_value(
            &most.to_string(),
            "MaxResults",
            "Must be between 1 and 1000.",
        ));
    }
    let prefix = request.queue_name_prefix.as_deref().unwrap_or_default();
    let after = request.next_token.as_deref().unwrap_or_default();
    let mut names = queues.names();
    names.retain(|name| name.starts_with(prefix) && name.as_str() > after);
    let more = names.len() > most;
    names.truncate(most);
    let mut answer = json!({ "QueueUrls": names.iter().map(|name| url(name)).collect::<Vec<_>>() });
    if let Some(last) = names
        .last()
        .filter(|_| more && request.max_results.is_some())
    {
        answer["NextToken"] = Value::from(last.as_str());
    }
    Ok(answer)
}

pub(super) fn attributes(queues: &Queues, request: &GetQueueAttributes) -> Result<Value, Error> {
    let queue = queues.find(name_in(&request.queue_url))?;
    let wanted = request.attribute_names.as_deref().unwrap_or_default();
    if let Some(unknown) = wanted.iter().find(|name| !is_known(name)) {
        return Err(Code::InvalidAttributeName.with(format!("Unknown Attribute {unknown}.")));
    }
    let mut state = queue.live()?;
    let depth = state.depth(queues.0.clock.now_ms());
    let mut all = state.config().all();
    let read_only = [
        ("QueueArn", arn(&queue.name)),
        ("ApproximateNumberOfMessages", depth.visible.to_string()),
        (
            "ApproximateNumberOfMessagesNotVisible",
            depth.in_flight.to_string(),
        ),
        (
            "ApproximateNumberOfMessagesDelayed",
            depth.delayed.to_string(),
        ),
        ("CreatedTimestamp", (state.created_at_ms / 1000).to_string()),
        (
            "LastModifiedTimestamp",
            (state.changed_at_ms / 1000).to_string(),
        ),
    ];
    all.extend(read_only.map(|(name, value)| (name.to_owned(), value)));
    all.retain(|name, _| {
        wanted
            .iter()
            .any(|wanted| wanted == "All" || wanted == name)
    });
    Ok(if all.is_empty() {
        json!({})
    } else {
        json!({ "Attributes": all })
    })
}

pub(super) fn set_attributes(
    queues: &Queues,
    request: &SetQueueAttributes,
) -> Result<Nothing, Error> {
    let queue = queues.find(name_in(&request.queue_url))?;
    queues.set_attributes(&queue, &request.attributes)?;
    Ok(Nothing {})
}

pub(super) fn purge(queues: &Queues, request: &OneQueue) -> Result<Nothing, Error> {
    let queue = queues.find(name_in(&request.queue_url))?;
    queue.live()?.purge()?;
    queue.changed.notify_waiters();
    Ok(Nothing {})
}

pub(super) fn tags(queues: &Queues, request: &OneQueue) -> Result<Value, Error> {
    let queue = queues.find(name_in(&request.queue_url))?;
    let state = queue.live()?;
    Ok(if state.tags.is_empty() {
        json!({})
    } else {
        json!({ "Tags": state.tags })
    })
}

pub(super) fn tag(queues: &Queues, request: TagQueue) -> Result<Nothing, Error> {
    change_tags(queues, &request.queue_url, |tags| tags.extend(request.tags))
}

pub(super) fn untag(queues: &Queues, request: &UntagQueue) -> Result<Nothing, Error> {
    change_tags(queues, &request.queue_url, |tags| {
        tags.retain(|key, _| !request.tag_keys.contains(key));
    })
}

fn change_tags(
    queues: &Queues,
    queue_url: &str,
    change: impl FnOnce(&mut BTreeMap<String, String>),
) -> Result<Nothing, Error> {
    let queue = queues.find(name_in(queue_url))?;
    let mut state = queue.live()?;
    let mut tags = state.tags.clone();
    change(&mut tags);
    if tags.len() > MOST_TAGS {
        return Err(
            Code::InvalidParameterValue.with(format!("A queue has at most {MOST_TAGS} tags."))
        );
    }
    state.set_tags(tags)?;
    Ok(Nothing {})
}

pub(super) fn dead_letter_sources(queues: &Queues, request: &OneQueue) -> Result<Value, Error> {
    let target = queues.find(name_in(&request.queue_url))?;
    let is_source = |redrive: &super::attributes::Redrive| redrive.queue == target.name;
    let sources = queues.all().into_iter().filter(|queue| {
        queue
            .lock()
            .config()
            .redrive
            .as_ref()
            .is_some_and(is_source)
    });
    // The member's name begins in lower case, in this answer only.
    Ok(json!({ "queueUrls": sources.map(|queue| url(&queue.name)).collect::<Vec<_>>() }))
}

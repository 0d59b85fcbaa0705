//! The JSON bodies of requests and answers, as in SQS's service model. Unknown members are ignored, as SQS does.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::delivery::Delivery;
use super::message::{AttributeValue, SendOptions, selected};
use super::record::Sent;
use super::{Error, digest};

type Texts = BTreeMap<String, String>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateQueue {
    pub(super) queue_name: String,
    pub(super) attributes: Option<Texts>,
    /// Written in lower case, unlike everything else.
    #[serde(rename = "tags")]
    pub(super) tags: Option<Texts>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetQueueUrl {
    pub(super) queue_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListQueues {
    pub(super) queue_name_prefix: Option<String>,
    pub(super) max_results: Option<usize>,
    pub(super) next_token: Option<String>,
}

/// Requests that name a queue and nothing else that matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneQueue {
    pub(super) queue_url: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetQueueAttributes {
    pub(super) queue_url: String,
    pub(super) attribute_names: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetQueueAttributes {
    pub(super) queue_url: String,
    pub(super) attributes: Texts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct TagQueue {
    pub(super) queue_url: String,
    pub(super) tags: Texts,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct UntagQueue {
    pub(super) queue_url: String,
    pub(super) tag_keys: Vec<String>,
}

/// A message to send, alone or in a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SendMessage {
    #[serde(default)]
    pub(super) queue_url: String,
    pub(super) message_body: Option<String>,
    delay_seconds: Option<u32>,
    pub(super) message_attributes: Option<BTreeMap<String, AttributeValue>>,
    message_system_attributes: Option<BTreeMap<String, AttributeValue>>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

impl SendMessage {
    /// The message's parts, and the digest of its system attributes.
    pub(super) fn into_parts(self) -> (String, SendOptions, Option<String>) {
        let system = self.message_system_attributes.unwrap_or_default();
        let system_md5 = digest::of_attributes(&system);
        let trace_header = system
            .into_iter()
            .find(|(name, _)| name == "AWSTraceHeader");
        let options = SendOptions {
            delay_seconds: self.delay_seconds,
            group_id: self.message_group_id,
            deduplication_id: self.message_deduplication_id,
            attributes: self.message_attributes.unwrap_or_default(),
            trace_header: trace_header.and_then(|(_, value)| value.string_value),
        };
        (self.message_body.unwrap_or_default(), options, system_md5)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceiveMessage {
    pub(super) queue_url: String,
    attribute_names: Option<Vec<String>>,
    message_system_attribute_names: Option<Vec<String>>,
    message_attribute_names: Option<Vec<String>>,
    pub(super) max_number_of_messages: Option<usize>,
    pub(super) visibility_timeout: Option<u64>,
    pub(super) wait_time_seconds: Option<u64>,
}

impl ReceiveMessage {
    /// The message with what was asked for.
    pub(super) fn show(&self, delivery: &Delivery) -> ReceivedMessage {
        let names = |names: &Option<Vec<String>>, name: &str| {
            names
                .iter()
                .flatten()
                .any(|wanted| wanted == "All" || wanted == name)
        };
        let mut system = delivery.attributes();
        system.retain(|name, _| {
            names(&self.attribute_names, name) || names(&self.message_system_attribute_names, name)
        });
        let wanted = self.message_attribute_names.as_deref().unwrap_or_default();
        let attributes = selected(&delivery.message.attributes, wanted);
        ReceivedMessage {
            message_id: delivery.message.id.clone(),
            receipt_handle: delivery.handle.clone(),
            md5_of_body: delivery.message.body_md5.clone(),
            body: delivery.message.body.clone(),
            attributes: system,
            md5_of_message_attributes: digest::of_attributes(&attributes),
            message_attributes: attributes.into_owned(),
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReceivedMessage {
    message_id: String,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: String,
    body: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: Texts,
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_message_attributes: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<String, AttributeValue>,
}

/// Deletes a message or changes its visibility, alone or in a batch.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct OneDelivery {
    #[serde(default)]
    pub(super) queue_url: String,
    pub(super) receipt_handle: String,
    pub(super) visibility_timeout: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Batch<T> {
    pub(super) queue_url: String,
    pub(super) entries: Option<Vec<BatchEntry<T>>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BatchEntry<T> {
    #[serde(rename = "Id")]
    pub(super) id: String,
    #[serde(flatten)]
    pub(super) entry: T,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SentMessage {
    message_id: String,
    #[serde(rename = "MD5OfMessageBody")]
    md5_of_message_body: String,
    #[serde(
        rename = "MD5OfMessageAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_message_attributes: Option<String>,
    #[serde(
        rename = "MD5OfMessageSystemAttributes",
        skip_serializing_if = "Option::is_none"
    )]
    md5_of_message_system_attributes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<String>,
}

impl SentMessage {
    pub(super) fn new(sent: Sent, system_md5: Option<String>) -> Self {
        Self {
            message_id: sent.id,
            md5_of_message_body: sent.body_md5,
            md5_of_message_attributes: sent.attributes_md5,
            md5_of_message_system_attributes: system_md5,
            sequence_number: sent.sequence_number,
        }
    }
}

/// What became of a batch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchAnswer<T> {
    successful: Vec<Successful<T>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<Failed>,
}

impl<T> BatchAnswer<T> {
    pub(super) fn new(results: impl IntoIterator<Item = (String, Result<T, Error>)>) -> Self {
        let mut answer = Self {
            successful: Vec::new(),
            failed: Vec::new(),
        };
        for (id, result) in results {
            match result {
                Ok(entry) => answer.successful.push(Successful { id, entry }),
                Err(error) => answer.failed.push(Failed {
                    id,
                    sender_fault: error.code().is_senders(),
                    code: error.code().query_name(),
                    message: error.message(),
                }),
            }
        }
        answer
    }
}

#[derive(Debug, Serialize)]
struct Successful<T> {
    #[serde(rename = "Id")]
    id: String,
    #[serde(flatten)]
    entry: T,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Failed {
    id: String,
    sender_fault: bool,
    code: &'static str,
    message: String,
}

/// An answer without content: `{}`.
#[derive(Debug, Serialize)]
pub(super) struct Nothing {}

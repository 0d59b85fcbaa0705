//! Messages: what a sender gives, what is kept and what a receiver gets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attributes::Config;
use super::fault::{Code, invalid_value, missing};
use super::{Error, digest, new_id};

/// The longest delay of one message: 900 s.
const LONGEST_DELAY_SECONDS: u32 = 900;
/// A message has at most this many attributes.
const MOST_ATTRIBUTES: usize = 10;

/// What goes along with a message's body.
#[derive(Clone, Debug, Default)]
pub struct SendOptions {
    /// Seconds until the message becomes visible, at most 900; the queue's own delay by default.
    pub delay_seconds: Option<u32>,
    /// The message group: order on a FIFO queue, fairness on a standard one.
    pub group_id: Option<String>,
    /// FIFO queues: a second message with this id within 5 minutes is not kept.
    pub deduplication_id: Option<String>,
    /// The message attributes.
    pub attributes: BTreeMap<String, AttributeValue>,
    /// The X-Ray trace header, which receivers get as a system attribute.
    pub trace_header: Option<String>,
}

/// The value of one message attribute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttributeValue {
    /// `String`, `Number` or `Binary`, or one of these with a dot and a label of one's own.
    pub data_type: String,
    /// The text, unless binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub string_value: Option<String>,
    /// The bytes in base64, when binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary_value: Option<String>,
}

impl AttributeValue {
    /// A text or number.
    #[must_use]
    pub fn text(data_type: &str, value: &str) -> Self {
        Self {
            data_type: data_type.to_owned(),
            string_value: Some(value.to_owned()),
            binary_value: None,
        }
    }

    /// Bytes.
    #[must_use]
    pub fn binary(data_type: &str, value: &[u8]) -> Self {
        Self {
            data_type: data_type.to_owned(),
            string_value: None,
            binary_value: Some(BASE64.encode(value)),
        }
    }

    /// The bytes of a binary value.
    pub(super) fn bytes(&self) -> Option<Vec<u8>> {
        let value = self.binary_value.as_ref()?;
        BASE64.decode(value).ok()
    }

    fn len(&self) -> usize {
        let value = self.string_value.as_ref().map_or(0, String::len);
        self.data_type.len() + self.bytes().map_or(value, |bytes| bytes.len())
    }

    fn check(&self, name: &str) -> Result<(), Error> {
        let refused = |reason: &str| {
            Code::InvalidParameterValue.with(format!("The message attribute '{name}' {reason}"))
        };
        let present = match self.data_type.split('.').next() {
            Some("String" | "Number") => self
                .string_value
                .as_ref()
                .is_some_and(|value| !value.is_empty()),
            Some("Binary") => self.bytes().is_some_and(|bytes| !bytes.is_empty()),
            _ => return Err(refused("has an invalid message attribute type.")),
        };
        if !present {
            return Err(refused("must contain a non-empty value of its type."));
        }
        Ok(())
    }
}

/// How many messages a queue holds, by what they wait for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Ready to be received.
    pub visible: usize,
    /// Received and neither deleted nor visible again.
    pub in_flight: usize,
    /// Not yet visible for the first time.
    pub delayed: usize,
    /// Milliseconds since the oldest of all these was sent.
    pub oldest_age_ms: u64,
}

/// A received message.
#[derive(Clone, Debug)]
pub struct Received {
    /// The id given when it was sent.
    pub message_id: String,
    /// What deletes this delivery or changes its visibility.
    pub receipt_handle: String,
    /// The body.
    pub body: String,
    /// The body's MD5 in hexadecimal.
    pub md5_of_body: String,
    /// The system attributes, `ApproximateReceiveCount` and so on.
    pub attributes: BTreeMap<String, String>,
    /// The message attributes in the form of a Lambda record's `messageAttributes`.
    pub message_attributes: Value,
}

/// A message as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) body_md5: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) attributes: BTreeMap<String, AttributeValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) trace_header: Option<String>,
    /// Empty without a group.
    #[serde(default, skip_serializing_if = "str_is_empty")]
    pub(super) group: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) deduplication_id: Option<String>,
    pub(super) sent_at_ms: u64,
    /// The ARN of the queue it came from, once it is a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) dead_letter_source: Option<String>,
}

impl Message {
    /// A copy for the dead-letter queue. Only a FIFO queue dates it anew.
    pub(super) fn as_dead_letter(&self, source: &str, sent_at_ms: Option<u64>) -> Self {
        Self {
            sent_at_ms: sent_at_ms.unwrap_or(self.sent_at_ms),
            dead_letter_source: Some(source.to_owned()),
            ..self.clone()
        }
    }
}

fn str_is_empty(text: &Arc<str>) -> bool {
    text.is_empty()
}

/// A message that was checked and not yet sent.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) message: Message,
    pub(super) delay_ms: u64,
    pub(super) attributes_md5: Option<String>,
}

/// Checks a message against the queue's rules.
pub(super) fn draft(config: &Config, body: String, options: SendOptions) -> Result<Draft, Error> {
    if body.is_empty() {
        return Err(missing("MessageBody"));
    }
    if !body.chars().all(is_allowed) {
        return Err(
            Code::InvalidMessageContents.with("Invalid characters found in the message body.")
        );
    }
    if options.attributes.len() > MOST_ATTRIBUTES {
        return Err(Code::InvalidParameterValue.with(format!(
            "Number of message attributes [{}] exceeds the allowed maximum [{MOST_ATTRIBUTES}].",
            options.attributes.len()
        )));
    }
    for (name, value) in &options.attributes {
        value.check(name)?;
    }
    if size(&body, &options.attributes) > config.largest_message_bytes {
        return Err(Code::InvalidParameterValue.with(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
            config.largest_message_bytes
        )));
    }
    if let Some(group) = options.group_id.as_deref().filter(|group| !is_token(group)) {
        return Err(token_refused(group, "MessageGroupId"));
    }
    let body_md5 = digest::of_text(&body);
    let deduplication_id = deduplication_id(config, &options, &body_md5)?;
    Ok(Draft {
        delay_ms: delay_ms(config, options.delay_seconds)?,
        attributes_md5: digest::of_attributes(&options.attributes),
        message: Message {
            id: new_id(),
            body,
            body_md5,
            attributes: options.attributes,
            trace_header: options.trace_header,
            group: Arc::from(options.group_id.unwrap_or_default()),
            deduplication_id,
            sent_at_ms: 0,
            dead_letter_source: None,
        },
    })
}

/// What counts against the limits of a message and a batch, in bytes.
pub(super) fn size(body: &str, attributes: &BTreeMap<String, AttributeValue>) -> u64 {
    let attributes: usize = attributes
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    (body.len() + attributes) as u64
}

fn delay_ms(config: &Config, delay_seconds: Option<u32>) -> Result<u64, Error> {
    match delay_seconds {
        None => Ok(config.delay_ms),
        Some(delay) if config.fifo && delay > 0 => Err(invalid_value(
            &delay.to_string(),
            "DelaySeconds",
            "The request include parameter that is not valid for this queue type.",
        )),
        Some(_) if config.fifo => Ok(config.delay_ms),
        Some(delay) if delay > LONGEST_DELAY_SECONDS => Err(invalid_value(
            &delay.to_string(),
            "DelaySeconds",
            "DelaySeconds must be >= 0 and <= 900.",
        )),
        Some(delay) => Ok(u64::from(delay) * 1000),
    }
}

fn deduplication_id(
    config: &Config,
    options: &SendOptions,
    body_md5: &str,
) -> Result<Option<String>, Error> {
    let Some(id) = &options.deduplication_id else {
        if !config.fifo {
            return Ok(None);
        }
        if options.group_id.is_none() {
            return Err(missing("MessageGroupId"));
        }
        if config.content_based_deduplication {
            return Ok(Some(body_md5.to_owned()));
        }
        return Err(Code::InvalidParameterValue.with(
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
        ));
    };
    if !config.fifo {
        return Err(invalid_value(
            id,
            "MessageDeduplicationId",
            "The request include parameter that is not valid for this queue type.",
        ));
    }
    if !is_token(id) {
        return Err(token_refused(id, "MessageDeduplicationId"));
    }
    if options.group_id.is_none() {
        return Err(missing("MessageGroupId"));
    }
    Ok(Some(id.clone()))
}

/// The characters of XML 1.0, which is all SQS takes.
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn is_token(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn token_refused(value: &str, parameter: &str) -> Error {
    let reason = format!(
        "{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length."
    );
    invalid_value(value, parameter, &reason)
}

/// Message attributes as Lambda's event source mapping hands them to a function.
pub(super) fn lambda_attributes(attributes: &BTreeMap<String, AttributeValue>) -> Value {
    attributes
        .iter()
        .map(|(name, value)| {
            let mut shown = json!({
                "dataType": value.data_type,
                "stringListValues": [],
                "binaryListValues": [],
            });
            if let Some(text) = &value.string_value {
                shown["stringValue"] = Value::from(text.as_str());
            }
            if let Some(bytes) = &value.binary_value {
                shown["binaryValue"] = Value::from(bytes.as_str());
            }
            (name.clone(), shown)
        })
        .collect::<serde_json::Map<_, _>>()
        .into()
}

/// The attributes a receiver asked for: by name, by prefix (`name.*`), or all of them (`All`, `.*`).
pub(super) fn selected<'a>(
    attributes: &'a BTreeMap<String, AttributeValue>,
    names: &[String],
) -> Cow<'a, BTreeMap<String, AttributeValue>> {
    let wants = |name: &str| {
        names.iter().any(|wanted| match wanted.as_str() {
            "All" => true,
            wanted => wanted
                .strip_suffix(".*")
                .map_or(wanted == name, |prefix| name.starts_with(prefix)),
        })
    };
    if attributes.keys().all(|name| wants(name)) {
        return Cow::Borrowed(attributes);
    }
    let mut some = attributes.clone();
    some.retain(|name, _| wants(name));
    Cow::Owned(some)
}

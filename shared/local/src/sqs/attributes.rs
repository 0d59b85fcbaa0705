//! What is set on a queue: its attributes, their ranges and defaults.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::fault::Code;
use super::{Error, name_in};

/// The largest body a queue may allow, and the default: 1 MiB.
pub(super) const LARGEST_MESSAGE_BYTES: u64 = 1 << 20;

/// Attributes that are numbers: name, default, smallest, largest.
const NUMBERS: [(&str, u64, u64, u64); 5] = [
    ("DelaySeconds", 0, 0, 900),
    (
        "MaximumMessageSize",
        LARGEST_MESSAGE_BYTES,
        1024,
        LARGEST_MESSAGE_BYTES,
    ),
    ("MessageRetentionPeriod", 345_600, 60, 1_209_600),
    ("ReceiveMessageWaitTimeSeconds", 0, 0, 20),
    ("VisibilityTimeout", 30, 0, 43_200),
];

/// Attributes that are stored and read back, with no effect.
const INERT: [&str; 5] = [
    "KmsDataKeyReusePeriodSeconds",
    "KmsMasterKeyId",
    "Policy",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
];

/// A queue's attributes, understood.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) fifo: bool,
    /// FIFO: the body's hash stands in for a missing deduplication id.
    pub(super) content_based_deduplication: bool,
    /// FIFO: ids are compared within a group only.
    pub(super) deduplicates_by_group: bool,
    pub(super) delay_ms: u64,
    pub(super) largest_message_bytes: u64,
    pub(super) redrive: Option<Redrive>,
    pub(super) retention_ms: u64,
    pub(super) visibility_timeout_ms: u64,
    pub(super) wait_seconds: u64,
    /// As they were set.
    pub(super) set: BTreeMap<String, String>,
}

/// Where messages go that were received too often.
#[derive(Clone, Debug)]
pub(super) struct Redrive {
    /// The dead-letter queue's name.
    pub(super) queue: String,
    pub(super) max_receive_count: u32,
}

impl Config {
    /// The attributes of a new queue.
    pub(super) fn new(name: &str, set: &BTreeMap<String, String>) -> Result<Self, Error> {
        let stem = name.strip_suffix(".fifo");
        let fifo = set.get("FifoQueue").is_some_and(|fifo| fifo == "true");
        if let Some(other) = set.get("FifoQueue").filter(|fifo| *fifo != "true") {
            return Err(if stem.is_some() {
                invalid("FifoQueue", other)
            } else {
                unknown("FifoQueue")
            });
        }
        if name.is_empty()
            || name.len() > 80
            || !stem.unwrap_or(name).bytes().all(is_name_byte)
            || fifo != stem.is_some()
        {
            return Err(Code::InvalidParameterValue.with(if fifo {
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must end with \
                 .fifo suffix and be 1 to 80 in length."
            } else {
                "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
            }));
        }
        Self::parse(fifo, set.clone())
    }

    /// These attributes with some of them changed; an empty value resets one.
    pub(super) fn with(&self, changes: &BTreeMap<String, String>) -> Result<Self, Error> {
        let mut set = self.set.clone();
        for (name, value) in changes {
            if name == "FifoQueue" && (value == "true") != self.fifo {
                return Err(invalid(name, value));
            }
            if value.is_empty() {
                set.remove(name);
            } else {
                set.insert(name.clone(), value.clone());
            }
        }
        Self::parse(self.fifo, set)
    }

    fn parse(fifo: bool, set: BTreeMap<String, String>) -> Result<Self, Error> {
        for (name, value) in &set {
            let valid = match name.as_str() {
                "FifoQueue" => fifo,
                "ContentBasedDeduplication" if fifo => value == "true" || value == "false",
                "DeduplicationScope" if fifo => value == "queue" || value == "messageGroup",
                "FifoThroughputLimit" if fifo => {
                    value == "perQueue" || value == "perMessageGroupId"
                }
                "RedrivePolicy" => true,
                name if INERT.contains(&name)
                    || NUMBERS.iter().any(|(number, ..)| *number == name) =>
                {
                    true
                }
                _ => return Err(unknown(name)),
            };
            if !valid {
                return Err(invalid(name, value));
            }
        }
        let redrive = set
            .get("RedrivePolicy")
            .map(|policy| redrive(policy))
            .transpose()?;
        let is = |name: &str, value: &str| set.get(name).is_some_and(|is| is == value);
        Ok(Self {
            fifo,
            content_based_deduplication: is("ContentBasedDeduplication", "true"),
            deduplicates_by_group: is("DeduplicationScope", "messageGroup"),
            delay_ms: number(&set, "DelaySeconds")? * 1000,
            largest_message_bytes: number(&set, "MaximumMessageSize")?,
            redrive,
            retention_ms: number(&set, "MessageRetentionPeriod")? * 1000,
            visibility_timeout_ms: number(&set, "VisibilityTimeout")? * 1000,
            wait_seconds: number(&set, "ReceiveMessageWaitTimeSeconds")?,
            set,
        })
    }

    /// The attributes as `GetQueueAttributes` gives them, defaults included.
    pub(super) fn all(&self) -> BTreeMap<String, String> {
        let mut all = self.set.clone();
        for (name, default, ..) in NUMBERS {
            all.entry(name.to_owned())
                .or_insert_with(|| default.to_string());
        }
        let mut default = |name: &str, value: &str| {
            all.entry(name.to_owned())
                .or_insert_with(|| value.to_owned());
        };
        default("SqsManagedSseEnabled", "true");
        if self.fifo {
            default("FifoQueue", "true");
            default("ContentBasedDeduplication", "false");
            default("DeduplicationScope", "queue");
            default("FifoThroughputLimit", "perQueue");
        }
        all
    }

    /// The first of `wanted` that is set otherwise here.
    pub(super) fn differs_in<'a>(&self, wanted: &'a BTreeMap<String, String>) -> Option<&'a str> {
        let all = self.all();
        wanted
            .iter()
            .find(|(name, value)| all.get(*name) != Some(value))
            .map(|(name, _)| name.as_str())
    }
}

/// Whether `name` is an attribute of queues that `GetQueueAttributes` may be asked for.
pub(super) fn is_known(name: &str) -> bool {
    const READ_ONLY: [&str; 12] = [
        "All",
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesDelayed",
        "ApproximateNumberOfMessagesNotVisible",
        "ContentBasedDeduplication",
        "CreatedTimestamp",
        "DeduplicationScope",
        "FifoQueue",
        "FifoThroughputLimit",
        "LastModifiedTimestamp",
        "QueueArn",
        "RedrivePolicy",
    ];
    READ_ONLY.contains(&name)
        || INERT.contains(&name)
        || NUMBERS.iter().any(|(number, ..)| *number == name)
}

/// Whether names of queues and ids of batch entries may have this byte.
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

fn number(set: &BTreeMap<String, String>, name: &str) -> Result<u64, Error> {
    let Some((_, default, smallest, largest)) = NUMBERS.iter().find(|(number, ..)| *number == name)
    else {
        return Err(unknown(name));
    };
    let Some(value) = set.get(name) else {
        return Ok(*default);
    };
    value
        .parse()
        .ok()
        .filter(|number| (smallest..=largest).contains(&number))
        .ok_or_else(|| invalid(name, value))
}

fn redrive(policy: &str) -> Result<Redrive, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Policy {
        dead_letter_target_arn: String,
        max_receive_count: Count,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count {
        Number(u32),
        Text(String),
    }
    let read: Policy =
        serde_json::from_str(policy).map_err(|_| invalid("RedrivePolicy", policy))?;
    let count = match read.max_receive_count {
        Count::Number(count) => Some(count),
        Count::Text(count) => count.parse().ok(),
    };
    Ok(Redrive {
        queue: name_in(&read.dead_letter_target_arn).to_owned(),
        max_receive_count: count
            .filter(|count| (1..=1000).contains(count))
            .ok_or_else(|| invalid("RedrivePolicy", policy))?,
    })
}

fn unknown(name: &str) -> Error {
    Code::InvalidAttributeName.with(format!("Unknown Attribute {name}."))
}

fn invalid(name: &str, value: &str) -> Error {
    Code::InvalidAttributeValue.with(format!("Invalid value for the parameter {name}: {value}"))
}

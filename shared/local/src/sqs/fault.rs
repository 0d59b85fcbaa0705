//! SQS's errors by name, as the SDKs expect them on the wire.

use super::Error;

/// SQS's errors, the ones that are answered here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A batch names the same entry twice.
    BatchEntryIdsNotDistinct,
    /// A batch is larger than 1 MiB.
    BatchRequestTooLong,
    /// A batch without entries.
    EmptyBatchRequest,
    /// The stand-in itself failed.
    InternalFailure,
    /// An attribute that this queue does not have.
    InvalidAttributeName,
    /// An attribute with a value it cannot have.
    InvalidAttributeValue,
    /// A batch entry's id is not made of 1 to 80 letters, digits, hyphens and underscores.
    InvalidBatchEntryId,
    /// A body with characters outside XML's.
    InvalidMessageContents,
    /// A parameter with a value it cannot have.
    InvalidParameterValue,
    /// Neither an operation nor a body that SQS knows.
    InvalidRequest,
    /// The message whose visibility should change is visible already.
    MessageNotInflight,
    /// A parameter that is needed is not there.
    MissingParameter,
    /// More than 120,000 messages in flight.
    OverLimit,
    /// No queue has this name.
    QueueDoesNotExist,
    /// The queue exists with other attributes.
    QueueNameExists,
    /// Not a receipt handle of this queue.
    ReceiptHandleIsInvalid,
    /// A batch of more than ten.
    TooManyEntriesInBatchRequest,
    /// An operation that the stand-in does not have.
    UnsupportedOperation,
}

impl Code {
    /// The error's name in the JSON protocol.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.names().0
    }

    /// The error's name in the older query protocol, by which the SDKs go and which batch entries carry.
    pub(super) fn query_name(self) -> &'static str {
        self.names().1
    }

    pub(super) fn is_senders(self) -> bool {
        self != Self::InternalFailure
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::BatchEntryIdsNotDistinct => (
                "BatchEntryIdsNotDistinct",
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            ),
            Self::BatchRequestTooLong => (
                "BatchRequestTooLong",
                "AWS.SimpleQueueService.BatchRequestTooLong",
            ),
            Self::EmptyBatchRequest => (
                "EmptyBatchRequest",
                "AWS.SimpleQueueService.EmptyBatchRequest",
            ),
            Self::InternalFailure => ("InternalFailure", "InternalFailure"),
            Self::InvalidAttributeName => ("InvalidAttributeName", "InvalidAttributeName"),
            Self::InvalidAttributeValue => ("InvalidAttributeValue", "InvalidAttributeValue"),
            Self::InvalidBatchEntryId => (
                "InvalidBatchEntryId",
                "AWS.SimpleQueueService.InvalidBatchEntryId",
            ),
            Self::InvalidMessageContents => ("InvalidMessageContents", "InvalidMessageContents"),
            Self::InvalidParameterValue => {
                ("InvalidParameterValueException", "InvalidParameterValue")
            }
            Self::InvalidRequest => ("InvalidRequestException", "InvalidRequest"),
            Self::MessageNotInflight => (
                "MessageNotInflight",
                "AWS.SimpleQueueService.MessageNotInflight",
            ),
            Self::MissingParameter => ("MissingRequiredParameterException", "MissingParameter"),
            Self::OverLimit => ("OverLimit", "OverLimit"),
            Self::QueueDoesNotExist => (
                "QueueDoesNotExist",
                "AWS.SimpleQueueService.NonExistentQueue",
            ),
            Self::QueueNameExists => ("QueueNameExists", "QueueAlreadyExists"),
            Self::ReceiptHandleIsInvalid => ("ReceiptHandleIsInvalid", "ReceiptHandleIsInvalid"),
            Self::TooManyEntriesInBatchRequest => (
                "TooManyEntriesInBatchRequest",
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            ),
            Self::UnsupportedOperation => (
                "UnsupportedOperation",
                "AWS.SimpleQueueService.UnsupportedOperation",
            ),
        }
    }

    pub(super) fn with(self, message: impl Into<String>) -> Error {
        Error::Refused {
            code: self,
            message: message.into(),
        }
    }
}

/// SQS's usual words for a parameter out of its range.
pub(super) fn invalid_value(value: &str, parameter: &str, reason: &str) -> Error {
    Code::InvalidParameterValue.with(format!(
        "Value {value} for parameter {parameter} is invalid. Reason: {reason}"
    ))
}

/// SQS's usual words for a parameter that is not there.
pub(super) fn missing(parameter: &str) -> Error {
    Code::MissingParameter.with(format!(
        "The request must contain the parameter {parameter}."
    ))
}

//! What can go wrong between us and the queues.

use std::sync::Arc;

use aws_sdk_sqs::config::http::HttpResponse;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

type Source = Arc<dyn std::error::Error + Send + Sync>;

/// Why a queue or the scheduler did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The request failed, after the SDK's own retries.
    #[error("cannot {what} {name}")]
    Request {
        /// What was attempted, as a verb.
        what: &'static str,
        /// The queue or schedule.
        name: String,
        /// Whether a later attempt may succeed.
        transient: bool,
        /// What the SDK reported.
        #[source]
        source: Source,
    },
    /// One message of a batch was refused.
    #[error("cannot send to {name}: {code}: {message}")]
    Refused {
        /// The queue.
        name: String,
        /// SQS's code.
        code: String,
        /// SQS's words.
        message: String,
        /// Whether a later attempt may succeed.
        transient: bool,
    },
    /// The message is larger than SQS takes.
    #[error("a message of {bytes} bytes is over the limit of {limit}")]
    TooLarge {
        /// Its size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

impl Error {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Request { transient, .. } | Self::Refused { transient, .. } => *transient,
            Self::TooLarge { .. } => false,
        }
    }

    pub(crate) fn request<E>(
        what: &'static str,
        name: &str,
        error: SdkError<E, HttpResponse>,
    ) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        Self::Request {
            what,
            name: name.to_owned(),
            transient: is_transient(&error),
            source: Arc::new(error),
        }
    }
}

/// Error codes of both services that pass by themselves.
const PASSING: [&str; 10] = [
    "InternalError",
    "InternalFailure",
    "InternalServerException",
    "KmsThrottled",
    "OverLimit",
    "RequestThrottled",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
];

fn is_transient<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
        SdkError::DispatchFailure(failure) => !failure.is_user(),
        SdkError::ServiceError(refused) => {
            refused.raw().status().is_server_error()
                || refused.err().code().is_some_and(|code| {
                    let code = code.rsplit('.').next().unwrap_or(code);
                    PASSING.contains(&code)
                })
        }
        // Only `ConstructionFailure` today: the request itself is wrong.
        _ => false,
    }
}

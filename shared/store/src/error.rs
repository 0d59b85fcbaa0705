//! What can go wrong with the table and the payloads.

use std::sync::Arc;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use domain::region::Region;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an operation of the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another writer was first. Nothing was written; read again and decide again.
    #[error("another writer was first")]
    Raced,
    /// There is no such run to write to.
    #[error("there is no such run")]
    Missing,
    /// Another Region writes what is to be written: the tenant is at home there.
    #[error("the tenant is at home in {}", .0.name)]
    Elsewhere(Region),
    /// What is to be stored is larger than the store takes. Final: repeating it cannot help.
    #[error("{what} has {bytes} bytes, more than the {limit_bytes} that can be stored")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The most that can be stored.
        limit_bytes: u64,
    },
    /// The cursor is not one that this store gave to this tenant for this query.
    #[error("the cursor does not belong to this list")]
    BadCursor,
    /// The cursor is ours and too old.
    #[error("the cursor has expired")]
    ExpiredCursor,
    /// The text cannot be the subject or the name of a rate limit.
    #[error("a rate limit counts under 1 to 64 letters, digits and hyphens")]
    BadLimit,
    /// The table that a tenant is to have for itself cannot be that: why.
    #[error("the table of a tenant's own {0}")]
    Unfit(String),
    /// What is stored cannot be read.
    #[error("the item {key} cannot be read: {what}")]
    Corrupt {
        /// Its partition and sort key, or its name in the bucket.
        key: String,
        /// What is wrong with it.
        what: &'static str,
        /// What the parser said.
        source: Option<Source>,
    },
    /// A payload is not what was stored.
    #[error("the payload {key} does not have the content that was stored")]
    Tampered {
        /// Its name in the bucket.
        key: String,
    },
    /// AWS asks to slow down, or two transactions met on one item. Transient.
    #[error("{operation} was throttled")]
    Throttled {
        /// The operation of the service.
        operation: &'static str,
        /// What the SDK said.
        source: Source,
    },
    /// The service could not be reached, or failed. Transient; what was written is not known.
    #[error("{operation} got no usable answer")]
    Unavailable {
        /// The operation of the service.
        operation: &'static str,
        /// What the SDK said.
        source: Source,
    },
    /// No credentials could be had to ask with. Transient: nothing was asked.
    #[error("{operation} was not asked, for want of credentials")]
    NoCredentials {
        /// The operation of the service.
        operation: &'static str,
        /// Why there are none.
        source: Source,
    },
    /// The service refused: a permission, a missing table, a malformed request.
    #[error("{operation} was refused")]
    Refused {
        /// The operation of the service.
        operation: &'static str,
        /// What the SDK said.
        source: Source,
    },
    /// Of a read that several waited for.
    #[error(transparent)]
    Shared(Arc<Error>),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Throttled { .. } | Self::Unavailable { .. } | Self::NoCredentials { .. } => true,
            Self::Shared(error) => error.is_transient(),
            Self::Raced
            | Self::Missing
            | Self::Elsewhere(_)
            | Self::TooLarge { .. }
            | Self::BadCursor
            | Self::ExpiredCursor
            | Self::BadLimit
            | Self::Unfit(_)
            | Self::Corrupt { .. }
            | Self::Tampered { .. }
            | Self::Refused { .. } => false,
        }
    }

    pub(crate) fn of_sdk<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let code = error.code();
        let throttled = code.is_some_and(is_throttle);
        let unanswered = match &error {
            SdkError::TimeoutError(_)
            | SdkError::DispatchFailure(_)
            | SdkError::ResponseError(_) => true,
            SdkError::ServiceError(service) => service.raw().status().as_u16() >= 500,
            _ => false,
        };
        let lacks_credentials = has_no_credentials(&error);
        let source = error.into();
        if lacks_credentials {
            Self::NoCredentials { operation, source }
        } else if throttled {
            Self::Throttled { operation, source }
        } else if unanswered {
            Self::Unavailable { operation, source }
        } else {
            Self::Refused { operation, source }
        }
    }

    pub(crate) fn conflict(operation: &'static str) -> Self {
        Self::Throttled {
            operation,
            source: "transactions on the same items met again and again".into(),
        }
    }
}

/// Whether the SDK could not even sign.
fn has_no_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source())
        .any(<dyn std::error::Error>::is::<CredentialsError>)
}

fn is_throttle(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottlingException"
            | "Throttling"
            | "TransactionInProgressException"
            | "TransactionConflictException"
            | "SlowDown"
    )
}

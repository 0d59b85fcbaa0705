//! What can go wrong with KMS.

use aws_sdk_kms::config::http::HttpResponse;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// KMS asks to slow down, cannot be reached, or failed. Transient.
    #[error("{operation} got no usable answer")]
    Unavailable {
        /// The operation of KMS.
        operation: &'static str,
        /// What the SDK said.
        source: Source,
    },
    /// KMS refused: a permission, a key that is not there, disabled, or of another kind.
    #[error("{operation} was refused")]
    Refused {
        /// The operation of KMS.
        operation: &'static str,
        /// What the SDK said.
        source: Source,
    },
    /// KMS answered without what it was asked for.
    #[error("{0} answered with nothing")]
    Empty(&'static str),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn of_sdk<E>(operation: &'static str, error: SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + ProvideErrorMetadata + Send + Sync + 'static,
    {
        let passes = match &error {
            SdkError::TimeoutError(_)
            | SdkError::DispatchFailure(_)
            | SdkError::ResponseError(_) => true,
            SdkError::ServiceError(service) => {
                let is_throttle = error.code().is_some_and(|code| code.contains("Throttl"));
                is_throttle || service.raw().status().as_u16() >= 500
            }
            _ => false,
        };
        let source = error.into();
        if passes {
            Self::Unavailable { operation, source }
        } else {
            Self::Refused { operation, source }
        }
    }
}

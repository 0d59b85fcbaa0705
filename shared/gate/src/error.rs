//! What can go wrong with API Gateway.

use aws_sdk_apigateway::config::http::HttpResponse;
use aws_sdk_apigateway::error::{ProvideErrorMetadata, SdkError};

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a gate key is not as it is to be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// API Gateway asks to slow down, cannot be reached, or failed. Transient.
    #[error("{operation} got no usable answer")]
    Unavailable {
        /// The operation of API Gateway.
        operation: &'static str,
        /// What the SDK said.
        source: Source,
    },
    /// API Gateway refused: a permission, or a limit of the account.
    #[error("{operation} was refused")]
    Refused {
        /// The operation of API Gateway.
        operation: &'static str,
        /// What the SDK said.
        source: Source,
    },
    /// API Gateway says that there is such a key, and shows none of this name: another stack has its value.
    #[error("the gate key `{0}` is another's")]
    Taken(String),
    /// There is no usage plan of this name.
    #[error("there is no usage plan `{0}`")]
    NoPlan(String),
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
                let status = service.raw().status().as_u16();
                status == 429 || status >= 500
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

/// Whether API Gateway answered with an error of this name.
pub(crate) fn is<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>, code: &str) -> bool {
    error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code)
        == Some(code)
}

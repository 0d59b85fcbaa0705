//! What went wrong with a model call, sorted by what is to be done about it.

use std::error::Error;

use aws_sdk_bedrockruntime::config::http::HttpResponse;
use aws_sdk_bedrockruntime::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_types::event_stream::{Message, RawMessage};
use domain::model::{Failure, FailureKind};

/// A call that got no answer, or a stream that did not begin.
pub(crate) fn of_call<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let (error, response) = (context.err(), context.raw());
            let status = response.status().as_u16();
            Failure {
                kind: kind(error.code(), Some(status)),
                message: words(error).unwrap_or_else(|| without_words(status)),
                retry_after_ms: retry_after_ms(response),
            }
        }
        other => of_transport(other),
    }
}

/// A stream that broke.
pub(crate) fn of_stream<E>(error: &SdkError<E, RawMessage>) -> Failure
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(context) => {
            let code = match context.raw() {
                RawMessage::Decoded(message) => exception(message),
                _ => None,
            };
            let code = code.as_deref().or(context.err().code());
            Failure {
                kind: kind(code, None),
                message: words(context.err())
                    .or_else(|| code.map(str::to_owned))
                    .unwrap_or_else(|| "the provider broke off its answer".to_owned()),
                retry_after_ms: None,
            }
        }
        // It had begun: what was written may have its price.
        other => Failure {
            kind: FailureKind::Lost,
            ..of_transport(other)
        },
    }
}

/// A stream that ended before its answer was whole.
pub(crate) fn cut_short() -> Failure {
    Failure {
        kind: FailureKind::Lost,
        message: "the provider's answer ended before it was complete".to_owned(),
        retry_after_ms: None,
    }
}

/// An answer without what every answer has.
pub(crate) fn incomplete(what: &str) -> Failure {
    Failure {
        kind: FailureKind::Fault,
        message: format!("the provider's answer has no {what}"),
        retry_after_ms: None,
    }
}

fn of_transport<E, R>(error: &SdkError<E, R>) -> Failure
where
    E: Error + 'static,
    R: std::fmt::Debug + 'static,
{
    let (kind, what) = match error {
        SdkError::ConstructionFailure(_) => (
            FailureKind::Invalid,
            "the request cannot be built for the provider",
        ),
        SdkError::TimeoutError(_) => (FailureKind::Lost, "the provider did not answer in time"),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => {
            (FailureKind::Lost, "the provider did not answer in time")
        }
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_other() => {
            (FailureKind::Transient, "the provider could not be reached")
        }
        SdkError::DispatchFailure(_) => (
            FailureKind::Fault,
            "the request could not be sent to the provider",
        ),
        SdkError::ResponseError(_) => (
            FailureKind::Lost,
            "the provider's answer broke off or cannot be read",
        ),
        _ => (FailureKind::Fault, "the call of the provider failed"),
    };
    Failure {
        kind,
        message: with_causes(what, error),
        retry_after_ms: None,
    }
}

/// By the error's name in the Bedrock Runtime API; by the HTTP status where the name is not known.
fn kind(code: Option<&str>, status: Option<u16>) -> FailureKind {
    match code.unwrap_or_default() {
        "ThrottlingException" | "TooManyRequestsException" | "ServiceQuotaExceededException" => {
            FailureKind::Throttled
        }
        "ServiceUnavailableException" | "ModelTimeoutException" | "ModelNotReadyException"
        // Fresh credentials come with the next attempt.
        | "ExpiredTokenException" => FailureKind::Transient,
        "AccessDeniedException" | "UnrecognizedClientException" => FailureKind::Refused,
        "ValidationException" | "ResourceNotFoundException" => FailureKind::Invalid,
        "InternalServerException" | "ModelErrorException" | "ModelStreamErrorException" => {
            FailureKind::Fault
        }
        _ => match status {
            Some(429) => FailureKind::Throttled,
            Some(408 | 502 | 503 | 504) => FailureKind::Transient,
            _ => FailureKind::Fault,
        },
    }
}

/// The error's message, else its name.
fn words(error: &impl ProvideErrorMetadata) -> Option<String> {
    let message = error.message().map(str::trim).filter(|m| !m.is_empty());
    message.or(error.code()).map(str::to_owned)
}

fn without_words(status: u16) -> String {
    if (200..300).contains(&status) {
        "the provider's answer cannot be read".to_owned()
    } else {
        format!("the provider answered with HTTP status {status} and no reason")
    }
}

/// The name of the exception in a stream's frame, where it starts with a lower-case letter.
fn exception(message: &Message) -> Option<String> {
    let header = message
        .headers()
        .iter()
        .find(|header| header.name().as_str() == ":exception-type")?;
    let name = header.value().as_string().ok()?.as_str();
    let mut letters = name.chars();
    let first = letters.next()?.to_ascii_uppercase();
    Some(std::iter::once(first).chain(letters).collect())
}

/// `x-amz-retry-after` is in milliseconds; `Retry-After` in seconds, or a date, which is not read.
fn retry_after_ms(response: &HttpResponse) -> Option<u64> {
    let number = |name: &str| response.headers().get(name)?.trim().parse::<u64>().ok();
    number("x-amz-retry-after").or_else(|| number("retry-after")?.checked_mul(1_000))
}

/// `what`, and the causes of `error` in words.
fn with_causes(what: &str, error: &(dyn Error + 'static)) -> String {
    let mut message = what.to_owned();
    let mut said = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !words.is_empty() && !said.contains(&words) {
            message.push_str(": ");
            message.push_str(&words);
            said = words;
        }
        cause = error.source();
    }
    message
}

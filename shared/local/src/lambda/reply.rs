//! What an invocation ends with: a reply, whole or as a stream, or the reason there is none.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;

/// The content type of a streamed reply that starts with an HTTP prelude (status, headers, eight NUL bytes).
pub const HTTP_INTEGRATION_RESPONSE: &str = "application/vnd.awslambda.http-integration-response";

/// Why an invocation gave no reply.
///
/// [`InvokeError::error_type`] is the name that Lambda gives the same failure.
#[derive(Clone, Debug, thiserror::Error)]
pub enum InvokeError {
    /// No function of that name was configured.
    #[error("there is no function `{function}`")]
    NoSuchFunction {
        /// The name that was asked for.
        function: String,
    },
    /// The event is over [`PAYLOAD_LIMIT_BYTES`](super::PAYLOAD_LIMIT_BYTES).
    #[error("the event of {size_bytes} bytes is over the limit of {limit_bytes} bytes")]
    EventTooLarge {
        /// The size of the event.
        size_bytes: usize,
        /// The largest size accepted.
        limit_bytes: usize,
    },
    /// The buffered reply is over [`PAYLOAD_LIMIT_BYTES`](super::PAYLOAD_LIMIT_BYTES).
    #[error("the reply of `{function}` is over the limit of {limit_bytes} bytes")]
    ReplyTooLarge {
        /// The function that replied.
        function: String,
        /// The largest size accepted.
        limit_bytes: usize,
    },
    /// The function ran and reported an error.
    #[error("`{function}` reported {error_type}: {message}")]
    Failed {
        /// The function that failed.
        function: String,
        /// The type that the function gave its error.
        error_type: String,
        /// The message that the function gave its error.
        message: String,
    },
    /// The process of the function ended before it replied.
    #[error("the process of `{function}` ended before it replied: {reason}")]
    Exited {
        /// The function whose process ended.
        function: String,
        /// How it ended.
        reason: String,
    },
    /// The process of the function ended twice in a row before it asked for its first event.
    #[error("`{function}` does not start: {reason}")]
    Init {
        /// The function that does not start.
        function: String,
        /// What is known about the cause.
        reason: String,
    },
    /// The function was still at work at its timeout.
    #[error("`{function}` timed out after {timeout_ms} ms")]
    TimedOut {
        /// The function that was too slow.
        function: String,
        /// Its timeout.
        timeout_ms: u128,
    },
    /// The local Lambda was stopped.
    #[error("the local Lambda is stopped")]
    Stopped,
}

impl InvokeError {
    /// The error type under which Lambda reports the same failure.
    #[must_use]
    pub fn error_type(&self) -> &str {
        match self {
            Self::NoSuchFunction { .. } => "ResourceNotFoundException",
            Self::EventTooLarge { .. } => "RequestTooLargeException",
            Self::ReplyTooLarge { .. } => "Function.ResponseSizeTooLarge",
            Self::Failed { error_type, .. } => error_type,
            Self::Exited { .. } => "Runtime.ExitError",
            Self::Init { .. } => "Runtime.InitError",
            Self::TimedOut { .. } => "Sandbox.Timedout",
            Self::Stopped => "ServiceException",
        }
    }
}

/// A function's reply.
#[derive(Debug)]
pub struct Reply {
    /// The content type under which the function posted it.
    pub content_type: Option<String>,
    /// The reply itself.
    pub body: Body,
}

impl Reply {
    /// The whole reply; waits for the end of a streamed one.
    ///
    /// # Errors
    ///
    /// When a streamed reply breaks off.
    pub async fn bytes(self) -> Result<Bytes, InvokeError> {
        match self.body {
            Body::Buffered(bytes) => Ok(bytes),
            Body::Streamed(mut stream) => {
                let mut whole = BytesMut::new();
                while let Some(chunk) = stream.next().await {
                    whole.extend_from_slice(&chunk?);
                }
                Ok(whole.freeze())
            }
        }
    }
}

/// The body of a reply.
#[derive(Debug)]
pub enum Body {
    /// All there is.
    Buffered(Bytes),
    /// Chunks as the function sends them.
    Streamed(Chunks),
}

/// The chunks of a streamed reply. Dropping it does not stop the function, as on AWS.
#[derive(Debug)]
pub struct Chunks {
    function: String,
    parts: mpsc::Receiver<Part>,
    over: bool,
}

/// What the Runtime API passes on. A stream without a closing part broke off.
#[derive(Debug)]
pub(super) enum Part {
    Chunk(Bytes),
    End,
    Broken(InvokeError),
}

/// How many chunks wait between the function and its caller before the function is made to wait.
const CHUNKS_IN_TRANSIT: usize = 32;

pub(super) fn chunks(function: &str) -> (mpsc::Sender<Part>, Chunks) {
    let (sender, parts) = mpsc::channel(CHUNKS_IN_TRANSIT);
    let chunks = Chunks {
        function: function.to_owned(),
        parts,
        over: false,
    };
    (sender, chunks)
}

impl Stream for Chunks {
    type Item = Result<Bytes, InvokeError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let part = ready!(self.parts.poll_recv(cx));
        self.over = !matches!(part, Some(Part::Chunk(_)));
        Poll::Ready(match part {
            Some(Part::Chunk(bytes)) => Some(Ok(bytes)),
            Some(Part::End) => None,
            Some(Part::Broken(error)) => Some(Err(error)),
            None => Some(Err(InvokeError::Exited {
                function: self.function.clone(),
                reason: "the stream broke off".to_owned(),
            })),
        })
    }
}

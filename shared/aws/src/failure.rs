//! What went wrong with a request, in the words by which the SDK decides whether to repeat it.

use std::error::Error;
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::retry::ErrorKind;
use hyper_util::client::legacy;

#[derive(Debug, thiserror::Error)]
#[error("{what} timeout occurred after {after:?}")]
struct TimedOut {
    what: &'static str,
    after: Duration,
}

/// Waits for `work`, at most for `limit`.
pub(crate) async fn within<T, E: Into<BoxError>>(
    what: &'static str,
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, BoxError> {
    let Some(after) = limit else {
        return work.await.map_err(Into::into);
    };
    match tokio::time::timeout(after, work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Box::new(TimedOut { what, after })),
    }
}

/// The same kinds as those of the SDK's own client: timeouts and whatever concerns the connection are repeated.
pub(crate) fn connector_error(error: BoxError) -> ConnectorError {
    let chain = error.as_ref();
    if find::<TimedOut>(chain).is_some() {
        return ConnectorError::timeout(error);
    }
    if let Some(hyper) = find::<hyper::Error>(chain) {
        return of_hyper(hyper)(error);
    }
    let of_connection = find::<legacy::Error>(chain)
        .is_some_and(|error| error.is_connect() || find::<std::io::Error>(error).is_some());
    if of_connection {
        ConnectorError::io(error)
    } else {
        ConnectorError::other(error, None)
    }
}

fn of_hyper(error: &hyper::Error) -> fn(BoxError) -> ConnectorError {
    if error.is_timeout() {
        ConnectorError::timeout
    } else if error.is_user() {
        ConnectorError::user
    } else if error.is_closed() || error.is_canceled() || find::<std::io::Error>(error).is_some() {
        ConnectorError::io
    } else if error.is_incomplete_message() {
        |error| ConnectorError::other(error, Some(ErrorKind::TransientError))
    } else {
        |error| ConnectorError::other(error, None)
    }
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref())
}

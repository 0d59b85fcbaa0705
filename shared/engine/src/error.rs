//! What can go wrong while a run is driven, apart from the run's own failures.

use domain::run::Rejection;

/// An engine error. The run is as the log says; whoever asked may ask again when [`Error::is_transient`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table or the payload bucket.
    #[error("reading or writing the run")]
    Store(#[from] store::Error),
    /// A queue.
    #[error("sending a queue message")]
    Queue(#[from] queue::Error),
    /// The command may not be.
    #[error("the command was refused")]
    Rejected(#[from] Rejection),
}

impl Error {
    /// Whether the tenant is at home in another Region, so that nothing is to be done here.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Store(store::Error::Elsewhere(_)))
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::Queue(error) => error.is_transient(),
            Self::Rejected(Rejection::Held { .. }) => true,
            Self::Rejected(Rejection::Missing | Rejection::Exists) => false,
        }
    }
}

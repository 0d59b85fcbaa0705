//! What errors of the crates below are to whoever asked.

use super::Problem;

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match &error {
            store::Error::BadCursor => Self::InvalidCursor,
            store::Error::ExpiredCursor => Self::ExpiredCursor,
            store::Error::Missing => Self::NotFound,
            store::Error::Elsewhere(region) => Self::HomeElsewhere(region.clone()),
            store::Error::TooLarge { limit_bytes, .. } => {
                Self::BodyTooLarge(usize::try_from(*limit_bytes).unwrap_or(usize::MAX))
            }
            store::Error::Raced => Self::Unavailable,
            store::Error::Unfit(why) => Self::field("/isolation/table", why),
            _ => Self::of_fault(&error, error.is_transient()),
        }
    }
}

impl From<engine::Refusal> for Problem {
    fn from(refusal: engine::Refusal) -> Self {
        match refusal {
            engine::Refusal::NoTenant => Self::Unauthenticated,
            engine::Refusal::Suspended => Self::TenantSuspended,
            engine::Refusal::LineFull => Self::LineFull,
            // Again and again, since the agent is read anew each time.
            engine::Refusal::Redefined => Self::Unavailable,
            engine::Refusal::BudgetReached {
                node,
                budget,
                renews_at,
            } => {
                let begins = renews_at.map_or("It does not begin anew".to_owned(), |at| {
                    format!("It begins anew at {at}")
                });
                Self::BudgetReached(format!(
                    "`{node}` may spend {budget}, and has. {begins}; an operator can raise it.",
                ))
            }
        }
    }
}

impl From<queue::Error> for Problem {
    fn from(error: queue::Error) -> Self {
        Self::of_fault(&error, error.is_transient())
    }
}

impl From<engine::Error> for Problem {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Store(error) => error.into(),
            other => Self::of_fault(&other, other.is_transient()),
        }
    }
}

impl Problem {
    fn of_fault(error: &dyn std::error::Error, transient: bool) -> Self {
        let chain = telemetry::chain(error);
        tracing::error!(error = %chain, transient, "a request failed");
        if transient {
            Self::Unavailable
        } else {
            Self::Internal
        }
    }
}

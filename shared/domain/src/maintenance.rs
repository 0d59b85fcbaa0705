//! Maintenance: for a while nothing new begins, whoever asks; what is under way goes on, and everything can be read.

use serde::{Deserialize, Serialize};

use crate::agent::FieldError;
use crate::time::At;

/// Most characters of a message.
const MAX_MESSAGE: usize = 500;
/// Longest that clients are asked to wait, in seconds: a day.
const MAX_RETRY_AFTER_S: u32 = 86_400;

/// What an operator says while there is maintenance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// What clients are told, 1 to 500 characters.
    pub message: String,
    /// After how many seconds they are to ask again, 1 to 86,400.
    pub retry_after_s: u32,
    /// Who said so, as the audit trail names it.
    pub by: String,
    /// Since when it stands so.
    pub since: At,
}

impl Maintenance {
    /// Looks at what an operator said.
    ///
    /// # Errors
    /// What is wrong with it, all of it.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut want = |holds: bool, pointer: &str, detail: &str| {
            if !holds {
                errors.push(FieldError {
                    pointer: pointer.to_owned(),
                    detail: detail.to_owned(),
                });
            }
        };
        let letters = self.message.trim().chars().count();
        let fits = (1..=MAX_MESSAGE).contains(&letters);
        want(fits, "/message", "must have 1 to 500 characters");
        let fits = (1..=MAX_RETRY_AFTER_S).contains(&self.retry_after_s);
        want(fits, "/retry_after_seconds", "must be 1 to 86,400");
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }

    /// Whether the other one says the same to clients.
    #[must_use]
    pub fn says(&self, other: &Self) -> bool {
        (&self.message, self.retry_after_s) == (&other.message, other.retry_after_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let of = |message: &str, retry_after_s| {
            let maintenance = Maintenance {
                message: message.to_owned(),
                retry_after_s,
                by: "operator:o".to_owned(),
                since: At(1),
            };
            let errors = maintenance.check().err().unwrap_or_default();
            errors.into_iter().map(|it| it.pointer).collect::<Vec<_>>()
        };
        assert!(of("Back at noon.", 1).is_empty());
        assert!(of(&"x".repeat(500), 86_400).is_empty());
        assert_eq!(of("  ", 0), ["/message", "/retry_after_seconds"]);
        assert_eq!(
            of(&"x".repeat(501), 86_401),
            ["/message", "/retry_after_seconds"]
        );
    }
}

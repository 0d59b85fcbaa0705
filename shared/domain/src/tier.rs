//! Tiers: what a tenant may use, as data.
//!
//! The numbers stand in `tier/tiers.json` (sources: S5-03 for requests, S1-01 for concurrent runs; how long runs are kept is
//! our own choice). A day of the enterprise
//! tier's minutes is 1,440,000 requests, so its 10,000,000 a day never bind; a day of the free tier's minutes is 14,400, so
//! there the day binds.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::agent::FieldError;
use crate::caps::Caps;
use crate::run::Lane;

/// Most windows that hold for one request.
pub const MAX_WINDOWS: usize = 8;

/// The least time that a run is kept after its deadline, in days: as long as an idempotency key is good for.
pub const MIN_RETENTION_DAYS: u32 = 1;
/// The longest, in days. With the longest run (366 days) it stays below the life of payloads (template: 800 days).
pub const MAX_RETENTION_DAYS: u32 = 400;
/// A day, in milliseconds.
pub const DAY_MS: u64 = 86_400_000;

/// Whose requests a window counts together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// All of the tenant's.
    Tenant,
    /// Those of one API key.
    Key,
    /// Those of one client address.
    Address,
}

/// A rate limit: so many requests in each window of so many seconds. Windows follow each other without overlap, the first
/// one from the Unix epoch on, so a window of a day begins at midnight UTC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How answers call it: 1 to 32 lower-case letters, digits and hyphens, once in a list.
    pub name: String,
    /// Requests in one window.
    pub requests: u64,
    /// Length of a window in seconds, 1 to 31 days.
    pub seconds: u32,
    /// Whose requests count together.
    pub by: Subject,
}

/// What a tenant may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Rate limits, all of which hold.
    pub windows: Vec<Window>,
    /// Runs that may be under way at once; more wait for their turn.
    pub concurrent_runs: u32,
    /// Runs that may wait for their turn; more are refused.
    pub waiting_runs: u32,
    /// The highest caps that a run gets, whatever its agent allows.
    pub caps: Caps,
    /// Most bytes of a request that creates a run.
    pub payload_bytes: u64,
    /// How long a run is kept after its deadline, in days.
    pub retention_days: u32,
    /// The best lane that a run gets.
    pub lane: Lane,
}

/// Limits that differ from the tier's. What is left out is the tier's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Overrides {
    /// Replaces the tier's windows; those of the same name are not added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<Window>>,
    /// See [`Limits::concurrent_runs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_runs: Option<u32>,
    /// See [`Limits::waiting_runs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_runs: Option<u32>,
    /// See [`Limits::caps`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caps: Option<Caps>,
    /// See [`Limits::payload_bytes`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_bytes: Option<u64>,
    /// See [`Limits::retention_days`]. Holds for runs that are created from then on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// See [`Limits::lane`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lane: Option<Lane>,
}

static TIERS: LazyLock<BTreeMap<String, Limits>> = LazyLock::new(|| {
    serde_json::from_str(include_str!("tier/tiers.json")).expect("a test reads the file")
});

/// Every tier, by name.
#[must_use]
pub fn all() -> &'static BTreeMap<String, Limits> {
    &TIERS
}

/// The limits of a tier; none when there is no such tier.
#[must_use]
pub fn find(name: &str) -> Option<&'static Limits> {
    TIERS.get(name)
}

impl Limits {
    /// These limits with what `over` says in their place.
    #[must_use]
    pub fn with(&self, over: &Overrides) -> Self {
        Self {
            windows: over.windows.clone().unwrap_or_else(|| self.windows.clone()),
            concurrent_runs: over.concurrent_runs.unwrap_or(self.concurrent_runs),
            waiting_runs: over.waiting_runs.unwrap_or(self.waiting_runs),
            caps: over.caps.unwrap_or(self.caps),
            payload_bytes: over.payload_bytes.unwrap_or(self.payload_bytes),
            retention_days: over.retention_days.unwrap_or(self.retention_days),
            lane: over.lane.unwrap_or(self.lane),
        }
    }
}

impl Overrides {
    /// Every rule that the shape alone does not hold; pointers are relative to these overrides.
    ///
    /// # Errors
    /// One [`FieldError`] for each field that breaks a rule.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut want = |holds: bool, pointer: String, detail: &str| {
            if !holds {
                errors.push(FieldError::new(pointer, detail));
            }
        };
        let windows = self.windows.as_deref().unwrap_or_default();
        want(
            windows.len() <= MAX_WINDOWS,
            "/windows".to_owned(),
            "must have at most 8 windows",
        );
        for (index, window) in windows.iter().enumerate() {
            let at = |field: &str| format!("/windows/{index}/{field}");
            want(
                is_name(&window.name),
                at("name"),
                "must be 1 to 32 lower-case letters, digits and hyphens",
            );
            want(
                windows[..index]
                    .iter()
                    .all(|other| other.name != window.name),
                at("name"),
                "stands twice",
            );
            want(
                (1..=1_000_000_000).contains(&window.requests),
                at("requests"),
                "must be 1 to 1,000,000,000",
            );
            want(
                (1..=31 * 86_400).contains(&window.seconds),
                at("seconds"),
                "must be 1 second to 31 days",
            );
        }
        want(
            self.concurrent_runs
                .is_none_or(|most| (1..=100_000).contains(&most)),
            "/concurrent_runs".to_owned(),
            "must be 1 to 100,000",
        );
        want(
            self.waiting_runs.is_none_or(|most| most <= 1_000_000),
            "/waiting_runs".to_owned(),
            "must be at most 1,000,000",
        );
        want(
            self.payload_bytes
                .is_none_or(|most| (1_024..=256 * 1024).contains(&most)),
            "/payload_bytes".to_owned(),
            "must be 1,024 to 262,144",
        );
        want(
            self.retention_days
                .is_none_or(|days| (MIN_RETENTION_DAYS..=MAX_RETENTION_DAYS).contains(&days)),
            "/retention_days".to_owned(),
            "must be 1 to 400",
        );
        want(
            self.caps.is_none_or(|caps| caps.min(Caps::MOST) == caps),
            "/caps".to_owned(),
            "must not be above the highest caps of all",
        );
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiers_have_the_numbers_that_were_promised() {
        let numbers = |name: &str| {
            let limits = find(name).unwrap();
            let requests: Vec<_> = limits
                .windows
                .iter()
                .map(|window| (window.requests, window.seconds))
                .collect();
            (requests, limits.concurrent_runs)
        };
        let days =
            ["free", "business", "enterprise"].map(|name| find(name).unwrap().retention_days);
        assert_eq!(days, [7, 90, 365]);
        assert_eq!(numbers("free"), (vec![(10, 60), (1_000, 86_400)], 10));
        assert_eq!(
            numbers("business"),
            (vec![(100, 60), (100_000, 86_400)], 50)
        );
        assert_eq!(
            numbers("enterprise"),
            (vec![(1_000, 60), (10_000_000, 86_400)], 500)
        );
        for limits in all().values() {
            let as_overrides = Overrides {
                windows: Some(limits.windows.clone()),
                concurrent_runs: Some(limits.concurrent_runs),
                waiting_runs: Some(limits.waiting_runs),
                caps: Some(limits.caps),
                payload_bytes: Some(limits.payload_bytes),
                retention_days: Some(limits.retention_days),
                lane: Some(limits.lane),
            };
            assert_eq!(as_overrides.check(), Ok(()));
        }
    }

    #[test]
    fn an_override_replaces_one_limit_and_leaves_the_others() {
        let free = find("free").unwrap();
        let over = Overrides {
            concurrent_runs: Some(3),
            ..Overrides::default()
        };
        let limits = free.with(&over);
        assert_eq!(limits.concurrent_runs, 3);
        assert_eq!(limits.windows, free.windows);
    }

    #[test]
    fn every_broken_rule_of_overrides_is_told_at_once() {
        let window = |name: &str, requests| Window {
            name: name.to_owned(),
            requests,
            seconds: 0,
            by: Subject::Key,
        };
        let over = Overrides {
            windows: Some(vec![window("a", 1), window("a", 0)]),
            concurrent_runs: Some(0),
            retention_days: Some(401),
            ..Overrides::default()
        };
        let pointers: Vec<_> = over
            .check()
            .unwrap_err()
            .into_iter()
            .map(|error| error.pointer)
            .collect();
        assert_eq!(
            pointers,
            [
                "/windows/0/seconds",
                "/windows/1/name",
                "/windows/1/requests",
                "/windows/1/seconds",
                "/concurrent_runs",
                "/retention_days"
            ]
        );
    }
}

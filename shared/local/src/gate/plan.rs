//! What a usage plan lets through of one key: a bucket of tokens, and a count for the day.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-request-throttling.html>. API Gateway
//! itself is not exact, neither in the bucket nor in the count; this is.

use std::time::Duration;

const DAY_S: u64 = 86_400;

/// A usage plan. What is left out lets everything through.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Plan {
    /// Requests a second in the long run, and at once.
    pub throttle: Option<(f64, u32)>,
    /// Requests of a day (UTC).
    pub per_day: Option<u32>,
}

/// Why a request does not pass; the words are API Gateway's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No key of a plan: 403.
    Forbidden,
    /// The bucket is empty: 429.
    TooManyRequests,
    /// The day's requests are used up: 429.
    LimitExceeded,
}

/// What one key used of its plan.
#[derive(Debug)]
pub(super) struct Use {
    tokens: f64,
    filled_at: Duration,
    day: u64,
    today: u32,
}

impl Use {
    pub(super) fn new(plan: &Plan, now: Duration) -> Self {
        Self {
            tokens: plan.throttle.map_or(0.0, |(_, burst)| burst.into()),
            filled_at: now,
            day: now.as_secs() / DAY_S,
            today: 0,
        }
    }

    /// Counts a request, if the plan lets it through.
    pub(super) fn count(&mut self, plan: &Plan, now: Duration) -> Result<(), Refusal> {
        let day = now.as_secs() / DAY_S;
        if day != self.day {
            (self.day, self.today) = (day, 0);
        }
        if plan.per_day.is_some_and(|most| self.today >= most) {
            return Err(Refusal::LimitExceeded);
        }
        if let Some((rate, burst)) = plan.throttle {
            let passed = now.saturating_sub(self.filled_at).as_secs_f64();
            self.tokens = (self.tokens + passed * rate).min(burst.into());
            self.filled_at = now;
            if self.tokens < 1.0 {
                return Err(Refusal::TooManyRequests);
            }
            self.tokens -= 1.0;
        }
        self.today += 1;
        Ok(())
    }
}

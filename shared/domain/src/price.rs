//! What model tokens cost.

use serde::{Deserialize, Serialize};

use crate::model::Usage;

/// Prices of one model, in micro-USD per million tokens, so that every real price is an integer ($3.00 per million tokens
/// is 3,000,000).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Per million input tokens.
    pub input: u64,
    /// Per million output tokens.
    pub output: u64,
    /// Per million tokens read from the prompt cache.
    pub cache_read: u64,
    /// Per million tokens written to the prompt cache.
    pub cache_write: u64,
}

impl Price {
    /// The price of `usage` in micro-USD, rounded up once, over the sum.
    #[must_use]
    pub fn of(&self, usage: &Usage) -> u64 {
        let sum = u128::from(self.input) * u128::from(usage.input_tokens)
            + u128::from(self.output) * u128::from(usage.output_tokens)
            + u128::from(self.cache_read) * u128::from(usage.cache_read_tokens)
            + u128::from(self.cache_write) * u128::from(usage.cache_write_tokens);
        u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX)
    }

    /// The most that a call of `input_tokens` and `output_tokens` can cost, whichever part of the input meets the prompt
    /// cache.
    #[must_use]
    pub fn bound(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        let dearest = self.input.max(self.cache_read).max(self.cache_write);
        let at = Self {
            input: dearest,
            ..*self
        };
        at.of(&Usage {
            input_tokens,
            output_tokens,
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_rounded_up_once() {
        let price = Price {
            input: 3_000_000,
            output: 15_000_000,
            cache_read: 300_000,
            cache_write: 3_750_000,
        };
        let usage = Usage {
            input_tokens: 1_000,
            output_tokens: 100,
            cache_read_tokens: 1,
            cache_write_tokens: 0,
        };
        assert_eq!(price.of(&usage), 3_000 + 1_500 + 1);
        assert!(price.bound(1_001, 100) >= price.of(&usage));
    }
}

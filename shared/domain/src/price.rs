//! What model tokens cost, and what the platform's parts do.

use serde::{Deserialize, Serialize};

use crate::model::Usage;
use crate::run::{Cost, Used};

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

/// What the parts of the platform cost in one Region and on one processor, in pico-USD, so that every price of one unit is
/// an integer ($0.625 per million write units is 625,000 each).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitPrices {
    /// A read unit of the table.
    pub table_read_unit: u64,
    /// A write unit of the table.
    pub table_write_unit: u64,
    /// A payload read from the bucket.
    pub payload_read: u64,
    /// A payload written to the bucket.
    pub payload_write: u64,
    /// A request to a queue about messages with a group, which all of ours have.
    pub queue_request: u64,
    /// An invocation of a function.
    pub invocation: u64,
    /// A gigabyte of a function's memory for a second.
    pub gb_second: u64,
}

/// What else a stack is billed for, which no run's receipt has, in pico-USD.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StackPrices {
    /// A request to the REST API.
    pub api_request: u64,
    /// A request to a queue that finds no message.
    pub empty_poll: u64,
    /// A GB in the table for a month, indexes included.
    pub table_gb_month: u64,
    /// The same GB kept so that the table can go back to any second (PITR).
    pub table_backup_gb_month: u64,
    /// A GB in the bucket for a month.
    pub payload_gb_month: u64,
    /// A GB written to the logs.
    pub log_gb: u64,
    /// A GB of logs kept for a month.
    pub log_gb_month: u64,
    /// A series of a metric of our own for a month.
    pub metric_month: u64,
    /// A request that writes gauges.
    pub metric_request: u64,
    /// A metric that an alarm watches, for a month.
    pub alarm_month: u64,
    /// A dashboard for a month.
    pub dashboard_month: u64,
    /// A secret for a month.
    pub secret_month: u64,
    /// A key of KMS for a month.
    pub key_month: u64,
    /// A trace that X-Ray records.
    pub trace: u64,
}

/// Megabyte-milliseconds in a gigabyte-second.
const MB_MS: u64 = 1_024 * 1_000;
/// Thousandths in one.
const MILLI: u64 = 1_000;

impl UnitPrices {
    /// What is to be paid for `used`, each part rounded up to a pico-USD. Rounded again it is only once, over the sum of a
    /// receipt: [`Cost::micro_usd`].
    #[must_use]
    pub fn of(&self, used: &Used) -> Cost {
        let part = |amount: u64, price: u64, per: u64| {
            let sum = u128::from(amount) * u128::from(price);
            u64::try_from(sum.div_ceil(per.into())).unwrap_or(u64::MAX)
        };
        let units = |units: f64, price| part(milli(units), price, MILLI);
        Cost {
            table_pico_usd: units(used.read_units, self.table_read_unit)
                .saturating_add(units(used.write_units, self.table_write_unit)),
            payload_pico_usd: part(used.payload_reads, self.payload_read, 1).saturating_add(part(
                used.payload_writes,
                self.payload_write,
                1,
            )),
            queue_pico_usd: part(used.queue_milli_requests, self.queue_request, MILLI),
            process_pico_usd: part(used.milli_invocations, self.invocation, MILLI)
                .saturating_add(part(used.process_mb_ms, self.gb_second, MB_MS)),
        }
    }
}

/// Thousandths of units, which the table tells in halves.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what is negative or no number counts as nothing, what is too much as the most"
)]
fn milli(units: f64) -> u64 {
    (units * 1_000.0).ceil() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: UnitPrices = UnitPrices {
        table_read_unit: 125_000,
        table_write_unit: 625_000,
        payload_read: 400_000,
        payload_write: 5_000_000,
        queue_request: 500_000,
        invocation: 200_000,
        gb_second: 13_333_400,
    };

    #[test]
    fn parts_of_the_platform_are_priced_apart_and_rounded_once() {
        let used = Used {
            read_units: 1.5,
            write_units: 10.0,
            payload_reads: 1,
            payload_writes: 2,
            queue_milli_requests: 2_334,
            milli_invocations: 100,
            process_mb_ms: 256 * 2_000,
            ..Used::default()
        };
        let cost = PRICES.of(&used);
        assert_eq!(cost.table_pico_usd, 187_500 + 6_250_000);
        assert_eq!(cost.payload_pico_usd, 400_000 + 10_000_000);
        assert_eq!(cost.queue_pico_usd, 1_167_000);
        assert_eq!(cost.process_pico_usd, 20_000 + 6_666_700);
        // 24.6912 micro-USD.
        assert_eq!(cost.micro_usd(), 25);
        assert_eq!(Cost::default().micro_usd(), 0);
        assert_eq!(
            cost.plus(&cost).micro_usd(),
            50,
            "the sum is rounded, not its parts"
        );
    }

    #[test]
    fn nonsense_costs_nothing_or_the_most_and_never_wraps() {
        let of = |read_units| {
            let used = Used {
                read_units,
                ..Used::default()
            };
            PRICES.of(&used).table_pico_usd
        };
        assert_eq!((of(-1.0), of(f64::NAN)), (0, 0));
        let most = Used {
            process_mb_ms: u64::MAX,
            milli_invocations: u64::MAX,
            ..Used::default()
        };
        let dear = UnitPrices {
            gb_second: u64::MAX,
            ..PRICES
        };
        assert_eq!(dear.of(&most).process_pico_usd, u64::MAX);
    }

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

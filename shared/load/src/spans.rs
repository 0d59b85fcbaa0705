//! How long things took.

use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest span that is told apart from longer ones, in microseconds: ten minutes.
const LONGEST_US: u64 = 600_000_000;

/// How long many things took, in little memory, however many they are.
#[derive(Clone, Debug)]
pub struct Spans(Histogram<u64>);

impl Spans {
    /// None yet; true to 0.1 %.
    #[must_use]
    pub fn new() -> Self {
        Self::with_digits(3)
    }

    /// None yet; true to 1 %, in an eighth of the memory.
    #[must_use]
    pub fn coarse() -> Self {
        Self::with_digits(2)
    }

    fn with_digits(digits: u8) -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, digits);
        Self(histogram.expect("these bounds hold for a histogram"))
    }

    /// Adds one.
    pub fn push(&mut self, span: Duration) {
        let us = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        self.0.saturating_record(us.max(1));
    }

    /// Adds those of another.
    pub fn extend(&mut self, other: &Self) {
        for value in other.0.iter_recorded() {
            self.0
                .saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What `percent` of them do not exceed, in milliseconds; none when there is none.
    #[must_use]
    pub fn percentile_ms(&self, percent: f64) -> Option<f64> {
        (!self.is_empty()).then(|| ms(self.0.value_at_percentile(percent)))
    }

    /// The longest, in milliseconds.
    #[must_use]
    pub fn max_ms(&self) -> Option<f64> {
        (!self.is_empty()).then(|| ms(self.0.max()))
    }
}

impl Default for Spans {
    fn default() -> Self {
        Self::new()
    }
}

fn ms(us: u64) -> f64 {
    us as f64 / 1_000.0
}

#[cfg(test)]
mod tests {

    use super::*;

    fn near(value: Option<f64>, expected: f64) {
        let value = value.unwrap();
        assert!(
            (value - expected).abs() <= expected * 0.011,
            "{value} is not {expected}"
        );
    }

    #[test]
    fn percentiles_are_spans_that_there_were() {
        for mut spans in [Spans::new(), Spans::coarse()] {
            for ms in (1..=100).rev() {
                spans.push(Duration::from_millis(ms));
            }
            near(spans.percentile_ms(50.0), 50.0);
            near(spans.percentile_ms(95.0), 95.0);
            near(spans.percentile_ms(99.0), 99.0);
            near(spans.max_ms(), 100.0);
        }
        assert_eq!(Spans::new().percentile_ms(50.0), None);
        assert_eq!(Spans::new().max_ms(), None);
    }

    #[test]
    fn what_is_longer_than_the_longest_counts_as_that() {
        let mut spans = Spans::new();
        spans.push(Duration::from_secs(86_400));
        near(spans.max_ms(), 600_000.0);
    }

    #[test]
    fn spans_of_two_are_those_of_both() {
        let (mut one, mut other) = (Spans::coarse(), Spans::coarse());
        one.push(Duration::from_millis(10));
        other.push(Duration::from_millis(30));
        one.extend(&other);
        assert_eq!(one.len(), 2);
        near(one.percentile_ms(100.0), 30.0);
    }
}

//! What a run uses of the platform.

use serde::{Deserialize, Serialize};

/// What a run used of the platform beside models, as the SDK reported it, and what that cost. The write that tells it is not
/// in it. What was stored before a measure was there says nothing of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// How long processes stayed with the run, in milliseconds; they may have had others at the same time.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub process_ms: u64,
    /// The run's part of their memory over that time, in megabyte-milliseconds: while a process has n runs at work, each
    /// has an n-th of it. So the runs of an invocation add up to what is billed for the time in which any was at work.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub process_mb_ms: u64,
    /// The run's parts of invocations, in thousandths: one of n messages that were delivered together has an n-th.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub milli_invocations: u64,
    /// Requests to the table that read.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub reads: u64,
    /// Read units of the table.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub read_units: f64,
    /// Requests to the table that wrote, transactions included.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub writes: u64,
    /// Write units of the table.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub write_units: f64,
    /// Payloads read from the bucket.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub payload_reads: u64,
    /// Payloads written to the bucket.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub payload_writes: u64,
    /// Requests to queues for the messages that brought the run to its processes, in thousandths: of each message its
    /// sending, and its part of what was asked about several at once (receiving, holding, deleting them).
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub queue_milli_requests: u64,
    /// What all that cost, at the prices that held then.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub cost: Cost,
}

/// What the platform costs, by its parts, in pico-USD (a millionth of a micro-USD). No budget is charged for it: budgets
/// are of the money and the tokens that models take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Units of the table.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub table_pico_usd: u64,
    /// Requests to the bucket.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub payload_pico_usd: u64,
    /// Requests to queues.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub queue_pico_usd: u64,
    /// Memory of processes over time, and invocations.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub process_pico_usd: u64,
}

impl Cost {
    /// All of it in micro-USD, rounded up once, over the sum.
    #[must_use]
    pub fn micro_usd(&self) -> u64 {
        self.table_pico_usd
            .saturating_add(self.payload_pico_usd)
            .saturating_add(self.queue_pico_usd)
            .saturating_add(self.process_pico_usd)
            .div_ceil(1_000_000)
    }

    /// The sum, item by item.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            table_pico_usd: self.table_pico_usd.saturating_add(other.table_pico_usd),
            payload_pico_usd: self.payload_pico_usd.saturating_add(other.payload_pico_usd),
            queue_pico_usd: self.queue_pico_usd.saturating_add(other.queue_pico_usd),
            process_pico_usd: self.process_pico_usd.saturating_add(other.process_pico_usd),
        }
    }
}

impl Used {
    /// The sum, item by item.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            process_ms: self.process_ms.saturating_add(other.process_ms),
            process_mb_ms: self.process_mb_ms.saturating_add(other.process_mb_ms),
            milli_invocations: self
                .milli_invocations
                .saturating_add(other.milli_invocations),
            reads: self.reads.saturating_add(other.reads),
            read_units: self.read_units + other.read_units,
            writes: self.writes.saturating_add(other.writes),
            write_units: self.write_units + other.write_units,
            payload_reads: self.payload_reads.saturating_add(other.payload_reads),
            payload_writes: self.payload_writes.saturating_add(other.payload_writes),
            queue_milli_requests: self
                .queue_milli_requests
                .saturating_add(other.queue_milli_requests),
            cost: self.cost.plus(&other.cost),
        }
    }

    /// What came since `earlier`, a part of this; not yet priced.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            process_ms: self.process_ms.saturating_sub(earlier.process_ms),
            process_mb_ms: self.process_mb_ms.saturating_sub(earlier.process_mb_ms),
            milli_invocations: self
                .milli_invocations
                .saturating_sub(earlier.milli_invocations),
            reads: self.reads.saturating_sub(earlier.reads),
            read_units: self.read_units - earlier.read_units,
            writes: self.writes.saturating_sub(earlier.writes),
            write_units: self.write_units - earlier.write_units,
            payload_reads: self.payload_reads.saturating_sub(earlier.payload_reads),
            payload_writes: self.payload_writes.saturating_sub(earlier.payload_writes),
            queue_milli_requests: self
                .queue_milli_requests
                .saturating_sub(earlier.queue_milli_requests),
            cost: Cost::default(),
        }
    }
}

fn is_nothing<T: Default + PartialEq>(amount: &T) -> bool {
    *amount == T::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_before_prices_were_still_reads() {
        let old = r#"{"process_ms":41,"reads":2,"read_units":1.5,"writes":6,"write_units":9.0}"#;
        let used: Used = serde_json::from_str(old).unwrap();
        assert_eq!((used.process_ms, used.read_units), (41, 1.5));
        assert_eq!(used.cost, Cost::default());
        assert_eq!(serde_json::to_string(&used).unwrap(), old);
    }
}

//! What a run uses of the platform.

use serde::{Deserialize, Serialize};

/// What a run used of the platform beside models, as the SDK reported it. The write that tells it is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// How long processes stayed with the run, in milliseconds; they may have had others at the same time.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub process_ms: u64,
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
}

impl Used {
    /// The sum, item by item.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            process_ms: self.process_ms + other.process_ms,
            reads: self.reads + other.reads,
            read_units: self.read_units + other.read_units,
            writes: self.writes + other.writes,
            write_units: self.write_units + other.write_units,
            payload_reads: self.payload_reads + other.payload_reads,
            payload_writes: self.payload_writes + other.payload_writes,
        }
    }

    /// What came since `earlier`, a part of this.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            process_ms: self.process_ms.saturating_sub(earlier.process_ms),
            reads: self.reads.saturating_sub(earlier.reads),
            read_units: self.read_units - earlier.read_units,
            writes: self.writes.saturating_sub(earlier.writes),
            write_units: self.write_units - earlier.write_units,
            payload_reads: self.payload_reads.saturating_sub(earlier.payload_reads),
            payload_writes: self.payload_writes.saturating_sub(earlier.payload_writes),
        }
    }
}

fn is_nothing<T: Default + PartialEq>(amount: &T) -> bool {
    *amount == T::default()
}

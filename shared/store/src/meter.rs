//! What was asked of AWS: for receipts, and for tests that pin what things cost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Requests and units. Requests are those the store made; repetitions by the SDK are not counted apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Consumed {
    /// Reads of the table: gets and queries, each page on its own.
    pub reads: u64,
    /// Writes of one item.
    pub writes: u64,
    /// Write transactions.
    pub transactions: u64,
    /// Read units (4 KiB, half for eventual consistency), as the table reported them.
    pub read_units: f64,
    /// Write units (1 KiB, double in transactions, indexes included), as the table reported them.
    pub write_units: f64,
    /// Payloads read.
    pub payload_reads: u64,
    /// Payloads written.
    pub payload_writes: u64,
    /// Bytes of payloads written.
    pub payload_bytes: u64,
}

/// Counts, and passes everything on to the meter it was made from.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    consumed: Mutex<Consumed>,
    parent: Option<Arc<Meter>>,
}

impl Meter {
    pub(crate) fn below(parent: &Arc<Self>) -> Self {
        Self {
            consumed: Mutex::default(),
            parent: Some(Arc::clone(parent)),
        }
    }

    pub(crate) fn consumed(&self) -> Consumed {
        *self.lock()
    }

    pub(crate) fn add(&self, record: impl Fn(&mut Consumed)) {
        let mut meter = Some(self);
        while let Some(this) = meter {
            record(&mut this.lock());
            meter = this.parent.as_deref();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Consumed> {
        self.consumed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

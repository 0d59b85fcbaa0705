//! What runs store: in the table, or in the bucket what is large.

use super::{Load, TOKEN_BYTES, Units};

/// Bytes that a write unit holds.
const WRITE_UNIT: u64 = 1_024;
/// JSON over this goes to the bucket (`store`).
const INLINE_BYTES: u64 = 64 * 1_024;
/// Commits between two snapshots (`engine`).
const SNAPSHOT_EVERY: u64 = 100;

/// What becomes of JSON that has some content.
pub(super) struct Stored {
    /// Write units more than with no content.
    write_units: u64,
    /// Bytes more in the item, and bytes in the bucket.
    item_bytes: u64,
    pub(super) payload_bytes: u64,
}

/// Where JSON goes that has `base` bytes with next to no content, and this content.
pub(super) fn stored(base: u64, content: u64) -> Stored {
    if base.saturating_add(content) > INLINE_BYTES {
        return Stored {
            write_units: 0,
            item_bytes: 0,
            payload_bytes: base.saturating_add(content),
        };
    }
    Stored {
        write_units: (base + content).div_ceil(WRITE_UNIT) - base.div_ceil(WRITE_UNIT),
        item_bytes: content,
        payload_bytes: 0,
    }
}

/// What a run stores beyond what was measured, and what that asks.
#[derive(Default)]
pub(super) struct Content {
    pub(super) write_units: u64,
    pub(super) item_bytes: u64,
    /// Objects in the bucket, and their bytes.
    pub(super) payloads: u64,
    pub(super) payload_bytes: u64,
}

impl Content {
    /// So many commits, each written at `units` times the units of a plain write.
    fn add(&mut self, commits: u64, stored: &Stored, units: u64) {
        self.write_units += commits * stored.write_units * units;
        self.item_bytes += commits * stored.item_bytes;
        self.payload_bytes += commits * stored.payload_bytes;
        self.payloads += commits * u64::from(stored.payload_bytes > 0);
    }

    pub(super) fn of(load: &Load, units: &Units) -> Self {
        let bytes = units.bytes;
        let answer = load.output_tokens * TOKEN_BYTES;
        let mut content = Self::default();
        content.add(1, &stored(bytes.creation, load.payload_bytes), 2);
        let step = stored(bytes.step, answer + load.payload_bytes);
        content.add(load.steps - 1, &step, 1);
        content.add(1, &stored(bytes.end, answer), 2);
        // Snapshots hold the transcript so far; the one before is deleted.
        let each = bytes.step + answer + load.payload_bytes;
        for snapshot in 1..=load.steps / SNAPSHOT_EVERY {
            let whole = stored(0, each * SNAPSHOT_EVERY * snapshot);
            content.write_units += 2 * whole.write_units.max(1);
            content.payloads += u64::from(whole.payload_bytes > 0);
            content.payload_bytes += whole.payload_bytes;
        }
        content
    }
}

//! Checkpoints: what a trail was at an instant, signed by a key that whoever writes the trail does not have.
//!
//! The entries since the checkpoint before stand in one object of the archive. Who verifies needs the entries, the checkpoints
//! and the public key, and asks nobody.

use serde::{Deserialize, Serialize};

use super::{Entry, Verifier, canonical};
use crate::budget::Period;
use crate::id::TenantId;
use crate::time::At;

/// How long an entry waits for its checkpoint, in milliseconds, unless its month ends before: an hour.
pub const EVERY_MS: u64 = 3_600_000;
/// Most entries of one object.
pub const MAX_ENTRIES: u32 = 1_000;
/// Most bytes of one object, but for its last entry.
pub const MAX_BYTES: usize = 1024 * 1024;

/// A signed statement of how a trail stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Whose trail.
    pub tenant: TenantId,
    /// Number of the first entry that no earlier checkpoint covers.
    pub from: u64,
    /// Number of the last entry that it covers.
    pub to: u64,
    /// The hash of that entry, and so of everything before it.
    pub hash: String,
    /// The key of the object with these entries.
    pub object: String,
    /// SHA-256 of the object, in hexadecimal.
    pub sha256: String,
    /// When it was begun.
    pub at: At,
    /// SHA-256 of the public key, in hexadecimal.
    pub key_id: String,
    /// The public key: `SubjectPublicKeyInfo` in Base64. Not signed, but named by `key_id`, which is.
    pub public_key: String,
    /// ECDSA over P-256 with SHA-256 of [`Checkpoint::statement`], as an ASN.1 sequence in Base64.
    pub signature: String,
}

/// Why a checkpoint does not fit the entries before it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is of another tenant.
    #[error("the checkpoint up to entry {0} is of another tenant")]
    Foreign(u64),
    /// It begins too early or too late: one was left out, or it was changed.
    #[error("the checkpoint up to entry {0} does not begin where the one before it ends")]
    Gap(u64),
    /// It does not stand behind the last entry that it covers.
    #[error("the checkpoint up to entry {0} does not stand behind that entry")]
    Moved(u64),
    /// The entry is not the one that was signed.
    #[error("the checkpoint up to entry {0} was made of another entry {0}")]
    Hash(u64),
}

impl Checkpoint {
    /// The text that is signed. What it is made of never changes.
    #[must_use]
    pub fn statement(&self) -> String {
        let said = serde_json::json!([
            "skein audit checkpoint",
            self.tenant,
            self.from,
            self.to,
            self.hash,
            self.object,
            self.sha256,
            self.at,
            self.key_id,
        ]);
        let mut text = String::new();
        canonical(&said, &mut text);
        text
    }
}

/// When an entry of this instant has a checkpoint at the latest, if all is well.
#[must_use]
pub fn due(at: At) -> At {
    let hour = at.plus_ms(EVERY_MS);
    let month = Period::Month.next_start(Period::Month.number(at));
    month.map_or(hour, |month| month.min(hour))
}

/// Follows the entries that go into one object.
#[derive(Debug, Default)]
pub struct Stretch {
    month: Option<u64>,
    entries: u32,
    bytes: usize,
}

impl Stretch {
    /// Whether the next entry, of so many bytes, goes into the same object as those before it: of one month, and not too many.
    pub fn takes(&mut self, entry: &Entry, bytes: usize) -> bool {
        let month = Period::Month.number(entry.change.at);
        if self.entries == MAX_ENTRIES
            || self.bytes >= MAX_BYTES
            || self.month.is_some_and(|before| before != month)
        {
            return false;
        }
        self.month = Some(month);
        self.entries += 1;
        self.bytes += bytes;
        true
    }
}

impl Verifier {
    /// Takes the next checkpoint, which stands right behind the last entry that it covers. Its signature is for the caller to
    /// check.
    ///
    /// # Errors
    /// [`Unfit`], with the number of the last entry that it claims to cover.
    pub fn check(&mut self, checkpoint: &Checkpoint) -> Result<(), Unfit> {
        let to = checkpoint.to;
        match &self.tenant {
            None => return Err(Unfit::Moved(to)),
            Some(tenant) if *tenant != checkpoint.tenant => return Err(Unfit::Foreign(to)),
            Some(_) if to != self.tip.number => return Err(Unfit::Moved(to)),
            Some(_) => {}
        }
        if checkpoint.hash != self.tip.hash {
            return Err(Unfit::Hash(to));
        }
        let begins = checkpoint.from;
        let follows = match self.covered {
            Some(covered) => begins == covered + 1,
            // Those before may have been left out with the entries that they cover.
            None if self.first == 1 => begins == 1,
            None => begins >= 1,
        };
        if !follows || begins > to {
            return Err(Unfit::Gap(to));
        }
        self.covered = Some(to);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::chain;
    use super::*;

    fn at(text: &str) -> At {
        At::parse(text).unwrap()
    }

    /// The checkpoint of entries `from` to `to` of this chain, without a signature.
    fn checkpoint(entries: &[Entry], from: u64, to: u64) -> Checkpoint {
        let last = entries.iter().find(|entry| entry.number == to).unwrap();
        Checkpoint {
            tenant: last.tenant.clone(),
            from,
            to,
            hash: last.hash.clone(),
            object: format!("tenants/acme/audit/2023/11/{from:012}.jsonl"),
            sha256: "ab".repeat(32),
            at: At(1_700_000_100_000),
            key_id: "cd".repeat(32),
            public_key: String::new(),
            signature: String::new(),
        }
    }

    #[test]
    fn a_checkpoint_is_due_after_an_hour_or_at_the_end_of_the_month() {
        let of = |text: &str| due(at(text)).to_string();
        assert_eq!(of("2026-11-27T13:11:54.020Z"), "2026-11-27T14:11:54.020Z");
        assert_eq!(of("2026-11-30T23:30:00.000Z"), "2026-12-01T00:00:00.000Z");
        assert_eq!(of("2026-12-31T23:59:59.999Z"), "2027-01-01T00:00:00.000Z");
        assert_eq!(of("2026-12-01T00:00:00.000Z"), "2026-12-01T01:00:00.000Z");
    }

    #[test]
    fn an_object_ends_with_its_month_and_before_it_grows_too_large() {
        let mut entries = chain(3);
        entries[0].change.at = at("2026-11-30T23:59:59.999Z");
        entries[1].change.at = at("2026-11-30T23:59:59.999Z");
        entries[2].change.at = at("2026-12-01T00:00:00.000Z");
        let mut stretch = Stretch::default();
        let taken = entries.iter().map(|entry| stretch.takes(entry, 1));
        assert_eq!(taken.collect::<Vec<_>>(), [true, true, false]);
        let mut stretch = Stretch::default();
        assert!(stretch.takes(&entries[0], MAX_BYTES), "one always goes");
        assert!(!stretch.takes(&entries[1], 1));
        let mut stretch = Stretch::default();
        let taken = (0..=MAX_ENTRIES).filter(|_| stretch.takes(&entries[0], 1));
        assert_eq!(taken.count(), MAX_ENTRIES as usize);
    }

    #[test]
    fn what_is_signed_never_changes() {
        let checkpoint = checkpoint(&chain(2), 1, 2);
        let hash = &chain(2)[1].hash;
        let (sha256, key_id) = ("ab".repeat(32), "cd".repeat(32));
        assert_eq!(
            checkpoint.statement(),
            format!(
                "[\"skein audit checkpoint\",\"acme\",1,2,\"{hash}\",\
                 \"tenants/acme/audit/2023/11/000000000001.jsonl\",\"{sha256}\",1700000100000,\"{key_id}\"]"
            )
        );
    }

    #[test]
    fn checkpoints_fit_their_chain_or_are_named() {
        let entries = chain(5);
        let first = checkpoint(&entries, 1, 2);
        let second = checkpoint(&entries, 3, 5);
        let verify = |skip: usize, checkpoints: &[&Checkpoint]| {
            let mut verifier = Verifier::default();
            let mut checkpoints = checkpoints.iter().peekable();
            for entry in &entries[skip..] {
                verifier.take(entry).unwrap();
                while let Some(next) = checkpoints.next_if(|next| next.to <= entry.number) {
                    verifier.check(next)?;
                }
            }
            checkpoints.try_for_each(|late| verifier.check(late))
        };
        assert_eq!(verify(0, &[&first, &second]), Ok(()));
        assert_eq!(
            verify(0, &[&first]),
            Ok(()),
            "the rest waits for its checkpoint"
        );
        assert_eq!(verify(2, &[&second]), Ok(()), "from any entry on");
        assert_eq!(
            verify(0, &[&second]),
            Err(Unfit::Gap(5)),
            "one was left out"
        );
        assert_eq!(verify(0, &[&first, &first]), Err(Unfit::Gap(2)));

        let with = |change: &dyn Fn(&mut Checkpoint)| {
            let mut changed = first.clone();
            change(&mut changed);
            verify(0, &[&changed])
        };
        let evil = TenantId::parse("evil").unwrap();
        assert_eq!(with(&|it| it.tenant = evil.clone()), Err(Unfit::Foreign(2)));
        assert_eq!(with(&|it| it.from = 2), Err(Unfit::Gap(2)));
        assert_eq!(with(&|it| it.from = 0), Err(Unfit::Gap(2)));
        assert_eq!(with(&|it| it.to = 3), Err(Unfit::Hash(3)));
        assert_eq!(with(&|it| it.to = 9), Err(Unfit::Moved(9)));
        assert_eq!(with(&|it| it.to = 0), Err(Unfit::Moved(0)));
        assert_eq!(with(&|it| it.hash.clear()), Err(Unfit::Hash(2)));
    }
}

//! The audit trail: who changed what of a tenant and to whom something was refused, as a chain in which no link can be
//! changed, left out or moved unseen.
//!
//! Each entry holds the hash of the one before it, and its own over everything that it says. Whoever keeps a later hash can
//! tell whether anything before it was touched.

mod checkpoint;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::id::TenantId;
use crate::time::At;

pub use checkpoint::{Checkpoint, EVERY_MS, MAX_BYTES, MAX_ENTRIES, Stretch, Unfit, due};

/// A change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub at: At,
    /// Who: `operator:<key>`, `key:<key>` of the tenant, or `platform`.
    pub by: String,
    /// What was done: `tenant.created`, `tenant.changed`, `key.stored` (issued or changed), `key.revoked`, `agent.stored`,
    /// `agent.archived`, `budget.warned`; of operators `dead_letters.redriven`, `maintenance.on`, `maintenance.off`; or `request.refused`.
    pub action: String,
    /// What it was done to: `tenant`, `key:<id>`, `agent:<id>`, `budget:<node>`, `queue:<name>`, `platform`; of a refused request method and route.
    pub subject: String,
    /// How that is since, without secrets; of a refused request why.
    pub state: Value,
}

/// A link of a tenant's chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose chain.
    pub tenant: TenantId,
    /// Its number in it, from 1.
    pub number: u64,
    /// The change.
    #[serde(flatten)]
    pub change: Change,
    /// The hash of the entry before; empty for the first.
    pub previous: String,
    /// SHA-256, in hexadecimal, of the entry's tenant, number, change and previous hash.
    pub hash: String,
}

/// Where a chain stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    /// Number of the last entry; 0 when there is none.
    pub number: u64,
    /// Its hash.
    pub hash: String,
}

/// Why entries are no chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Something in it was changed.
    #[error("entry {0} does not say what its hash was made of")]
    Changed(u64),
    /// What stood before it is not what stands before it now.
    #[error(
        "entry {0} does not follow the one before it: something was changed, left out or moved"
    )]
    Unlinked(u64),
    /// It is of another tenant.
    #[error("entry {0} is of another tenant")]
    Foreign(u64),
}

impl Entry {
    /// The link that comes after `tip`.
    #[must_use]
    pub fn after(tip: &Tip, tenant: TenantId, change: Change) -> Self {
        let mut entry = Self {
            tenant,
            number: tip.number + 1,
            change,
            previous: tip.hash.clone(),
            hash: String::new(),
        };
        entry.hash = entry.digest();
        entry
    }

    /// Where the chain stands with this entry.
    #[must_use]
    pub fn tip(&self) -> Tip {
        Tip {
            number: self.number,
            hash: self.hash.clone(),
        }
    }

    fn digest(&self) -> String {
        let Change {
            at,
            by,
            action,
            subject,
            state,
        } = &self.change;
        let said = serde_json::json!([
            self.tenant,
            self.number,
            at,
            by,
            action,
            subject,
            state,
            self.previous
        ]);
        let mut text = String::new();
        canonical(&said, &mut text);
        let digest = Sha256::digest(text);
        digest.iter().fold(String::new(), |mut hex, byte| {
            let _infallible = write!(hex, "{byte:02x}");
            hex
        })
    }
}

/// JSON whose objects have their names in order: the same text for the same value, in whatever order it was read.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                text.push_str(&Value::from(name.as_str()).to_string());
                text.push(':');
                canonical(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

/// Follows a chain entry by entry, and the checkpoints that stand between them.
#[derive(Debug, Default)]
pub struct Verifier {
    tenant: Option<TenantId>,
    /// Number of the first entry that was taken; 0 before.
    first: u64,
    tip: Tip,
    /// Number of the last entry that a checkpoint covers, if there was one.
    covered: Option<u64>,
}

impl Verifier {
    /// Takes the next entry; the first one may be any of the chain.
    ///
    /// # Errors
    /// [`Broken`], with the number of the first entry that is wrong.
    pub fn take(&mut self, entry: &Entry) -> Result<(), Broken> {
        let number = entry.number;
        match &self.tenant {
            Some(tenant) if *tenant != entry.tenant => return Err(Broken::Foreign(number)),
            Some(_) if entry.previous != self.tip.hash || number != self.tip.number + 1 => {
                return Err(Broken::Unlinked(number));
            }
            // Where the chain begins, nothing stands before it.
            None if (number == 1) != entry.previous.is_empty() => {
                return Err(Broken::Unlinked(number));
            }
            _ => {}
        }
        if entry.digest() != entry.hash {
            return Err(Broken::Changed(number));
        }
        if self.tenant.is_none() {
            self.tenant = Some(entry.tenant.clone());
            self.first = number;
        }
        self.tip = entry.tip();
        Ok(())
    }

    /// Where the chain stands after what was taken.
    #[must_use]
    pub fn tip(&self) -> &Tip {
        &self.tip
    }

    /// Number of the first entry that was taken; 0 when there was none.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Number of the last entry that a checkpoint covers, if there was one.
    #[must_use]
    pub fn covered(&self) -> Option<u64> {
        self.covered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn chain(length: u64) -> Vec<Entry> {
        let tenant = TenantId::parse("acme").unwrap();
        let mut tip = Tip::default();
        let entries = (0..length).map(|n| {
            let change = Change {
                at: At(1_700_000_000_000 + n),
                by: "operator:4f9a".to_owned(),
                action: "tenant.changed".to_owned(),
                subject: "tenant".to_owned(),
                state: serde_json::json!({"tier": "free", "revision": n, "budgets": {}}),
            };
            let entry = Entry::after(&tip, tenant.clone(), change);
            tip = entry.tip();
            entry
        });
        entries.collect()
    }

    fn verify(entries: &[Entry]) -> Result<Tip, Broken> {
        let mut verifier = Verifier::default();
        for entry in entries {
            verifier.take(entry)?;
        }
        Ok(verifier.tip().clone())
    }

    #[test]
    fn a_chain_holds_through_json_and_from_any_entry_on() {
        let entries = chain(5);
        assert_eq!(verify(&entries), Ok(entries[4].tip()));
        assert_eq!(verify(&entries[2..]), Ok(entries[4].tip()));
        let json = serde_json::to_string(&entries).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Entry>>(&json).unwrap(), entries);
        assert_eq!(
            entries[0].hash, "255e705a7e34b1a7ffb766a2a7ba87f4bc12c979366b5a07771e5e70bb438282",
            "what a hash is made of never changes"
        );
    }

    #[test]
    fn whatever_is_done_to_a_chain_is_named() {
        let mut changed = chain(5);
        changed[2].change.by = "nobody".to_owned();
        assert_eq!(verify(&changed), Err(Broken::Changed(3)));
        changed[2].hash = changed[2].digest();
        assert_eq!(verify(&changed), Err(Broken::Unlinked(4)));

        let mut left_out = chain(5);
        left_out.remove(1);
        assert_eq!(verify(&left_out), Err(Broken::Unlinked(3)));
        let mut moved = chain(5);
        moved.swap(1, 2);
        assert_eq!(verify(&moved), Err(Broken::Unlinked(3)));
        let mut beheaded = chain(5);
        beheaded[0].previous = "ab".to_owned();
        assert_eq!(verify(&beheaded), Err(Broken::Unlinked(1)));
        let mut foreign = chain(5);
        foreign[3].tenant = TenantId::parse("evil").unwrap();
        assert_eq!(verify(&foreign), Err(Broken::Foreign(4)));
    }
}

//! Large payloads: what does not fit an item well stands in the bucket, named by its content.

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::id::{RunId, TenantId};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::item::{Item, Read, Set, number, parse, text};
use crate::{Error, Store, key};

/// Most bytes of one payload. Not a limit of S3: it is what a function of 256 MB can hold several times.
pub const MAX_PAYLOAD_BYTES: u64 = 16 * 1024 * 1024;

/// Most bytes that stay in the item. An item may have 400 KB, and every 1 KB of it is a write unit.
const INLINE_BYTES: usize = 64 * 1024;

const MEDIA_TYPE: &str = "application/json";

impl Store {
    /// Puts `json` into the attribute `name` of `item`, or into the bucket when it is large. The object is stored before
    /// this returns, so an item never names one that is not there.
    pub(crate) async fn spill(
        &self,
        tenant: &TenantId,
        run: &RunId,
        item: &mut Item,
        name: &'static str,
        json: String,
    ) -> Result<(), Error> {
        if json.len() <= INLINE_BYTES {
            item.set_text(name, json);
            return Ok(());
        }
        let bytes = check_size(name, json.len())?;
        let digest = Sha256::digest(&json);
        let sha256 = hex(&digest);
        let key = key::blob(tenant, run, &sha256);
        let answer = self
            .access
            .bucket
            .put(&key, json, &STANDARD.encode(digest))
            .await;
        self.meter.add(|consumed| {
            consumed.payload_writes += 1;
            consumed.payload_bytes += bytes;
        });
        answer?;
        item.insert("blob".to_owned(), reference(sha256, bytes));
        Ok(())
    }

    /// Parses what [`spill`](Self::spill) put away.
    pub(crate) async fn resolve<T: DeserializeOwned>(
        &self,
        tenant: &TenantId,
        run: &RunId,
        item: &Item,
        name: &'static str,
    ) -> Result<T, Error> {
        match sha256_of(item) {
            None => item.json(name),
            Some(sha256) => {
                let key = key::blob(tenant, run, sha256);
                let bytes = Box::pin(self.payload(key, sha256)).await?;
                parse(item, name, &bytes)
            }
        }
    }

    async fn payload(&self, key: String, sha256: &str) -> Result<Vec<u8>, Error> {
        let answer = self.access.bucket.object(&key).await;
        self.meter.add(|consumed| consumed.payload_reads += 1);
        let bytes = answer?;
        if hex(&Sha256::digest(&bytes)) == sha256 {
            Ok(bytes)
        } else {
            Err(Error::Tampered { key })
        }
    }
}

/// Whether `item` holds exactly this JSON in `name`, inline or by reference.
pub(crate) fn holds(item: &Item, name: &str, json: &str) -> bool {
    match sha256_of(item) {
        None => item.find_text(name) == Some(json),
        Some(sha256) => hex(&Sha256::digest(json)) == sha256,
    }
}

pub(crate) fn is_spilled(item: &Item) -> bool {
    item.contains_key("blob")
}

pub(crate) fn check_size(what: &'static str, bytes: usize) -> Result<u64, Error> {
    let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    if bytes > MAX_PAYLOAD_BYTES {
        return Err(Error::TooLarge {
            what,
            bytes,
            limit_bytes: MAX_PAYLOAD_BYTES,
        });
    }
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn reference(sha256: String, bytes: u64) -> AttributeValue {
    AttributeValue::M(
        [
            ("sha256", text(sha256)),
            ("bytes", number(bytes)),
            ("media_type", text(MEDIA_TYPE)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
    )
}

fn sha256_of(item: &Item) -> Option<&str> {
    match item.get("blob")? {
        AttributeValue::M(reference) => reference.find_text("sha256"),
        _ => None,
    }
}

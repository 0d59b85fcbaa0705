//! Who signed checkpoints.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::audit::Checkpoint;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use sha2::{Digest, Sha256};

/// Bytes of the `SubjectPublicKeyInfo` of a P-256 key, and where its point begins in it (RFC 5480).
const SPKI_BYTES: usize = 91;
const POINT: usize = 26;

/// Checks signatures, and remembers by which keys they are.
#[derive(Default)]
pub(super) struct Signatures {
    /// The keys that count; any when there is none.
    accepted: Vec<Vec<u8>>,
    /// The ids of the keys that have signed.
    pub(super) seen: BTreeSet<String>,
}

impl Signatures {
    /// Takes signatures of the key in this file alone, or of those that were accepted before.
    pub(super) fn accept(&mut self, file: &Path) -> anyhow::Result<()> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading the public key in {}", file.display()))?;
        let base64: String = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let key = STANDARD.decode(base64).ok();
        let key = key.filter(|key| key.len() == SPKI_BYTES);
        let key = key.with_context(|| format!("{} holds no key of P-256", file.display()))?;
        self.accepted.push(key);
        Ok(())
    }

    /// Checks one, or says what is wrong with it.
    pub(super) fn check(&mut self, checkpoint: &Checkpoint) -> Result<(), &'static str> {
        let key = STANDARD.decode(&checkpoint.public_key).ok();
        let key = key
            .filter(|key| key.len() == SPKI_BYTES)
            .ok_or("has no public key of P-256")?;
        let digest = Sha256::digest(&key);
        let id: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if id != checkpoint.key_id {
            return Err("names another key than it has");
        }
        if !self.accepted.is_empty() && !self.accepted.contains(&key) {
            return Err("is signed by another key");
        }
        let signature = STANDARD.decode(&checkpoint.signature).ok();
        let signature = signature.ok_or("has no signature")?;
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &key[POINT..])
            .verify(checkpoint.statement().as_bytes(), &signature)
            .map_err(|_| "does not say what was signed")?;
        self.seen.insert(id);
        Ok(())
    }
}

//! Signatures by a key that never leaves AWS KMS: ECDSA over P-256 with SHA-256.
//!
//! The only crate that names the SDK of KMS, and only the janitor has it. It does not know what it signs.

mod error;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
pub use error::Error;
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

/// Most bytes of a message (limit of KMS).
pub const MAX_BYTES: usize = 4_096;

/// Signs with one key. Clones share it.
#[derive(Clone, Debug)]
pub struct Signer {
    client: Client,
    key: String,
    public: Arc<OnceCell<PublicKey>>,
}

/// What verifies a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// SHA-256 of the key, in hexadecimal.
    pub id: String,
    /// The key: `SubjectPublicKeyInfo` in Base64.
    pub spki: String,
}

impl Signer {
    /// Signs with this key: an id, an ARN or an alias. Nothing is asked of KMS yet.
    pub fn new(client: Client, key: impl Into<String>) -> Self {
        Self {
            client,
            key: key.into(),
            public: Arc::default(),
        }
    }

    /// What verifies what this signs. Asked of KMS once.
    ///
    /// # Errors
    /// When KMS refuses or cannot be reached.
    pub async fn public_key(&self) -> Result<&PublicKey, Error> {
        self.public.get_or_try_init(|| self.read()).await
    }

    async fn read(&self) -> Result<PublicKey, Error> {
        let request = self.client.get_public_key().key_id(&self.key);
        let answer = Box::pin(request.send()).await;
        let answer = answer.map_err(|error| Error::of_sdk("GetPublicKey", error))?;
        let key = answer.public_key.ok_or(Error::Empty("GetPublicKey"))?;
        let digest = Sha256::digest(key.as_ref());
        Ok(PublicKey {
            id: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            spki: STANDARD.encode(key),
        })
    }

    /// Signs a message of at most [`MAX_BYTES`]: an ASN.1 sequence in Base64. Again, it is another signature, as good.
    ///
    /// # Errors
    /// When KMS refuses or cannot be reached.
    pub async fn sign(&self, message: &str) -> Result<String, Error> {
        let request = self
            .client
            .sign()
            .key_id(&self.key)
            .signing_algorithm(SigningAlgorithmSpec::EcdsaSha256)
            .message_type(MessageType::Raw)
            .message(Blob::new(message));
        let answer = Box::pin(request.send()).await;
        let answer = answer.map_err(|error| Error::of_sdk("Sign", error))?;
        let signature = answer.signature.ok_or(Error::Empty("Sign"))?;
        Ok(STANDARD.encode(signature))
    }
}

//! The archive: a bucket of its own for audit trails, whose objects nobody can change for as long as they are kept.

use std::sync::Arc;

use aws_types::SdkConfig;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::id::TenantId;
use domain::time::At;
use sha2::{Digest, Sha256};

use crate::blob::hex;
use crate::bucket::Bucket;
use crate::{Error, key};

/// The archive. Clones share everything and cost nothing.
#[derive(Clone, Debug)]
pub struct Archive(Arc<Bucket>);

impl Archive {
    /// The archive in this bucket, as `aws` says that S3 is to be asked. Nothing is asked yet.
    #[must_use]
    pub fn new(aws: &SdkConfig, bucket: &str) -> Self {
        Self(Arc::new(Bucket::new(aws, bucket)))
    }

    /// Makes the bucket where it is missing: for the local cloud and for tests. On AWS the template makes it.
    ///
    /// # Errors
    /// Those of the bucket.
    pub async fn provision(&self) -> Result<(), Error> {
        self.0.create().await
    }

    /// The key of the object that begins with entry number `first`, which is of `at`.
    #[must_use]
    pub fn key(tenant: &TenantId, at: At, first: u64) -> String {
        key::archived(tenant, at, first)
    }

    /// SHA-256 of an object, in hexadecimal.
    #[must_use]
    pub fn sha256(lines: &str) -> String {
        hex(&Sha256::digest(lines))
    }

    /// Stores an object, whose hash S3 checks. Again, it is the same object.
    ///
    /// # Errors
    /// Those of the bucket.
    pub async fn put(&self, key: &str, lines: String) -> Result<(), Error> {
        let digest = Sha256::digest(&lines);
        self.0.put(key, lines, &STANDARD.encode(digest)).await
    }

    /// Reads an object.
    ///
    /// # Errors
    /// Those of the bucket; [`Error::Refused`] when it is not there.
    pub async fn object(&self, key: &str) -> Result<Vec<u8>, Error> {
        self.0.object(key).await
    }
}

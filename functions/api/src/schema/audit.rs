//! The audit trail, as the API shows it.

use serde_json::Value;
use utoipa::ToSchema;

/// A link of a tenant's audit trail.
#[derive(Debug, ToSchema)]
pub struct AuditEntry {
    /// Whose trail.
    pub tenant: String,
    /// Its number in it, from 1 without gaps.
    pub number: u64,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub at: u64,
    /// Who: `operator:<key>`, `key:<key>` of the tenant, or `platform`.
    pub by: String,
    /// What was done: `tenant.created`, `tenant.changed`, `key.stored`, `key.revoked`, `agent.stored`, `agent.archived`,
    /// `budget.warned`, of operators `dead_letters.redriven`, `maintenance.on`, `maintenance.off`; `request.refused` (at most one a minute for each key and reason).
    pub action: String,
    /// What it was done to: `tenant`, `key:<id>`, `agent:<id>`, `budget:<node>`, `queue:<name>`, `platform`; of a refused request method and route.
    pub subject: String,
    /// How that is since, without secrets. Of a refused request `status`, `code`, `detail`, and `untold`: how many more of
    /// them the same process has refused before and not told.
    #[schema(value_type = Object)]
    pub state: Value,
    /// The hash of the entry before; empty for the first.
    pub previous: String,
    /// SHA-256, in hexadecimal, of the entry's tenant, number, change and previous hash.
    pub hash: String,
}

/// A signed statement of how a tenant's audit trail stands.
#[derive(Debug, ToSchema)]
pub struct AuditCheckpoint {
    /// Whose trail.
    pub tenant: String,
    /// Number of the first entry that no earlier checkpoint covers.
    pub from: u64,
    /// Number of the last entry that it covers.
    pub to: u64,
    /// The hash of that entry.
    pub hash: String,
    /// The key of the archived object with these entries: JSON, one entry a line.
    pub object: String,
    /// SHA-256 of the object, in hexadecimal.
    pub sha256: String,
    /// When it was made, in milliseconds since 1970-01-01 UTC.
    pub at: u64,
    /// SHA-256 of the public key, in hexadecimal.
    pub key_id: String,
    /// The public key: `SubjectPublicKeyInfo` in Base64.
    pub public_key: String,
    /// ECDSA over P-256 with SHA-256 of the JSON array `["skein audit checkpoint", tenant, from, to, hash, object, sha256, at,
    /// key_id]` without blanks, as an ASN.1 sequence in Base64.
    pub signature: String,
}

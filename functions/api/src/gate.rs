//! The port to API Gateway's own keys. `admin` plugs its client in; the other functions have no code of it.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use domain::gate::Gate;
use domain::id::{KeyId, TenantId};
use futures_util::future::BoxFuture;

/// What becomes of a request to the gate.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, Box<dyn Error + Send + Sync>>>;

/// Keys of API Gateway. Each call may be repeated, whatever became of the one before.
pub trait GateKeys: Send + Sync {
    /// Sees to it that this API key has a gate key, on this plan and on no other.
    fn ensure<'a>(&'a self, tenant: &'a TenantId, key: &'a KeyId, plan: &'a str) -> Answer<'a, ()>;
    /// Sees to it that this API key has none.
    fn remove<'a>(&'a self, tenant: &'a TenantId, key: &'a KeyId) -> Answer<'a, ()>;
    /// The API keys of a tenant that have one.
    fn list<'a>(&'a self, tenant: &'a TenantId) -> Answer<'a, Vec<KeyId>>;
}

/// The gate of this stack, as whoever changes it knows it.
#[derive(Clone)]
pub(crate) struct Guarded {
    pub(crate) gate: Gate,
    pub(crate) keys: Arc<dyn GateKeys>,
}

impl fmt::Debug for Guarded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Guarded").field(&self.gate).finish()
    }
}

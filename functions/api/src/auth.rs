//! Who asks, and whether they may.
//!
//! A handler that takes [`As`] can only run for a principal that has the scope; the tenant of everything it does comes from
//! there and from nowhere else.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use domain::id::{KeyId, ProjectId, TenantId};
use domain::tenant::{Standing, Tenant};
use domain::time::At;
use futures_util::future::join;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use store::{ApiKey, Cache, Store};
use subtle::ConstantTimeEq as _;

use crate::keys::{self, Presented};
use crate::refusal::Asking;
use crate::{Api, Problem, limit, maintenance, trace};

/// How long a key is believed without reading it again: half of the 60 s within which a revocation must hold.
const BELIEVED: Duration = Duration::from_secs(30);
/// How exactly it is noted when a key was last used, in milliseconds.
const USED_EVERY_MS: u64 = 300_000;
/// Most keys remembered, unknown ones included.
const MAX_KEYS: u32 = 10_000;

/// A scope, as a type: [`As`] takes it as its parameter.
pub trait Scope: Send + Sync + 'static {
    /// How it is written in a key's item.
    const NAME: &'static str;
    /// Whether it is for what begins or changes something.
    const WRITES: bool = is_for_writes(Self::NAME);
}

/// Scopes end in what they are for.
const fn is_for_writes(name: &str) -> bool {
    matches!(name.as_bytes(), [.., b':', b'w', b'r', b'i', b't', b'e'])
}

macro_rules! scopes {
    ($(#[$all:meta])* $list:ident: $($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}
            impl Scope for $name {
                const NAME: &'static str = $text;
            }
        )*
        $(#[$all])*
        pub const $list: &[&str] = &[$($text),*];
    };
}

scopes! {
    /// Every scope that a tenant's key may have.
    SCOPES:
    /// Read runs.
    RunsRead = "runs:read";
    /// Create and cancel runs.
    RunsWrite = "runs:write";
    /// Read definitions: agents today.
    DefinitionsRead = "definitions:read";
    /// Store and archive definitions.
    DefinitionsWrite = "definitions:write";
    /// Read the audit trail.
    AuditRead = "audit:read";
}

scopes! {
    /// Every scope that an operator's key may have.
    OPERATOR_SCOPES:
    /// Read tenants, keys, budgets, usage, audit trails.
    AdminRead = "admin:read";
    /// Onboard and change tenants, issue and revoke keys.
    AdminWrite = "admin:write";
}

/// Whom the operators' keys belong to. No tenant has this id.
pub const OPERATOR: &str = "operator";

/// A principal of a tenant that may do what `S` says.
pub struct As<S> {
    /// The API for what this tenant's principal asks, and for nothing else: with the credentials of the tenant whose key it
    /// was, whatever a request names.
    pub api: Api,
    /// For whom it acts.
    pub tenant: TenantId,
    /// What holds for that tenant.
    pub settings: Arc<Tenant>,
    /// The API key that it used.
    pub key: KeyId,
    /// The project that the key belongs to.
    pub project: Option<ProjectId>,
    scope: PhantomData<fn() -> S>,
}

impl<S: Scope> FromRequestParts<Api> for As<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let key = authenticate(parts, api).await?;
        Self::of(key, parts, api).await
    }
}

impl<S: Scope> As<S> {
    /// Whoever has this key, which holds: its tenant's standing, rate limits and its scopes are looked at, and before a write
    /// whether there is maintenance.
    pub(crate) async fn of(key: Arc<ApiKey>, parts: &Parts, itself: &Api) -> Result<Self, Problem> {
        if key.tenant.as_str() == OPERATOR {
            return Err(Problem::ScopeMissing(S::NAME));
        }
        let api = trace::within(itself.of(&key.tenant), parts);
        // The key of a tenant that is gone is as good as none.
        let settings = api.engine.tenant(&key.tenant).await?;
        let settings = settings.ok_or(Problem::Unauthenticated)?;
        if settings.standing == Standing::Closing {
            return Err(Problem::TenantClosed);
        }
        // As the process itself: what is said of maintenance is no tenant's. At the same time, so that it costs no time.
        let maintained = async {
            if S::WRITES {
                Box::pin(maintenance::pass(itself)).await
            } else {
                Ok(())
            }
        };
        let limited = limit::pass(parts, &api, &settings, &key.id);
        let (limited, maintained) = join(limited, maintained).await;
        limited?;
        has::<S>(&key)?;
        maintained?;
        tracing::Span::current().record("tenant.id", key.tenant.as_str());
        Ok(Self {
            api,
            tenant: key.tenant.clone(),
            settings,
            key: key.id.clone(),
            project: key.project.clone(),
            scope: PhantomData,
        })
    }
}

impl<S> As<S> {
    /// How the audit trail calls it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("key:{}", self.key)
    }
}

/// An operator that may do what `S` says.
#[derive(Debug)]
pub struct Operator<S> {
    /// The key that it used.
    pub key: KeyId,
    scope: PhantomData<fn() -> S>,
}

impl<S> Operator<S> {
    /// How the audit trail calls it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("operator:{}", self.key)
    }
}

impl<S: Scope> FromRequestParts<Api> for Operator<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let key = authenticate(parts, api).await?;
        if key.tenant.as_str() != OPERATOR {
            return Err(Problem::ScopeMissing(S::NAME));
        }
        has::<S>(&key)?;
        Ok(Self {
            key: key.id.clone(),
            scope: PhantomData,
        })
    }
}

pub(crate) async fn authenticate(parts: &Parts, api: &Api) -> Result<Arc<ApiKey>, Problem> {
    let text = credential(&parts.headers).ok_or(Problem::Unauthenticated)?;
    let presented = keys::parse(text).ok_or(Problem::Unauthenticated)?;
    let (store, now) = (&api.engine.store, api.engine.now());
    let key = api.keys.find(store, &presented, now).await?;
    let Some(key) = key else {
        api.refusals.stranger(presented.id, now);
        return Err(Problem::Unauthenticated);
    };
    admit(key, parts, now)
}

/// The key that a request was proved to come from, if it holds. Whose it is is noted either way.
pub(crate) fn admit(key: Arc<ApiKey>, parts: &Parts, now: At) -> Result<Arc<ApiKey>, Problem> {
    if let Some(asking) = parts.extensions.get::<Asking>() {
        asking.is_by(&key);
    }
    holds(&key, now)?;
    Ok(key)
}

fn holds(key: &ApiKey, now: At) -> Result<(), Problem> {
    if key.revoked_at.is_some_and(|at| at <= now) {
        return Err(Problem::KeyRevoked);
    }
    if key.expires_at.is_some_and(|at| at <= now) {
        return Err(Problem::KeyExpired);
    }
    Ok(())
}

/// How the audit trail calls whoever has this key.
pub(crate) fn name_of(key: &ApiKey) -> String {
    let kind = if key.tenant.as_str() == OPERATOR {
        "operator"
    } else {
        "key"
    };
    format!("{kind}:{}", key.id)
}

fn has<S: Scope>(key: &ApiKey) -> Result<(), Problem> {
    if key.scopes.iter().any(|scope| scope == S::NAME) {
        Ok(())
    } else {
        Err(Problem::ScopeMissing(S::NAME))
    }
}

/// The credential that a request has in its headers.
pub(crate) fn credential(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    headers.get("x-api-key")?.to_str().ok().map(str::trim)
}

/// The keys that were read lately.
#[derive(Clone)]
pub(crate) struct Keys(Arc<Cache<KeyId, ApiKey>>);

impl Keys {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Cache::of_changing(MAX_KEYS, BELIEVED)))
    }

    /// The key that was presented, whether it holds or not; none when there is none with this secret.
    async fn find(
        &self,
        store: &Store,
        presented: &Presented<'_>,
        now: At,
    ) -> Result<Option<Arc<ApiKey>>, Problem> {
        let id = KeyId::parse(presented.id).map_err(|_| Problem::Unauthenticated)?;
        let known = self.read(store, &id, now).await?;
        let hash = keys::hexadecimal(&presented.sha256());
        Ok(known.filter(|key| bool::from(hash.as_bytes().ct_eq(key.hash.as_bytes()))))
    }

    /// The key of this id, whether it holds or not. Proves nothing of who asks.
    pub(crate) async fn read(
        &self,
        store: &Store,
        id: &KeyId,
        now: At,
    ) -> Result<Option<Arc<ApiKey>>, Problem> {
        let read = Box::pin(read(store, id, now));
        Ok(self.0.get(id, now, read).await?)
    }
}

/// Reads a key, and notes that it is in use.
async fn read(store: &Store, id: &KeyId, now: At) -> Result<Option<ApiKey>, store::Error> {
    let key = store.key(id).await?;
    let Some(key) = key else { return Ok(None) };
    let is_news = |at: At| now.since_ms(at) >= USED_EVERY_MS;
    if key.last_used_at.is_none_or(is_news)
        && let Err(error) = store.key_used(&key.tenant, id, now).await
    {
        tracing::warn!(error = %telemetry::chain(&error), "the use of a key was not noted");
    }
    Ok(Some(key))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_key_comes_in_one_of_two_headers() {
        let of = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            credential(&headers).map(str::to_owned)
        };
        assert_eq!(of("authorization", "Bearer k").as_deref(), Some("k"));
        assert_eq!(of("authorization", "bearer  k").as_deref(), Some("k"));
        assert_eq!(of("authorization", "Basic k"), None);
        assert_eq!(of("x-api-key", "k").as_deref(), Some("k"));
        assert_eq!(of("cookie", "k"), None);
    }
}

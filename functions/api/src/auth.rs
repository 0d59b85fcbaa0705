//! Who asks, and whether they may.
//!
//! A handler that takes [`As`] can only run for a principal that has the scope; the tenant of everything it does comes from
//! there and from nowhere else.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use domain::id::TenantId;
use domain::time::At;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use moka::future::Cache;
use store::{ApiKey, Store};
use subtle::ConstantTimeEq as _;

use crate::keys::{self, Presented};
use crate::{Api, Problem};

/// How long a key is believed without reading it again: half of the 60 s within which a revocation must hold.
const BELIEVED: Duration = Duration::from_secs(30);
/// Most keys remembered, unknown ones included.
const MAX_KEYS: u64 = 10_000;

/// A scope, as a type: [`As`] takes it as its parameter.
pub trait Scope: Send + Sync + 'static {
    /// How it is written in a key's item.
    const NAME: &'static str;
}

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub enum $name {}
            impl Scope for $name {
                const NAME: &'static str = $text;
            }
        )*
        /// Every scope that a key may have.
        pub const SCOPES: &[&str] = &[$($text),*];
    };
}

scopes! {
    /// Read runs.
    RunsRead = "runs:read";
    /// Create and cancel runs.
    RunsWrite = "runs:write";
    /// Read agents.
    AgentsRead = "agents:read";
    /// Create and archive agents.
    AgentsWrite = "agents:write";
}

/// A principal that may do what `S` says.
#[derive(Debug)]
pub struct As<S> {
    /// For whom it acts.
    pub tenant: TenantId,
    /// The API key that it used, by its id.
    pub key: String,
    scope: PhantomData<fn() -> S>,
}

impl<S: Scope> FromRequestParts<Api> for As<S> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let text = credential(&parts.headers).ok_or(Problem::Unauthenticated)?;
        let presented = keys::parse(text).ok_or(Problem::Unauthenticated)?;
        let key = api
            .keys
            .find(&api.engine.store, &presented, api.engine.now())
            .await?;
        if key.scopes.iter().any(|scope| scope == S::NAME) {
            Ok(Self {
                tenant: key.tenant.clone(),
                key: key.id.clone(),
                scope: PhantomData,
            })
        } else {
            Err(Problem::ScopeMissing(S::NAME))
        }
    }
}

fn credential(headers: &HeaderMap) -> Option<&str> {
    if let Some(value) = headers.get(AUTHORIZATION) {
        let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| key.trim());
    }
    headers.get("x-api-key")?.to_str().ok().map(str::trim)
}

/// The keys that were read lately.
#[derive(Clone)]
pub(crate) struct Keys(Cache<String, Option<Arc<ApiKey>>>);

impl Keys {
    pub(crate) fn new() -> Self {
        Self(
            Cache::builder()
                .max_capacity(MAX_KEYS)
                .time_to_live(BELIEVED)
                .build(),
        )
    }

    async fn find(
        &self,
        store: &Store,
        presented: &Presented<'_>,
        now: At,
    ) -> Result<Arc<ApiKey>, Problem> {
        let known = match self.0.get(presented.id).await {
            Some(known) => known,
            None => {
                let read = store.key(presented.id).await?.map(Arc::new);
                self.0.insert(presented.id.to_owned(), read.clone()).await;
                read
            }
        };
        let key = known.ok_or(Problem::Unauthenticated)?;
        let hash = keys::hexadecimal(&presented.sha256());
        if !bool::from(hash.as_bytes().ct_eq(key.hash.as_bytes())) {
            return Err(Problem::Unauthenticated);
        }
        if key.revoked_at.is_some_and(|at| at <= now) {
            return Err(Problem::KeyRevoked);
        }
        if key.expires_at.is_some_and(|at| at <= now) {
            return Err(Problem::KeyExpired);
        }
        Ok(key)
    }
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

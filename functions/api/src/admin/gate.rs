//! Has API Gateway know of API keys what the table says, which is the truth.
//!
//! What is to be there follows from the key and its tenant as they stand; what is known to be there is noted with the key. The
//! note that something is about to be made is written first, with a new key in the same write, so whatever dies in
//! between is found and finished by the next change of the key or of its tenant, or by [`sync`]. **Invariant:** no
//! operator's request fails because API Gateway does.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use domain::gate::AtGate;
use domain::id::{KeyId, TenantId};
use domain::tenant::Tenant;
use domain::time::At;
use serde::Serialize;
use store::ApiKey;
use utoipa::ToSchema;

use super::MAX_RACES;
use crate::address::Path;
use crate::auth::{AdminWrite, OPERATOR, Operator};
use crate::gate::Guarded;
use crate::{Api, Problem, schema};

/// How long a request waits for API Gateway, which takes five new keys a second.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the operator's own request for it does: less than a function has.
const LONG_PATIENCE: Duration = Duration::from_secs(25);
/// Keys read at once.
const PAGE: u32 = 200;

/// What became of the gate keys of a tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Synced {
    /// API keys of which API Gateway has what it should.
    settled: u32,
    /// API keys of which it does not yet: ask again.
    pending: u32,
    /// Gate keys that were removed, since no API key needs them.
    removed: u32,
}

/// Whose key it is and whether it opens anything decides what it is to have at the gate.
fn wanted<'a>(
    guarded: &Guarded,
    key: &ApiKey,
    tenant: Option<&'a Tenant>,
    now: At,
) -> Option<&'a str> {
    let is_over = key.revoked_at.is_some() || key.expires_at.is_some_and(|at| at <= now);
    let tenant = tenant.filter(|_| !is_over)?;
    guarded.gate.plan_of(tenant, key.gate.as_ref())
}

/// What a new key is to have at the gate: the note is stored with it.
pub(super) fn begin(api: &Api, tenant: &Tenant) -> Option<AtGate> {
    let guarded = api.gate.as_ref()?;
    let plan = guarded.gate.plan_of(tenant, None)?;
    Some(AtGate {
        plan: plan.to_owned(),
        is_ready: false,
    })
}

/// How a key stands at the gate, in a word; none where there is no gate, and of one that has no place there any longer.
pub(super) fn stands(api: &Api, key: &ApiKey) -> Option<&'static str> {
    api.gate.as_ref()?;
    let is_over = key.revoked_at.is_some();
    match &key.gate {
        Some(at) if at.is_ready && !is_over => Some("own"),
        Some(_) => Some("pending"),
        None if is_over => None,
        None => Some("shared"),
    }
}

/// Settles a key within a moment: as it stands then, whether that worked or not.
pub(super) async fn settle_soon(api: &Api, key: ApiKey) -> ApiKey {
    let Some(guarded) = &api.gate else {
        return key;
    };
    let (tenant, id) = (key.tenant.clone(), key.id.clone());
    let settling = Box::pin(settle(api, guarded, &tenant, &id));
    match tokio::time::timeout(PATIENCE, settling).await {
        Ok(Ok(settled)) => settled.unwrap_or(key),
        Ok(Err(error)) => {
            let error = telemetry::chain(error.as_ref());
            tracing::warn!(error = %error, key.id = %id, "API Gateway does not know a key yet");
            key
        }
        Err(_) => {
            tracing::warn!(key.id = %id, "API Gateway may not know a key yet");
            key
        }
    }
}

/// Settles every key of a tenant within a moment, since it was changed.
pub(super) async fn settle_all_soon(api: &Api, tenant: &TenantId) {
    let Some(guarded) = &api.gate else { return };
    let settling = Box::pin(settle_all(api, guarded, tenant));
    match tokio::time::timeout(PATIENCE, settling).await {
        Ok(Ok(Synced { pending: 0, .. })) => {}
        Ok(Ok(Synced { pending, .. })) => {
            tracing::warn!(tenant.id = %tenant, pending, "API Gateway does not know all keys yet");
        }
        Ok(Err(error)) => {
            let error = telemetry::chain(&error);
            tracing::warn!(error = %error, tenant.id = %tenant, "API Gateway may not know all keys yet");
        }
        Err(_) => {
            tracing::warn!(tenant.id = %tenant, "API Gateway may not know all keys yet");
        }
    }
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// Brings the gate to where one key says, and the note with it: the key as it stands then; none when it is gone.
async fn settle(
    api: &Api,
    guarded: &Guarded,
    tenant: &TenantId,
    id: &KeyId,
) -> Result<Option<ApiKey>, Fault> {
    let store = &api.engine.store;
    let mut may_be_there = false;
    for _ in 0..MAX_RACES {
        let key = store.key(id).await?.filter(|key| key.tenant == *tenant);
        let (at, wanted) = match &key {
            Some(key) => {
                let tenant = store.tenant(&key.tenant).await?;
                let plan = wanted(guarded, key, tenant.as_ref(), api.engine.now());
                (key.gate.clone(), plan.map(str::to_owned))
            }
            None => (None, None),
        };
        match (at, wanted) {
            (None, None) => {
                // It was made for a key that somebody revoked meanwhile.
                if may_be_there {
                    guarded.keys.remove(tenant, id).await?;
                }
                return Ok(key);
            }
            (Some(at), Some(plan)) if at.is_ready && at.plan == plan => return Ok(key),
            (Some(at), None) => {
                guarded.keys.remove(tenant, id).await?;
                store.key_at_gate(id, Some(&at), None).await?;
            }
            (at, Some(plan)) => {
                let mut next = AtGate {
                    plan,
                    is_ready: false,
                };
                let is_noted = at.as_ref() == Some(&next)
                    || store.key_at_gate(id, at.as_ref(), Some(&next)).await?;
                if is_noted {
                    guarded.keys.ensure(tenant, id, &next.plan).await?;
                    may_be_there = true;
                    let making = next.clone();
                    next.is_ready = true;
                    store.key_at_gate(id, Some(&making), Some(&next)).await?;
                }
            }
        }
    }
    Err("others change the key all the time".into())
}

/// Settles each key of a tenant, and removes what the gate has of keys that the tenant has not.
async fn settle_all(
    api: &Api,
    guarded: &Guarded,
    tenant: &TenantId,
) -> Result<Synced, store::Error> {
    let store = &api.engine.store;
    let mut synced = Synced::default();
    let mut cursor = None;
    loop {
        let now = api.engine.now();
        let page = store.keys(tenant, PAGE, cursor.as_deref(), now).await?;
        for key in &page.items {
            match settle(api, guarded, tenant, &key.id).await {
                Ok(_) => synced.settled += 1,
                Err(error) => {
                    synced.pending += 1;
                    let error = telemetry::chain(error.as_ref());
                    tracing::warn!(error = %error, key.id = %key.id, "a key waits for API Gateway");
                }
            }
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let known = guarded.keys.list(tenant).await.unwrap_or_else(|error| {
        let error = telemetry::chain(error.as_ref());
        tracing::warn!(error = %error, "gate keys cannot be listed");
        synced.pending += 1;
        Vec::new()
    });
    for id in known {
        let key = store.key(&id).await?.filter(|key| key.tenant == *tenant);
        if key.is_some_and(|key| key.gate.is_some()) {
            continue;
        }
        match guarded.keys.remove(tenant, &id).await {
            Ok(()) => synced.removed += 1,
            Err(error) => {
                synced.pending += 1;
                let error = telemetry::chain(error.as_ref());
                tracing::warn!(error = %error, key.id = %id, "a gate key remains");
            }
        }
    }
    Ok(synced)
}

/// Have API Gateway know a tenant's keys
///
/// Makes, moves and removes what it has of them, until it is as the tenant and its keys say. Every change of a key or a tenant
/// does so by itself; this finishes what was interrupted, removes what expired keys left, and does it for keys that are
/// older than the usage plans. Of a tenant that is gone it removes everything. Again, it changes nothing.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{tenant}/keys/sync",
    operation_id = "sync_keys",
    tag = "admin",
    params(("tenant" = String, Path, description = "The tenant")),
    responses(
        (status = 200, description = "How the keys stand now; all zero without usage plans", body = Synced),
        (status = 503, description = "It takes longer: ask again", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn sync(
    who: Operator<AdminWrite>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
) -> Result<Json<Synced>, Problem> {
    let api = api.on_behalf_of(&who.name());
    let is_known = tenant.as_str() != OPERATOR
        && (api.engine.store.tenant(&tenant).await?.is_some()
            || api.engine.store.closing(&tenant).await?.is_some());
    if !is_known {
        return Err(Problem::NotFound);
    }
    let Some(guarded) = &api.gate else {
        return Ok(Json(Synced::default()));
    };
    let settling = Box::pin(settle_all(&api, guarded, &tenant));
    let synced = tokio::time::timeout(LONG_PATIENCE, settling).await;
    Ok(Json(synced.map_err(|_| Problem::Unavailable)??))
}

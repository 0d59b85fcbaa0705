//! Keys of tenants: issue, list, rotate, revoke.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::id::{KeyId, ProjectId, TenantId};
use domain::tenant::Tenant;
use domain::time::At;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use store::ApiKey;
use utoipa::ToSchema;

use super::{find, find_open, gate};
use crate::address::{Params, Path};
use crate::auth::{AdminRead, AdminWrite, Operator, SCOPES};
use crate::body::{Body, Optional};
use crate::problem::Finding;
use crate::view::{List, rfc_3339, rfc_3339_if};
use crate::{Api, Problem, keys, schema};

const MAX_PAGE: u32 = 100;
const PAGE: u32 = 20;
const MAX_LABEL: usize = 100;
/// How long a key that was rotated holds on, in seconds: a day unless given, 30 days at most.
const GRACE_S: u64 = 86_400;
const MAX_GRACE_S: u64 = 30 * 86_400;

/// A key to be issued.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// What its owner calls it, 1 to 100 characters.
    label: String,
    /// What it may do; everything a tenant's key may unless given.
    scopes: Option<Vec<String>>,
    /// The project that its runs belong to.
    #[schema(value_type = Option<String>)]
    project: Option<ProjectId>,
    /// When it ceases to hold (RFC 3339); never unless given.
    expires_at: Option<String>,
}

/// How a key is rotated.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// How long the old key holds on, in seconds: 86,400 unless given, 2,592,000 at most.
    #[schema(maximum = 2_592_000)]
    grace_seconds: Option<u64>,
}

/// A key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct KeyView {
    /// Its public part.
    #[schema(value_type = String)]
    id: KeyId,
    /// What its owner calls it.
    label: String,
    /// What it may do.
    scopes: Vec<String>,
    /// The project that its runs belong to.
    #[schema(value_type = Option<String>)]
    project: Option<ProjectId>,
    /// When it was issued.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    created_at: At,
    /// When it ceases to hold, if ever.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "rfc_3339_if")]
    expires_at: Option<At>,
    /// When it was revoked, if it was.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "rfc_3339_if")]
    revoked_at: Option<At>,
    /// When it was last seen in use, to five minutes; not in lists.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "rfc_3339_if")]
    last_used_at: Option<At>,
    /// What API Gateway counts its requests by, where that has usage plans: `own`, a key of its own there; `shared`, one that
    /// it shares with other tenants' keys; `pending`, shared until its own is made, moved or removed. Not in lists.
    #[schema(value_type = Option<String>)]
    gateway: Option<&'static str>,
}

/// A key that was issued just now.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct IssuedKey {
    /// The key itself: shown here and never again.
    key: String,
    /// What is known of it.
    #[serde(flatten)]
    view: KeyView,
}

impl From<ApiKey> for KeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            label: key.label,
            scopes: key.scopes,
            project: key.project,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
            gateway: None,
        }
    }
}

impl KeyView {
    fn of(api: &Api, key: ApiKey) -> Self {
        Self {
            gateway: gate::stands(api, &key),
            ..key.into()
        }
    }
}

/// What a key is issued with.
struct Grant {
    label: String,
    scopes: Vec<String>,
    project: Option<ProjectId>,
    expires_at: Option<At>,
}

/// Stores a new key for a tenant and shows it.
async fn issue(api: &Api, tenant: Tenant, grant: Grant) -> Result<Response, Problem> {
    let issued = keys::issue(&tenant.tier, keys::random());
    let gate = gate::begin(api, &tenant);
    let key = ApiKey {
        id: KeyId::parse(&issued.id).map_err(|_| Problem::Internal)?,
        tenant: tenant.id,
        project: grant.project,
        hash: keys::hexadecimal(&issued.sha256),
        scopes: grant.scopes,
        label: grant.label,
        created_at: api.engine.now(),
        expires_at: grant.expires_at,
        revoked_at: None,
        last_used_at: None,
        gate,
    };
    api.engine.store.put_key(&key).await?;
    let key = gate::settle_soon(api, key).await;
    let view = IssuedKey {
        key: issued.text,
        view: KeyView::of(api, key),
    };
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

/// A key of this tenant; another's is as good as none.
async fn find_key(api: &Api, tenant: &TenantId, id: &KeyId) -> Result<ApiKey, Problem> {
    let found = api.engine.store.key(id).await?;
    found
        .filter(|key| key.tenant == *tenant)
        .ok_or(Problem::NotFound)
}

/// Issue a key
///
/// The answer holds the key; it is not shown again.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{tenant}/keys",
    operation_id = "issue_key",
    tag = "admin",
    params(("tenant" = String, Path, description = "The tenant")),
    request_body = NewKey,
    responses(
        (status = 201, description = "Issued", body = IssuedKey),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The tenant has a stack of its own, which issues its keys", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body breaks a rule", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn create(
    who: Operator<AdminWrite>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
    body: Body<NewKey>,
) -> Result<Response, Problem> {
    let api = api.on_behalf_of(&who.name());
    let tenant = find_open(&api, &tenant).await?;
    let asked = body.value;
    let scopes = asked
        .scopes
        .unwrap_or_else(|| SCOPES.iter().map(|scope| (*scope).to_owned()).collect());
    let expires_at = asked.expires_at.as_deref().map(At::parse);
    let mut findings = Vec::new();
    if !(1..=MAX_LABEL).contains(&asked.label.trim().chars().count()) {
        findings.push(Finding::body("/label", "must have 1 to 100 characters"));
    }
    for (index, scope) in scopes.iter().enumerate() {
        if !SCOPES.contains(&scope.as_str()) {
            let detail = format!("must be one of {}", SCOPES.join(", "));
            findings.push(Finding::body(format!("/scopes/{index}"), detail));
        }
    }
    let now = api.engine.now();
    let is_past = |at: Option<At>| at.is_none_or(|at| at <= now);
    if expires_at.is_some_and(is_past) {
        let detail = "must be an instant to come (RFC 3339)";
        findings.push(Finding::body("/expires_at", detail));
    }
    if !findings.is_empty() {
        return Err(Problem::InvalidBody(findings));
    }
    let grant = Grant {
        label: asked.label.trim().to_owned(),
        scopes,
        project: asked.project,
        expires_at: expires_at.flatten(),
    };
    issue(&api, tenant, grant).await
}

/// List a tenant's keys
///
/// By id, revoked ones included.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{tenant}/keys",
    operation_id = "list_keys",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("limit" = Option<u32>, Query, description = "1 to 100, 20 unless given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = List<KeyView>),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn list(
    _: Operator<AdminRead>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
    params: Params,
) -> Result<Json<List<KeyView>>, Problem> {
    params.only(&["limit", "cursor"])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE);
    let tenant = find(&api, &tenant).await?;
    let (store, now) = (&api.engine.store, api.engine.now());
    let page = store
        .keys(&tenant.id, limit, params.text("cursor"), now)
        .await?;
    Ok(Json(List::of(page, KeyView::from)))
}

/// Read a key
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{tenant}/keys/{key}",
    operation_id = "read_key",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("key" = String, Path, description = "The key's public part"),
    ),
    responses(
        (status = 200, description = "The key, without its secret", body = KeyView),
        (status = 404, description = "No such tenant or key", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn read(
    _: Operator<AdminRead>,
    Path((tenant, key)): Path<(TenantId, KeyId)>,
    State(api): State<Api>,
) -> Result<Json<KeyView>, Problem> {
    let key = find_key(&api, &tenant, &key).await?;
    Ok(Json(KeyView::of(&api, key)))
}

/// Rotate a key
///
/// Issues a key like this one. Both hold until the old one's grace is over.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{tenant}/keys/{key}/rotate",
    operation_id = "rotate_key",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("key" = String, Path, description = "The old key's public part"),
    ),
    request_body(content = Option<Rotation>, description = "May be left out"),
    responses(
        (status = 201, description = "The new key", body = IssuedKey),
        (status = 404, description = "No such tenant or key", body = schema::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The key holds no longer", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn rotate(
    who: Operator<AdminWrite>,
    Path((tenant, key)): Path<(TenantId, KeyId)>,
    State(api): State<Api>,
    Optional(rotation): Optional<Rotation>,
) -> Result<Response, Problem> {
    let api = api.on_behalf_of(&who.name());
    let grace_s = rotation.grace_seconds.unwrap_or(GRACE_S);
    if grace_s > MAX_GRACE_S {
        return Err(Problem::field(
            "/grace_seconds",
            "must be at most 2,592,000",
        ));
    }
    let tenant = find_open(&api, &tenant).await?;
    let mut old = find_key(&api, &tenant.id, &key).await?;
    let now = api.engine.now();
    if old.revoked_at.is_some() || old.expires_at.is_some_and(|at| at <= now) {
        return Err(Problem::KeyOver);
    }
    let grant = Grant {
        label: old.label.clone(),
        scopes: old.scopes.clone(),
        project: old.project.clone(),
        expires_at: None,
    };
    let ends_at = now.plus_ms(grace_s * 1_000);
    old.expires_at = Some(old.expires_at.map_or(ends_at, |at| at.min(ends_at)));
    // The new key first: a crash in between leaves two that hold, never none.
    let issued = issue(&api, tenant, grant).await?;
    match api.engine.store.put_key(&old).await {
        // It was revoked meanwhile, which is more.
        Ok(()) | Err(store::Error::Raced) => Ok(issued),
        Err(error) => Err(error.into()),
    }
}

/// Revoke a key
///
/// It ceases to hold everywhere within 30 s, for ever. Revoking it again changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/admin/tenants/{tenant}/keys/{key}",
    operation_id = "revoke_key",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("key" = String, Path, description = "The key's public part"),
    ),
    responses(
        (status = 204, description = "Revoked"),
        (status = 404, description = "No such tenant or key", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn revoke(
    who: Operator<AdminWrite>,
    Path((tenant, key)): Path<(TenantId, KeyId)>,
    State(api): State<Api>,
) -> Result<StatusCode, Problem> {
    let api = api.on_behalf_of(&who.name());
    let mut key = find_key(&api, &tenant, &key).await?;
    if key.revoked_at.is_none() {
        key.revoked_at = Some(api.engine.now());
        api.engine.store.put_key(&key).await?;
    }
    gate::settle_soon(&api, key).await;
    Ok(StatusCode::NO_CONTENT)
}

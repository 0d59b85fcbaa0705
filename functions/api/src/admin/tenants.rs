//! Tenants: onboard, read, list, change, suspend, resume; and what the tiers say.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use domain::budget::{Budget, Node};
use domain::flag::Flag;
use domain::id::TenantId;
use domain::tenant::{Isolation, Standing, Tenant};
use domain::tier::{self, Limits, Overrides};
use domain::time::At;
use engine::TakenBack;
use http::StatusCode;
use http::header::LOCATION;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::closing::{ClosingView, GoneView};
use super::regions::{HomeView, home};
use super::{change, gate, operator};
use crate::address::{Params, Path};
use crate::auth::{AdminRead, AdminWrite, OPERATOR, Operator};
use crate::body::Body;
use crate::problem::Finding;
use crate::view::{List, rfc_3339};
use crate::{Api, Problem, schema};

const MAX_PAGE: u32 = 100;
const PAGE: u32 = 20;
const MAX_NAME: usize = 200;

/// A tenant to be onboarded.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewTenant {
    /// Its id: 1 to 63 lower-case letters, digits and hyphens, for ever.
    #[schema(value_type = String)]
    id: TenantId,
    /// What people call it, 1 to 200 characters.
    name: String,
    /// Its tier.
    tier: String,
    /// Where its limits differ from the tier's.
    #[schema(value_type = schema::Overrides)]
    #[serde(default)]
    overrides: Overrides,
    /// Where its data is, for ever; in the stack's table unless given.
    #[schema(value_type = schema::Isolation)]
    #[serde(default)]
    isolation: Isolation,
    /// The Region that writes for it, which must be the one that is asked; that one unless given.
    home: Option<String>,
}

/// What is to change. What is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TenantChange {
    /// What people call it, 1 to 200 characters.
    name: Option<String>,
    /// Its tier.
    tier: Option<String>,
    /// Where its limits differ from the tier's: replaces what was said before.
    #[schema(value_type = Option<schema::Overrides>)]
    overrides: Option<Overrides>,
    /// Where its data is. This cannot change; saying what is so already is no error.
    #[schema(value_type = Option<schema::Isolation>)]
    isolation: Option<Isolation>,
    /// Features to be switched on or off; null takes back what was said. What is not named stays as it is.
    #[schema(value_type = Option<BTreeMap<String, Option<bool>>>)]
    flags: Option<BTreeMap<String, Option<bool>>>,
}

/// A tenant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TenantView {
    /// Its id.
    #[schema(value_type = String)]
    id: TenantId,
    /// What people call it.
    name: String,
    /// Its tier.
    tier: String,
    /// Where its data is.
    #[schema(value_type = schema::Isolation)]
    isolation: Isolation,
    /// Where whatever is written for it is written; left out where there is but one Region.
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<HomeView>,
    /// `active`, `suspended` or `closing`.
    #[schema(value_type = String)]
    standing: Standing,
    /// What it may use: the tier's limits, and where its own differ.
    #[schema(value_type = schema::Limits)]
    limits: Limits,
    /// Where its limits differ from the tier's.
    #[schema(value_type = schema::Overrides)]
    overrides: Overrides,
    /// Whether each feature that can be switched is on: `streaming`, `tool.http_get`.
    #[schema(value_type = BTreeMap<String, bool>)]
    flags: BTreeMap<&'static str, bool>,
    /// Its budgets by what they belong to: `tenant`, `project:<id>` or `key:<id>`.
    #[schema(value_type = BTreeMap<String, Vec<schema::Budget>>)]
    budgets: BTreeMap<Node, Vec<Budget>>,
    /// Counts the changes.
    revision: u64,
    /// When it was onboarded.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    created_at: At,
    /// When it was changed last.
    #[schema(value_type = String)]
    #[serde(serialize_with = "rfc_3339")]
    updated_at: At,
    /// Where its closing stands, while it is being closed; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    closing: Option<ClosingView>,
}

/// A tenant, or what is left of one.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum Found {
    /// One that is there.
    Tenant(Box<TenantView>),
    /// One of which nothing is left but its closing.
    Gone(Box<GoneView>),
}

impl TenantView {
    fn of(api: &Api, tenant: Tenant) -> Self {
        Self {
            home: HomeView::of(api, &tenant.home),
            limits: tenant.limits(),
            flags: Flag::ALL
                .into_iter()
                .map(|flag| (flag.as_str(), tenant.has(flag)))
                .collect(),
            id: tenant.id,
            name: tenant.name,
            tier: tenant.tier,
            isolation: tenant.isolation,
            standing: tenant.standing,
            overrides: tenant.overrides,
            budgets: tenant.budgets,
            revision: tenant.revision,
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
            closing: None,
        }
    }
}

/// A tier.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TierView {
    /// Its name.
    name: &'static str,
    /// What its tenants may use.
    #[schema(value_type = schema::Limits)]
    limits: &'static Limits,
}

fn check(
    name: Option<&str>,
    tier: Option<&str>,
    overrides: Option<&Overrides>,
) -> Result<(), Problem> {
    let mut findings = Vec::new();
    if name.is_some_and(|name| !(1..=MAX_NAME).contains(&name.trim().chars().count())) {
        findings.push(Finding::body("/name", "must have 1 to 200 characters"));
    }
    if tier.is_some_and(|tier| tier::find(tier).is_none()) {
        let names: Vec<_> = tier::all().keys().map(String::as_str).collect();
        let detail = format!("must be one of {}", names.join(", "));
        findings.push(Finding::body("/tier", detail));
    }
    if let Some(Err(errors)) = overrides.map(Overrides::check) {
        findings.extend(errors.into_iter().map(|error| {
            let pointer = format!("/overrides{}", error.pointer);
            Finding::body(pointer, error.detail)
        }));
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Problem::InvalidBody(findings))
    }
}

/// The flags of these names.
fn switched(named: BTreeMap<String, Option<bool>>) -> Result<Vec<(Flag, Option<bool>)>, Problem> {
    let known = named.into_iter().map(|(name, on)| {
        let names = || Flag::ALL.map(Flag::as_str).join(" and ");
        let unknown = || format!("there is no flag `{name}`; there are {}", names());
        let flag = Flag::parse(&name);
        let flag = flag.ok_or_else(|| Problem::field("/flags", unknown()))?;
        Ok((flag, on))
    });
    known.collect()
}

/// List the tiers
#[utoipa::path(
    get,
    path = "/v1/admin/tiers",
    operation_id = "list_tiers",
    tag = "admin",
    responses((status = 200, description = "All of them", body = List<TierView>)),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn tiers(_: Operator<AdminRead>) -> Json<List<TierView>> {
    let tiers = tier::all().iter();
    let items = tiers.map(|(name, limits)| TierView { name, limits });
    Json(List {
        items: items.collect(),
        next_cursor: String::new(),
    })
}

/// Onboard a tenant
///
/// It can be used at once; issue a key for it next. Repeated with the same body it changes nothing. A table of its own must be
/// there already and be like the stack's; of a tenant with a stack of its own nothing is kept here but where that is.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants",
    operation_id = "create_tenant",
    tag = "admin",
    request_body = NewTenant,
    responses(
        (status = 201, description = "Onboarded", body = TenantView),
        (status = 200, description = "It is there already, as the body says", body = TenantView),
        (status = 409, description = "Another tenant has this id", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body breaks a rule", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn create(
    who: Operator<AdminWrite>,
    State(api): State<Api>,
    body: Body<NewTenant>,
) -> Result<Response, Problem> {
    let api = api.on_behalf_of(&who.name());
    let asked = body.value;
    check(Some(&asked.name), Some(&asked.tier), Some(&asked.overrides))?;
    let stack = api.engine.store.stack_table();
    asked.isolation.check(stack).map_err(|error| {
        let pointer = format!("/isolation{}", error.pointer);
        Problem::field(pointer, error.detail)
    })?;
    if asked.id.as_str() == OPERATOR {
        return Err(Problem::field("/id", "is the operator's"));
    }
    let mut tenant = Tenant::new(asked.id, asked.name.trim(), &asked.tier, api.engine.now());
    tenant.overrides = asked.overrides;
    tenant.isolation = asked.isolation;
    tenant.home = home(&api, asked.home.as_deref())?;
    let location = format!("/v1/admin/tenants/{}", tenant.id);
    let (status, tenant) = match api.engine.put_tenant(&tenant, None).await {
        Ok(()) => (StatusCode::CREATED, tenant),
        Err(engine::Error::Store(store::Error::Raced)) => {
            let there = api.engine.store.tenant(&tenant.id).await?;
            // One that is gone had it, for ever.
            let there = there.ok_or(Problem::TenantExists)?;
            let says = |of: &Tenant| {
                let (name, tier) = (of.name.clone(), of.tier.clone());
                (name, tier, of.overrides.clone(), of.isolation.clone())
            };
            if says(&there) != says(&tenant) {
                return Err(Problem::TenantExists);
            }
            (StatusCode::OK, there)
        }
        Err(error) => return Err(error.into()),
    };
    let view = TenantView::of(&api, tenant);
    Ok((status, [(LOCATION, location)], Json(view)).into_response())
}

/// List tenants
///
/// By id. One that was onboarded or changed within the last second may be missing or stand as it was.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants",
    operation_id = "list_tenants",
    tag = "admin",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100, 20 unless given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = List<TenantView>)),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn list(
    _: Operator<AdminRead>,
    State(api): State<Api>,
    params: Params,
) -> Result<Json<List<TenantView>>, Problem> {
    params.only(&["limit", "cursor"])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE);
    let (store, now) = (&api.engine.store, api.engine.now());
    let page = store
        .tenants(&operator()?, limit, params.text("cursor"), now)
        .await?;
    Ok(Json(List::of(page, |tenant| TenantView::of(&api, tenant))))
}

/// Read a tenant
///
/// While it is being closed, this says how far that is; of one that was closed, the certificate.
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{tenant}",
    operation_id = "read_tenant",
    tag = "admin",
    params(("tenant" = String, Path, description = "The tenant")),
    responses(
        (status = 200, description = "The tenant, or its closing", body = Found),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn read(
    _: Operator<AdminRead>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
) -> Result<Json<Found>, Problem> {
    let store = &api.engine.store;
    let there = store.tenant(&tenant).await?;
    let is_open = |tenant: &Tenant| tenant.standing != Standing::Closing;
    let closing = match &there {
        Some(there) if is_open(there) => None,
        Some(_) | None => store.closing(&tenant).await?,
    };
    let found = match (there, closing) {
        (Some(there), closing) => {
            let mut view = TenantView::of(&api, there);
            view.closing = closing.map(ClosingView::from);
            Found::Tenant(Box::new(view))
        }
        (None, Some(closing)) => Found::Gone(Box::new(closing.into())),
        (None, None) => return Err(Problem::NotFound),
    };
    Ok(Json(found))
}

/// Change a tenant
///
/// Concurrent runs and budgets hold from here on; rate limits and flags within a minute.
#[utoipa::path(
    patch,
    path = "/v1/admin/tenants/{tenant}",
    operation_id = "change_tenant",
    tag = "admin",
    params(("tenant" = String, Path, description = "The tenant")),
    request_body = TenantChange,
    responses(
        (status = 200, description = "The tenant as it is now", body = TenantView),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
        (status = 409, description = "It has a stack of its own, or its data would have to move", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body breaks a rule", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn patch(
    who: Operator<AdminWrite>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
    body: Body<TenantChange>,
) -> Result<Json<TenantView>, Problem> {
    let api = api.on_behalf_of(&who.name());
    let TenantChange {
        name,
        tier,
        overrides,
        isolation,
        flags,
    } = body.value;
    check(name.as_deref(), tier.as_deref(), overrides.as_ref())?;
    let flags = switched(flags.unwrap_or_default())?;
    let changed = change(&api, &tenant, |tenant| {
        if isolation
            .as_ref()
            .is_some_and(|said| *said != tenant.isolation)
        {
            return Err(Problem::IsolationSettled);
        }
        if let Some(name) = &name {
            name.trim().clone_into(&mut tenant.name);
        }
        if let Some(tier) = &tier {
            tenant.tier.clone_from(tier);
        }
        if let Some(overrides) = &overrides {
            tenant.overrides = overrides.clone();
        }
        for (flag, switched) in &flags {
            let name = flag.as_str().to_owned();
            match switched {
                Some(on) => tenant.flags.insert(name, *on),
                None => tenant.flags.remove(&name),
            };
        }
        Ok(())
    });
    let changed = changed.await?;
    gate::settle_all_soon(&api, &changed.id).await;
    Ok(Json(TenantView::of(&api, changed)))
}

/// Suspend a tenant
///
/// No new runs from here on; those under way park as soon as nothing is lost by it, within a minute. Its data can still be
/// read. Suspending again changes nothing.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{tenant}/suspend",
    operation_id = "suspend_tenant",
    tag = "admin",
    params(("tenant" = String, Path, description = "The tenant")),
    responses(
        (status = 200, description = "Suspended", body = TenantView),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn suspend(
    who: Operator<AdminWrite>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
) -> Result<Json<TenantView>, Problem> {
    let api = api.on_behalf_of(&who.name());
    stand(&api, &tenant, Standing::Suspended).await
}

/// Resume a tenant
///
/// Its parked runs go on. Resuming again changes nothing. One that is being closed can be resumed until deletion begins; runs
/// that were cancelled stay so.
#[utoipa::path(
    post,
    path = "/v1/admin/tenants/{tenant}/resume",
    operation_id = "resume_tenant",
    tag = "admin",
    params(("tenant" = String, Path, description = "The tenant")),
    responses(
        (status = 200, description = "Active", body = TenantView),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is being closed, and something is deleted already", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn resume(
    who: Operator<AdminWrite>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
) -> Result<Json<TenantView>, Problem> {
    let api = api.on_behalf_of(&who.name());
    match Box::pin(api.engine.take_closing_back(&tenant)).await? {
        TakenBack::Done(tenant) => Ok(Json(TenantView::of(&api, *tenant))),
        TakenBack::TooLate => Err(Problem::TenantClosing),
        TakenBack::Idle => stand(&api, &tenant, Standing::Active).await,
    }
}

async fn stand(
    api: &Api,
    tenant: &TenantId,
    standing: Standing,
) -> Result<Json<TenantView>, Problem> {
    let changed = change(api, tenant, |tenant| {
        tenant.standing = standing;
        Ok(())
    });
    Ok(Json(TenantView::of(api, changed.await?)))
}

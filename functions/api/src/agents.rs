//! Agents: store versions, read, list, archive.

use axum::Json;
use axum::response::{IntoResponse, Response};
use domain::agent::Agent;
use domain::id::AgentId;
use http::StatusCode;
use http::header::LOCATION;

use crate::address::{Params, Path};
use crate::auth::{As, DefinitionsRead, DefinitionsWrite};
use crate::body::{Body, invalid};
use crate::view::{AgentSummary, List, Version};
use crate::{Problem, schema};

/// Most entries of a page.
const MAX_PAGE: u32 = 100;
const PAGE: u32 = 20;

/// Store a version of an agent
///
/// The definition becomes the next version, unless it is the latest one already. Storing to an archived agent brings it back.
#[utoipa::path(
    post,
    path = "/v1/agents/{agent}",
    operation_id = "store_agent_version",
    tag = "agents",
    params(("agent" = String, Path, description = "1 to 63 lower-case letters, digits and hyphens")),
    request_body = schema::Agent,
    responses(
        (status = 201, description = "A new version", body = Version),
        (status = 200, description = "The latest version has this definition already", body = Version),
        (status = 422, description = "The definition breaks a rule", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["definitions:write"]))
)]
pub(crate) async fn store_version(
    who: As<DefinitionsWrite>,
    Path(agent): Path<String>,
    body: Body<Agent>,
) -> Result<Response, Problem> {
    let api = who.api.on_behalf_of(&who.name());
    let agent =
        AgentId::parse(&agent).map_err(|error| Problem::parameter("agent", error.to_string()))?;
    body.value.check().map_err(invalid)?;
    let now = api.engine.now();
    let store = &api.engine.store;
    let version = store
        .put_agent(&who.tenant, &agent, &body.value, now)
        .await?;
    let status = if version.created_at == now {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let location = format!("/v1/agents/{agent}/versions/{}", version.version);
    let view = Version::of(&version, None);
    Ok((status, [(LOCATION, location)], Json(view)).into_response())
}

/// List agents
///
/// By id, without archived ones.
#[utoipa::path(
    get,
    path = "/v1/agents",
    operation_id = "list_agents",
    tag = "agents",
    params(
        ("limit" = Option<u32>, Query, description = "1 to 100, 20 unless given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, description = "A page", body = List<AgentSummary>)),
    security(("key" = ["definitions:read"]))
)]
pub(crate) async fn list(
    who: As<DefinitionsRead>,
    params: Params,
) -> Result<Json<List<AgentSummary>>, Problem> {
    let api = &who.api;
    params.only(&["limit", "cursor"])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE);
    let (store, now) = (&api.engine.store, api.engine.now());
    let page = store
        .agents(&who.tenant, limit, params.text("cursor"), now)
        .await?;
    Ok(Json(List::of(page, AgentSummary::from)))
}

/// Read an agent
///
/// Its latest version, also when it is archived.
#[utoipa::path(
    get,
    path = "/v1/agents/{agent}",
    operation_id = "read_agent",
    tag = "agents",
    params(("agent" = String, Path, description = "The agent")),
    responses(
        (status = 200, description = "The latest version", body = Version),
        (status = 404, description = "No such agent", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["definitions:read"]))
)]
pub(crate) async fn read(
    who: As<DefinitionsRead>,
    Path(agent): Path<AgentId>,
) -> Result<Json<Version>, Problem> {
    let api = &who.api;
    let found = api.engine.store.agent(&who.tenant, &agent).await?;
    let (head, version) = found.ok_or(Problem::NotFound)?;
    Ok(Json(Version::of(&version, head.archived_at)))
}

/// List the versions of an agent
///
/// The latest first.
#[utoipa::path(
    get,
    path = "/v1/agents/{agent}/versions",
    operation_id = "list_agent_versions",
    tag = "agents",
    params(
        ("agent" = String, Path, description = "The agent"),
        ("limit" = Option<u32>, Query, description = "1 to 100, 20 unless given"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "A page", body = List<Version>),
        (status = 404, description = "No such agent", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["definitions:read"]))
)]
pub(crate) async fn versions(
    who: As<DefinitionsRead>,
    Path(agent): Path<AgentId>,
    params: Params,
) -> Result<Json<List<Version>>, Problem> {
    let api = &who.api;
    params.only(&["limit", "cursor"])?;
    let limit = params.number("limit", 1..=MAX_PAGE)?.unwrap_or(PAGE);
    let cursor = params.text("cursor");
    let (store, now) = (&api.engine.store, api.engine.now());
    let page = store
        .agent_versions(&who.tenant, &agent, limit, cursor, now)
        .await?;
    // An agent has at least one version, so only a later page can be empty.
    if page.items.is_empty() && cursor.is_none() {
        return Err(Problem::NotFound);
    }
    Ok(Json(List::of(page, |version| Version::of(&version, None))))
}

/// Read a version of an agent
#[utoipa::path(
    get,
    path = "/v1/agents/{agent}/versions/{version}",
    operation_id = "read_agent_version",
    tag = "agents",
    params(
        ("agent" = String, Path, description = "The agent"),
        ("version" = u32, Path, description = "The version, from 1"),
    ),
    responses(
        (status = 200, description = "The version", body = Version),
        (status = 404, description = "No such version", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["definitions:read"]))
)]
pub(crate) async fn read_version(
    who: As<DefinitionsRead>,
    Path((agent, version)): Path<(AgentId, u32)>,
) -> Result<Json<Version>, Problem> {
    let api = &who.api;
    let store = &api.engine.store;
    let found = store.agent_version(&who.tenant, &agent, version).await?;
    let version = found.ok_or(Problem::NotFound)?;
    Ok(Json(Version::of(&version, None)))
}

/// Archive an agent
///
/// It leaves the list and starts no new runs; those under way go on. Archiving it again changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/agents/{agent}",
    operation_id = "archive_agent",
    tag = "agents",
    params(("agent" = String, Path, description = "The agent")),
    responses(
        (status = 204, description = "Archived"),
        (status = 404, description = "No such agent", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["definitions:write"]))
)]
pub(crate) async fn archive(
    who: As<DefinitionsWrite>,
    Path(agent): Path<AgentId>,
) -> Result<StatusCode, Problem> {
    let api = who.api.on_behalf_of(&who.name());
    let (store, now) = (&api.engine.store, api.engine.now());
    if store.archive_agent(&who.tenant, &agent, now).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::NotFound)
    }
}

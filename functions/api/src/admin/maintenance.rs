//! Maintenance: said, taken back, read.

use axum::Json;
use axum::extract::State;
use domain::maintenance::Maintenance;
use domain::time::At;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{MAX_RACES, operator};
use crate::auth::{AdminRead, AdminWrite, Operator};
use crate::body::Body;
use crate::problem::Finding;
use crate::view::rfc_3339_if;
use crate::{Api, Problem, schema};

/// When clients are to ask again, in seconds, unless said otherwise.
const RETRY_AFTER_S: u32 = 300;

/// What clients are to be told.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Notice {
    /// 1 to 500 characters.
    message: String,
    /// After how many seconds they are to ask again, 300 unless given.
    #[schema(minimum = 1, maximum = 86_400)]
    retry_after_seconds: Option<u32>,
}

/// Whether there is maintenance.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MaintenanceView {
    /// Whether there is.
    on: bool,
    /// What clients are told.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// After how many seconds they are to ask again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u32>,
    /// Who said so.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    /// When.
    #[schema(value_type = Option<String>)]
    #[serde(
        serialize_with = "rfc_3339_if",
        skip_serializing_if = "Option::is_none"
    )]
    since: Option<At>,
}

impl From<Option<Maintenance>> for MaintenanceView {
    fn from(said: Option<Maintenance>) -> Self {
        Self {
            on: said.is_some(),
            retry_after_seconds: said.as_ref().map(|said| said.retry_after_s),
            since: said.as_ref().map(|said| said.since),
            by: said.as_ref().map(|said| said.by.clone()),
            message: said.map(|said| said.message),
        }
    }
}

/// Read whether there is maintenance
#[utoipa::path(
    get,
    path = "/v1/admin/maintenance",
    operation_id = "read_maintenance",
    tag = "admin",
    responses((status = 200, description = "As it stands", body = MaintenanceView)),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn read(
    _: Operator<AdminRead>,
    State(api): State<Api>,
) -> Result<Json<MaintenanceView>, Problem> {
    let said = api.engine.store.maintenance(true).await?;
    Ok(Json(said.into()))
}

/// Begin maintenance
///
/// Within a minute no tenant creates or changes anything: such requests are 503 with this message and `Retry-After`. Runs under
/// way go on, everything can be read, and operators' routes are open. Again with another message changes what is told.
#[utoipa::path(
    put,
    path = "/v1/admin/maintenance",
    operation_id = "begin_maintenance",
    tag = "admin",
    request_body = Notice,
    responses(
        (status = 200, description = "There is", body = MaintenanceView),
        (status = 422, description = "The body breaks a rule", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn begin(
    who: Operator<AdminWrite>,
    State(api): State<Api>,
    body: Body<Notice>,
) -> Result<Json<MaintenanceView>, Problem> {
    let asked = body.value;
    let new = Maintenance {
        message: asked.message.trim().to_owned(),
        retry_after_s: asked.retry_after_seconds.unwrap_or(RETRY_AFTER_S),
        by: who.name(),
        since: api.engine.now(),
    };
    new.check()
        .map_err(|errors| Problem::InvalidBody(errors.into_iter().map(Finding::from).collect()))?;
    let said = set(&api.on_behalf_of(&who.name()), Some(new)).await?;
    Ok(Json(said.into()))
}

/// End maintenance
///
/// Within a minute everything is as before. Ending what has not begun changes nothing.
#[utoipa::path(
    delete,
    path = "/v1/admin/maintenance",
    operation_id = "end_maintenance",
    tag = "admin",
    responses((status = 200, description = "There is none", body = MaintenanceView)),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn end(
    who: Operator<AdminWrite>,
    State(api): State<Api>,
) -> Result<Json<MaintenanceView>, Problem> {
    let said = set(&api.on_behalf_of(&who.name()), None).await?;
    Ok(Json(said.into()))
}

/// Has it say `new`; what says the same already stays as it is.
async fn set(api: &Api, new: Option<Maintenance>) -> Result<Option<Maintenance>, Problem> {
    let (store, now) = (&api.engine.store, api.engine.now());
    let operator = operator()?;
    for _ in 0..MAX_RACES {
        let old = store.maintenance(true).await?;
        match (&new, &old) {
            (None, None) => return Ok(None),
            (Some(new), Some(old)) if new.says(old) => return Ok(Some(old.clone())),
            _ => {}
        }
        let put = store.put_maintenance(&operator, new.as_ref(), old.as_ref(), now);
        match Box::pin(put).await {
            Ok(()) => return Ok(new),
            Err(store::Error::Raced) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::Unavailable)
}

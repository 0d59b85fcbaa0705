//! Regions: a tenant's home moves.

use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use domain::id::TenantId;
use domain::region::Home;
use engine::Moved;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::find_here;
use crate::auth::{AdminWrite, OPERATOR, Operator};
use crate::body::Body;
use crate::{Api, Problem, schema};

/// How long one request works: the gateway waits for 29 s.
const WITHIN: Duration = Duration::from_secs(18);
/// Tenants that move at the same time.
const AT_ONCE: usize = 8;
/// Tenants that are listed at once.
const PAGE: u32 = 100;

/// Where a tenant is at home.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HomeView {
    /// The Region.
    region: String,
    /// Counts its moves, upwards: a higher one is a later home.
    epoch: u64,
}

impl HomeView {
    pub(super) fn of(api: &Api, home: &Home) -> Option<Self> {
        let region = api.engine.store.regions().of(home.epoch);
        region.map(|region| Self {
            region: region.name.clone(),
            epoch: home.epoch,
        })
    }
}

/// Whose home is to move, and whither.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failover {
    /// The Region that is given up.
    from: String,
    /// The Region that takes over: the one that is asked.
    to: String,
    /// The tenant; all that are at home in `from` unless given.
    #[schema(value_type = Option<String>)]
    tenant: Option<TenantId>,
}

/// What became of a failover.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailoverView {
    /// The tenants that are at home here now, by this request or one before; of a failover of all, those that it moved.
    tenants: Vec<MovedView>,
    /// Whether nothing is left to be done; otherwise send the same request again. Runs that were left are taken over by and by
    /// in any case.
    is_complete: bool,
}

/// A tenant whose home moved.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MovedView {
    /// The tenant.
    #[schema(value_type = String)]
    tenant: TenantId,
    /// Counts its moves, upwards: a higher one is a later home.
    epoch: u64,
    /// Runs that this request took over.
    runs: u64,
}

impl From<Moved> for MovedView {
    fn from(moved: Moved) -> Self {
        Self {
            tenant: moved.tenant.id,
            epoch: moved.tenant.home.epoch,
            runs: moved.runs,
        }
    }
}

/// Move tenants here from a Region that is lost
///
/// Ask the Region that takes over. From here on it alone writes for the tenants and drives their runs, from where these stood
/// in its copy of the table; what the other Region wrote beyond that is void, even if it arrives later. The other Region is not
/// asked. Repeated, it goes on where it stopped.
#[utoipa::path(
    post,
    path = "/v1/admin/regions/failover",
    operation_id = "fail_over",
    tag = "admin",
    request_body = Failover,
    responses(
        (status = 200, description = "Moved", body = FailoverView),
        (status = 404, description = "No such tenant, as far as is known here", body = schema::Problem, content_type = "application/problem+json"),
        (status = 421, description = "The tenant is at home in a third Region", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body breaks a rule, or another Region was meant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn fail_over(
    who: Operator<AdminWrite>,
    State(api): State<Api>,
    body: Body<Failover>,
) -> Result<Json<FailoverView>, Problem> {
    let api = api.on_behalf_of(&who.name());
    let Failover { from, to, tenant } = body.value;
    check(&api, &from, &to)?;
    let until = Instant::now() + WITHIN;
    let mut moved = Vec::new();
    let is_complete = match tenant {
        Some(tenant) => {
            find_here(&api, &tenant).await?;
            moved.push(Box::pin(api.engine.move_here(&tenant, &from, WITHIN)).await?);
            true
        }
        None => Box::pin(all(&api, &from, until, &mut moved)).await?,
    };
    let is_complete = is_complete && moved.iter().all(|moved| !moved.is_partial);
    Ok(Json(FailoverView {
        tenants: moved.into_iter().map(MovedView::from).collect(),
        is_complete,
    }))
}

/// Moves every tenant that is at home in `from`. False when time ran out before all had begun.
async fn all(
    api: &Api,
    from: &str,
    until: Instant,
    moved: &mut Vec<Moved>,
) -> Result<bool, Problem> {
    let operator = TenantId::parse(OPERATOR).map_err(|_| Problem::Internal)?;
    let (engine, store) = (&api.engine, &api.engine.store);
    let mut cursor = None;
    loop {
        let page = store.tenants(&operator, PAGE, cursor.as_deref(), engine.now());
        let page = page.await?;
        let is_there = |epoch| store.regions().of(epoch).is_some_and(|it| it.name == from);
        // Collected first: a closure within the stream would not be general enough for a future that is spawned.
        let moves: Vec<_> = page
            .items
            .iter()
            .filter(|tenant| is_there(tenant.home.epoch) && tenant.isolation.endpoint().is_none())
            .map(|tenant| {
                let left = || until.saturating_duration_since(Instant::now());
                Box::pin(async move { engine.move_here(&tenant.id, from, left()).await })
            })
            .collect();
        let moves = stream::iter(moves).buffer_unordered(AT_ONCE);
        moved.extend(moves.try_collect::<Vec<_>>().await?);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
    }
}

fn check(api: &Api, from: &str, to: &str) -> Result<(), Problem> {
    let regions = api.engine.store.regions();
    let Some(own) = regions.own() else {
        let detail = "there is but one Region; the stack's parameter `Regions` names more";
        return Err(Problem::field("/to", detail));
    };
    if to != own.name {
        let detail = match regions.named(to).map(|region| region.url.as_deref()) {
            Some(Some(url)) => format!("is not where this was sent; send it to {url}"),
            Some(None) => format!("is not where this was sent; this is {}", own.name),
            None => "is no Region of this platform".to_owned(),
        };
        return Err(Problem::field("/to", detail));
    }
    if from == to || regions.named(from).is_none() {
        let detail = "must be another Region of this platform";
        return Err(Problem::field("/from", detail));
    }
    Ok(())
}

/// The home of a tenant that is onboarded here.
pub(super) fn home(api: &Api, asked: Option<&str>) -> Result<Home, Problem> {
    let regions = api.engine.store.regions();
    if let Some(asked) = asked
        && regions.own().is_none_or(|own| own.name != asked)
    {
        let elsewhere = regions.named(asked).cloned();
        return Err(match elsewhere {
            Some(elsewhere) => Problem::HomeElsewhere(elsewhere),
            None => Problem::field("/home", "is no Region of this platform"),
        });
    }
    Ok(Home::since_ever(regions.first_epoch()))
}

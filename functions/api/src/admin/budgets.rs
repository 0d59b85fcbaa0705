//! Budgets: what may be spent, what is left of it.

use axum::Json;
use axum::extract::State;
use domain::budget::{Amount, Budget, Ledger, MAX_LIMIT, Node, Period, Unit};
use domain::id::TenantId;
use domain::tenant::Tenant;
use domain::time::At;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{change, find, find_here};
use crate::address::Path;
use crate::auth::{AdminRead, AdminWrite, As, Operator, RunsRead};
use crate::body::Body;
use crate::problem::Finding;
use crate::view::{List, rfc_3339_if};
use crate::{Api, Problem, schema};

/// Most nodes of a tenant that have budgets.
const MAX_NODES: usize = 100;
/// Ledgers that are read at once.
const AT_ONCE: usize = 8;

/// The budgets of a node: at most one for each period and unit.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeBudgets {
    /// The budgets; none lifts them all.
    #[schema(value_type = Vec<schema::Budget>)]
    budgets: Vec<Budget>,
}

/// A node's account.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Account {
    /// `tenant`, `project:<id>` or `key:<id>`.
    #[schema(value_type = String)]
    node: Node,
    /// Runs under way; of the tenant alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs_active: Option<u64>,
    /// Runs that wait for their turn; of the tenant alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    runs_waiting: Option<u64>,
    /// What is reserved for runs under way.
    #[schema(value_type = schema::Amount)]
    held: Amount,
    /// What ended runs spent, since the node has an account.
    #[schema(value_type = schema::Amount)]
    spent: Amount,
    /// Each budget and what is left of it.
    budgets: Vec<Left>,
}

/// A budget and what is left of it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Left {
    /// How long it lasts before it begins anew: `day`, `month` (UTC) or `total`.
    #[schema(value_type = String)]
    period: Period,
    /// `micro_usd` or `tokens`.
    #[schema(value_type = String)]
    unit: Unit,
    /// How much may be spent.
    limit: u64,
    /// How much is neither spent nor reserved. Below 0 only when the limit was lowered under what was.
    left: i64,
    /// How much was spent of it since it began.
    spent: u64,
    /// The last warning since it began: 50, 80 or 100 percent of it.
    warned_percent: Option<u8>,
    /// When it begins anew, if it does.
    #[schema(value_type = Option<String>)]
    #[serde(serialize_with = "rfc_3339_if")]
    renews_at: Option<At>,
}

fn account(tenant: &Tenant, node: Node, mut ledger: Ledger, now: At) -> Account {
    let budgets = tenant.budgets_of(&node);
    ledger.renew(budgets, now);
    let budgets = budgets.iter().filter_map(|budget| {
        let &(number, left) = ledger.left.get(&(budget.period, budget.unit))?;
        Some(Left {
            period: budget.period,
            unit: budget.unit,
            limit: budget.limit,
            left,
            spent: ledger.spent_of(budget),
            warned_percent: ledger.warned_of(budget),
            renews_at: budget.period.next_start(number),
        })
    });
    let runs = |count| (node == Node::Tenant).then_some(count);
    Account {
        runs_active: runs(ledger.active),
        runs_waiting: runs(ledger.waiting),
        held: ledger.held,
        spent: ledger.spent,
        budgets: budgets.collect(),
        node,
    }
}

async fn accounts(api: &Api, tenant: &Tenant) -> Result<Json<List<Account>>, Problem> {
    let others = tenant.budgets.keys().filter(|node| **node != Node::Tenant);
    let nodes: Vec<Node> = std::iter::once(Node::Tenant)
        .chain(others.cloned())
        .collect();
    let now = api.engine.now();
    let read = nodes.into_iter().map(|node| async move {
        let ledger = api.engine.store.ledger(tenant, &node).await?;
        Ok::<_, Problem>(account(tenant, node, ledger.unwrap_or_default(), now))
    });
    let read: Vec<_> = read.collect();
    let items = stream::iter(read).buffered(AT_ONCE).try_collect().await?;
    Ok(Json(List {
        items,
        next_cursor: String::new(),
    }))
}

/// Read the budgets
///
/// Of the tenant whose key asks: what is left of each, what is reserved, how many runs are under way and wait.
#[utoipa::path(
    get,
    path = "/v1/budgets",
    operation_id = "list_budgets",
    tag = "budgets",
    responses((status = 200, description = "All of them", body = List<Account>)),
    security(("key" = ["runs:read"]))
)]
pub(crate) async fn own(who: As<RunsRead>) -> Result<Json<List<Account>>, Problem> {
    let api = &who.api;
    accounts(api, &find(api, &who.tenant).await?).await
}

/// Read a tenant's budgets
#[utoipa::path(
    get,
    path = "/v1/admin/tenants/{tenant}/budgets",
    operation_id = "list_tenant_budgets",
    tag = "admin",
    params(("tenant" = String, Path, description = "The tenant")),
    responses(
        (status = 200, description = "All of them", body = List<Account>),
        (status = 404, description = "No such tenant", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:read"]))
)]
pub(crate) async fn list(
    _: Operator<AdminRead>,
    Path(tenant): Path<TenantId>,
    State(api): State<Api>,
) -> Result<Json<List<Account>>, Problem> {
    accounts(&api, &find_here(&api, &tenant).await?).await
}

/// Set the budgets of a tenant, a project or a key
///
/// Replaces those of this node. Of a budget whose limit changes, what it had spent stays spent; of a new one, what runs under
/// way have reserved counts from the start. Runs that are parked for a budget go on as far as the new ones let them.
#[utoipa::path(
    put,
    path = "/v1/admin/tenants/{tenant}/budgets/{node}",
    operation_id = "set_budgets",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "The tenant"),
        ("node" = String, Path, description = "`tenant`, `project:<id>` or `key:<id>`"),
    ),
    request_body = NodeBudgets,
    responses(
        (status = 200, description = "The tenant's budgets as they are now", body = List<Account>),
        (status = 404, description = "No such tenant or node", body = schema::Problem, content_type = "application/problem+json"),
        (status = 422, description = "The body breaks a rule", body = schema::Problem, content_type = "application/problem+json"),
    ),
    security(("key" = ["admin:write"]))
)]
pub(crate) async fn set(
    who: Operator<AdminWrite>,
    Path((tenant, node)): Path<(TenantId, Node)>,
    State(api): State<Api>,
    body: Body<NodeBudgets>,
) -> Result<Json<List<Account>>, Problem> {
    let api = api.on_behalf_of(&who.name());
    let mut budgets = body.value.budgets;
    check(&budgets)?;
    budgets.sort();
    let changed = change(&api, &tenant, |tenant| {
        if budgets.is_empty() {
            tenant.budgets.remove(&node);
        } else {
            tenant.budgets.insert(node.clone(), budgets.clone());
        }
        if tenant.budgets.len() > MAX_NODES {
            return Err(Problem::field("", "at most 100 nodes have budgets"));
        }
        Ok(())
    });
    let changed = changed.await?;
    accounts(&api, &changed).await
}

fn check(budgets: &[Budget]) -> Result<(), Problem> {
    let mut findings = Vec::new();
    for (index, budget) in budgets.iter().enumerate() {
        let at = |field: &str| format!("/budgets/{index}{field}");
        let of = |budget: &Budget| (budget.period, budget.unit);
        if budgets[..index]
            .iter()
            .any(|earlier| of(earlier) == of(budget))
        {
            findings.push(Finding::body(at(""), "its period and unit stand twice"));
        }
        if budget.limit > MAX_LIMIT {
            let detail = "must be at most 1,000,000,000,000,000";
            findings.push(Finding::body(at("/limit"), detail));
        }
    }
    if findings.is_empty() {
        Ok(())
    } else {
        Err(Problem::InvalidBody(findings))
    }
}

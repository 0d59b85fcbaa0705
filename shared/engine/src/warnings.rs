//! Warnings of budgets: given once a period each, by whoever sees first that they are due.

use std::collections::BTreeSet;

use domain::budget::{Budget, Node, Period, Unit, Warning};
use domain::id::TenantId;
use domain::tenant::Tenant;

use crate::{Engine, Error};

impl Engine {
    /// Warns of those budgets of these nodes of which runs have spent as much as a warning stands at. For after runs ended;
    /// one request for the tenant, and one for each node that has budgets. May be repeated.
    ///
    /// # Errors
    /// [`Error`] when the table fails.
    pub async fn warn(&self, id: &TenantId, nodes: &BTreeSet<Node>) -> Result<(), Error> {
        // Under settings of a minute ago a new budget would be passed over, and nobody may come again.
        let Some(tenant) = self.tenant_anew(id).await? else {
            return Ok(());
        };
        for node in nodes {
            let budgets = tenant.budgets_of(node);
            self.warn_of(&tenant, node, budgets, false).await?;
        }
        Ok(())
    }

    /// Warns that a budget refuses what a run needs. A failure is told to nobody but the log: the run's own answer stands.
    pub(crate) async fn warn_reached(
        &self,
        id: &TenantId,
        node: &Node,
        period: Period,
        unit: Unit,
    ) {
        let warned = async {
            let Some(tenant) = self.tenant(id).await? else {
                return Ok(());
            };
            let budgets = tenant.budgets_of(node).iter().copied();
            let budgets = budgets.filter(|one| (one.period, one.unit) == (period, unit));
            let budgets: Vec<_> = budgets.collect();
            Box::pin(self.warn_of(&tenant, node, &budgets, true)).await
        };
        if let Err(error) = warned.await {
            tracing::warn!(
                tenant.id = %id,
                budget.node = %node,
                error = %telemetry::chain(&error),
                "a budget is reached and nobody was warned yet"
            );
        }
    }

    async fn warn_of(
        &self,
        tenant: &Tenant,
        node: &Node,
        budgets: &[Budget],
        refuses: bool,
    ) -> Result<(), Error> {
        if budgets.is_empty() {
            return Ok(());
        }
        let Some(ledger) = self.store.ledger(tenant, node).await? else {
            return Ok(());
        };
        let due = budgets
            .iter()
            .filter_map(|budget| ledger.warning(node, budget, refuses));
        for warning in due {
            if self.store.warn(tenant, &warning, self.now()).await? {
                tell(&tenant.id, &warning);
            } else {
                // Another was quicker, or this one believes settings that are over.
                self.forget_tenant(&tenant.id);
            }
        }
        Ok(())
    }
}

fn tell(tenant: &TenantId, warning: &Warning) {
    tracing::warn!(
        tenant.id = %tenant,
        budget.node = %warning.node,
        budget.period = warning.budget.period.as_str(),
        budget.unit = warning.budget.unit.as_str(),
        budget.limit = warning.budget.limit,
        budget.spent = warning.spent,
        budget.percent = warning.percent,
        "a budget is spent as far as its owner is to be warned"
    );
}

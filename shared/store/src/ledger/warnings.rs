//! Warnings that a budget is spent so far.

use domain::budget::{Budget, Warning};
use domain::tenant::Tenant;
use domain::time::At;
use serde_json::json;

use super::{name_of, under};
use crate::audit::Act;
use crate::item::number;
use crate::key::Key;
use crate::table::Write;
use crate::{Error, Store};

/// The attribute that holds the mark of a budget's last warning.
pub(super) fn warned(budget: &Budget) -> String {
    format!("warned_{}_{}", budget.period.as_str(), budget.unit.as_str())
}

impl Store {
    /// Notes a warning in the ledger and in the tenant's audit trail, in one transaction. False when it was given already,
    /// the period is over, or the tenant was changed since.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn warn(&self, tenant: &Tenant, warning: &Warning, now: At) -> Result<bool, Error> {
        let budget = &warning.budget;
        let (name, period) = (warned(budget), name_of(budget.period));
        let write = Write::update(
            Key::ledger(&tenant.id, &warning.node),
            format!("SET {name} = :mark"),
            format!("{period} = :period AND (attribute_not_exists({name}) OR {name} < :mark)"),
        )
        .with(":mark", number(warning.mark()))
        .with(":period", number(warning.period));
        let act = Act {
            tenant: &tenant.id,
            action: "budget.warned",
            subject: format!("budget:{}", warning.node),
            state: json!({
                "percent": warning.percent,
                "period": budget.period,
                "unit": budget.unit,
                "limit": budget.limit,
                "spent": warning.spent,
            }),
            at: now,
        };
        let writes = under(tenant, &warning.node, write);
        // Nobody asked for it, whoever is asking for something now.
        let platform = Self {
            actor: None,
            ..self.clone()
        };
        Ok(platform.transact_audited(&act, &writes).await?.is_ok())
    }
}

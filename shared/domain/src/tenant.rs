//! Tenants: who pays, and what holds for them.

mod isolation;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::budget::{Budget, Node};
use crate::flag::Flag;
use crate::id::TenantId;
use crate::region::Home;
use crate::tier::{self, Limits, Overrides, Window};
use crate::time::At;

pub use isolation::Isolation;

/// Whether a tenant's runs go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// They do.
    #[default]
    Active,
    /// No new runs; those under way park.
    Suspended,
    /// It is being closed: no new runs, those under way are cancelled, its keys open nothing. See [`crate::closing`].
    Closing,
}

/// A tenant and everything that holds for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// The tenant.
    pub id: TenantId,
    /// What people call it, at most 200 characters.
    pub name: String,
    /// Its tier, see [`tier::all`].
    pub tier: String,
    /// Where its data is.
    #[serde(default, skip_serializing_if = "Isolation::is_pool")]
    pub isolation: Isolation,
    /// The Region in which whatever is written for it is written.
    #[serde(default, skip_serializing_if = "Home::is_first")]
    pub home: Home,
    /// Whether its runs go on.
    #[serde(default)]
    pub standing: Standing,
    /// Where its limits differ from the tier's.
    #[serde(default)]
    pub overrides: Overrides,
    /// Features that were switched, by the names of their flags.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<String, bool>,
    /// Its budgets, by what they belong to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub budgets: BTreeMap<Node, Vec<Budget>>,
    /// Counts the changes. A decision under an older revision is refused by the ledger, so every change holds at once.
    pub revision: u64,
    /// When it was onboarded.
    pub created_at: At,
    /// When it was changed last.
    pub updated_at: At,
}

impl Tenant {
    /// A tenant as it is onboarded: in the stack's table, at home in the first Region, active, with the limits of its tier and no budget.
    #[must_use]
    pub fn new(id: TenantId, name: &str, tier: &str, now: At) -> Self {
        Self {
            id,
            name: name.to_owned(),
            tier: tier.to_owned(),
            isolation: Isolation::Pool,
            home: Home::default(),
            standing: Standing::Active,
            overrides: Overrides::default(),
            flags: BTreeMap::new(),
            budgets: BTreeMap::new(),
            revision: 1,
            created_at: now,
            updated_at: now,
        }
    }

    /// What it may use: the tier's limits, and where its own differ.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.tier().with(&self.overrides)
    }

    /// The rate limits that hold for its requests.
    #[must_use]
    pub fn windows(&self) -> &[Window] {
        match &self.overrides.windows {
            Some(windows) => windows,
            None => &self.tier().windows,
        }
    }

    fn tier(&self) -> &'static Limits {
        let tier = tier::find(&self.tier).or_else(|| tier::find("free"));
        tier.expect("there is a free tier")
    }

    /// The budgets of a node.
    #[must_use]
    pub fn budgets_of(&self, node: &Node) -> &[Budget] {
        self.budgets
            .get(node)
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Whether a feature is on.
    #[must_use]
    pub fn has(&self, flag: Flag) -> bool {
        let switched = self.flags.get(flag.as_str());
        switched.copied().unwrap_or_else(|| flag.default_on())
    }

    /// Whether new runs may be created.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.standing == Standing::Active
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_tenant_reads_back_with_what_it_may_use() {
        let json = r#"{"id":"acme","name":"Acme","tier":"business","overrides":{"concurrent_runs":7},
            "budgets":{"project:web":[{"period":"day","unit":"micro_usd","limit":5}]},
            "revision":3,"created_at":1,"updated_at":2}"#;
        let tenant: Tenant = serde_json::from_str(json).unwrap();
        assert_eq!(tenant.limits().concurrent_runs, 7);
        assert_eq!(tenant.limits().windows[0].requests, 100);
        assert!(tenant.is_active());
        let node = Node::try_from("project:web".to_owned()).unwrap();
        assert_eq!(tenant.budgets_of(&node)[0].limit, 5);
        let again: Tenant = serde_json::from_str(&serde_json::to_string(&tenant).unwrap()).unwrap();
        assert_eq!(again, tenant);
    }

    #[test]
    fn a_flag_is_as_it_was_switched_and_one_of_another_version_is_kept() {
        let json = r#"{"id":"acme","name":"Acme","tier":"free","flags":{"streaming":false,"of.tomorrow":true},
            "revision":3,"created_at":1,"updated_at":2}"#;
        let mut tenant: Tenant = serde_json::from_str(json).unwrap();
        assert!(!tenant.has(Flag::Streaming) && tenant.has(Flag::HttpGet));
        assert!(
            serde_json::to_string(&tenant)
                .unwrap()
                .contains("of.tomorrow")
        );
        tenant.flags.clear();
        assert!(tenant.has(Flag::Streaming));
        assert!(!serde_json::to_string(&tenant).unwrap().contains("flags"));
    }

    #[test]
    fn where_a_tenants_data_is_reads_back_and_old_records_say_the_pool() {
        let mut tenant = Tenant::new(TenantId::parse("acme").unwrap(), "Acme", "free", At(1));
        assert!(
            !serde_json::to_string(&tenant)
                .unwrap()
                .contains("isolation")
        );
        for (json, isolation) in [
            (r#"{"mode":"pool"}"#, Isolation::Pool),
            (
                r#"{"mode":"bridge","table":"skein-acme"}"#,
                Isolation::Bridge {
                    table: "skein-acme".to_owned(),
                },
            ),
            (
                r#"{"mode":"silo","endpoint":"https://acme.example"}"#,
                Isolation::Silo {
                    endpoint: "https://acme.example".to_owned(),
                },
            ),
        ] {
            let read: Isolation = serde_json::from_str(json).unwrap();
            assert_eq!(read, isolation);
            tenant.isolation = isolation;
            let stored = serde_json::to_string(&tenant).unwrap();
            assert_eq!(serde_json::from_str::<Tenant>(&stored).unwrap(), tenant);
        }
        for wrong in [
            r#"{"mode":"bridge"}"#,
            r#"{"mode":"pool","table":"x"}"#,
            r#"{"mode":"own"}"#,
            r#"{"table":"x"}"#,
        ] {
            assert!(serde_json::from_str::<Isolation>(wrong).is_err(), "{wrong}");
        }
    }
}

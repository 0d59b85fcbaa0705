//! The gate: API Gateway's own keys and usage plans, which stand before all else.
//!
//! A plan counts roughly and is looser than the exact limits, so it refuses nothing that those would admit; it keeps floods
//! away from the functions. A gate key's value is a name and no secret: API Gateway takes it from the authorizer alone. It can
//! therefore be made at any time from what the table holds, which is the truth; what the gate knows follows.

use std::collections::BTreeSet;

use crate::id::{KeyId, TenantId};
use crate::tenant::{Standing, Tenant};

/// Gate keys that tenants share whose keys have none of their own (template: `SharedKey0` and on).
pub const SHARED_KEYS: u64 = 4;
/// The plan of the shared keys.
pub const SHARED_PLAN: &str = "shared";
/// The plan of tenants whose rate limits differ from the tier's: it counts nothing.
pub const FREE_HAND_PLAN: &str = "custom";

/// What a stack calls its keys and plans, and which tiers have no keys of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    name: String,
    pooled_tiers: BTreeSet<String>,
}

/// What the gate is known to have of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtGate {
    /// The plan.
    pub plan: String,
    /// Whether it is there for sure. Otherwise somebody is about to make it so, or was.
    pub is_ready: bool,
}

impl Gate {
    /// The gate of this name, 1 to 64 letters and digits, with these tiers pooled: names with commas between. None when it
    /// is not named so.
    #[must_use]
    pub fn parse(name: &str, pooled_tiers: &str) -> Option<Self> {
        let fits = (1..=64).contains(&name.len());
        if !fits || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return None;
        }
        let tiers = pooled_tiers.split(',').map(str::trim);
        let tiers = tiers.filter(|tier| !tier.is_empty());
        Some(Self {
            name: name.to_owned(),
            pooled_tiers: tiers.map(str::to_owned).collect(),
        })
    }

    /// The plan that an API key of this tenant is to have a gate key on, while it opens anything. None when it shares one,
    /// which a key does that never had one of its own; one that has keeps it, since a gate key that vanishes is missed for as
    /// long as authorizers are believed.
    #[must_use]
    pub fn plan_of<'a>(&self, tenant: &'a Tenant, at: Option<&AtGate>) -> Option<&'a str> {
        if tenant.standing == Standing::Closing {
            return None;
        }
        if self.pooled_tiers.contains(&tenant.tier) && at.is_none() {
            return None;
        }
        if tenant.overrides.windows.is_some() {
            return Some(FREE_HAND_PLAN);
        }
        Some(&tenant.tier)
    }

    /// The value of an API key's own gate key: what the authorizer answers as `usageIdentifierKey`. API Gateway wants 20
    /// to 128 letters and digits.
    #[must_use]
    pub fn own_value(&self, key: &KeyId) -> String {
        format!("{}skeinapikeynumber{:0>16}", self.name, key.as_str())
    }

    /// The value of the gate key that this tenant shares with others.
    #[must_use]
    pub fn shared_value(&self, tenant: &TenantId) -> String {
        // FNV-1a: the same for ever, whoever computes it.
        let hash = tenant
            .as_str()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        self.shared_value_at(hash % SHARED_KEYS)
    }

    /// The value of the shared gate key of this number.
    #[must_use]
    pub fn shared_value_at(&self, number: u64) -> String {
        format!("{}skeinsharedkeynumber{number}", self.name)
    }

    /// What a gate key is called: whose it is, for people and for finding it again.
    #[must_use]
    pub fn key_name(&self, tenant: &TenantId, key: &KeyId) -> String {
        format!("{}{key}", self.names_of(tenant))
    }

    /// What the names of all gate keys of a tenant begin with, and no other's.
    #[must_use]
    pub fn names_of(&self, tenant: &TenantId) -> String {
        format!("{}.{tenant}.", self.name)
    }

    /// What a plan is called.
    #[must_use]
    pub fn plan_name(&self, plan: &str) -> String {
        format!("{}.{plan}", self.name)
    }
}

/// What a plan lets through: twice what the exact limits of its tier do, so that those are met first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Throttle {
    /// Requests a second, in the long run.
    pub rate: f64,
    /// Requests at once.
    pub burst: u32,
    /// Requests a day; none when nothing is counted by the day.
    pub per_day: Option<u32>,
}

/// What the plan of this name lets through; none when nothing is counted.
#[must_use]
pub fn throttle_of(plan: &str) -> Option<Throttle> {
    // For each shared key what six hundred tenants of the free tier use that use all of their minutes.
    if plan == SHARED_PLAN {
        return Some(Throttle {
            rate: 100.0,
            burst: 200,
            per_day: None,
        });
    }
    let windows = &crate::tier::find(plan)?.windows;
    let of = |seconds| {
        let window = windows.iter().find(|window| window.seconds == seconds);
        window.and_then(|window| u32::try_from(2 * window.requests).ok())
    };
    let a_minute = of(60)?;
    Some(Throttle {
        rate: f64::from(a_minute) / 60.0,
        burst: a_minute,
        per_day: of(86_400),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tier::{self, Overrides};
    use crate::time::At;

    fn tenant(tier: &str) -> Tenant {
        Tenant::new(TenantId::parse("acme").unwrap(), "Acme", tier, At(0))
    }

    #[test]
    fn values_are_of_a_length_and_of_letters_that_api_gateway_takes() {
        let gate = Gate::parse("g", "free").unwrap();
        let key = KeyId::parse("0123456789abcdef").unwrap();
        let short = KeyId::parse("a").unwrap();
        let tenant = TenantId::parse("acme").unwrap();
        for value in [
            gate.own_value(&key),
            gate.own_value(&short),
            gate.shared_value(&tenant),
        ] {
            assert!((20..=128).contains(&value.len()), "{value}");
            assert!(value.bytes().all(|b| b.is_ascii_alphanumeric()), "{value}");
        }
        for wrong in ["", "a-b", "a.b", &"a".repeat(65)] {
            assert_eq!(Gate::parse(wrong, ""), None);
        }
    }

    #[test]
    fn names_of_one_tenant_begin_no_others() {
        let gate = Gate::parse("g", "").unwrap();
        let [short, long] = ["ab", "ab-c"].map(|id| TenantId::parse(id).unwrap());
        let key = KeyId::parse("k").unwrap();
        let name = gate.key_name(&long, &key);
        assert!(name.starts_with(&gate.names_of(&long)));
        assert!(!name.starts_with(&gate.names_of(&short)));
    }

    #[test]
    fn a_plan_follows_from_the_tenant() {
        let gate = Gate::parse("g", "free, other").unwrap();
        let at = AtGate {
            plan: "business".to_owned(),
            is_ready: true,
        };
        let (free, business) = (tenant("free"), tenant("business"));
        assert_eq!(gate.plan_of(&business, None), Some("business"));
        assert_eq!(gate.plan_of(&free, None), None);
        assert_eq!(gate.plan_of(&free, Some(&at)), Some("free"));
        let mut own_limits = tenant("business");
        own_limits.overrides = Overrides {
            windows: Some(Vec::new()),
            ..Overrides::default()
        };
        assert_eq!(gate.plan_of(&own_limits, None), Some(FREE_HAND_PLAN));
        let mut closing = tenant("business");
        closing.standing = Standing::Closing;
        assert_eq!(gate.plan_of(&closing, Some(&at)), None);
    }

    /// Windows of the exact limits follow each other, so twice a window's requests may come at its end.
    #[test]
    fn a_plan_refuses_nothing_that_the_exact_limits_admit() {
        for (name, limits) in tier::all() {
            let throttle = throttle_of(name).unwrap();
            for window in &limits.windows {
                let requests = f64::from(u32::try_from(window.requests).unwrap());
                if window.seconds == 86_400 {
                    let per_day = f64::from(throttle.per_day.unwrap());
                    assert!(per_day >= 2.0 * requests, "{name}");
                } else {
                    let seconds = f64::from(window.seconds);
                    assert!(f64::from(throttle.burst) >= 2.0 * requests, "{name}");
                    assert!(throttle.rate * seconds >= requests, "{name}");
                }
            }
        }
        assert_eq!(throttle_of(FREE_HAND_PLAN), None);
    }
}

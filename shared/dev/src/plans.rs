//! API Gateway's usage plans and shared keys, as the template makes them. A test compares the two.

use domain::gate::{FREE_HAND_PLAN, SHARED_KEYS, SHARED_PLAN, throttle_of};
use domain::tier;
use gate::Names;
use local::gate::{Error, Gate, Plan};

/// What begins the names of keys and plans here. On AWS it is the stack's name.
pub(crate) const NAME: &str = "skeindev";
/// The tiers whose tenants share keys (template: the default of `PooledTiers`).
pub(crate) const POOLED: &str = "free";

/// What keys and plans are called here.
pub(crate) fn names() -> Option<Names> {
    Names::parse(NAME, POOLED)
}

/// Makes the plans, and the keys that tenants share.
///
/// # Errors
/// When the keys cannot be kept.
pub(crate) fn arrange(gate: &Gate, names: &Names) -> Result<(), Error> {
    let tiers = tier::all().keys().map(String::as_str);
    for plan in tiers.chain([FREE_HAND_PLAN, SHARED_PLAN]) {
        let throttle = throttle_of(plan);
        let made = Plan {
            throttle: throttle.map(|throttle| (throttle.rate, throttle.burst)),
            per_day: throttle.and_then(|throttle| throttle.per_day),
        };
        gate.add_plan(&names.plan_name(plan), made);
    }
    for number in 0..SHARED_KEYS {
        let value = names.shared_value_at(number);
        let shared = names.plan_name(SHARED_PLAN);
        gate.add_key(&format!("{NAME} shared {number}"), &value, &shared)?;
    }
    Ok(())
}

//! Every interleaving of three processes with three runs under the budgets of a tenant, a project and a key, explored to
//! the end: nothing is ever overspent, and everything is given back.
//!
//! Runs are decided by the machine itself and ledgers changed by [`Ledger::apply`](crate::budget::Ledger::apply); what
//! stands here is the table: a commit is written where the log ends, together with what each ledger enters, all of it or
//! nothing. Of what goes wrong (a process ends before its write, after it, or leaves it behind to be done late; an answer
//! gets lost; a run is taken from a process that is alive) each history has [`world::TROUBLES`]. Whoever is at
//! leisure may look at any run, which is what a message and what the janitor do.

mod table;
mod world;

use stateright::{Checker, HasDiscoveries, Model as _};

use self::table::Bug;
use self::world::{HOLDS, Platform, RETURNED, UNDER_WAY, WITHIN};

fn explored(bug: Option<Bug>, until: HasDiscoveries) -> impl Checker<Platform> {
    let checker = Platform::new(bug).checker().threads(2);
    checker.finish_when(until).spawn_dfs().join()
}

#[test]
fn no_order_of_events_overspends_a_budget_or_keeps_what_was_reserved() {
    let checker = explored(None, HasDiscoveries::AnyFailures);
    checker.assert_properties();
    assert!(checker.is_done());
    let states = checker.unique_state_count();
    assert!(states > 100_000, "only {states} states were seen");
}

#[test]
fn each_planted_fault_is_found_by_the_law_that_it_breaks() {
    for (bug, law) in [
        (Bug::Unfenced, HOLDS),
        (Bug::Unchecked, WITHIN),
        (Bug::ChecksTenantAlone, WITHIN),
        (Bug::Uncounted, UNDER_WAY),
        (Bug::Apart, RETURNED),
        (Bug::EntersTwice, HOLDS),
        (Bug::Forgets, RETURNED),
    ] {
        let checker = explored(Some(bug), HasDiscoveries::AnyOf([law].into()));
        assert!(checker.discovery(law).is_some(), "{bug:?} is not found");
    }
}

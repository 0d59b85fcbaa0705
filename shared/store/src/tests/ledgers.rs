//! Ledgers against the local table: no budget is ever passed, and what is reserved comes back once.

mod contention;
mod definitions;
mod periods;
mod warnings;

use std::collections::BTreeMap;

use domain::budget::{Amount, Budget, Denial, Entry, Ledger, Node, Period, Unit};
use domain::run::Admission;
use domain::tenant::{Isolation, Tenant};
use futures_util::future::join_all;
use local::wire::{Fault, Rule};

use super::*;
use crate::{Charge, Written};

const CENTS: u64 = 10_000;
const DAY_MS: u64 = 86_400_000;

fn budget(period: Period, unit: Unit, limit: u64) -> Budget {
    Budget {
        period,
        unit,
        limit,
    }
}

pub(super) fn usd(limit: u64) -> Budget {
    budget(Period::Day, Unit::MicroUsd, limit)
}

pub(super) fn account(id: &str, budgets: &[(Node, Vec<Budget>)]) -> Tenant {
    Tenant {
        id: tenant(id),
        name: id.to_owned(),
        tier: "business".to_owned(),
        isolation: Isolation::Pool,
        home: Default::default(),
        standing: Default::default(),
        overrides: Default::default(),
        flags: Default::default(),
        budgets: budgets.iter().cloned().collect(),
        revision: 1,
        created_at: NOW,
        updated_at: NOW,
    }
}

async fn onboarded(store: &Store, budgets: &[(Node, Vec<Budget>)]) -> Tenant {
    let account = account("acme", budgets);
    store.put_tenant(&account, None).await.unwrap();
    account
}

pub(super) fn money(micro_usd: u64) -> Amount {
    Amount {
        micro_usd,
        tokens: micro_usd,
    }
}

/// Writes a run that reserves `grant`, or waits when that is nothing, under `most` runs and `most` waiting ones.
pub(super) async fn begin(
    store: &Store,
    of: &Tenant,
    n: u8,
    grant: u64,
    most: (u64, u64),
    at: At,
) -> (Script, Creation) {
    begin_if(store, of, n, grant, most, at, None).await
}

/// The same, if the tenant's definitions were changed just so many times.
async fn begin_if(
    store: &Store,
    of: &Tenant,
    n: u8,
    grant: u64,
    most: (u64, u64),
    at: At,
    definitions: Option<u64>,
) -> (Script, Creation) {
    let mut script = Script::new(&of.id, &run(n));
    let Event::RunCreated(mut run) = created("clerk", at) else {
        unreachable!()
    };
    run.admission = Some(Admission {
        nodes: Vec::new(),
        grant: money(grant),
        waiting: grant == 0,
    });
    let commit = script.next(None, vec![Event::RunCreated(run)]);
    let head = script.head();
    let charge = Charge {
        tenant: of,
        most,
        nodes: &[],
        entry: script.state.entry(&commit.events),
        at,
        definitions,
        line: false,
    };
    let creation = store
        .create_charged(&of.id, &head, &commit, Some(&charge))
        .await
        .unwrap();
    (script, creation)
}

/// Writes further events of a run with what they change in the ledgers.
async fn go_on(
    store: &Store,
    of: &Tenant,
    script: &mut Script,
    events: Vec<Event>,
    most: u64,
    at: At,
) -> Written {
    let moves = events.iter().any(Event::moves_head);
    let commit = script.next(Some("d1"), events);
    let head = script.head();
    let entry = script.state.entry(&commit.events);
    let charge = Charge {
        tenant: of,
        most: (most, 10),
        nodes: &[],
        entry,
        at,
        definitions: None,
        line: false,
    };
    let head = moves.then_some(&head);
    store
        .append_charged(
            &script.tenant,
            &script.run,
            &commit,
            head,
            (!entry.is_empty()).then_some(&charge),
            None,
        )
        .await
        .unwrap()
}

async fn ledger(store: &Store, of: &Tenant) -> Ledger {
    store.ledger(of, &Node::Tenant).await.unwrap().unwrap()
}

/// What is left, held and spent of the day's money.
async fn parts(store: &Store, of: &Tenant) -> (i64, u64, u64) {
    let ledger = ledger(store, of).await;
    let left = ledger.left[&(Period::Day, Unit::MicroUsd)].1;
    (left, ledger.held.micro_usd, ledger.spent.micro_usd)
}

#[tokio::test]
async fn five_runs_at_once_never_pass_what_three_of_them_cost() {
    let World { store, .. } = world().await;
    let acme = onboarded(&store, &[(Node::Tenant, vec![usd(45 * CENTS)])]).await;
    let attempts = (0..5).map(|n| begin(&store, &acme, n, 15 * CENTS, (10, 10), NOW));
    let created = join_all(attempts).await;
    let (new, denied): (Vec<_>, Vec<_>) = created
        .into_iter()
        .map(|(_, creation)| creation)
        .partition(|creation| *creation == Creation::New);
    assert_eq!((new.len(), denied.len()), (3, 2));
    for creation in denied {
        assert!(
            matches!(
                creation,
                Creation::Denied(Denial::Spent {
                    node: Node::Tenant,
                    left: 0,
                    renews_at: Some(_),
                    ..
                })
            ),
            "{creation:?}"
        );
    }
    assert_eq!(parts(&store, &acme).await, (0, 45 * CENTS, 0));
}

#[tokio::test]
async fn what_a_run_did_not_spend_comes_back_once() {
    let World { store, faults, .. } = world().await;
    let acme = onboarded(&store, &[(Node::Tenant, vec![usd(100)])]).await;
    let (mut script, creation) = begin(&store, &acme, 1, 80, (10, 10), NOW).await;
    assert_eq!(creation, Creation::New);
    assert_eq!(parts(&store, &acme).await, (20, 80, 0));
    let more = Event::BudgetExtended { more: money(15) };
    let done = go_on(&store, &acme, &mut script, vec![more], 10, NOW).await;
    assert_eq!(done, Written::Done { waiting: false });
    assert_eq!(parts(&store, &acme).await, (5, 95, 0));
    let greedy = Event::BudgetExtended { more: money(6) };
    let mut wishful = Script::new(&script.tenant, &script.run);
    wishful.state = script.state.clone();
    let denied = go_on(&store, &acme, &mut wishful, vec![greedy], 10, NOW).await;
    assert!(
        matches!(denied, Written::Denied(Denial::Spent { left: 5, .. })),
        "{denied:?}"
    );
    assert_eq!(parts(&store, &acme).await, (5, 95, 0));
    // The answer of the last write is lost, so the client sends it again.
    faults.add(
        Rule::new(Fault::LoseResponse)
            .on("TransactWriteItems")
            .first(1),
    );
    let last = vec![step(1), answered(1, "42"), succeeded()];
    let done = go_on(&store, &acme, &mut script, last, 10, NOW).await;
    assert!(matches!(done, Written::Done { .. }));
    assert_eq!(parts(&store, &acme).await, (88, 0, 12));
    assert_eq!(ledger(&store, &acme).await.active, 0);
}

#[tokio::test]
async fn a_run_over_the_cap_waits_and_the_end_of_another_tells_of_it() {
    let World { store, .. } = world().await;
    let acme = onboarded(&store, &[]).await;
    let (mut first, creation) = begin(&store, &acme, 1, 5, (1, 2), NOW).await;
    assert_eq!(creation, Creation::New);
    let (_, refused) = begin(&store, &acme, 2, 5, (1, 2), NOW).await;
    assert_eq!(refused, Creation::Denied(Denial::Full));
    let (mut second, creation) = begin(&store, &acme, 2, 0, (1, 2), NOW).await;
    assert_eq!(creation, Creation::New);
    let (mut third, _) = begin(&store, &acme, 3, 0, (1, 2), NOW).await;
    let (_, refused) = begin(&store, &acme, 4, 0, (1, 2), NOW).await;
    assert_eq!(refused, Creation::Denied(Denial::WaitingFull));
    assert_eq!(
        store.waiting(&acme.id, 5).await.unwrap(),
        [run(2), run(3)],
        "the oldest first"
    );
    let place = store.place_in_line(&acme.id, NOW, &run(3)).await.unwrap();
    assert_eq!(place, 2);

    let admit = vec![Event::Admitted { grant: money(5) }];
    let mut early = Script::new(&second.tenant, &second.run);
    early.state = second.state.clone();
    let denied = go_on(&store, &acme, &mut early, admit.clone(), 1, NOW).await;
    assert_eq!(denied, Written::Denied(Denial::Full));
    let done = go_on(&store, &acme, &mut first, vec![Event::Cancelled], 1, NOW).await;
    assert_eq!(done, Written::Done { waiting: true });
    let done = go_on(&store, &acme, &mut second, admit, 1, NOW).await;
    assert_eq!(done, Written::Done { waiting: false });
    // A waiting run that is cancelled leaves the line and takes nobody's place.
    go_on(&store, &acme, &mut third, vec![Event::Cancelled], 1, NOW).await;
    assert_eq!(store.waiting(&acme.id, 5).await.unwrap(), []);
    let now = ledger(&store, &acme).await;
    assert_eq!((now.active, now.waiting, now.held), (1, 0, money(5)));
    let done = go_on(&store, &acme, &mut second, vec![Event::Expired], 1, NOW).await;
    assert_eq!(done, Written::Done { waiting: false });
    assert_eq!(ledger(&store, &acme).await.active, 0);
}

#[tokio::test]
async fn a_new_day_begins_with_the_whole_budget_less_what_is_held() {
    let World { store, .. } = world().await;
    let total = budget(Period::Total, Unit::Tokens, 150);
    let acme = onboarded(&store, &[(Node::Tenant, vec![usd(100), total])]).await;
    let (mut script, _) = begin(&store, &acme, 1, 90, (10, 10), NOW).await;
    let tomorrow = NOW.plus_ms(DAY_MS);
    let (_, creation) = begin(&store, &acme, 2, 10, (10, 10), tomorrow).await;
    assert_eq!(creation, Creation::New);
    assert_eq!(parts(&store, &acme).await, (0, 100, 0));
    // A clock that is a day behind counts in the day that has begun.
    let (_, denied) = begin(&store, &acme, 3, 1, (10, 10), NOW).await;
    assert!(matches!(denied, Creation::Denied(Denial::Spent { .. })));
    let last = vec![step(1), answered(1, "42"), succeeded()];
    go_on(&store, &acme, &mut script, last, 10, tomorrow).await;
    assert_eq!(parts(&store, &acme).await, (78, 10, 12));
    // What lasts for ever is not renewed.
    let (_, denied) = begin(&store, &acme, 4, 60, (10, 10), tomorrow.plus_ms(DAY_MS)).await;
    assert!(
        matches!(&denied, Creation::Denied(Denial::Spent { budget, left: 20, renews_at: None, .. }) if *budget == total),
        "{denied:?}"
    );
}

#[tokio::test]
async fn a_change_of_the_tenant_holds_at_once() {
    let World { store, .. } = world().await;
    let old = onboarded(&store, &[(Node::Tenant, vec![usd(100)])]).await;
    let (mut script, _) = begin(&store, &old, 1, 60, (10, 10), NOW).await;
    let new = Tenant {
        budgets: BTreeMap::from([(
            Node::Tenant,
            vec![usd(70), budget(Period::Month, Unit::Tokens, 1_000)],
        )]),
        revision: 2,
        ..old.clone()
    };
    store.put_tenant(&new, Some(&old)).await.unwrap();
    store.put_tenant(&new, Some(&old)).await.unwrap();
    let other = Tenant {
        name: "else".to_owned(),
        ..new.clone()
    };
    let raced = store.put_tenant(&other, Some(&old)).await;
    assert!(matches!(raced, Err(crate::Error::Raced)), "{raced:?}");
    assert_eq!(parts(&store, &new).await, (10, 60, 0), "lowered by 30");
    let tokens = ledger(&store, &new).await.left[&(Period::Month, Unit::Tokens)].1;
    assert_eq!(tokens, 940, "what is held counts from the start");
    let (_, stale) = begin(&store, &old, 2, 1, (10, 10), NOW).await;
    assert_eq!(stale, Creation::Stale);
    let last = vec![step(1), answered(1, "42"), succeeded()];
    let stale = go_on(&store, &old, &mut script, last.clone(), 10, NOW).await;
    assert_eq!(stale, Written::Stale);
    script.log.pop();
    script.state = script.folded();
    go_on(&store, &new, &mut script, last, 10, NOW).await;
    assert_eq!(parts(&store, &new).await, (58, 0, 12));
    let found = store.tenant(&new.id).await.unwrap();
    assert_eq!(found, Some(new.clone()));
    let listed = store.tenants(&tenant("operator"), 10, None, NOW).await;
    assert_eq!(listed.unwrap().items, [new]);
}

#[tokio::test]
async fn every_node_of_a_run_is_charged() {
    let World { store, .. } = world().await;
    let project = Node::try_from("project:web".to_owned()).unwrap();
    let acme = onboarded(
        &store,
        &[
            (Node::Tenant, vec![usd(100)]),
            (project.clone(), vec![usd(30)]),
        ],
    )
    .await;
    let nodes = [project.clone()];
    let charge = |entry| Charge {
        tenant: &acme,
        most: (10, 10),
        nodes: &nodes,
        entry,
        at: NOW,
        definitions: None,
        line: false,
    };
    let reserve = |amount| Entry {
        active: 1,
        reserve: money(amount),
        ..Entry::default()
    };
    let mut script = Script::new(&acme.id, &run(1));
    let commit = script.next(None, vec![created("clerk", NOW)]);
    let head = script.head();
    let denied = store
        .create_charged(&acme.id, &head, &commit, Some(&charge(reserve(31))))
        .await
        .unwrap();
    assert!(
        matches!(&denied, Creation::Denied(Denial::Spent { node, left: 30, .. }) if *node == project),
        "{denied:?}"
    );
    assert_eq!(parts(&store, &acme).await, (100, 0, 0), "all or nothing");
    store
        .create_charged(&acme.id, &head, &commit, Some(&charge(reserve(30))))
        .await
        .unwrap();
    assert_eq!(parts(&store, &acme).await, (70, 30, 0));
    let of_project = store.ledger(&acme, &project).await.unwrap().unwrap();
    assert_eq!(of_project.left[&(Period::Day, Unit::MicroUsd)].1, 0);
    assert_eq!(of_project.held, money(30));
}

#[tokio::test]
async fn the_table_keeps_ledgers_by_the_rules_of_the_domain() {
    let World { store, .. } = world().await;
    let budgets = vec![usd(1_000), budget(Period::Total, Unit::Tokens, 3_000)];
    let acme = onboarded(&store, &[(Node::Tenant, budgets.clone())]).await;
    let mut model = Ledger::default();
    model.renew(&budgets, NOW);
    let mut under_way: Vec<(Script, Amount)> = Vec::new();
    // A fixed sequence that looks random: the same one in every run.
    let mut dice = 7_u64;
    let mut draw = |sides: u64| {
        dice = dice
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (dice >> 33) % sides
    };
    let mut at = NOW;
    for n in 0..120_u8 {
        at = at.plus_ms(draw(4) * 3_600_000);
        if draw(3) > 0 || under_way.is_empty() {
            let grant = money(1 + draw(400));
            let (script, creation) = begin(&store, &acme, n, grant.micro_usd, (3, 10), at).await;
            let entry = Entry {
                active: 1,
                reserve: grant,
                ..Entry::default()
            };
            match model.apply(&Node::Tenant, &budgets, entry, (3, 10), at) {
                Ok(()) => {
                    assert_eq!(creation, Creation::New);
                    under_way.push((script, grant));
                }
                Err(denial) => assert_eq!(creation, Creation::Denied(denial)),
            }
        } else {
            let index = usize::try_from(draw(under_way.len() as u64)).unwrap();
            let (mut script, grant) = under_way.swap_remove(index);
            let events = vec![step(1), answered(1, "42"), succeeded()];
            go_on(&store, &acme, &mut script, events, 3, at).await;
            let entry = Entry {
                active: -1,
                release: grant,
                spent: script.state.totals.amount(),
                ..Entry::default()
            };
            model
                .apply(&Node::Tenant, &budgets, entry, (3, 10), at)
                .unwrap();
        }
        assert_eq!(ledger(&store, &acme).await, model);
    }
}

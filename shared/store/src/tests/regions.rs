//! Two Regions over one table, as if copies arrived at once: what a move and those who take runs over write, and do not.

use domain::budget::{Amount, Budget, Node, Period, Unit};
use domain::id::AgentId;
use domain::region::Regions;
use domain::run::{Admission, Command, decide};

use super::ledgers::{account, money};
use super::*;
use crate::key::Key;
use crate::table::{Outcome, Write};
use crate::{Error, Taken};

/// Stores of two Regions over one table.
async fn pair() -> (Store, Store) {
    let mut table = Table::open(None).unwrap();
    table.tell(None, "ended_at").unwrap();
    let payloads = sdk(Payloads::open(None).unwrap().router());
    let store = |own: &str| {
        let secret = *b"a secret that only tests may know";
        let mut config = Config::new("skein", "payloads", secret);
        config.regions = Regions::parse("us-east-1,eu-west-1", own).unwrap();
        let table = aws_sdk_dynamodb::Client::new(&sdk(table.router()));
        Store::new(table, &payloads, config)
    };
    let (us, eu) = (store("us-east-1"), store("eu-west-1"));
    us.provision().await.unwrap();
    (us, eu)
}

fn budget() -> Budget {
    Budget {
        period: Period::Total,
        unit: Unit::MicroUsd,
        limit: 100,
    }
}

async fn onboarded(store: &Store) -> Tenant {
    let tenant = account("acme", &[(Node::Tenant, vec![budget()])]);
    store.put_tenant(&tenant, None).await.unwrap();
    tenant
}

fn agent(system: &str) -> domain::agent::Agent {
    serde_json::from_value(json!({"model": "m", "system": system})).unwrap()
}

/// A run under way that holds 40 micro-USD.
async fn running(store: &Store, tenant: &Tenant) -> Script {
    let mut script = Script::new(&tenant.id, &run(1));
    let Event::RunCreated(mut begins) = created("clerk", NOW) else {
        unreachable!("it is one");
    };
    begins.admission = Some(Admission {
        nodes: Vec::new(),
        grant: money(40),
        waiting: false,
    });
    let commit = script.next(None, vec![Event::RunCreated(begins)]);
    let charge = crate::Charge {
        tenant,
        most: (5, 5),
        nodes: &[],
        entry: script.state.entry(&commit.events),
        at: NOW,
        definitions: None,
        line: false,
    };
    let head = script.head();
    let made = store.create_charged(&tenant.id, &head, &commit, Some(&charge));
    assert_eq!(made.await.unwrap(), Creation::New);
    let started = Event::RunStarted {
        driver: driver("d1"),
    };
    script.append(store, vec![started, step(1)]).await;
    script
}

async fn take_over(store: &Store, tenant: &Tenant, of: &RunId) -> Result<Taken, Error> {
    let command = Command::Move {
        epoch: tenant.home.epoch,
        region: "eu-west-1".to_owned(),
    };
    let taken = store.take_over(tenant, of, |state| {
        let events = decide(state, &command, NOW).unwrap();
        (!events.is_empty()).then(|| Commit {
            first: state.next_event(),
            at: NOW.plus_ms(60_000),
            driver: None,
            events,
            used: None,
        })
    });
    taken.await
}

#[tokio::test]
async fn nothing_is_written_in_an_epoch_that_is_another_regions() {
    let (us, eu) = pair().await;
    let acme = onboarded(&us).await;
    let mut script = running(&us, &acme).await;
    let is_elsewhere =
        |error: Error| matches!(error, Error::Elsewhere(it) if it.name == "us-east-1");
    eu.tenant(&acme.id).await.unwrap();
    let clerk = AgentId::parse("clerk").unwrap();
    let refused = eu.put_agent(&acme.id, &clerk, &agent("x"), NOW).await;
    assert!(is_elsewhere(refused.unwrap_err()));
    let commit = script.next(Some("d2"), vec![answered(1, "no")]);
    let refused = eu.append(&acme.id, &run(1), &commit, None).await;
    assert!(is_elsewhere(refused.unwrap_err()));
    let changed = Tenant {
        revision: 2,
        ..acme.clone()
    };
    let refused = eu.put_tenant(&changed, Some(&acme)).await;
    assert!(is_elsewhere(refused.unwrap_err()));
    let loaded = eu.load(&acme.id, &run(1)).await.unwrap().unwrap();
    assert_eq!(loaded.state.last_event, 3, "and yet it is read");
}

#[tokio::test]
async fn a_run_brings_what_it_holds_into_ledgers_that_hold_nothing() {
    let (us, eu) = pair().await;
    let acme = onboarded(&us).await;
    let script = running(&us, &acme).await;
    let moved = eu.move_home(&acme, NOW).await.unwrap();
    assert_eq!((moved.home.epoch, moved.revision), (1, 2));
    let before = eu.ledger(&moved, &Node::Tenant).await.unwrap().unwrap();
    assert_eq!((before.active, before.held), (0, Amount::ZERO));
    let left = |ledger: &domain::budget::Ledger| ledger.left[&(Period::Total, Unit::MicroUsd)].1;
    assert_eq!(left(&before), 60, "nobody else gets what was held");

    let stale = Tenant {
        revision: 1,
        ..moved.clone()
    };
    let raced = take_over(&eu, &stale, &run(1)).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    let taken = take_over(&eu, &moved, &run(1)).await.unwrap();
    let Taken::Now(state) = taken else {
        panic!("{taken:?}");
    };
    assert_eq!((state.last_event, state.epoch), (4, 1));
    assert_eq!(state.frames, script.state.frames);
    let after = eu.ledger(&moved, &Node::Tenant).await.unwrap().unwrap();
    assert_eq!((after.active, after.held, left(&after)), (1, money(40), 60));
    let again = take_over(&eu, &moved, &run(1)).await.unwrap();
    assert_eq!(again, Taken::Before);
    let loaded = eu.load(&acme.id, &run(1)).await.unwrap().unwrap();
    assert_eq!(loaded.state, *state);
    let old = us.in_epoch(&acme.id, 0);
    let (head, _) = old.read(&acme.id, &run(1), true).await.unwrap().unwrap();
    assert_eq!(head.last_event, 3, "what is over stands as it was");
}

#[tokio::test]
async fn who_moves_a_home_once_more_changes_nothing() {
    let (us, eu) = pair().await;
    let acme = onboarded(&us).await;
    let clerk = AgentId::parse("clerk").unwrap();
    us.put_agent(&acme.id, &clerk, &agent("first"), NOW)
        .await
        .unwrap();
    let moved = eu.move_home(&acme, NOW).await.unwrap();
    let definition = agent("here");
    eu.put_agent(&acme.id, &clerk, &definition, NOW)
        .await
        .unwrap();
    eu.put_agent(&acme.id, &clerk, &agent("here again"), NOW)
        .await
        .unwrap();
    // Where it was before it goes on, not knowing.
    let old = us.in_epoch(&acme.id, 0);
    old.put_agent(&acme.id, &clerk, &agent("there"), NOW)
        .await
        .unwrap();
    let budgets = [(
        Node::Tenant,
        vec![Budget {
            limit: 7,
            ..budget()
        }],
    )];
    let changed = Tenant {
        budgets: budgets.into(),
        revision: moved.revision + 1,
        ..moved.clone()
    };
    eu.put_tenant(&changed, Some(&moved)).await.unwrap();

    let again = eu.move_home(&acme, NOW.plus_ms(9)).await.unwrap();
    assert_eq!(again, changed);
    let ledger = eu.ledger(&changed, &Node::Tenant).await.unwrap().unwrap();
    assert_eq!(ledger.left[&(Period::Total, Unit::MicroUsd)].1, 7);
    let key = Key::agent_version(&acme.id, &clerk, 2);
    let stored = eu.get(key, true).await.unwrap().unwrap();
    assert!(
        crate::item::Read::find_text(&stored, "definition")
            .unwrap()
            .contains("here")
    );
    let (head, _) = eu.agent(&acme.id, &clerk).await.unwrap().unwrap();
    assert_eq!(head.latest, 3);
}

#[tokio::test]
async fn a_run_that_pins_what_is_void_replaces_no_version() {
    let (us, eu) = pair().await;
    let acme = onboarded(&us).await;
    let clerk = AgentId::parse("clerk").unwrap();
    let moved = eu.move_home(&acme, NOW).await.unwrap();
    eu.put_agent(&acme.id, &clerk, &agent("here"), NOW)
        .await
        .unwrap();
    let old = us.in_epoch(&acme.id, 0);
    old.put_agent(&acme.id, &clerk, &agent("there"), NOW)
        .await
        .unwrap();
    running(&old, &acme).await;
    take_over(&eu, &moved, &run(1)).await.unwrap();
    let key = Key::agent_version(&acme.id, &clerk, 1);
    let stored = eu.get(key, true).await.unwrap().unwrap();
    assert!(
        crate::item::Read::find_text(&stored, "definition")
            .unwrap()
            .contains("here")
    );
}

#[tokio::test]
async fn two_who_take_a_run_over_with_different_views_make_one_log() {
    let (us, eu) = pair().await;
    let acme = onboarded(&us).await;
    running(&us, &acme).await;
    let moved = eu.move_home(&acme, NOW).await.unwrap();
    let there = eu.in_epoch(&acme.id, 1);
    let put = async |first: u64, driver: &str| {
        let mut item = crate::item::keyed(Key::commit(&acme.id, &run(1), first), 3);
        crate::item::Set::set_text(&mut item, "driver", driver);
        let written = there.put(Write::new(item, None)).await.unwrap();
        assert!(matches!(written, Outcome::Done));
    };
    let stands = async |first: u64, driver: &str| {
        let key = Key::commit(&acme.id, &run(1), first);
        let item = there.get(key, true).await.unwrap().unwrap();
        assert_eq!(crate::item::Read::find_text(&item, "driver"), Some(driver));
    };
    // One who has seen more has copied further.
    put(4, "further").await;
    let raced = take_over(&eu, &moved, &run(1)).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    stands(4, "further").await;
    // One who has seen less went on from there.
    put(2, "earlier").await;
    let raced = take_over(&eu, &moved, &run(1)).await;
    assert!(matches!(raced, Err(Error::Raced)), "{raced:?}");
    stands(2, "earlier").await;
}

#[tokio::test]
async fn a_run_that_never_was_in_an_epoch_leaves_nothing_there() {
    let (us, eu) = pair().await;
    let acme = onboarded(&us).await;
    let in_eu = eu.move_home(&acme, NOW).await.unwrap();
    let back = us.move_home(&in_eu, NOW).await.unwrap();
    assert_eq!(back.home.epoch, 8);
    let old = us.in_epoch(&acme.id, 0);
    running(&old, &acme).await;
    let taken = take_over(&us, &back, &run(1)).await.unwrap();
    assert!(matches!(taken, Taken::Now(_)), "{taken:?}");
    let between = us.in_epoch(&acme.id, 1);
    assert!(!between.has_run(&acme.id, &run(1)).await.unwrap());
    let unknown = take_over(&us, &back, &run(2)).await.unwrap();
    assert_eq!(unknown, Taken::Unknown);
}

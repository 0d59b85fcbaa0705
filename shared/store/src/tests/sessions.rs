//! Work for one tenant with credentials of its own: what the table and the bucket refuse, and how credentials come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_async::time::TimeSource;
use domain::agent::Agent;
use domain::budget::Node;
use domain::tenant::{Isolation, Tenant};
use local::iam::{Iam, Policy, Statement};
use local::wire::{Fault, Rule};

use super::*;
use crate::{Error, RunFilter, TenantRole};

const ROLE: &str = "arn:aws:iam::000000000000:role/tenant";
/// As in the template.
const OWN: &str = "T#${aws:PrincipalTag/TenantId}#*";
const RECORD: &str = "T#${aws:PrincipalTag/TenantId}";

/// Seconds since the Unix epoch, for clients and stand-ins alike.
#[derive(Clone, Debug, Default)]
struct Clock(Arc<AtomicU64>);

impl Clock {
    fn pass(&self, minutes: u64) {
        self.0.fetch_add(minutes * 60, Ordering::Relaxed);
    }
}

impl TimeSource for Clock {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(NOW.0 / 1_000 + self.0.load(Ordering::Relaxed))
    }
}

/// A store whose tenants' work is done in a role.
struct Isolated {
    store: Store,
    iam: Iam,
    clock: Clock,
    /// Of STS.
    faults: Faults,
}

async fn isolated() -> Isolated {
    let clock = Clock::default();
    let told = clock.clone();
    let iam = Iam::with_clock(Arc::new(move || told.now()));
    let every = [
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
    ];
    let objects = "payloads/tenants/${aws:PrincipalTag/TenantId}/*";
    let statements = [
        Statement::new(&every, &["table/skein", "table/skein-*"]).leading(&[OWN]),
        Statement::new(&["dynamodb:Query"], &["table/skein/index/list"]).leading(&[OWN]),
        Statement::new(&["dynamodb:GetItem"], &["table/skein"]).leading(&[RECORD]),
        Statement::new(&["s3:GetObject", "s3:PutObject"], &[objects]),
    ];
    iam.role(ROLE, Policy::new(statements));
    let faults = Faults::none();
    let mut table = Table::open(None).unwrap();
    table.tell(None, "ended_at").unwrap();
    let table = sdk(table.guarded_router(&iam));
    let table = aws_sdk_dynamodb::Client::new(&table);
    let payloads = sdk(iam.guard_objects(Payloads::open(None).unwrap().router()));
    let sts = sdk(faults.wrap(iam.router())).to_builder();
    let mut config = Config::new("skein", "payloads", *b"a secret that only tests may know");
    config.tenant_role = Some(TenantRole {
        aws: sts.time_source(clock.clone()).build(),
        arn: ROLE.to_owned(),
    });
    let store = Store::new(table, &payloads, config);
    store.provision().await.unwrap();
    Isolated {
        store,
        iam,
        clock,
        faults,
    }
}

/// An event whose commit is too large for its item.
fn large() -> Event {
    answered(1, &"x".repeat(100_000))
}

fn agent(text: &str) -> Agent {
    serde_json::from_value(json!({"model": "local.echo", "system": text})).unwrap()
}

fn is_refused<T>(answer: Result<T, Error>) -> bool {
    match answer {
        Err(Error::Refused { source, .. }) => {
            let text = format!("{source:?}");
            assert!(text.contains("AccessDenied"), "{text}");
            true
        }
        Err(Error::Shared(error)) => matches!(*error, Error::Refused { .. }),
        Ok(_) | Err(_) => false,
    }
}

#[tokio::test]
async fn a_tenants_store_does_all_of_its_tenants_work() {
    let world = isolated().await;
    let (acme, run) = (tenant("acme"), run(1));
    let settings = Tenant::new(acme.clone(), "Acme", "enterprise", NOW);
    world.store.put_tenant(&settings, None).await.unwrap();
    let store = world.store.of(&acme);
    assert_eq!(store.tenant(&acme).await.unwrap(), Some(settings));
    let id = AgentId::parse("clerk").unwrap();
    store.put_agent(&acme, &id, &agent("a"), NOW).await.unwrap();
    assert_eq!(
        store
            .agents(&acme, 10, None, NOW)
            .await
            .unwrap()
            .items
            .len(),
        1
    );
    let mut script = Script::created(&store, &acme, &run).await;
    script.append(&store, vec![step(1)]).await;
    script.append(&store, vec![large()]).await;
    store.snapshot(&script.state).await.unwrap();
    assert!(
        store
            .renew(&acme, &run, &driver("d1"), 9, NOW)
            .await
            .unwrap()
    );
    let loaded = store.load(&acme, &run).await.unwrap().unwrap();
    assert_eq!(loaded.state, script.folded());
    script.append(&store, vec![succeeded()]).await;
    let listed = store
        .runs(&acme, &RunFilter::default(), 10, None, NOW)
        .await;
    assert_eq!(listed.unwrap().items.len(), 1);
    assert_eq!(store.audit(&acme, 0, 10).await.unwrap().items.len(), 2);
    assert_eq!((world.iam.issued(), world.iam.refused()), (1, 0));
}

/// The fault that the second ring is for: code that asks for another tenant's things while it works for one.
#[tokio::test]
async fn a_tenants_store_that_is_asked_for_what_another_has_is_refused_by_table_and_bucket() {
    let world = isolated().await;
    let (ab, abc, run) = (tenant("ab"), tenant("abc"), run(1));
    for id in [&ab, &abc] {
        let settings = Tenant::new(id.clone(), "A", "enterprise", NOW);
        world.store.put_tenant(&settings, None).await.unwrap();
    }
    let theirs = world.store.of(&abc);
    let id = AgentId::parse("clerk").unwrap();
    theirs.put_agent(&abc, &id, &agent("a"), NOW).await.unwrap();
    let mut script = Script::created(&theirs, &abc, &run).await;
    script.append(&theirs, vec![step(1)]).await;
    script.append(&theirs, vec![large()]).await;
    // These are in this process's memory.
    theirs.latest_agent(&abc, &id, NOW).await.unwrap().unwrap();
    theirs.agent_version(&abc, &id, 1).await.unwrap().unwrap();

    let ours = world.store.of(&ab);
    let before = world.iam.refused();
    assert!(is_refused(ours.load(&abc, &run).await));
    assert!(is_refused(ours.read(&abc, &run, true).await));
    assert!(is_refused(ours.commits(&abc, &run, 1, 10).await));
    assert!(is_refused(ours.tenant(&abc).await));
    assert!(is_refused(ours.agent(&abc, &id).await));
    assert!(is_refused(ours.agent_version(&abc, &id, 1).await));
    assert!(is_refused(ours.latest_agent(&abc, &id, NOW).await));
    assert!(is_refused(ours.agents(&abc, 10, None, NOW).await));
    let all = RunFilter::default();
    assert!(is_refused(ours.runs(&abc, &all, 10, None, NOW).await));
    assert!(is_refused(ours.keys(&abc, 10, None, NOW).await));
    assert!(is_refused(ours.audit(&abc, 0, 10).await));
    assert!(is_refused(ours.waiting(&abc, 10).await));
    let (from, to) = (NOW, NOW.plus_ms(1));
    let day = domain::usage::Interval::Day;
    assert!(is_refused(ours.usage(&abc, day, from, to).await));
    let key = crate::key::blob(&abc, &run, &"0".repeat(64));
    assert!(is_refused(ours.access.bucket.object(&key).await));
    let hash = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
    let put = ours.access.bucket.put(&key, String::new(), hash);
    assert!(is_refused(put.await));
    let commit = script.next(Some("d2"), vec![succeeded()]);
    assert!(is_refused(ours.append(&abc, &run, &commit, None).await));
    let head = script.head();
    let moved = ours.append(&abc, &run, &commit, Some(&head));
    assert!(is_refused(moved.await));
    assert!(is_refused(
        ours.renew(&abc, &run, &driver("d"), 9, NOW).await
    ));
    assert!(is_refused(
        ours.put_agent(&abc, &id, &agent("b"), NOW).await
    ));
    let status = domain::run::Status::Running;
    let postponed = ours.postpone(&abc, &run, status, NOW, NOW);
    assert!(is_refused(postponed.await));
    // What is no tenant's is no more theirs.
    assert!(is_refused(ours.watched(0, NOW, 10).await));
    assert!(is_refused(ours.tenants(&ab, 10, None, NOW).await));
    let key = domain::id::KeyId::parse("4f9a").unwrap();
    assert!(is_refused(ours.key(&key).await));
    assert!(is_refused(ours.begin_sweep(NOW).await));
    // Its own record it may read and not change.
    let record = ours.tenant(&ab).await.unwrap().unwrap();
    let raised = Tenant {
        revision: record.revision + 1,
        ..record.clone()
    };
    assert!(is_refused(ours.put_tenant(&raised, Some(&record)).await));
    let refused = world.iam.refused() - before;
    assert!(refused >= 24, "{refused} were refused by the stand-ins");
    let unharmed = theirs.load(&abc, &run).await.unwrap().unwrap();
    assert_eq!(unharmed.state.last_event, 3);
}

#[tokio::test]
async fn a_transaction_with_one_foreign_item_writes_nothing() {
    let world = isolated().await;
    let ours = world.store.of(&tenant("ab"));
    let put = |pk: &str| {
        aws_sdk_dynamodb::types::Put::builder()
            .table_name("skein")
            .item("pk", AttributeValue::S(pk.to_owned()))
            .item("sk", AttributeValue::S("X".to_owned()))
            .build()
            .unwrap()
    };
    let item = |pk: &str| {
        aws_sdk_dynamodb::types::TransactWriteItem::builder()
            .put(put(pk))
            .build()
    };
    let both = ours
        .access
        .table
        .transact_write_items()
        .transact_items(item("T#ab#R#1"))
        .transact_items(item("T#abc#R#1"));
    both.send().await.unwrap_err();
    let scan = ours.access.table.scan().table_name("skein");
    scan.send().await.unwrap_err();
    let sql = "SELECT * FROM skein WHERE pk = 'T#ab#R#1'";
    let statement = ours.access.table.execute_statement().statement(sql);
    statement.send().await.unwrap_err();
    assert_eq!(world.iam.refused(), 3);
    let all = world.store.access.table.scan().table_name("skein");
    assert_eq!(all.send().await.unwrap().count, 0);
}

#[tokio::test]
async fn credentials_of_one_tenant_open_no_other_tenants_items_in_a_table_of_its_own() {
    let world = isolated().await;
    let (ours, theirs) = (tenant("ab"), tenant("abc"));
    world.store.provision_table("skein-abc").await.unwrap();
    let mut bridge = Tenant::new(theirs.clone(), "A bridge", "business", NOW);
    bridge.isolation = Isolation::Bridge {
        table: "skein-abc".to_owned(),
    };
    world.store.put_tenant(&bridge, None).await.unwrap();
    let own = world.store.of(&theirs);
    Script::created(&own, &theirs, &run(1)).await;
    assert!(own.load(&theirs, &run(1)).await.unwrap().is_some());
    assert_eq!(world.iam.refused(), 0, "its own credentials open it");

    // A bug that names another tenant, and one that names its table as well.
    let foreign = world.store.of(&ours);
    assert!(is_refused(foreign.load(&theirs, &run(1)).await));
    let there = foreign.in_table(Arc::new("skein-abc".to_owned()));
    assert!(is_refused(there.load(&theirs, &run(1)).await));
    assert!(is_refused(there.ledger(&bridge, &Node::Tenant).await));
    let all = RunFilter::default();
    let listed = there.runs(&theirs, &all, 10, None, NOW);
    assert!(is_refused(listed.await));
    assert!(is_refused(there.watched(0, NOW, 10).await));
    assert!(is_refused(
        there
            .snapshot(&own.load(&theirs, &run(1)).await.unwrap().unwrap().state)
            .await
    ));
    let scan = there.access.table.scan().table_name("skein-abc");
    scan.send().await.unwrap_err();
    assert_eq!(world.iam.refused(), 7);
}

#[tokio::test]
async fn a_tenants_store_stays_that_tenants() {
    let world = isolated().await;
    let (ab, abc) = (tenant("ab"), tenant("abc"));
    let moved = world.store.of(&ab).of(&abc).metered();
    assert!(is_refused(moved.tenant(&abc).await));
    assert_eq!(moved.tenant(&ab).await.unwrap(), None);
    assert!(moved.may_remember(&ab) && !moved.may_remember(&abc));
    let behalf = moved.on_behalf_of("somebody", NOW).of(&abc);
    assert!(is_refused(behalf.tenant(&abc).await));
}

#[tokio::test]
async fn credentials_are_asked_for_once_and_renewed_before_they_expire() {
    let world = isolated().await;
    let acme = tenant("acme");
    let stores: Vec<_> = (0..20).map(|_| world.store.of(&acme)).collect();
    let asked = stores.iter().map(|store| store.tenant(&acme));
    futures_util::future::try_join_all(asked).await.unwrap();
    assert_eq!(world.iam.issued(), 1);
    world.clock.pass(44);
    stores[0].tenant(&acme).await.unwrap();
    assert_eq!(world.iam.issued(), 1);
    world.clock.pass(2);
    let asked = stores.iter().map(|store| store.tenant(&acme));
    futures_util::future::try_join_all(asked).await.unwrap();
    assert_eq!(world.iam.issued(), 2);
    // Nobody worked for this tenant for days: what is at hand is over.
    world.clock.pass(5_000);
    stores[0].tenant(&acme).await.unwrap();
    assert_eq!((world.iam.issued(), world.iam.refused()), (3, 0));
    world
        .store
        .of(&tenant("other"))
        .tenant(&tenant("other"))
        .await
        .unwrap();
    assert_eq!(world.iam.issued(), 4);
}

#[tokio::test]
async fn without_credentials_nothing_is_asked_and_the_error_passes() {
    let world = isolated().await;
    let acme = tenant("acme");
    let store = world.store.of(&acme);
    world.faults.add(Rule::new(Fault::FailBefore));
    let asked = (0..20).map(|_| store.tenant(&acme));
    for answer in futures_util::future::join_all(asked).await {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::NoCredentials { .. }), "{error:?}");
        assert!(error.is_transient());
    }
    assert!(world.faults.struck() <= 6, "three attempts for all who ask");
    let payload = store.access.bucket.object("tenants/acme/x").await;
    assert!(
        matches!(payload, Err(Error::NoCredentials { .. })),
        "{payload:?}"
    );
    world.faults.clear();
    store.tenant(&acme).await.unwrap();
}

#[tokio::test]
async fn credentials_at_hand_do_while_sts_is_down() {
    let world = isolated().await;
    let acme = tenant("acme");
    let store = world.store.of(&acme);
    store.tenant(&acme).await.unwrap();
    world.clock.pass(50);
    world.faults.add(Rule::new(Fault::FailBefore));
    store.tenant(&acme).await.unwrap();
    let struck = world.faults.struck();
    store.tenant(&acme).await.unwrap();
    assert_eq!(
        world.faults.struck(),
        struck,
        "STS is left alone for a minute"
    );
    world.clock.pass(2);
    store.tenant(&acme).await.unwrap();
    assert!(world.faults.struck() > struck);
    world.clock.pass(8);
    let over = store.tenant(&acme).await.unwrap_err();
    assert!(matches!(over, Error::NoCredentials { .. }), "{over:?}");
    world.faults.clear();
    store.tenant(&acme).await.unwrap();
    assert_eq!(world.iam.issued(), 2);
}

#[tokio::test]
async fn credentials_at_hand_do_while_sts_says_nothing() {
    let world = isolated().await;
    let acme = tenant("acme");
    let store = world.store.of(&acme);
    store.tenant(&acme).await.unwrap();
    world.clock.pass(50);
    let never = Fault::Delay(Duration::from_secs(24 * 3_600));
    world.faults.add(Rule::new(never));
    let asked = (0..20).map(|_| store.tenant(&acme));
    futures_util::future::try_join_all(asked).await.unwrap();
    assert_eq!(world.iam.refused(), 0);
}

#[tokio::test]
async fn a_role_that_may_not_be_assumed_is_said_so() {
    let mut world = isolated().await;
    let table = world.store.access.table.clone();
    let mut config = world.store.inner.config.clone();
    config.tenant_role.as_mut().unwrap().arn.push_str("-other");
    let payloads = sdk(Router::new());
    world.store = Store::new(table, &payloads, config);
    let error = world
        .store
        .of(&tenant("acme"))
        .tenant(&tenant("acme"))
        .await;
    let error = format!("{:?}", error.unwrap_err());
    assert!(
        error.contains("Not authorized to perform sts:AssumeRole"),
        "{error}"
    );
}

#[tokio::test]
async fn without_a_role_all_work_is_done_as_the_process() {
    let World { store, .. } = world().await;
    let ours = store.of(&tenant("ab"));
    assert!(Arc::ptr_eq(&ours.access, &store.access));
    assert_eq!(ours.tenant(&tenant("abc")).await.unwrap(), None);
    assert!(ours.may_remember(&tenant("abc")));
}

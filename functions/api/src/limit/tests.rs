use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use local::table::Table;
use local::wire::{Fault, Faults, Rule, connector};

use std::time::Duration;

use super::*;

/// 40 s before the end of a minute, 6,400 s before the end of a day.
const NOW: At = At(1_700_000_000_000);

/// A process, a table that others may use too, and the wire to it.
struct World {
    limiter: Limiter,
    store: Store,
    faults: Faults,
}

async fn world() -> World {
    let faults = Faults::none();
    let credentials = Credentials::new("any", "thing", None, None, "test");
    let table = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(credentials)
        .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
        .http_client(connector(faults.wrap(Table::open(None).unwrap().router())))
        .build();
    let payloads = crate::tests::sdk(local::s3::Payloads::open(None).unwrap().router());
    let store = Store::new(
        aws_sdk_dynamodb::Client::from_conf(table),
        &payloads,
        store::Config::new("skein", "payloads", *b"a secret that only tests may know"),
    );
    store.provision().await.unwrap();
    World {
        limiter: Limiter::new(),
        store,
        faults,
    }
}

impl World {
    async fn ask(&self, windows: &[Window], now: At) -> Result<Verdict, Problem> {
        self.ask_as("acme", "k1", None, windows, now).await
    }

    async fn ask_as(
        &self,
        tenant: &str,
        key: &str,
        address: Option<&str>,
        windows: &[Window],
        now: At,
    ) -> Result<Verdict, Problem> {
        let tenant = TenantId::parse(tenant).unwrap();
        self.limiter
            .admit(&self.store, &tenant, key, address, windows, now)
            .await
    }

    /// How many of `n` requests are admitted.
    async fn admitted(&self, n: usize, windows: &[Window], now: At) -> usize {
        let mut admitted = 0;
        for _ in 0..n {
            admitted += usize::from(self.ask(windows, now).await.is_ok());
        }
        admitted
    }

    fn writes(&self) -> u64 {
        self.store.consumed().writes
    }
}

fn window(name: &str, requests: u64, seconds: u32, by: Subject) -> Window {
    Window {
        name: name.to_owned(),
        requests,
        seconds,
        by,
    }
}

fn minute(requests: u64) -> Window {
    window("permin", requests, 60, Subject::Tenant)
}

fn day(requests: u64) -> Window {
    window("perday", requests, 86_400, Subject::Tenant)
}

fn verdict(refused: Result<Verdict, Problem>) -> Verdict {
    match refused {
        Err(Problem::RateLimited(verdict)) => verdict,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn headers_say_what_holds_and_what_is_left() {
    let world = world().await;
    let windows = [minute(100), day(100_000)];
    world.ask(&windows, NOW).await.unwrap();
    let verdict = world.ask(&windows, NOW).await.unwrap();
    let mut headers = HeaderMap::new();
    verdict.write(&mut headers);
    assert_eq!(
        headers["ratelimit-policy"],
        r#""permin";q=100;w=60, "perday";q=100000;w=86400"#
    );
    assert_eq!(
        headers["ratelimit"],
        r#""permin";r=98;t=40, "perday";r=99998;t=6400"#
    );
    assert_eq!(headers.len(), 2);
    headers.clear();
    world.ask(&[], NOW).await.unwrap().write(&mut headers);
    assert!(headers.is_empty());
}

#[tokio::test]
async fn what_is_over_the_limit_waits_for_the_next_window() {
    let world = world().await;
    let windows = [minute(3)];
    assert_eq!(world.admitted(3, &windows, NOW).await, 3);
    let writes = world.writes();
    for _ in 0..100 {
        let verdict = verdict(world.ask(&windows, NOW.plus_ms(500)).await);
        assert_eq!(verdict.retry_after_seconds(), Some(40));
        assert_eq!(verdict.violated().collect::<Vec<_>>(), ["permin"]);
        assert_eq!(verdict.windows[0].remaining, 0);
    }
    assert_eq!(world.writes(), writes, "a refusal costs no write");
    assert_eq!(world.admitted(5, &windows, NOW.plus_ms(40_000)).await, 3);
}

#[tokio::test]
async fn all_windows_must_admit_and_a_refused_request_spends_nothing() {
    let world = world().await;
    let windows = [minute(2), day(3)];
    assert_eq!(world.admitted(9, &windows, NOW).await, 2);
    let verdict = verdict(world.ask(&windows, NOW).await);
    assert_eq!(verdict.violated().collect::<Vec<_>>(), ["permin"]);
    assert_eq!(verdict.retry_after_seconds(), Some(40));
    assert_eq!(verdict.windows[1].remaining, 1);
    assert_eq!(
        world.admitted(9, &windows, NOW.plus_ms(60_000)).await,
        1,
        "the day's third"
    );
}

#[tokio::test]
async fn a_token_is_put_back_when_another_window_turns_out_to_be_used_up() {
    let world = world().await;
    let (acme, day) = (TenantId::parse("acme").unwrap(), day(3));
    // Somebody else uses up the day, which this process does not know yet.
    let number = index(&day, NOW);
    world
        .store
        .lease(&acme, &day, None, number, 3)
        .await
        .unwrap();
    let refused = verdict(world.ask(&[minute(1), day.clone()], NOW).await);
    assert_eq!(refused.violated().collect::<Vec<_>>(), ["perday"]);
    assert_eq!(refused.retry_after_seconds(), Some(6_400));
    assert_eq!(refused.windows[0].remaining, 1);
    assert_eq!(world.admitted(1, &[minute(1)], NOW).await, 1);
    let both = verdict(world.ask(&[minute(1), day], NOW).await);
    assert_eq!(both.violated().collect::<Vec<_>>(), ["permin", "perday"]);
    assert_eq!(both.retry_after_seconds(), Some(6_400));
}

#[tokio::test]
async fn requests_count_together_by_tenant_key_or_address() {
    let world = world().await;
    let by = |subject| [window("permin", 1, 60, subject)];
    let ok = async |windows: &[Window], tenant, key, address| {
        let verdict = world.ask_as(tenant, key, address, windows, NOW).await;
        verdict.is_ok()
    };
    let tenant = by(Subject::Tenant);
    assert!(ok(&tenant, "acme", "k1", None).await);
    assert!(!ok(&tenant, "acme", "k2", None).await);
    assert!(ok(&tenant, "evil", "k1", None).await);
    let key = by(Subject::Key);
    assert!(ok(&key, "acme", "k1", None).await);
    assert!(!ok(&key, "acme", "k1", None).await);
    assert!(ok(&key, "acme", "k2", None).await);
    assert!(ok(&key, "evil", "k1", None).await);
    let address = by(Subject::Address);
    assert!(ok(&address, "acme", "k1", Some("2001:db8::1")).await);
    assert!(!ok(&address, "acme", "k2", Some("2001:db8::1")).await);
    assert!(ok(&address, "acme", "k1", Some("192.0.2.1")).await);
    for _ in 0..3 {
        assert!(ok(&address, "acme", "k1", None).await);
    }
}

#[tokio::test]
async fn processes_share_a_limit_exactly() {
    let world = world().await;
    let other = World {
        limiter: Limiter::new(),
        store: world.store.clone(),
        faults: world.faults.clone(),
    };
    let windows = [minute(200)];
    let mut admitted = 0;
    for _ in 0..200 {
        admitted += world.admitted(1, &windows, NOW).await;
        admitted += other.admitted(1, &windows, NOW).await;
    }
    assert_eq!(admitted, 200);
}

#[tokio::test]
async fn a_burst_takes_one_lease_at_a_time() {
    let world = world().await;
    let windows = [minute(1_000)];
    let burst = join_all((0..200).map(|_| world.ask(&windows, NOW))).await;
    assert!(burst.iter().all(Result::is_ok));
    // Leases of 1, 2, 4, 8, 16, 32 and three of 50, and one more write to open the window.
    assert_eq!(world.writes(), 10);
    let rest = join_all((0..1_000).map(|_| world.ask(&windows, NOW))).await;
    assert_eq!(rest.iter().filter(|asked| asked.is_ok()).count(), 800);
    assert!(world.writes() <= 100, "{}", world.writes());
}

#[tokio::test]
async fn a_counter_that_cannot_be_reached_lets_nobody_through() {
    let world = world().await;
    let windows = [minute(1_000)];
    world.faults.add(Rule::new(Fault::FailBefore));
    let burst = join_all((0..50).map(|_| world.ask(&windows, NOW))).await;
    assert!(
        burst
            .iter()
            .all(|asked| *asked == Err(Problem::Unavailable))
    );
    assert_eq!(
        world.faults.struck(),
        3,
        "one lease, which the SDK tried three times"
    );
    world.faults.clear();
    assert_eq!(world.admitted(2, &windows, NOW).await, 2);
    // The second lease was of 2 tokens, so one is still here.
    world.faults.add(Rule::new(Fault::FailBefore));
    assert_eq!(world.admitted(9, &windows, NOW).await, 1);
}

#[tokio::test]
async fn a_token_is_put_back_when_another_counter_cannot_be_reached() {
    let world = world().await;
    let windows = [minute(2), day(1_000)];
    let silent = Rule::new(Fault::FailBefore).containing("#L#perday");
    world.faults.add(silent);
    for _ in 0..5 {
        assert_eq!(world.ask(&windows, NOW).await, Err(Problem::Unavailable));
    }
    world.faults.clear();
    assert_eq!(world.admitted(9, &windows, NOW).await, 2);
}

#[tokio::test]
async fn a_counter_that_is_ahead_says_when_its_own_window_ends() {
    let world = world().await;
    let (acme, minute) = (TenantId::parse("acme").unwrap(), minute(3));
    let ahead = index(&minute, NOW) + 5;
    world
        .store
        .lease(&acme, &minute, None, ahead, 2)
        .await
        .unwrap();
    let windows = [minute];
    let last = world.ask(&windows, NOW).await.unwrap();
    assert_eq!(last.standing(), r#""permin";r=0;t=340"#);
    let refused = verdict(world.ask(&windows, NOW).await);
    assert_eq!(refused.retry_after_seconds(), Some(340));
    assert_eq!(world.admitted(1, &windows, NOW.plus_ms(339_999)).await, 0);
    assert_eq!(world.admitted(1, &windows, NOW.plus_ms(340_000)).await, 1);
}

//! What service was given, as operators are told.

use domain::service::{Service, Spread};
use domain::usage::{Subject, Usage};
use local::wire::{Fault, Rule};
use store::Ended;

use super::*;

/// A run that ended then, which waited and lived for so many milliseconds.
fn ended(n: u8, at: At, service: Service, waited_ms: u64, lived_ms: u64) -> Ended {
    Ended {
        run: RunId::from_bytes([n; 16]),
        at,
        subject: Subject::default(),
        usage: Usage {
            runs: 1,
            ..Usage::default()
        },
        service: Service {
            waits: Spread::of(waited_ms),
            lives: Spread::of(lived_ms),
            ..service
        },
    }
}

async fn report(world: &World, key: &str, query: &str) -> Value {
    let answer = world.get(key, &format!("/v1/admin/slo?{query}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn service_adds_up_over_hours_and_tenants() {
    let world = world().await;
    let operator = world.key(auth::OPERATOR, &["admin:read"]).await;
    let key = world.tenant("acme").await;
    world.tenant("globex").await;
    world.faults.add(Rule::new(Fault::Throttle).on("Query"));
    let failed = world.get(&key, "/v1/agents").await;
    assert!(failed.status.is_server_error(), "{}", failed.text);
    world.faults.clear();
    world.get(&key, "/v1/agents").await;
    world.api.tallies.tell_all(&world.api.engine).await;

    let succeeded = Service {
        succeeded: 1,
        ..Service::default()
    };
    let failed = Service {
        failed: 1,
        ..Service::default()
    };
    let cancelled = Service {
        cancelled: 1,
        ..Service::default()
    };
    let hour = 3_600_000;
    let before = At(NOW.0 - hour);
    let store = &world.api.engine.store;
    let of_acme = [
        ended(1, NOW, succeeded, 3, 900),
        ended(2, NOW, cancelled, 90_000, 95_000),
        ended(3, before, failed, 400, 20_000),
        ended(4, At(NOW.0 - 30 * hour), failed, 400, 20_000),
    ];
    let acme = TenantId::parse("acme").unwrap();
    assert_eq!(store.count_usage(&acme, &of_acme).await.unwrap(), 4);
    assert_eq!(store.count_usage(&acme, &of_acme).await.unwrap(), 0);
    let of_globex = [ended(5, NOW, succeeded, 20, 400)];
    let globex = TenantId::parse("globex").unwrap();
    assert_eq!(store.count_usage(&globex, &of_globex).await.unwrap(), 1);

    let all = report(&world, &operator, "").await;
    // `tenant` asks once to see that its key holds.
    let asked = all["total"]["requests"].as_u64().unwrap();
    assert_eq!(all["total"]["failed_requests"], 1, "{all}");
    let available = all["total"]["availability"].as_f64().unwrap();
    assert!(available < 1.0 && asked >= 2, "{all}");
    assert_eq!(
        all["total"]["runs"],
        json!({"succeeded": 2, "failed": 1, "cancelled": 1, "expired": 0})
    );
    assert_eq!(all["total"]["run_success"], 0.666_666);
    assert_eq!(
        all["total"]["run_wait"],
        json!({"count": 4, "p50_ms": 100, "p95_ms": 300_000, "p99_ms": 300_000})
    );
    assert_eq!(all["hours"].as_array().unwrap().len(), 2, "{all}");
    let one = report(&world, &operator, "tenant=globex").await;
    assert_eq!(one["total"]["run_success"], 1.0);
    assert_eq!(one["total"]["run_duration"]["p99_ms"], 500);
    let early = format!("from={}&to={before}", At(NOW.0 - 40 * hour));
    let early = report(&world, &operator, &early).await;
    assert_eq!(early["total"]["runs"]["failed"], 2, "{early}");
}

#[tokio::test]
async fn what_cannot_be_reported_is_refused() {
    let world = world().await;
    let operator = world.key(auth::OPERATOR, &["admin:read"]).await;
    let key = world.tenant("acme").await;
    for (query, code) in [
        ("tenant=nobody", "not_found"),
        ("tenant=Not%20One", "invalid_parameter"),
        (
            "from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
            "invalid_parameter",
        ),
        ("from=2020-01-02T00:00:00Z", "invalid_parameter"),
        ("interval=day", "invalid_parameter"),
    ] {
        let answer = world
            .get(&operator, &format!("/v1/admin/slo?{query}"))
            .await;
        assert_eq!(answer.code(), code, "{query}");
    }
    let refused = world.get(&key, "/v1/admin/slo").await;
    assert_eq!(refused.code(), "scope_missing");
}

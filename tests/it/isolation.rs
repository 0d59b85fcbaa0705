//! The second ring around tenants: with sessions, IAM refuses what our own code should never have asked for.

use std::collections::BTreeSet;
use std::path::Path as File;

use api::auth::{As, RunsRead};
use api::{Api, Problem};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Path;
use axum::http::Request;
use axum::routing::get;
use dev::{CloudConfig, Isolation};
use domain::id::{KeyId, RunId, TenantId};
use domain::run::{Head, Status};
use serde_json::json;
use store::{ApiKey, RunFilter};
use tower::ServiceExt as _;

use crate::platform::{Running, onboard};
use crate::world::{Delivery, World, tenant};

fn config(isolation: Isolation) -> CloudConfig {
    CloudConfig {
        isolation,
        ..CloudConfig::default()
    }
}

/// A handler with a bug: whose run it reads is said in the address.
async fn buggy(
    who: As<RunsRead>,
    Path((tenant, run)): Path<(String, String)>,
) -> Result<String, Problem> {
    let tenant = TenantId::parse(&tenant).unwrap();
    let run = RunId::parse(&run).unwrap();
    let read = who.api.engine.store.read(&tenant, &run, true).await?;
    Ok(read.map_or_else(|| "nothing".to_owned(), |(head, _)| secret(&head)))
}

/// Another one, which lists.
async fn buggy_list(who: As<RunsRead>, Path(tenant): Path<String>) -> Result<String, Problem> {
    let tenant = TenantId::parse(&tenant).unwrap();
    let (store, now) = (&who.api.engine.store, who.api.engine.now());
    let page = Box::pin(store.runs(&tenant, &RunFilter::default(), 10, None, now)).await?;
    Ok(page.items.iter().map(secret).collect())
}

fn secret(head: &Head) -> String {
    format!("the secret of {}", head.run)
}

/// What buggy handlers tell a key of another tenant of a run of the demo tenant.
async fn leaked(isolation: Isolation, own_table: Option<&str>) -> Vec<(u16, String)> {
    let mut config = config(isolation);
    config.tenant_tables.extend(own_table.map(str::to_owned));
    let world = World::with(config, json!({"model": "local.echo"})).await;
    let run = world
        .create(&world.engine(), World::request(1, "hello"))
        .await;
    let store = world.cloud.store();
    onboard(&store, "dem").await;
    let issued = api::keys::issue("test", [7; api::keys::RANDOM_BYTES]);
    let key = ApiKey {
        id: KeyId::parse(&issued.id).unwrap(),
        tenant: TenantId::parse("dem").unwrap(),
        project: None,
        hash: issued
            .sha256
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        scopes: vec!["runs:read".to_owned()],
        label: "test".to_owned(),
        created_at: world.now(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        gate: None,
    };
    store.put_key(&key).await.unwrap();
    let api = Api::new(world.engine_of("stream"), api::Config::default());
    let router = Router::new()
        .route("/{tenant}/runs/{run}", get(buggy))
        .route("/{tenant}/runs", get(buggy_list))
        .with_state(api);
    let mut leaked = Vec::new();
    for path in [format!("/demo/runs/{run}"), "/demo/runs".to_owned()] {
        let request = Request::get(path).header("x-api-key", &issued.text);
        let request = request.body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let text = to_bytes(answer.into_body(), 10_000).await.unwrap();
        leaked.push((status, String::from_utf8_lossy(&text).into_owned()));
    }
    leaked
}

#[tokio::test]
async fn a_handler_that_asks_for_another_tenants_run_is_refused_by_iam() {
    for own_table in [None, Some("skein-demo")] {
        for (status, text) in leaked(Isolation::Pool, own_table).await {
            assert!(status == 200 && text.contains("the secret of"), "{text}");
        }
        for (status, text) in leaked(Isolation::Session, own_table).await {
            assert!(status == 500 && !text.contains("secret"), "{status} {text}");
        }
    }
}

#[tokio::test]
async fn a_run_with_inline_and_worker_tools_and_a_wait_needs_nothing_but_its_tenants_session() {
    let agent = json!({"model": "local.tools", "tools": ["calculator", "slow_research", "wait"]});
    let world = World::with(config(Isolation::Session), agent).await;
    let _process = world.process(Delivery::default());
    let client = world.engine_of("stream").of(&tenant());
    let input = "1+1, then research geese, then wait 2 seconds, then 2*3";
    let runs = [
        world.create(&client, World::request(1, input)).await,
        world
            .create(&client, World::request(2, &"x".repeat(100_000)))
            .await,
        world
            .create(&client, World::request(3, "wait 600 seconds"))
            .await,
    ];
    let cancelled = client.cancel(&tenant(), &runs[2], "a test", None).await;
    cancelled.unwrap();
    let ended = world.ended(&runs).await;
    let statuses: Vec<Status> = ended.iter().map(|state| state.status).collect();
    assert_eq!(
        statuses,
        [Status::Succeeded, Status::Succeeded, Status::Cancelled]
    );
    let (issued, refused) = (world.cloud.iam.issued(), world.cloud.iam.refused());
    // The client, the orchestrators of three lanes and the worker.
    assert!((3..=5).contains(&issued), "{issued} sessions");
    assert_eq!(refused, 0);
}

#[tokio::test]
async fn a_platform_with_sessions_serves_every_route_of_a_tenant() {
    let running = Running::own().await;
    let client = running.demo();
    let agent = client.agent(&json!({"model": "local.echo"})).await;
    let large = client.run(&agent, &"goose ".repeat(20_000)).await;
    assert_eq!(large["status"], "succeeded", "{}", running.last_lines());
    let id = large["id"].as_str().unwrap();
    let research = client.run("researcher", "research geese").await;
    assert_eq!(research["status"], "succeeded", "{research}");
    let waited = json!({"agent": "calculator", "input": "What is 2 * 3?"});
    let waited = client.post_with("/v1/runs", &[("prefer", "wait=20")], &waited);
    assert_eq!(waited.await.expect(200)["output"], "2 * 3 is 6.");
    let run = client.create("hello", "hello").await;
    client
        .post(&format!("/v1/runs/{run}/cancel"), &json!({}))
        .await;
    for path in [
        "/v1/runs",
        "/v1/agents",
        "/v1/budgets",
        "/v1/usage",
        "/v1/audit",
        &format!("/v1/agents/{agent}"),
        &format!("/v1/agents/{agent}/versions"),
        &format!("/v1/agents/{agent}/versions/1"),
        &format!("/v1/runs/{id}/steps"),
        &format!("/v1/runs/{id}/receipt"),
        &format!("/v1/runs/{id}/events"),
    ] {
        client.get(path).await.expect(200);
    }
    client.delete(&format!("/v1/agents/{agent}")).await;
    let iam = &running.cloud().iam;
    assert_eq!(iam.refused(), 0, "{}", running.last_lines());
    assert!(iam.issued() >= 3, "{} sessions", iam.issued());
    running.platform.stop().await;
}

/// The texts in quotes that hold `mark`.
fn quoted<'a>(text: &'a str, mark: &'a str) -> BTreeSet<&'a str> {
    let quoted = text.split('"').skip(1).step_by(2);
    quoted.filter(|text| text.contains(mark)).collect()
}

#[test]
fn the_local_cloud_and_the_template_draw_the_same_borders() {
    let root = File::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let (local, template) = (read("shared/dev/src/access.rs"), read("template.yaml"));
    let template: String = template
        .lines()
        .map(|line| line.split(" # ").next().unwrap_or(line))
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n");
    for mark in ["T#$", "K#"] {
        assert_eq!(quoted(&local, mark), quoted(&template, mark));
        assert!(!quoted(&local, mark).is_empty());
    }
    assert!(local.contains("\"tenants/${aws:PrincipalTag/TenantId}/*\""));
    assert!(template.contains("${Payloads.Arn}/tenants/${!aws:PrincipalTag/TenantId}/*\""));
}

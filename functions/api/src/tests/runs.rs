//! Creating, repeating, waiting for, listing and cancelling runs.

use super::*;

#[tokio::test]
async fn a_run_is_accepted_queued_and_read_to_its_end() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let request = json!({"agent": "echo", "input": "hello", "metadata": {"team": "blue"}});
    let created = world.post(&key, "/v1/runs", &request).await;
    assert_eq!(created.status, StatusCode::ACCEPTED, "{created:?}");
    let run = created.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(created.header("location"), format!("/v1/runs/{run}"));
    assert_eq!(created.json()["status"], "queued");
    assert_eq!(world.queues.depth("standard").visible, 1);
    world.drive("acme", &run).await;
    let read = world.get(&key, &format!("/v1/runs/{run}")).await.json();
    assert_eq!(read["status"], "succeeded");
    assert_eq!(read["output"], "hello");
    assert_eq!(read["metadata"], json!({"team": "blue"}));
    let steps = world
        .get(&key, &format!("/v1/runs/{run}/steps"))
        .await
        .json();
    assert_eq!(steps["items"][0]["attempts"], 1);
    assert!(
        steps["items"][0]["usage"]["output_tokens"]
            .as_u64()
            .unwrap()
            > 0,
        "{steps}"
    );
}

#[tokio::test]
async fn a_wait_answers_with_the_end() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let request = json!({"agent": "echo", "input": "hello"});
    let answer = world
        .post_with(&key, "/v1/runs", &[("prefer", "wait=10")], &request)
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.header("preference-applied"), "wait=10");
    assert_eq!(answer.json()["output"], "hello");
    assert_eq!(world.queues.depth("interactive").visible, 0);
}

#[tokio::test]
async fn the_same_key_and_body_name_the_same_run() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let request = json!({"agent": "echo", "input": "hello"});
    let headers = [("idempotency-key", "\"k-1\"")];
    let first = world.post_with(&key, "/v1/runs", &headers, &request).await;
    world.pass(1);
    let second = world.post_with(&key, "/v1/runs", &headers, &request).await;
    assert_eq!(first.header("idempotent-replayed"), "");
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert_eq!((first.status, first.json()), (second.status, second.json()));
    let other = json!({"agent": "echo", "input": "goodbye"});
    let reused = world.post_with(&key, "/v1/runs", &headers, &other).await;
    assert_eq!(
        (reused.status.as_u16(), reused.code()),
        (422, "idempotency_key_reused".to_owned())
    );

    let run = first.json()["id"].as_str().unwrap().to_owned();
    world.drive("acme", &run).await;
    let waited = [("idempotency-key", "k-1"), ("prefer", "wait=5")];
    let ended = world.post_with(&key, "/v1/runs", &waited, &request).await;
    assert_eq!(
        (ended.status, ended.header("idempotent-replayed")),
        (StatusCode::OK, "true")
    );
    assert_eq!(ended.json()["output"], "hello");
    // What was accepted stays accepted when its agent is gone.
    world
        .ask(Method::DELETE, &key, "/v1/agents/echo", &[], None)
        .await;
    let after = world.post_with(&key, "/v1/runs", &headers, &request).await;
    assert_eq!(
        (after.status, after.header("idempotent-replayed")),
        (StatusCode::ACCEPTED, "true")
    );
}

#[tokio::test]
async fn a_run_of_nothing_is_refused_by_field() {
    let world = world().await;
    let key = world.tenant("acme").await;
    for (body, pointer) in [
        (json!({"agent": "none", "input": "x"}), "/agent"),
        (json!({"agent": "NO", "input": "x"}), "/agent"),
        (
            json!({"agent": "echo", "version": 9, "input": "x"}),
            "/version",
        ),
        (json!({"agent": "echo", "input": ""}), "/input"),
        (
            json!({"agent": "echo", "input": "x", "lane": "fast"}),
            "/lane",
        ),
        (
            json!({"agent": "echo", "input": "x", "unheard_of": "x"}),
            "/unheard_of",
        ),
    ] {
        let answer = world.post(&key, "/v1/runs", &body).await;
        assert_eq!(answer.status.as_u16(), 422, "{answer:?}");
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{answer:?}");
    }
    let large = json!({"agent": "echo", "input": "x".repeat(262_144)});
    assert_eq!(
        world.post(&key, "/v1/runs", &large).await.status.as_u16(),
        413
    );
}

#[tokio::test]
async fn cancelling_is_idempotent() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let created = world
        .post(&key, "/v1/runs", &json!({"agent": "echo", "input": "x"}))
        .await;
    let path = format!("/v1/runs/{}/cancel", created.json()["id"].as_str().unwrap());
    let first = world
        .post(&key, &path, &json!({"reason": "no longer needed"}))
        .await;
    assert_eq!(
        (first.status, &first.json()["status"]),
        (StatusCode::OK, &json!("cancelled"))
    );
    let second = world.ask(Method::POST, &key, &path, &[], None).await;
    assert_eq!(
        (second.status, second.json()),
        (StatusCode::OK, first.json())
    );
}

#[tokio::test]
async fn a_list_is_filtered_and_paged() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let mut created = Vec::new();
    for n in 0..3 {
        let request = json!({"agent": "echo", "input": n.to_string()});
        let run = world.post(&key, "/v1/runs", &request).await.json();
        created.insert(0, run["id"].clone());
        world.pass(1_000);
    }
    let ids = |page: &Value| -> Vec<Value> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["id"].clone())
            .collect()
    };
    let page = world.get(&key, "/v1/runs?limit=2").await.json();
    assert_eq!(ids(&page), created[..2]);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = world
        .get(&key, &format!("/v1/runs?limit=2&cursor={cursor}"))
        .await
        .json();
    assert_eq!(ids(&rest), created[2..]);
    assert_eq!(rest["next_cursor"], "");
    let filtered = format!("/v1/runs?limit=2&status=queued&cursor={cursor}");
    assert_eq!(world.get(&key, &filtered).await.code(), "invalid_cursor");
    world.pass(store::CURSOR_LIFETIME_MS);
    let late = world
        .get(&key, &format!("/v1/runs?limit=2&cursor={cursor}"))
        .await;
    assert_eq!(late.code(), "expired_cursor");
    let since = world
        .get(
            &key,
            "/v1/runs?created_after=2023-11-14T22:13:21Z&agent=echo&status=queued",
        )
        .await;
    assert_eq!(ids(&since.json()), created[..2]);
    let wrong = world.get(&key, "/v1/runs?status=done").await.json();
    assert_eq!(
        (&wrong["code"], &wrong["errors"][0]["parameter"]),
        (&json!("invalid_parameter"), &json!("status"))
    );
}

#[tokio::test]
async fn a_run_that_is_kept_no_longer_is_as_good_as_gone_before_the_table_deletes_it() {
    const DAY: u64 = 86_400_000;
    let world = world().await;
    let key = world.tenant("acme").await;
    let request = json!({"agent": "echo", "input": "hello"});
    let created = world.post(&key, "/v1/runs", &request).await;
    let run = created.json()["id"].as_str().unwrap().to_owned();
    world.drive("acme", &run).await;
    let paths = ["", "/steps", "/receipt", "/events", "/events?after=3"];
    let statuses = async || {
        let mut statuses = Vec::new();
        for path in paths {
            let path = format!("/v1/runs/{run}{path}");
            statuses.push(world.get(&key, &path).await.status);
        }
        let cancel = format!("/v1/runs/{run}/cancel");
        statuses.push(world.post(&key, &cancel, &json!({})).await.status);
        statuses
    };
    let listed = async || {
        let list = world.get(&key, "/v1/runs").await.json();
        list["items"].as_array().unwrap().len()
    };
    // A deadline of an hour, and 365 days in the tier of tests.
    world.pass(365 * DAY);
    assert_eq!(statuses().await, [StatusCode::OK; 6]);
    assert_eq!(listed().await, 1);
    world.pass(3_600_000);
    assert_eq!(statuses().await, [StatusCode::NOT_FOUND; 6]);
    assert_eq!(listed().await, 0);
}

//! Storing, reading and archiving agents.

use super::*;

#[tokio::test]
async fn a_definition_becomes_a_version_once() {
    let world = world().await;
    let key = world.tenant("acme").await;
    world.pass(1);
    let again = world
        .post(&key, "/v1/agents/echo", &json!({"model": "local.echo"}))
        .await;
    assert_eq!(
        (again.status, again.json()["version"].as_u64()),
        (StatusCode::OK, Some(1))
    );
    let next = world
        .post(&key, "/v1/agents/echo", &json!({"model": "local.tools"}))
        .await;
    assert_eq!(
        (next.status, next.json()["version"].as_u64()),
        (StatusCode::CREATED, Some(2))
    );
    assert_eq!(next.header("location"), "/v1/agents/echo/versions/2");
    let latest = world.get(&key, "/v1/agents/echo").await.json();
    assert_eq!(
        (&latest["version"], &latest["definition"]["model"]),
        (&json!(2), &json!("local.tools"))
    );
    let first = world.get(&key, "/v1/agents/echo/versions/1").await.json();
    assert_eq!(first["definition"]["model"], "local.echo");
    assert_eq!(first["created_at"], "2023-11-14T22:13:20.000Z");
    let versions = world
        .get(&key, "/v1/agents/echo/versions?limit=1")
        .await
        .json();
    assert_eq!(versions["items"][0]["version"], 2);
    let cursor = versions["next_cursor"].as_str().unwrap();
    let rest = world
        .get(
            &key,
            &format!("/v1/agents/echo/versions?limit=1&cursor={cursor}"),
        )
        .await
        .json();
    assert_eq!(rest["items"][0]["version"], 1);
}

#[tokio::test]
async fn an_archived_agent_leaves_the_list_and_starts_no_runs() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let list = world.get(&key, "/v1/agents").await.json();
    assert_eq!(
        (&list["items"][0]["id"], &list["next_cursor"]),
        (&json!("echo"), &json!(""))
    );
    for _ in 0..2 {
        let archived = world
            .ask(Method::DELETE, &key, "/v1/agents/echo", &[], None)
            .await;
        assert_eq!(archived.status, StatusCode::NO_CONTENT);
    }
    assert_eq!(
        world.get(&key, "/v1/agents").await.json()["items"],
        json!([])
    );
    assert!(world.get(&key, "/v1/agents/echo").await.json()["archived_at"].is_string());
    let run = world
        .post(&key, "/v1/runs", &json!({"agent": "echo", "input": "hi"}))
        .await;
    assert_eq!(
        (run.status, run.code()),
        (StatusCode::CONFLICT, "agent_archived".to_owned())
    );
}

#[tokio::test]
async fn a_definition_that_breaks_rules_is_told_all_of_them() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let wrong = json!({"model": "", "tools": ["rm_rf"], "caps": {"steps": 0}});
    let answer = world.post(&key, "/v1/agents/echo", &wrong).await;
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "invalid_body".to_owned())
    );
    let pointers: Vec<Value> = answer.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].clone())
        .collect();
    assert_eq!(
        pointers,
        [json!("/model"), json!("/caps/steps"), json!("/tools/0")]
    );
    let named = world
        .post(&key, "/v1/agents/Echo", &json!({"model": "m"}))
        .await;
    assert_eq!(
        (named.status, named.code()),
        (StatusCode::BAD_REQUEST, "invalid_parameter".to_owned())
    );
}

#[tokio::test]
async fn bodies_are_json_of_bounded_size() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let send = async |kind: &str, body: &str| {
        let headers = [("content-type", kind)];
        let answer = world
            .ask(
                Method::POST,
                &key,
                "/v1/agents/echo",
                &headers,
                Some(body.to_owned()),
            )
            .await;
        (answer.status.as_u16(), answer.code())
    };
    assert_eq!(
        send("text/plain", "{}").await,
        (415, "unsupported_media_type".to_owned())
    );
    assert_eq!(
        send("application/json", "{").await,
        (400, "malformed_json".to_owned())
    );
    let large = json!({"model": "m", "system": "x".repeat(70_000)}).to_string();
    assert_eq!(
        send("application/json", &large).await,
        (413, "body_too_large".to_owned())
    );
}

#[tokio::test]
async fn another_tenants_resource_looks_like_a_missing_one() {
    let world = world().await;
    let (mine, theirs) = (
        world.tenant("acme").await,
        world.key("zeta", auth::SCOPES).await,
    );
    let run = world
        .post(&mine, "/v1/runs", &json!({"agent": "echo", "input": "hi"}))
        .await
        .json();
    let run = run["id"].as_str().unwrap();
    let missing = "run_00000000000000000000000000000000";
    for (existing, missing) in [
        ("/v1/agents/echo".to_owned(), "/v1/agents/none".to_owned()),
        (
            "/v1/agents/echo/versions".to_owned(),
            "/v1/agents/none/versions".to_owned(),
        ),
        (
            "/v1/agents/echo/versions/1".to_owned(),
            "/v1/agents/echo/versions/x".to_owned(),
        ),
        (format!("/v1/runs/{run}"), format!("/v1/runs/{missing}")),
        (
            format!("/v1/runs/{run}/steps"),
            "/v1/runs/any/steps".to_owned(),
        ),
        (
            format!("/v1/runs/{run}/events"),
            format!("/v1/runs/{missing}/events"),
        ),
    ] {
        assert_eq!(
            world.get(&mine, &existing).await.status,
            StatusCode::OK,
            "{existing}"
        );
        let (other, none) = (
            world.get(&theirs, &existing).await,
            world.get(&theirs, &missing).await,
        );
        assert_eq!(other.status, StatusCode::NOT_FOUND, "{existing}");
        let of = |answer: &Answer| answer.text.replace(answer.header("x-request-id"), "");
        assert_eq!(of(&other), of(&none));
    }
    let cancelled = world
        .post(&theirs, &format!("/v1/runs/{run}/cancel"), &json!({}))
        .await;
    assert_eq!(cancelled.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_run_is_of_the_version_that_was_stored_last_whatever_its_process_remembers() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let elsewhere = world.elsewhere();
    let body = json!({"agent": "echo", "input": "x"});
    let version = |answer: Answer| answer.json()["agent"]["version"].as_u64();
    let run = || async { version(world.post(&key, "/v1/runs", &body).await) };
    assert_eq!(run().await, Some(1));
    for system in ["two", "three"] {
        let agent = json!({"model": "local.echo", "system": system});
        let stored = elsewhere.post(&key, "/v1/agents/echo", &agent).await;
        assert_eq!(stored.status, StatusCode::CREATED, "{stored:?}");
    }
    assert_eq!(run().await, Some(3));
    elsewhere
        .ask(Method::DELETE, &key, "/v1/agents/echo", &[], None)
        .await;
    let refused = world.post(&key, "/v1/runs", &body).await;
    assert_eq!(refused.code(), "agent_archived");
    let agent = json!({"model": "local.echo", "system": "four"});
    elsewhere.post(&key, "/v1/agents/echo", &agent).await;
    assert_eq!(run().await, Some(4));
}

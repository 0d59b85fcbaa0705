//! Agents: immutable versions, and what runs pin.

use serde_json::json;

use crate::platform::shared;

#[tokio::test]
async fn a_definition_becomes_a_version_that_never_changes() {
    let client = shared().tenant("agents-versions").await;
    let path = "/v1/agents/guide";
    let first = client
        .post(path, &json!({"model": "local.echo", "description": "one"}))
        .await;
    assert_eq!(first.expect(201)["version"], 1);
    assert_eq!(first.header("location"), "/v1/agents/guide/versions/1");
    let same = client
        .post(path, &json!({"description": "one", "model": "local.echo"}))
        .await;
    assert_eq!(
        same.expect(200)["version"],
        1,
        "the latest version has this definition already"
    );
    let second = client
        .post(path, &json!({"model": "local.echo", "description": "two"}))
        .await;
    assert_eq!(second.expect(201)["version"], 2);

    assert_eq!(
        client.get(path).await.expect(200)["definition"]["description"],
        "two"
    );
    let one = client.get(&format!("{path}/versions/1")).await.expect(200);
    assert_eq!(one["definition"]["description"], "one");
    let versions = client.get(&format!("{path}/versions")).await.expect(200);
    let numbers: Vec<_> = versions["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].clone())
        .collect();
    assert_eq!(numbers, [2, 1]);
    client
        .get(&format!("{path}/versions/3"))
        .await
        .problem(404, "not_found");
}

#[tokio::test]
async fn a_run_pins_the_version_that_it_was_created_with() {
    let client = shared().tenant("agents-pins").await;
    let path = "/v1/agents/pinned";
    client
        .post(path, &json!({"model": "local.tools", "tools": ["wait"]}))
        .await
        .expect(201);
    let run = client.create("pinned", "wait 2 seconds").await;
    client.follow(&run, 0).await.until("parked").await;
    client
        .post(path, &json!({"model": "local.echo"}))
        .await
        .expect(201);
    let run = client.ended(&run).await;
    assert_eq!(run["agent"]["version"], 1);
    assert!(
        run["output"]
            .as_str()
            .unwrap()
            .starts_with("Waited 2 seconds"),
        "{run}"
    );
    let old = client
        .create_of(&json!({"agent": "pinned", "version": 1, "input": "hello"}))
        .await;
    assert_eq!(client.ended(&old).await["agent"]["version"], 1);
    let new = client.run("pinned", "hello").await;
    assert_eq!(
        (&new["agent"]["version"], &new["output"]),
        (&json!(2), &json!("hello"))
    );
}

#[tokio::test]
async fn an_archived_agent_starts_no_run_and_comes_back_with_the_next_version() {
    let client = shared().tenant("agents-archive").await;
    let definition = json!({"model": "local.echo"});
    for agent in ["kept", "gone"] {
        client
            .post(&format!("/v1/agents/{agent}"), &definition)
            .await
            .expect(201);
    }
    client.delete("/v1/agents/gone").await.expect(204);
    client.delete("/v1/agents/gone").await.expect(204);
    client
        .delete("/v1/agents/never")
        .await
        .problem(404, "not_found");
    let listed = async || {
        let (agents, _) = client.list("/v1/agents", &[("limit", "1")]).await;
        agents
            .iter()
            .map(|agent| agent["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(listed().await, ["kept"]);
    assert!(client.get("/v1/agents/gone").await.expect(200)["archived_at"].is_string());
    let body = json!({"agent": "gone", "input": "x"});
    client
        .post("/v1/runs", &body)
        .await
        .problem(409, "agent_archived");
    assert_eq!(
        client.run("kept", "still here").await["output"],
        "still here"
    );

    let back = client
        .post(
            "/v1/agents/gone",
            &json!({"model": "local.echo", "description": "back"}),
        )
        .await;
    assert_eq!(back.expect(201)["version"], 2);
    assert_eq!(listed().await, ["gone", "kept"]);
    assert_eq!(client.run("gone", "back").await["output"], "back");
}

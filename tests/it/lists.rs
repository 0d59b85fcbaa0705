//! Lists of runs, and what other tenants see of them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::platform::{Running, shared};

/// A tenant of its own with the two agents that these tests use.
async fn tenant(running: &Running, id: &str) -> Client {
    let client = running.tenant(id).await;
    for (agent, model) in [("quick", "local.echo"), ("patient", "local.tools")] {
        let definition = json!({"model": model, "tools": ["wait", "calculator"]});
        client
            .post(&format!("/v1/agents/{agent}"), &definition)
            .await
            .expect(201);
    }
    client
}

fn ids(runs: &[Value]) -> Vec<&str> {
    runs.iter().map(|run| run["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_page_by_page() {
    let client = tenant(shared(), "lists-pages").await;
    let mut created = Vec::new();
    for n in 0..7 {
        created.push(client.create("quick", &format!("run {n}")).await);
    }
    for run in &created {
        client.ended(run).await;
    }
    created.reverse();
    let (all, pages) = client.list("/v1/runs", &[("limit", "3")]).await;
    assert_eq!(ids(&all), created);
    assert!(pages >= 3, "{pages}");
    assert!(
        all.iter().all(|run| run.get("output").is_none()),
        "lists hold no answers"
    );
    let (whole, _) = client.list("/v1/runs", &[("limit", "100")]).await;
    assert_eq!(all, whole);
}

#[tokio::test]
async fn runs_are_listed_by_status_agent_and_time() {
    let client = tenant(shared(), "lists-filters").await;
    let quick = client.run("quick", "one").await;
    let parked = client.create("patient", "wait 600 seconds").await;
    client.follow(&parked, 0).await.until("parked").await;
    let later = client.run("patient", "2+2").await;

    let of = async |query: &[(&str, &str)]| {
        let (runs, _) = client.list("/v1/runs", query).await;
        ids(&runs)
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (quick_id, later_id) = (quick["id"].as_str().unwrap(), later["id"].as_str().unwrap());
    assert_eq!(of(&[("status", "parked")]).await, [parked.as_str()]);
    assert_eq!(of(&[("status", "succeeded")]).await, [later_id, quick_id]);
    assert_eq!(
        of(&[("agent", "patient")]).await,
        [later_id, parked.as_str()]
    );
    assert_eq!(
        of(&[("agent", "patient"), ("status", "succeeded")]).await,
        [later_id]
    );
    assert_eq!(
        of(&[("created_after", later["created_at"].as_str().unwrap())]).await,
        [later_id]
    );
    assert_eq!(
        of(&[("created_before", quick["created_at"].as_str().unwrap())]).await,
        [""; 0]
    );
    assert_eq!(of(&[("agent", "nobody")]).await, [""; 0]);

    client
        .post(&format!("/v1/runs/{parked}/cancel"), &json!({}))
        .await
        .expect(200);
    assert_eq!(of(&[("status", "parked")]).await, [""; 0]);
    assert_eq!(of(&[("status", "cancelled")]).await, [parked.as_str()]);
}

#[tokio::test]
async fn what_another_tenant_has_is_what_nobody_has() {
    let owner = tenant(shared(), "lists-owner").await;
    let other = shared().tenant("lists-other").await;
    let run = owner.run("quick", "mine").await;
    let theirs = run["id"].as_str().unwrap();
    let nobodys = "run_ffffffffffffffffffffffffffffffff";
    let asked = [
        (Method::GET, "/v1/runs/{}"),
        (Method::GET, "/v1/runs/{}/events"),
        (Method::GET, "/v1/runs/{}/steps"),
        (Method::POST, "/v1/runs/{}/cancel"),
    ];
    for (method, path) in asked {
        let mut answers = Vec::new();
        for id in [theirs, nobodys] {
            let answer = other
                .send(other.request(method.clone(), &path.replace("{}", id)))
                .await;
            answer.problem(404, "not_found");
            answers.push(comparable(&answer));
        }
        assert_eq!(answers[0], answers[1], "{method} {path}");
    }
    for (theirs, nobodys) in [
        ("/v1/agents/quick", "/v1/agents/absent"),
        (
            "/v1/agents/quick/versions/1",
            "/v1/agents/absent/versions/1",
        ),
    ] {
        let answers = [other.get(theirs).await, other.get(nobodys).await];
        answers[0].problem(404, "not_found");
        assert_eq!(comparable(&answers[0]), comparable(&answers[1]), "{theirs}");
    }
    let body = |agent: &str| json!({"agent": agent, "input": "x"});
    let answers = [
        other.post("/v1/runs", &body("quick")).await,
        other.post("/v1/runs", &body("absent")).await,
    ];
    assert_eq!(comparable(&answers[0]), comparable(&answers[1]));
    assert_eq!(other.list("/v1/runs", &[]).await.0, Vec::<Value>::new());
    assert_eq!(
        owner.read(theirs).await["status"],
        "succeeded",
        "nothing happened to it"
    );
}

/// Everything of an answer but the request's id and the date.
fn comparable(answer: &crate::client::Answer) -> (u16, String, Vec<(String, String)>) {
    let id = answer.header("x-request-id");
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .filter(|(name, _)| {
            !["date", "x-request-id"].contains(&name.as_str()) && !name.starts_with("x-amz")
        })
        .collect();
    headers.sort();
    (answer.status, answer.text.replace(id, "the-id"), headers)
}

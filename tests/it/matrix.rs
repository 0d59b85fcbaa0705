//! The isolation matrix: every operation of the OpenAPI document with every kind of id that is not one's own.
//!
//! Whatever is asked for, an answer about somebody else's thing is, byte for byte, the answer about a thing that is not there.

use api::OPENAPI;
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{Answer, Client};
use crate::platform::{Running, shared};

/// Headers that differ between any two answers.
const PASSING: [&str; 4] = ["date", "ratelimit", "x-amzn-requestid", "x-request-id"];

/// One operation of the document.
struct Operation {
    id: String,
    method: Method,
    path: String,
}

impl Operation {
    fn all() -> Vec<Self> {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let paths = document["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods.iter().map(move |(method, operation)| Self {
                id: operation["operationId"].as_str().unwrap().to_owned(),
                method: method.to_uppercase().parse().unwrap(),
                path: path.clone(),
            })
        });
        operations.collect()
    }

    fn is_open(&self) -> bool {
        !self.path.starts_with("/v1/")
    }

    fn is_of_operators(&self) -> bool {
        self.path.starts_with("/v1/admin/")
    }

    fn parameters(&self) -> Vec<&str> {
        let segments = self.path.split('/');
        segments
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .collect()
    }

    /// A body that the operation would take, so that an answer is about the path.
    fn body(&self) -> Option<Value> {
        match &*self.id {
            "create_run" => Some(json!({"agent": "hello", "input": "x"})),
            "store_agent_version" => Some(json!({"model": "local.echo"})),
            "create_tenant" => Some(json!({"id": "matrix-made", "name": "M", "tier": "free"})),
            "change_tenant" => Some(json!({"name": "Changed"})),
            "issue_key" => Some(json!({"label": "matrix", "scopes": ["runs:read"]})),
            "set_budgets" => Some(json!({"budgets": []})),
            _ => None,
        }
    }

    async fn ask(&self, client: &Client, value: impl Fn(&str) -> String) -> Answer {
        let mut path = self.path.clone();
        for name in self.parameters() {
            path = path.replace(&format!("{{{name}}}"), &value(name));
        }
        let mut request = client.request(self.method.clone(), &path);
        if let Some(body) = self.body() {
            request = request.json(&body);
        }
        client.send(request).await
    }
}

/// What must not differ: status, lasting headers, the body but for the request's id.
fn lasting(answer: &Answer) -> (u16, Vec<(String, String)>, String) {
    let mut headers: Vec<_> = answer
        .headers
        .iter()
        .filter(|(name, _)| !PASSING.contains(&name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    headers.sort();
    let id = answer.header("x-request-id");
    (answer.status, headers, answer.text.replace(id, "-"))
}

/// A well-formed id of a thing that nobody has.
fn guessed(parameter: &str) -> String {
    match parameter {
        "run" => "run_00000000000000000000000000000000",
        "version" => "999",
        "node" => "project:nobody",
        _ => "nobody",
    }
    .to_owned()
}

const MALFORMED: [&str; 8] = [
    "a%23b",
    "..%2F..%2Fadmin",
    "%00",
    "%F0%9F%AA%BF",
    "RUN_0",
    "-",
    "a%20b",
    "0x1",
];

/// Another tenant with a run, an agent and a project, each of which exists.
async fn victim(running: &Running) -> impl Fn(&str) -> String + use<> {
    let client = running.tenant("matrix-victim").await;
    let agent = json!({"model": "local.echo", "description": "secret"});
    client.post("/v1/agents/secret-agent", &agent).await;
    let run = client.run("secret-agent", "x").await;
    let run = run["id"].as_str().unwrap().to_owned();
    move |parameter| match parameter {
        "run" => run.clone(),
        "agent" => "secret-agent".to_owned(),
        "version" => "1".to_owned(),
        "tenant" => "matrix-victim".to_owned(),
        other => guessed(other),
    }
}

#[tokio::test]
async fn without_a_key_no_operation_tells_anything() {
    let running = shared();
    for operation in Operation::all().iter().filter(|one| !one.is_open()) {
        let answer = operation.ask(&running.stranger(), guessed).await;
        answer.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn keys_of_tenants_and_of_operators_open_none_of_the_others_operations() {
    let running = shared();
    let tenant = running.tenant("matrix-tenant").await;
    let foreign = victim(running).await;
    for operation in Operation::all().iter().filter(|one| !one.is_open()) {
        let client = if operation.is_of_operators() {
            &tenant
        } else {
            &running.operator()
        };
        let answer = operation.ask(client, &foreign).await;
        answer.problem(403, "scope_missing");
    }
}

#[tokio::test]
async fn what_another_tenant_has_is_answered_as_what_nobody_has() {
    let running = shared();
    let client = running.tenant("matrix-curious").await;
    let foreign = victim(running).await;
    let mut asked = 0;
    for operation in Operation::all() {
        let stores = operation.id == "store_agent_version";
        if operation.is_of_operators() || operation.parameters().is_empty() || stores {
            continue;
        }
        let theirs = operation.ask(&client, &foreign).await;
        theirs.problem(404, "not_found");
        let nobodys = operation.ask(&client, guessed).await;
        assert_eq!(lasting(&theirs), lasting(&nobodys), "{}", operation.id);
        asked += 1;
    }
    assert!(asked >= 8, "{asked} operations have an id in their path");

    // Storing under an id that another tenant uses makes an agent of one's own, and leaves theirs alone.
    let own = json!({"model": "local.echo", "description": "mine"});
    let stored = client.post("/v1/agents/secret-agent", &own).await;
    assert_eq!(stored.expect(201)["version"], 1);
    let victim = running.tenant("matrix-victim").await;
    let theirs = victim.get("/v1/agents/secret-agent").await.expect(200);
    assert_eq!(
        (&theirs["version"], &theirs["definition"]["description"]),
        (&json!(1), &json!("secret"))
    );
}

#[tokio::test]
async fn a_stream_token_opens_its_run_and_is_nobody_everywhere_else() {
    let running = shared();
    let client = running.tenant("matrix-watched").await;
    let agent = json!({"model": "local.echo"});
    client.post("/v1/agents/watched", &agent).await;
    let run = client.run("watched", "x").await;
    let run = run["id"].as_str().unwrap();
    let path = format!("/v1/runs/{run}/stream-tokens");
    let made = client.post(&path, &json!({})).await.expect(201);
    let token = made["token"].as_str().unwrap();
    let watcher = Client::new(&running.platform.url, token);
    let own = |name: &str| match name {
        "run" => run.to_owned(),
        other => guessed(other),
    };
    let foreign = victim(running).await;
    for operation in Operation::all().iter().filter(|one| !one.is_open()) {
        if operation.id != "read_run_events" {
            let answer = operation.ask(&watcher, own).await;
            answer.problem(401, "unauthenticated");
            continue;
        }
        let followed = operation.ask(&watcher, own).await.expect(200);
        assert_eq!(followed["ended"], true);
        let theirs = operation.ask(&watcher, &foreign).await;
        theirs.problem(404, "not_found");
        let nobodys = operation.ask(&watcher, guessed).await;
        assert_eq!(lasting(&theirs), lasting(&nobodys));
    }
}

#[tokio::test]
async fn filters_by_what_another_tenant_has_find_what_filters_by_nothing_find() {
    let running = shared();
    let client = running.tenant("matrix-filters").await;
    let _secret_agent = victim(running).await;
    let theirs = client.get("/v1/runs?agent=secret-agent").await;
    let nobodys = client.get("/v1/runs?agent=nobody").await;
    assert_eq!(theirs.expect(200)["items"], json!([]));
    assert_eq!(lasting(&theirs), lasting(&nobodys));
}

#[tokio::test]
async fn malformed_ids_are_answered_as_things_that_are_not_there() {
    let running = shared();
    let tenant = running.tenant("matrix-clumsy").await;
    let operator = running.operator();
    for operation in Operation::all() {
        let client = if operation.is_of_operators() {
            &operator
        } else {
            &tenant
        };
        for parameter in operation.parameters() {
            let missing = operation.ask(client, guessed).await;
            if operation.id == "store_agent_version" || missing.status == 200 {
                continue;
            }
            missing.problem(404, "not_found");
            for malformed in MALFORMED
                .map(str::to_owned)
                .into_iter()
                .chain(["a".repeat(300)])
            {
                let with = |name: &str| {
                    if name == parameter {
                        malformed.clone()
                    } else {
                        guessed(name)
                    }
                };
                let answer = operation.ask(client, with).await;
                let place = format!("{} {parameter}={malformed}", operation.id);
                assert_eq!(lasting(&answer), lasting(&missing), "{place}");
            }
        }
    }
}

//! What whoever runs the platform asks: dead letters, stuck runs, tenants by usage, maintenance, flags.

use domain::run::Status;
use domain::usage::{Subject, Usage};
use local::sqs::SendOptions;
use local::wire::{Fault, Rule};
use store::Ended;

use super::*;

const MINUTE_MS: u64 = 60_000;

/// A world, an operator's key and a tenant's.
async fn staffed() -> (World, String, String) {
    let world = world().await;
    let operator = world.key("operator", auth::OPERATOR_SCOPES).await;
    let acme = world.tenant("acme").await;
    (world, operator, acme)
}

impl World {
    async fn ask_json(&self, method: Method, key: &str, path: &str, body: Value) -> Answer {
        self.ask(method, key, path, &[], Some(body.to_string()))
            .await
    }

    /// What the operators' trail tells, but for keys: action, subject, state.
    async fn told(&self) -> Vec<(String, String, Value)> {
        let operator = TenantId::parse("operator").unwrap();
        let page = self.api.engine.store.audit(&operator, 0, 100).await;
        let changes = page.unwrap().items.into_iter().map(|entry| entry.change);
        let acts =
            changes.filter(|it| it.action.starts_with("main") || it.action.starts_with("dead"));
        acts.map(|it| (it.action, it.subject, it.state)).collect()
    }
}

#[tokio::test]
async fn an_operators_route_is_no_tenants_and_a_reader_changes_nothing() {
    let (world, _, acme) = staffed().await;
    let reader = world.key("operator", &["admin:read"]).await;
    let reads = [
        "/v1/admin/dlq",
        "/v1/admin/dlq/tasks",
        "/v1/admin/runs/stuck",
        "/v1/admin/usage",
        "/v1/admin/maintenance",
    ];
    for path in reads {
        assert_eq!(world.get("", path).await.status, StatusCode::UNAUTHORIZED);
        let theirs = world.get(&acme, path).await;
        assert_eq!(
            (theirs.status, &*theirs.code()),
            (StatusCode::FORBIDDEN, "scope_missing")
        );
        assert_ne!(world.get(&reader, path).await.status, StatusCode::FORBIDDEN);
    }
    let notice = json!({"message": "Back at noon."});
    let writes = [
        (Method::POST, "/v1/admin/dlq/tasks/redrive", json!({})),
        (Method::PUT, "/v1/admin/maintenance", notice),
        (Method::DELETE, "/v1/admin/maintenance", json!({})),
    ];
    for (method, path, body) in writes {
        for key in [&acme, &reader] {
            let refused = world
                .ask_json(method.clone(), key, path, body.clone())
                .await;
            assert_eq!(refused.code(), "scope_missing", "{method} {path}");
        }
    }
    assert_eq!(world.told().await, []);
}

#[tokio::test]
async fn while_there_is_maintenance_nothing_begins_and_what_is_under_way_goes_on() {
    let (world, operator, acme) = staffed().await;
    let request = json!({"agent": "echo", "input": "hello"});
    let under_way = world.post(&acme, "/v1/runs", &request).await.json();
    let run = under_way["id"].as_str().unwrap();
    let path = "/v1/admin/maintenance";
    let notice = json!({"message": " Back at noon. ", "retry_after_seconds": 600});
    let said = world.ask_json(Method::PUT, &operator, path, notice).await;
    assert_eq!(said.status, StatusCode::OK, "{said:?}");
    assert_eq!(said.json()["message"], "Back at noon.");
    // At once in a process that has not asked before, elsewhere within half a minute.
    let new = world.elsewhere();
    assert_eq!(
        new.post(&acme, "/v1/runs", &request).await.code(),
        "maintenance"
    );
    world.pass(30_000);
    let cancel = format!("/v1/runs/{run}/cancel");
    let agent = json!({"model": "local.echo"});
    for (method, path, body) in [
        (Method::POST, "/v1/runs", request.clone()),
        (Method::POST, &*cancel, json!({})),
        (Method::POST, "/v1/agents/other", agent),
        (Method::DELETE, "/v1/agents/echo", json!({})),
    ] {
        let refused = world.ask_json(method, &acme, path, body).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(refused.header("retry-after"), "600");
        let problem = refused.json();
        assert_eq!(problem["code"], "maintenance");
        assert_eq!(problem["detail"], "Back at noon.");
    }
    for path in [
        "/v1/runs",
        "/v1/agents/echo",
        &format!("/v1/runs/{run}/events"),
    ] {
        assert_eq!(
            world.get(&acme, path).await.status,
            StatusCode::OK,
            "{path}"
        );
    }
    world.drive("acme", run).await;
    let ended = world.get(&acme, &format!("/v1/runs/{run}")).await.json();
    assert_eq!(ended["status"], "succeeded", "{ended}");
    let other = json!({"id": "other", "name": "Other", "tier": "free"});
    let onboarded = world.post(&operator, "/v1/admin/tenants", &other).await;
    assert_eq!(onboarded.status, StatusCode::CREATED, "an operator may");

    let over = world
        .ask_json(Method::DELETE, &operator, path, json!({}))
        .await;
    assert_eq!(over.json(), json!({"on": false}));
    world.pass(30_000);
    let accepted = world.post(&acme, "/v1/runs", &request).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
}

#[tokio::test]
async fn maintenance_said_again_changes_nothing_and_is_told_once() {
    let (world, operator, _) = staffed().await;
    let path = "/v1/admin/maintenance";
    let put = async |message: &str| {
        let notice = json!({ "message": message });
        world.ask_json(Method::PUT, &operator, path, notice).await
    };
    let first = put("Back at noon.").await.json();
    world.pass(1);
    assert_eq!(put("Back at noon.").await.json(), first);
    // An answer that is lost leaves what was said.
    world
        .faults
        .add(Rule::new(Fault::LoseResponse).on("TransactWriteItems"));
    put("Back at one.").await;
    world.faults.clear();
    let second = put("Back at one.").await.json();
    assert_eq!(world.get(&operator, path).await.json(), second);
    for _ in 0..2 {
        world
            .ask_json(Method::DELETE, &operator, path, json!({}))
            .await;
    }
    let told = world.told().await;
    let actions: Vec<_> = told.iter().map(|(action, ..)| action.as_str()).collect();
    assert_eq!(
        actions,
        ["maintenance.on", "maintenance.on", "maintenance.off"]
    );
    assert_eq!(told[1].2["message"], "Back at one.");
    assert_eq!(put(" ").await.code(), "invalid_body");
}

#[tokio::test]
async fn while_it_cannot_be_read_whether_there_is_maintenance_requests_pass() {
    let (world, _, acme) = staffed().await;
    world.pass(30_000);
    let asked = Rule::new(Fault::FailBefore)
        .on("GetItem")
        .containing("MAINTENANCE");
    world.faults.add(asked);
    let request = json!({"agent": "echo", "input": "hello"});
    let accepted = world.post(&acme, "/v1/runs", &request).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED, "{accepted:?}");
}

#[tokio::test]
async fn a_feature_that_is_switched_off_is_refused_until_it_is_as_before() {
    let (world, operator, acme) = staffed().await;
    let request = json!({"agent": "echo", "input": "hello"});
    let run = world.post(&acme, "/v1/runs", &request).await.json();
    let events = format!("/v1/runs/{}/events", run["id"].as_str().unwrap());
    let path = "/v1/admin/tenants/acme";
    let switch = async |flags: Value| {
        let body = json!({ "flags": flags });
        let changed = world.ask_json(Method::PATCH, &operator, path, body).await;
        world.pass(MINUTE_MS);
        changed
    };
    let streamed = async || {
        let sse = [("accept", "text/event-stream")];
        let begun = world.post_with(&acme, "/v1/runs", &sse, &request).await;
        let last = format!("{events}?after=1");
        let read = world.ask(Method::GET, &acme, &last, &sse, None);
        (begun, read.await)
    };
    let off = switch(json!({"streaming": false})).await.json();
    assert_eq!(
        off["flags"],
        json!({"streaming": false, "tool.http_get": true})
    );
    assert_eq!(off["revision"], 2);
    let (begun, read) = streamed().await;
    for refused in [begun, read] {
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
        assert_eq!(refused.code(), "switched_off");
        assert!(refused.text.contains("`streaming`"), "{refused:?}");
    }
    assert_eq!(world.get(&acme, &events).await.status, StatusCode::OK);
    let accepted = world.post(&acme, "/v1/runs", &request).await;
    assert_eq!(accepted.status, StatusCode::ACCEPTED);
    let unknown = switch(json!({"streamng": false})).await;
    assert_eq!(unknown.code(), "invalid_body");
    assert!(
        unknown.text.contains("there is no flag `streamng`"),
        "{unknown:?}"
    );
    let again = switch(json!({"streaming": false})).await.json();
    assert_eq!(again["revision"], 2, "what is so already is no change");
    switch(json!({"streaming": null})).await;
    world.drive("acme", run["id"].as_str().unwrap()).await;
    let (begun, _) = streamed().await;
    assert_eq!(begun.status, StatusCode::OK, "{begun:?}");
    let acme = TenantId::parse("acme").unwrap();
    let trail = world.api.engine.store.audit(&acme, 0, 100).await.unwrap();
    let changes = trail.items.iter().map(|entry| &entry.change);
    let flags = changes.filter(|it| it.action == "tenant.changed");
    let flags: Vec<_> = flags.map(|it| it.state["flags"].clone()).collect();
    assert_eq!(flags, [json!({"streaming": false}), Value::Null]);
}

#[tokio::test]
async fn dead_letters_are_listed_shown_and_sent_back_and_the_trail_tells_of_it() {
    let (world, operator, acme) = staffed().await;
    let none = world.get(&operator, "/v1/admin/dlq").await.json();
    assert_eq!(
        none["items"],
        json!([]),
        "these queues have nothing behind them"
    );
    for queue in QUEUES {
        world
            .queues
            .create(&format!("{queue}-dlq"), &BTreeMap::new())
            .unwrap();
        let target = local::sqs::arn(&format!("{queue}-dlq"));
        let policy = json!({"deadLetterTargetArn": target, "maxReceiveCount": 10});
        let attributes = BTreeMap::from([("RedrivePolicy".to_owned(), policy.to_string())]);
        world
            .queues
            .create(&format!("{queue}-again"), &attributes)
            .unwrap();
    }
    let mut config = queue_config();
    config.standard_url = local::sqs::url("standard-again");
    config.tasks_url = local::sqs::url("tasks-again");
    let mut api = world.api.clone();
    let sqs = aws_sdk_sqs::Client::new(&sdk(world.queues.router()));
    api.engine.queue = Queue::new(sqs, None, config);
    let world = World {
        router: router(api.clone(), routes::routes()),
        api,
        ..world
    };
    let request = json!({"agent": "echo", "input": "a secret of acme's"});
    let run = world.post(&acme, "/v1/runs", &request).await.json();
    // Its message is given up.
    let given_up = world
        .queues
        .receive("standard-again", 1, Duration::ZERO)
        .await;
    let options = SendOptions::default();
    let body = given_up[0].body.clone();
    world
        .queues
        .send("standard-dlq", body, options.clone())
        .unwrap();
    world
        .queues
        .delete("standard-again", &given_up[0].receipt_handle);
    world
        .queues
        .send("standard-dlq", "{}".to_owned(), options)
        .unwrap();

    let listed = world.get(&operator, "/v1/admin/dlq").await.json();
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.len(), 2, "{listed}");
    assert_eq!(
        (&items[0]["queue"], &items[0]["waiting"]),
        (&json!("runs-standard"), &json!(2))
    );
    assert!(items[0]["oldest_sent_at"].is_string() && items[1]["oldest_sent_at"].is_null());
    let path = "/v1/admin/dlq/runs-standard";
    let shown = world.get(&operator, path).await;
    assert!(!shown.text.contains("secret"), "{shown:?}");
    let shown = shown.json();
    let letters = shown["items"].as_array().unwrap();
    let of_run = letters.iter().find(|it| it["kind"] == "run").unwrap();
    assert_eq!(
        (&of_run["run"], &of_run["tenant"]),
        (&run["id"], &json!("acme"))
    );
    assert!(letters.iter().any(|it| it["malformed"].is_string()));

    let redrive = format!("{path}/redrive");
    let one = json!({"messages": [of_run["id"]]});
    let moved = world.post(&operator, &redrive, &one).await.json();
    assert_eq!(moved, json!({"moved": 1, "failed": 0, "left": 1}));
    let back = world
        .queues
        .receive("standard-again", 1, Duration::ZERO)
        .await;
    assert!(back[0].body.contains(run["id"].as_str().unwrap()));
    let rest = world.post(&operator, &redrive, &json!({})).await.json();
    assert_eq!(rest, json!({"moved": 1, "failed": 0, "left": 0}));
    let told = world.told().await;
    let subjects = told
        .iter()
        .map(|(action, subject, _)| format!("{action} {subject}"));
    let expected = "dead_letters.redriven queue:runs-standard";
    assert_eq!(subjects.collect::<Vec<_>>(), [expected, expected]);
    assert_eq!(told[0].2["messages"][0], of_run["id"]);

    assert_eq!(
        world.get(&operator, "/v1/admin/dlq/bogus").await.code(),
        "not_found"
    );
    let nothing_behind = "/v1/admin/dlq/runs-batch/redrive";
    assert_eq!(
        world
            .post(&operator, nothing_behind, &json!({}))
            .await
            .code(),
        "not_found"
    );
    for wrong in [
        json!({"limit": 0}),
        json!({"limit": 1_001}),
        json!({"messages": []}),
        json!({"messages": ["a"], "limit": 1}),
    ] {
        let refused = world.post(&operator, &redrive, &wrong).await;
        assert_eq!(refused.code(), "invalid_body", "{wrong}");
    }
    // Nothing is sent back that the trail cannot tell of.
    world
        .faults
        .add(Rule::new(Fault::FailBefore).on("TransactWriteItems"));
    let tasks = "/v1/admin/dlq/tasks/redrive";
    assert_eq!(
        world.post(&operator, tasks, &json!({})).await.code(),
        "unavailable"
    );
}

#[tokio::test]
async fn runs_on_which_nobody_is_at_work_are_listed_whosever_they_are() {
    let (world, operator, acme) = staffed().await;
    let other = world.tenant("other").await;
    let request = json!({"agent": "echo", "input": "hello"});
    let mut runs = Vec::new();
    for key in [&acme, &other] {
        let run = world.post(key, "/v1/runs", &request).await.json();
        runs.push(run["id"].as_str().unwrap().to_owned());
        world.pass(10_000);
    }
    let stuck = async |query: &str| {
        let path = format!("/v1/admin/runs/stuck{query}");
        world.get(&operator, &path).await
    };
    let none = stuck("").await.json();
    assert_eq!(
        (&none["items"], &none["looked_at"]),
        (&json!([]), &json!(2))
    );
    world.pass(45_000);
    let first = stuck("").await.json();
    assert_eq!(first["items"].as_array().unwrap().len(), 1, "{first}");
    assert_eq!(first["items"][0]["run"], *runs[0]);
    assert_eq!(first["items"][0]["age_seconds"], 65);
    let both = stuck("?older_than=25").await.json();
    assert_eq!(both["reasons"], json!({"not_taken_up": 2}));
    assert_eq!(both["items"][1]["tenant"], "other");
    assert_eq!(both["is_whole"], true);
    assert_eq!(
        stuck("?older_than=25&limit=1").await.json()["reasons"],
        both["reasons"]
    );
    // That the janitor has looked and put them off hides none of them.
    world.api.engine.sweep().await.unwrap();
    assert_eq!(stuck("?older_than=25").await.json()["items"], both["items"]);
    world.drive("acme", &runs[0]).await;
    let left = stuck("").await.json();
    assert_eq!(
        (&left["items"], &left["looked_at"]),
        (&json!([]), &json!(1))
    );
    assert_eq!(stuck("?older_than=24").await.code(), "invalid_parameter");
}

#[tokio::test]
async fn tenants_are_listed_by_what_they_used_with_what_it_cost_to_read() {
    let (world, operator, _) = staffed().await;
    world.tenant("other").await;
    world.tenant("idle").await;
    let store = &world.api.engine.store;
    for (number, (tenant, runs, cost)) in [("acme", 1, 900), ("other", 3, 100)]
        .into_iter()
        .enumerate()
    {
        let ended: Vec<_> = (0..runs)
            .map(|run| Ended {
                run: RunId::from_bytes([u8::try_from(number * 10 + run).unwrap(); 16]),
                at: NOW,
                subject: Subject::default(),
                usage: Usage {
                    cost_micro_usd: cost,
                    ..Usage::of(Status::Succeeded, &Default::default())
                },
                service: domain::service::Service::default(),
            })
            .collect();
        let tenant = TenantId::parse(tenant).unwrap();
        store.count_usage(&tenant, &ended).await.unwrap();
    }
    let top = async |query: &str| {
        let path = format!("/v1/admin/usage{query}");
        world.get(&operator, &path).await
    };
    let tenants = |answer: &Answer| -> Vec<Value> {
        let items = answer.json()["items"].as_array().unwrap().clone();
        items
            .into_iter()
            .map(|item| item["tenant"].clone())
            .collect()
    };
    let by_cost = top("").await;
    assert_eq!(tenants(&by_cost), ["acme", "other"]);
    let by_cost = by_cost.json();
    assert_eq!(
        (
            &by_cost["total"]["runs"],
            &by_cost["total"]["cost_micro_usd"]
        ),
        (&json!(4), &json!(1_200))
    );
    // The list, and the days of each: acme, idle, operator, other. A process that has met none of them needs no more.
    let new = world.elsewhere();
    let told = new.get(&operator, "/v1/admin/usage").await.json();
    assert_eq!(told["reads"], 5);
    assert_eq!(
        (&by_cost["tenants"], &by_cost["reads"]),
        (&json!(4), &json!(5))
    );
    assert!(by_cost["read_units"].as_f64().unwrap() > 0.0);
    assert_eq!(tenants(&top("?by=runs&limit=1").await), ["other"]);
    assert_eq!(tenants(&top("?by=failed_runs").await), Vec::<Value>::new());
    let before = "?from=2023-11-01T00:00:00Z&to=2023-11-02T00:00:00Z&interval=hour";
    assert_eq!(tenants(&top(before).await), Vec::<Value>::new());
    assert_eq!(top("?by=size").await.code(), "invalid_parameter");
    assert_eq!(top("?group_by=agent").await.code(), "invalid_parameter");
}

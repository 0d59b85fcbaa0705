//! What whoever runs the platform asks and switches, with real functions that have no more rights than on AWS.

use dev::{Cloud, CloudConfig, Isolation};
use local::sqs::SendOptions;
use local::wire::{Fault, Rule};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::Client;
use crate::platform::{Running, demo, onboard_in};
use crate::world::{Delivery, World, tenant};

/// With a table that a tenant has for itself.
async fn running() -> Running {
    let config = CloudConfig {
        isolation: Isolation::Session,
        tenant_tables: vec!["skein-globex".to_owned()],
        ..CloudConfig::default()
    };
    Running::start(Cloud::open(None, config).await.unwrap()).await
}

async fn ask(client: &Client, method: Method, path: &str, body: &Value) -> Value {
    let request = client.request(method, path).json(body);
    client.send(request).await.expect(200)
}

#[tokio::test]
async fn a_run_whose_message_was_given_up_ends_once_that_goes_back() {
    let running = running().await;
    let (cloud, operator) = (running.cloud(), running.operator());
    // The first that tenants ask: so no process believes yet that there is none.
    let (path, none) = ("/v1/admin/maintenance", json!({}));
    let notice = json!({"message": "Back at noon.", "retry_after_seconds": 30});
    ask(&operator, Method::PUT, path, &notice).await;
    let (client, body) = (running.demo(), json!({"agent": "hello", "input": "hello"}));
    let refused = client.post("/v1/runs", &body).await;
    let problem = refused.problem(503, "maintenance");
    assert_eq!(problem["detail"], "Back at noon.");
    assert_eq!(refused.header("retry-after"), "30");
    client.get("/v1/runs").await.expect(200);
    let over = ask(&operator, Method::DELETE, path, &none).await;
    assert_eq!(over, json!({"on": false}));

    // A run that nobody is told of, of a tenant in a table of its own, and the message that was given up.
    let engine = cloud.engine(None);
    let globex = domain::id::TenantId::parse("globex").unwrap();
    let home = domain::tenant::Isolation::Bridge {
        table: "skein-globex".to_owned(),
    };
    onboard_in(&engine.store, globex.as_str(), home).await;
    let mut new = World::request(1, "hello");
    (new.tenant, new.agent.id) = (globex.clone(), domain::id::AgentId::parse("echo").unwrap());
    let agent = serde_json::from_value(json!({"model": "local.echo"})).unwrap();
    let stored = engine
        .store
        .put_agent(&globex, &new.agent.id, &agent, engine.now());
    stored.await.unwrap();
    let run = new.run.clone();
    cloud
        .faults
        .add(Rule::new(Fault::FailBefore).on("SendMessage"));
    assert!(engine.create(new).await.unwrap_err().is_transient());
    cloud.faults.clear();
    let message = json!({"v": 1, "type": "run", "tenant": "globex", "run": run});
    for body in [message.to_string(), "not a message".to_owned()] {
        let options = SendOptions::default();
        cloud
            .queues
            .send("runs-standard-dlq", body, options)
            .unwrap();
    }

    let listed = operator.get("/v1/admin/dlq").await.expect(200);
    let waiting: Vec<_> = listed["items"].as_array().unwrap().iter().collect();
    assert_eq!(waiting.len(), 5, "{listed}");
    assert_eq!(waiting[1]["waiting"], 2, "{listed}");
    let path = "/v1/admin/dlq/runs-standard";
    let shown = operator.get(path).await.expect(200);
    let letters = shown["items"].as_array().unwrap();
    let of_run = letters.iter().find(|letter| letter["run"] == json!(run));
    let id = &of_run.unwrap()["id"];
    let body = json!({ "messages": [id] });
    let moved = ask(&operator, Method::POST, &format!("{path}/redrive"), &body).await;
    assert_eq!(moved, json!({"moved": 1, "failed": 0, "left": 1}));
    let ended = async || {
        let read = engine.store.read(&globex, &run, true).await.unwrap();
        read.unwrap().0.status.is_terminal()
    };
    while !ended().await {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }

    let stuck = operator.get("/v1/admin/runs/stuck").await.expect(200);
    assert_eq!(
        (&stuck["items"], &stuck["is_whole"]),
        (&json!([]), &json!(true))
    );
    let top = operator.get("/v1/admin/usage?by=runs").await.expect(200);
    assert_eq!(
        (&top["unread"], &top["is_whole"]),
        (&json!([]), &json!(true))
    );
    let trail = "/v1/admin/tenants/operator/audit?limit=100";
    let trail = operator.get(trail).await.expect(200);
    let actions = trail["items"].as_array().unwrap().iter();
    let actions: Vec<_> = actions
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    for action in ["maintenance.on", "maintenance.off", "dead_letters.redriven"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    assert_eq!(cloud.iam.refused(), 0, "{}", running.last_lines());
    running.platform.stop().await;
}

#[tokio::test]
async fn a_table_of_a_tenants_own_that_does_not_answer_hides_no_others_runs() {
    let config = CloudConfig {
        tenant_tables: vec!["skein-demo".to_owned()],
        ..CloudConfig::default()
    };
    let world = World::with(config, json!({"model": "local.echo"})).await;
    let engine = world.engine();
    assert!(engine.stuck(60_000).await.unwrap().is_whole);
    let theirs = Rule::new(Fault::FailBefore).containing("\"skein-demo\"");
    world.cloud.faults.add(theirs);
    assert!(!engine.stuck(60_000).await.unwrap().is_whole);
    world.cloud.faults.add(Rule::new(Fault::FailBefore));
    assert!(engine.stuck(60_000).await.unwrap_err().is_transient());
}

#[tokio::test]
async fn a_tool_that_is_switched_off_fails_and_the_run_goes_on() {
    let agent = json!({"model": "local.tools", "tools": ["http_get"]});
    let world = World::new(agent).await;
    let engine = world.engine();
    let old = engine.store.tenant(&tenant()).await.unwrap().unwrap();
    let mut new = old.clone();
    new.flags.insert("tool.http_get".to_owned(), false);
    new.revision += 1;
    engine.put_tenant(&new, Some(&old)).await.unwrap();
    assert_eq!(tenant(), demo());
    let process = world.process(Delivery::default());
    let request = World::request(1, "fetch http://127.0.0.1:9/x");
    let run = world.create(&engine, request).await;
    let states = world.ended(&[run]).await;
    let answer = format!("{:?}", states[0]);
    assert!(answer.contains("switched_off: "), "{answer}");
    process.crash().await;
}

//! What functions write into their logs, and what they never do.

use serde_json::{Value, json};

use crate::platform::Running;

/// Stands in prompts, answers, arguments, labels and metadata, and must stand in no line.
const CANARY: &str = "cormorant7f3a";

/// The lines that are of ours and of this function.
fn lines_of(running: &Running, function: &str) -> Vec<Value> {
    let prefix = format!("{function}: ");
    let lines = running.lines();
    let of_function = lines.iter().filter_map(|line| line.strip_prefix(&prefix));
    let json = of_function.map(serde_json::from_str);
    json.filter_map(Result::ok).collect()
}

#[tokio::test]
async fn no_line_holds_a_key_a_prompt_or_an_answer_at_any_level() {
    let running = Running::own_in(&[("SKEIN_LOG", "debug")]).await;
    let client = running.tenant("quiet").await;
    let definition = |model: &str| {
        json!({
            "model": model, "tools": ["calculator", "slow_research", "http_get"],
            "system": format!("Be a {CANARY}."), "description": CANARY,
        })
    };
    let agent = client.agent(&definition("local.tools")).await;
    let flaky = client.agent(&definition("local.flaky")).await;
    let run = client
        .run(&agent, &format!("research {CANARY}, then 1+1"))
        .await;
    assert_eq!(run["status"], "succeeded", "{}", running.last_lines());
    // Failures are what logs are written of: a model that says no, one that breaks off, arguments that are nonsense.
    for failure in ["deny", "fault", "refuse", "bad arguments", "cut stream"] {
        client.run(&flaky, &format!("{failure} {CANARY}")).await;
    }
    let body =
        json!({"agent": agent, "input": CANARY, "metadata": {"label": CANARY}, "lane": CANARY});
    client.post("/v1/runs", &body).await.expect(422);
    running.platform.stop().await;
    let lines = running.lines();
    let heard = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(
        heard("an effect begins") && heard("LLMCost"),
        "{}",
        running.last_lines()
    );
    for line in &lines {
        assert!(!line.contains(CANARY), "{line}");
        assert!(!line.contains("skn_quiet_"), "{line}");
    }
}

#[tokio::test]
async fn a_line_of_a_drive_names_tenant_run_and_what_the_former_systems_counted() {
    let running = Running::own_in(&[("SKEIN_METRICS_BY_TENANT", "true")]).await;
    let client = running.tenant("counted").await;
    let agent = client.agent(&json!({"model": "local.echo"})).await;
    let run = client.create(&agent, "hello").await;
    client.ended(&run).await;
    running.platform.stop().await;
    let drives = lines_of(&running, "orchestrator");
    let drive = drives.iter().find(|line| line["run.id"] == run.as_str());
    let drive = drive.unwrap_or_else(|| panic!("{}", running.last_lines()));
    assert!(drive.to_string().len() <= 1_024, "{drive}");
    assert_eq!(drive["tenant.id"], "counted");
    assert!(drive["LLMCost"].as_f64().unwrap() > 0.0, "{drive}");
    assert_eq!(
        (&drive["Model"], &drive["TenantId"]),
        (&json!("local.echo"), &json!("counted"))
    );
    let dimensions = &drive["_aws"]["CloudWatchMetrics"][0]["Dimensions"];
    assert_eq!(*dimensions, json!([["service"], ["Model", "TenantId"]]));
    let requests = lines_of(&running, "stream");
    let requests = requests.iter().filter(|line| line["TenantId"] == "counted");
    let mut created = requests.filter(|line| line["Endpoint"] == "POST /v1/runs");
    let created = created
        .next()
        .unwrap_or_else(|| panic!("{}", running.last_lines()));
    assert_eq!(created["RequestsPerTenant"], 1.0);
}

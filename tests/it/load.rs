//! Loads: what they count, and that a target that is missed is told.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use load::{Error, Measured, Outcome, Report, Scenario, drive};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use crate::client::Client;
use crate::platform::{shared, within};

/// Forty requests in four seconds, of which sixteen create a run. The targets of time are far away: other tests run meanwhile.
const SMALL: &str = r#"
    description = "forty requests"
    stages = [{ lasts = "2s", from = "5/s", to = "15/s" }, { lasts = "2s", rate = "10/s" }]
    mix = { create_run = 2, read_run = 1, list_runs = 1, read_agent = 1 }

    [agent]
    id = "small"
    input = "What is 17 * 23 + 4?"

    [agent.definition]
    model = "local.tools-20"
    tools = ["calculator"]

    [targets]
    errors_percent = 0
    failed_runs_percent = 0
    lag_cleared_ms = 60000
    overhead_p95_ms = 60000
"#;

fn small() -> Scenario {
    Scenario::parse("small", SMALL).unwrap()
}

async fn make(scenario: &Scenario, client: &Client) -> Result<Measured, Error> {
    let api = client.load_api();
    within(drive(scenario, api, None, |_| {}, pending())).await
}

/// The titles of targets that were missed.
fn missed(scenario: &Scenario, measured: &Measured) -> Vec<&'static str> {
    let report = Report::new(scenario, measured, "");
    let missed = report.verdicts().iter();
    missed
        .filter(|verdict| verdict.outcome == Outcome::Missed)
        .map(|verdict| verdict.figure.title())
        .collect()
}

#[tokio::test]
async fn a_load_makes_its_scenarios_requests_and_follows_every_run_to_its_end() {
    let client = shared().tenant("load-small").await;
    let scenario = small();
    let measured = make(&scenario, &client).await.unwrap();

    assert_eq!(
        missed(&scenario, &measured),
        [""; 0],
        "{:?}",
        measured.failures
    );
    assert_eq!((measured.requests(), measured.failed()), (40, 0));
    let counts = measured.operations.each_ref().map(|(took, _)| took.len());
    assert_eq!(counts, [16, 8, 8, 8]);
    let runs = &measured.runs;
    assert_eq!((runs.created, runs.succeeded), (16, 16));
    assert_eq!((runs.lost, runs.unfinished), (0, 0));
    assert_eq!((runs.wait.len(), runs.whole.len()), (16, 16));
    // Two steps of a model of 20 ms, which is no overhead; true to a millisecond each.
    assert!(runs.whole.percentile_ms(0.0) >= Some(38.0));
    let longest = runs.whole.max_ms().zip(runs.overhead.max_ms());
    assert!(
        longest.is_some_and(|(whole, overhead)| overhead <= whole - 36.0),
        "{longest:?}"
    );
    assert!(runs.costs.model_micro_usd > 0);
    assert!(runs.costs.receipts > 0 && runs.costs.platform_pico_usd > 0.0);
    // By time it is the same.
    let sum = |count: fn(&load::Bin) -> u64| measured.bins.iter().map(count).sum::<u64>();
    assert_eq!(sum(|bin| bin.latency.len()), 40);
    assert_eq!(sum(|bin| bin.wait.len()), 16);
    assert_eq!(sum(|bin| bin.failed + bin.failed_runs), 0);
    // The platform holds these runs and the first one, which the load read until it had others.
    let (listed, _) = client.list("/v1/runs", &[("limit", "100")]).await;
    assert_eq!(listed.len(), 16 + 1);
}

#[tokio::test]
async fn runs_that_fail_miss_the_target_and_say_why() {
    let client = shared().tenant("load-faulty").await;
    let mut scenario = small().scaled(0.25, None).unwrap();
    let definition = scenario.agent.definition.as_mut().unwrap();
    definition.insert("model".to_owned(), json!("local.flaky"));
    scenario.agent.input = "refuse".to_owned();
    let measured = make(&scenario, &client).await.unwrap();

    assert_eq!(missed(&scenario, &measured), ["runs that did not succeed"]);
    assert_eq!(measured.runs.failed["model_refused"], 4);
    assert_eq!(measured.runs.succeeded, 0);
    // The requests went well all the same.
    assert_eq!(measured.failed(), 0);
}

#[tokio::test]
async fn requests_that_are_refused_miss_the_target_and_say_why() {
    let operator = shared().operator();
    let tenant = json!({"id": "load-limited", "name": "l", "tier": "free"});
    operator
        .post("/v1/admin/tenants", &tenant)
        .await
        .expect(201);
    let windows = json!([{"name": "perday", "requests": 12, "seconds": 86400, "by": "tenant"}]);
    let limits = json!({"overrides": {"windows": windows}});
    let path = "/v1/admin/tenants/load-limited";
    let request = operator.request(reqwest::Method::PATCH, path).json(&limits);
    operator.send(request).await.expect(200);
    let issued = operator
        .post(&format!("{path}/keys"), &json!({"label": "load"}))
        .await;
    let key = issued.expect(201)["key"].as_str().unwrap().to_owned();
    let client = Client::new(&shared().platform.url, &key);

    // What follows runs is refused as well, so it does not wait for them long.
    let mut scenario = small();
    scenario.settles_in = Duration::from_secs(2);
    let measured = make(&scenario, &client).await.unwrap();
    let missed = missed(&scenario, &measured);
    assert!(missed.contains(&"failed requests"), "{missed:?}");
    assert!(missed.contains(&"runs that did not succeed"), "{missed:?}");
    // Two were spent before it began.
    let refused = measured.failures["rate_limited"];
    assert!((28..40).contains(&refused), "{refused}");
    assert_eq!(measured.requests(), 40);
    assert!(measured.runs.unfinished > 0);
}

#[tokio::test]
async fn a_load_does_not_begin_without_its_agent() {
    let client = shared().tenant("load-without").await;
    let mut scenario = small();
    scenario.agent.definition = None;
    let refused = make(&scenario, &client).await.unwrap_err();
    let Error::Refused(problem) = refused else {
        panic!("{refused}");
    };
    assert_eq!(problem["status"], 404);
}

#[tokio::test]
async fn a_load_that_is_stopped_before_its_first_request_has_met_no_target() {
    let client = shared().tenant("load-stopped").await;
    let scenario = small();
    let stopped = drive(&scenario, client.load_api(), None, |_| {}, async {});
    let measured = within(stopped).await.unwrap();
    assert!(measured.is_stopped);
    assert_eq!(measured.requests(), 0);
    assert_eq!(missed(&scenario, &measured).len(), scenario.targets.len());
}

/// A platform that accepts every run, lists none, and answers this when one is read.
async fn pretender(read: (StatusCode, Json<Value>)) -> Client {
    let created = json!({"id": "run_1", "created_at": "2026-11-27T22:10:05.678Z"});
    let routes = Router::new()
        .route("/v1/agents/{agent}", post(Json(json!({}))))
        .route(
            "/v1/runs",
            get(Json(json!({"items": [], "next_cursor": ""})))
                .post((StatusCode::ACCEPTED, Json(created))),
        )
        .route("/v1/runs/{run}", get(move || async { read }));
    served(routes).await
}

async fn served(routes: Router) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, routes).await });
    Client::new(&url, "key")
}

/// One run, since a pretender's all have the same id.
fn lone() -> Scenario {
    let mut scenario = small().scaled(0.025, None).unwrap();
    scenario.mix.read_run = 0;
    scenario.settles_in = Duration::from_secs(3);
    scenario
}

#[tokio::test]
async fn a_run_that_the_platform_does_not_know_any_more_is_lost() {
    let problem = Json(json!({"code": "not_found", "status": 404}));
    let client = pretender((StatusCode::NOT_FOUND, problem)).await;
    let measured = make(&lone(), &client).await.unwrap();
    assert_eq!((measured.runs.created, measured.runs.lost), (1, 1));
    assert!(missed(&lone(), &measured).contains(&"runs that did not succeed"));
}

#[tokio::test]
async fn a_run_that_does_not_end_is_waited_for_no_longer_than_the_scenario_says() {
    let running = Json(json!({"id": "run_1", "status": "running"}));
    let client = pretender((StatusCode::OK, running)).await;
    let measured = make(&lone(), &client).await.unwrap();
    assert_eq!((measured.runs.created, measured.runs.unfinished), (1, 1));
    assert_eq!(measured.runs.lag_cleared, None);
}

/// It serves one request after the other, each in 50 ms; twice as many come. Clients that waited for their answers would
/// see little of that.
#[tokio::test]
async fn a_platform_that_cannot_keep_up_does_not_slow_the_load_down() {
    async fn slow(State(turn): State<Arc<Mutex<()>>>) -> Json<Value> {
        let _turn = turn.lock().await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        Json(json!({}))
    }
    let routes = Router::new().route("/v1/agents/{agent}", get(slow).post(slow));
    let client = served(routes.with_state(Arc::default())).await;
    let mut scenario = small();
    scenario.mix = load::Mix {
        read_agent: 1,
        ..load::Mix::default()
    };
    scenario.stages = vec![load::Stage {
        lasts: Duration::from_secs(1),
        from: 40.0,
        to: 40.0,
    }];
    let measured = make(&scenario, &client).await.unwrap();
    assert_eq!((measured.requests(), measured.failed()), (40, 0));
    // The last one is due when half of them are answered, a second before all are.
    let most = measured.latency.max_ms();
    assert!(most >= Some(900.0), "{most:?}");
    assert!(measured.bins.iter().all(|bin| bin.latency.len() == 10));
}

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use domain::run::{Commit, Event};
use domain::time::At;
use local::wire::{Fault, Rule};
use serde_json::{Value, json};

use super::*;

const MINUTE_MS: u64 = 60_000;

#[tokio::test]
async fn each_lane_has_its_queue_and_the_tenant_is_the_group() {
    let cloud = Cloud::new();
    for (lane, name) in [
        (Lane::Interactive, NAMES[0]),
        (Lane::Standard, NAMES[1]),
        (Lane::Batch, NAMES[2]),
    ] {
        cloud.queue.send_run(lane, &run(1), 0).await.unwrap();
        let received = cloud.receive(name, 10).await;
        assert_eq!(received.len(), 1, "{name}");
        assert_eq!(received[0].attributes["MessageGroupId"], "acme");
        assert_eq!(RunMessage::parse(&received[0].body).unwrap(), run(1));
    }
    let tool = ToolMessage::new(run(1).tenant, run(1).run);
    cloud.queue.send_tool(&tool).await.unwrap();
    let received = cloud.receive(NAMES[3], 10).await;
    assert_eq!(received[0].attributes["MessageGroupId"], "acme");
    assert_eq!(ToolMessage::parse(&received[0].body).unwrap(), tool);
}

#[tokio::test]
async fn the_first_commit_arrives_with_the_first_message() {
    let cloud = Cloud::new();
    let commit = Commit {
        first: 1,
        at: At(1),
        driver: None,
        events: vec![Event::Cancelled],
        used: None,
    };
    let mut message = run(1);
    message.carry(commit.clone());
    cloud
        .queue
        .send_run(Lane::Standard, &message, 0)
        .await
        .unwrap();
    let received = cloud.receive(NAMES[1], 1).await;
    let first = RunMessage::parse(&received[0].body).unwrap().first;
    assert_eq!(first.unwrap().commit, commit);
}

#[tokio::test]
async fn a_delayed_message_is_not_there_yet() {
    let cloud = Cloud::new();
    for delay_ms in [1, 15 * MINUTE_MS] {
        cloud
            .queue
            .send_run(Lane::Standard, &run(1), delay_ms)
            .await
            .unwrap();
    }
    assert!(cloud.receive(NAMES[1], 10).await.is_empty());
    let depth = cloud.queue.lane_depth(Lane::Standard).await.unwrap();
    let delayed = Depth {
        delayed: 2,
        ..Depth::default()
    };
    assert_eq!(depth, delayed);
}

#[tokio::test]
async fn without_a_scheduler_a_long_delay_is_one_of_fifteen_minutes() {
    let cloud = Cloud::new();
    let day_ms = 24 * 60 * MINUTE_MS;
    cloud
        .queue
        .send_run(Lane::Standard, &run(1), day_ms)
        .await
        .unwrap();
    assert_eq!(cloud.queues.depth(NAMES[1]).delayed, 1);
}

/// Path and body of each schedule.
type Created = Arc<Mutex<Vec<(String, Value)>>>;

/// A scheduler that keeps what it is asked, and knows every name only once.
fn scheduler() -> (Router, Created) {
    let created = Created::default();
    let kept = created.clone();
    let router =
        Router::new().fallback(move |uri: axum::http::Uri, body: Json<Value>| async move {
            let mut kept = kept.lock().unwrap();
            if kept.iter().any(|(path, _)| path == uri.path()) {
                let error = [("x-amzn-errortype", "ConflictException")];
                return (StatusCode::CONFLICT, error, Json(json!({}))).into_response();
            }
            kept.push((uri.path().to_owned(), body.0));
            Json(json!({"ScheduleArn": "arn"})).into_response()
        });
    (router, created)
}

#[tokio::test]
async fn a_delay_over_fifteen_minutes_is_a_schedule_and_set_only_once() {
    let (router, created) = scheduler();
    let cloud = Cloud::with(Beat::default(), Some(router));
    let (now, due_at) = (At(1_700_000_000_000), At(1_700_000_900_001));
    for _ in 0..2 {
        cloud
            .queue
            .send_run_at(Lane::Batch, &run(1), due_at, now)
            .await
            .unwrap();
    }
    let created = created.lock().unwrap();
    let [(path, schedule)] = created.as_slice() else {
        panic!("{created:?}")
    };
    assert_eq!(
        path,
        "/schedules/run_01010101010101010101010101010101-1700000901"
    );
    assert_eq!(schedule["GroupName"], "skein");
    assert_eq!(schedule["ScheduleExpression"], "at(2023-11-14T22:28:21)");
    assert_eq!(schedule["ActionAfterCompletion"], "DELETE");
    assert_eq!(schedule["FlexibleTimeWindow"], json!({"Mode": "OFF"}));
    let target = &schedule["Target"];
    assert_eq!(target["Arn"], "arn:aws:scheduler:::aws-sdk:sqs:sendMessage");
    let input: Value = serde_json::from_str(target["Input"].as_str().unwrap()).unwrap();
    assert_eq!(input["QueueUrl"], local::sqs::url(NAMES[2]));
    assert_eq!(input["MessageGroupId"], "acme");
    let body = input["MessageBody"].as_str().unwrap();
    assert_eq!(RunMessage::parse(body).unwrap(), run(1));
    assert_eq!(cloud.meter.snapshot().total().requests, 0);
}

#[tokio::test]
async fn many_runs_go_ten_to_a_request() {
    let cloud = Cloud::new();
    let messages: Vec<_> = (0..25).map(run).collect();
    let results = cloud.queue.send_runs(Lane::Standard, &messages).await;
    assert!(results.len() == 25 && results.iter().all(Result::is_ok));
    assert_eq!(cloud.requests("SendMessageBatch"), 3);
    assert_eq!(cloud.queues.depth(NAMES[1]).visible, 25);
    assert!(cloud.queue.send_runs(Lane::Standard, &[]).await.is_empty());
}

#[tokio::test]
async fn a_failed_batch_fails_its_own_messages_only() {
    let cloud = Cloud::new();
    let marked = run(3).run.to_string();
    cloud
        .faults
        .add(Rule::new(Fault::Throttle).containing(marked));
    let messages: Vec<_> = (0..15).map(run).collect();
    let results = cloud.queue.send_runs(Lane::Standard, &messages).await;
    for (n, result) in results.iter().enumerate() {
        match result {
            Ok(()) => assert!(n >= 10, "{n}"),
            Err(error) => assert!(n < 10 && error.is_transient(), "{n}: {error}"),
        }
    }
    assert_eq!(cloud.queues.depth(NAMES[1]).visible, 5);
}

#[tokio::test]
async fn only_the_entry_that_failed_is_sent_again() {
    // A queue that has trouble with entry 1 twice, and refuses entry 2.
    let bodies = Arc::new(Mutex::new(Vec::<Vec<String>>::new()));
    let seen = bodies.clone();
    let router = Router::new().fallback(move |body: axum::body::Bytes| async move {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let entries = body["Entries"].as_array().unwrap().iter();
        let ids: Vec<_> = entries
            .map(|it| it["Id"].as_str().unwrap().to_owned())
            .collect();
        let mut seen = seen.lock().unwrap();
        let (mut ok, mut failed) = (Vec::new(), Vec::new());
        for id in &ids {
            match id.as_str() {
                "1" if seen.len() < 2 => {
                    failed.push(json!({"Id": id, "SenderFault": false, "Code": "InternalError"}));
                }
                "2" => failed
                    .push(json!({"Id": id, "SenderFault": true, "Code": "InvalidMessageContents"})),
                id => ok.push(json!({"Id": id, "MessageId": id, "MD5OfMessageBody": ""})),
            }
        }
        seen.push(ids);
        let headers = [("content-type", "application/x-amz-json-1.0")];
        (
            headers,
            json!({"Successful": ok, "Failed": failed}).to_string(),
        )
    });
    let sqs = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("any", "thing", None, None, "test"))
        .http_client(connector(router))
        .build();
    let sqs = aws_sdk_sqs::Client::from_conf(sqs);
    let queue = Queue::new(sqs, None, config(Beat::default()));
    let messages: Vec<_> = (0..3).map(run).collect();
    let results = queue.send_runs(Lane::Standard, &messages).await;
    assert!(results[0].is_ok() && results[1].is_ok());
    let error = results[2].as_ref().unwrap_err();
    assert!(matches!(error, Error::Refused { code, .. } if code == "InvalidMessageContents"));
    assert!(!error.is_transient());
    let sent = bodies.lock().unwrap();
    assert_eq!(*sent, [vec!["0", "1", "2"], vec!["1"], vec!["1"]]);
}

#[tokio::test]
async fn an_error_says_whether_it_may_pass() {
    let cloud = Cloud::new();
    let send = async || cloud.queue.send_run(Lane::Standard, &run(1), 0).await;
    for fault in [Fault::Throttle, Fault::FailBefore, Fault::LoseResponse] {
        cloud.faults.add(Rule::new(fault).nth(1));
        let error = send().await.unwrap_err();
        assert!(error.is_transient(), "{fault:?}: {error:?}");
        cloud.faults.clear();
    }
    let mut config = config(Beat::default());
    config.standard_url = local::sqs::url("missing");
    let lost = Queue::new(cloud.queue.0.sqs.clone(), None, config);
    let error = lost.send_run(Lane::Standard, &run(1), 0).await.unwrap_err();
    assert!(!error.is_transient());
    assert_eq!(error.to_string(), "cannot send to missing");
    assert!(std::error::Error::source(&error).is_some());
}

//! A run's log as pages and as a stream.

use super::*;

/// The frames of a stream, comments left out: id, event, data.
fn frames(text: &str) -> Vec<(Option<u64>, String, Value)> {
    let field = |frame: &str, name: &str| {
        frame
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(|value| value.trim().to_owned())
    };
    text.split("\n\n")
        .filter_map(|frame| {
            let event = field(frame, "event:")?;
            let id = field(frame, "id:").map(|id| id.parse().unwrap());
            Some((
                id,
                event,
                serde_json::from_str(&field(frame, "data:")?).unwrap(),
            ))
        })
        .collect()
}

fn numbers(text: &str) -> Vec<u64> {
    frames(text)
        .into_iter()
        .filter_map(|(id, _, _)| id)
        .collect()
}

async fn ended_run(world: &World, key: &str) -> String {
    let request = json!({"agent": "echo", "input": "hello there"});
    let answer = world
        .post_with(key, "/v1/runs", &[("prefer", "wait=10")], &request)
        .await;
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_streamed_run_shows_its_text_its_events_and_its_end() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let request = json!({"agent": "echo", "input": "hello there", "stream": true});
    let answer = world.post(&key, "/v1/runs", &request).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert!(
        answer
            .header("content-type")
            .starts_with("text/event-stream")
    );
    assert_eq!(answer.header("x-accel-buffering"), "no");
    assert!(answer.text.starts_with(": run_"), "{}", answer.text);
    let frames = frames(&answer.text);
    let told: String = frames
        .iter()
        .filter(|(_, event, _)| event == "delta")
        .map(|(id, _, data)| {
            assert_eq!(*id, None);
            data["text"].as_str().unwrap()
        })
        .collect();
    assert_eq!(told, "hello there");
    let ids = numbers(&answer.text);
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    let (_, event, data) = frames.last().unwrap();
    assert_eq!(
        (event.as_str(), &data["status"]),
        ("end", &json!("succeeded"))
    );
    let place = answer.header("location").to_owned();
    assert_eq!(
        world.get(&key, &place).await.json()["output"],
        "hello there"
    );
}

#[tokio::test]
async fn a_stream_begins_anywhere_and_misses_nothing() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let path = format!("/v1/runs/{}/events", ended_run(&world, &key).await);
    let stream = async |headers: &[(&str, &str)], path: &str| {
        let headers = [&[("accept", "text/event-stream")], headers].concat();
        world.ask(Method::GET, &key, path, &headers, None).await
    };
    let all = numbers(&stream(&[], &path).await.text);
    assert_eq!(all, (1..=all.len() as u64).collect::<Vec<_>>());
    for after in 0..all.len() {
        let by_query = stream(&[], &format!("{path}?after={after}")).await;
        let by_header = stream(&[("last-event-id", &after.to_string())], &path).await;
        assert_eq!(numbers(&by_query.text), all[after..]);
        assert_eq!(numbers(&by_header.text), all[after..]);
        assert!(by_query.text.contains("event: end\n"));
    }
    let over = stream(&[("last-event-id", &all.len().to_string())], &path).await;
    assert_eq!(over.status, StatusCode::NO_CONTENT);
    let beyond = stream(&[("last-event-id", "99")], &path).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.code()),
        (400, "invalid_parameter".to_owned())
    );
}

#[tokio::test]
async fn pages_hold_every_event_once() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let path = format!("/v1/runs/{}/events", ended_run(&world, &key).await);
    let mut seen = Vec::new();
    let mut after = json!(0);
    loop {
        let page = world
            .get(&key, &format!("{path}?after={after}&limit=2"))
            .await
            .json();
        seen.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["event"].as_u64().unwrap()),
        );
        after = page["next_after"].clone();
        if page["ended"] == true {
            break;
        }
    }
    assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    let rest = world
        .get(&key, &format!("{path}?after={after}"))
        .await
        .json();
    assert_eq!(
        rest,
        json!({"items": [], "next_after": after, "ended": true})
    );
}

#[tokio::test]
async fn a_stream_follows_a_run_that_is_driven_elsewhere() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let created = world
        .post(
            &key,
            "/v1/runs",
            &json!({"agent": "echo", "input": "hello"}),
        )
        .await;
    let run = created.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/runs/{run}/events");
    let headers = [("accept", "text/event-stream")];
    let followed = world.ask(Method::GET, &key, &path, &headers, None);
    let (followed, _) = tokio::join!(followed, world.drive("acme", &run));
    let ids = numbers(&followed.text);
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert!(followed.text.ends_with("\n\n") && followed.text.contains("event: end\n"));
}

#[tokio::test]
async fn a_repeated_streamed_request_streams_the_same_run_from_its_beginning() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let request = json!({"agent": "echo", "input": "hello", "stream": true});
    let headers = [("idempotency-key", "k")];
    let first = world.post_with(&key, "/v1/runs", &headers, &request).await;
    let second = world.post_with(&key, "/v1/runs", &headers, &request).await;
    assert_eq!(first.header("location"), second.header("location"));
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert_eq!(numbers(&first.text), numbers(&second.text));
    let other = json!({"agent": "echo", "input": "bye", "stream": true});
    let reused = world.post_with(&key, "/v1/runs", &headers, &other).await;
    assert_eq!(reused.code(), "idempotency_key_reused");
}

#[tokio::test]
async fn a_stream_goes_on_through_the_table_when_its_run_parks() {
    let world = world().await;
    let key = world.tenant("acme").await;
    let agent = json!({"model": "local.tools", "tools": ["wait"]});
    world.post(&key, "/v1/agents/patient", &agent).await;
    let request = json!({"agent": "patient", "input": "wait 5 seconds", "stream": true});
    let streamed = world.post(&key, "/v1/runs", &request);
    let woken = async {
        let run = loop {
            let parked = world.get(&key, "/v1/runs?status=parked").await.json();
            if let Some(run) = parked["items"][0]["id"].as_str() {
                break run.to_owned();
            }
            tokio::task::yield_now().await;
        };
        world.pass(6_000);
        world.drive("acme", &run).await;
    };
    let (streamed, ()) = tokio::join!(streamed, woken);
    let frames = frames(&streamed.text);
    let position = |name: &str| {
        frames
            .iter()
            .position(|(_, event, _)| event == name)
            .unwrap()
    };
    assert!(position("parked") < position("resumed"));
    assert!(position("resumed") < position("end"));
    let ids = numbers(&streamed.text);
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
}

//! Events as a stream and as pages, from any position.

use reqwest::Method;
use serde_json::json;

use crate::client::{Client, Sent, Stream};
use crate::platform::shared;

async fn streamed(client: &Client, agent: &str, input: &str) -> Stream {
    let body = json!({"agent": agent, "input": input, "stream": true});
    client
        .stream(client.request(Method::POST, "/v1/runs").json(&body))
        .await
}

fn run_of(stream: &Stream) -> String {
    stream
        .head
        .header("location")
        .strip_prefix("/v1/runs/")
        .unwrap()
        .to_owned()
}

/// The numbers of the events that are kept.
fn ids(sent: &[Sent]) -> Vec<u64> {
    let kept = sent.iter().filter(|sent| !sent.id.is_empty());
    kept.map(|sent| sent.id.parse().unwrap()).collect()
}

#[tokio::test]
async fn a_streamed_answer_comes_in_pieces_and_closes() {
    let client = shared().demo();
    let text = "The geese fly south in a skein, one after the other.";
    let mut stream = streamed(&client, "hello", text).await;
    assert!(
        stream
            .head
            .header("content-type")
            .starts_with("text/event-stream")
    );
    assert_eq!(stream.head.header("x-accel-buffering"), "no");
    let run = run_of(&stream);
    let sent = stream.rest().await;

    let deltas: Vec<_> = sent.iter().filter(|sent| sent.event == "delta").collect();
    assert!(deltas.len() > 1, "{sent:#?}");
    assert!(deltas.iter().all(|delta| delta.id.is_empty()));
    let pieces: String = deltas
        .iter()
        .map(|delta| delta.json()["text"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(pieces, text);
    assert_eq!(client.read(&run).await["output"], text);

    let ids = ids(&sent);
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    let end = sent.last().unwrap();
    assert_eq!(end.event, "end");
    assert_eq!(
        end.json(),
        json!({"status": "succeeded", "last_event": ids.len()})
    );
}

#[tokio::test]
async fn a_stream_shows_what_the_pages_show() {
    let client = shared().demo();
    let mut stream = streamed(&client, "calculator", "count to 3").await;
    let run = run_of(&stream);
    let sent = stream.rest().await;
    let kept: Vec<_> = sent
        .iter()
        .filter(|sent| !sent.id.is_empty())
        .map(Sent::json)
        .collect();
    assert_eq!(kept, client.events(&run).await);
    for (sent, event) in sent.iter().filter(|sent| !sent.id.is_empty()).zip(&kept) {
        assert_eq!(
            (event["type"].as_str(), event["event"].as_u64()),
            (Some(&*sent.event), sent.id.parse().ok())
        );
    }
}

#[tokio::test]
async fn a_stream_goes_on_while_the_run_is_parked_and_driven_elsewhere() {
    let client = shared().demo();
    let mut stream = streamed(&client, "researcher", "wait 1 second, then 1+1").await;
    let sent = stream.rest().await;
    let ids = ids(&sent);
    assert_eq!(ids, (1..=ids.len() as u64).collect::<Vec<_>>());
    assert!(sent.iter().any(|sent| sent.event == "resumed"), "{sent:#?}");
    assert_eq!(sent.last().unwrap().json()["status"], "succeeded");
}

#[tokio::test]
async fn a_run_whose_listener_goes_is_finished_by_the_queue() {
    let client = shared().demo();
    let agent = client
        .agent(&json!({"model": "local.tools-150", "tools": ["calculator"]}))
        .await;
    let mut stream = streamed(&client, &agent, "count to 5").await;
    let run = run_of(&stream);
    stream.until("tool_returned").await;
    drop(stream);
    let run = client.ended(&run).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    assert_eq!(run["totals"]["tool_calls"], 5);
}

#[tokio::test]
async fn events_are_read_from_any_position() {
    let client = shared().demo();
    let run = client.run("calculator", "count to 3").await;
    let (id, last) = (
        run["id"].as_str().unwrap(),
        run["last_event"].as_u64().unwrap(),
    );
    let all = client.events(id).await;
    for after in 0..last {
        let rest = &all[usize::try_from(after).unwrap()..];
        let sent = client.follow(id, after).await.rest().await;
        assert_eq!(ids(&sent), (after + 1..=last).collect::<Vec<_>>());
        let page = client
            .get(&format!("/v1/runs/{id}/events?after={after}"))
            .await
            .expect(200);
        assert_eq!(page["items"].as_array().unwrap(), rest);
        assert_eq!(
            (&page["next_after"], &page["ended"]),
            (&json!(last), &json!(true))
        );
        let short = client
            .get(&format!("/v1/runs/{id}/events?after={after}&limit=1"))
            .await
            .expect(200);
        assert_eq!(short["items"].as_array().unwrap(), &rest[..1]);
    }
}

#[tokio::test]
async fn a_reader_that_connects_again_misses_nothing() {
    let client = shared().demo();
    let run = client.run("calculator", "count to 2").await;
    let id = run["id"].as_str().unwrap();
    let path = format!("/v1/runs/{id}/events?after=1");
    let again = client.request(Method::GET, &path);
    let again = again
        .header("accept", "text/event-stream")
        .header("last-event-id", "4");
    let sent = client.stream(again).await.rest().await;
    assert_eq!(
        ids(&sent).first(),
        Some(&5),
        "the header counts before the parameter"
    );

    let last = run["last_event"].to_string();
    let done = client.request(Method::GET, &format!("/v1/runs/{id}/events"));
    let done = done
        .header("accept", "text/event-stream")
        .header("last-event-id", last);
    assert_eq!(client.send(done).await.status, 204);
}

#[tokio::test]
async fn a_page_waits_for_what_is_still_to_come() {
    let client = shared().demo();
    let run = client.create("researcher", "wait 2 seconds").await;
    let parked = client.follow(&run, 0).await.until("parked").await;
    let after = ids(&parked).pop().unwrap();
    let page = client
        .get(&format!("/v1/runs/{run}/events?after={after}&wait=20"))
        .await
        .expect(200);
    assert_eq!(page["items"][0]["type"], "resumed", "{page}");
}

#[tokio::test]
async fn a_streamed_repetition_streams_the_run_of_the_first() {
    let client = shared().demo();
    let body = json!({"agent": "hello", "input": "again", "stream": true});
    let request = || {
        let request = client.request(Method::POST, "/v1/runs").json(&body);
        request.header("idempotency-key", "\"a key of streams.rs\"")
    };
    let mut first = client.stream(request()).await;
    let run = run_of(&first);
    first.rest().await;
    let mut again = client.stream(request()).await;
    assert_eq!(
        (run_of(&again), again.head.header("idempotent-replayed")),
        (run, "true")
    );
    assert_eq!(again.rest().await.last().unwrap().event, "end");
}

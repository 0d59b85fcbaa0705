//! Nonsense from models, tools and queues: each is answered, told or put aside, and does no harm to anything else.

use local::sqs::SendOptions;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::bad_input::assert_unharmed;
use crate::client::{Client, types};
use crate::platform::shared;
use crate::world::{Delivery, World};

/// Serves one page of this many bytes to whoever asks, until the test ends.
async fn page(bytes: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/page", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut request = [0; 4_096];
            let _bytes = stream.read(&mut request).await.unwrap();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\nconnection: close\r\n\r\n");
            // Whoever has read enough hangs up.
            let _written = stream
                .write_all((head + &"x".repeat(bytes)).as_bytes())
                .await;
        }
    });
    url
}

#[tokio::test]
async fn a_tool_result_that_is_too_large_is_told_to_the_model() {
    let client = shared().demo();
    let url = page(600 * 1024).await;
    let run = client.run("researcher", &format!("fetch {url}")).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    let events = client.events(run["id"].as_str().unwrap()).await;
    let returned = events
        .iter()
        .find(|event| event["type"] == "tool_returned")
        .unwrap();
    assert_eq!(returned["is_error"], true);
    assert!(
        returned["text"]
            .as_str()
            .unwrap()
            .starts_with("result_too_large"),
        "{returned}"
    );
    assert_unharmed(&client).await;
}

#[tokio::test]
async fn a_result_too_large_for_the_table_is_kept_whole_elsewhere() {
    let client = shared().demo();
    let url = page(200 * 1024).await;
    let run = client.run("researcher", &format!("fetch {url}")).await;
    assert_eq!(run["status"], "succeeded", "{run}");
    let events = client.events(run["id"].as_str().unwrap()).await;
    let returned = events
        .iter()
        .find(|event| event["type"] == "tool_returned")
        .unwrap();
    assert!(
        returned["text"].as_str().unwrap().len() > 200 * 1024,
        "the result is whole"
    );
}

#[tokio::test]
async fn a_tool_reaches_no_private_address() {
    let client = shared().demo();
    for url in [
        "https://169.254.169.254/latest/meta-data",
        "https://10.0.0.1/",
        "http://example.com/",
    ] {
        let run = client.run("researcher", &format!("fetch {url}")).await;
        let events = client.events(run["id"].as_str().unwrap()).await;
        let returned = events
            .iter()
            .find(|event| event["type"] == "tool_returned")
            .unwrap();
        assert!(
            returned["text"]
                .as_str()
                .unwrap()
                .starts_with("egress_refused"),
            "{returned}"
        );
    }
}

/// An agent whose model does what the input says.
async fn flaky(client: &Client) -> String {
    client
        .agent(&json!({"model": "local.flaky", "tools": ["calculator"]}))
        .await
}

#[tokio::test]
async fn nonsense_tool_calls_are_answered_and_the_run_goes_on() {
    let client = shared().demo();
    let agent = flaky(&client).await;
    for (input, error) in [
        ("unknown tool", "unknown_tool: "),
        ("bad arguments", "invalid_arguments: "),
    ] {
        let run = client.run(&agent, input).await;
        assert_eq!(run["status"], "succeeded", "{run}");
        let events = client.events(run["id"].as_str().unwrap()).await;
        let returned = events
            .iter()
            .find(|event| event["type"] == "tool_returned")
            .unwrap();
        assert_eq!(returned["is_error"], true);
        assert!(
            returned["text"].as_str().unwrap().starts_with(error),
            "{returned}"
        );
    }
    assert_unharmed(&client).await;
}

#[tokio::test]
async fn an_unusable_answer_is_asked_for_once_more_and_then_a_typed_failure() {
    let client = shared().demo();
    let agent = flaky(&client).await;
    for input in ["malformed", "empty"] {
        let repaired = client.run(&agent, &format!("{input} 1, then 2+2")).await;
        assert_eq!(repaired["status"], "succeeded", "{repaired}");
        let events = client.events(repaired["id"].as_str().unwrap()).await;
        assert!(types(&events).contains(&"answer_rejected"), "{events:#?}");
        let failed = client.run(&agent, input).await;
        assert_eq!(
            (&failed["status"], &failed["error"]["code"]),
            (&json!("failed"), &json!("answer_unusable")),
            "{failed}"
        );
    }
    assert_unharmed(&client).await;
}

#[tokio::test]
async fn a_model_that_refuses_or_is_not_there_fails_the_run_with_its_words() {
    let client = shared().demo();
    let agent = flaky(&client).await;
    let refused = client.run(&agent, "refuse").await;
    assert_eq!(refused["error"]["code"], "model_refused", "{refused}");
    let absent = client.agent(&json!({"model": "local.nothing"})).await;
    let failed = client.run(&absent, "x").await;
    assert_eq!(failed["status"], "failed", "{failed}");
    assert!(
        failed["error"]["message"]
            .as_str()
            .unwrap()
            .contains("local.nothing"),
        "{failed}"
    );
    assert_unharmed(&client).await;
}

#[tokio::test]
async fn poison_in_a_queue_stops_nobody() {
    let running = shared();
    let client = running.demo();
    for queue in ["runs-standard", "runs-interactive", "tasks"] {
        for body in [
            "poison",
            "{}",
            "{\"v\":9,\"type\":\"run\",\"tenant\":\"demo\",\"run\":\"run_\"}",
        ] {
            running
                .cloud()
                .queues
                .send(queue, body.to_owned(), SendOptions::default())
                .unwrap();
        }
    }
    assert_unharmed(&client).await;
    assert_eq!(
        client.run("researcher", "research geese").await["status"],
        "succeeded"
    );
}

#[tokio::test]
async fn poison_ends_in_the_dead_letter_queue() {
    let world = World::new(json!({"model": "local.echo"})).await;
    let _process = world.process(Delivery::default());
    let engine = world.engine();
    for queue in ["runs-standard", "tasks"] {
        world
            .cloud
            .queues
            .send(queue, "poison".to_owned(), SendOptions::default())
            .unwrap();
    }
    let runs = [world.create(&engine, World::request(1, "beside it")).await];
    let dead = |queue: &str| world.cloud.queues.depth(&format!("{queue}-dlq")).visible;
    // Ten deliveries, each held for at most five minutes.
    let patience = world.now().plus_ms(3_600_000);
    while dead("runs-standard") == 0 || dead("tasks") == 0 {
        assert!(world.now() < patience, "poison is not put aside");
        world.pass().await;
    }
    assert_eq!(world.ended(&runs).await[0].output, Some(json!("beside it")));
}

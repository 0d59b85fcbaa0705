//! What is on disk.

use std::fs::{self, OpenOptions};
use std::io::Write as _;

use super::*;

fn open(folder: &tempfile::TempDir) -> Queues {
    Queues::open(Some(folder.path())).unwrap()
}

fn file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("q.jsonl")
}

async fn bodies_of(queues: &Queues) -> Vec<String> {
    let received = queues.receive("q", 100, Duration::ZERO).await;
    received.into_iter().map(|message| message.body).collect()
}

#[tokio::test]
async fn everything_survives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let queues = open(&folder);
    queues
        .create(
            "q",
            &BTreeMap::from([("VisibilityTimeout".to_owned(), "50".to_owned())]),
        )
        .unwrap();
    let id = queues
        .send("q", "in flight".to_owned(), SendOptions::default())
        .unwrap();
    let taken = queues.receive("q", 1, Duration::ZERO).await.remove(0);
    for body in ["visible", "deleted"] {
        queues
            .send("q", body.to_owned(), SendOptions::default())
            .unwrap();
    }
    let delayed = SendOptions {
        delay_seconds: Some(100),
        attributes: BTreeMap::from([("a".to_owned(), AttributeValue::text("String", "b"))]),
        ..SendOptions::default()
    };
    queues.send("q", "delayed".to_owned(), delayed).unwrap();
    let both = queues.receive("q", 2, Duration::ZERO).await;
    queues.delete("q", &both[1].receipt_handle);
    queues
        .change_visibility("q", &both[0].receipt_handle, Duration::ZERO)
        .unwrap();

    // Nothing is closed: the process might as well have been killed.
    for _ in 0..2 {
        let again = open(&folder);
        let depth = again.depth("q");
        assert_eq!((depth.visible, depth.in_flight, depth.delayed), (1, 1, 1));
    }
    let again = open(&folder);
    again
        .change_visibility("q", &taken.receipt_handle, secs(43_000))
        .unwrap();
    again
        .change_visibility("q", &taken.receipt_handle, Duration::ZERO)
        .unwrap();
    let received = again.receive("q", 10, Duration::ZERO).await;
    assert_eq!(received[0].message_id, id);
    assert_eq!(received[0].attributes["ApproximateReceiveCount"], "2");
    assert_eq!(received[1].body, "visible");
    again.advance(secs(50));
    assert_eq!(
        again.depth("q").visible,
        2,
        "the queue's attributes are kept"
    );
    again.advance(secs(50));
    let received = again.receive("q", 10, Duration::ZERO).await;
    assert_eq!(received[2].message_attributes["a"]["stringValue"], "b");
}

#[tokio::test]
async fn deduplication_and_deletion_survive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let queues = open(&folder);
    queues
        .create(
            "q.fifo",
            &BTreeMap::from([("FifoQueue".to_owned(), "true".to_owned())]),
        )
        .unwrap();
    queues.create("gone", &BTreeMap::new()).unwrap();
    let options = SendOptions {
        group_id: Some("a".to_owned()),
        deduplication_id: Some("1".to_owned()),
        ..SendOptions::default()
    };
    let id = queues
        .send("q.fifo", "x".to_owned(), options.clone())
        .unwrap();
    let received = queues.receive("q.fifo", 1, Duration::ZERO).await;
    queues.delete("q.fifo", &received[0].receipt_handle);
    client(&queues)
        .delete_queue()
        .queue_url(url("gone"))
        .send()
        .await
        .unwrap();
    for _ in 0..2 {
        let again = open(&folder);
        assert_eq!(
            again
                .send("q.fifo", "x".to_owned(), options.clone())
                .unwrap(),
            id
        );
        assert_eq!(again.depth("q.fifo"), Depth::default());
        assert_eq!(again.names(), ["q.fifo"]);
    }
}

#[tokio::test]
async fn a_torn_last_line_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let queues = open(&folder);
    queues.create("q", &BTreeMap::new()).unwrap();
    queues
        .send("q", "whole".to_owned(), SendOptions::default())
        .unwrap();
    let mut torn = OpenOptions::new().append(true).open(file(&folder)).unwrap();
    torn.write_all(br#"{"op":"sent","seq":2,"mess"#).unwrap();
    let again = open(&folder);
    again
        .send("q", "after".to_owned(), SendOptions::default())
        .unwrap();
    assert_eq!(bodies_of(&open(&folder)).await, ["whole", "after"]);
}

#[tokio::test]
async fn damage_elsewhere_is_an_error_that_names_the_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let queues = open(&folder);
    queues.create("q", &BTreeMap::new()).unwrap();
    for body in ["first", "second"] {
        queues
            .send("q", body.to_owned(), SendOptions::default())
            .unwrap();
    }
    let whole = fs::read_to_string(file(&folder)).unwrap();
    let lines: Vec<_> = whole.lines().collect();
    let cases = [
        (
            whole.replacen(r#""op":"sent""#, r#""op":"s?nt""#, 1),
            "line 2",
        ),
        (whole.replacen("first", "furst", 1), "line 2"),
        (format!("{}\n", lines[1]), "line 1"),
        (format!("{whole}nonsense\n"), "line 4"),
    ];
    for (content, line) in cases {
        fs::write(file(&folder), content).unwrap();
        let error = Queues::open(Some(folder.path())).err().unwrap().to_string();
        assert!(error.contains("q.jsonl") && error.contains(line), "{error}");
    }
}

#[tokio::test]
async fn a_long_history_is_shortened_while_running() {
    let folder = tempfile::tempdir().unwrap();
    let queues = open(&folder);
    queues.create("q", &BTreeMap::new()).unwrap();
    let body = "x".repeat(1 << 20);
    for _ in 0..20 {
        queues
            .send("q", body.clone(), SendOptions::default())
            .unwrap();
        let received = queues.receive("q", 1, Duration::ZERO).await;
        queues.delete("q", &received[0].receipt_handle);
    }
    queues
        .send("q", "kept".to_owned(), SendOptions::default())
        .unwrap();
    assert!(fs::metadata(file(&folder)).unwrap().len() < 9 << 20);
    assert_eq!(bodies_of(&open(&folder)).await, ["kept"]);
}

#[tokio::test]
async fn a_dead_letter_is_in_exactly_one_queue_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let queues = open(&folder);
    queues.create("dead", &BTreeMap::new()).unwrap();
    let policy = format!(
        r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":1}}"#,
        arn("dead")
    );
    queues
        .create("q", &BTreeMap::from([("RedrivePolicy".to_owned(), policy)]))
        .unwrap();
    queues
        .send("q", "poison".to_owned(), SendOptions::default())
        .unwrap();
    assert_eq!(bodies_of(&queues).await, ["poison"]);
    queues.advance(secs(30));
    assert!(bodies_of(&queues).await.is_empty());
    let again = open(&folder);
    assert_eq!(
        (again.depth("q").visible, again.depth("dead").visible),
        (0, 1)
    );
}

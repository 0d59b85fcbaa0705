//! Fair groups on a standard queue.

use super::*;

fn send_many(queues: &Queues, group: &str, count: usize) {
    for n in 0..count {
        let options = SendOptions {
            group_id: Some(group.to_owned()),
            ..SendOptions::default()
        };
        queues.send("q", format!("{group}{n}"), options).unwrap();
    }
}

#[tokio::test]
async fn a_noisy_neighbour_waits_behind_the_others_and_loses_nothing() {
    let (queues, _, _) = setup(&[]).await;
    send_many(&queues, "noisy", 100);
    send_many(&queues, "quiet", 3);
    let mut received = queues.receive("q", 30, Duration::ZERO).await;
    assert!(
        received
            .iter()
            .all(|message| message.body.starts_with("noisy")),
        "in order until it is noisy"
    );
    let next = queues.receive("q", 5, Duration::ZERO).await;
    let next: Vec<_> = next.into_iter().map(|message| message.body).collect();
    assert_eq!(next, ["quiet0", "quiet1", "quiet2", "noisy30", "noisy31"]);
    received.extend(queues.receive("q", 1000, Duration::ZERO).await);
    assert_eq!(received.len() + next.len(), 103);
}

#[tokio::test]
async fn without_groups_nobody_is_noisy() {
    let (queues, _, _) = setup(&[]).await;
    for n in 0..40 {
        queues
            .send("q", n.to_string(), SendOptions::default())
            .unwrap();
    }
    send_many(&queues, "late", 1);
    let received = queues.receive("q", 41, Duration::ZERO).await;
    assert_eq!(received[40].body, "late0");
    assert_eq!(received[39].body, "39");
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::future;
use local::sqs::SendOptions;
use local::wire::{Fault, Rule};
use tokio::sync::Barrier;

use super::*;

/// Beats as fast as a test needs them; a message that is not held reappears after a second.
const QUICK: Beat = Beat {
    first_after: Duration::ZERO,
    every: Duration::from_millis(20),
    visibility: Duration::from_secs(1),
};

async fn send(cloud: &Cloud, runs: impl IntoIterator<Item = u8>) {
    for n in runs {
        cloud
            .queue
            .send_run(Lane::Standard, &run(n), 0)
            .await
            .unwrap();
    }
}

/// Waits until `condition` holds, letting everything else go on.
async fn until(condition: impl Fn() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < Duration::from_secs(20), "it never held");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn records_are_worked_on_at_the_same_time() {
    let cloud = Cloud::new();
    send(&cloud, 0..10).await;
    let event = cloud.deliver().await;
    let all = Arc::new(Barrier::new(10));
    let response = cloud
        .queue
        .consume(event, 10, |record: Record<RunMessage>| {
            let all = all.clone();
            async move {
                assert_eq!(record.receive_count, 1);
                assert!(record.sent_at.is_some());
                all.wait().await;
                Disposition::Done
            }
        })
        .await;
    assert!(failed(&response).is_empty());
}

#[tokio::test]
async fn no_more_records_than_allowed_are_worked_on_at_once() {
    let cloud = Cloud::new();
    send(&cloud, 0..10).await;
    let event = cloud.deliver().await;
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    cloud
        .queue
        .consume(event, 3, async |_: Record<RunMessage>| {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            now.fetch_sub(1, Ordering::Relaxed);
            Disposition::Done
        })
        .await;
    assert_eq!(most.into_inner(), 3);
}

#[tokio::test]
async fn a_malformed_body_and_a_panic_fail_alone() {
    let cloud = Cloud::new();
    send(&cloud, 0..3).await;
    let options = SendOptions::default();
    let malformed = cloud
        .queues
        .send(NAMES[1], "{\"v\":1".to_owned(), options)
        .unwrap();
    let event = cloud.deliver().await;
    let handled = AtomicUsize::new(0);
    let id_of = |n: u8| {
        let mut records = event.records.iter();
        let run = run(n).run.to_string();
        let found = records.find(|it| it.body.as_ref().unwrap().contains(&run));
        found.unwrap().message_id.clone().unwrap()
    };
    let (panicking, early) = (id_of(1), id_of(2));
    let response = cloud
        .queue
        .consume(event, 10, |record: Record<RunMessage>| {
            handled.fetch_add(1, Ordering::Relaxed);
            // One panics before it waits, one after.
            assert!(record.message.run != run(2).run, "before");
            async move {
                tokio::task::yield_now().await;
                assert!(record.message.run != run(1).run, "after");
                Disposition::Done
            }
        })
        .await;
    let mut expected = [malformed.as_str(), &panicking, &early];
    let mut failed = failed(&response);
    expected.sort_unstable();
    failed.sort_unstable();
    assert_eq!(failed, expected);
    assert_eq!(handled.into_inner(), 3);
}

#[tokio::test]
async fn dispositions_decide_what_is_delivered_again() {
    let cloud = Cloud::new();
    send(&cloud, 0..3).await;
    let event = cloud.deliver().await;
    // Not a fault: it counts what puts a message back for as long as a beat would.
    let shortened = Rule::new(Fault::Delay(Duration::ZERO)).on("ChangeMessageVisibility");
    cloud
        .faults
        .add(shortened.containing("\"VisibilityTimeout\":30"));
    let response = cloud
        .queue
        .consume(event, 10, async |record: Record<RunMessage>| {
            match record.message {
                message if message == run(0) => Disposition::Done,
                message if message == run(1) => Disposition::Again,
                _ => Disposition::After(Duration::ZERO),
            }
        })
        .await;
    assert_eq!(failed(&response).len(), 2);
    // Put back at once, while the other one waits for its visibility to end.
    let again = cloud.receive(NAMES[1], 10).await;
    assert_eq!(again.len(), 1);
    assert_eq!(RunMessage::parse(&again[0].body).unwrap(), run(2));
    assert_eq!(cloud.requests("ChangeMessageVisibility"), 2);
    assert_eq!(cloud.faults.struck(), 1);
}

#[tokio::test]
async fn one_request_shortens_the_visibility_of_a_whole_delivery() {
    let cloud = Cloud::new();
    send(&cloud, 0..10).await;
    let event = cloud.deliver().await;
    let beat = || cloud.requests("ChangeMessageVisibilityBatch");
    cloud
        .queue
        .consume(event, 10, async |_: Record<RunMessage>| {
            until(|| beat() == 1).await;
            Disposition::Again
        })
        .await;
    assert_eq!(beat(), 1);
}

#[tokio::test]
async fn what_ends_before_the_first_beat_costs_no_request() {
    let patient = Beat {
        first_after: Duration::from_secs(3_600),
        ..QUICK
    };
    let cloud = Cloud::with(patient, None);
    send(&cloud, 0..2).await;
    let event = cloud.deliver().await;
    cloud
        .queue
        .consume(event, 10, async |_: Record<RunMessage>| Disposition::Done)
        .await;
    assert_eq!(cloud.requests("ChangeMessageVisibilityBatch"), 0);
}

#[tokio::test]
async fn a_record_at_work_is_held_beyond_its_visibility() {
    let cloud = Cloud::with(QUICK, None);
    send(&cloud, [1]).await;
    let event = cloud.deliver().await;
    let (started, in_flight) = (Instant::now(), AtomicUsize::new(0));
    let response = cloud
        .queue
        .consume(event, 10, async |_: Record<RunMessage>| {
            // Twice as long as one beat holds it.
            until(|| started.elapsed() > 2 * QUICK.visibility).await;
            // Told outside: a panic in here would count as a failed record, not as a failed test.
            in_flight.store(cloud.queues.depth(NAMES[1]).in_flight, Ordering::Relaxed);
            Disposition::Again
        })
        .await;
    assert_eq!(in_flight.load(Ordering::Relaxed), 1);
    assert_eq!(failed(&response).len(), 1);
    assert!(cloud.requests("ChangeMessageVisibilityBatch") >= 3);
    // Nobody holds it any more: it reappears by itself, long before the queue's 300 s.
    let again = cloud
        .queues
        .receive(NAMES[1], 10, Duration::from_secs(20))
        .await;
    assert_eq!(again.len(), 1);
}

#[tokio::test]
async fn a_record_that_is_done_does_not_reappear_while_another_is_at_work() {
    let cloud = Cloud::with(QUICK, None);
    send(&cloud, 0..2).await;
    let event = cloud.deliver().await;
    let (started, reappeared) = (Instant::now(), AtomicUsize::new(0));
    cloud
        .queue
        .consume(event, 10, async |record: Record<RunMessage>| {
            until(|| cloud.requests("ChangeMessageVisibilityBatch") >= 1).await;
            if record.message == run(1) {
                until(|| started.elapsed() > 2 * QUICK.visibility).await;
                let again = cloud.receive(NAMES[1], 10).await;
                reappeared.store(again.len(), Ordering::Relaxed);
            }
            Disposition::Done
        })
        .await;
    assert_eq!(reappeared.into_inner(), 0);
}

#[tokio::test]
async fn a_process_that_dies_lets_its_messages_reappear() {
    let cloud = Cloud::with(QUICK, None);
    send(&cloud, 0..2).await;
    let event = cloud.deliver().await;
    let queue = cloud.queue.clone();
    let process = tokio::spawn(async move {
        let forever = |record: Record<RunMessage>| async move {
            drop(record);
            future::pending().await
        };
        queue.consume(event, 10, forever).await
    });
    until(|| cloud.requests("ChangeMessageVisibilityBatch") >= 2).await;
    assert_eq!(cloud.queues.depth(NAMES[1]).in_flight, 2);
    process.abort();
    let again = cloud
        .queues
        .receive(NAMES[1], 10, Duration::from_secs(20))
        .await;
    assert!(!again.is_empty());
}

#[tokio::test]
async fn a_beat_that_fails_is_followed_by_the_next() {
    let cloud = Cloud::with(QUICK, None);
    send(&cloud, [1]).await;
    let event = cloud.deliver().await;
    let refused = Rule::new(Fault::Throttle).on("ChangeMessageVisibilityBatch");
    cloud.faults.add(refused.first(2));
    cloud
        .queue
        .consume(event, 10, async |_: Record<RunMessage>| {
            until(|| cloud.requests("ChangeMessageVisibilityBatch") >= 3).await;
            Disposition::Done
        })
        .await;
}

#[tokio::test]
async fn a_delivery_of_an_unknown_queue_is_worked_on_without_being_held() {
    let cloud = Cloud::new();
    send(&cloud, [1]).await;
    let mut event = cloud.deliver().await;
    event.records[0].event_source_arn = Some(local::sqs::arn("other"));
    let response = cloud
        .queue
        .consume(event, 10, async |_: Record<RunMessage>| Disposition::Done)
        .await;
    assert!(failed(&response).is_empty());
    assert_eq!(cloud.requests("ChangeMessageVisibilityBatch"), 0);
}

#[tokio::test]
async fn an_empty_delivery_is_answered_at_once() {
    let response = Cloud::new()
        .queue
        .consume(SqsEvent::default(), 10, async |_: Record<RunMessage>| {
            Disposition::Again
        })
        .await;
    assert!(failed(&response).is_empty());
}

#[tokio::test]
async fn a_message_counts_its_part_of_every_beat_that_holds_it() {
    let cloud = Cloud::with(QUICK, None);
    send(&cloud, 0..4).await;
    let event = cloud.deliver().await;
    let before = cloud.requests("ChangeMessageVisibilityBatch");
    let told = std::sync::Mutex::new(Vec::new());
    cloud
        .queue
        .consume(event, 10, |record: Record<RunMessage>| {
            let (cloud, told) = (&cloud, &told);
            async move {
                let arrived = record.toll.milli_requests();
                assert_eq!(record.toll.milli_invocations(), 250);
                until(|| cloud.requests("ChangeMessageVisibilityBatch") >= before + 3).await;
                let held = record.toll.milli_requests() - arrived;
                told.lock().unwrap().push((arrived, held));
                Disposition::Done
            }
        })
        .await;
    for (arrived, held) in told.into_inner().unwrap() {
        assert_eq!(arrived, 1_000 + 500, "its sending, and a fourth of two");
        assert!(held >= 3 * 250 && held % 250 == 0, "{held}");
    }
}

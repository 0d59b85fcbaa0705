use std::collections::BTreeMap;

use aws_sdk_sqs::types::QueueAttributeName;
use local::sqs::{AttributeValue, SendOptions};
use local::wire::{Fault, Rule};

use super::*;

const DEAD: &str = "runs-standard-dlq";
const STANDARD: Origin = Origin::Lane(Lane::Standard);

impl Cloud {
    /// Gives the standard lane a queue of dead letters, in which these bodies lie.
    async fn with_dead<const N: usize>(bodies: [String; N]) -> (Self, [String; N]) {
        let cloud = Self::new();
        cloud.queues.create(DEAD, &BTreeMap::new()).unwrap();
        let policy = serde_json::json!({"deadLetterTargetArn": local::sqs::arn(DEAD), "maxReceiveCount": 10});
        cloud
            .attribute(QueueAttributeName::RedrivePolicy, policy.to_string())
            .await;
        let ids = bodies.map(|body| cloud.bury(body));
        (cloud, ids)
    }

    async fn attribute(&self, name: QueueAttributeName, value: String) {
        let sqs = &self.queue.0.sqs;
        let url = local::sqs::url(NAMES[1]);
        let set = sqs.set_queue_attributes().queue_url(url);
        set.attributes(name, value).send().await.unwrap();
    }

    fn bury(&self, body: String) -> String {
        let options = SendOptions {
            group_id: Some("acme".to_owned()),
            ..SendOptions::default()
        };
        self.queues.send(DEAD, body, options).unwrap()
    }

    fn visible(&self, queue: &str) -> usize {
        self.queues.depth(queue).visible
    }
}

fn body(n: u8) -> String {
    run(n).body().unwrap()
}

#[tokio::test]
async fn dead_letters_are_counted_and_seen_and_stay_where_they_are() {
    let foreign = "{\"v\":1,\"type\":\"invoice\"}".to_owned();
    let (cloud, [first, _, last]) = Cloud::with_dead([body(1), body(2), foreign]).await;
    for _ in 0..2 {
        let dead = cloud.queue.dead(STANDARD).await.unwrap().unwrap();
        assert_eq!((dead.depth.visible, dead.depth.in_flight), (3, 0));
        assert!(dead.oldest_sent_at.is_some());
        let letters = cloud.queue.dead_letters(STANDARD, 10).await.unwrap();
        let letters = letters.unwrap();
        assert_eq!(letters.len(), 3);
        let of = |id: &String| letters.iter().find(|letter| letter.id == *id).unwrap();
        let about = of(&first).about.as_ref().unwrap();
        assert_eq!(about.kind, "run");
        assert_eq!(about.tenant.as_ref().unwrap().as_str(), "acme");
        assert_eq!(about.run, Some(run(1).run));
        let refused = of(&last).about.as_ref().unwrap_err().to_string();
        assert!(refused.contains("`invoice`"), "{refused}");
    }
    let few = cloud.queue.dead_letters(STANDARD, 2).await.unwrap();
    assert_eq!(few.unwrap().len(), 2);
    assert_eq!(cloud.visible(DEAD), 3, "all can be received at once");
}

#[tokio::test]
async fn all_of_them_go_back_as_they_were() {
    let bodies = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map(body);
    let (cloud, _) = Cloud::with_dead(bodies.clone()).await;
    let mut options = SendOptions::default();
    let note = AttributeValue::text("String", "kept");
    options.attributes.insert("note".to_owned(), note);
    cloud.queues.send(DEAD, body(13), options).unwrap();
    let redriven = cloud.queue.redrive(STANDARD, Which::First(5)).await;
    assert_eq!(redriven.unwrap(), Some(moved(5)));
    let redriven = cloud.queue.redrive(STANDARD, Which::First(100)).await;
    assert_eq!(redriven.unwrap(), Some(moved(8)));
    assert_eq!((cloud.visible(DEAD), cloud.visible(NAMES[1])), (0, 13));
    let mut back = cloud.receive(NAMES[1], 10).await;
    back.extend(cloud.receive(NAMES[1], 10).await);
    for message in back {
        if message.body == body(13) {
            let note = &message.message_attributes["note"];
            assert_eq!(note["stringValue"], "kept");
        } else {
            assert!(bodies.contains(&message.body));
            assert_eq!(message.attributes["MessageGroupId"], "acme");
        }
    }
    let none = cloud.queue.redrive(STANDARD, Which::First(100)).await;
    assert_eq!(none.unwrap(), Some(moved(0)), "again moves nothing");
}

fn moved(moved: usize) -> Redriven {
    Redriven { moved, failed: 0 }
}

#[tokio::test]
async fn those_that_are_named_go_back_and_the_others_stay() {
    let (cloud, ids) = Cloud::with_dead([1, 2, 3].map(body)).await;
    let wanted = [ids[1].clone(), "another".to_owned()];
    let redriven = cloud.queue.redrive(STANDARD, Which::These(&wanted)).await;
    assert_eq!(redriven.unwrap(), Some(moved(1)));
    assert_eq!(cloud.receive(NAMES[1], 10).await[0].body, body(2));
    assert_eq!(cloud.visible(DEAD), 2, "the others can be received at once");
}

#[tokio::test]
async fn whoever_dies_between_sending_and_deleting_loses_nothing() {
    let (cloud, _) = Cloud::with_dead([1, 2].map(body)).await;
    cloud
        .faults
        .add(Rule::new(Fault::FailBefore).on("DeleteMessageBatch"));
    let died = cloud.queue.redrive(STANDARD, Which::First(10)).await;
    assert!(died.unwrap_err().is_transient());
    cloud.faults.clear();
    let hidden = cloud.queues.depth(DEAD);
    assert_eq!((hidden.visible, hidden.in_flight), (0, 2));
    // Until they are seen again they stand in both queues; then they go back once more.
    cloud.queues.advance(Duration::from_secs(61));
    let redriven = cloud.queue.redrive(STANDARD, Which::First(10)).await;
    assert_eq!(redriven.unwrap(), Some(moved(2)));
    assert_eq!(cloud.visible(DEAD), 0);
    let twice = cloud.receive(NAMES[1], 10).await;
    let mut bodies: Vec<_> = twice.into_iter().map(|it| it.body).collect();
    bodies.sort_unstable();
    assert_eq!(bodies, [body(1), body(1), body(2), body(2)]);
}

#[tokio::test]
async fn what_is_not_sent_stays_and_can_be_received_at_once() {
    let (cloud, _) = Cloud::with_dead([1, 2].map(body)).await;
    for fault in [Fault::FailBefore, Fault::Throttle] {
        cloud.faults.add(Rule::new(fault).on("SendMessageBatch"));
        let failed = cloud.queue.redrive(STANDARD, Which::First(10)).await;
        assert!(failed.unwrap_err().is_transient());
        cloud.faults.clear();
        assert_eq!((cloud.visible(DEAD), cloud.visible(NAMES[1])), (2, 0));
    }
    // One that its queue does not take keeps none of the others.
    let (small, large) = ("1024".to_owned(), "x".repeat(2_000));
    cloud
        .attribute(QueueAttributeName::MaximumMessageSize, small)
        .await;
    cloud.bury(large);
    let redriven = cloud.queue.redrive(STANDARD, Which::First(10)).await;
    let expected = Redriven {
        moved: 2,
        failed: 1,
    };
    assert_eq!(redriven.unwrap(), Some(expected));
    assert_eq!((cloud.visible(DEAD), cloud.visible(NAMES[1])), (1, 2));
}

#[tokio::test]
async fn a_queue_with_nothing_behind_it_says_so() {
    let cloud = Cloud::new();
    for origin in Origin::ALL {
        assert_eq!(cloud.queue.dead(origin).await.unwrap(), None);
        let letters = cloud.queue.dead_letters(origin, 1).await.unwrap();
        assert!(letters.is_none());
        let redriven = cloud.queue.redrive(origin, Which::First(1)).await;
        assert_eq!(redriven.unwrap(), None);
        assert_eq!(Origin::parse(origin.as_str()), Some(origin));
    }
}

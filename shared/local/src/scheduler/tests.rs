//! Schedules through the official SDK, in process.

use aws_credential_types::Credentials;
use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::config::{BehaviorVersion, Region};
use aws_sdk_scheduler::operation::create_schedule::builders::CreateScheduleFluentBuilder;
use aws_sdk_scheduler::types::{
    ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, SqsParameters, Target,
};
use tokio::sync::oneshot;

use super::*;
use crate::wire::connector;

fn client(schedules: &Schedules) -> Client {
    let config = aws_sdk_scheduler::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .endpoint_url("http://scheduler.local")
        .http_client(connector(schedules.router()));
    Client::from_conf(config.build())
}

fn queues() -> Queues {
    let queues = Queues::open(None).unwrap();
    queues.create("q", &BTreeMap::new()).unwrap();
    queues
}

/// A schedule `after` now, rounded to seconds.
fn one_shot(client: &Client, name: &str, after: Duration) -> CreateScheduleFluentBuilder {
    let at = DateTime::from(std::time::SystemTime::now() + after);
    let at = DateTime::from_secs(at.secs())
        .fmt(Format::DateTime)
        .unwrap();
    let target = Target::builder()
        .arn(sqs::arn("q"))
        .role_arn("arn:aws:iam::000000000000:role/r")
        .input(name);
    let group = SqsParameters::builder().message_group_id("tenant").build();
    client
        .create_schedule()
        .name(name)
        .schedule_expression(format!("at({})", at.trim_end_matches('Z')))
        .flexible_time_window(
            FlexibleTimeWindow::builder()
                .mode(FlexibleTimeWindowMode::Off)
                .build()
                .unwrap(),
        )
        .action_after_completion(ActionAfterCompletion::Delete)
        .target(target.sqs_parameters(group).build().unwrap())
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn a_schedule_fires_once_when_due_and_is_gone() {
    let queues = queues();
    let schedules = Schedules::open(None, queues.clone()).unwrap();
    let client = client(&schedules);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(schedules.clone().run(async move { drop(stopped.await) }));
    let created = one_shot(&client, "timer", HOUR).send().await.unwrap();
    assert!(created.schedule_arn().ends_with("schedule/default/timer"));
    one_shot(&client, "late", HOUR * 2).send().await.unwrap();
    schedules.advance(HOUR - Duration::from_secs(5));
    assert!(queues.receive("q", 1, Duration::ZERO).await.is_empty());
    schedules.advance(Duration::from_secs(5));
    let received = queues.receive("q", 10, Duration::from_secs(20)).await;
    assert_eq!(received.len(), 1);
    assert_eq!(
        (
            received[0].body.as_str(),
            received[0].attributes["MessageGroupId"].as_str()
        ),
        ("timer", "tenant")
    );
    let gone = client
        .get_schedule()
        .name("timer")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(gone.is_resource_not_found_exception());
    assert_eq!(schedules.pending(), 1);
    drop(stop);
    running.await.unwrap();
}

#[tokio::test]
async fn a_schedule_is_read_and_deleted() {
    let schedules = Schedules::open(None, queues()).unwrap();
    let client = client(&schedules);
    one_shot(&client, "timer", HOUR).send().await.unwrap();
    let read = client
        .get_schedule()
        .name("timer")
        .group_name("default")
        .send()
        .await
        .unwrap();
    assert_eq!(read.target().unwrap().input(), Some("timer"));
    assert!(read.schedule_expression().unwrap().starts_with("at("));
    assert!(read.creation_date().is_some());
    client.delete_schedule().name("timer").send().await.unwrap();
    let gone = client
        .delete_schedule()
        .name("timer")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(gone.is_resource_not_found_exception());
    assert_eq!(schedules.pending(), 0);
}

#[tokio::test]
async fn a_repeated_creation_is_one_and_another_of_its_name_is_refused() {
    let schedules = Schedules::open(None, queues()).unwrap();
    let client = client(&schedules);
    let create = one_shot(&client, "timer", HOUR).client_token("token");
    create.clone().send().await.unwrap();
    create.clone().send().await.unwrap();
    let other = create
        .clone()
        .client_token("other")
        .send()
        .await
        .unwrap_err()
        .into_service_error();
    assert!(other.is_conflict_exception(), "{other:?}");
    assert_eq!(schedules.pending(), 1);
}

#[tokio::test]
async fn what_it_cannot_do_is_refused() {
    let schedules = Schedules::open(None, queues()).unwrap();
    let client = client(&schedules);
    let create = one_shot(&client, "timer", HOUR);
    for wrong in [
        create.clone().schedule_expression("rate(1 hour)"),
        create.clone().schedule_expression("at(tomorrow)"),
        create.clone().schedule_expression_timezone("Europe/Berlin"),
        create.clone().name("not valid"),
    ] {
        let error = wrong.send().await.unwrap_err().into_service_error();
        assert!(error.is_validation_exception(), "{error:?}");
    }
}

#[tokio::test]
async fn schedules_survive_the_process_and_fire_late() {
    let folder = tempfile::tempdir().unwrap();
    let queues = queues();
    let open = || Schedules::open(Some(folder.path()), queues.clone()).unwrap();
    let first = open();
    let client = client(&first);
    one_shot(&client, "due", HOUR).send().await.unwrap();
    one_shot(&client, "deleted", HOUR).send().await.unwrap();
    one_shot(&client, "kept", HOUR)
        .action_after_completion(ActionAfterCompletion::None)
        .send()
        .await
        .unwrap();
    client
        .delete_schedule()
        .name("deleted")
        .send()
        .await
        .unwrap();
    let second = open();
    assert_eq!(second.pending(), 2);
    second.advance(HOUR * 2);
    assert!(second.fire().is_none());
    assert_eq!(queues.depth("q").visible, 2);
    let third = open();
    assert_eq!(third.pending(), 0);
    assert!(third.read("default", "kept").unwrap().completed);
}

#[tokio::test]
async fn a_schedule_whose_queue_is_missing_does_not_hold_up_others() {
    let queues = Queues::open(None).unwrap();
    let schedules = Schedules::open(None, queues).unwrap();
    one_shot(&client(&schedules), "lost", Duration::ZERO)
        .send()
        .await
        .unwrap();
    assert!(schedules.fire().is_none());
    assert_eq!(schedules.pending(), 0);
}

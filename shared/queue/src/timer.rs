//! Timers over 15 minutes: one-shot schedules of EventBridge Scheduler.
//!
//! The target is SQS's `SendMessage` as a *universal* target, whose input is the request itself. Unlike the templated queue
//! target it can name the message group, so a message that was delayed counts towards its tenant like any other
//! (source: EventBridge Scheduler user guide, "Using universal targets").

use aws_sdk_scheduler::Client;
use aws_sdk_scheduler::operation::create_schedule::CreateScheduleError;
use aws_sdk_scheduler::types::{
    ActionAfterCompletion, FlexibleTimeWindow, FlexibleTimeWindowMode, Target,
};
use domain::time::At;
use serde_json::json;

use crate::config::Timers;
use crate::error::Error;
use crate::message::RunMessage;

const SEND_MESSAGE: &str = "arn:aws:scheduler:::aws-sdk:sqs:sendMessage";

pub(crate) async fn schedule(
    scheduler: &Client,
    timers: &Timers,
    url: &str,
    message: &RunMessage,
    body: String,
    due_at: At,
) -> Result<(), Error> {
    // The scheduler counts in whole seconds; one second late is better than early.
    let due_at = At(due_at.0.div_ceil(1_000).saturating_mul(1_000));
    let name = name(message, due_at);
    let input = json!({
        "QueueUrl": url,
        "MessageBody": body,
        "MessageGroupId": message.tenant,
    });
    let target = Target::builder()
        .arn(SEND_MESSAGE)
        .role_arn(&timers.role_arn)
        .input(input.to_string())
        .build()
        .expect("ARN and role are set");
    let window = FlexibleTimeWindow::builder()
        .mode(FlexibleTimeWindowMode::Off)
        .build()
        .expect("the mode is set");
    let created = scheduler
        .create_schedule()
        .name(&name)
        .group_name(&timers.group)
        .schedule_expression(at_expression(due_at))
        .flexible_time_window(window)
        .action_after_completion(ActionAfterCompletion::Delete)
        .target(target)
        .send()
        .await;
    match created {
        Ok(_) => Ok(()),
        // The same timer was set before.
        Err(error)
            if error
                .as_service_error()
                .is_some_and(CreateScheduleError::is_conflict_exception) =>
        {
            Ok(())
        }
        Err(error) => Err(Error::request("create the schedule", &name, error)),
    }
}

/// The same for every attempt to set the same timer. At most 64 letters, digits, `-`, `_` and `.` (limit of the service).
fn name(message: &RunMessage, due_at: At) -> String {
    format!("{}-{}", message.run, due_at.0 / 1_000)
}

/// `at(yyyy-mm-ddThh:mm:ss)`, in UTC unless a time zone is given.
fn at_expression(due_at: At) -> String {
    let text = due_at.to_string();
    let seconds = text.split('.').next().unwrap_or(&text);
    format!("at({seconds})")
}

#[cfg(test)]
mod tests {
    use domain::id::{RunId, TenantId};

    use super::*;

    #[test]
    fn the_name_and_the_instant_are_what_the_scheduler_takes() {
        let message = RunMessage::new(TenantId::parse("acme").unwrap(), RunId::from_bytes([0; 16]));
        let at = At(1_700_000_000_000);
        assert_eq!(at_expression(at), "at(2023-11-14T22:13:20)");
        assert_eq!(
            name(&message, at),
            "run_00000000000000000000000000000000-1700000000"
        );
        assert!(name(&message, At(u64::MAX)).len() <= 64);
    }
}

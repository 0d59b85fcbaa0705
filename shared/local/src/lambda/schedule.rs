//! Schedules: EventBridge scheduled events at a fixed rate.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

use super::{Lambda, OWNER_ID};

pub(super) async fn run(lambda: Lambda, function: String, every: Duration) {
    let mut beat = tokio::time::interval_at(Instant::now() + every, every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        beat.tick().await;
        let event = event(
            &function,
            lambda.region(),
            Uuid::new_v4(),
            jiff::Timestamp::now(),
        );
        if let Err(error) = lambda.invoke(&function, event.to_string().into()).await {
            tracing::warn!(function.name = %function, %error, "scheduled invocation failed");
        }
    }
}

/// The event of a rule named like the function.
///
/// Source: <https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-scheduled-event.html>.
fn event(function: &str, region: &str, id: Uuid, at: jiff::Timestamp) -> serde_json::Value {
    serde_json::json!({
        "version": "0",
        "id": id.to_string(),
        "detail-type": "Scheduled Event",
        "source": "aws.events",
        "account": OWNER_ID,
        "time": at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "region": region,
        "resources": [format!("arn:aws:events:{region}:{OWNER_ID}:rule/{function}")],
        "detail": {},
    })
}

#[cfg(test)]
mod tests {
    use aws_lambda_events::event::eventbridge::EventBridgeEvent;

    use super::*;

    #[test]
    fn scheduled_event_has_the_shape_of_event_bridge() {
        let at = jiff::Timestamp::from_second(1_700_000_000).unwrap();
        let value = event("janitor", "eu-central-1", Uuid::nil(), at);
        let event: EventBridgeEvent<serde_json::Value> = serde_json::from_value(value).unwrap();
        assert_eq!(event.detail_type, "Scheduled Event");
        assert_eq!(event.source, "aws.events");
        assert_eq!(
            event.time.unwrap().to_rfc3339(),
            "2023-11-14T22:13:20+00:00"
        );
        let rule = "arn:aws:events:eu-central-1:000000000000:rule/janitor";
        assert_eq!(event.resources.unwrap(), [rule]);
    }
}

//! Through the official SDKs, against the local queues.

mod consume;
mod dead;
mod send;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent, SqsMessage};
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use axum::Router;
use domain::id::{RunId, TenantId};
use domain::run::Lane;
use local::sqs::{Queues, Received};
use local::wire::{Faults, Meter, connector};

use crate::*;

/// Local queues, and what stands between them and us.
struct Cloud {
    queues: Queues,
    faults: Faults,
    meter: Meter,
    queue: Queue,
}

const NAMES: [&str; 5] = [
    "runs-interactive",
    "runs-standard",
    "runs-batch",
    "tasks",
    "sweeps",
];

fn config(beat: Beat) -> Config {
    let [
        interactive_url,
        standard_url,
        batch_url,
        tasks_url,
        sweeps_url,
    ] = NAMES.map(local::sqs::url);
    Config {
        interactive_url,
        standard_url,
        batch_url,
        tasks_url,
        sweeps_url,
        timers: Some(Timers {
            group: "skein".to_owned(),
            role_arn: "arn:aws:iam::000000000000:role/timers".to_owned(),
        }),
        beat,
    }
}

impl Cloud {
    fn new() -> Self {
        Self::with(Beat::default(), None)
    }

    fn with(beat: Beat, scheduler: Option<Router>) -> Self {
        let queues = Queues::open(None).unwrap();
        for name in NAMES {
            let hidden = ("VisibilityTimeout".to_owned(), "300".to_owned());
            queues.create(name, &BTreeMap::from([hidden])).unwrap();
        }
        let (faults, meter) = (Faults::default(), Meter::default());
        let router = meter.wrap(faults.wrap(queues.router()));
        let sqs = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("any", "thing", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url("http://sqs.local")
            .http_client(connector(router))
            .build();
        let scheduler = scheduler.map(|router| {
            let config = aws_sdk_scheduler::Config::builder()
                .behavior_version(aws_sdk_scheduler::config::BehaviorVersion::latest())
                .region(Region::new("us-east-1"))
                .credentials_provider(Credentials::new("any", "thing", None, None, "test"))
                .retry_config(RetryConfig::disabled())
                .http_client(connector(router))
                .build();
            aws_sdk_scheduler::Client::from_conf(config)
        });
        let sqs = aws_sdk_sqs::Client::from_conf(sqs);
        Self {
            queues,
            faults,
            meter,
            queue: Queue::new(sqs, scheduler, config(beat)),
        }
    }

    async fn receive(&self, queue: &str, max: usize) -> Vec<Received> {
        self.queues.receive(queue, max, Duration::ZERO).await
    }

    /// Receives what waits in the standard lane, as Lambda would hand it over.
    async fn deliver(&self) -> SqsEvent {
        let received = self.receive(NAMES[1], 10).await;
        let mut event = SqsEvent::default();
        event.records = received.into_iter().map(record).collect();
        event
    }

    fn requests(&self, operation: &str) -> u64 {
        self.meter.snapshot().of(operation).requests
    }
}

fn record(received: Received) -> SqsMessage {
    let mut record = SqsMessage::default();
    record.message_id = Some(received.message_id);
    record.receipt_handle = Some(received.receipt_handle);
    record.body = Some(received.body);
    record.attributes = HashMap::from_iter(received.attributes);
    record.event_source_arn = Some(local::sqs::arn(NAMES[1]));
    record
}

fn failed(response: &SqsBatchResponse) -> Vec<&str> {
    let failures = response.batch_item_failures.iter();
    failures.map(|it| it.item_identifier.as_str()).collect()
}

fn run(n: u8) -> RunMessage {
    RunMessage::new(TenantId::parse("acme").unwrap(), RunId::from_bytes([n; 16]))
}

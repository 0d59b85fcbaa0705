//! Gauges: what somebody looks up once in a while, sent to CloudWatch directly.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::error::SdkError;
use aws_sdk_cloudwatch::operation::put_metric_data::PutMetricDataError;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};

use crate::emf::{self, Unit};

/// Most metrics of one request (limit of `PutMetricData`).
const MOST: usize = 1_000;

/// Why gauges were not stored.
#[derive(Debug, thiserror::Error)]
#[error("cannot store the gauges")]
pub struct Error(#[source] Box<SdkError<PutMetricDataError>>);

impl Error {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match &*self.0 {
            SdkError::ServiceError(refused) => {
                let status = refused.raw().status();
                let throttled = refused
                    .err()
                    .meta()
                    .code()
                    .is_some_and(|code| code.contains("Throttl"));
                throttled || status.is_server_error()
            }
            SdkError::TimeoutError(_) | SdkError::ResponseError(_) => true,
            SdkError::DispatchFailure(failure) => !failure.is_user(),
            // Only `ConstructionFailure` today: the request itself is wrong.
            _ => false,
        }
    }
}

/// Writes gauges of one service.
#[derive(Clone, Debug)]
pub struct Gauges {
    client: Client,
    service: String,
}

impl Gauges {
    /// Gauges of this service, through this client.
    #[must_use]
    pub fn new(client: Client, service: &str) -> Self {
        let service = service.to_owned();
        Self { client, service }
    }

    /// Stores the values as of now, in the namespace of this process's other metrics, with the dimension `service`.
    ///
    /// # Errors
    /// When CloudWatch refuses or cannot be reached; of more than 1,000 values the first thousands may be stored then.
    pub async fn put(&self, values: &[(&str, Unit, f64)]) -> Result<(), Error> {
        let service = Dimension::builder()
            .name("service")
            .value(&self.service)
            .build();
        for values in values.chunks(MOST) {
            let data = values.iter().map(|(name, unit, value)| {
                MetricDatum::builder()
                    .metric_name(*name)
                    .unit(standard(*unit))
                    .value(*value)
                    .dimensions(service.clone())
                    .build()
            });
            self.client
                .put_metric_data()
                .namespace(emf::namespace())
                .set_metric_data(Some(data.collect()))
                .send()
                .await
                .map_err(|error| Error(Box::new(error)))?;
        }
        Ok(())
    }
}

fn standard(unit: Unit) -> StandardUnit {
    match unit {
        Unit::Count => StandardUnit::Count,
        Unit::Milliseconds => StandardUnit::Milliseconds,
        Unit::Bytes => StandardUnit::Bytes,
        Unit::Percent => StandardUnit::Percent,
        Unit::None => StandardUnit::None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use aws_sdk_cloudwatch::config::retry::RetryConfig;
    use aws_sdk_cloudwatch::config::{BehaviorVersion, Credentials, Region};
    use axum::Router;
    use axum::http::StatusCode;

    use super::*;

    /// Gauges that are answered with `status`, and how many requests they made.
    fn gauges(status: StatusCode) -> (Gauges, Arc<AtomicUsize>) {
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let router = Router::new().fallback(move || async move {
            counter.fetch_add(1, Ordering::Relaxed);
            // An empty CBOR map.
            (status, [("smithy-protocol", "rpc-v2-cbor")], vec![0xa0])
        });
        let config = aws_sdk_cloudwatch::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("any", "thing", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .http_client(local::wire::connector(router))
            .build();
        let gauges = Gauges::new(Client::from_conf(config), "janitor");
        (gauges, requests)
    }

    #[tokio::test]
    async fn many_gauges_go_in_few_requests() {
        let (gauges, requests) = gauges(StatusCode::OK);
        let values = vec![("queue_depth", Unit::Count, 1.0); MOST + 1];
        gauges.put(&values).await.unwrap();
        assert_eq!(requests.load(Ordering::Relaxed), 2);
        gauges.put(&[]).await.unwrap();
        assert_eq!(requests.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn only_what_may_pass_is_transient() {
        for (status, transient) in [
            (StatusCode::SERVICE_UNAVAILABLE, true),
            (StatusCode::BAD_REQUEST, false),
        ] {
            let (gauges, _) = gauges(status);
            let refused = gauges.put(&[("queue_depth", Unit::Count, 1.0)]).await;
            assert_eq!(refused.unwrap_err().is_transient(), transient, "{status}");
        }
    }
}

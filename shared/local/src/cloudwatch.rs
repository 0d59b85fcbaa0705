//! Metrics: a stand-in for CloudWatch's `PutMetricData` that keeps the latest value of every metric.
//!
//! It speaks Smithy's RPC v2 CBOR protocol, which is what the SDK uses, compressed or not. Nothing is aggregated, read back
//! over HTTP or stored.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use aws_smithy_cbor::data::Type;
use aws_smithy_cbor::decode::DeserializeError;
use aws_smithy_cbor::{Decoder, Encoder};
use aws_smithy_types::DateTime;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use flate2::read::GzDecoder;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The largest request, uncompressed: 1 MB (CloudWatch's own limit).
const LARGEST_REQUEST_BYTES: u64 = 1 << 20;
/// Deeper nesting than any request has.
const DEEPEST: u8 = 8;

/// All metrics of one local cloud. Clones are cheap and share everything.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<BTreeMap<Name, Datapoint>>>);

/// What tells one metric from another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// The namespace.
    pub namespace: String,
    /// The metric's name.
    pub metric: String,
    /// The dimensions by name.
    pub dimensions: BTreeMap<String, String>,
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Datapoint {
    /// The value; of several values the last, of a statistic set the mean.
    pub value: f64,
    /// The unit as it was sent, such as `Count`.
    pub unit: Option<String>,
    /// When it was measured, in milliseconds since the Unix epoch.
    pub at_ms: i64,
}

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("the body cannot be decompressed")]
    Compressed(#[from] std::io::Error),
    #[error("the body is not CBOR: {0}")]
    Cbor(#[from] DeserializeError),
    #[error("the request is not one to put metric data: {0}")]
    Shape(#[from] serde_json::Error),
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutMetricData {
    namespace: String,
    #[serde(default)]
    metric_data: Vec<Datum>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Datum {
    metric_name: String,
    #[serde(default)]
    dimensions: Vec<Dimension>,
    /// Milliseconds since the Unix epoch, once decoded.
    timestamp: Option<i64>,
    value: Option<f64>,
    values: Option<Vec<f64>>,
    statistic_values: Option<Statistics>,
    unit: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Dimension {
    name: String,
    value: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Statistics {
    sample_count: f64,
    sum: f64,
}

impl Datum {
    fn value(&self) -> Option<f64> {
        let last = || self.values.as_ref()?.last().copied();
        let mean = || {
            self.statistic_values
                .as_ref()
                .map(|values| values.sum / values.sample_count)
        };
        self.value.or_else(last).or_else(mean)
    }
}

impl Metrics {
    /// The latest value of every metric.
    #[must_use]
    pub fn latest(&self) -> BTreeMap<Name, Datapoint> {
        self.lock().clone()
    }

    /// The HTTP service: `PutMetricData` where the SDK posts it.
    pub fn router(&self) -> Router {
        Router::new()
            .route(
                "/service/GraniteServiceVersion20100801/operation/PutMetricData",
                post(put),
            )
            .with_state(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Name, Datapoint>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, request: PutMetricData) {
        let now_ms = DateTime::from(SystemTime::now())
            .to_millis()
            .unwrap_or_default();
        let mut metrics = self.lock();
        for datum in request.metric_data {
            let Some(value) = datum.value() else {
                continue;
            };
            let dimensions = datum
                .dimensions
                .into_iter()
                .map(|dimension| (dimension.name, dimension.value));
            let name = Name {
                namespace: request.namespace.clone(),
                metric: datum.metric_name,
                dimensions: dimensions.collect(),
            };
            let at_ms = datum.timestamp.unwrap_or(now_ms);
            if metrics
                .get(&name)
                .is_none_or(|before| before.at_ms <= at_ms)
            {
                metrics.insert(
                    name,
                    Datapoint {
                        value,
                        unit: datum.unit,
                        at_ms,
                    },
                );
            }
        }
    }
}

async fn put(State(metrics): State<Metrics>, headers: HeaderMap, body: Bytes) -> Response {
    let compressed = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding == "gzip");
    match read(&body, compressed) {
        Ok(request) => {
            metrics.put(request);
            let mut body = Encoder::new(Vec::new());
            body.begin_map().end();
            answer(StatusCode::OK, body)
        }
        Err(error) => {
            let mut body = Encoder::new(Vec::new());
            body.begin_map();
            body.str("__type")
                .str("com.amazonaws.cloudwatch#InvalidParameterValueException");
            body.str("message").str(&error.to_string());
            body.end();
            let mut response = answer(StatusCode::BAD_REQUEST, body);
            let code = http::HeaderValue::from_static("InvalidParameterValue;Sender");
            response.headers_mut().insert("x-amzn-query-error", code);
            response
        }
    }
}

fn answer(status: StatusCode, body: Encoder) -> Response {
    let headers = [
        ("smithy-protocol", "rpc-v2-cbor"),
        ("content-type", "application/cbor"),
    ];
    (status, headers, body.into_writer()).into_response()
}

fn read(body: &[u8], compressed: bool) -> Result<PutMetricData, Error> {
    let mut plain = Vec::new();
    let body = if compressed {
        GzDecoder::new(body)
            .take(LARGEST_REQUEST_BYTES)
            .read_to_end(&mut plain)?;
        plain.as_slice()
    } else {
        body
    };
    let request = decode(&mut Decoder::new(body), DEEPEST)?;
    Ok(serde_json::from_value(request)?)
}

/// CBOR as JSON, which has all that this request needs; times become milliseconds.
fn decode(decoder: &mut Decoder<'_>, depth: u8) -> Result<Value, DeserializeError> {
    let too_deep = || DeserializeError::custom("nested too deeply", 0);
    Ok(match decoder.datatype()? {
        Type::Map | Type::MapIndef => {
            let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
            let length = decoder.map()?;
            let mut map = Map::new();
            while more(decoder, length, map.len())? {
                let name = decoder.str()?.into_owned();
                map.insert(name, decode(decoder, depth)?);
            }
            Value::Object(map)
        }
        Type::Array | Type::ArrayIndef => {
            let depth = depth.checked_sub(1).ok_or_else(too_deep)?;
            let length = decoder.list()?;
            let mut list = Vec::new();
            while more(decoder, length, list.len())? {
                list.push(decode(decoder, depth)?);
            }
            Value::Array(list)
        }
        Type::String | Type::StringIndef => Value::from(decoder.str()?.into_owned()),
        Type::Bool => Value::from(decoder.boolean()?),
        Type::F16 | Type::F32 | Type::F64 => Value::from(decoder.double()?),
        Type::Tag => Value::from(decoder.timestamp()?.to_millis().unwrap_or_default()),
        Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::I8
        | Type::I16
        | Type::I32
        | Type::I64 => Value::from(decoder.long()?),
        _ => {
            decoder.skip()?;
            Value::Null
        }
    })
}

/// Whether a map or list goes on; reads the break that ends one of unknown length.
fn more(
    decoder: &mut Decoder<'_>,
    length: Option<u64>,
    read: usize,
) -> Result<bool, DeserializeError> {
    match length {
        Some(length) => Ok((read as u64) < length),
        None if decoder.datatype()? == Type::Break => {
            decoder.skip()?;
            Ok(false)
        }
        None => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use aws_credential_types::Credentials;
    use aws_sdk_cloudwatch::Client;
    use aws_sdk_cloudwatch::config::{BehaviorVersion, Region};
    use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};

    use super::*;
    use crate::wire::connector;

    fn client(metrics: &Metrics) -> Client {
        let config = aws_sdk_cloudwatch::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
            .endpoint_url("http://monitoring.local")
            .http_client(connector(metrics.router()));
        Client::from_conf(config.build())
    }

    fn datum(name: &str, value: f64, at_secs: i64) -> MetricDatum {
        MetricDatum::builder()
            .metric_name(name)
            .value(value)
            .unit(StandardUnit::Count)
            .timestamp(DateTime::from_secs(at_secs))
            .dimensions(Dimension::builder().name("Lane").value("batch").build())
            .build()
    }

    #[tokio::test]
    async fn the_latest_value_of_a_metric_can_be_read() {
        let metrics = Metrics::default();
        let client = client(&metrics);
        let put = client.put_metric_data().namespace("Skein");
        put.metric_data(datum("Queued", 3.5, 20))
            .metric_data(datum("Queued", 2.0, 10))
            .send()
            .await
            .unwrap();
        let latest = metrics.latest();
        let (name, datapoint) = latest.first_key_value().unwrap();
        assert_eq!(
            (name.namespace.as_str(), name.metric.as_str()),
            ("Skein", "Queued")
        );
        assert_eq!(name.dimensions["Lane"], "batch");
        assert_eq!(
            *datapoint,
            Datapoint {
                value: 3.5,
                unit: Some("Count".into()),
                at_ms: 20_000
            }
        );
    }

    #[tokio::test]
    async fn large_requests_that_the_sdk_compresses_are_read() {
        let metrics = Metrics::default();
        let data: Vec<_> = (0..500_u32)
            .map(|n| datum(&format!("Metric{n}"), f64::from(n), 1))
            .collect();
        let put = client(&metrics).put_metric_data().namespace("Skein");
        put.set_metric_data(Some(data)).send().await.unwrap();
        assert_eq!(metrics.latest().len(), 500);
    }

    #[test]
    fn bodies_that_are_not_a_request_are_refused() {
        assert!(matches!(read(b"\xa1", false), Err(Error::Cbor(_))));
        assert!(matches!(read(b"\xa0", false), Err(Error::Shape(_))));
        assert!(matches!(read(b"plain", true), Err(Error::Compressed(_))));
        assert!(
            matches!(read(&[0x81; 20], false), Err(Error::Cbor(_))),
            "nested too deeply"
        );
    }
}

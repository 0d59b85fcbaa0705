//! How a request names its operation and its protocol, for rules, counts and error bodies.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderName, Method, StatusCode};

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const CONTENT_SHA256: HeaderName = HeaderName::from_static("x-amz-content-sha256");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// Whose error bodies a client of this request can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// JSON 1.0 of the table.
    Table,
    /// JSON 1.0 of the queues, with the query protocol's code in a header.
    Queue,
    /// JSON 1.0 or 1.1 of any other service.
    Json,
    /// XML of the object store.
    Objects,
    /// REST with JSON bodies: models, scheduler.
    Rest,
}

impl Protocol {
    pub(super) fn of(parts: &Parts) -> Self {
        match target(parts) {
            Some(target) if target.starts_with("DynamoDB") => Self::Table,
            Some(target) if target.starts_with("AmazonSQS") => Self::Queue,
            Some(_) => Self::Json,
            None if parts.headers.contains_key(CONTENT_SHA256) => Self::Objects,
            None => Self::Rest,
        }
    }

    /// The service's own answer to a caller that is too fast; SDKs repeat it.
    pub(super) fn throttled(self) -> Response {
        match self {
            Self::Table => json_error(
                StatusCode::BAD_REQUEST,
                "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                "The level of configured provisioned throughput for the table was exceeded.",
            ),
            Self::Queue => {
                let mut response = json_error(
                    StatusCode::FORBIDDEN,
                    "com.amazonaws.sqs#RequestThrottled",
                    "The request was denied due to request throttling.",
                );
                response.headers_mut().insert(
                    QUERY_ERROR,
                    http::HeaderValue::from_static("RequestThrottled;Sender"),
                );
                response
            }
            Self::Json => json_error(
                StatusCode::BAD_REQUEST,
                "ThrottlingException",
                "Rate exceeded",
            ),
            Self::Objects => xml_error(
                StatusCode::SERVICE_UNAVAILABLE,
                "SlowDown",
                "Please reduce your request rate.",
            ),
            Self::Rest => rest_error(
                StatusCode::TOO_MANY_REQUESTS,
                "ThrottlingException",
                "Too many requests, please wait before trying again.",
            ),
        }
    }

    /// The service's own answer to a fault of its own, status 500.
    pub(super) fn failed(self) -> Response {
        const STATUS: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
        const MESSAGE: &str = "An internal error was injected before the request was executed.";
        match self {
            Self::Table => json_error(
                STATUS,
                "com.amazonaws.dynamodb.v20120810#InternalServerError",
                MESSAGE,
            ),
            Self::Queue | Self::Json => json_error(STATUS, "InternalFailure", MESSAGE),
            Self::Objects => xml_error(STATUS, "InternalError", MESSAGE),
            Self::Rest => rest_error(STATUS, "InternalServerException", MESSAGE),
        }
    }
}

/// The operation's name as its service calls it (`PutItem`, `SendMessage`, `Converse`,
/// `GetObject`), or method and path where nothing names one.
pub(super) fn operation(parts: &Parts) -> String {
    if let Some(target) = target(parts) {
        let name = target.rsplit_once('.').map_or(target, |(_, name)| name);
        return name.to_owned();
    }
    let path = parts.uri.path();
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let (first, last) = (segments.next(), segments.next_back());
    match (Protocol::of(parts), &parts.method, first, last) {
        (Protocol::Objects, method, first, last) => object_operation(parts, method, first, last),
        (_, &Method::POST, Some("model"), Some("converse")) => "Converse".to_owned(),
        (_, &Method::POST, Some("model"), Some("converse-stream")) => "ConverseStream".to_owned(),
        (_, &Method::POST, Some("model"), Some("count-tokens")) => "CountTokens".to_owned(),
        (_, &Method::POST, Some("schedules"), _) => "CreateSchedule".to_owned(),
        (_, &Method::DELETE, Some("schedules"), _) => "DeleteSchedule".to_owned(),
        (_, method, _, _) => format!("{method} {path}"),
    }
}

fn object_operation(
    parts: &Parts,
    method: &Method,
    bucket: Option<&str>,
    key: Option<&str>,
) -> String {
    // The SDK names most operations on objects in the query.
    let named = parts.uri.query().and_then(|query| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix("x-id="))
            .map(str::to_owned)
    });
    named.unwrap_or_else(|| match (method, bucket, key) {
        (&Method::HEAD, Some(_), Some(_)) => "HeadObject".to_owned(),
        (&Method::PUT, Some(_), None) => "CreateBucket".to_owned(),
        (&Method::HEAD, Some(_), None) => "HeadBucket".to_owned(),
        (&Method::DELETE, Some(_), None) => "DeleteBucket".to_owned(),
        (&Method::GET, Some(_), None) => "ListObjects".to_owned(),
        (&Method::GET, None, None) => "ListBuckets".to_owned(),
        (method, ..) => format!("{method} {}", parts.uri.path()),
    })
}

fn target(parts: &Parts) -> Option<&str> {
    parts.headers.get(TARGET)?.to_str().ok()
}

pub(super) fn json_error(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = serde_json::json!({ "__type": kind, "message": message });
    let headers = [(CONTENT_TYPE, "application/x-amz-json-1.0")];
    (status, headers, Body::from(body.to_string())).into_response()
}

fn rest_error(status: StatusCode, kind: &str, message: &str) -> Response {
    let body = serde_json::json!({ "message": message });
    let headers = [(CONTENT_TYPE, "application/json"), (ERROR_TYPE, kind)];
    (status, headers, Body::from(body.to_string())).into_response()
}

fn xml_error(status: StatusCode, code: &str, message: &str) -> Response {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let headers = [(CONTENT_TYPE, "application/xml")];
    (status, headers, Body::from(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(method: &str, target: &str, headers: &[(&str, &str)]) -> String {
        let mut request = http::Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        operation(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn operations_are_named_as_their_services_name_them() {
        let put_item = [("x-amz-target", "DynamoDB_20120810.PutItem")];
        assert_eq!(named("POST", "/", &put_item), "PutItem");
        let send = [("x-amz-target", "AmazonSQS.SendMessage")];
        assert_eq!(named("POST", "/", &send), "SendMessage");
        let converse = "/model/local.echo/converse";
        assert_eq!(named("POST", converse, &[]), "Converse");
        let stream = "/model/local.echo/converse-stream";
        assert_eq!(named("POST", stream, &[]), "ConverseStream");
        assert_eq!(named("POST", "/schedules/one", &[]), "CreateSchedule");
        let signed = [("x-amz-content-sha256", "UNSIGNED-PAYLOAD")];
        assert_eq!(named("GET", "/b/a/k?x-id=GetObject", &signed), "GetObject");
        assert_eq!(named("HEAD", "/b/a/k", &signed), "HeadObject");
        assert_eq!(named("PUT", "/b/", &signed), "CreateBucket");
        assert_eq!(named("GET", "/v1/runs", &[]), "GET /v1/runs");
    }
}

//! A function's reply as an HTTP answer.

use std::collections::BTreeMap;

use axum::{body::Body, response::Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;

use crate::lambda::{Chunks, InvokeError};

/// What stands between the prelude of a streamed reply and its body.
const SEPARATOR: [u8; 8] = [0; 8];

/// The largest prelude that is waited for.
const PRELUDE_LIMIT_BYTES: usize = 64 * 1024;

/// Why a streamed reply gave no answer.
#[derive(Debug)]
pub(super) enum StreamError {
    Malformed(String),
    Broken(InvokeError),
}

/// What a function says; the prelude of a streamed reply is the same without a body.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    status_code: u16,
    headers: Option<BTreeMap<String, Values>>,
    multi_value_headers: Option<BTreeMap<String, Values>>,
    cookies: Option<Vec<String>>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
    Number(serde_json::Number),
    Flag(bool),
}

/// The answer of a function that gave `{statusCode, headers, multiValueHeaders, body, isBase64Encoded}`.
pub(super) fn buffered(reply: &[u8]) -> Result<Response, String> {
    let mut answer: Answer = serde_json::from_slice(reply).map_err(|error| error.to_string())?;
    let text = answer.body.take().unwrap_or_default();
    let body: Bytes = if answer.is_base64_encoded == Some(true) {
        let decoded = BASE64_STANDARD.decode(text);
        decoded
            .map_err(|error| format!("its body is not base64: {error}"))?
            .into()
    } else {
        text.into()
    };
    answer.response(Body::from(body))
}

/// The answer of a function that streams: its prelude at once, and the body chunk by chunk as it comes.
pub(super) async fn streamed(mut chunks: Chunks) -> Result<Response, StreamError> {
    let mut start = BytesMut::new();
    let prelude = loop {
        let seen = start.len().saturating_sub(SEPARATOR.len() - 1);
        match chunks.next().await {
            Some(Ok(chunk)) => start.extend_from_slice(&chunk),
            Some(Err(error)) => return Err(StreamError::Broken(error)),
            None => return Err(malformed("its prelude has no end")),
        }
        let found = start[seen..]
            .windows(SEPARATOR.len())
            .position(|window| window == SEPARATOR);
        if let Some(at) = found {
            break start.split_to(seen + at);
        }
        if start.len() > PRELUDE_LIMIT_BYTES {
            return Err(malformed("its prelude is too long"));
        }
    };
    let answer: Answer = serde_json::from_slice(&prelude)
        .map_err(|error| StreamError::Malformed(error.to_string()))?;
    let first = start.split_off(SEPARATOR.len()).freeze();
    let first = (!first.is_empty()).then_some(Ok(first));
    let body = Body::from_stream(stream::iter(first).chain(chunks));
    answer.response(body).map_err(StreamError::Malformed)
}

fn malformed(reason: &str) -> StreamError {
    StreamError::Malformed(reason.to_owned())
}

impl Answer {
    fn response(self, body: Body) -> Result<Response, String> {
        let status = StatusCode::from_u16(self.status_code).map_err(|error| error.to_string())?;
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        for (name, values) in self.multi_value_headers.into_iter().flatten() {
            add(headers, &name, values)?;
        }
        // A pair that stands in both maps counts once.
        for (name, values) in self.headers.into_iter().flatten() {
            add(headers, &name, values)?;
        }
        for cookie in self.cookies.into_iter().flatten() {
            headers.append(header::SET_COOKIE, value(&cookie)?);
        }
        if !headers.contains_key(header::CONTENT_TYPE) {
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
        }
        Ok(response)
    }
}

fn add(headers: &mut HeaderMap, name: &str, values: Values) -> Result<(), String> {
    let name = HeaderName::from_bytes(name.as_bytes())
        .map_err(|_| format!("`{name}` is no header name"))?;
    // These are the connection's own affair.
    if [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
    ]
    .contains(&name)
    {
        return Ok(());
    }
    let values = match values {
        Values::One(value) => vec![value],
        Values::Many(values) => values,
        Values::Number(number) => vec![number.to_string()],
        Values::Flag(flag) => vec![flag.to_string()],
    };
    let before = headers.get_all(&name).iter().count();
    for text in values {
        let value = value(&text)?;
        let known = headers.get_all(&name).iter().take(before);
        if !known.into_iter().any(|known| *known == value) {
            headers.append(&name, value);
        }
    }
    Ok(())
}

fn value(text: &str) -> Result<HeaderValue, String> {
    HeaderValue::from_str(text).map_err(|_| format!("{text:?} is no header value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_both_maps_are_merged_and_pairs_counted_once() {
        let reply = r#"{
            "statusCode": 201,
            "headers": {"X-A": "1", "x-b": "3", "content-length": "999"},
            "multiValueHeaders": {"x-a": ["1", "2", "2"]},
            "body": "hello"
        }"#;
        let response = buffered(reply.as_bytes()).unwrap();
        assert_eq!(response.status(), 201);
        let headers = response.headers();
        let a: Vec<_> = headers.get_all("x-a").iter().collect();
        assert_eq!(a, ["1", "2", "2"]);
        assert_eq!(headers["x-b"], "3");
        assert!(!headers.contains_key("content-length"));
    }

    #[track_caller]
    fn check_malformed(reply: &str, reason: &str) {
        let error = buffered(reply.as_bytes()).unwrap_err();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn malformed_answers_say_why() {
        check_malformed("{}", "statusCode");
        check_malformed("\"text\"", "invalid type");
        check_malformed(r#"{"statusCode":9}"#, "status code");
        check_malformed(r#"{"statusCode":200,"headers":{"a b":"c"}}"#, "header name");
        let broken = r#"{"statusCode":200,"body":"%","isBase64Encoded":true}"#;
        check_malformed(broken, "base64");
    }
}

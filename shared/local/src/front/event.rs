//! A request as the event that an API Gateway REST API makes of it.
//!
//! Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html>.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::Write as _,
    net::IpAddr,
    time::{Duration, SystemTime},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header, request::Parts};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::guard::Passed;
use crate::lambda::OWNER_ID;

/// What an event is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Incoming<'a> {
    pub(super) parts: &'a Parts,
    pub(super) body: &'a [u8],
    pub(super) id: Uuid,
    pub(super) source_ip: IpAddr,
    pub(super) trace_id: &'a str,
    pub(super) stage: &'a str,
    pub(super) api_keys: &'a BTreeMap<String, String>,
    pub(super) resource: &'a str,
    pub(super) path_parameters: &'a [(&'a str, &'a str)],
    /// What it passed with, if anything stands before the functions.
    pub(super) passed: Option<&'a Passed>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Event<'a> {
    /// Only in what an authorizer is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    r#type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method_arn: Option<&'a str>,
    resource: &'a str,
    path: &'a str,
    http_method: &'a str,
    headers: Single<'a, &'a str>,
    multi_value_headers: Multiple<'a, &'a str>,
    query_string_parameters: Option<Single<'a, Cow<'a, str>>>,
    multi_value_query_string_parameters: Option<Multiple<'a, Cow<'a, str>>>,
    path_parameters: Option<Single<'a, Cow<'a, str>>>,
    stage_variables: Option<()>,
    request_context: Context<'a>,
    body: Option<Cow<'a, str>>,
    is_base64_encoded: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Context<'a> {
    account_id: &'static str,
    api_id: &'static str,
    resource_id: &'static str,
    resource_path: &'a str,
    operation_name: Option<()>,
    http_method: &'a str,
    path: String,
    stage: &'a str,
    protocol: String,
    domain_name: Cow<'a, str>,
    domain_prefix: &'static str,
    request_id: &'a str,
    extended_request_id: &'a str,
    request_time: String,
    request_time_epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorizer: Option<&'a Map<String, Value>>,
    identity: Identity<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Identity<'a> {
    source_ip: IpAddr,
    user_agent: Option<Cow<'a, str>>,
    api_key: Option<Cow<'a, str>>,
    api_key_id: Option<&'a str>,
    access_key: Option<()>,
    account_id: Option<()>,
    caller: Option<()>,
    user: Option<()>,
    user_arn: Option<()>,
}

/// The method of a request, as a resource of IAM.
pub(super) fn method_arn(incoming: &Incoming<'_>) -> String {
    let (stage, parts) = (incoming.stage, incoming.parts);
    let (method, path) = (&parts.method, parts.uri.path());
    format!("arn:aws:execute-api:us-east-1:{OWNER_ID}:local/{stage}/{method}{path}")
}

/// The event in JSON.
pub(super) fn build(incoming: &Incoming<'_>) -> Bytes {
    write(incoming, None)
}

/// What an authorizer is told of a request: the same, without a body.
pub(super) fn build_for_authorizer(incoming: &Incoming<'_>, method_arn: &str) -> Bytes {
    let incoming = Incoming {
        body: &[],
        ..*incoming
    };
    write(&incoming, Some(method_arn))
}

fn write(incoming: &Incoming<'_>, method_arn: Option<&str>) -> Bytes {
    let parts = incoming.parts;
    let (source_ip, id) = (incoming.source_ip.to_string(), incoming.id.to_string());
    let headers = headers(&parts.headers, &source_ip, incoming.trace_id);
    let headers: Pairs<'_, &str> = headers.iter().map(|(k, v)| (*k, v.as_ref())).collect();
    let query = query(parts.uri.query().unwrap_or_default());
    let query: Pairs<'_, _> = query.iter().map(|(k, v)| (k.as_ref(), v.clone())).collect();
    let path_parameters: Pairs<'_, _> = incoming
        .path_parameters
        .iter()
        .map(|(name, value)| (*name, decode(value, false)))
        .collect();
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let text = std::str::from_utf8(incoming.body).ok();
    let header = |name| parts.headers.get(name).map(lossy);
    let passed_key = incoming.passed.map(|passed| &passed.key);
    let api_key = match passed_key {
        Some((value, _)) => Some(Cow::Borrowed(value.as_str())),
        None => header("x-api-key"),
    };
    let event = Event {
        r#type: method_arn.map(|_| "REQUEST"),
        method_arn,
        resource: incoming.resource,
        path: parts.uri.path(),
        http_method: parts.method.as_str(),
        headers: Single(&headers),
        multi_value_headers: Multiple(&headers),
        query_string_parameters: (!query.is_empty()).then_some(Single(&query)),
        multi_value_query_string_parameters: (!query.is_empty()).then_some(Multiple(&query)),
        path_parameters: (!path_parameters.is_empty()).then_some(Single(&path_parameters)),
        stage_variables: None,
        request_context: Context {
            account_id: OWNER_ID,
            api_id: "local",
            resource_id: "local",
            resource_path: incoming.resource,
            operation_name: None,
            http_method: parts.method.as_str(),
            path: format!("/{}{}", incoming.stage, parts.uri.path()),
            stage: incoming.stage,
            protocol: format!("{:?}", parts.version),
            domain_name: header("host").unwrap_or(Cow::Borrowed("localhost")),
            domain_prefix: "local",
            request_id: &id,
            extended_request_id: &id,
            request_time: request_time(now),
            request_time_epoch: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            authorizer: incoming.passed.map(|passed| &passed.context),
            identity: Identity {
                source_ip: incoming.source_ip,
                user_agent: header("user-agent"),
                api_key_id: match passed_key {
                    Some((_, id)) => Some(id),
                    None => api_key
                        .as_deref()
                        .and_then(|key| incoming.api_keys.get(key))
                        .map(String::as_str),
                },
                api_key,
                access_key: None,
                account_id: None,
                caller: None,
                user: None,
                user_arn: None,
            },
        },
        body: match text {
            Some("") => None,
            Some(text) => Some(Cow::Borrowed(text)),
            None => Some(Cow::Owned(BASE64_STANDARD.encode(incoming.body))),
        },
        is_base64_encoded: text.is_none(),
    };
    let mut json = Vec::with_capacity(2048 + incoming.body.len() * 4 / 3);
    serde_json::to_writer(&mut json, &event).expect("strings and maps of strings serialise");
    json.into()
}

/// Names and values in the order they came, a name once per value.
type Pairs<'a, V> = Vec<(&'a str, V)>;

/// A map from each name to its last value.
struct Single<'a, V>(&'a [(&'a str, V)]);

/// A map from each name to all its values.
struct Multiple<'a, V>(&'a [(&'a str, V)]);

impl<V: Serialize> Serialize for Single<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            if self.0[index + 1..].iter().all(|(later, _)| later != name) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

impl<V: Serialize> Serialize for Multiple<'_, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (index, (name, _)) in self.0.iter().enumerate() {
            if self.0[..index].iter().all(|(earlier, _)| earlier != name) {
                let same = self.0[index..].iter().filter(|(other, _)| other == name);
                map.serialize_entry(name, &same.map(|(_, value)| value).collect::<Vec<_>>())?;
            }
        }
        map.end()
    }
}

/// The client's headers, and those that API Gateway adds or replaces.
fn headers<'a>(
    given: &'a HeaderMap,
    source_ip: &'a str,
    trace_id: &'a str,
) -> Vec<(&'a str, Cow<'a, str>)> {
    const FORWARDED_FOR: &str = "x-forwarded-for";
    const REPLACED: [&str; 4] = [
        FORWARDED_FOR,
        "x-forwarded-port",
        "x-forwarded-proto",
        "x-amzn-trace-id",
    ];
    let mut headers: Vec<(&str, Cow<'_, str>)> = given
        .iter()
        .map(|(name, value)| (name.as_str(), lossy(value)))
        .filter(|(name, _)| !REPLACED.contains(name))
        .collect();
    let forwarded_for = match given.get(FORWARDED_FOR) {
        Some(before) => Cow::Owned(format!("{}, {source_ip}", lossy(before))),
        None => Cow::Borrowed(source_ip),
    };
    let port = given
        .get(header::HOST)
        .and_then(|host| host.to_str().ok()?.rsplit_once(':'))
        .map_or("80", |(_, port)| port);
    headers.push(("X-Amzn-Trace-Id", Cow::Borrowed(trace_id)));
    headers.push(("X-Forwarded-For", forwarded_for));
    headers.push(("X-Forwarded-Port", Cow::Borrowed(port)));
    headers.push(("X-Forwarded-Proto", Cow::Borrowed("http")));
    headers
}

fn lossy(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

fn query(query: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        })
        .collect()
}

/// Undoes percent-encoding; what is not valid stays as it is.
fn decode(text: &str, plus_is_space: bool) -> Cow<'_, str> {
    let is_plain = |c| c != '%' && !(plus_is_space && c == '+');
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match escaped {
            Some((high, low)) => {
                decoded.push(high << 4 | low);
                rest = &tail[2..];
            }
            None if first == b'+' && plus_is_space => decoded.push(b' '),
            None => decoded.push(first),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The common log format: `09/Apr/2015:12:34:56 +0000`.
fn request_time(since_epoch: Duration) -> String {
    let mut text = String::with_capacity(26);
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    if let Ok(at) = jiff::Timestamp::from_second(seconds) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{}", at.strftime("%d/%b/%Y:%H:%M:%S +0000"));
    }
    text
}

#[cfg(test)]
mod tests;

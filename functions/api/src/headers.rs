//! What a request's headers ask for.

use std::time::Duration;

use axum::extract::FromRequestParts;
use domain::time::At;
use http::header::ACCEPT;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use lambda_http::Context;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::problem::Finding;
use crate::{Api, Problem, keys};

/// Longest wait for a run's end that is granted, in seconds: API Gateway gives up at 29.
pub(crate) const MAX_WAIT_S: u64 = 25;

const KEY: &str = "Idempotency-Key";

/// What a request asks for beside its body.
#[derive(Debug)]
pub(crate) struct Asked {
    /// `Idempotency-Key`.
    pub(crate) idempotency_key: Option<String>,
    /// `Prefer: wait=N`, cut to what is granted.
    pub(crate) wait: Option<Duration>,
    /// Whether `Accept` names Server-Sent Events.
    pub(crate) event_stream: bool,
    /// `Last-Event-ID`.
    pub(crate) last_event_id: Option<u64>,
    /// How long the process that answers may take.
    pub(crate) remaining: Duration,
}

impl FromRequestParts<Api> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let headers = &parts.headers;
        let remaining = remaining(parts.extensions.get(), api.engine.now());
        Ok(Self {
            idempotency_key: idempotency_key(headers)?,
            wait: wait(headers),
            event_stream: accepts_events(headers),
            last_event_id: last_event_id(headers)?,
            remaining: remaining.unwrap_or(api.config.longest_stream),
        })
    }
}

/// What Lambda leaves of the invocation; none elsewhere, or when the deadline cannot be true (some emulators say 1970).
fn remaining(context: Option<&Context>, now: At) -> Option<Duration> {
    let left = Duration::from_millis(At(context?.deadline).since_ms(now));
    let possible = Duration::from_secs(1)..=Duration::from_secs(900);
    possible.contains(&left).then_some(left)
}

/// The key, quoted as the draft wants it (RFC 8941 string) or bare.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let wrong = |detail: &str| Problem::InvalidHeader(Finding::header(KEY, detail));
    let mut values = headers.get_all(KEY).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(wrong("stands twice"));
    }
    let text = value
        .to_str()
        .map_err(|_| wrong("must be visible ASCII characters"))?
        .trim();
    let key = match text.strip_prefix('"') {
        Some(quoted) => {
            unquote(quoted).ok_or_else(|| wrong("the quoted text does not end well"))?
        }
        None => text.to_owned(),
    };
    if (1..=255).contains(&key.len()) {
        Ok(Some(key))
    } else {
        Err(wrong("must have 1 to 255 characters"))
    }
}

/// The text of a quoted string whose opening quote was taken; parameters after it are ignored.
fn unquote(text: &str) -> Option<String> {
    let mut key = String::with_capacity(text.len());
    let mut letters = text.chars();
    loop {
        match letters.next()? {
            '"' => break,
            '\\' => match letters.next()? {
                escaped @ ('"' | '\\') => key.push(escaped),
                _ => return None,
            },
            letter => key.push(letter),
        }
    }
    let rest = letters.as_str().trim_start();
    (rest.is_empty() || rest.starts_with(';')).then_some(key)
}

/// A preference that cannot be read is ignored, as RFC 7240 wants it.
fn wait(headers: &HeaderMap) -> Option<Duration> {
    let preferences = headers.get_all("prefer").iter();
    let mut each = preferences
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']));
    each.find_map(|preference| {
        let (name, value) = preference.split_once('=')?;
        if !name.trim().eq_ignore_ascii_case("wait") {
            return None;
        }
        let seconds: u64 = value.trim().trim_matches('"').parse().ok()?;
        Some(Duration::from_secs(seconds.min(MAX_WAIT_S)))
    })
}

fn accepts_events(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|range| range.split(';').next())
        .any(|range| range.trim().eq_ignore_ascii_case("text/event-stream"))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(None);
    };
    let number = |value: &HeaderValue| value.to_str().ok()?.trim().parse().ok();
    match number(value) {
        Some(number) => Ok(Some(number)),
        None if value.is_empty() => Ok(None),
        None => Err(Problem::InvalidHeader(Finding::header(
            "Last-Event-ID",
            "must be the number of an event",
        ))),
    }
}

/// What a request is known by: SHA-256 of its body with the members of every object in order and no space between.
pub(crate) fn fingerprint(raw: &[u8]) -> Result<String, Problem> {
    let mut value: Value =
        serde_json::from_slice(raw).map_err(|error| Problem::MalformedJson(error.to_string()))?;
    value.sort_all_objects();
    let digest = Sha256::digest(value.to_string().as_bytes());
    Ok(keys::hexadecimal(&digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn an_idempotency_key_is_quoted_or_bare() {
        let of = |value| idempotency_key(&headers("idempotency-key", value));
        assert_eq!(of("\"8e03978e\"").unwrap().as_deref(), Some("8e03978e"));
        assert_eq!(of("8e03978e").unwrap().as_deref(), Some("8e03978e"));
        assert_eq!(
            of(r#""a\"b\\c"; v=1"#).unwrap().as_deref(),
            Some(r#"a"b\c"#)
        );
        for bad in ["", "\"\"", "\"open", "\"a\"b"] {
            assert!(matches!(of(bad), Err(Problem::InvalidHeader(_))), "{bad}");
        }
        assert_eq!(idempotency_key(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn a_wait_is_granted_up_to_a_bound() {
        let of = |value| wait(&headers("prefer", value)).map(|wait| wait.as_secs());
        assert_eq!(of("wait=5"), Some(5));
        assert_eq!(of("respond-async, Wait = 600"), Some(MAX_WAIT_S));
        assert_eq!(of("wait=soon"), None);
        assert_eq!(of("respond-async"), None);
    }

    #[test]
    fn server_sent_events_are_asked_for_by_name() {
        assert!(accepts_events(&headers("accept", "text/event-stream")));
        assert!(accepts_events(&headers(
            "accept",
            "application/json, text/event-stream;q=0.5"
        )));
        assert!(!accepts_events(&headers("accept", "*/*")));
    }

    #[test]
    fn a_fingerprint_sees_values_and_not_their_order() {
        let of = |json: &str| fingerprint(json.as_bytes()).unwrap();
        assert_eq!(
            of(r#"{"a":1,"b":{"d":2,"c":3}}"#),
            of(r#"{ "b": {"c":3, "d":2}, "a": 1 }"#)
        );
        assert_ne!(of(r#"{"a":1}"#), of(r#"{"a":2}"#));
    }

    #[test]
    fn a_deadline_that_cannot_be_true_is_ignored() {
        let mut context = Context::default();
        assert_eq!(remaining(Some(&context), At(1_700_000_000_000)), None);
        context.deadline = 1_700_000_010_000;
        assert_eq!(
            remaining(Some(&context), At(1_700_000_000_000)),
            Some(Duration::from_secs(10))
        );
        assert_eq!(remaining(None, At(0)), None);
    }
}

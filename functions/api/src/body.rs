//! Request bodies: JSON of bounded size, with errors that name their place.

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use domain::agent::FieldError;
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::Segment;

use crate::problem::Finding;
use crate::{Api, Problem};

/// Most bytes of a body, unless a route says otherwise.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

/// A JSON body of at most `MAX` bytes.
pub(crate) struct Body<T, const MAX: usize = MAX_BYTES> {
    pub(crate) value: T,
    /// The body as it was sent.
    pub(crate) raw: Bytes,
}

impl<T: DeserializeOwned, const MAX: usize> FromRequest<Api> for Body<T, MAX> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Problem> {
        let raw = read(request, MAX).await?;
        let value = parse(&raw)?;
        Ok(Self { value, raw })
    }
}

/// A JSON body that may be left out.
pub(crate) struct Optional<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<Api> for Optional<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &Api) -> Result<Self, Problem> {
        let declared = request.headers().contains_key(CONTENT_TYPE);
        let raw = if declared {
            read(request, MAX_BYTES).await?
        } else {
            bytes_of(request, MAX_BYTES).await?
        };
        if raw.is_empty() {
            Ok(Self(T::default()))
        } else {
            parse(&raw).map(Self)
        }
    }
}

async fn read(request: Request, max: usize) -> Result<Bytes, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::UnsupportedMediaType);
    }
    bytes_of(request, max).await
}

async fn bytes_of(request: Request, max: usize) -> Result<Bytes, Problem> {
    let declared = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if declared.is_some_and(|length| length > max) {
        return Err(Problem::BodyTooLarge(max));
    }
    axum::body::to_bytes(request.into_body(), max)
        .await
        .map_err(|_| Problem::BodyTooLarge(max))
}

/// Whether the body is declared as JSON: `application/json` or any `application/*+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let declared = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = declared
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase());
    essence.is_some_and(|essence| {
        essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"))
    })
}

fn parse<T: DeserializeOwned>(raw: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(raw);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        problem(error.inner(), pointer)
    })?;
    json.end().map_err(|error| problem(&error, String::new()))?;
    Ok(value)
}

fn problem(error: &serde_json::Error, pointer: String) -> Problem {
    let text = error.to_string();
    match error.classify() {
        Category::Data => {
            let detail = text
                .rfind(" at line ")
                .map_or(text.as_str(), |end| &text[..end]);
            Problem::field(pointer, detail)
        }
        Category::Io | Category::Syntax | Category::Eof => Problem::MalformedJson(text),
    }
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                text.push('/');
                text.push_str(&index.to_string());
            }
            Segment::Map { key } => {
                text.push('/');
                text.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    text
}

/// A problem made of a definition's errors.
pub(crate) fn invalid(errors: Vec<FieldError>) -> Problem {
    Problem::InvalidBody(errors.into_iter().map(Finding::from).collect())
}

#[cfg(test)]
mod tests {
    use domain::agent::Agent;
    use http::HeaderValue;

    use super::*;

    fn findings(json: &str) -> Vec<Finding> {
        match parse::<Agent>(json.as_bytes()) {
            Err(Problem::InvalidBody(findings)) => findings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wrong_field_is_named_by_its_pointer() {
        let found = findings(r#"{"model": "m", "inference": {"max_output_tokens": "many"}}"#);
        assert_eq!(
            found,
            [Finding::body(
                "/inference/max_output_tokens",
                "invalid type: string \"many\", expected u32"
            )]
        );
        let found = findings(r#"{"model": "m", "tools": ["clock", 1]}"#);
        assert_eq!(
            found[0].place,
            crate::problem::Place::Pointer("/tools/1".to_owned())
        );
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let found = findings(r#"{"model": "m", "caps": {"stepz": 1}}"#);
        assert_eq!(
            found[0].place,
            crate::problem::Place::Pointer("/caps/stepz".to_owned())
        );
        assert!(
            found[0]
                .detail
                .starts_with("unknown field `stepz`, expected"),
            "{found:?}"
        );
    }

    #[test]
    fn text_that_is_not_json_is_told_with_line_and_column() {
        for (json, place) in [
            ("{\n  \"model\": ,", "line 2 column 12"),
            ("{} x", "line 1 column 4"),
        ] {
            match parse::<serde_json::Value>(json.as_bytes()) {
                Err(Problem::MalformedJson(detail)) => assert!(detail.contains(place), "{detail}"),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn only_json_is_taken() {
        let declared = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            is_json(&headers)
        };
        assert!(declared("application/json; charset=utf-8"));
        assert!(declared("application/merge-patch+json"));
        assert!(!declared("text/plain"));
        assert!(!declared("application/x-www-form-urlencoded"));
        assert!(!is_json(&HeaderMap::new()));
    }
}

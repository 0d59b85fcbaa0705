//! JSON that reaches the provider as it stands.
//!
//! The SDK keeps objects in hash maps, whose order is another in each request; but a prompt that a provider keeps is found again
//! only if it is the same in every byte. So JSON is given to the SDK as a marked text, and the finished body has it put there in
//! place of that text. (That costs less than making documents of it, too.)

use std::hash::{BuildHasher, Hasher as _, RandomState};
use std::sync::OnceLock;

use aws_sdk_bedrockruntime::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_bedrockruntime::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_bedrockruntime::error::BoxError;
use aws_smithy_types::Document;
use aws_smithy_types::body::SdkBody;
use serde_json::Value;

/// `value` for a request that is sent with [`Verbatim`].
pub(crate) fn document(value: &Value) -> Document {
    Document::String(format!("{}{value}", mark()))
}

/// What marks a text that is JSON. Random, so that nobody can write it.
fn mark() -> &'static str {
    static MARK: OnceLock<String> = OnceLock::new();
    MARK.get_or_init(|| {
        let random = || RandomState::new().build_hasher().finish();
        format!("json:{:016x}{:016x}:", random(), random())
    })
}

/// Puts what was marked into the body as it stands.
#[derive(Debug)]
pub(crate) struct Verbatim;

impl Intercept for Verbatim {
    fn name(&self) -> &'static str {
        "Verbatim"
    }

    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let request = context.request_mut();
        let Some(body) = request.body().bytes() else {
            return Ok(());
        };
        let Some(body) = unmarked(body, mark())? else {
            return Ok(());
        };
        let length = body.len().to_string();
        request.headers_mut().insert("content-length", length);
        *request.body_mut() = SdkBody::from(body);
        Ok(())
    }
}

/// `body` with the JSON that its marked strings hold in place of them, if there are any.
fn unmarked(body: &[u8], mark: &str) -> Result<Option<Vec<u8>>, serde_json::Error> {
    let mark = format!("\"{mark}");
    let mut rest = std::str::from_utf8(body).unwrap_or_default();
    if !rest.contains(&mark) {
        return Ok(None);
    }
    let mut whole = Vec::with_capacity(body.len());
    while let Some(start) = rest.find(&mark) {
        whole.extend_from_slice(&rest.as_bytes()[..start]);
        let mut strings = serde_json::Deserializer::from_str(&rest[start..]).into_iter::<String>();
        let text = strings.next().transpose()?.unwrap_or_default();
        whole.extend_from_slice(&text.as_bytes()[mark.len() - 1..]);
        rest = &rest[start + strings.byte_offset()..];
    }
    whole.extend_from_slice(rest.as_bytes());
    Ok(Some(whole))
}

#[cfg(test)]
pub(crate) fn value(document: &Document) -> Value {
    let text = document
        .as_string()
        .and_then(|text| text.strip_prefix(mark()));
    serde_json::from_str(text.expect("what was marked")).expect("JSON")
}

#[cfg(test)]
mod tests {
    fn unmarked(body: &str) -> Option<String> {
        let body = super::unmarked(body.as_bytes(), "json:7:").unwrap();
        body.map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn marked_texts_stand_there_as_json() {
        let body = r#"{"a":"json:7:{\"z\":\"\\u00e9\\\"\",\"b\":[1,{}]}","text":"json:7","c":["json:7:null"]}"#;
        assert_eq!(
            unmarked(body).unwrap(),
            r#"{"a":{"z":"\u00e9\"","b":[1,{}]},"text":"json:7","c":[null]}"#
        );
    }

    #[test]
    fn a_body_without_marks_is_left_as_it_is() {
        assert_eq!(unmarked(r#"{"text":"a json:7: text"}"#), None);
    }
}

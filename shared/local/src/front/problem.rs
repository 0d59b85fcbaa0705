//! What the front door itself answers when no function's answer can be given (RFC 9457).

use axum::{body::Body, response::Response};
use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use crate::gate::Refusal;

#[derive(Debug)]
pub(super) enum Problem {
    /// The client's body broke off.
    Incomplete,
    /// The body, or the event made of it, is too large.
    TooLarge,
    /// The function failed, with Lambda's error type.
    Failed(String),
    /// The function answered something that is no HTTP answer.
    Malformed(String),
    /// The function took too long for a buffered answer.
    Timeout,
    /// There is no credential that the authorizer could be asked about.
    Unauthorized,
    /// The authorizer denies it, and says why in its context.
    Denied(Map<String, Value>),
    /// The authorizer failed, or answered something that is no answer.
    NotAuthorizing,
    /// The usage plan does not let it through.
    NotPassed(Refusal),
}

impl Problem {
    /// What the template has API Gateway answer in such a case (`GatewayResponses`); a test compares the two.
    fn of_gateway(&self) -> Option<(StatusCode, String, String)> {
        let (status, code, title) = match self {
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "A valid API key is needed",
            ),
            Self::Denied(context) => {
                let text = |name| context.get(name).and_then(Value::as_str);
                (
                    StatusCode::UNAUTHORIZED,
                    text("code").unwrap_or_default(),
                    text("title").unwrap_or_default(),
                )
            }
            Self::NotAuthorizing => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The service cannot answer now",
            ),
            Self::NotPassed(Refusal::Forbidden) => {
                (StatusCode::FORBIDDEN, "gateway_forbidden", "Forbidden")
            }
            Self::NotPassed(Refusal::TooManyRequests | Refusal::LimitExceeded) => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too many requests",
            ),
            Self::Incomplete
            | Self::TooLarge
            | Self::Failed(_)
            | Self::Malformed(_)
            | Self::Timeout => return None,
        };
        Some((status, code.to_owned(), title.to_owned()))
    }

    pub(super) fn into_response(self, id: &str) -> Response {
        if let Some((status, code, title)) = self.of_gateway() {
            let kind = if status == StatusCode::TOO_MANY_REQUESTS {
                "https://iana.org/assignments/http-problem-types#quota-exceeded".to_owned()
            } else {
                format!("https://skein.dev/problems/{code}")
            };
            let problem = serde_json::json!({
                "type": kind,
                "title": title,
                "status": status.as_u16(),
                "code": code,
                "instance": id,
            });
            let mut response = answer(status, &problem);
            let header = match self {
                Self::Unauthorized | Self::Denied(_) => {
                    Some((WWW_AUTHENTICATE, "Bearer realm=\"skein\""))
                }
                Self::NotPassed(Refusal::LimitExceeded) => Some((RETRY_AFTER, "3600")),
                Self::NotPassed(Refusal::TooManyRequests) | Self::NotAuthorizing => {
                    Some((RETRY_AFTER, "1"))
                }
                _ => None,
            };
            if let Some((name, value)) = header {
                let value = HeaderValue::from_static(value);
                response.headers_mut().insert(name, value);
            }
            return response;
        }
        let (status, code, title, detail) = match self {
            Self::Incomplete => (
                StatusCode::BAD_REQUEST,
                "body_incomplete",
                "The request body is incomplete",
                None,
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                "The request body is too large",
                None,
            ),
            Self::Failed(error_type) => (
                StatusCode::BAD_GATEWAY,
                "function_failed",
                "The function failed",
                Some(error_type),
            ),
            Self::Malformed(reason) => (
                StatusCode::BAD_GATEWAY,
                "function_answer_malformed",
                "The function's answer is malformed",
                Some(reason),
            ),
            // The others are answered above.
            _ => (
                StatusCode::GATEWAY_TIMEOUT,
                "function_timeout",
                "The function took too long",
                None,
            ),
        };
        let mut problem = serde_json::json!({
            "type": format!("urn:skein:problem:{code}"),
            "title": title,
            "status": status.as_u16(),
            "code": code,
        });
        if let Some(detail) = detail {
            problem["detail"] = detail.into();
        }
        answer(status, &problem)
    }
}

fn answer(status: StatusCode, problem: &Value) -> Response {
    let mut response = Response::new(Body::from(problem.to_string()));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    response
}

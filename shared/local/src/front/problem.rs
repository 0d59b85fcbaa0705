//! What the front door itself answers when no function's answer can be given (RFC 9457).

use axum::{body::Body, response::Response};
use http::{HeaderValue, StatusCode, header::CONTENT_TYPE};

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
}

impl Problem {
    pub(super) fn into_response(self) -> Response {
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
            Self::Timeout => (
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
        let mut response = Response::new(Body::from(problem.to_string()));
        *response.status_mut() = status;
        let media_type = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, media_type);
        response
    }
}

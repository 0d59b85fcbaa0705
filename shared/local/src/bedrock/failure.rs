//! The errors of the Bedrock Runtime wire.

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header::CONTENT_TYPE},
};
use serde_json::json;

/// An error answer. Status codes and names are those of the Bedrock Runtime API model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: Kind,
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    AccessDenied,
    InternalServer,
    ModelError,
    ModelTimeout,
    ResourceNotFound,
    ServiceUnavailable,
    Throttling,
    Validation,
}

impl Kind {
    fn wire(self) -> (&'static str, StatusCode) {
        match self {
            Kind::AccessDenied => ("AccessDeniedException", StatusCode::FORBIDDEN),
            Kind::InternalServer => ("InternalServerException", StatusCode::INTERNAL_SERVER_ERROR),
            Kind::ModelError => ("ModelErrorException", StatusCode::FAILED_DEPENDENCY),
            Kind::ModelTimeout => ("ModelTimeoutException", StatusCode::REQUEST_TIMEOUT),
            Kind::ResourceNotFound => ("ResourceNotFoundException", StatusCode::NOT_FOUND),
            Kind::ServiceUnavailable => (
                "ServiceUnavailableException",
                StatusCode::SERVICE_UNAVAILABLE,
            ),
            Kind::Throttling => ("ThrottlingException", StatusCode::TOO_MANY_REQUESTS),
            Kind::Validation => ("ValidationException", StatusCode::BAD_REQUEST),
        }
    }
}

impl Failure {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(super) fn validation(message: impl Into<String>) -> Self {
        Self::new(Kind::Validation, message)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let (name, status) = self.kind.wire();
        let body = json!({ "message": self.message }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert("x-amzn-errortype", HeaderValue::from_static(name));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response
    }
}

//! The check before the object store.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request as Asked, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{Method, StatusCode};

use super::policy::Request;
use super::{Iam, Refusal, decoded};

pub(super) fn guard(iam: &Iam, router: Router) -> Router {
    router.layer(from_fn_with_state(iam.clone(), pass))
}

async fn pass(State(iam): State<Iam>, request: Asked, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let passes = match iam.principal(&parts.headers) {
        Ok(None) => Ok(()),
        Ok(Some(principal)) => iam.check(&principal, &requests(&parts)),
        Err(refusal) => Err(refusal),
    };
    match passes {
        Ok(()) => next.run(Asked::from_parts(parts, body)).await,
        Err(refusal) => refused(refusal),
    }
}

/// What a request asks for. One that a policy here has no name for is an action that nobody allows.
fn requests(parts: &Parts) -> Vec<Request> {
    let path = decoded(parts.uri.path());
    let resource = path.trim_matches('/');
    let (_, key) = resource.split_once('/').unwrap_or((resource, ""));
    // Files know a way up, S3 does not.
    let is_odd = resource.split('/').any(|part| part == "..")
        || parts.uri.query().is_some_and(|query| {
            let mut pairs = query.split('&');
            pairs.any(|pair| !pair.starts_with("x-id="))
        });
    let action = match &parts.method {
        &Method::GET | &Method::HEAD if key.is_empty() && !resource.is_empty() => "ListBucket",
        _ if is_odd || key.is_empty() => "Other",
        &Method::GET | &Method::HEAD => "GetObject",
        &Method::PUT => "PutObject",
        &Method::DELETE => "DeleteObject",
        _ => "Other",
    };
    let of = |action: &str, resource: &str| Request {
        action: format!("s3:{action}"),
        resource: resource.to_owned(),
        leading_keys: Vec::new(),
    };
    let mut requests = vec![of(action, resource)];
    if let Some(source) = parts.headers.get("x-amz-copy-source") {
        let source = decoded(&String::from_utf8_lossy(source.as_bytes()));
        requests.push(of("GetObject", source.trim_start_matches('/')));
    }
    requests
}

fn refused(refusal: Refusal) -> Response {
    let (status, code, message) = match refusal {
        Refusal::Denied(message) => (StatusCode::FORBIDDEN, "AccessDenied", message),
        Refusal::Expired => (
            StatusCode::BAD_REQUEST,
            "ExpiredToken",
            "The provided token has expired.".to_owned(),
        ),
        Refusal::Unknown => (
            StatusCode::FORBIDDEN,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.".to_owned(),
        ),
    };
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>"
    );
    let headers = [(CONTENT_TYPE, "application/xml")];
    (status, headers, Body::from(body)).into_response()
}

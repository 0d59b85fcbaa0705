//! What every request passes: its id, the headers of every answer, the bodies of problems.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY,
    STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue};
use lambda_http::{Context, RequestExt as _};

use crate::limit::Told;
use crate::refusal::{self, Asking};
use crate::{Api, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Headers of every answer that does not set them itself.
const ALWAYS: [(HeaderName, HeaderValue); 5] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (
        STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=63072000"),
    ),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
];

pub(crate) async fn pass(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let told = Told::default();
    let asking = Asking::of(&request);
    request.extensions_mut().insert(told.clone());
    request.extensions_mut().insert(asking.clone());
    let mut response = next.run(request).await;
    let mut is_refused = false;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        is_refused = problem.is_policy();
        Box::pin(refusal::tell(&api, &asking, &problem)).await;
        let allow = response.headers_mut().remove(ALLOW);
        response = problem.response(&id);
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, allow);
        }
    }
    if let Some(key) = asking.of_tenant() {
        api.tallies.count(&api.engine, key, is_refused);
    }
    if let Some(verdict) = told.verdict() {
        verdict.write(response.headers_mut());
    }
    finish(response.headers_mut(), &id);
    response
}

fn finish(headers: &mut HeaderMap, id: &str) {
    for (name, value) in &ALWAYS {
        if !headers.contains_key(name) {
            headers.insert(name, value.clone());
        }
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

/// Lambda's id of the invocation, which logs carry too; elsewhere a random one.
fn request_id(request: &Request) -> String {
    let context: Option<&Context> = request.lambda_context_ref();
    match context {
        Some(context) if !context.request_id.is_empty() => context.request_id.clone(),
        _ => uuid::Uuid::new_v4().to_string(),
    }
}

pub(crate) async fn not_found() -> Problem {
    Problem::NotFound
}

pub(crate) async fn method_not_allowed() -> Problem {
    Problem::MethodNotAllowed
}

/// The gateway sends such a request to another function, if its routes are those of this version.
pub(crate) async fn elsewhere() -> Problem {
    Problem::Misdirected
}

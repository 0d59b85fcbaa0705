//! What every request passes: its id, the headers of every answer, the bodies of problems.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL,
    CONTENT_SECURITY_POLICY, HeaderName, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use lambda_http::{Context, RequestExt as _};
use tracing::Instrument as _;

use crate::limit::Told;
use crate::refusal::{self, Asking};
use crate::tallies::CameTo;
use crate::{Api, Problem, stream, trace};

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

/// The one route that pages of any origin may read: its tokens come in no cookie, and a page that has none reads nothing.
pub(crate) const FOR_PAGES: &str = "/v1/runs/{run}/events";

/// Headers of every answer of that route.
const OF_PAGES: [(HeaderName, HeaderValue); 2] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("ratelimit, ratelimit-policy, retry-after, x-request-id"),
    ),
];

pub(crate) async fn pass(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let id = request_id(&request);
    let told = Told::default();
    let asking = Asking::of(&request);
    request.extensions_mut().insert(told.clone());
    request.extensions_mut().insert(asking.clone());
    let mut span = trace::begin(api.engine.tracer(), &mut request);
    let route = request.extensions().get::<MatchedPath>();
    let is_for_pages = route.is_some_and(|route| route.as_str() == FOR_PAGES);
    let mut response = next.run(request).instrument(telemetry::work()).await;
    let mut came_to = CameTo::Answer;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        if problem.is_policy() {
            came_to = CameTo::Refusal;
        }
        Box::pin(refusal::tell(&api, &asking, &problem)).await;
        let allow = response.headers_mut().remove(ALLOW);
        response = problem.response(&id);
        if let Some(allow) = allow {
            response.headers_mut().insert(ALLOW, allow);
        }
    }
    if response.status().is_server_error() {
        came_to = CameTo::Failure;
    }
    if let Some(key) = asking.of_tenant() {
        api.tallies
            .count(&api.engine, key, asking.request(), came_to);
    }
    if let Some(verdict) = told.verdict() {
        verdict.write(response.headers_mut());
    }
    if is_for_pages {
        response.headers_mut().extend(OF_PAGES);
    }
    finish(response.headers_mut(), &id);
    trace::end(&mut span, &asking, &response);
    drop(span);
    if !stream::is_stream(response.headers()) {
        api.engine.tracer().flush().await;
    }
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

/// What a browser asks before it sends a page's request with headers that the page chose. An `EventSource` has none.
pub(crate) async fn preflight() -> impl IntoResponse {
    (
        StatusCode::NO_CONTENT,
        [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET"),
            (
                ACCESS_CONTROL_ALLOW_HEADERS,
                "accept, authorization, last-event-id, prefer",
            ),
            (ACCESS_CONTROL_MAX_AGE, "86400"),
        ],
    )
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

//! A request in traces: a span that follows from whoever asked, and that whatever is done for it follows from.

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use domain::trace::Context;
use http::header::LOCATION;
use http::request::Parts;
use lambda_http::RequestExt as _;
use telemetry::{Kind, Span, Tracer};

use crate::Api;
use crate::refusal::Asking;

/// What the routes begin with that load balancers and alarms ask all day.
const HEALTH: &str = "/health/";

/// The span of a request begins. Its parent is what the request says (`traceparent`), else X-Ray's of the invocation.
pub(crate) fn begin(tracer: &Tracer, request: &mut Request) -> Span {
    if !tracer.is_on() || request.uri().path().starts_with(HEALTH) {
        return Span::default();
    }
    let said = request.headers().get("traceparent");
    let said = said.and_then(|text| Context::parse(text.to_str().ok()?));
    let of_invocation = || {
        let context = request.lambda_context_ref()?;
        Context::parse_xray(context.xray_trace_id.as_deref()?)
    };
    let parent = said.or_else(of_invocation);
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("", MatchedPath::as_str);
    let method = request.method().as_str();
    let name = || format!("{method} {route}").trim_end().to_owned();
    let mut span = tracer.span(Kind::Server, parent, name);
    span.put("http.request.method", method)
        .put("http.route", route);
    if let Some(context) = span.context() {
        request.extensions_mut().insert(context);
    }
    span
}

/// The API, for what this request asks.
pub(crate) fn within(api: Api, parts: &Parts) -> Api {
    let Some(context) = parts.extensions.get::<Context>() else {
        return api;
    };
    Api {
        engine: api.engine.within(Some(*context)),
        ..api
    }
}

/// The answer's head is there: the span ends with it.
pub(crate) fn end(span: &mut Span, asking: &Asking, response: &Response) {
    if !span.is_recorded() {
        return;
    }
    let status = response.status();
    span.put("http.response.status_code", u32::from(status.as_u16()));
    if status.is_server_error() {
        span.fail(status.as_str());
    }
    if let Some(key) = asking.of_tenant() {
        span.put("tenant.id", key.tenant.as_str());
    }
    let place = response.headers().get(LOCATION);
    let run = place.and_then(|place| place.to_str().ok()?.strip_prefix("/v1/runs/"));
    if let Some(run) = run {
        span.put("run.id", run);
    }
}

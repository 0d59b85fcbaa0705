//! The router as a Lambda function behind API Gateway.

use std::convert::Infallible;
use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use domain::gate::Gate;
use futures_util::future::BoxFuture;
use http::Uri;
use http::uri::PathAndQuery;
use lambda_http::tower::ServiceExt as _;
use lambda_http::{Body, Error, IntoResponse, Request, RequestExt as _, service_fn};

use crate::gate::GateKeys;
use crate::{Api, Config, router, routes};

/// Serves what tenants read and store until Lambda ends the process.
///
/// # Errors
/// When the environment lacks a setting, or the Runtime API fails.
pub async fn run() -> Result<(), Error> {
    run_buffered(start("api", routes::api()).await?).await
}

/// Serves what operators do until Lambda ends the process, with the gate if there is one.
///
/// # Errors
/// As [`run`].
pub async fn run_admin(gate: Option<(Gate, Arc<dyn GateKeys>)>) -> Result<(), Error> {
    let api = started("admin")?;
    let api = match gate {
        Some((gate, keys)) => api.guarded(gate, keys),
        None => api,
    };
    run_buffered(router(api, routes::admin())).await
}

async fn run_buffered(router: Router) -> Result<(), Error> {
    lambda_http::run_concurrent(service_fn(move |request: Request| {
        let router = router.clone();
        async move { buffer(serve(router, request).await).await }
    }))
    .await
}

/// Serves streamed answers, runs as they are created and followed, until Lambda ends the process.
///
/// # Errors
/// As [`run`].
pub async fn run_streaming() -> Result<(), Error> {
    let router = start("stream", routes::stream()).await?;
    lambda_http::run_with_streaming_response_concurrent(service_fn(move |request: Request| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(serve(router, request).await) }
    }))
    .await
}

async fn start(function: &str, routes: Router<Api>) -> Result<Router, Error> {
    let api = started(function)?;
    let (tallies, engine) = (api.tallies.clone(), api.engine.clone());
    wiring::before_the_end(async move { tallies.tell_all(&engine).await }).await;
    Ok(router(api, routes))
}

/// The API of a process that starts.
pub(crate) fn started(function: &str) -> Result<Api, Error> {
    telemetry::init(function);
    Ok(Api::new(wiring::engine()?, Config::default()))
}

pub(crate) async fn serve(router: Router, mut request: Request) -> Response {
    if let Some(uri) = without_stage(&request) {
        *request.uri_mut() = uri;
    }
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// The address as the client sees it behind its own name: `lambda_http` puts the stage before the path.
fn without_stage(request: &Request) -> Option<Uri> {
    let path = request.raw_http_path();
    if path.is_empty() || path == request.uri().path() {
        return None;
    }
    let mut parts = request.uri().clone().into_parts();
    let target = match request.uri().query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    parts.path_and_query = Some(PathAndQuery::try_from(target).ok()?);
    Uri::from_parts(parts).ok()
}

/// An answer in one piece: the concurrent runner wants it `Sync`, which a stream is not.
#[derive(Debug)]
pub(crate) struct Buffered(pub(crate) http::Response<Body>);

/// As it is. What `lambda_http` makes of other answers looks at their character sets, for which it brings tables of 150 kB.
impl IntoResponse for Buffered {
    fn into_response(self) -> BoxFuture<'static, http::Response<Body>> {
        Box::pin(ready(self.0))
    }
}

pub(crate) async fn buffer(response: Response) -> Result<Buffered, Error> {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await?;
    let body = match String::from_utf8(bytes.into()) {
        Ok(text) => Body::Text(text),
        Err(binary) => Body::Binary(binary.into_bytes()),
    };
    Ok(Buffered(http::Response::from_parts(parts, body)))
}

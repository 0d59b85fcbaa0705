//! A router as the HTTP connector of an SDK client, without a socket.

use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use axum::Router;
use axum::body::{Body, Bytes};
use http::header::{CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::{PathAndQuery, Uri};
use http_body::{Frame, SizeHint};
use tower::ServiceExt;

use super::Severed;

/// An HTTP client for SDK configurations that hands every request to `router`. Bodies stream in
/// both directions; timeouts of the connector's settings do not apply, those of operations do.
#[must_use]
pub fn connector(router: Router) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(InProcess { router });
    http_client_fn(move |_, _| connector.clone())
}

#[derive(Debug)]
struct InProcess {
    router: Router,
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        HttpConnectorFuture::new(exchange(self.router.clone(), request))
    }
}

async fn exchange(router: Router, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    let request = as_received(request);
    // A socket would let others run here; so do we, or a caller in a loop never would.
    tokio::task::yield_now().await;
    let response = match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    if response.extensions().get::<Severed>().is_some() {
        return Err(ConnectorError::io(
            "the connection was lost before the answer".into(),
        ));
    }
    let response = response.map(|body| SdkBody::from_body_1_x(Exclusive::new(body)));
    HttpResponse::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}

/// The request as a server would see it: origin-form target, `Host`, `Content-Length`.
fn as_received(request: http::Request<SdkBody>) -> http::Request<Body> {
    let (mut parts, body) = request.into_parts();
    let host = parts
        .uri
        .authority()
        .and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let Some(host) = host {
        parts.headers.entry(HOST).or_insert(host);
    }
    if let Some(length) = body.content_length().filter(|length| *length > 0) {
        parts
            .headers
            .entry(CONTENT_LENGTH)
            .or_insert_with(|| HeaderValue::from(length));
    }
    let target = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or_else(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from(target);
    http::Request::from_parts(parts, Body::new(body))
}

/// Lets a body that is only `Send` be shared as the SDK asks: it is only ever reached by `&mut`.
/// It also ends for good, since the SDK asks again after the end and not every body bears that.
struct Exclusive(Mutex<Option<Body>>);

impl Exclusive {
    fn new(body: Body) -> Self {
        Self(Mutex::new(Some(body)))
    }
}

impl http_body::Body for Exclusive {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let slot = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(body) = slot else {
            return Poll::Ready(None);
        };
        let frame = Pin::new(body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            *slot = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref().is_none_or(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        body.as_ref()
            .map_or_else(|| SizeHint::with_exact(0), http_body::Body::size_hint)
    }
}

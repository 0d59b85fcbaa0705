//! A connection: name, socket and TLS within one timeout.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime_api::box_error::BoxError;
use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service;

use crate::failure::within;

/// Opens connections, plain for `http` and with TLS for `https`.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    inner: HttpsConnector<HttpConnector>,
    timeout: Option<Duration>,
}

impl Connect {
    pub(crate) fn new(tls: Arc<ClientConfig>, timeout: Option<Duration>) -> Self {
        let mut sockets = HttpConnector::new();
        sockets.set_nodelay(true);
        sockets.enforce_http(false);
        Self {
            inner: HttpsConnector::from((sockets, tls)),
            timeout,
        }
    }
}

impl Service<Uri> for Connect {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(within("HTTP connect", self.timeout, self.inner.call(uri)))
    }
}

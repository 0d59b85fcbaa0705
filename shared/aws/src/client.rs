//! The HTTP client of every SDK client: HTTP/1.1 over hyper, with or without TLS. The SDK's own always links HTTP/2.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy::connect::capture_connection;
use hyper_util::client::legacy::{self, Builder};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use crate::connect::Connect;
use crate::failure::{connector_error, within};
use crate::tls;

/// An HTTP client for SDK configurations, which believes certificates of these authorities (PEM) alone. Connections wait
/// 90 s for the next request.
///
/// # Panics
/// When `authorities` holds a certificate that cannot be read.
#[must_use]
pub fn http_client(authorities: &[u8]) -> SharedHttpClient {
    SharedHttpClient::new(Client {
        tls: Arc::new(tls::config(authorities)),
        connectors: Mutex::default(),
    })
}

/// What sends requests to a server that is not of AWS, within `connect_timeout` to be connected: certificates go back to the
/// authorities of the system, which are read only where there is to be TLS.
#[must_use]
pub fn connector(connect_timeout: Duration, with_tls: bool) -> SharedHttpConnector {
    let tls = if with_tls {
        tls::system()
    } else {
        tls::config(&[])
    };
    let timeouts = Timeouts {
        connect: Some(connect_timeout),
        read: None,
    };
    SharedHttpConnector::new(Connector::new(&Arc::new(tls), timeouts))
}

/// Whoever asks for the same timeouts shares connections.
#[derive(Debug)]
struct Client {
    tls: Arc<ClientConfig>,
    connectors: Mutex<HashMap<Timeouts, SharedHttpConnector>>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Timeouts {
    connect: Option<Duration>,
    read: Option<Duration>,
}

impl HttpClient for Client {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let timeouts = Timeouts {
            connect: settings.connect_timeout(),
            read: settings.read_timeout(),
        };
        let mut connectors = self
            .connectors
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connectors
            .entry(timeouts)
            .or_insert_with(|| SharedHttpConnector::new(Connector::new(&self.tls, timeouts)))
            .clone()
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some("1.x".into())))
    }
}

#[derive(Debug)]
struct Connector {
    client: legacy::Client<Connect, SdkBody>,
    read_timeout: Option<Duration>,
}

impl Connector {
    fn new(tls: &Arc<ClientConfig>, timeouts: Timeouts) -> Self {
        Self {
            client: Builder::new(TokioExecutor::new())
                .pool_timer(TokioTimer::new())
                .build(Connect::new(Arc::clone(tls), timeouts.connect)),
            read_timeout: timeouts.read,
        }
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => {
                return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
            }
        };
        show_connection(&mut request);
        let answer = self.client.request(request);
        let read_timeout = self.read_timeout;
        HttpConnectorFuture::new(async move {
            let answer = within("HTTP read", read_timeout, answer)
                .await
                .map_err(connector_error)?;
            HttpResponse::try_from(answer.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Tells the SDK the connection of this request, if it asks: after a failure it has it closed rather than kept.
fn show_connection(request: &mut http::Request<SdkBody>) {
    let used = capture_connection(request);
    if let Some(asked) = request.extensions().get::<CaptureSmithyConnection>() {
        asked.set_connection_retriever(move || {
            used.connection_metadata().as_ref()?;
            let used = used.clone();
            let poison = move || {
                if let Some(connection) = used.connection_metadata().as_ref() {
                    connection.poison();
                }
            };
            let connection = ConnectionMetadata::builder().proxied(false);
            Some(connection.poison_fn(poison).build())
        });
    }
}

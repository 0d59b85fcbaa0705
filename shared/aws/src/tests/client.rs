//! The HTTP client against sockets.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::{
    HttpClient as _, HttpConnector as _, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

/// A root whose key is gone, and a leaf for `127.0.0.1` below it.
const ROOT: &[u8] = include_bytes!("../../../../tests/bench/tls/root.pem");
const CHAIN: &[u8] = include_bytes!("../../../../tests/bench/tls/chain.pem");
const KEY: &[u8] = include_bytes!("../../../../tests/bench/tls/leaf-key.pem");

const FULL: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

/// A server that hands each connection to `answer`, and its address.
fn server(mut answer: impl FnMut(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            answer(stream.unwrap());
        }
    });
    address.to_string()
}

/// Reads the head of a request; false at the end of the connection.
fn read_head(stream: &mut impl std::io::BufRead) -> bool {
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line).unwrap_or_default() == 0 {
            return false;
        }
    }
    true
}

fn connector(client: &SharedHttpClient, settings: &HttpConnectorSettings) -> SharedHttpConnector {
    let components = RuntimeComponentsBuilder::for_tests().build().unwrap();
    client.http_connector(settings, &components)
}

async fn ask(connector: &SharedHttpConnector, url: &str) -> Result<HttpResponse, ConnectorError> {
    connector.call(HttpRequest::get(url).unwrap()).await
}

async fn text(body: SdkBody) -> String {
    let bytes = body.collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Answers every request; tells of each connection.
fn patient_server() -> (String, Receiver<()>) {
    let (opened, connections) = channel();
    let address = server(move |stream| {
        opened.send(()).unwrap();
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            while read_head(&mut stream) {
                stream.get_mut().write_all(FULL).unwrap();
            }
        });
    });
    (format!("http://{address}"), connections)
}

#[tokio::test]
async fn a_connection_serves_the_next_request_too_unless_it_is_poisoned() {
    let (url, connections) = patient_server();
    let client = http_client(b"");
    for _ in 0..3 {
        // An operation asks for its connector anew.
        let connector = connector(&client, &HttpConnectorSettings::default());
        let answer = ask(&connector, &url).await.unwrap();
        assert_eq!(text(answer.into_body()).await, "{}");
    }
    assert_eq!(connections.try_iter().count(), 1);
    let connector = connector(&client, &HttpConnectorSettings::default());
    let capture = CaptureSmithyConnection::new();
    let mut request = HttpRequest::get(&url).unwrap();
    request.add_extension(capture.clone());
    let answer = connector.call(request).await.unwrap();
    capture.get().unwrap().poison();
    text(answer.into_body()).await;
    ask(&connector, &url).await.unwrap();
    assert_eq!(connections.try_iter().count(), 1);
}

#[tokio::test]
async fn what_concerns_the_connection_may_be_repeated() {
    let connector = connector(&http_client(b""), &HttpConnectorSettings::default());
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", unused.local_addr().unwrap());
    drop(unused);
    let refused = ask(&connector, &url).await.unwrap_err();
    assert!(refused.is_io(), "{refused:?}");
    let url = server(|mut stream| {
        let _ = read_head(&mut BufReader::new(&mut stream));
    });
    let closed = ask(&connector, &format!("http://{url}")).await.unwrap_err();
    let transient = aws_config::retry::ErrorKind::TransientError;
    assert!(
        closed.is_io() || closed.as_other() == Some(transient),
        "{closed:?}"
    );
}

#[tokio::test]
async fn a_peer_that_is_silent_is_a_timeout() {
    let (keep, _kept) = channel();
    let address = server(move |stream| keep.send(stream).unwrap());
    let soon = Duration::from_millis(50);
    let client = http_client(b"");
    let settings = HttpConnectorSettings::builder().connect_timeout(soon);
    let connecting = connector(&client, &settings.build());
    // The socket opens; TLS, which belongs to the connection, never begins.
    let error = ask(&connecting, &format!("https://{address}"))
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
    let settings = HttpConnectorSettings::builder().read_timeout(soon);
    let reading = connector(&client, &settings.build());
    let error = ask(&reading, &format!("http://{address}"))
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}

/// Sends the head and `first`, and `last` once it is told to.
fn slow_server(
    wrap: impl Fn(TcpStream) -> Box<dyn Stream> + Send + 'static,
) -> (String, Sender<()>) {
    let (go, wait) = channel();
    let address = server(move |stream| {
        let mut stream = BufReader::new(wrap(stream));
        if !read_head(&mut stream) {
            return;
        }
        let stream = stream.get_mut();
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).unwrap();
        stream.write_all(b"5\r\nfirst\r\n").unwrap();
        stream.flush().unwrap();
        wait.recv().unwrap();
        stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").unwrap();
        stream.flush().unwrap();
    });
    (address, go)
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

fn encrypted(stream: TcpStream) -> Box<dyn Stream> {
    let chain = CertificateDer::pem_slice_iter(CHAIN).map(Result::unwrap);
    let key = PrivateKeyDer::from_pem_slice(KEY).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect(), key)
        .unwrap();
    let connection = ServerConnection::new(Arc::new(config)).unwrap();
    Box::new(StreamOwned::new(connection, stream))
}

async fn reads_as_it_comes(url: &str, go: Sender<()>) {
    let connector = connector(&http_client(ROOT), &HttpConnectorSettings::default());
    let mut body = ask(&connector, url).await.unwrap().into_body();
    let frame = body.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_data().unwrap(), "first");
    go.send(()).unwrap();
    assert_eq!(text(body).await, "last");
}

#[tokio::test]
async fn an_answer_is_read_while_it_comes() {
    let (address, go) = slow_server(|stream| Box::new(stream));
    reads_as_it_comes(&format!("http://{address}"), go).await;
    let (address, go) = slow_server(encrypted);
    reads_as_it_comes(&format!("https://{address}"), go).await;
}

#[tokio::test]
async fn certificates_of_other_authorities_are_refused() {
    let (address, _go) = slow_server(encrypted);
    let connector = connector(
        &http_client(tls::AMAZON_ROOTS),
        &HttpConnectorSettings::default(),
    );
    let error = ask(&connector, &format!("https://{address}"))
        .await
        .unwrap_err();
    assert!(error.is_io(), "{error:?}");
    assert!(format!("{error:?}").contains("UnknownIssuer"), "{error:?}");
}

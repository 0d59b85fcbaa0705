//! The way to an OpenAI-compatible server: `POST {base}/chat/completions`, streamed or not.

mod incoming;
mod outgoing;
mod streamed;

use std::{
    io,
    time::{Duration, Instant},
};

use axum::body::Body;
use futures_util::StreamExt as _;
use serde_json::Value;

use super::{
    Bridge,
    failure::{Failure, Kind},
    prompt_cache::Read,
    reply::{Reply, Usage},
    request::Request,
    tokens,
    wire::Frames,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest silence of the server; a large model on a small machine thinks for a while.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// A server and the connections to it.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: String,
    bridge: Bridge,
}

impl Client {
    pub(super) fn new(bridge: Bridge) -> Self {
        // An error means that a provider is installed already, which serves as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            let builder = reqwest::Client::builder()
                .tcp_nodelay(true)
                .connect_timeout(CONNECT_TIMEOUT)
                .read_timeout(READ_TIMEOUT);
            if is_loopback(&bridge.url) {
                builder.no_proxy()
            } else {
                builder
            }
        };
        // A machine without root certificates can still reach a server over plain http.
        let http = builder()
            .build()
            .or_else(|_| builder().tls_certs_only(Vec::new()).build())
            .expect("a client without certificates needs nothing from the machine");
        let url = format!("{}/chat/completions", bridge.url.trim_end_matches('/'));
        Self { http, url, bridge }
    }

    /// One answer, whole.
    pub(super) async fn converse(
        &self,
        id: &str,
        request: &Request<'_>,
    ) -> Result<(Reply, Usage), Failure> {
        let response = self.post(outgoing::body(id, request, false)?).await?;
        let body = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let (reply, usage) = incoming::reply(&body)?;
        let usage = usage.unwrap_or_else(|| Usage::of(Read::whole(request), &reply));
        Ok((reply, usage))
    }

    /// One answer as the frames of an event stream, each as soon as its piece arrives.
    pub(super) async fn converse_stream(
        &self,
        id: &str,
        request: &Request<'_>,
        started: Instant,
    ) -> Result<Body, Failure> {
        let response = self.post(outgoing::body(id, request, true)?).await?;
        let translator = streamed::Translator::new(started, tokens::of_request(request));
        let state = Some((response.bytes_stream(), translator));
        let frames = futures_util::stream::unfold(state, |state| async move {
            let (mut pieces, mut translator) = state?;
            loop {
                let mut frames = Frames::default();
                let ended = match pieces.next().await {
                    Some(Ok(piece)) => translator.feed(&piece, &mut frames),
                    Some(Err(error)) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "the model server broke off"
                        );
                        translator.end(&mut frames);
                        true
                    }
                    None => {
                        translator.end(&mut frames);
                        true
                    }
                };
                let bytes = frames.take();
                if ended {
                    return Some((Ok::<_, io::Error>(bytes), None));
                }
                if !bytes.is_empty() {
                    return Some((Ok(bytes), Some((pieces, translator))));
                }
            }
        });
        Ok(Body::from_stream(frames))
    }

    async fn post(&self, body: Value) -> Result<reqwest::Response, Failure> {
        let mut post = self.http.post(&self.url).json(&body);
        if let Some(key) = &self.bridge.key {
            post = post.bearer_auth(key);
        }
        let response = post
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        let status = response.status().as_u16();
        if response.status().is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.unwrap_or_default();
        Err(incoming::failure(status, &body))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() && !error.is_connect() {
            return Failure::new(
                Kind::ModelTimeout,
                "The model server did not answer in time.",
            );
        }
        let mut message = format!(
            "The model server at {} (SKEIN_MODEL_URL) cannot be reached",
            self.bridge.url
        );
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message = format!("{message}: {cause}");
            source = cause.source();
        }
        Failure::new(Kind::ServiceUnavailable, message)
    }
}

/// Whether the server runs on this machine, where no proxy belongs in between.
fn is_loopback(url: &str) -> bool {
    let host = url.split_once("://").map_or(url, |(_, rest)| rest);
    ["127.", "localhost", "[::1]"]
        .iter()
        .any(|start| host.starts_with(start))
}

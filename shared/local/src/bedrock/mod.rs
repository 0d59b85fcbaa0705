//! Bedrock Runtime for a machine without AWS: `Converse`, `ConverseStream` and `CountTokens` on the
//! wire that the official SDK speaks, answered by deterministic local models or by any
//! OpenAI-compatible server.
//!
//! | model id | what it does |
//! |---|---|
//! | `local.echo` | repeats the last user text, word by word when streamed |
//! | `local.tools` | plans tool calls from the text, runs them one per step, quotes their results |
//! | `local.json` | answers with JSON that fits the schema of the request |
//! | `local.slow` | `local.echo` over 2,000 ms |
//! | `local.flaky` | fails or answers nonsense as the text says |
//!
//! Each id takes a latency in milliseconds as suffix, as in `local.tools-50`. Every other id goes to
//! the bridge. Nothing here keeps a conversation: what a model answers depends on the request alone,
//! except that `local.flaky` counts its failures. What the answer costs depends on the prompt cache, which
//! works as Bedrock's does.

mod bridge;
mod check;
mod echo;
mod expression;
mod extract;
mod failure;
mod flaky;
mod json;
mod plan;
mod prompt_cache;
mod reply;
mod request;
#[cfg(test)]
mod tests;
mod tokens;
mod tools;
mod wire;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, State, rejection::BytesRejection},
    http::{HeaderValue, Response, header::CONTENT_TYPE},
    routing::post,
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::json;

use failure::{Failure, Kind};
use reply::{Cut, Reply, Usage};
use request::Request;
use wire::Frames;

/// The largest request body taken, as for Bedrock's model invocation: 25 MB.
const MAX_BODY_BYTES: usize = 25_000_000;

/// Latency of `local.slow` when its id names none.
const SLOW_MS: u64 = 2_000;

const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";

/// What stands behind the local Bedrock.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where model ids go that do not start with `local.`; without it they are not found.
    pub bridge: Option<Bridge>,
}

/// An OpenAI-compatible server (Ollama, vLLM, llama.cpp and their like).
#[derive(Clone)]
pub struct Bridge {
    /// Base URL including the version, such as `http://127.0.0.1:11434/v1`.
    pub url: String,
    /// Sent as bearer token.
    pub key: Option<String>,
}

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bridge")
            .field("url", &self.url)
            .field("key", &self.key.as_ref().map(|_| "<secret>"))
            .finish()
    }
}

/// The local Bedrock Runtime. Clones share their state.
#[derive(Debug, Clone)]
pub struct Models {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bridge: Option<bridge::Client>,
    failures: flaky::Failures,
    prompts: prompt_cache::Prompts,
    calls: AtomicU64,
}

impl Models {
    /// Nothing is opened or contacted until the first request.
    pub fn new(config: Config) -> Self {
        Self {
            inner: Arc::new(Inner {
                bridge: config.bridge.map(bridge::Client::new),
                failures: flaky::Failures::default(),
                prompts: prompt_cache::Prompts::default(),
                calls: AtomicU64::new(0),
            }),
        }
    }

    /// The routes of the Bedrock Runtime API.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/model/{id}/converse", post(converse))
            .route("/model/{id}/converse-stream", post(converse_stream))
            .route("/model/{id}/count-tokens", post(count_tokens))
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self.clone())
    }

    /// Model calls so far, streamed or not, failed ones included.
    pub fn calls(&self) -> u64 {
        self.inner.calls.load(Ordering::Relaxed)
    }

    fn target<'a>(&'a self, id: &str) -> Result<Target<'a>, Failure> {
        if let Some((model, latency)) = Local::parse(id) {
            return Ok(Target::Local(model, latency));
        }
        match &self.inner.bridge {
            Some(bridge) if !id.starts_with("local.") => Ok(Target::Bridge(bridge)),
            Some(_) | None => Err(Failure::new(
                Kind::ResourceNotFound,
                format!(
                    "There is no model {id:?} here. Local models: local.echo, local.tools, local.json, local.slow, \
                     local.flaky, each with an optional latency such as local.tools-50. To use another model, set \
                     SKEIN_MODEL_URL to the base URL of an OpenAI-compatible server."
                ),
            )),
        }
    }
}

/// A request body, unless it was too large or broke off.
type Received = Result<Bytes, BytesRejection>;

enum Target<'a> {
    Local(Local, Duration),
    Bridge(&'a bridge::Client),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Local {
    Echo,
    Tools,
    Json,
    Slow,
    Flaky,
}

impl Local {
    fn parse(id: &str) -> Option<(Self, Duration)> {
        let name = id.strip_prefix("local.")?;
        let (name, latency_ms) = match name.split_once('-') {
            Some((name, suffix)) => (name, Some(suffix.parse::<u64>().ok()?)),
            None => (name, None),
        };
        let model = match name {
            "echo" => Self::Echo,
            "tools" => Self::Tools,
            "json" => Self::Json,
            "slow" => Self::Slow,
            "flaky" => Self::Flaky,
            _ => return None,
        };
        let default_ms = if model == Self::Slow { SLOW_MS } else { 0 };
        Some((
            model,
            Duration::from_millis(latency_ms.unwrap_or(default_ms)),
        ))
    }

    fn answer(self, models: &Models, request: &Request<'_>) -> Result<Reply, Failure> {
        let reply = match self {
            Local::Echo | Local::Slow => echo::answer(request),
            Local::Tools => tools::answer(request),
            Local::Json => json::answer(request),
            Local::Flaky => flaky::answer(&models.inner.failures, request)?,
        };
        Ok(reply.limited(&request.inference_config))
    }
}

async fn converse(
    State(models): State<Models>,
    Path(id): Path<String>,
    body: Received,
) -> Response<Body> {
    let answer = async {
        let started = Instant::now();
        models.inner.calls.fetch_add(1, Ordering::Relaxed);
        let body = body.map_err(|error| too_large(&error))?;
        let request = parse(&body)?;
        let (reply, usage) = match models.target(&id)? {
            Target::Local(model, latency) => {
                pause(latency).await;
                let reply = model.answer(&models, &request)?;
                let read = models.inner.prompts.read(&id, &request, started);
                let usage = Usage::of(read, &reply);
                (reply, usage)
            }
            Target::Bridge(bridge) => bridge.converse(&id, &request).await?,
        };
        match reply.cut {
            Some(Cut::Exception) => Err(Failure::new(
                Kind::ModelError,
                "The model broke off its answer.",
            )),
            Some(Cut::Connection) => Err(Failure::new(
                Kind::ServiceUnavailable,
                "The model closed the connection.",
            )),
            None => Ok(wire::body(&reply, usage, started.elapsed())),
        }
    };
    respond("application/json", answer.await.map(Body::from))
}

async fn converse_stream(
    State(models): State<Models>,
    Path(id): Path<String>,
    body: Received,
) -> Response<Body> {
    let answer = async {
        let started = Instant::now();
        models.inner.calls.fetch_add(1, Ordering::Relaxed);
        let body = body.map_err(|error| too_large(&error))?;
        let request = parse(&body)?;
        let (model, latency) = match models.target(&id)? {
            Target::Local(model, latency) => (model, latency),
            Target::Bridge(bridge) => return bridge.converse_stream(&id, &request, started).await,
        };
        if model != Local::Slow {
            pause(latency).await;
        }
        let reply = model.answer(&models, &request)?;
        let read = models.inner.prompts.read(&id, &request, started);
        let usage = Usage::of(read, &reply);
        let mut frames = Frames::of(&reply, usage, latency.max(started.elapsed()));
        if reply.cut == Some(Cut::Connection) {
            return Ok(cut(frames.take()));
        }
        if model == Local::Slow {
            return Ok(paced(frames, latency));
        }
        Ok(Body::from(frames.take()))
    };
    respond(EVENT_STREAM, answer.await)
}

/// Spreads the frames evenly over `latency`.
fn paced(frames: Frames, latency: Duration) -> Body {
    let frames = frames.split();
    let gap = latency / u32::try_from(frames.len().max(1)).unwrap_or(u32::MAX);
    let paced = stream::unfold(frames.into_iter(), move |mut frames| async move {
        let frame = frames.next()?;
        pause(gap).await;
        Some((Ok::<_, io::Error>(frame), frames))
    });
    Body::from_stream(paced)
}

/// Sends `bytes`, then closes the connection.
fn cut(bytes: Bytes) -> Body {
    let broken = async {
        // The server writes what it has when the body waits; an error at once would drop the bytes.
        tokio::task::yield_now().await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    };
    Body::from_stream(stream::once(async { Ok(bytes) }).chain(stream::once(broken)))
}

#[derive(Deserialize)]
struct Count<'a> {
    #[serde(borrow)]
    input: CountInput<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountInput<'a> {
    #[serde(borrow)]
    converse: Option<Request<'a>>,
    invoke_model: Option<InvokeModel>,
}

#[derive(Deserialize)]
struct InvokeModel {
    body: String,
}

/// Counts by the rule of [`tokens`] for every model, the bridge's too: OpenAI-compatible servers
/// have no call for it.
async fn count_tokens(
    State(models): State<Models>,
    Path(id): Path<String>,
    body: Received,
) -> Response<Body> {
    respond("application/json", count(&models, &id, body))
}

fn count(models: &Models, id: &str, body: Received) -> Result<Body, Failure> {
    let body = body.map_err(|error| too_large(&error))?;
    let count: Count<'_> = serde_json::from_slice(&body).map_err(|e| unreadable(&e))?;
    models.target(id)?;
    let tokens = match count.input {
        CountInput {
            converse: Some(request),
            ..
        } => tokens::of_request(&request),
        CountInput {
            invoke_model: Some(invoke),
            ..
        } => {
            let bytes = BASE64_STANDARD
                .decode(invoke.body)
                .map_err(|_| Failure::validation("input.invokeModel.body is not base64."))?;
            tokens::count(&String::from_utf8_lossy(&bytes))
        }
        CountInput { .. } => {
            return Err(Failure::validation(
                "input needs the member converse or invokeModel.",
            ));
        }
    };
    Ok(Body::from(json!({ "inputTokens": tokens }).to_string()))
}

fn parse(body: &[u8]) -> Result<Request<'_>, Failure> {
    let request = serde_json::from_slice(body).map_err(|e| unreadable(&e))?;
    check::request(&request)?;
    Ok(request)
}

fn too_large(error: &BytesRejection) -> Failure {
    Failure::validation(format!(
        "The request body cannot be read whole; at most {MAX_BODY_BYTES} bytes are taken: {error}."
    ))
}

fn unreadable(error: &serde_json::Error) -> Failure {
    Failure::validation(format!("The request body is not valid: {error}."))
}

async fn pause(latency: Duration) {
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
}

fn respond(content_type: &'static str, answer: Result<Body, Failure>) -> Response<Body> {
    answer.map_or_else(Failure::into_response, |body| {
        let mut response = Response::new(body);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    })
}

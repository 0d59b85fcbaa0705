//! The REST front door: an HTTP server that hands requests to functions the way an API Gateway REST API with proxy
//! integration does.
//!
//! A table of [`Route`]s names the function for a method and path; everything else goes to the fallback function. A
//! client that leaves does not stop the function.

mod answer;
mod event;
mod guard;
mod problem;
mod route;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    extract::{ConnectInfo, Request, State},
    response::Response,
    serve::ListenerExt as _,
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt as _;
use tokio::net::TcpListener;
use uuid::Uuid;

pub use guard::Guard;
pub use route::Route;

use crate::lambda::{Body, InvokeError, Lambda};
use guard::Passed;
use problem::Problem;
use route::Table;

/// The largest request body: 10 MB.
///
/// Source: <https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html>.
pub const BODY_LIMIT_BYTES: usize = 10 * 1024 * 1024;

/// How long a function may take for a buffered answer, unless configured otherwise (same source).
pub const BUFFERED_TIMEOUT: Duration = Duration::from_secs(29);

/// How much of a body that is too large is read and thrown away, so that the client gets to read the answer.
const DISCARD_LIMIT_BYTES: usize = 4 * BODY_LIMIT_BYTES;

/// What the front door knows.
#[derive(Clone, Debug)]
pub struct Config {
    /// Methods and paths and their functions; of two that match, the one with more literal segments wins.
    pub routes: Vec<Route>,
    /// The function for everything else.
    pub fallback: String,
    /// The stage that events name; it is not part of any path.
    pub stage: String,
    /// The API keys that are known, with the id that the event gives for each.
    pub api_keys: BTreeMap<String, String>,
    /// How long a function may take for a buffered answer. Streamed ones are bound by the function's own timeout.
    pub buffered_timeout: Duration,
    /// What stands before the functions, if anything does.
    pub guard: Option<Guard>,
}

impl Config {
    /// The usual front door of a stage `local` without API keys.
    #[must_use]
    pub fn new(routes: Vec<Route>, fallback: impl Into<String>) -> Self {
        Self {
            routes,
            fallback: fallback.into(),
            stage: "local".to_owned(),
            api_keys: BTreeMap::new(),
            buffered_timeout: BUFFERED_TIMEOUT,
            guard: None,
        }
    }
}

#[derive(Debug)]
struct Front {
    lambda: Lambda,
    table: Table,
    config: Config,
    kept: guard::Kept,
}

/// A router that answers every request with a function.
pub fn router(lambda: Lambda, config: Config) -> Router {
    let table = Table::new(&config.routes, &config.fallback);
    let front = Front {
        lambda,
        table,
        config,
        kept: guard::Kept::default(),
    };
    Router::new().fallback(handle).with_state(Arc::new(front))
}

/// Serves the router on a listener for ever, without delay on small writes and with the client's address.
///
/// # Errors
///
/// When the listener fails for good.
pub async fn serve(listener: TcpListener, router: Router) -> std::io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Best effort: without it answers are merely later.
        let _ = stream.set_nodelay(true);
    });
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).await
}

async fn handle(State(front): State<Arc<Front>>, request: Request) -> Response {
    let id = Uuid::new_v4();
    let mut response = match front.answer(request, id).await {
        Ok(response) => response,
        Err(problem) => problem.into_response(&id.to_string()),
    };
    if let Ok(id) = HeaderValue::try_from(id.to_string()) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}

impl Front {
    /// Lets a request pass what stands before the functions.
    async fn guard(&self, incoming: &event::Incoming<'_>) -> Result<Option<Passed>, Problem> {
        let (parts, path) = (incoming.parts, incoming.parts.uri.path());
        let guard = self.config.guard.as_ref();
        let Some(guard) = guard.filter(|guard| guard.stands_before(&parts.method, path)) else {
            return Ok(None);
        };
        let arn = event::method_arn(incoming);
        let ask = async {
            let event = event::build_for_authorizer(incoming, &arn);
            let asked = self.lambda.invoke(&guard.authorizer, event);
            let reply = tokio::time::timeout(self.config.buffered_timeout, asked).await;
            match reply.map(|reply| reply.map(|reply| reply.body)) {
                Ok(Ok(Body::Buffered(bytes))) => Ok(bytes),
                Ok(Ok(Body::Streamed(_))) | Err(_) => Err(Problem::NotAuthorizing),
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the authorizer failed");
                    Err(Problem::NotAuthorizing)
                }
            }
        };
        let (headers, resource) = (&parts.headers, incoming.resource);
        let passed = guard.pass(&self.kept, headers, resource, &arn, ask).await?;
        Ok(Some(passed))
    }

    async fn answer(&self, request: Request, id: Uuid) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let body = read(&parts.headers, body).await?;
        let found = self.table.find(&parts.method, parts.uri.path());
        let source_ip = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |info| info.0.ip());
        let trace_id = parts
            .headers
            .get("x-amzn-trace-id")
            .and_then(|value| value.to_str().ok())
            .map_or_else(|| crate::lambda::trace_id_of(id), str::to_owned);
        let mut incoming = event::Incoming {
            parts: &parts,
            body: &body,
            id,
            source_ip,
            trace_id: &trace_id,
            stage: &self.config.stage,
            api_keys: &self.config.api_keys,
            resource: found.resource,
            path_parameters: &found.parameters,
            passed: None,
        };
        let passed = self.guard(&incoming).await?;
        incoming.passed = passed.as_ref();
        let event = event::build(&incoming);
        let invocation = self
            .lambda
            .invoke_traced(found.function, event, Some(trace_id));
        let reply = if found.streaming {
            invocation.await
        } else {
            tokio::time::timeout(self.config.buffered_timeout, invocation)
                .await
                .map_err(|_| Problem::Timeout)?
        };
        let reply = reply.map_err(|error| refused(found.function, &error))?;
        let malformed = |reason: String| {
            tracing::warn!(function.name = %found.function, %reason, "malformed answer");
            Problem::Malformed(reason)
        };
        match reply.body {
            Body::Buffered(bytes) => answer::buffered(&bytes).map_err(malformed),
            Body::Streamed(chunks) if found.streaming => {
                answer::streamed(chunks).await.map_err(|error| match error {
                    answer::StreamError::Malformed(reason) => malformed(reason),
                    answer::StreamError::Broken(error) => refused(found.function, &error),
                })
            }
            Body::Streamed(_) => Err(malformed(
                "the function streams, but its route is buffered".to_owned(),
            )),
        }
    }
}

fn refused(function: &str, error: &InvokeError) -> Problem {
    if let InvokeError::EventTooLarge { .. } = error {
        return Problem::TooLarge;
    }
    tracing::warn!(function.name = %function, %error, "function failed");
    Problem::Failed(error.error_type().to_owned())
}

/// Reads the whole body. One that is too large is read on for a while, since a client that is still sending does not
/// see an answer; one that asks first (`Expect: 100-continue`) is told at once.
async fn read(headers: &HeaderMap, mut body: axum::body::Body) -> Result<Bytes, Problem> {
    let announced: usize = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse().ok())
        .unwrap_or(0);
    if announced > BODY_LIMIT_BYTES && headers.contains_key(header::EXPECT) {
        return Err(Problem::TooLarge);
    }
    let mut whole = Bytes::new();
    let mut gathered = BytesMut::new();
    let mut size = 0;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| Problem::Incomplete)?.into_data() else {
            continue;
        };
        size += data.len();
        if size > DISCARD_LIMIT_BYTES {
            break;
        }
        if size > BODY_LIMIT_BYTES {
            gathered.clear();
        } else if size == data.len() {
            // Most bodies are one frame: keep it without a copy.
            whole = data;
        } else {
            if gathered.is_empty() {
                gathered.extend_from_slice(&whole);
            }
            gathered.extend_from_slice(&data);
        }
    }
    if size > BODY_LIMIT_BYTES {
        return Err(Problem::TooLarge);
    }
    if gathered.is_empty() {
        return Ok(whole);
    }
    Ok(gathered.freeze())
}

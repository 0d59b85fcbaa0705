//! The Lambda Runtime API (`2018-06-01`), one listener per process, so that a connection tells whose it is.
//!
//! Source: <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::{net::TcpListener, sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Mode, PAYLOAD_LIMIT_BYTES,
    ack::Acknowledgement,
    dispatch::{Assigned, Function, InFlight, Next},
    reply::{self, Body, InvokeError, Part, Reply},
};

const RESPONSE_MODE: &str = "lambda-runtime-function-response-mode";
const ERROR_TYPE: &str = "lambda-runtime-function-error-type";

/// Serves one process until it is gone.
pub(super) async fn serve(
    listener: TcpListener,
    function: Arc<Function>,
    process: u64,
    gone: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = gone.cancelled() => return,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, or the peer has left: let others run, then try again.
            tokio::task::yield_now().await;
            continue;
        };
        // Best effort: without it answers are merely later.
        let _ = stream.set_nodelay(true);
        let caller = Arc::new(Caller {
            function: Arc::clone(&function),
            process,
            acknowledgement: Acknowledgement::of(&stream),
        });
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let caller = Arc::clone(&caller);
                async move { Ok::<_, Infallible>(caller.answer(request).await) }
            });
            // A connection that breaks belongs to a process that ended; its supervisor deals with that.
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The process at the other end of a connection.
struct Caller {
    function: Arc<Function>,
    process: u64,
    acknowledgement: Acknowledgement,
}

impl Caller {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().strip_prefix("/2018-06-01/runtime/");
        let segments: Vec<&str> = path.unwrap_or_default().split('/').collect();
        match (&parts.method, segments.as_slice()) {
            (&Method::GET, ["invocation", "next"]) => self.next().await,
            (&Method::POST, ["invocation", id, "response"]) => {
                self.response(id, &parts.headers, body).await
            }
            (&Method::POST, ["invocation", id, "error"]) => {
                let report = Report::read(&parts.headers, body).await;
                let Some(in_flight) = self.take(id) else {
                    return stale();
                };
                let _ = in_flight.answer.send(Err(InvokeError::Failed {
                    function: self.function.config.name.clone(),
                    error_type: report.error_type,
                    message: report.error_message,
                }));
                accepted()
            }
            (&Method::POST, ["init", "error"]) => {
                let report = Report::read(&parts.headers, body).await;
                let message = format!("{}: {}", report.error_type, report.error_message);
                self.function.init_failed(message);
                accepted()
            }
            _ => refusal(
                StatusCode::NOT_FOUND,
                "InvalidPath",
                "no such Runtime API call",
            ),
        }
    }

    fn take(&self, id: &str) -> Option<InFlight> {
        self.function
            .answered(self.process, Uuid::try_parse(id).ok()?)
    }

    async fn next(&self) -> Response<Full<Bytes>> {
        let assigned = match self.function.next(self.process) {
            Next::Now(assigned) => assigned,
            Next::Later(later) => match later.await {
                Ok(assigned) => assigned,
                // The process is being ended; its last poll stays unanswered until then.
                Err(_) => std::future::pending().await,
            },
        };
        let Assigned {
            id,
            payload,
            trace_id,
            deadline_at_ms,
        } = assigned;
        let trace_id = trace_id.unwrap_or_else(|| super::trace_id_of(id));
        Response::builder()
            .header(CONTENT_TYPE, "application/json")
            .header("lambda-runtime-aws-request-id", id.to_string())
            .header("lambda-runtime-deadline-ms", deadline_at_ms.to_string())
            .header("lambda-runtime-invoked-function-arn", &self.function.arn)
            .header("lambda-runtime-trace-id", trace_id)
            .body(Full::new(payload))
            .unwrap_or_else(|error| {
                refusal(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "InvalidHeader",
                    &error.to_string(),
                )
            })
    }

    async fn response(
        &self,
        id: &str,
        headers: &HeaderMap,
        mut body: Incoming,
    ) -> Response<Full<Bytes>> {
        self.acknowledgement.promptly();
        let Some(in_flight) = self.take(id) else {
            drain(body).await;
            return stale();
        };
        let content_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let is_streamed = headers
            .get(RESPONSE_MODE)
            .is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"streaming"));
        if is_streamed {
            let (parts, chunks) = reply::chunks(&self.function.config.name);
            let _ = in_flight.answer.send(Ok(Reply {
                content_type,
                body: Body::Streamed(chunks),
            }));
            self.pass_on(in_flight.deadline, body, parts).await;
            return accepted();
        }
        let function = self.function.config.name.clone();
        let limited = Limited::new(&mut body, PAYLOAD_LIMIT_BYTES);
        match limited.collect().await {
            Ok(collected) => {
                let _ = in_flight.answer.send(Ok(Reply {
                    content_type,
                    body: Body::Buffered(collected.to_bytes()),
                }));
                accepted()
            }
            Err(error) if error.is::<LengthLimitError>() => {
                let error = InvokeError::ReplyTooLarge {
                    function,
                    limit_bytes: PAYLOAD_LIMIT_BYTES,
                };
                let message = error.to_string();
                let _ = in_flight.answer.send(Err(error));
                // The runtime gives up a slot for good when it cannot finish a request.
                drain(body).await;
                refusal(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    "Function.ResponseSizeTooLarge",
                    &message,
                )
            }
            Err(error) => {
                let reason = error.to_string();
                let _ = in_flight
                    .answer
                    .send(Err(InvokeError::Exited { function, reason }));
                accepted()
            }
        }
    }

    /// Passes the chunks of a streamed reply to the caller as they come, until the end or the deadline.
    ///
    /// The function is read to the end even when nobody listens any more: a caller that leaves does not stop it.
    async fn pass_on(&self, deadline: Instant, mut body: Incoming, parts: mpsc::Sender<Part>) {
        let passing = async {
            while let Some(frame) = body.frame().await {
                self.acknowledgement.promptly();
                if let Some(part) = self.part(frame) {
                    // An error means that the caller has left.
                    let _ = parts.send(part).await;
                }
            }
            let _ = parts.send(Part::End).await;
        };
        if tokio::time::timeout_at(deadline, passing).await.is_err() {
            // A full channel means a caller that does not read: it will see the stream break off instead.
            let _ = parts.try_send(Part::Broken(self.function.timed_out()));
            drop(parts);
            if let Mode::Classic { .. } = self.function.config.mode {
                self.function.kill_process(self.process);
            }
            drain(body).await;
        }
    }

    fn part(&self, frame: Result<Frame<Bytes>, hyper::Error>) -> Option<Part> {
        let function = || self.function.config.name.clone();
        match frame.map(Frame::into_data) {
            Ok(Ok(bytes)) => Some(Part::Chunk(bytes)),
            Ok(Err(other)) => {
                let error_type = other.trailers_ref()?.get(ERROR_TYPE)?;
                Some(Part::Broken(InvokeError::Failed {
                    function: function(),
                    error_type: String::from_utf8_lossy(error_type.as_bytes()).into_owned(),
                    message: "the stream ended with an error".to_owned(),
                }))
            }
            Err(error) => Some(Part::Broken(InvokeError::Exited {
                function: function(),
                reason: error.to_string(),
            })),
        }
    }
}

async fn drain(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

/// What a function says about its failure. Anything it leaves out is filled in, since the failure itself is certain.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Report {
    error_type: String,
    error_message: String,
}

impl Report {
    async fn read(headers: &HeaderMap, body: Incoming) -> Self {
        let body = match Limited::new(body, PAYLOAD_LIMIT_BYTES).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(_) => Bytes::new(),
        };
        let mut report: Self = serde_json::from_slice(&body).unwrap_or_default();
        if report.error_type.is_empty() {
            let header = headers.get(ERROR_TYPE).and_then(|t| t.to_str().ok());
            report.error_type = header.unwrap_or("Runtime.UnknownReason").to_owned();
        }
        report
    }
}

fn accepted() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn stale() -> Response<Full<Bytes>> {
    refusal(
        StatusCode::GONE,
        "InvalidRequestID",
        "the invocation timed out or is unknown",
    )
}

fn refusal(status: StatusCode, error_type: &str, message: &str) -> Response<Full<Bytes>> {
    let body = serde_json::json!({ "errorType": error_type, "errorMessage": message }).to_string();
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}

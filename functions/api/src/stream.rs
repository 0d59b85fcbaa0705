//! A run's events as Server-Sent Events, from any position, without a gap, until the run ends.
//!
//! An event's SSE id is its number, its SSE event name its type. `delta` carries text that a model is still writing and has
//! no id: it is not kept, and the answer that follows holds all of it. `end` says that nothing will follow. A stream that
//! closes without it ran out of time: whoever connects again with `Last-Event-ID` misses nothing.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use domain::flag::Flag;
use domain::id::{RunId, TenantId};
use domain::run::{Commit, Event};
use domain::tenant::Tenant;
use engine::{Limits, NewRun, Outcome, Signal};
use futures_util::stream::unfold;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, LOCATION};
use http::{HeaderMap, HeaderValue};
use serde_json::json;
use store::Store;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::{Instant, timeout};

use crate::create::{Begun, location};
use crate::follow::{Cursor, Pace};
use crate::{Api, Problem, view};

/// Longest silence: API Gateway's edge gives up after 30 s.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Kept of an invocation for the hand-over and the last bytes.
const SPARE: Duration = Duration::from_secs(3);
/// Frames that wait for a slow reader.
const BUFFER: usize = 64;
/// Commits read at once.
const PAGE: u32 = 100;

const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Whether a tenant may stream.
pub(crate) fn allowed(tenant: &Tenant) -> Result<(), Problem> {
    if tenant.has(Flag::Streaming) {
        Ok(())
    } else {
        Err(Problem::SwitchedOff(Flag::Streaming))
    }
}

/// Creates a run, drives it in this process and streams it; goes on through the table when the drive ends before the run.
pub(crate) async fn drive(api: &Api, new: NewRun, remaining: Duration) -> Result<Begun, Problem> {
    let (tenant, run) = (new.tenant.clone(), new.run.clone());
    let limits = Limits::within(remaining.saturating_sub(SPARE));
    let (listener, mut signals) = mpsc::unbounded_channel();
    let engine = api.engine.clone();
    let mut driving = tokio::spawn(async move {
        Box::pin(engine.create_and_drive(new, limits, Some(listener))).await
    });
    // The first signal says that the run was created; without one the outcome says why it was not.
    let first = signals.recv().await;
    let Some(first) = first else {
        let outcome = (&mut driving).await.map_err(|_| Problem::Internal)??;
        return match outcome {
            Outcome::Exists(head) => Ok(Begun::Exists(head)),
            Outcome::Missing => Ok(Begun::NoAgent),
            Outcome::Refused(refusal) => Ok(Begun::Refused(refusal)),
            Outcome::Ended(_)
            | Outcome::Parked(_)
            | Outcome::HandedOver(_)
            | Outcome::Waiting(_)
            | Outcome::Held { .. } => Ok(Begun::Answered(follow(
                api,
                tenant,
                run,
                Vec::new(),
                0,
                remaining,
            ))),
        };
    };
    let store = api.engine.store.clone();
    let until = Instant::now() + remaining.saturating_sub(SPARE);
    Ok(Begun::Answered(open(
        api,
        Cursor::new(tenant, run, 0),
        move |mut line| async move {
            line.listen(&store, first, signals).await?;
            if let Ok(Err(error)) = driving.await {
                tracing::warn!(error = %telemetry::chain(&error), "a streamed run goes on elsewhere");
            }
            line.follow(&store, until).await
        },
    )))
}

/// Streams a run from the table, beginning with `read`, which was read after event `after`.
pub(crate) fn follow(
    api: &Api,
    tenant: TenantId,
    run: RunId,
    read: Vec<Commit>,
    after: u64,
    remaining: Duration,
) -> Response {
    let store = api.engine.store.clone();
    let until = Instant::now() + remaining.saturating_sub(SPARE);
    open(
        api,
        Cursor::new(tenant, run, after),
        move |mut line| async move {
            for commit in &read {
                line.commit(commit).await?;
            }
            line.follow(&store, until).await
        },
    )
}

/// Nobody reads any more.
struct Gone;

fn open<F, W>(api: &Api, cursor: Cursor, write: F) -> Response
where
    F: FnOnce(Line) -> W + Send + 'static,
    W: Future<Output = Result<(), Gone>> + Send + 'static,
{
    let (sender, receiver) = mpsc::channel::<Bytes>(BUFFER);
    let place = location(cursor.run());
    let hello = format!(": {} after {}\nretry: 1000\n\n", cursor.run(), cursor.last);
    // The answer is not over before its spans are exported.
    let (last, tracer) = (sender.clone(), api.engine.tracer().clone());
    let line = Line {
        sender,
        cursor,
        ended: false,
    };
    tokio::spawn(async move {
        if line.send(hello).await.is_ok() {
            let _gone = Box::pin(write(line)).await;
        }
        tracer.flush().await;
        drop(last);
    });
    let frames = unfold(receiver, |mut receiver| async move {
        let frame = receiver.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), receiver))
    });
    let mut response = Response::new(Body::from_stream(frames));
    dress(response.headers_mut(), &place);
    response
}

/// Whether these are the headers of an answer that is still being written.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE);
    content_type.is_some_and(|it| it.as_bytes().starts_with(b"text/event-stream"))
}

fn dress(headers: &mut HeaderMap, place: &str) {
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    if let Ok(place) = HeaderValue::from_str(place) {
        headers.insert(LOCATION, place);
    }
}

/// The writing end of a stream.
struct Line {
    sender: mpsc::Sender<Bytes>,
    cursor: Cursor,
    ended: bool,
}

impl Line {
    async fn send(&self, frame: String) -> Result<(), Gone> {
        self.sender.send(frame.into()).await.map_err(|_| Gone)
    }

    /// Writes what of a commit was not written yet.
    async fn commit(&mut self, commit: &Commit) -> Result<(), Gone> {
        let mut frames = String::new();
        for (number, event) in commit.numbered() {
            if number <= self.cursor.last || self.ended {
                continue;
            }
            frames.push_str(&frame(self.cursor.run(), number, commit, event));
            if event.is_terminal() {
                frames.push_str(&end(number, event));
                self.ended = true;
            }
        }
        self.cursor.take(commit);
        if frames.is_empty() {
            return Ok(());
        }
        self.send(frames).await
    }

    /// Writes what the driver in this process tells. What others wrote to the log meanwhile is read from there.
    async fn listen(
        &mut self,
        store: &Store,
        first: Signal,
        mut signals: UnboundedReceiver<Signal>,
    ) -> Result<(), Gone> {
        let mut next = Some(first);
        loop {
            match next.take() {
                Some(Signal::Committed(commit)) => {
                    if !self.close_gap(store, &commit).await? {
                        return Ok(());
                    }
                    self.commit(&commit).await?;
                }
                Some(Signal::Delta {
                    step,
                    attempt,
                    text,
                }) => self.send(delta(step, attempt, &text)).await?,
                None => {}
            }
            match timeout(HEARTBEAT, signals.recv()).await {
                Ok(Some(signal)) => next = Some(signal),
                Ok(None) => return Ok(()),
                Err(_) => self.send(heartbeat()).await?,
            }
            if self.sender.is_closed() {
                return Err(Gone);
            }
        }
    }

    /// Writes what stands between the last event written and `commit`; false when the table does not show it yet.
    async fn close_gap(&mut self, store: &Store, commit: &Commit) -> Result<bool, Gone> {
        let mut pace = Pace::new();
        let patience = Instant::now() + HEARTBEAT;
        while self.cursor.last + 1 < commit.first {
            match self.cursor.look(store, PAGE).await {
                Ok(commits) => {
                    for earlier in commits
                        .iter()
                        .filter(|earlier| earlier.first < commit.first)
                    {
                        self.commit(earlier).await?;
                    }
                }
                Err(error) => report(&error),
            }
            if self.cursor.last + 1 < commit.first && !pace.wait_until(patience).await {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes what the table shows until the run ends or `until` comes.
    async fn follow(&mut self, store: &Store, until: Instant) -> Result<(), Gone> {
        let mut pace = Pace::new();
        let mut quiet_since = Instant::now();
        while !self.ended {
            match self.cursor.look(store, PAGE).await {
                Ok(commits) if commits.is_empty() => {}
                Ok(commits) => {
                    for commit in &commits {
                        self.commit(commit).await?;
                    }
                    quiet_since = Instant::now();
                    pace.quicken();
                    continue;
                }
                Err(error) if error.is_transient() => report(&error),
                Err(error) => {
                    report(&error);
                    return Ok(());
                }
            }
            if quiet_since.elapsed() >= HEARTBEAT {
                self.send(heartbeat()).await?;
                quiet_since = Instant::now();
            }
            if self.sender.is_closed() {
                return Err(Gone);
            }
            if !pace.wait_until(until).await {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn report(error: &store::Error) {
    tracing::warn!(error = %telemetry::chain(error), "a stream cannot read its run's log");
}

/// JSON text holds no line break, so one `data` line takes it.
fn frame(run: &RunId, number: u64, commit: &Commit, event: &Event) -> String {
    let data = view::event(run, number, commit.at, event);
    format!("id: {number}\nevent: {}\ndata: {data}\n\n", event.tag())
}

fn delta(step: u32, attempt: u32, text: &str) -> String {
    format!(
        "event: delta\ndata: {}\n\n",
        json!({"step": step, "attempt": attempt, "text": text})
    )
}

/// The event that ends a run has the name of the status that it ends with.
fn end(number: u64, event: &Event) -> String {
    let data = json!({"status": event.tag(), "last_event": number});
    format!("event: end\ndata: {data}\n\n")
}

fn heartbeat() -> String {
    ":\n\n".to_owned()
}

#[cfg(test)]
mod tests {
    use domain::time::At;

    use super::*;

    #[test]
    fn a_frame_holds_number_name_and_one_line_of_data() {
        let commit = Commit {
            first: 4,
            at: At(0),
            driver: None,
            events: vec![Event::Succeeded {
                output: "two\nlines".into(),
            }],
            used: None,
        };
        assert_eq!(
            frame(&RunId::from_bytes([0; 16]), 4, &commit, &commit.events[0]),
            "id: 4\nevent: succeeded\ndata: {\"at\":\"1970-01-01T00:00:00.000Z\",\"event\":4,\"output\":\"two\\nlines\",\"run\":\"run_00000000000000000000000000000000\",\"type\":\"succeeded\"}\n\n"
        );
        assert_eq!(
            end(4, &commit.events[0]),
            "event: end\ndata: {\"last_event\":4,\"status\":\"succeeded\"}\n\n"
        );
        assert_eq!(
            delta(2, 0, "a\nb"),
            "event: delta\ndata: {\"attempt\":0,\"step\":2,\"text\":\"a\\nb\"}\n\n"
        );
    }
}

//! Lines that are finer than the level: held while a piece of work goes on, and written only if it fails.

use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

use tracing::span::{Attributes, Id};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, fmt};

use crate::json::Line;

/// The target of spans that are pieces of work.
const WORK: &str = "telemetry::work";

/// A piece of work in the log, such as what a queue message asks: what is recorded of it stands in every line within. Lines
/// that are held are this piece's.
#[must_use]
pub fn work() -> tracing::Span {
    use tracing::field::Empty;
    tracing::error_span!(
        target: WORK,
        "work",
        tenant.id = Empty,
        run.id = Empty,
        step = Empty,
    )
}

/// Holds what is finer than the log's level, and writes it before the error that ends in its piece of work.
pub(crate) struct Held<W> {
    line: Line,
    /// What is written at once anyway.
    level: Level,
    /// Most bytes of one piece of work; the oldest lines go first.
    most_bytes: usize,
    writer: W,
}

#[derive(Default)]
struct Lines {
    lines: VecDeque<String>,
    bytes: usize,
    dropped: bool,
}

impl<W> Held<W> {
    pub(crate) fn new(line: Line, level: Level, most_bytes: usize, writer: W) -> Self {
        Self {
            line,
            level,
            most_bytes,
            writer,
        }
    }
}

impl Lines {
    fn push(&mut self, line: String, most_bytes: usize) {
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > most_bytes
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.len();
            self.dropped = true;
        }
    }
}

impl<S, W> Layer<S> for Held<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> fmt::MakeWriter<'w> + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().target() == WORK
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().insert(Mutex::new(Lines::default()));
        }
    }

    /// Work that panics ends in an error that is logged outside of it.
    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        if std::thread::panicking()
            && let Some(span) = context.span(id)
            && let Some(held) = span.extensions().get::<Mutex<Lines>>()
        {
            self.write(held);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let level = *event.metadata().level();
        let is_error = level == Level::ERROR;
        if !is_error && level <= self.level {
            return;
        }
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let Some(held) = extensions.get::<Mutex<Lines>>() else {
                continue;
            };
            if is_error {
                return self.write(held);
            }
            let mut line = String::new();
            let scope = context.event_scope(event);
            if self.line.write(&mut line, event, scope).is_ok() {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                held.push(line, self.most_bytes);
            }
            return;
        }
    }
}

impl<W: for<'w> fmt::MakeWriter<'w>> Held<W> {
    fn write(&self, held: &Mutex<Lines>) {
        let held = std::mem::take(&mut *held.lock().unwrap_or_else(PoisonError::into_inner));
        let mut text: String = held.lines.iter().map(String::as_str).collect();
        if held.dropped {
            text.insert_str(
                0,
                "{\"level\":\"WARN\",\"message\":\"earlier lines did not fit\"}\n",
            );
        }
        // A closed standard output is no reason to fail what was logged.
        let _ = self.writer.make_writer().write_all(text.as_bytes());
    }
}

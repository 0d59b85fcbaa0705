//! What is printed, and with which exit code the command ends.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The platform cannot be reached. Exit code 3.
    Unreachable(String),
    /// The platform answered with a problem. Exit code 4.
    Problem(Value),
    /// Anything else. Exit code 1.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Exit code of a command whose run ended without an answer.
pub(crate) const RUN_FAILED: u8 = 1;

/// Prints a line to standard output. A reader that went away is no error.
pub(crate) fn line(text: &str) {
    let _gone = writeln!(std::io::stdout(), "{text}");
}

/// Prints text to standard output at once, without a line's end.
pub(crate) fn piece(text: &str) {
    let mut out = std::io::stdout();
    let _gone = write!(out, "{text}").and_then(|()| out.flush());
}

/// Prints a line to standard error.
pub(crate) fn note(text: &str) {
    let _gone = writeln!(std::io::stderr(), "{text}");
}

/// Says what went wrong and gives the exit code.
pub(crate) fn fail(failure: &Failure) -> ExitCode {
    match failure {
        Failure::Unreachable(detail) => {
            note(&format!("error: {detail}"));
            ExitCode::from(3)
        }
        Failure::Problem(problem) => {
            let text = |name: &str| problem[name].as_str().unwrap_or_default();
            note(&format!("error: {} ({})", text("title"), problem["status"]));
            if !text("detail").is_empty() {
                note(&format!("  {}", text("detail")));
            }
            for error in problem["errors"].as_array().into_iter().flatten() {
                let detail = error["detail"].as_str().unwrap_or_default();
                // The empty pointer is the whole body.
                let place = ["pointer", "parameter", "header"]
                    .into_iter()
                    .find_map(|place| error[place].as_str().filter(|place| !place.is_empty()));
                note(&match place {
                    Some(place) => format!("  {place}: {detail}"),
                    None => format!("  {detail}"),
                });
            }
            ExitCode::from(4)
        }
        Failure::Other(error) => {
            note(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// A spinner on standard error, where a person watches.
pub(crate) fn spinner(text: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
        bar.set_style(style);
    }
    bar.set_message(text.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// Prints rows below their headings, each column as wide as it needs.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) {
    let mut widths: Vec<usize> = headings.iter().map(|heading| heading.len()).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let show = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        line(padded.join("  ").trim_end());
    };
    show(&mut headings.iter().copied());
    for row in rows {
        show(&mut row.iter().map(String::as_str));
    }
}

/// Micro-USD as dollars.
pub(crate) fn dollars(micro_usd: &Value) -> String {
    let micro_usd = micro_usd.as_u64().unwrap_or(0);
    format!("${}.{:06}", micro_usd / 1_000_000, micro_usd % 1_000_000)
}

/// A JSON value as a person reads it: a text bare, anything else indented.
pub(crate) fn readable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_else(|_| other.to_string()),
    }
}

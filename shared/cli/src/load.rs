//! `skein load`.

use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use load::{Progress, Report, SCENARIOS, Scenario, Table};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::args::{Load, LoadCommand, Scaled, Server};
use crate::client::Endpoint;
use crate::output::{self, Failure, RUN_FAILED};

/// Where nobody watches, a line tells of progress as often as this.
const TELL_EVERY: Duration = Duration::from_secs(30);

impl From<load::Error> for Failure {
    fn from(error: load::Error) -> Self {
        match error {
            load::Error::Refused(problem) => Self::Problem(problem),
            load::Error::Unreachable { .. } => Self::Unreachable(error.to_string()),
            other => Self::Other(other.into()),
        }
    }
}

pub(crate) async fn load(server: &Server, asked: Load) -> Result<ExitCode, Failure> {
    match asked.command {
        Some(LoadCommand::Ls) => list()?,
        Some(LoadCommand::Show { scenario }) => show(&scenario)?,
        Some(LoadCommand::Export { scaled, format }) => {
            let scenario = scaled.find()?;
            output::line(load::export(&scenario, format.into()).trim_end());
        }
        None => {
            // Without a command clap asks for a scenario.
            let scaled = asked.scaled.context("there is no scenario")?;
            let scenario = scaled.find()?;
            return make(server, &scenario, asked.report, asked.json).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Scaled {
    fn find(self) -> Result<Scenario, Failure> {
        let mut scenario = Scenario::find(&self.scenario)?;
        if let Some(agent) = self.agent {
            scenario.agent.id = agent;
            scenario.agent.definition = None;
        }
        if let Some(input) = self.input {
            scenario.agent.input = input;
        }
        Ok(scenario.scaled(self.scale, self.duration)?)
    }
}

fn list() -> Result<(), Failure> {
    let row = |name: &str| {
        let scenario = Scenario::find(name)?;
        Ok(vec![name.to_owned(), scenario.description])
    };
    let rows: Result<Vec<Vec<String>>, Failure> =
        SCENARIOS.iter().map(|(name, _)| row(name)).collect();
    output::table(&["SCENARIO", "WHAT IT IS"], &rows?);
    Ok(())
}

fn show(name: &str) -> Result<(), Failure> {
    let known = SCENARIOS.iter().find(|(known, _)| *known == name);
    let (_, text) = known.ok_or_else(|| load::Error::Unknown(name.to_owned()))?;
    output::line(text.trim_end());
    Ok(())
}

/// Makes the load and reports what it showed.
async fn make(
    server: &Server,
    scenario: &Scenario,
    file: Option<PathBuf>,
    as_json: bool,
) -> Result<ExitCode, Failure> {
    // Before the load, which may take a day: whether the report can be written after it.
    if let Some(file) = &file {
        write(file, "")?;
    }
    let client = server.client()?;
    let api = client.load_api();
    let dev = Endpoint::read().filter(|announced| announced.url == client.url());
    let bar = bar(scenario);
    let mut told = Duration::ZERO;
    let tell = |progress: Progress| {
        if bar.is_hidden() && progress.elapsed >= told + TELL_EVERY {
            told = progress.elapsed;
            output::note(&line(&progress));
        }
        bar.set_position(progress.elapsed.min(progress.lasts).as_secs());
        bar.set_message(line(&progress));
    };
    let measured = load::drive(
        scenario,
        api,
        dev.and_then(|dev| dev.pid),
        tell,
        interrupted(),
    )
    .await?;
    bar.finish_and_clear();

    let report = Report::new(scenario, &measured, client.url());
    if let Some(file) = &file {
        write(file, &report.html())?;
    }
    if as_json {
        output::line(&report.json().to_string());
    } else {
        print(&report);
    }
    if let Some(file) = file {
        output::note(&format!("the report is in {}", file.display()));
    }
    Ok(if report.is_good() && !measured.is_stopped {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(RUN_FAILED)
    })
}

fn write(file: &PathBuf, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
}

fn print(report: &Report<'_>) {
    for Table { headings, rows } in [report.requests(), report.runs(), report.targets()] {
        output::table(&headings, &rows);
        output::line("");
    }
    for note in report.notes() {
        output::line(&note);
    }
}

/// A bar on standard error, where a person watches.
fn bar(scenario: &Scenario) -> ProgressBar {
    let bar = ProgressBar::new(scenario.lasts().as_secs());
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {elapsed} of {len} s  {msg}") {
        bar.set_style(style);
    }
    bar
}

/// How far it is, in a line.
fn line(progress: &Progress) -> String {
    let Progress {
        elapsed,
        lasts,
        rate,
        requests,
        failed,
        p95_ms,
        created,
        ended,
    } = progress;
    let p95 = p95_ms.map_or("-".to_owned(), |p95| format!("{p95:.1} ms"));
    let under_way = created.saturating_sub(*ended);
    let now = if elapsed < lasts {
        format!("{rate:.1} requests/s")
    } else {
        "waiting for the last answers and runs".to_owned()
    };
    format!(
        "{now}, {requests} made, {failed} failed, p95 {p95}; {created} runs, {under_way} not known to have ended"
    )
}

/// Comes when somebody presses Ctrl-C. Whoever does so twice does not want to wait for the report either.
fn interrupted() -> impl Future<Output = ()> {
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let Ok(mut interrupt) = signal(SignalKind::interrupt()) else {
            return;
        };
        interrupt.recv().await;
        output::note("no more requests are made; Ctrl-C again ends it without a report");
        let _over_already = tell.send(());
        interrupt.recv().await;
        std::process::exit(130);
    });
    async {
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_progress_tells_what_is_made_and_what_is_waited_for() {
        let mut progress = Progress {
            elapsed: Duration::from_secs(5),
            lasts: Duration::from_secs(60),
            rate: 100.0,
            requests: 500,
            failed: 2,
            p95_ms: Some(3.12),
            created: 100,
            ended: 80,
        };
        assert_eq!(
            line(&progress),
            "100.0 requests/s, 500 made, 2 failed, p95 3.1 ms; 100 runs, 20 not known to have ended"
        );
        progress.elapsed = progress.lasts;
        assert!(line(&progress).starts_with("waiting for the last answers and runs, "));
    }
}

//! What a load showed: tables and notes for people, JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::measured::Measured;
use crate::mix::Operation;
use crate::plot::{clock, label};
use crate::scenario::Scenario;
use crate::spans::Spans;
use crate::targets::{Outcome, Verdict};

/// From which lateness on, of one request in a hundred, this side is a part of what was measured, in milliseconds.
const LATE_MS: f64 = 10.0;

/// A load with everything that it showed.
#[derive(Debug)]
pub struct Report<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) measured: &'a Measured,
    verdicts: Vec<Verdict>,
    pub(crate) url: &'a str,
    /// When it ended, RFC 3339.
    pub(crate) ended_at: String,
}

/// Rows below headings.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The headings.
    pub headings: Vec<&'static str>,
    /// The rows, each as long as the headings.
    pub rows: Vec<Vec<String>>,
}

impl<'a> Report<'a> {
    /// A report of a load of the platform at `url`, that has just ended.
    #[must_use]
    pub fn new(scenario: &'a Scenario, measured: &'a Measured, url: &'a str) -> Self {
        let judge = |(figure, target): (&crate::Figure, &f64)| figure.judge(*target, measured);
        Self {
            scenario,
            measured,
            verdicts: scenario.targets.iter().map(judge).collect(),
            url,
            ended_at: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
        }
    }

    /// Each target of the scenario, and whether it is met.
    #[must_use]
    pub fn verdicts(&self) -> &[Verdict] {
        &self.verdicts
    }

    /// Whether no target is missed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        let missed = |verdict: &Verdict| verdict.outcome == Outcome::Missed;
        !self.verdicts.iter().any(missed)
    }

    /// How long requests of each operation took.
    #[must_use]
    pub fn requests(&self) -> Table {
        let row = |name: &str, spans: &Spans, failed: u64| {
            let mut row = vec![name.to_owned(), spans.len().to_string(), failed.to_string()];
            row.extend(quantiles(spans));
            row
        };
        let each = Operation::ALL.iter().zip(&self.measured.operations);
        let mut rows: Vec<Vec<String>> = each
            .filter(|(_, (spans, _))| !spans.is_empty())
            .map(|(operation, (spans, failed))| row(operation.name(), spans, *failed))
            .collect();
        rows.push(row("all", &self.measured.latency, self.measured.failed()));
        Table {
            headings: vec!["REQUEST", "COUNT", "FAILED", "P50", "P95", "P99", "MOST"],
            rows,
        }
    }

    /// How long runs waited and took.
    #[must_use]
    pub fn runs(&self) -> Table {
        let runs = &self.measured.runs;
        let row = |name: &str, spans: &Spans| {
            let mut row = vec![name.to_owned(), spans.len().to_string()];
            row.extend(quantiles(spans));
            row
        };
        Table {
            headings: vec!["RUNS", "COUNT", "P50", "P95", "P99", "MOST"],
            rows: vec![
                row("waited in the queue", &runs.wait),
                row("from creation to end", &runs.whole),
                row("of that not the model's", &runs.overhead),
            ],
        }
    }

    /// Each target beside what was measured.
    #[must_use]
    pub fn targets(&self) -> Table {
        let row = |verdict: &Verdict| {
            let unit = verdict.figure.unit();
            let value = verdict.value.map(|value| label(value, unit));
            vec![
                verdict.figure.title().to_owned(),
                value.unwrap_or_else(|| "-".to_owned()),
                format!("at most {}", label(verdict.target, unit)),
                match verdict.outcome {
                    Outcome::Met => "ok".to_owned(),
                    Outcome::Missed => "MISSED".to_owned(),
                    Outcome::Unknown(why) => format!("not known: {why}"),
                },
            ]
        };
        Table {
            headings: vec!["TARGET", "MEASURED", "IS TO BE", "VERDICT"],
            rows: self.verdicts.iter().map(row).collect(),
        }
    }

    /// What else has to be said, in lines.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let Measured {
            runs,
            failures,
            late,
            ..
        } = self.measured;
        let mut notes = Vec::new();
        if self.measured.is_stopped {
            let after = clock(self.measured.lasts.as_secs_f64());
            notes.push(format!("stopped after {after}; figures are of that time"));
        }
        for (why, count) in failures {
            notes.push(format!("requests failed: {count} x {why}"));
        }
        if failures.contains_key("rate_limited") {
            notes.push(
                "the tenant's rate limits refuse requests: an operator may lift them with \
                 `skein tenants set <tenant> --overrides '{\"windows\": []}'`"
                    .to_owned(),
            );
        }
        for (why, count) in &runs.failed {
            notes.push(format!("runs did not succeed: {count} x {why}"));
        }
        for (what, count) in [("lost", runs.lost), ("not ended in time", runs.unfinished)] {
            if count > 0 {
                notes.push(format!("runs {what}: {count}"));
            }
        }
        if runs.created > 0 {
            let dollars = runs.costs.model_micro_usd as f64 / 1e6;
            let mut cost = format!("{} runs: ${dollars:.6} of models", runs.created);
            if let Some(each) = runs.costs.platform_micro_usd_a_run() {
                let receipts = runs.costs.receipts;
                let _ = write!(
                    cost,
                    ", {} micro-USD of the platform for each, by {receipts} receipts",
                    label(each, "")
                );
            }
            notes.push(cost);
        }
        if let Some(late) = late.percentile_ms(99.0).filter(|late| *late > LATE_MS) {
            notes.push(format!(
                "one request in a hundred left this side {} late, which its latency holds: it may be this machine that is slow",
                label(late, "ms")
            ));
        }
        notes.push(match self.measured.memory.last() {
            Some(resident) => {
                let mb = |bytes: u64| label(bytes as f64 / 1e6, "MB");
                let each = resident.bytes.iter();
                let each: Vec<String> = each
                    .map(|(name, bytes)| format!("{name} {}", mb(*bytes)))
                    .collect();
                format!("memory of a process at the end: {}", each.join(", "))
            }
            None => "memory: not known, since the functions are not on this machine; \
                     what leaks is told by drift alone"
                .to_owned(),
        });
        notes
    }

    /// The whole of it as JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let measured = self.measured;
        let spans = |spans: &Spans| {
            json!({
                "count": spans.len(),
                "p50_ms": spans.percentile_ms(50.0),
                "p95_ms": spans.percentile_ms(95.0),
                "p99_ms": spans.percentile_ms(99.0),
                "max_ms": spans.max_ms(),
            })
        };
        let operations = Operation::ALL.iter().zip(&measured.operations);
        let operations: serde_json::Map<String, Value> = operations
            .map(|(operation, (took, failed))| {
                let mut one = spans(took);
                one["failed"] = json!(failed);
                (operation.name().to_owned(), one)
            })
            .collect();
        let runs = &measured.runs;
        json!({
            "scenario": self.scenario.name,
            "url": self.url,
            "ended_at": self.ended_at,
            "seconds": measured.lasts.as_secs_f64(),
            "is_stopped": measured.is_stopped,
            "requests": spans(&measured.latency),
            "late": spans(&measured.late),
            "operations": operations,
            "failures": measured.failures,
            "runs": {
                "created": runs.created,
                "succeeded": runs.succeeded,
                "failed": runs.failed,
                "lost": runs.lost,
                "unfinished": runs.unfinished,
                "wait": spans(&runs.wait),
                "whole": spans(&runs.whole),
                "overhead": spans(&runs.overhead),
                "lag_cleared_ms": runs.lag_cleared.map(|after| after.as_secs_f64() * 1e3),
                "model_micro_usd": runs.costs.model_micro_usd,
                "platform_micro_usd_a_run": runs.costs.platform_micro_usd_a_run(),
            },
            "verdicts": self.verdicts,
            "is_good": self.is_good(),
        })
    }
}

fn quantiles(spans: &Spans) -> [String; 4] {
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| label(value, "ms"));
    [
        shown(spans.percentile_ms(50.0)),
        shown(spans.percentile_ms(95.0)),
        shown(spans.percentile_ms(99.0)),
        shown(spans.max_ms()),
    ]
}

#[cfg(test)]
pub(crate) mod tests {

    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::Resident;

    /// A load of ten seconds in which everything happened that a report tells of.
    pub(crate) fn measured() -> Measured {
        let mut measured = Measured::new(Duration::from_secs(10));
        for number in 0..100_u32 {
            let due = Duration::from_millis(100) * number;
            let failure = (number == 7).then(|| "rate_limited".to_owned());
            measured.answered(Operation::ReadRun, due, Duration::from_millis(5), failure);
            measured.late.push(Duration::from_millis(12));
        }
        measured.runs.created = 3;
        measured.runs.succeeded = 1;
        measured.runs.lost = 1;
        measured.runs.failed.insert("<model>".to_owned(), 1);
        measured.runs.wait.push(Duration::from_millis(40));
        measured.bins[3].wait.push(Duration::from_millis(40));
        let bytes = BTreeMap::from([("api".to_owned(), 9_500_000)]);
        let at = Duration::from_secs(1);
        measured.memory.push(Resident { at, bytes });
        measured
    }

    #[test]
    fn a_report_is_good_unless_a_target_is_missed() {
        let scenario = Scenario::find("soak-requests").unwrap();
        let measured = measured();
        let report = Report::new(&scenario, &measured, "http://localhost");
        assert!(!report.is_good());
        let missed = report.verdicts().iter();
        let missed: Vec<&str> = missed
            .filter(|verdict| verdict.outcome == Outcome::Missed)
            .map(|verdict| verdict.figure.title())
            .collect();
        assert_eq!(missed, ["failed requests", "runs that did not succeed"]);
        assert_eq!(report.json()["verdicts"].as_array().unwrap().len(), 6);

        let clean = Measured::new(Duration::from_secs(1));
        let mut easy = scenario.clone();
        easy.targets = BTreeMap::from([(crate::Figure::MemoryGrowthPercent, 10.0)]);
        assert!(Report::new(&easy, &clean, "").is_good());
    }

    #[test]
    fn notes_say_what_failed_and_what_to_do_about_it() {
        let scenario = Scenario::find("soak-requests").unwrap();
        let measured = measured();
        let notes = Report::new(&scenario, &measured, "").notes().join("\n");
        for told in [
            "requests failed: 1 x rate_limited",
            "skein tenants set",
            "runs did not succeed: 1 x <model>",
            "runs lost: 1",
            "12 ms late",
            "api 9.5 MB",
        ] {
            assert!(notes.contains(told), "{told} is not in {notes}");
        }
    }
}

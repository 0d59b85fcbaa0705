//! What a load showed, as a page with plots.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::measured::{Bin, Measured};
use crate::plot::{Line, clock, escaped, plot};
use crate::report::{Report, Table};
use crate::scenario::Scenario;
use crate::schedule::rate_at;
use crate::spans::Spans;
use crate::targets::Outcome;

impl Report<'_> {
    /// A page of its own, which asks for nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        let Scenario {
            name, description, ..
        } = self.scenario;
        let seconds = self.measured.lasts.as_secs_f64();
        let count = |wanted: Outcome| {
            let verdicts = self.verdicts().iter();
            verdicts.filter(|verdict| verdict.outcome == wanted).count()
        };
        let (missed, met) = (count(Outcome::Missed), count(Outcome::Met));
        let all = self.verdicts().len();
        let (verdict, class) = if missed > 0 {
            (format!("{missed} of {all} targets missed"), "missed")
        } else {
            (format!("{met} of {all} targets met, none missed"), "met")
        };
        let mut page = include_str!("page.html").to_owned();
        let facts = format!(
            "{} requests in {}, ended {}, of {}",
            self.measured.requests(),
            clock(seconds),
            self.ended_at,
            self.url
        );
        let notes: String = self
            .notes()
            .iter()
            .map(|note| format!("<li>{}</li>", escaped(note)))
            .collect();
        let tables: String = [self.targets(), self.requests(), self.runs()]
            .iter()
            .map(Table::html)
            .collect();
        for (place, text) in [
            ("{name}", escaped(name)),
            ("{description}", escaped(description)),
            ("{facts}", escaped(&facts)),
            ("{class}", class.to_owned()),
            ("{verdict}", verdict),
            ("{tables}", tables),
            ("{notes}", notes),
            ("{plots}", self.plots()),
        ] {
            page = page.replace(place, &text);
        }
        page
    }

    fn plots(&self) -> String {
        let Measured { bins, bin, .. } = self.measured;
        let seconds = bin.as_secs_f64() * bins.len() as f64;
        let percentile = |name: &str, percent: f64, spans: fn(&Bin) -> &Spans| {
            Line::new(
                name,
                bins.iter().map(|one| spans(one).percentile_ms(percent)),
            )
        };
        let a_second = |count: u64| Some(count as f64 / bin.as_secs_f64());
        let due = (0_u32..).zip(bins).map(|(place, _)| {
            let middle = *bin * place + *bin / 2;
            Some(rate_at(&self.scenario.stages, middle))
        });
        let latency: fn(&Bin) -> &Spans = |one| &one.latency;
        let wait: fn(&Bin) -> &Spans = |one| &one.wait;
        let whole: fn(&Bin) -> &Spans = |one| &one.whole;
        let mut plots = plot(
            "How long requests took, from when they were due",
            "ms",
            seconds,
            &[
                percentile("p50", 50.0, latency),
                percentile("p95", 95.0, latency),
                percentile("p99", 99.0, latency),
            ],
        );
        plots.push_str(&plot(
            "Requests a second",
            "",
            seconds,
            &[
                Line::new("due by the scenario", due),
                Line::new("made", bins.iter().map(|one| a_second(one.latency.len()))),
            ],
        ));
        plots.push_str(&plot(
            "Failures a second",
            "",
            seconds,
            &[
                Line::new("requests", bins.iter().map(|one| a_second(one.failed))),
                Line::new("runs", bins.iter().map(|one| a_second(one.failed_runs))),
            ],
        ));
        if self.measured.runs.created > 0 {
            plots.push_str(&plot(
                "How long runs waited in the queue, by when they were created",
                "ms",
                seconds,
                &[
                    percentile("p50", 50.0, wait),
                    percentile("p99", 99.0, wait),
                    Line::new("longest", bins.iter().map(|one| one.wait.max_ms())),
                ],
            ));
            plots.push_str(&plot(
                "How long runs took from creation to end",
                "ms",
                seconds,
                &[
                    percentile("p50", 50.0, whole),
                    percentile("p95", 95.0, whole),
                    percentile("p99", 99.0, whole),
                ],
            ));
        }
        if !self.measured.memory.is_empty() {
            plots.push_str(&self.memory(seconds));
        }
        plots
    }

    fn memory(&self, seconds: f64) -> String {
        let Measured { memory, bins, .. } = self.measured;
        let names: BTreeSet<&String> = memory.iter().flat_map(|one| one.bytes.keys()).collect();
        let lines: Vec<Line> = names
            .into_iter()
            .map(|name| {
                let mut values = vec![None; bins.len()];
                for one in memory {
                    let part = one.at.as_secs_f64() / seconds * bins.len() as f64;
                    // What was looked at after the last request has no place here.
                    let place = (0..bins.len()).find(|place| part < (place + 1) as f64);
                    if let Some((place, bytes)) = place.zip(one.bytes.get(name)) {
                        values[place] = Some(*bytes as f64 / 1e6);
                    }
                }
                // Looks may be further apart than parts of the time.
                let mut last = None;
                let values = values.into_iter().map(|value| {
                    last = value.or(last);
                    last
                });
                Line::new(name, values)
            })
            .collect();
        plot(
            "Memory of a process of each function",
            "MB",
            seconds,
            &lines,
        )
    }
}

impl Table {
    fn html(&self) -> String {
        let mut html = "<table><thead><tr>".to_owned();
        for heading in &self.headings {
            let _ = write!(html, "<th>{}</th>", escaped(&heading.to_lowercase()));
        }
        html.push_str("</tr></thead><tbody>");
        for row in &self.rows {
            html.push_str("<tr>");
            for cell in row {
                let class = match cell.as_str() {
                    "ok" => " class=\"met\"",
                    "MISSED" => " class=\"missed\"",
                    _ => "",
                };
                let _ = write!(html, "<td{class}>{}</td>", escaped(cell));
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table>");
        html
    }
}

#[cfg(test)]
mod tests {

    use crate::report::tests::measured;
    use crate::{Report, Scenario};

    #[test]
    fn a_page_asks_for_nothing_else_and_holds_every_plot() {
        let scenario = Scenario::find("soak-requests").unwrap();
        let measured = measured();
        let report = Report::new(&scenario, &measured, "http://localhost");
        let page = report.html();
        for foreign in ["<script", "src=", "<link", "url(", "@import", "NaN"] {
            assert!(!page.contains(foreign), "the page has {foreign}");
        }
        assert_eq!(page.matches("<svg").count(), 6);
        assert!(page.contains("prefers-color-scheme: dark"));
        assert!(page.contains("&lt;model&gt;") && !page.contains("<model>"));
        for left in ["{name}", "{tables}", "{plots}", "{notes}", "{verdict}"] {
            assert!(!page.contains(left), "{left} was left open");
        }
    }
}

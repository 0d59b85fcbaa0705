//! A scenario as a script for another tool: the same rates, the same mix, and those targets that the tool can hold. What only
//! following runs can tell, their wait and their end, is left to `skein load`.
//!
//! The scripts are templates in `export/`, which are filled with values as JSON; each takes address and key from `SKEIN_URL`
//! and `SKEIN_API_KEY` (`JMeter` from properties) when it runs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::mix::Operation;
use crate::plot::escaped;
use crate::scenario::Scenario;
use crate::schedule::peak;
use crate::targets::Figure;

/// Another tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Grafana k6: an executor of arrival rates.
    K6,
    /// Locust: users, each with a constant throughput, in a shape over time.
    Locust,
    /// Apache `JMeter` 5.5 or later: an open model thread group.
    Jmeter,
}

/// Locust's users at the highest rate, at least: so that their number follows the rate to 2 %.
const LEAST_USERS: f64 = 50.0;

/// The scenario as a script for another tool.
#[must_use]
pub fn export(scenario: &Scenario, format: Format) -> String {
    match format {
        Format::K6 => k6(scenario),
        Format::Locust => locust(scenario),
        Format::Jmeter => jmeter(scenario),
    }
}

/// Puts values where the template names them, as JSON, which is a literal in JavaScript and in Python.
fn filled(template: &str, values: &[(&str, Value)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(&format!("/*{name}*/"), &value.to_string())
        })
}

/// What scripts have in common. The agent's definition is empty when it has to be there.
fn shared(scenario: &Scenario) -> Vec<(&'static str, Value)> {
    let agent = &scenario.agent;
    let definition = agent.definition.as_ref();
    let definition = definition.map(|definition| json!(definition).to_string());
    let weights = scenario.mix.weights();
    let weights: Vec<Value> = weights
        .iter()
        .map(|(operation, weight)| json!([operation.name(), weight]))
        .collect();
    vec![
        ("scenario", json!(scenario.name)),
        ("agent", json!(agent.id)),
        ("input", json!(agent.input)),
        // A text within a text, since Python's `true` is another.
        ("definition", json!(definition.unwrap_or_default())),
        ("mix", json!(weights)),
    ]
}

fn target(scenario: &Scenario, figure: Figure) -> Option<f64> {
    scenario.targets.get(&figure).copied()
}

/// Rates are whole numbers there, so they are of a minute.
fn k6(scenario: &Scenario) -> String {
    let a_minute = |rate: f64| (rate * 60.0).round();
    let whole = |rate: f64| literal(a_minute(rate));
    let mut stages = Vec::new();
    let mut rate = scenario.stages.first().map_or(0.0, |stage| stage.from);
    let begins = whole(rate);
    for stage in &scenario.stages {
        if a_minute(stage.from) != a_minute(rate) {
            stages.push(json!({"duration": "0s", "target": whole(stage.from)}));
        }
        let ms = stage.lasts.as_millis();
        stages.push(json!({"duration": format!("{ms}ms"), "target": whole(stage.to)}));
        rate = stage.to;
    }
    // One for each request that is due in the longest time that the target allows, and room for a stall.
    let users = (peak(&scenario.stages) * 0.2).ceil().max(10.0);
    let mut thresholds = serde_json::Map::new();
    let percentiles = [(Figure::LatencyP95Ms, 95), (Figure::LatencyP99Ms, 99)];
    let percentiles: Vec<String> = percentiles
        .into_iter()
        .filter_map(|(figure, percent)| {
            let most = target(scenario, figure)?;
            Some(format!("p({percent})<={most}"))
        })
        .collect();
    if !percentiles.is_empty() {
        thresholds.insert("http_req_duration".to_owned(), json!(percentiles));
    }
    if let Some(most) = target(scenario, Figure::ErrorsPercent) {
        let rate = format!("rate<={}", most / 100.0);
        thresholds.insert("http_req_failed".to_owned(), json!([rate]));
    }
    let mut values = shared(scenario);
    values.extend([
        ("begins", begins),
        ("stages", json!(stages)),
        ("users", literal(users)),
        ("most_users", literal(users * 25.0)),
        ("thresholds", Value::Object(thresholds)),
    ]);
    filled(include_str!("export/k6.js"), &values)
}

/// A whole number as such: JSON of a float has a fraction, which k6 refuses.
fn literal(whole: f64) -> Value {
    serde_json::from_str(&format!("{whole:.0}")).unwrap_or_default()
}

fn locust(scenario: &Scenario) -> String {
    let stages = scenario.stages.iter();
    let stages: Vec<Value> = stages
        .map(|stage| json!([stage.lasts.as_secs_f64(), stage.from, stage.to]))
        .collect();
    let most = peak(&scenario.stages);
    let mut values = shared(scenario);
    values.extend([
        ("stages", json!(stages)),
        ("rate_of_a_user", json!(most / most.max(LEAST_USERS).ceil())),
        (
            "p95_ms",
            json!(target(scenario, Figure::LatencyP95Ms).unwrap_or_default()),
        ),
        (
            "errors_percent",
            json!(target(scenario, Figure::ErrorsPercent).unwrap_or(100.0)),
        ),
    ]);
    filled(include_str!("export/locust.py"), &values)
}

fn jmeter(scenario: &Scenario) -> String {
    let a_minute = |rate: f64| format!("rate({}/min)", rate * 60.0);
    let mut schedule = Vec::new();
    for stage in &scenario.stages {
        // Two rates in a row are a jump.
        let from = a_minute(stage.from);
        if schedule.last() != Some(&from) {
            schedule.push(from);
        }
        schedule.push(format!("even_arrivals({} sec)", stage.lasts.as_secs_f64()));
        schedule.push(a_minute(stage.to));
    }
    // Which of the requests an arrival makes: a Groovy expression without commas, which would end the function's argument.
    let all: u32 = scenario
        .mix
        .weights()
        .iter()
        .map(|(_, weight)| weight)
        .sum();
    let mut choice = format!("int n = new Random().nextInt({all}); ");
    let (mut samplers, mut below) = (String::new(), 0);
    for (operation, weight) in scenario.mix.weights() {
        below += weight;
        let name = operation.name();
        let _ = write!(choice, "n < {below} ? \"{name}\" : ");
        samplers.push_str(&sampler(operation, scenario));
    }
    choice.push_str("\"none\"");
    let most = target(scenario, Figure::LatencyP95Ms);
    let note = format!(
        "{}. Stands in for `skein load {}`; targets: latency p95 at most {} ms, failed requests at most {} %.",
        scenario.description,
        scenario.name,
        most.map_or("-".to_owned(), |most| most.to_string()),
        target(scenario, Figure::ErrorsPercent).map_or("-".to_owned(), |most| most.to_string()),
    );
    let first_run = if scenario.mix.of(Operation::ReadRun) > 0 {
        sampler(Operation::CreateRun, scenario)
    } else {
        String::new()
    };
    let mut text = include_str!("export/jmeter.jmx").to_owned();
    for (place, value) in [
        ("{{name}}", escaped(&scenario.name)),
        ("{{note}}", escaped(&note)),
        ("{{schedule}}", escaped(&schedule.join(" "))),
        ("{{choice}}", escaped(&choice)),
        ("{{first_run}}", first_run),
        ("{{samplers}}", samplers),
    ] {
        text = text.replace(place, &value);
    }
    text
}

/// A request of `JMeter`. One that creates a run keeps its id for those that read one.
fn sampler(operation: Operation, scenario: &Scenario) -> String {
    let agent = &scenario.agent;
    let body = json!({"agent": agent.id, "input": agent.input}).to_string();
    let (method, path, body, status) = match operation {
        Operation::CreateRun => ("POST", "/v1/runs".to_owned(), body, "202"),
        Operation::ReadRun => (
            "GET",
            "/v1/runs/${__P(skein.run)}".to_owned(),
            String::new(),
            "200",
        ),
        Operation::ListRuns => ("GET", "/v1/runs".to_owned(), String::new(), "200"),
        Operation::ReadAgent => (
            "GET",
            format!("/v1/agents/{}", agent.id),
            String::new(),
            "200",
        ),
    };
    let keeps = if operation == Operation::CreateRun {
        include_str!("export/jmeter-keep-run.xml")
    } else {
        ""
    };
    let mut text = include_str!("export/jmeter-sampler.xml").to_owned();
    for (place, value) in [
        ("{{name}}", operation.name()),
        ("{{method}}", method),
        ("{{path}}", &path),
        ("{{body}}", &escaped(&body)),
        ("{{status}}", status),
        ("{{keeps}}", keeps),
    ] {
        text = text.replace(place, value);
    }
    text
}

#[cfg(test)]
mod tests;

//! Scenarios: what is asked of which agent, how often over time, and what figures are to be.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::{Map, Value};

use crate::error::Error;
use crate::mix::Mix;
use crate::schedule::{Stage, lasts, requests};
use crate::targets::Figure;

/// The scenarios that are built in, by name.
pub const SCENARIOS: [(&str, &str); 7] = [
    ("steady-runs", include_str!("../scenarios/steady-runs.toml")),
    ("spike-runs", include_str!("../scenarios/spike-runs.toml")),
    (
        "sustained-runs",
        include_str!("../scenarios/sustained-runs.toml"),
    ),
    (
        "steady-requests",
        include_str!("../scenarios/steady-requests.toml"),
    ),
    (
        "peak-requests",
        include_str!("../scenarios/peak-requests.toml"),
    ),
    (
        "spike-requests",
        include_str!("../scenarios/spike-requests.toml"),
    ),
    (
        "soak-requests",
        include_str!("../scenarios/soak-requests.toml"),
    ),
];

/// How long the last runs may take after the last request, unless a scenario says otherwise.
const SETTLES_IN: Duration = Duration::from_secs(120);

/// A scenario.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: that of its file.
    #[serde(skip)]
    pub name: String,
    /// What it is for, in a line.
    pub description: String,
    /// Whose runs are created.
    pub agent: Agent,
    /// How often is asked, stage after stage.
    pub stages: Vec<Stage>,
    /// What is asked.
    pub mix: Mix,
    /// The most that figures may be.
    pub targets: BTreeMap<Figure, f64>,
    /// How long the last runs may take after the last request; those that have not ended then count as unfinished.
    #[serde(default = "settles_in", deserialize_with = "read_span")]
    pub settles_in: Duration,
}

/// The agent whose runs are created.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its id.
    pub id: String,
    /// What each run gets.
    pub input: String,
    /// What it is to be: stored before the load begins. Without one, it must be there.
    pub definition: Option<Map<String, Value>>,
}

impl Scenario {
    /// The scenario of this name, or that of the file if it ends in `.toml`.
    ///
    /// # Errors
    /// When there is none, or it is not as a scenario is to be.
    pub fn find(name: &str) -> Result<Self, Error> {
        if let Some((_, text)) = SCENARIOS.iter().find(|(known, _)| *known == name) {
            return Self::parse(name, text);
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|extension| extension != "toml") {
            return Err(Error::Unknown(name.to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(|source| Error::Unreadable {
            name: name.to_owned(),
            source,
        })?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy());
        Self::parse(&stem.unwrap_or_default(), &text)
    }

    /// Reads a scenario.
    ///
    /// # Errors
    /// When the text is not as a scenario is to be.
    pub fn parse(name: &str, text: &str) -> Result<Self, Error> {
        let mut scenario: Self = toml::from_str(text).map_err(|source| Error::Syntax {
            name: name.to_owned(),
            source,
        })?;
        name.clone_into(&mut scenario.name);
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), Error> {
        if self.mix.weights().is_empty() {
            return Err(self.invalid("asks for nothing: no weight in [mix]"));
        }
        let named = self.agent.id.bytes();
        // It stands in paths and in scripts of others.
        if self.agent.id.is_empty()
            || !named
                .into_iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return Err(self.invalid("has an agent id of other than a-z, 0-9 and -"));
        }
        if requests(&self.stages).round() < 1.0 {
            return Err(self.invalid("asks for nothing: less than one request in all its time"));
        }
        for (figure, target) in &self.targets {
            if !target.is_finite() || *target < 0.0 {
                return Err(self.invalid(&format!("has a target of {target}")));
            }
            if figure.is_of_runs() && self.mix.create_run == 0 {
                let title = figure.title();
                return Err(
                    self.invalid(&format!("has a target of runs ({title}) and creates none"))
                );
            }
        }
        Ok(())
    }

    fn invalid(&self, problem: &str) -> Error {
        Error::Invalid {
            name: self.name.clone(),
            problem: problem.to_owned(),
        }
    }

    /// The same with every rate times `scale`, and if `lasting` is given, its stages stretched or cut alike so that all
    /// of them last so long.
    ///
    /// # Errors
    /// When nothing is left of it.
    pub fn scaled(mut self, scale: f64, lasting: Option<Duration>) -> Result<Self, Error> {
        if !(scale.is_finite() && scale > 0.0) {
            return Err(self.invalid("cannot be scaled by that: a scale is above 0"));
        }
        let stretch = lasting.map_or(1.0, |lasting| {
            lasting.as_secs_f64() / self.lasts().as_secs_f64()
        });
        for stage in &mut self.stages {
            stage.from *= scale;
            stage.to *= scale;
            stage.lasts = stage.lasts.mul_f64(stretch);
        }
        self.check()?;
        Ok(self)
    }

    /// How long requests are made.
    #[must_use]
    pub fn lasts(&self) -> Duration {
        lasts(&self.stages)
    }

    /// How many requests are made, about.
    #[must_use]
    pub fn requests(&self) -> f64 {
        requests(&self.stages)
    }
}

fn settles_in() -> Duration {
    SETTLES_IN
}

/// A span such as `90s`, `10m` or `24h`.
///
/// # Errors
/// With what one looks like, when the text is none.
pub fn span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no span of time: write 90s, 10m or 24h");
    let unit = text.char_indices().next_back().ok_or_else(wrong)?;
    let (count, unit) = (&text[..unit.0], unit.1);
    let seconds = match unit {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3_600.0,
        _ => return Err(wrong()),
    };
    let count: f64 = count.parse().map_err(|_| wrong())?;
    match Duration::try_from_secs_f64(count * seconds) {
        Ok(span) if span > Duration::ZERO => Ok(span),
        _ => Err(wrong()),
    }
}

/// A rate such as `100/s` or `500/min`, in requests a second.
fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is no rate: write 100/s or 500/min");
    let (count, unit) = text.split_once('/').ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1.0,
        "min" => 60.0,
        _ => return Err(wrong()),
    };
    let count: f64 = count.parse().map_err(|_| wrong())?;
    if count.is_finite() && count >= 0.0 {
        Ok(count / seconds)
    } else {
        Err(wrong())
    }
}

/// A text that is read by one of the functions above.
struct Text<F>(F, &'static str);

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.0)(text).map_err(E::custom)
    }
}

fn read_span<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    from.deserialize_str(Text(span, "a span such as \"10m\""))
}

fn read_rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
    from.deserialize_str(Text(rate, "a rate such as \"100/s\""))
        .map(Some)
}

/// A stage as it is written: with `rate`, or with `from` and `to`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(deserialize_with = "read_span")]
    lasts: Duration,
    #[serde(default, deserialize_with = "read_rate")]
    rate: Option<f64>,
    #[serde(default, deserialize_with = "read_rate")]
    from: Option<f64>,
    #[serde(default, deserialize_with = "read_rate")]
    to: Option<f64>,
}

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Written {
            lasts,
            rate,
            from,
            to,
        } = Written::deserialize(from)?;
        let (from, to) = match (rate, from, to) {
            (Some(rate), None, None) => (rate, rate),
            (None, Some(from), Some(to)) => (from, to),
            _ => {
                return Err(de::Error::custom(
                    "a stage has either `rate`, or `from` and `to`",
                ));
            }
        };
        Ok(Self { lasts, from, to })
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    const LEAST: &str = r#"
        description = "d"
        agent = { id = "a", input = "i" }
        stages = [{ lasts = "10s", rate = "5/s" }]
        mix = { create_run = 1 }
        targets = { errors_percent = 0 }
    "#;

    fn refusal(from: &str, to: &str) -> String {
        assert!(LEAST.contains(from), "{from}");
        let error = Scenario::parse("least", &LEAST.replace(from, to)).unwrap_err();
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    }

    #[test]
    fn every_scenario_that_is_built_in_can_be_read() {
        let shown: Vec<String> = SCENARIOS
            .iter()
            .map(|(name, text)| {
                let scenario = Scenario::parse(name, text).unwrap();
                assert_eq!(Scenario::find(name).unwrap(), scenario);
                assert!(scenario.targets.contains_key(&Figure::ErrorsPercent));
                assert!(scenario.agent.definition.is_some());
                format!(
                    "{name} {} in {} s",
                    scenario.requests().round(),
                    scenario.lasts().as_secs()
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "steady-runs 6000 in 3600 s",
                "spike-runs 1000 in 60 s",
                "sustained-runs 180000 in 21600 s",
                "steady-requests 360000 in 3600 s",
                "peak-requests 1800000 in 1800 s",
                "spike-requests 639000 in 720 s",
                "soak-requests 25920000 in 86400 s",
            ]
        );
    }

    #[test]
    fn a_scale_changes_rates_and_a_duration_stretches_every_stage_alike() {
        let spike = Scenario::find("spike-requests").unwrap();
        let small = spike.scaled(0.1, Some(Duration::from_secs(72))).unwrap();
        let stage = |seconds, from, to| Stage {
            lasts: Duration::from_secs(seconds),
            from,
            to,
        };
        assert_eq!(
            small.stages,
            [
                stage(6, 10.0, 10.0),
                stage(6, 10.0, 100.0),
                stage(60, 100.0, 100.0)
            ]
        );
        let soak = Scenario::find("soak-requests").unwrap();
        assert_eq!(soak.clone().scaled(1.0, None).unwrap(), soak);
    }

    #[test]
    fn a_scale_that_leaves_nothing_is_refused() {
        let steady = Scenario::find("steady-runs").unwrap();
        let told = |scale| steady.clone().scaled(scale, None).unwrap_err().to_string();
        assert!(told(0.000_01).contains("less than one request"));
        for scale in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(told(scale).contains("a scale is above 0"));
        }
    }

    #[test]
    fn what_a_scenario_has_wrong_is_told() {
        Scenario::parse("least", LEAST).unwrap();
        for (from, to, told) in [
            ("create_run = 1", "create_run = 0", "no weight in [mix]"),
            (
                "create_run = 1",
                "list_runs = 1, x = 1",
                "unknown field `x`",
            ),
            ("\"5/s\"", "\"5/h\"", "write 100/s or 500/min"),
            ("\"5/s\"", "\"-5/s\"", "write 100/s or 500/min"),
            ("\"5/s\"", "\"0/s\"", "less than one request"),
            ("\"10s\"", "\"10d\"", "write 90s, 10m or 24h"),
            ("\"10s\"", "\"0s\"", "write 90s, 10m or 24h"),
            ("rate =", "from =", "either `rate`, or `from` and `to`"),
            ("errors_percent", "errors", "unknown variant `errors`"),
            ("errors_percent = 0", "errors_percent = -1", "target of -1"),
            ("\"a\"", "\"a/b\"", "agent id"),
        ] {
            let refused = refusal(from, to);
            assert!(refused.contains(told), "{refused}");
        }
        let reads = LEAST
            .replace("create_run", "list_runs")
            .replace("errors_percent", "lag_cleared_ms");
        let refused = Scenario::parse("reads", &reads).unwrap_err().to_string();
        assert!(refused.contains("creates none"), "{refused}");
    }

    #[test]
    fn a_file_of_ones_own_is_a_scenario_as_well() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.toml");
        std::fs::write(&file, LEAST).unwrap();
        let own = Scenario::find(file.to_str().unwrap()).unwrap();
        assert_eq!((own.name.as_str(), own.settles_in), ("own", SETTLES_IN));
        for (name, told) in [("none", "skein load ls"), ("none.toml", "reading")] {
            let error = Scenario::find(name).unwrap_err().to_string();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn spans_and_rates_are_read_with_their_units() {
        assert_eq!(span("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(span("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!(span("24h").unwrap(), Duration::from_secs(86_400));
        for wrong in ["", "s", "10", "10 s", "-1s", "1é", "1e300h"] {
            span(wrong).unwrap_err();
        }
        assert_eq!(rate("90/min").unwrap(), 1.5);
        rate("NaN/s").unwrap_err();
    }
}

//! Figures, beside what they are to be.

use std::io::{self, Write as _};

use serde::Serialize;

use crate::machine;

/// What a figure is to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// It is told, and has no target.
    None,
    AtMost(f64),
    Below(f64),
    AtLeast(f64),
}

impl Target {
    fn is_met(self, value: f64) -> Option<bool> {
        match self {
            Self::None => None,
            Self::AtMost(most) => Some(value <= most),
            Self::Below(bound) => Some(value < bound),
            Self::AtLeast(least) => Some(value >= least),
        }
    }

    fn text(self) -> String {
        match self {
            Self::None => String::new(),
            Self::AtMost(most) => format!("at most {most}"),
            Self::Below(bound) => format!("under {bound}"),
            Self::AtLeast(least) => format!("at least {least}"),
        }
    }
}

#[derive(Debug, Serialize)]
struct Figure {
    part: &'static str,
    name: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    target: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    met: Option<bool>,
}

/// All figures, and the machine they are true of.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: machine::Description,
    figures: Vec<Figure>,
    #[serde(skip)]
    tells: bool,
}

impl Report {
    /// An empty report. With `tells` each part is announced on standard error, for whoever waits.
    pub(crate) fn new(tells: bool) -> Self {
        Self {
            machine: machine::Description::read(),
            figures: Vec::new(),
            tells,
        }
    }

    /// Tells what is measured now.
    pub(crate) fn tell(&self, what: &str) {
        if self.tells {
            // Nobody may be there to read it.
            let _ = writeln!(io::stderr(), "measuring {what}");
        }
    }

    pub(crate) fn put(
        &mut self,
        part: &'static str,
        name: impl Into<String>,
        value: f64,
        unit: &'static str,
        target: Target,
    ) {
        self.figures.push(Figure {
            part,
            name: name.into(),
            value: rounded(value),
            unit,
            target: target.text(),
            met: target.is_met(value),
        });
    }

    pub(crate) fn print(&self, json: bool) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        if json {
            serde_json::to_writer_pretty(&mut out, self)?;
            writeln!(out)?;
            return Ok(());
        }
        let Self {
            machine, figures, ..
        } = self;
        writeln!(out, "{machine}\n")?;
        writeln!(
            out,
            "| | figure | measured | target | |\n|---|---|---|---|---|"
        )?;
        for figure in figures {
            let verdict = match figure.met {
                None => "",
                Some(true) => "ok",
                Some(false) => "MISSED",
            };
            let Figure {
                part,
                name,
                value,
                unit,
                target,
                ..
            } = figure;
            let unit = if unit.is_empty() {
                String::new()
            } else {
                format!(" {unit}")
            };
            writeln!(
                out,
                "| {part} | {name} | {value}{unit} | {target} | {verdict} |"
            )?;
        }
        Ok(())
    }
}

/// Three digits that mean something, and no more after the point than three.
fn rounded(value: f64) -> f64 {
    let digits = match value.abs() {
        value if value >= 100.0 => 1.0,
        value if value >= 10.0 => 10.0,
        value if value >= 1.0 => 100.0,
        _ => 1_000.0,
    };
    (value * digits).round() / digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_target() {
        assert_eq!(Target::AtMost(4.0).is_met(4.0), Some(true));
        assert_eq!(Target::Below(4.0).is_met(4.0), Some(false));
        assert_eq!(Target::AtLeast(150.0).is_met(149.0), Some(false));
        assert_eq!(Target::None.is_met(1.0), None);
    }

    #[test]
    fn figures_are_told_with_three_digits() {
        assert_eq!(
            [1.23456, 12.3456, 123.456].map(rounded),
            [1.23, 12.3, 123.0]
        );
        assert_eq!(rounded(0.31416), 0.314);
    }
}

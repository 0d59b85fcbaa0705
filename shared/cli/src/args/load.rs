//! `skein load`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Load {
    #[command(subcommand)]
    pub(crate) command: Option<LoadCommand>,
    #[command(flatten)]
    pub(crate) scaled: Option<Scaled>,
    /// Write a page with plots to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LoadCommand {
    /// List the scenarios that are built in
    Ls,
    /// Print a scenario, to make one of your own from
    Show {
        /// Its name
        scenario: String,
    },
    /// Print a scenario as a script for another tool
    Export {
        #[command(flatten)]
        scaled: Scaled,
        /// For which tool
        #[arg(long, value_enum)]
        format: Format,
    },
}

/// A scenario, as it is or smaller.
#[derive(Debug, Args)]
pub(crate) struct Scaled {
    /// Its name, or a file of your own that ends in .toml
    pub(crate) scenario: String,
    /// Multiplies every rate
    #[arg(long, default_value_t = 1.0)]
    pub(crate) scale: f64,
    /// Stretches or cuts all stages alike, so that they last so long: 90s, 10m, 24h [default: what the scenario says]
    #[arg(long, value_parser = load::span)]
    pub(crate) duration: Option<Duration>,
    /// An agent that is there already, instead of the scenario's
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// What each run gets, instead of what the scenario says
    #[arg(long)]
    pub(crate) input: Option<String>,
}

/// Another tool.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    K6,
    Locust,
    Jmeter,
}

impl From<Format> for load::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::K6 => Self::K6,
            Format::Locust => Self::Locust,
            Format::Jmeter => Self::Jmeter,
        }
    }
}

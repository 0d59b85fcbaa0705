//! What a person can type.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::output::Failure;

/// Durable, multi-tenant AI agents on Lambda, or on this machine.
#[derive(Debug, Parser)]
#[command(name = "skein", version, after_help = "Without a command: skein dev")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) server: Server,
}

/// Which platform to talk to.
#[derive(Clone, Debug, Args)]
pub(crate) struct Server {
    /// Base URL of the API [default: the `skein dev` that runs in this folder]
    #[arg(long, global = true, env = "SKEIN_URL")]
    pub(crate) url: Option<String>,
    /// API key [default: the demo tenant's key of that `skein dev`]
    #[arg(long, global = true, env = "SKEIN_API_KEY", hide_env_values = true)]
    pub(crate) key: Option<String>,
}

impl Server {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(self)
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start the whole platform on this machine
    Dev(Dev),
    /// Run an agent and print its answer
    Run(Run),
    /// Look at runs and cancel them
    #[command(subcommand)]
    Runs(Runs),
    /// Store agents and look at them
    #[command(subcommand)]
    Agents(Agents),
    /// Check that the platform can be reached and is well
    Doctor,
    /// Print the OpenAPI document
    Openapi,
    /// Print shell completions
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
    /// Run one Lambda function (started by the local cloud)
    #[command(hide = true)]
    Function {
        /// Which one
        name: String,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Dev {
    /// Port of the API; 0 picks a free one
    #[arg(long, default_value_t = 8700)]
    pub(crate) port: u16,
    /// Keep nothing on disk
    #[arg(long)]
    pub(crate) memory: bool,
    /// Folder that holds the state
    #[arg(long, default_value = ".skein", conflicts_with = "memory")]
    pub(crate) state: PathBuf,
    /// Print one line of JSON once ready, and nothing else on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// One event per process, as on classic Lambda
    #[arg(long)]
    pub(crate) classic: bool,
    /// Let the `http_get` tool reach this machine
    #[arg(long)]
    pub(crate) allow_loopback: bool,
}

impl Default for Dev {
    fn default() -> Self {
        Self {
            port: 8700,
            memory: false,
            state: ".skein".into(),
            json: false,
            classic: false,
            allow_loopback: false,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The agent
    pub(crate) agent: String,
    /// What to give it; `-` or nothing reads standard input
    pub(crate) input: Option<String>,
    /// Show every step and the answer as it is written
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Print JSON: the run, or with --follow one event a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Version of the agent [default: the latest]
    #[arg(long)]
    pub(crate) version: Option<u32>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Runs {
    /// List runs, newest first
    Ls {
        /// Only those with this status
        #[arg(long)]
        status: Option<String>,
        /// Only those of this agent
        #[arg(long)]
        agent: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a run and its steps
    Show {
        /// The run
        run: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a run's events, and with --follow the coming ones
    Events {
        /// The run
        run: String,
        /// Start after this event
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// Stay until the run ends
        #[arg(long, short)]
        follow: bool,
        /// Print JSON, one event a line
        #[arg(long)]
        json: bool,
    },
    /// Ask for a run's end
    Cancel {
        /// The run
        run: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Agents {
    /// Store a definition as the next version
    Apply {
        /// JSON file with the definition, `-` for standard input
        #[arg(short, long)]
        file: PathBuf,
        /// The agent's id [default: `id` in the file, else the file's name]
        #[arg(long)]
        id: Option<String>,
    },
    /// List agents
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show an agent's definition
    Show {
        /// The agent
        agent: String,
        /// Its version [default: the latest]
        #[arg(long)]
        version: Option<u32>,
    },
}

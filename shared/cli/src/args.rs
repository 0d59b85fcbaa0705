//! What a person can type.

mod dev;
mod load;
mod operate;
mod plan;
mod tenants;

use std::path::PathBuf;

use api::auth::OPERATOR_SCOPES;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::output::Failure;

pub(crate) use self::load::{Load, LoadCommand, Scaled};
pub(crate) use dev::{Dev, Isolation};
pub(crate) use operate::{Deploy, Dlq, Doctor, Maintenance, Size, Stuck, Switch, Top};
pub(crate) use plan::Plan;
pub(crate) use tenants::{Region, Tenants};

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
    /// Operator's key, for tenants, keys, budgets and tiers [default: that of the same `skein dev`]
    #[arg(
        long,
        global = true,
        env = "SKEIN_OPERATOR_KEY",
        hide_env_values = true
    )]
    pub(crate) operator_key: Option<String>,
}

impl Server {
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(self, false)
    }

    pub(crate) fn operator(&self) -> Result<Client, Failure> {
        Client::new(self, true)
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
    /// Issue the keys of operators (with credentials of AWS)
    #[command(subcommand)]
    Operators(Operators),
    /// Onboard tenants, change, suspend and close them (operator)
    #[command(subcommand)]
    Tenants(Tenants),
    /// Issue, rotate and revoke the keys of tenants (operator)
    #[command(subcommand)]
    Keys(Keys),
    /// Set budgets and see what is left of them (operator)
    #[command(subcommand)]
    Budgets(Budgets),
    /// Move tenants to another Region when theirs is lost (operator)
    #[command(subcommand)]
    Region(Region),
    /// Report what ended runs used and cost
    Usage(Usage),
    /// Report availability, success and waits, to check objectives by (operator)
    Slo(Slo),
    /// Read the audit trail, and check an export of it
    #[command(subcommand)]
    Audit(Audit),
    /// Look at what queues gave up, and send it back (operator)
    #[command(subcommand)]
    Dlq(Dlq),
    /// Let nothing new begin for a while (operator)
    #[command(subcommand)]
    Maintenance(Maintenance),
    /// List the tiers (operator)
    Tiers {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Plan what a load takes and costs a month on AWS, without asking any platform
    Plan(Plan),
    /// Put a load on the platform and hold it against targets
    Load(Load),
    /// Check before a deployment what it would change, and whether there is room for it
    #[command(subcommand)]
    Deploy(Deploy),
    /// Check that the platform can be reached and is well
    Doctor(Doctor),
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
    /// Print what a run used and what it cost, item by item
    Receipt {
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
    /// Make a token that opens the events of this run alone, for a browser
    Token {
        /// The run
        run: String,
        /// For how many seconds, at most 3600
        #[arg(long, default_value_t = 900)]
        seconds: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List runs of all tenants on which nobody is at work (operator)
    Stuck(Stuck),
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
pub(crate) enum Audit {
    /// List who changed what
    Ls {
        /// The tenant, for operators [default: the one of the API key]
        #[arg(long)]
        tenant: Option<String>,
        /// Only entries after this number
        #[arg(long, default_value_t = 0)]
        after: u64,
    },
    /// Print the whole trail and its checkpoints as JSON, one a line
    Export {
        /// The tenant, for operators [default: the one of the API key]
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Check an export, without asking any platform
    Verify {
        /// The file, `-` for standard input
        file: PathBuf,
        /// File with the public key that checkpoints must be signed by, as PEM or Base64; may be given more than once
        /// [default: whichever each names; which that is, is told]
        #[arg(long = "public-key")]
        public_keys: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// The tenant, for operators [default: the one of the API key]
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// From this instant on (RFC 3339) [default: the current month, day or hour]
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Before this instant (RFC 3339) [default: now]
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// `minute`, `hour` or `day`
    #[arg(long, default_value = "day")]
    pub(crate) interval: String,
    /// What to tell apart: some of project, key, agent, model, with commas
    #[arg(long, default_value = "agent,model")]
    pub(crate) by: String,
    /// Print JSON
    #[arg(long, conflicts_with = "csv")]
    pub(crate) json: bool,
    /// Print CSV
    #[arg(long)]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Slo {
    /// From the hour of this instant on (RFC 3339) [default: a day ago]
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Up to the hour of this instant (RFC 3339) [default: now]
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// Only of this tenant
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// Show every hour
    #[arg(long)]
    pub(crate) hours: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
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

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))
}

#[derive(Debug, Subcommand)]
pub(crate) enum Operators {
    /// Issue an operator's key and print it, once: with the rights of whoever may write to the table, not through the API
    Issue {
        /// The table: the output `Table` of the stack
        #[arg(long)]
        table: String,
        /// What its owner calls it
        #[arg(long, default_value = "operator")]
        label: String,
        /// What it may do; may be given more than once [default: everything]
        #[arg(long = "scope", value_parser = PossibleValuesParser::new(OPERATOR_SCOPES))]
        scopes: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Keys {
    /// Issue a key and print it, once
    Issue {
        /// The tenant
        tenant: String,
        /// What its owner calls it
        #[arg(long, default_value = "key")]
        label: String,
        /// The project that its runs belong to
        #[arg(long)]
        project: Option<String>,
        /// What it may do; may be given more than once [default: everything]
        #[arg(long = "scope")]
        scopes: Vec<String>,
        /// When it ceases to hold (RFC 3339)
        #[arg(long)]
        expires_at: Option<String>,
    },
    /// List a tenant's keys
    Ls {
        /// The tenant
        tenant: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Issue a key like this one; both hold for a while
    Rotate {
        /// The tenant
        tenant: String,
        /// The key's public part
        key: String,
        /// How long the old one holds on
        #[arg(long, default_value_t = 86_400)]
        grace_seconds: u64,
    },
    /// Have API Gateway know a tenant's keys, where that has usage plans
    Sync {
        /// The tenant
        tenant: String,
    },
    /// Revoke a key, for ever
    Revoke {
        /// The tenant
        tenant: String,
        /// The key's public part
        key: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Budgets {
    /// Show what is left and what is reserved
    Show {
        /// The tenant
        tenant: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the budgets of a tenant, a project or a key; without a limit, lift them
    Set {
        /// The tenant
        tenant: String,
        /// `tenant`, `project:<id>` or `key:<id>`
        #[arg(default_value = "tenant")]
        node: String,
        #[command(flatten)]
        limits: BudgetLimits,
    },
}

/// The limits of one node. Days and months are those of the calendar, UTC.
#[derive(Debug, Args)]
pub(crate) struct BudgetLimits {
    /// Dollars a day, like 0.45
    #[arg(long, value_parser = crate::operator::micro_usd)]
    pub(crate) usd_a_day: Option<u64>,
    /// Dollars a month
    #[arg(long, value_parser = crate::operator::micro_usd)]
    pub(crate) usd_a_month: Option<u64>,
    /// Dollars in all
    #[arg(long, value_parser = crate::operator::micro_usd)]
    pub(crate) usd_in_all: Option<u64>,
    /// Tokens a day
    #[arg(long)]
    pub(crate) tokens_a_day: Option<u64>,
    /// Tokens a month
    #[arg(long)]
    pub(crate) tokens_a_month: Option<u64>,
    /// Tokens in all
    #[arg(long)]
    pub(crate) tokens_in_all: Option<u64>,
}

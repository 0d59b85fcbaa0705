//! `skein dlq`, `skein maintenance`, `skein doctor`, `skein runs stuck`, `skein tenants top`.

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

#[derive(Debug, Subcommand)]
pub(crate) enum Dlq {
    /// Count the dead letters of every queue
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Look at dead letters; they stay where they are
    Show {
        /// The queue, as `skein dlq ls` names it
        queue: String,
        /// How many
        #[arg(long, default_value_t = 10)]
        limit: u32,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Send dead letters back to their queue
    #[command(group = ArgGroup::new("which").required(true).args(["messages", "all", "limit"]))]
    Redrive {
        /// The queue, as `skein dlq ls` names it
        queue: String,
        /// The messages, as `skein dlq show` names them
        messages: Vec<String>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// At most so many
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        limit: Option<u32>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Maintenance {
    /// Let no tenant begin or change anything; runs under way go on
    On {
        /// What clients are told
        #[arg(long)]
        message: String,
        /// After how many seconds they are to ask again
        #[arg(long, default_value_t = 300)]
        retry_after: u32,
    },
    /// Let everything be as before
    Off,
    /// Tell whether there is maintenance
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Deploy {
    /// Before a deployment: what it would change for clients, whether what is there is well, and whether the account has room
    Check {
        /// The size that is to be deployed
        #[arg(long, value_enum, default_value_t = Size::Small)]
        size: Size,
        /// A model that runs are to call; may be given more than once
        #[arg(long = "model")]
        models: Vec<String>,
    },
}

/// The template's parameter `Size`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Size {
    /// Up to 100 users
    Small,
    /// Up to 1,000
    Mid,
    /// More
    Enterprise,
}

impl Size {
    /// How much it runs at once: drivers, tools, the API and the janitor (template: `Scale`). From `mid` on that is reserved.
    pub(crate) fn concurrency(self) -> u64 {
        match self {
            Self::Small => 50,
            Self::Mid => 205,
            Self::Enterprise => 525,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// After a deployment: do once what tenants do, as the tenant `canary` (operator). The stack's name, which the AWS CLI is
    /// asked about, the address where it answers, or `local`
    #[arg(long, value_name = "NAME|URL|local")]
    pub(crate) stack: Option<String>,
    /// The model that answers then, a cheap one [default for `local`: local.echo]
    #[arg(long, requires = "stack")]
    pub(crate) model: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Stuck {
    /// For how many seconds at least
    #[arg(long, default_value_t = 60)]
    pub(crate) older_than: u64,
    /// How many to show
    #[arg(long, default_value_t = 100)]
    pub(crate) limit: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Top {
    /// What counts: `cost`, `runs`, `failed_runs`, `tokens`, `requests` or `refused_requests`
    #[arg(long, default_value = "cost")]
    pub(crate) by: String,
    /// From this instant on (RFC 3339) [default: the current month, day or hour]
    #[arg(long)]
    pub(crate) from: Option<String>,
    /// Before this instant (RFC 3339) [default: now]
    #[arg(long)]
    pub(crate) to: Option<String>,
    /// How exact the two are: `minute`, `hour` or `day`
    #[arg(long, default_value = "day")]
    pub(crate) interval: String,
    /// How many tenants
    #[arg(long, default_value_t = 10)]
    pub(crate) limit: u32,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What becomes of a flag.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Switch {
    /// The feature is on
    On,
    /// The feature is off
    Off,
    /// As it is where nobody switched it
    Default,
}

impl Switch {
    pub(crate) fn to_json(self) -> serde_json::Value {
        match self {
            Self::On => true.into(),
            Self::Off => false.into(),
            Self::Default => serde_json::Value::Null,
        }
    }
}

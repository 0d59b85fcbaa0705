//! `skein tenants` and `skein region`.

use clap::{Subcommand, ValueEnum};

use super::{Switch, Top, json};

/// Where a tenant's data is.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Home {
    /// In the stack's table
    Pool,
    /// In a table of its own in the same stack
    Bridge,
    /// In a stack of its own
    Silo,
}

impl Home {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pool => "pool",
            Self::Bridge => "bridge",
            Self::Silo => "silo",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tenants {
    /// Onboard a tenant
    Create {
        /// Its id, for ever
        id: String,
        /// What people call it [default: the id]
        #[arg(long)]
        name: Option<String>,
        /// Its tier
        #[arg(long, default_value = "free")]
        tier: String,
        /// Where its data is, for ever
        #[arg(long, value_enum, default_value_t = Home::Pool)]
        isolation: Home,
        /// Its own table (bridge): the name of the stack's table, a hyphen, and more
        #[arg(
            long,
            required_if_eq("isolation", "bridge"),
            conflicts_with = "endpoint"
        )]
        table: Option<String>,
        /// Where its own stack answers (silo)
        #[arg(long, required_if_eq("isolation", "silo"))]
        endpoint: Option<String>,
    },
    /// List tenants
    Ls {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a tenant and what it may use
    Show {
        /// The tenant
        id: String,
    },
    /// Change a tenant
    Set {
        /// The tenant
        id: String,
        /// What people call it
        #[arg(long)]
        name: Option<String>,
        /// Its tier
        #[arg(long)]
        tier: Option<String>,
        /// Where its limits differ from the tier's, as JSON: `{"concurrent_runs": 2}`
        #[arg(long, value_parser = json)]
        overrides: Option<serde_json::Value>,
    },
    /// List those that used most
    Top(Top),
    /// Switch a feature for a tenant; without a flag, show how they stand
    Flag {
        /// The tenant
        id: String,
        /// The flag
        #[arg(requires = "switch")]
        flag: Option<String>,
        /// What it is to be
        #[arg(value_enum)]
        switch: Option<Switch>,
    },
    /// Let no new run begin, and park those under way
    Suspend {
        /// The tenant
        id: String,
    },
    /// Let its runs go on; also takes a closing back, until deletion begins
    Resume {
        /// The tenant
        id: String,
    },
    /// Export everything it has, delete it, and prove that nothing remains; takes 20 minutes at least
    Close {
        /// The tenant
        id: String,
        /// Do not ask for its id
        #[arg(long)]
        yes: bool,
        /// Do not tell how it goes on
        #[arg(long)]
        detach: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Region {
    /// Have a Region take over the tenants of another, which is not asked; what that wrote last and has not arrived is lost
    Failover {
        /// The Region that is given up
        #[arg(long)]
        from: String,
        /// The Region that takes over; `--url` must be its API
        #[arg(long)]
        to: String,
        /// Only this tenant
        #[arg(long)]
        tenant: Option<String>,
    },
}

//! What `skein dev` is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

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
    /// How tenants are kept apart: by IAM as well, or by Skein's own code alone
    #[arg(long, value_enum, default_value_t = Isolation::Session)]
    pub(crate) isolation: Isolation,
    /// Have a table for a tenant of its own, such as `skein-acme`; may be repeated
    #[arg(long, value_name = "NAME")]
    pub(crate) tenant_table: Vec<String>,
    /// Let an authorizer and usage plans stand before the functions; keys then come as `Authorization: Bearer` alone
    #[arg(long)]
    pub(crate) usage_plans: bool,
    /// Run several Regions that share a table, such as `us-east-1,eu-west-1`: two at present, on ports that follow each other
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) regions: Vec<String>,
    /// How long a write takes to the other Region's copy of the table: `500ms`, `2s`, `10m`
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = duration, requires = "regions")]
    pub(crate) lag: Duration,
}

/// A number with a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| "must begin with a number")?;
    let unit_ms = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        _ => return Err("must end in ms, s or m".to_owned()),
    };
    Ok(Duration::from_millis(number.saturating_mul(unit_ms)))
}

/// How tenants are kept apart.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Isolation {
    /// Functions do all work as themselves
    Pool,
    /// A tenant's work is done with credentials of its own
    Session,
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
            isolation: Isolation::Session,
            tenant_table: Vec::new(),
            usage_plans: false,
            regions: Vec::new(),
            lag: Duration::from_secs(1),
        }
    }
}

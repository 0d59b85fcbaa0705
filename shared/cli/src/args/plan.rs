//! What a load is, as a person types it.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use domain::plan::{Load, Peak};

/// A load, and where it is to run.
#[derive(Debug, Args)]
#[command(after_help = "The formulas, and what is measured or assumed, stand in docs/planner.md.")]
pub(crate) struct Plan {
    /// Runs a month; 0 tells what an idle stack costs
    #[arg(long, default_value_t = Load::default().runs)]
    pub(crate) runs: u64,
    /// Model calls of a run, each but the last with a tool call
    #[arg(long, default_value_t = Load::default().steps)]
    pub(crate) steps: u64,
    /// Tokens that a model call reads, on average over the run
    #[arg(long, default_value_t = Load::default().input_tokens)]
    pub(crate) input_tokens: u64,
    /// Tokens that a model call writes
    #[arg(long, default_value_t = Load::default().output_tokens)]
    pub(crate) output_tokens: u64,
    /// Milliseconds of a model call with its tool call
    #[arg(long, default_value_t = Load::default().model_ms)]
    pub(crate) model_ms: u64,
    /// Bytes of a run's input, and of each tool's result
    #[arg(long, default_value_t = Load::default().payload_bytes)]
    pub(crate) payload_bytes: u64,
    /// How often a client asks for a run until it has its end
    #[arg(long, default_value_t = Load::default().polls)]
    pub(crate) polls: u64,
    /// How many times the average the busiest minute is [default: 5]
    #[arg(long, conflicts_with = "peak_runs_per_minute")]
    pub(crate) peak_factor: Option<u64>,
    /// Runs in the busiest minute, instead of --peak-factor
    #[arg(long)]
    pub(crate) peak_runs_per_minute: Option<u64>,
    /// Runs that share an invocation, 1 to 10: 1 where they come one by one, 10 where they come in heaps
    #[arg(long, default_value_t = Load::default().together)]
    pub(crate) together: u64,
    /// Megabytes of each function (template: `MemorySize`)
    #[arg(long, default_value_t = Load::default().memory_mb)]
    pub(crate) memory_mb: u64,
    /// Days that runs are kept: 7, 90 or 365 by tier
    #[arg(long, default_value_t = Load::default().kept_days)]
    pub(crate) kept_days: u64,
    /// Tenants that are active at the same time
    #[arg(long, default_value_t = Load::default().tenants)]
    pub(crate) tenants: u64,
    /// The model
    #[arg(long, default_value = "amazon.nova-lite-v1:0")]
    pub(crate) model: String,
    /// The Region
    #[arg(long, default_value = "us-east-1")]
    pub(crate) region: String,
    /// The functions' processor
    #[arg(long, value_enum, default_value_t = Architecture::Arm64)]
    pub(crate) architecture: Architecture,
    /// File of prices that replace and extend those that are built in
    #[arg(long, env = "SKEIN_PRICES", value_name = "FILE")]
    pub(crate) prices: Option<PathBuf>,
    /// Print what the systems that Skein replaces said they cost, beside what as many such runs cost here
    #[arg(long)]
    pub(crate) seeds: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "seeds")]
    pub(crate) json: bool,
}

/// Processors of functions (template: `Architecture`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Architecture {
    /// Graviton
    Arm64,
    /// Intel and AMD
    #[value(name = "x86_64")]
    X86_64,
}

impl Architecture {
    /// As `std::env::consts::ARCH` has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Arm64 => "aarch64",
            Self::X86_64 => "x86_64",
        }
    }
}

impl Plan {
    pub(crate) fn load(&self) -> Load {
        let peak = match (self.peak_runs_per_minute, self.peak_factor) {
            (Some(runs), _) => Peak::RunsAMinute(runs),
            (None, Some(factor)) => Peak::Factor(factor),
            (None, None) => Load::default().peak,
        };
        Load {
            runs: self.runs,
            steps: self.steps,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            model_ms: self.model_ms,
            payload_bytes: self.payload_bytes,
            polls: self.polls,
            peak,
            together: self.together,
            memory_mb: self.memory_mb,
            kept_days: self.kept_days,
            tenants: self.tenants,
        }
    }
}

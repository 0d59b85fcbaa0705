//! The hard caps of one run.

use serde::{Deserialize, Serialize};

use crate::budget::Amount;

/// What a run may use at most. A run asks for its own caps within those of its agent; the lower one holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Caps {
    /// Model steps.
    pub steps: u32,
    /// Tool calls.
    pub tool_calls: u32,
    /// Tokens of all model calls, read and written.
    pub tokens: u64,
    /// Price of all model calls, in micro-USD.
    pub micro_usd: u64,
    /// Time from creation to the end, waiting included, in milliseconds.
    pub wall_ms: u64,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            steps: 50,
            tool_calls: 200,
            tokens: 1_000_000,
            micro_usd: 1_000_000,
            wall_ms: 3_600_000,
        }
    }
}

impl Caps {
    /// What a run of these caps may spend.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount {
            micro_usd: self.micro_usd,
            tokens: self.tokens,
        }
    }

    /// The highest caps a definition may ask for: 10,000 steps, 100,000 tool calls, 1 G tokens, $10,000, one year.
    pub const MOST: Self = Self {
        steps: 10_000,
        tool_calls: 100_000,
        tokens: 1_000_000_000,
        micro_usd: 10_000_000_000,
        wall_ms: 366 * 24 * 3_600_000,
    };

    /// The lower of two caps, each on its own.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self {
            steps: self.steps.min(other.steps),
            tool_calls: self.tool_calls.min(other.tool_calls),
            tokens: self.tokens.min(other.tokens),
            micro_usd: self.micro_usd.min(other.micro_usd),
            wall_ms: self.wall_ms.min(other.wall_ms),
        }
    }
}

/// What a run has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Model steps started.
    pub steps: u32,
    /// Tool calls made.
    pub tool_calls: u32,
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Price in micro-USD.
    pub micro_usd: u64,
}

impl Totals {
    /// Price and tokens.
    #[must_use]
    pub fn amount(&self) -> Amount {
        Amount {
            micro_usd: self.micro_usd,
            tokens: self.tokens(),
        }
    }

    /// Tokens read and written.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }
}

/// One of the caps, for errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cap {
    /// [`Caps::steps`].
    Steps,
    /// [`Caps::tool_calls`].
    ToolCalls,
    /// [`Caps::tokens`].
    Tokens,
    /// [`Caps::micro_usd`].
    MicroUsd,
}

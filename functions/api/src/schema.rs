//! How domain values look from outside, for the OpenAPI document: `domain` itself knows nothing of it. A test holds the two
//! together.

mod audit;
mod receipt;

use std::collections::BTreeMap;

pub use audit::{AuditCheckpoint, AuditEntry};
pub use receipt::{AgentItem, Cost, Receipt, Spent, StepItem, Used};
use serde_json::Value;
use utoipa::ToSchema;

/// What an agent is.
#[derive(Debug, ToSchema)]
#[schema(as = Agent)]
pub struct Agent {
    /// What it is for, for people. At most 1,000 characters.
    #[schema(required = false)]
    pub description: String,
    /// The provider's model id.
    pub model: String,
    /// System prompt. At most 32,000 bytes.
    #[schema(required = false)]
    pub system: String,
    /// How the model is to write.
    #[schema(required = false)]
    pub inference: Inference,
    /// How long the provider keeps the beginning of its conversations after it was last read, where the model can; then
    /// reading it again is cheaper. `off`, `5m` unless given, or `1h`.
    #[schema(required = false, pattern = "^(off|5m|1h)$")]
    pub prompt_cache: String,
    /// Names of the tools it may call.
    #[schema(required = false)]
    pub tools: Vec<String>,
    /// What one run of it may use at most.
    #[schema(required = false)]
    pub caps: Caps,
    /// JSON Schema (2020-12) that its answer must satisfy; without one the answer is text.
    #[schema(required = false, value_type = Object)]
    pub output_schema: Value,
}

/// How a model is to write.
#[derive(Debug, ToSchema)]
pub struct Inference {
    /// Most tokens that one answer may have, 1,024 unless given.
    #[schema(required = false, minimum = 1, maximum = 200_000)]
    pub max_output_tokens: u32,
    /// Randomness, 0 to 1.
    #[schema(required = false, minimum = 0, maximum = 1)]
    pub temperature: f32,
    /// Nucleus sampling, 0 to 1.
    #[schema(required = false, minimum = 0, maximum = 1)]
    pub top_p: f32,
    /// Texts that end an answer, at most 4.
    #[schema(required = false)]
    pub stop_sequences: Vec<String>,
}

/// What a run may use at most.
#[derive(Debug, ToSchema)]
pub struct Caps {
    /// Model steps, 50 unless given.
    #[schema(required = false, minimum = 1)]
    pub steps: u32,
    /// Tool calls, 200 unless given.
    #[schema(required = false)]
    pub tool_calls: u32,
    /// Tokens of all model calls, read and written; 1,000,000 unless given.
    #[schema(required = false)]
    pub tokens: u64,
    /// Price of all model calls in micro-USD; 1,000,000 unless given.
    #[schema(required = false)]
    pub micro_usd: u64,
    /// Time from creation to the end, waiting included, in milliseconds; an hour unless given.
    #[schema(required = false, minimum = 1_000)]
    pub wall_ms: u64,
}

/// Where a tenant's data is: settled when it is onboarded.
#[derive(Debug, ToSchema)]
pub struct Isolation {
    /// `pool`: in the stack's table. `bridge`: in a table of its own in the same stack. `silo`: in a stack of its own.
    #[schema(pattern = "^(pool|bridge|silo)$")]
    pub mode: String,
    /// The table of a `bridge`: the name of the stack's table, a hyphen, and more. It is no other tenant's.
    #[schema(required = false)]
    pub table: String,
    /// Where the API of a `silo` answers: an https:// address.
    #[schema(required = false)]
    pub endpoint: String,
}

/// What a tenant may use.
#[derive(Debug, ToSchema)]
pub struct Limits {
    /// Rate limits, all of which hold.
    pub windows: Vec<Window>,
    /// Runs that may be under way at once; more wait for their turn.
    pub concurrent_runs: u32,
    /// Runs that may wait for their turn; more are refused.
    pub waiting_runs: u32,
    /// The highest caps that a run gets, whatever its agent allows.
    pub caps: Caps,
    /// Most bytes of a request that creates a run.
    pub payload_bytes: u64,
    /// How long a run is kept after its deadline, in days.
    pub retention_days: u32,
    /// The best lane that a run gets.
    pub lane: Lane,
}

/// Limits that differ from the tier's. What is left out is the tier's.
#[derive(Debug, ToSchema)]
pub struct Overrides {
    /// Rate limits in place of the tier's, at most 8.
    #[schema(required = false)]
    pub windows: Vec<Window>,
    /// Runs that may be under way at once.
    #[schema(required = false, minimum = 1)]
    pub concurrent_runs: u32,
    /// Runs that may wait for their turn.
    #[schema(required = false)]
    pub waiting_runs: u32,
    /// The highest caps that a run gets.
    #[schema(required = false)]
    pub caps: Caps,
    /// Most bytes of a request that creates a run.
    #[schema(required = false)]
    pub payload_bytes: u64,
    /// How long a run is kept after its deadline, in days; for runs that are created from then on.
    #[schema(required = false, minimum = 1, maximum = 400)]
    pub retention_days: u32,
    /// The best lane that a run gets.
    #[schema(required = false)]
    pub lane: Lane,
}

/// A rate limit: so many requests in each window of so many seconds.
#[derive(Debug, ToSchema)]
pub struct Window {
    /// How answers call it: 1 to 32 lower-case letters, digits and hyphens, once in a list.
    pub name: String,
    /// Requests in one window.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub requests: u64,
    /// Length of a window in seconds, up to 31 days.
    #[schema(minimum = 1, maximum = 2_678_400)]
    pub seconds: u32,
    /// Whose requests count together.
    pub by: Subject,
}

/// Whose requests a window counts together.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Subject {
    /// All of the tenant's.
    Tenant,
    /// Those of one API key.
    Key,
    /// Those of one client address.
    Address,
}

/// So much of a unit in each period.
#[derive(Debug, ToSchema)]
pub struct Budget {
    /// How long it lasts before it begins anew, by the calendar, UTC.
    pub period: Period,
    /// What it counts.
    pub unit: Unit,
    /// How much of it may be spent.
    #[schema(maximum = 1_000_000_000_000_000_u64)]
    pub limit: u64,
}

/// How long a budget lasts.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Period {
    /// A day.
    Day,
    /// A month.
    Month,
    /// For ever.
    Total,
}

/// What a budget counts.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Unit {
    /// Millionths of a US dollar.
    MicroUsd,
    /// Tokens, read and written.
    Tokens,
}

/// Money and tokens.
#[derive(Debug, ToSchema)]
pub struct Amount {
    /// Micro-USD.
    pub micro_usd: u64,
    /// Tokens, read and written.
    pub tokens: u64,
}

/// What a run has used.
#[derive(Debug, ToSchema)]
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

/// Tokens that one model call used.
#[derive(Debug, ToSchema)]
pub struct Usage {
    /// Tokens read at the full price.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Tokens read from the provider's prompt cache.
    #[schema(required = false)]
    pub cache_read_tokens: u64,
    /// Tokens written to the provider's prompt cache.
    #[schema(required = false)]
    pub cache_write_tokens: u64,
}

/// A version of an agent.
#[derive(Debug, ToSchema)]
pub struct AgentRef {
    /// The agent.
    pub id: String,
    /// Its version, from 1.
    pub version: u32,
}

/// Which run queue carries a run.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Lane {
    /// Somebody is waiting.
    Interactive,
    /// The default.
    Standard,
    /// Whenever there is room.
    Batch,
}

/// Where a run stands.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub enum Status {
    /// Accepted, not yet taken up.
    Queued,
    /// A driver works on it.
    Running,
    /// It waits; no process is kept for it.
    Parked,
    /// It ended with an answer.
    Succeeded,
    /// It ended without one.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its deadline passed.
    Expired,
}

/// Why a run failed. Some codes come with a field of their own.
#[derive(Debug, ToSchema)]
pub struct RunError {
    /// The kind, for programs.
    #[schema(example = "cap_reached")]
    pub code: String,
    /// What happened, for people.
    pub message: String,
}

/// What a parked run waits for.
#[derive(Debug, ToSchema)]
pub struct Parked {
    /// `timer`, `tool`, `throttled`, `retry`, `unknown_effect`, `budget_reached` (with `node`, `period` and `unit`) or
    /// `suspended`.
    pub reason: String,
}

/// A fact in a run's log. What else it holds depends on its type.
#[derive(Debug, ToSchema)]
pub struct Event {
    /// The run.
    pub run: String,
    /// Its number, from 1 without gaps.
    pub event: u64,
    /// When it was written (RFC 3339).
    pub at: String,
    /// What kind of fact: `run_created`, `run_started`, `taken_over`, `step_started`, `model_answered`, `model_failed`,
    /// `answer_rejected`, `tool_called`, `tool_returned`, `parked`, `woken`, `resumed`, `admitted`, `budget_extended`,
    /// `budget_short`, `suspend_requested`, `cancel_requested`, `succeeded`, `failed`, `cancelled`, `expired`.
    pub r#type: String,
    /// The other fields.
    #[serde(flatten)]
    #[schema(value_type = Object, additional_properties)]
    pub fields: BTreeMap<String, Value>,
}

/// Problem details (RFC 9457).
#[derive(Debug, ToSchema)]
pub struct Problem {
    /// The kind of problem, as an address that never changes meaning.
    #[schema(example = "https://skein.dev/problems/not_found")]
    pub r#type: String,
    /// The kind, for people.
    pub title: String,
    /// The status of the answer.
    pub status: u16,
    /// The last part of `type`.
    #[schema(example = "not_found")]
    pub code: String,
    /// What to do about it.
    #[schema(required = false)]
    pub detail: String,
    /// What is wrong, place by place.
    #[schema(required = false)]
    pub errors: Vec<Finding>,
    /// The id of the request.
    pub instance: String,
}

/// What is wrong, and where: one of `pointer`, `parameter` and `header` is there.
#[derive(Debug, ToSchema)]
pub struct Finding {
    /// JSON Pointer into the body.
    #[schema(required = false)]
    pub pointer: String,
    /// Name of a query parameter or a part of the path.
    #[schema(required = false)]
    pub parameter: String,
    /// Name of a header.
    #[schema(required = false)]
    pub header: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

/// What ended runs used together.
#[derive(Debug, ToSchema)]
pub struct UsageSum {
    /// Runs that ended, however they did.
    pub runs: u64,
    /// Those of them that ended without an answer, cancelled ones included.
    pub failed_runs: u64,
    /// Model steps.
    pub steps: u64,
    /// Tool calls.
    pub tool_calls: u64,
    /// Tokens read, cached ones included.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Price in micro-USD.
    pub cost_micro_usd: u64,
    /// Requests to the API, by project and key; those of an item that tells agents or models apart have neither.
    pub requests: u64,
    /// Those of them that policy refused: rate limits, budgets, scopes, keys that do not hold, what is not the key's to see.
    pub refused_requests: u64,
}

/// What one tenant used.
#[derive(Debug, ToSchema)]
pub struct TenantUsage {
    /// The tenant.
    pub tenant: String,
    /// How much.
    #[serde(flatten)]
    pub usage: UsageSum,
}

/// Usage of one stretch of time.
#[derive(Debug, ToSchema)]
pub struct UsageItem {
    /// Where the stretch begins (RFC 3339).
    pub start: String,
    /// The project, if that was to be told apart and the runs belong to one.
    #[schema(required = false)]
    pub project: String,
    /// The API key, if that was to be told apart.
    #[schema(required = false)]
    pub key: String,
    /// The agent, if that was to be told apart.
    #[schema(required = false)]
    pub agent: String,
    /// The model that the agent names, if that was to be told apart.
    #[schema(required = false)]
    pub model: String,
    /// How much.
    #[serde(flatten)]
    pub usage: UsageSum,
}

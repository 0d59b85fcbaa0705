//! What a run used and cost.

use utoipa::ToSchema;

use super::{AgentRef, Usage};

/// What a run used and what it cost.
#[derive(Debug, ToSchema)]
pub struct Receipt {
    /// The run.
    pub run: String,
    /// Whether the run is over, so that nothing comes to it any more.
    pub is_final: bool,
    /// All of it.
    pub total: Spent,
    /// What it used of the platform, as far as whoever drove it came to tell: who dies tells nothing.
    pub platform: Used,
    /// What that cost, in micro-USD, rounded up once. Not a part of `total`: budgets are not charged for it.
    pub platform_micro_usd: u64,
    /// By agent, in the order of their first steps.
    pub agents: Vec<AgentItem>,
    /// By step, in the order of their start.
    pub steps: Vec<StepItem>,
}

/// What a run used of the platform beside models, and what that cost. The write that ends it is not in it.
#[derive(Debug, ToSchema)]
pub struct Used {
    /// How long processes stayed with the run, in milliseconds; they may have had others at the same time.
    #[schema(required = false)]
    pub process_ms: u64,
    /// The run's part of their memory over that time, in megabyte-milliseconds: an n-th of what n runs at work share.
    #[schema(required = false)]
    pub process_mb_ms: u64,
    /// The run's parts of invocations, in thousandths: one of n messages that were delivered together has an n-th.
    #[schema(required = false)]
    pub milli_invocations: u64,
    /// Requests to the table that read.
    #[schema(required = false)]
    pub reads: u64,
    /// Read units of the table.
    #[schema(required = false)]
    pub read_units: f64,
    /// Requests to the table that wrote, transactions included.
    #[schema(required = false)]
    pub writes: u64,
    /// Write units of the table.
    #[schema(required = false)]
    pub write_units: f64,
    /// Payloads read from the bucket.
    #[schema(required = false)]
    pub payload_reads: u64,
    /// Payloads written to the bucket.
    #[schema(required = false)]
    pub payload_writes: u64,
    /// Requests for the queue messages that brought it, in thousandths: sending, and parts of receiving, holding, deleting.
    #[schema(required = false)]
    pub queue_milli_requests: u64,
    /// What all that cost, at the prices that held then.
    #[schema(required = false)]
    pub cost: Cost,
}

/// What the platform costs, by its parts, in pico-USD (a millionth of a micro-USD).
#[derive(Debug, ToSchema)]
pub struct Cost {
    /// Units of the table.
    #[schema(required = false)]
    pub table_pico_usd: u64,
    /// Requests to the bucket.
    #[schema(required = false)]
    pub payload_pico_usd: u64,
    /// Requests to queues.
    #[schema(required = false)]
    pub queue_pico_usd: u64,
    /// Memory of processes over time, and invocations.
    #[schema(required = false)]
    pub process_pico_usd: u64,
}

/// What one agent used.
#[derive(Debug, ToSchema)]
pub struct AgentItem {
    /// The frame, `0` for the run's own agent.
    pub frame: String,
    /// The definition that it followed.
    pub agent: AgentRef,
    /// What it used.
    pub spent: Spent,
}

/// What one step used.
#[derive(Debug, ToSchema)]
pub struct StepItem {
    /// The frame, `0` for the run's own agent.
    pub frame: String,
    /// The step, from 1 within the frame.
    pub step: u32,
    /// What it used.
    pub spent: Spent,
}

/// Model calls and tool calls.
#[derive(Debug, ToSchema)]
pub struct Spent {
    /// Model calls that began, lost ones included.
    pub model_calls: u32,
    /// Those of them that gave no answer.
    pub lost_calls: u32,
    /// Tokens of the answers' calls.
    pub usage: Usage,
    /// Tokens charged for lost calls: nobody knows what they used, so it is the most that they could.
    pub lost_tokens: u64,
    /// Price of all model calls in micro-USD, lost ones included.
    pub cost_micro_usd: u64,
    /// The part of it that lost calls have.
    pub lost_micro_usd: u64,
    /// How long the models took to answer, in milliseconds.
    pub model_ms: u64,
    /// Tool calls that were settled.
    pub tool_calls: u32,
    /// How long they took, in milliseconds.
    pub tool_ms: u64,
}

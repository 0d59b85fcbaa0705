//! Conversations with a model, in a form that belongs to no provider.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The caller, and the results of tools.
    User,
    /// The model.
    Assistant,
}

/// One conversation message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said, in order.
    pub content: Vec<Content>,
}

impl Message {
    /// A message of the caller, of one text.
    #[must_use]
    pub fn user(text: impl Into<String>) -> Self {
        Self {
            role: Role::User,
            content: vec![Content::Text { text: text.into() }],
        }
    }
}

/// A part of a conversation message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Content {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// The model asks for a tool.
    ToolCall(ToolCall),
    /// What a tool answered.
    ToolResult {
        /// The provider's id of the call that this answers.
        call_id: String,
        /// The result as text; JSON results are given as JSON text.
        text: String,
        /// Whether the tool failed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_error: bool,
    },
}

impl Content {
    /// Bytes of what the model reads.
    fn bytes(&self) -> usize {
        match self {
            Self::Text { text } => text.len(),
            Self::ToolCall(call) => call.id.len() + call.name.len() + json_bytes(&call.arguments),
            Self::ToolResult { call_id, text, .. } => call_id.len() + text.len(),
        }
    }
}

/// Length of a value as JSON text, without writing it.
fn json_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    let written = serde_json::to_writer(&mut count, value);
    debug_assert!(
        written.is_ok(),
        "a JSON value has string keys and counting cannot fail"
    );
    count.0
}

/// A model's request that a tool be called.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// The provider's id of this call, to be echoed with the result. Not trusted to be unique.
    pub id: String,
    /// The tool's name, as the model wrote it.
    pub name: String,
    /// The arguments, as the model wrote them.
    pub arguments: Value,
}

/// What a model is told of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolSpec {
    /// Name, as the model will write it.
    pub name: String,
    /// What it does, for the model.
    pub description: String,
    /// JSON Schema (2020-12) of the arguments.
    pub input_schema: Value,
}

/// How a model is to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inference {
    /// Most tokens that one answer may have.
    #[serde(default = "default_max_output_tokens")]
    pub max_output_tokens: u32,
    /// Randomness, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Nucleus sampling, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Texts that end an answer, at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop_sequences: Vec<String>,
}

fn default_max_output_tokens() -> u32 {
    1_024
}

impl Default for Inference {
    fn default() -> Self {
        Self {
            max_output_tokens: default_max_output_tokens(),
            temperature: None,
            top_p: None,
            stop_sequences: Vec::new(),
        }
    }
}

/// Whether the provider is to keep what is sent to it again and again, and for how long. Reading what was kept costs a
/// tenth of reading it anew, keeping it costs a quarter more, or for an hour twice as much (Claude; others ask other prices).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PromptCache {
    /// Nothing is kept.
    #[serde(rename = "off")]
    Off,
    /// For five minutes after it was last read.
    #[default]
    #[serde(rename = "5m")]
    FiveMinutes,
    /// For an hour after it was last read; for five minutes where the model knows no hour.
    #[serde(rename = "1h")]
    OneHour,
}

impl PromptCache {
    /// Whether this is what an agent has that says nothing of it.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One call of a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// The provider's model id.
    pub model: &'a str,
    /// System prompt, empty for none.
    pub system: &'a str,
    /// The conversation so far; alternates, and starts with the user.
    pub messages: &'a [Message],
    /// The tools offered.
    pub tools: &'a [ToolSpec],
    /// How to write.
    pub inference: &'a Inference,
    /// What is to be kept of it, where the model can.
    pub prompt_cache: PromptCache,
    /// Most tokens of this answer: the inference parameter, or less when the run's caps leave less.
    pub max_output_tokens: u32,
}

impl Request<'_> {
    /// An upper bound of the tokens that this request is read as. No tokenizer in use makes more tokens than there are
    /// bytes; each message, part and tool is given 32 more for the provider's own framing.
    #[must_use]
    pub fn bound_input_tokens(&self) -> u64 {
        const FRAMING: usize = 32;
        let parts = |message: &Message| -> usize {
            message
                .content
                .iter()
                .map(|content| content.bytes() + FRAMING)
                .sum()
        };
        let messages: usize = self
            .messages
            .iter()
            .map(|message| parts(message) + FRAMING)
            .sum();
        let tools: usize = self
            .tools
            .iter()
            .map(|tool| {
                tool.name.len() + tool.description.len() + json_bytes(&tool.input_schema) + FRAMING
            })
            .sum();
        (self.system.len() + messages + tools + FRAMING) as u64
    }
}

/// Tokens that one call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read at the full price.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Tokens read from the provider's prompt cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_read_tokens: u64,
    /// Tokens written to the provider's prompt cache.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cache_write_tokens: u64,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes the field by reference"
)]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Usage {
    /// The sum, kind by kind.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            input_tokens: self.input_tokens + other.input_tokens,
            output_tokens: self.output_tokens + other.output_tokens,
            cache_read_tokens: self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens: self.cache_write_tokens + other.cache_write_tokens,
        }
    }

    /// All tokens, whatever their price.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.input_tokens + self.output_tokens + self.cache_read_tokens + self.cache_write_tokens
    }
}

/// Why a model stopped writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It had said all.
    EndTurn,
    /// It waits for tools.
    ToolUse,
    /// It reached the most tokens allowed.
    MaxTokens,
    /// It wrote a stop sequence.
    StopSequence,
    /// The provider or a guardrail refused or filtered the content.
    Refused,
    /// The conversation does not fit the model's window.
    ContextExceeded,
    /// It wrote a tool call that cannot be read.
    Malformed,
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What the model said and which tools it wants, in order. May be empty: models do that.
    pub content: Vec<Content>,
    /// Why it stopped.
    pub stop_reason: StopReason,
    /// What it used.
    pub usage: Usage,
    /// Price of the call in micro-USD.
    pub cost_micro_usd: u64,
    /// Time from request to the end of the answer, in milliseconds.
    pub duration_ms: u64,
}

/// What kind of failure a model call met; the kind decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The provider asks to come later. Waited for; never a failure of the run.
    Throttled,
    /// The provider or the network failed in a way that passes. Repeated.
    Transient,
    /// The provider refused: no access, blocked content. Final.
    Refused,
    /// The request cannot be right as it stands: unknown model, too long, bad parameter. Final.
    Invalid,
    /// The provider's own error that need not pass. Repeated a few times.
    Fault,
    /// The call was made and its outcome is not known: the process died, or the answer broke off or did not come in time.
    /// The provider may ask its price. Charged at the reserved amount, repeated.
    Lost,
}

/// A model call that gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind.
    pub kind: FailureKind,
    /// The provider's words, for the person who reads the run.
    pub message: String,
    /// How long the provider asked to wait, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

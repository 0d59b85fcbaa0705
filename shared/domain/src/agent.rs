//! Agents: stored, versioned definitions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::caps::Caps;
use crate::id::AgentId;
use crate::model::{Inference, PromptCache};
use crate::{schema, tool};

/// What an agent is. Immutable once stored as a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// What it is for, for people. At most 1,000 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The provider's model id.
    pub model: String,
    /// System prompt. At most 32,000 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// How the model is to write.
    #[serde(default)]
    pub inference: Inference,
    /// What the provider keeps of the beginning of its conversations, where the model can; five minutes unless given.
    #[serde(default, skip_serializing_if = "PromptCache::is_default")]
    pub prompt_cache: PromptCache,
    /// Names of the tools it may call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<String>,
    /// What one run of it may use at most.
    #[serde(default)]
    pub caps: Caps,
    /// JSON Schema (2020-12) that its answer must satisfy; without one the answer is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

/// A version of an agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AgentRef {
    /// The agent.
    pub id: AgentId,
    /// Its version, from 1.
    pub version: u32,
}

/// What is wrong with one field of a definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to the field.
    pub pointer: String,
    /// What is wrong and what would be right.
    pub detail: String,
}

impl FieldError {
    /// An error at `pointer`.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }
}

impl Agent {
    /// Every rule that the shape alone does not hold, all errors at once.
    ///
    /// # Errors
    /// One [`FieldError`] for each field that breaks a rule.
    pub fn check(&self) -> Result<(), Vec<FieldError>> {
        let mut errors = Vec::new();
        let mut want = |holds: bool, pointer: &str, detail: &str| {
            if !holds {
                errors.push(FieldError::new(pointer, detail));
            }
        };
        want(
            self.description.chars().count() <= 1_000,
            "/description",
            "must have at most 1,000 characters",
        );
        want(
            (1..=256).contains(&self.model.len()),
            "/model",
            "must have 1 to 256 bytes",
        );
        want(
            self.system.len() <= 32_000,
            "/system",
            "must have at most 32,000 bytes",
        );
        let inference = &self.inference;
        want(
            (1..=200_000).contains(&inference.max_output_tokens),
            "/inference/max_output_tokens",
            "must be 1 to 200,000",
        );
        let unit = |value: Option<f32>| value.is_none_or(|v| (0.0..=1.0).contains(&v));
        want(
            unit(inference.temperature),
            "/inference/temperature",
            "must be 0 to 1",
        );
        want(unit(inference.top_p), "/inference/top_p", "must be 0 to 1");
        want(
            inference.stop_sequences.len() <= 4,
            "/inference/stop_sequences",
            "must have at most 4 texts",
        );
        want(
            inference
                .stop_sequences
                .iter()
                .all(|s| (1..=128).contains(&s.len())),
            "/inference/stop_sequences",
            "must be texts of 1 to 128 bytes",
        );
        want(
            self.tools.len() <= 64,
            "/tools",
            "must name at most 64 tools",
        );
        let caps = self.caps;
        want(
            (1..=Caps::MOST.steps).contains(&caps.steps),
            "/caps/steps",
            "must be 1 to 10,000",
        );
        want(
            caps.tool_calls <= Caps::MOST.tool_calls,
            "/caps/tool_calls",
            "must be at most 100,000",
        );
        want(
            caps.tokens <= Caps::MOST.tokens,
            "/caps/tokens",
            "must be at most 1,000,000,000",
        );
        want(
            caps.micro_usd <= Caps::MOST.micro_usd,
            "/caps/micro_usd",
            "must be at most 10,000,000,000",
        );
        want(
            (1_000..=Caps::MOST.wall_ms).contains(&caps.wall_ms),
            "/caps/wall_ms",
            "must be 1,000 to a year of milliseconds",
        );
        for (index, name) in self.tools.iter().enumerate() {
            if tool::builtin(name).is_none() {
                let known = tool::names().collect::<Vec<_>>().join(", ");
                errors.push(FieldError::new(
                    format!("/tools/{index}"),
                    format!("no tool is named `{name}`; there are: {known}"),
                ));
            } else if self.tools[..index].contains(name) {
                errors.push(FieldError::new(
                    format!("/tools/{index}"),
                    format!("`{name}` is named twice"),
                ));
            }
        }
        if let Some(schema) = &self.output_schema
            && let Err(error) = schema::check(schema)
        {
            errors.push(FieldError::new("/output_schema", error.to_string()));
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

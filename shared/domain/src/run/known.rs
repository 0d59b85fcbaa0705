//! What every decision of an agent's runs needs beyond the log.

use crate::agent::Agent;
use crate::model::{Message, Request, ToolSpec};
use crate::price::Price;
use crate::schema::{self, Schema};
use crate::tool;

/// What the decision needs to know beyond the log, all of it immutable: the pinned definition and the model's price.
#[derive(Debug)]
pub struct Known {
    /// The agent that the run pins.
    pub agent: Agent,
    /// What its model costs.
    pub price: Price,
    /// What its model is told of its tools.
    pub tools: Vec<ToolSpec>,
    /// The system prompt: the agent's own, and what the answer has to look like.
    pub system: String,
    pub(super) output: Option<Schema>,
}

impl Known {
    /// Makes ready what every decision of the agent's runs needs.
    ///
    /// # Errors
    /// [`schema::Error`] when the output schema cannot be used, which a stored definition rules out.
    pub fn new(agent: Agent, price: Price) -> Result<Self, schema::Error> {
        let output = agent.output_schema.as_ref().map(Schema::new).transpose()?;
        let tools = agent
            .tools
            .iter()
            .filter_map(|name| tool::builtin(name))
            .map(|tool| tool.spec.clone())
            .collect();
        let system = system_prompt(&agent);
        Ok(Self {
            agent,
            price,
            tools,
            system,
            output,
        })
    }

    /// The model request for a frame's transcript.
    #[must_use]
    pub fn request<'a>(&'a self, transcript: &'a [Message], max_output_tokens: u32) -> Request<'a> {
        Request {
            model: &self.agent.model,
            system: &self.system,
            messages: transcript,
            tools: &self.tools,
            inference: &self.agent.inference,
            prompt_cache: self.agent.prompt_cache,
            max_output_tokens,
        }
    }
}

/// The agent's system prompt, followed by its output schema: a model can only satisfy what it is told.
fn system_prompt(agent: &Agent) -> String {
    let Some(schema) = &agent.output_schema else {
        return agent.system.clone();
    };
    let own = agent.system.trim_end();
    let gap = if own.is_empty() { "" } else { "\n\n" };
    format!(
        "{own}{gap}Answer with JSON only, satisfying this JSON Schema:\n```json-schema\n{schema}\n```"
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_model_is_told_what_its_answer_has_to_look_like() {
        let agent = |system: &str| {
            let agent =
                json!({"model": "m", "system": system, "output_schema": {"type": "object"}});
            serde_json::from_value::<Agent>(agent).unwrap()
        };
        let fence = "```json-schema\n{\"type\":\"object\"}\n```";
        let told = system_prompt(&agent("Extract.\n"));
        assert!(
            told.starts_with("Extract.\n\nAnswer with JSON only") && told.ends_with(fence),
            "{told}"
        );
        assert!(system_prompt(&agent("")).starts_with("Answer with JSON only"));
        let free = Agent {
            output_schema: None,
            ..agent("Extract.")
        };
        assert_eq!(system_prompt(&free), "Extract.");
    }
}

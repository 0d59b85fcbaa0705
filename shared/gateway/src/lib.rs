//! Models behind one front: a request in a form that belongs to no provider goes in, an answer with its usage and price comes out.
//!
//! Behind it stands Amazon Bedrock, by `Converse` and `ConverseStream`. No type of its SDK leaves this crate; failures leave it sorted by
//! what is to be done about them. The gateway never repeats a call: the client it is given does, as it is configured, and after that
//! whoever drives the run.

use std::sync::Arc;

use aws_sdk_bedrockruntime::Client;
use domain::model::{Answer, Failure, PromptCache, Request};
use domain::price::Price;
use tokio::time::Instant;

use crate::answer::{Assembly, Parts};
use crate::request::Input;
use crate::verbatim::Verbatim;

pub use crate::prices::{Error, Prices};

mod answer;
mod document;
mod failure;
mod prices;
mod request;
#[cfg(test)]
mod tests;
mod verbatim;

/// A piece of an answer that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// More text.
    Text {
        /// The text that is new; never empty.
        text: String,
    },
    /// The model begins to write a tool call. Its arguments come with the answer.
    ToolCall {
        /// Which of the answer's tool calls, counted from zero.
        ordinal: u32,
        /// The tool's name, as the model wrote it.
        name: String,
    },
}

/// The front of all models. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway {
    client: Client,
    prices: Arc<Prices>,
}

impl Gateway {
    /// A gateway that calls Bedrock through `client` and counts at `prices`.
    #[must_use]
    pub fn new(client: Client, prices: Prices) -> Self {
        Self {
            client,
            prices: Arc::new(prices),
        }
    }

    /// The price of `model`, of which as much is kept as `cache` asks for and the model can. One that the table does not know
    /// has the table's dearest price, so that no budget is undercounted.
    #[must_use]
    pub fn price(&self, model: &str, cache: PromptCache) -> Price {
        self.prices.of(model, cache)
    }

    /// Calls the model and waits for its whole answer.
    ///
    /// # Errors
    ///
    /// A [`Failure`] in the provider's words, sorted by what is to be done about it.
    pub async fn call(&self, request: &Request<'_>) -> Result<Answer, Failure> {
        let started = Instant::now();
        let input = self.input(request);
        let output = self
            .client
            .converse()
            .model_id(request.model)
            .set_system(input.system)
            .set_messages(Some(input.messages))
            .set_tool_config(input.tools)
            .inference_config(input.inference)
            .customize()
            .interceptor(Verbatim)
            .send()
            .await
            .map_err(|error| failure::of_call(&error))?;
        Ok(self.priced(request, answer::whole(output)?, started))
    }

    /// Calls the model, hands each piece of its answer to `on_delta` as it comes, and returns the answer that [`Gateway::call`] would
    /// have returned. Tool arguments that are not JSON are kept as a JSON string, and the answer's stop reason is
    /// [`StopReason::Malformed`](domain::model::StopReason::Malformed).
    ///
    /// # Errors
    ///
    /// As [`Gateway::call`]; a stream that breaks in the middle is
    /// [`FailureKind::Lost`](domain::model::FailureKind::Lost), whatever was already handed to `on_delta`.
    pub async fn stream(
        &self,
        request: &Request<'_>,
        mut on_delta: impl FnMut(Delta) + Send,
    ) -> Result<Answer, Failure> {
        let started = Instant::now();
        let input = self.input(request);
        let mut stream = self
            .client
            .converse_stream()
            .model_id(request.model)
            .set_system(input.system)
            .set_messages(Some(input.messages))
            .set_tool_config(input.tools)
            .inference_config(input.inference)
            .customize()
            .interceptor(Verbatim)
            .send()
            .await
            .map_err(|error| failure::of_call(&error))?
            .stream;
        let mut assembly = Assembly::default();
        loop {
            match stream.recv().await {
                Ok(Some(event)) => {
                    if let Some(delta) = assembly.take(event) {
                        on_delta(delta);
                    }
                }
                Ok(None) => break,
                // All was said; what happens to the connection then does not matter.
                Err(_) if assembly.is_complete() => break,
                Err(error) => return Err(failure::of_stream(&error)),
            }
        }
        Ok(self.priced(request, assembly.finish()?, started))
    }

    fn input(&self, request: &Request<'_>) -> Input {
        let cache = self.prices.cache(request.model, request.prompt_cache);
        Input::new(request, cache)
    }

    fn priced(&self, request: &Request<'_>, parts: Parts, started: Instant) -> Answer {
        let price = self.price(request.model, request.prompt_cache);
        Answer {
            cost_micro_usd: price.of(&parts.usage),
            content: parts.content,
            stop_reason: parts.stop_reason,
            usage: parts.usage,
            duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }
}

//! The tools that Skein brings along, performed.
//!
//! What they are called and what they take stands in `domain::tool`; arguments were checked against it before a call comes
//! here. **Invariant:** a failed tool is an answer to the model, never an error of the driver, and no request leaves but
//! through [`egress`].

mod calculator;
pub mod egress;
mod http_get;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use domain::run::ToolOutcome;
use serde_json::{Value, json};

/// What the tools may do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Config {
    /// Whether `http_get` may reach this machine and speak plain http to it: for development, never for production.
    pub allow_loopback: bool,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// The tool's name.
    pub tool: &'a str,
    /// Its arguments.
    pub arguments: &'a Value,
    /// Its `Idempotency-Key`.
    pub effect: &'a str,
    /// How long it may take, in milliseconds.
    pub timeout_ms: u64,
}

/// The tools of a process. A clone is cheap and shares their connections.
#[derive(Clone)]
pub struct Tools {
    config: Config,
    http: Arc<OnceLock<reqwest::Client>>,
}

impl Tools {
    /// Tools that may do what `config` says.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            http: Arc::default(),
        }
    }

    /// Performs a call. A tool that fails or takes too long has answered with an error text.
    pub async fn call(&self, call: Call<'_>) -> ToolOutcome {
        let began = Instant::now();
        let timeout = Duration::from_millis(call.timeout_ms);
        let answered = tokio::time::timeout(timeout, self.perform(call)).await;
        let answer = answered.unwrap_or_else(|_late| {
            Err(format!("timeout: no answer within {} ms", call.timeout_ms))
        });
        let is_error = answer.is_err();
        ToolOutcome {
            text: answer.unwrap_or_else(|error| error),
            is_error,
            duration_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    async fn perform(&self, call: Call<'_>) -> Result<String, String> {
        match call.tool {
            "calculator" => {
                calculator::evaluate(text(call.arguments, "expression")).map(calculator::show)
            }
            "clock" => Ok(
                json!({"utc": jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()})
                    .to_string(),
            ),
            "http_get" => {
                let client = self.http.get_or_init(|| http_get::client(self.config));
                http_get::fetch(client, self.config, text(call.arguments, "url")).await
            }
            "slow_research" => Ok(research(call.arguments, call.effect).await),
            other => Err(format!("unknown_tool: there is no tool `{other}`")),
        }
    }
}

fn text<'a>(arguments: &'a Value, name: &str) -> &'a str {
    arguments
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A stand-in for long work: it takes its time and answers the same each time.
async fn research(arguments: &Value, effect: &str) -> String {
    let seconds = arguments
        .get("seconds")
        .and_then(Value::as_f64)
        .unwrap_or(3.0);
    tokio::time::sleep(Duration::from_secs_f64(seconds.clamp(0.0, 600.0))).await;
    let topic = text(arguments, "topic");
    json!({
        "topic": topic,
        "report": format!("{topic}: three sources agree, none disagrees."),
        "sources": 3,
        "effect": effect,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn call(tool: &str, arguments: Value) -> ToolOutcome {
        Tools::new(Config::default())
            .call(Call {
                tool,
                arguments: &arguments,
                effect: "e",
                timeout_ms: 5_000,
            })
            .await
    }

    #[tokio::test]
    async fn a_failed_tool_is_an_answer() {
        let sum = call("calculator", json!({"expression": "17 * 23 + 4"})).await;
        assert_eq!((sum.text.as_str(), sum.is_error), ("395", false));
        let broken = call("calculator", json!({"expression": "1 +"})).await;
        assert!(broken.is_error, "{broken:?}");
        assert!(call("rm_rf", json!({})).await.is_error);
    }

    #[tokio::test]
    async fn a_tool_that_takes_too_long_has_answered_so() {
        let slow = json!({"topic": "geese", "seconds": 60});
        let tools = Tools::new(Config::default());
        let late = tools
            .call(Call {
                tool: "slow_research",
                arguments: &slow,
                effect: "e",
                timeout_ms: 5,
            })
            .await;
        assert!(
            late.is_error && late.text.starts_with("timeout"),
            "{late:?}"
        );
    }

    #[tokio::test]
    async fn research_carries_its_effect_id() {
        let done = call("slow_research", json!({"topic": "geese", "seconds": 0})).await;
        assert!(done.text.contains("\"effect\":\"e\""), "{done:?}");
    }
}

//! Tools: what they are called, what they take, and what a repeated call would do.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::ToolSpec;
use crate::schema::Schema;

/// What repeating a call does; decides whether its intent is recorded first and what happens after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Computes from its arguments alone. Repeated freely; needs no intent.
    Pure,
    /// Reads the world. Repeated freely; needs no intent.
    Read,
    /// Changes the world once per effect id. Repeated with the same effect id.
    Idempotent,
    /// Costs money each time. Repeated after a crash, the lost attempt being charged.
    Paid,
    /// Changes the world each time. Never started twice: a crash between intent and outcome parks the run.
    Destructive,
}

impl Class {
    /// Whether the intent must be in the log before the call starts.
    #[must_use]
    pub fn needs_intent(self) -> bool {
        match self {
            Self::Pure | Self::Read => false,
            Self::Idempotent | Self::Paid | Self::Destructive => true,
        }
    }
}

/// Where a call is performed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the driver's process.
    Inline,
    /// On the worker, through the task queue; the run parks meanwhile.
    Worker,
    /// Nowhere: the run parks until an instant.
    Timer,
}

/// A tool that Skein brings along.
#[derive(Debug)]
pub struct Builtin {
    /// What the model is told.
    pub spec: ToolSpec,
    /// What repeating a call does.
    pub class: Class,
    /// Where a call is performed.
    pub place: Place,
    /// How long one call may take, in milliseconds; for [`Place::Timer`] the longest wait.
    pub timeout_ms: u64,
    schema: Schema,
}

impl Builtin {
    /// Checks a model's arguments.
    ///
    /// # Errors
    /// What is wrong and where, for the model to read.
    pub fn check(&self, arguments: &serde_json::Value) -> Result<(), String> {
        self.schema.check(arguments)
    }
}

/// Most bytes of one tool result; a longer one is a typed error that the model is told.
pub const MAX_RESULT_BYTES: usize = 1024 * 1024;

/// The tool named `name`.
#[must_use]
pub fn builtin(name: &str) -> Option<&'static Builtin> {
    BUILTINS.iter().find(|tool| tool.spec.name == name)
}

/// The names of all tools, in the order of the documentation.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILTINS.iter().map(|tool| tool.spec.name.as_str())
}

static BUILTINS: LazyLock<Vec<Builtin>> = LazyLock::new(|| {
    let tool =
        |name: &str, description: &str, class, place, timeout_ms, properties, required: &[&str]| {
            let input_schema = json!({
                "type": "object",
                "properties": properties,
                "required": required,
                "additionalProperties": false,
            });
            Builtin {
                schema: Schema::new(&input_schema).expect("the schemas written here are valid"),
                spec: ToolSpec {
                    name: name.to_owned(),
                    description: description.to_owned(),
                    input_schema,
                },
                class,
                place,
                timeout_ms,
            }
        };
    vec![
        tool(
            "calculator",
            "Evaluates an arithmetic expression with + - * / % ^ and parentheses.",
            Class::Pure,
            Place::Inline,
            1_000,
            json!({"expression": {"type": "string", "minLength": 1, "maxLength": 1000}}),
            &["expression"],
        ),
        tool(
            "clock",
            "Tells the current date and time in UTC.",
            Class::Read,
            Place::Inline,
            1_000,
            json!({}),
            &[],
        ),
        tool(
            "http_get",
            "Fetches a public https URL and returns its status and text.",
            Class::Read,
            Place::Inline,
            15_000,
            json!({"url": {"type": "string", "minLength": 1, "maxLength": 2000}}),
            &["url"],
        ),
        tool(
            "wait",
            "Waits for a number of seconds before going on. Costs nothing meanwhile.",
            Class::Pure,
            Place::Timer,
            30 * 24 * 3_600_000,
            json!({"seconds": {"type": "number", "minimum": 0, "maximum": 2_592_000}}),
            &["seconds"],
        ),
        tool(
            "slow_research",
            "Researches a topic thoroughly; takes several seconds and answers with a short report.",
            Class::Idempotent,
            Place::Worker,
            15 * 60_000,
            json!({"topic": {"type": "string", "minLength": 1, "maxLength": 1000}, "seconds": {"type": "number", "minimum": 0, "maximum": 600}}),
            &["topic"],
        ),
    ]
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_checked_with_a_place() {
        let calculator = builtin("calculator").unwrap();
        assert_eq!(calculator.check(&json!({"expression": "1+1"})), Ok(()));
        let error = calculator.check(&json!({"expression": 1})).unwrap_err();
        assert!(error.contains("/expression"), "{error}");
        assert!(
            calculator
                .check(&json!({"expression": "1", "more": 1}))
                .is_err()
        );
        assert!(builtin("rm_rf").is_none());
    }
}

//! What can go wrong before a load begins. What goes wrong in it is counted, not an error.

use serde_json::Value;

/// Why there is no load.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such scenario, and no such file.
    #[error("there is no scenario `{0}`; `skein load ls` lists them, and a path ends in .toml")]
    Unknown(String),
    /// The file cannot be read.
    #[error("reading the scenario {name}")]
    Unreadable {
        /// The file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// The text is not TOML of the form of a scenario.
    #[error("the scenario {name} is not as it should be")]
    Syntax {
        /// Its name.
        name: String,
        /// Where and why.
        source: toml::de::Error,
    },
    /// The scenario breaks a rule.
    #[error("the scenario {name} {problem}")]
    Invalid {
        /// Its name.
        name: String,
        /// Which rule.
        problem: String,
    },
    /// The platform does not answer.
    #[error("{url} cannot be reached")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What the client said.
        source: reqwest::Error,
    },
    /// The platform refused what has to be there before the load: the problem that it answered with.
    #[error("the platform answered {0}")]
    Refused(Value),
}

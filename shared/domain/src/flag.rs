//! Features that an operator may switch for one tenant.
//!
//! What is switched stands in the tenant's record by the flag's name, so that a version that does not know a flag keeps what
//! was said of it. Processes believe settings for a minute, so a switch holds within that.

/// A feature that can be switched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flag {
    /// The tool `http_get`.
    HttpGet,
    /// Answers that are streamed.
    Streaming,
}

impl Flag {
    /// Every flag.
    pub const ALL: [Self; 2] = [Self::HttpGet, Self::Streaming];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HttpGet => "tool.http_get",
            Self::Streaming => "streaming",
        }
    }

    /// The flag that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flag| flag.as_str() == text)
    }

    /// Whether the feature is on where nobody has switched it.
    #[must_use]
    pub fn default_on(self) -> bool {
        match self {
            Self::HttpGet | Self::Streaming => true,
        }
    }

    /// What is so while it is off.
    #[must_use]
    pub fn off_means(self) -> &'static str {
        match self {
            Self::HttpGet => "calls of the tool `http_get` fail, which the model is told",
            Self::Streaming => "streams are refused; runs can be created, waited for and read",
        }
    }

    /// The flag without which a tool may not be called, if there is one.
    #[must_use]
    pub fn of_tool(tool: &str) -> Option<Self> {
        (tool == "http_get").then_some(Self::HttpGet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_found_by_its_name_and_is_for_a_tool_that_there_is() {
        for flag in Flag::ALL {
            assert_eq!(Flag::parse(flag.as_str()), Some(flag));
            if let Some(tool) = flag.as_str().strip_prefix("tool.") {
                assert_eq!(Flag::of_tool(tool), Some(flag));
                assert!(crate::tool::builtin(tool).is_some(), "{tool}");
            }
        }
        assert_eq!(Flag::of_tool("calculator"), None);
    }
}

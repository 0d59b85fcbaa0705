//! Where a tenant's data is: the third ring around tenants.

use serde::{Deserialize, Serialize};

use crate::agent::FieldError;

/// Where a tenant's data is: settled when it is onboarded, and for ever. There is no move from one to another.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case", try_from = "Said")]
pub enum Isolation {
    /// In the table of the stack, beside that of others.
    #[default]
    Pool,
    /// In a table of its own, in the same stack. Its record and its keys, by which it is found, stay in the stack's table.
    Bridge {
        /// The name of that table: the stack's, a hyphen, and more.
        table: String,
    },
    /// In a stack of its own. What is kept here is where that is.
    Silo {
        /// The address of its API.
        endpoint: String,
    },
}

/// How it is written. (An enum with a tag would pass over what is not its variant's.)
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    mode: Mode,
    table: Option<String>,
    endpoint: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    Pool,
    Bridge,
    Silo,
}

impl TryFrom<Said> for Isolation {
    type Error = &'static str;

    fn try_from(said: Said) -> Result<Self, Self::Error> {
        match (said.mode, said.table, said.endpoint) {
            (Mode::Pool, None, None) => Ok(Self::Pool),
            (Mode::Bridge, Some(table), None) => Ok(Self::Bridge { table }),
            (Mode::Silo, None, Some(endpoint)) => Ok(Self::Silo { endpoint }),
            (Mode::Pool, ..) => Err("`pool` takes neither a table nor an endpoint"),
            (Mode::Bridge, ..) => Err("`bridge` takes a table and nothing else"),
            (Mode::Silo, ..) => Err("`silo` takes an endpoint and nothing else"),
        }
    }
}

/// Most characters of a table's name.
///
/// Source: <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/HowItWorks.NamingRulesDataTypes.html>.
const MAX_TABLE_NAME: usize = 255;
/// Most characters of an endpoint.
const MAX_ENDPOINT: usize = 200;

impl Isolation {
    /// What is wrong with it in a stack whose table is `stack`: a JSON pointer into it, and what would be right.
    ///
    /// # Errors
    /// When there is something.
    pub fn check(&self, stack: &str) -> Result<(), FieldError> {
        match self {
            Self::Pool => Ok(()),
            Self::Bridge { table } if is_bridge(stack, table) => Ok(()),
            Self::Bridge { .. } => Err(FieldError::new(
                "/table",
                format!(
                    "must be `{stack}-` and more letters, digits, `-`, `_` or `.`, at most {MAX_TABLE_NAME} characters in all"
                ),
            )),
            Self::Silo { endpoint } if is_endpoint(endpoint) => Ok(()),
            Self::Silo { .. } => Err(FieldError::new(
                "/endpoint",
                format!(
                    "must be an https:// address without query, at most {MAX_ENDPOINT} characters"
                ),
            )),
        }
    }

    /// Whether its data stands beside that of others.
    #[must_use]
    pub fn is_pool(&self) -> bool {
        *self == Self::Pool
    }

    /// The name of the tenant's own table in this stack, if it has one.
    #[must_use]
    pub fn own_table(&self) -> Option<&str> {
        match self {
            Self::Bridge { table } => Some(table),
            Self::Pool | Self::Silo { .. } => None,
        }
    }

    /// Where the tenant's own stack answers, if it has one.
    #[must_use]
    pub fn endpoint(&self) -> Option<&str> {
        match self {
            Self::Silo { endpoint } => Some(endpoint),
            Self::Pool | Self::Bridge { .. } => None,
        }
    }
}

/// Policies reach the tables whose names begin so, and an operator's slip reaches no other.
fn is_bridge(stack: &str, table: &str) -> bool {
    let rest = table
        .strip_prefix(stack)
        .and_then(|rest| rest.strip_prefix('-'));
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    table.len() <= MAX_TABLE_NAME
        && rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(is_plain))
}

fn is_endpoint(endpoint: &str) -> bool {
    let Some(rest) = endpoint.strip_prefix("https://") else {
        return false;
    };
    let host = rest.split('/').next().unwrap_or_default();
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/:".contains(&b);
    endpoint.len() <= MAX_ENDPOINT
        && host.starts_with(|c: char| c.is_ascii_alphanumeric())
        && rest.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bridge_is_a_table_of_this_stack_alone() {
        let long = format!("skein-{}", "a".repeat(249));
        let longer = format!("{long}a");
        let check = |table: &str| {
            let table = table.to_owned();
            Isolation::Bridge { table }.check("skein").is_ok()
        };
        for table in ["skein-acme", "skein-a.b_c-1", &*long] {
            assert!(check(table), "{table}");
        }
        for table in [
            "skein",
            "skein-",
            "skeinacme",
            "other-acme",
            "skein-a/b",
            "skein-ä",
            &*longer,
        ] {
            assert!(!check(table), "{table}");
        }
    }

    #[test]
    fn a_silo_is_an_https_address() {
        let check = |endpoint: &str| {
            let endpoint = endpoint.to_owned();
            Isolation::Silo { endpoint }.check("skein").is_ok()
        };
        for endpoint in ["https://acme.example", "https://a:8443/dev"] {
            assert!(check(endpoint), "{endpoint}");
        }
        for endpoint in [
            "http://acme.example",
            "https://",
            "https:///dev",
            "https://u@h",
            "https://h?x",
            "h",
        ] {
            assert!(!check(endpoint), "{endpoint}");
        }
    }
}

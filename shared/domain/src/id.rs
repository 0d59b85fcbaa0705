//! Identifiers. Each is checked once, when it enters, and is safe inside a table key, a path and a URL ever after.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a text is not an identifier.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct Invalid {
    /// Which kind of identifier was expected.
    pub what: &'static str,
    /// The rule that the text breaks.
    pub rule: &'static str,
}

const SLUG: &str =
    "1 to 63 lower-case letters, digits and hyphens, starting with a letter or digit";
const RUN: &str = "`run_` followed by 32 hexadecimal digits";

fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes[0] != b'-'
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn is_run(text: &str) -> bool {
    text.strip_prefix("run_").is_some_and(|hex| {
        hex.len() == 32
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

fn is_key(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn is_token(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.')
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:expr, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks `text` and takes it as an identifier.
            ///
            /// # Errors
            /// [`Invalid`], naming the rule, when the text breaks it.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Invalid { what: $what, rule: $rule })
                }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Invalid;
            fn try_from(text: String) -> Result<Self, Invalid> {
                if $check(&text) { Ok(Self(text)) } else { Err(Invalid { what: $what, rule: $rule }) }
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Who pays: the owner of every item, object and queue message.
    TenantId, "a tenant id", SLUG, is_slug
);
id!(
    /// The name of a stored agent within its tenant.
    AgentId, "an agent id", SLUG, is_slug
);
id!(
    /// A part of a tenant that is budgeted and reported apart.
    ProjectId, "a project id", SLUG, is_slug
);
id!(
    /// The public part of an API key.
    KeyId, "a key id", "1 to 64 letters and digits", is_key
);
id!(
    /// One execution.
    RunId, "a run id", RUN, is_run
);
id!(
    /// One driver: a process's claim to work on a run, new for every claim.
    DriverId, "a driver id", "1 to 64 letters, digits, dots, hyphens and underscores", is_token
);

impl RunId {
    /// The run id made of 16 bytes: random ones, or those of [`RunId::derived`].
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        use fmt::Write as _;
        let mut text = String::with_capacity(36);
        text.push_str("run_");
        for byte in bytes {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text)
    }

    /// The run that an idempotency key names: the same tenant and key always give the same run, so the condition on the
    /// run's head is the check for a repeated request.
    #[must_use]
    pub fn derived(tenant: &TenantId, idempotency_key: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(b"run\0")
            .chain_update(tenant.as_str())
            .chain_update(b"\0")
            .chain_update(idempotency_key)
            .finalize();
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        Self::from_bytes(bytes)
    }
}

/// A frame's place in the run's tree: `0` is the root, `0.2` its third child.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FrameId(String);

impl FrameId {
    /// The frame that the run itself executes.
    #[must_use]
    pub fn root() -> Self {
        Self("0".to_owned())
    }

    /// Takes `text` as a frame's place: numbers joined by dots.
    ///
    /// # Errors
    /// [`Invalid`] when it is anything else.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let fits = text.len() <= 128
            && text
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(Invalid {
                what: "a frame id",
                rule: "numbers joined by dots",
            })
        }
    }

    /// The place as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a tool receives as its `Idempotency-Key`: the hash of run, frame, step and ordinal, so a repeated attempt of the
/// same call carries the same one.
#[must_use]
pub fn effect_id(run: &RunId, frame: &FrameId, step: u32, call: u32) -> String {
    use fmt::Write as _;
    let digest = Sha256::new()
        .chain_update(format!("effect\0{run}\0{frame}\0{step}\0{call}"))
        .finalize();
    digest[..16]
        .iter()
        .fold(String::with_capacity(32), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_refuse_what_could_break_a_key() {
        for bad in ["", "A", "a#b", "a/b", "-a", "a b", &"a".repeat(64)] {
            assert!(TenantId::parse(bad).is_err(), "{bad}");
        }
        assert!(RunId::parse("run_0123456789abcdef0123456789abcdef").is_ok());
        for bad in [
            "run_",
            "run_0123456789ABCDEF0123456789ABCDEF",
            "0123456789abcdef0123456789abcdef",
        ] {
            assert!(RunId::parse(bad).is_err(), "{bad}");
        }
        assert!(FrameId::parse("0.1.12").is_ok());
        assert!(FrameId::parse("0..1").is_err());
    }

    #[test]
    fn the_same_key_names_the_same_run_of_one_tenant_only() {
        let (a, b) = (TenantId::parse("a").unwrap(), TenantId::parse("b").unwrap());
        assert_eq!(RunId::derived(&a, "k"), RunId::derived(&a, "k"));
        assert_ne!(RunId::derived(&a, "k"), RunId::derived(&b, "k"));
        assert_ne!(RunId::derived(&a, "k"), RunId::derived(&a, "l"));
    }

    #[test]
    fn ids_are_checked_when_deserialised() {
        assert!(serde_json::from_str::<TenantId>("\"a#b\"").is_err());
        assert_eq!(
            serde_json::from_str::<TenantId>("\"a\"").unwrap().as_str(),
            "a"
        );
    }
}

//! API keys as text: `skn_<tier>_<id>_<secret>`.
//!
//! The tier is a hint for people, the id finds the key's item, the secret proves its holder. The secret is 24 random bytes
//! in hexadecimal and a checksum over all that stands before it, so that a mistyped key is refused without a request.
//! Stored is the SHA-256 of the secret alone; the key itself is shown once.

use std::fmt::{self, Write as _};

use sha2::{Digest, Sha256};

/// Random bytes that a new key takes: 8 for its id, 24 for its secret.
pub const RANDOM_BYTES: usize = 32;

const ID_BYTES: usize = 8;
const SECRET_DIGITS: usize = 2 * (RANDOM_BYTES - ID_BYTES);
const CHECKSUM_DIGITS: usize = 8;
const MAX_BYTES: usize = 128;

/// A key that was read from a request. Its `Debug` shows no secret.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    /// What the key says of its tier; proves nothing.
    pub tier: &'a str,
    /// Finds the key's item.
    pub id: &'a str,
    secret: &'a str,
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presented")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Presented<'_> {
    /// What is stored of the secret.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        hash(self.secret)
    }
}

/// A new key.
#[derive(Clone)]
pub struct Issued {
    /// The key, to be shown once.
    pub text: String,
    /// Its id.
    pub id: String,
    /// What is stored of its secret.
    pub sha256: [u8; 32],
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The bytes of a new key, from the system's source of randomness: 244 of their 256 bits.
#[must_use]
pub fn random() -> [u8; RANDOM_BYTES] {
    let mut random = [0; RANDOM_BYTES];
    for half in random.chunks_exact_mut(16) {
        half.copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    }
    random
}

/// Makes a key of random bytes. `tier` is 1 to 16 lower-case letters and digits; anything else is left out of the hint.
#[must_use]
pub fn issue(tier: &str, random: [u8; RANDOM_BYTES]) -> Issued {
    let hint: String = tier
        .chars()
        .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        .take(16)
        .collect();
    let hint = if hint.is_empty() { "key" } else { &hint };
    let (id, secret) = random.split_at(ID_BYTES);
    let id = hexadecimal(id);
    let mut text = format!("skn_{hint}_{id}_{}", hexadecimal(secret));
    let checksum = checksum(&text);
    text.push_str(&checksum);
    let secret = text.rsplit('_').next().unwrap_or_default();
    Issued {
        sha256: hash(secret),
        id,
        text,
    }
}

/// Reads a key; none when it cannot be one of ours.
#[must_use]
pub fn parse(text: &str) -> Option<Presented<'_>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut parts = text.strip_prefix("skn_")?.split('_');
    let (tier, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let is_hexadecimal = |text: &str| {
        text.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    let fits = parts.next().is_none()
        && (1..=16).contains(&tier.len())
        && id.len() == 2 * ID_BYTES
        && secret.len() == SECRET_DIGITS + CHECKSUM_DIGITS
        && is_hexadecimal(id)
        && is_hexadecimal(secret);
    if !fits {
        return None;
    }
    let (front, sum) = text.split_at(text.len() - CHECKSUM_DIGITS);
    (checksum(front) == sum).then_some(Presented { tier, id, secret })
}

fn hash(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn checksum(front: &str) -> String {
    let digest = Sha256::new()
        .chain_update(b"skein key\0")
        .chain_update(front)
        .finalize();
    hexadecimal(&digest[..CHECKSUM_DIGITS / 2])
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_its_shape_never_changes() {
        let key = issue("pro", [7; RANDOM_BYTES]);
        assert_eq!(
            key.text,
            format!(
                "skn_pro_{}_{}{}",
                "07".repeat(8),
                "07".repeat(24),
                &key.text[key.text.len() - 8..]
            )
        );
        let read = parse(&key.text).unwrap();
        assert_eq!((read.tier, read.id), ("pro", key.id.as_str()));
        assert_eq!(read.sha256(), key.sha256);
    }

    #[test]
    fn every_mistyped_letter_is_noticed() {
        let key = issue("pro", [7; RANDOM_BYTES]).text;
        for place in 0..key.len() {
            let mut typo = key.clone().into_bytes();
            typo[place] = if typo[place] == b'1' { b'2' } else { b'1' };
            let typo = String::from_utf8(typo).unwrap();
            assert!(parse(&typo).is_none(), "{typo}");
        }
        for text in [
            "",
            "skn_",
            "skn_a_b_c",
            &format!("{key}0"),
            &format!("{key}_0"),
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let key = issue("pro", [7; RANDOM_BYTES]);
        let secret = "07".repeat(24);
        assert!(!format!("{key:?}").contains(&secret));
        assert!(!format!("{:?}", parse(&key.text)).contains(&secret));
    }
}

//! The MD5 digests that SQS answers with, by which clients check what arrived.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use md5::{Digest as _, Md5};

use super::message::AttributeValue;

/// MD5 of a text, in hexadecimal.
pub(super) fn of_text(text: &str) -> String {
    hex(&Md5::digest(text))
}

/// MD5 of message attributes in hexadecimal, as AWS's developer guide defines it: every attribute in order of its name, as
/// length and name, length and type, one byte for text or binary, length and value. `None` without attributes.
pub(super) fn of_attributes(attributes: &BTreeMap<String, AttributeValue>) -> Option<String> {
    fn add(hash: &mut Md5, part: &[u8]) {
        // Lengths are bounded by the largest message, far below 4 GiB.
        hash.update(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(part);
    }
    if attributes.is_empty() {
        return None;
    }
    let mut hash = Md5::new();
    for (name, value) in attributes {
        add(&mut hash, name.as_bytes());
        add(&mut hash, value.data_type.as_bytes());
        if let Some(bytes) = value.bytes() {
            hash.update([2]);
            add(&mut hash, &bytes);
        } else {
            hash.update([1]);
            add(
                &mut hash,
                value.string_value.as_deref().unwrap_or_default().as_bytes(),
            );
        }
    }
    Some(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_hashed_as_plain_md5() {
        assert_eq!(of_text("hello"), "5d41402abc4b2a76b9719d911017c592");
        assert_eq!(of_attributes(&BTreeMap::new()), None);
    }

    #[test]
    fn attributes_are_hashed_by_the_published_rule() {
        // The value was computed apart, by a script that follows the developer guide.
        let attributes = BTreeMap::from([
            ("name".to_owned(), AttributeValue::text("String", "Jeff")),
            (
                "blob".to_owned(),
                AttributeValue::binary("Binary", b"\x01\x02\x03"),
            ),
        ]);
        assert_eq!(
            of_attributes(&attributes).as_deref(),
            Some("4baf4993a1bd666eb553e9cc29b58885")
        );
    }
}

//! Texts that prove that they were given out here: signed for one purpose, good until an instant.
//!
//! Layout before base64url: version (1 byte), expiry (8 bytes, ms, big endian), the text, HMAC-SHA-256 cut to 16 bytes. What
//! the purpose is made of is signed as well and stands nowhere, so whatever was sealed for one thing opens nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::time::At;
use hmac::{Hmac, Mac};
use sha2::Sha256;

const VERSION: u8 = 1;
const FRONT: usize = 9;
const MAC: usize = 16;

/// Seals a text for a purpose. No part of the purpose holds a NUL.
pub(crate) fn seal(secret: &[u8], purpose: &[&str], text: &str, expires_at: At) -> String {
    let mut bytes = Vec::with_capacity(FRONT + text.len() + MAC);
    bytes.push(VERSION);
    bytes.extend(expires_at.0.to_be_bytes());
    bytes.extend(text.as_bytes());
    let mac = sign(secret, purpose, &bytes).finalize().into_bytes();
    bytes.extend(&mac[..MAC]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The text and its expiry, which may have passed; none when this was not made by [`seal`] for this purpose.
pub(crate) fn open(secret: &[u8], purpose: &[&str], sealed: &str) -> Option<(String, At)> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let length = bytes.len().checked_sub(MAC).filter(|it| *it >= FRONT)?;
    let (signed, mac) = bytes.split_at(length);
    sign(secret, purpose, signed)
        .verify_truncated_left(mac)
        .ok()?;
    let (front, text) = signed.split_at(FRONT);
    if front[0] != VERSION {
        return None;
    }
    let mut expires = [0; 8];
    expires.copy_from_slice(&front[1..]);
    let text = String::from_utf8(text.to_vec()).ok()?;
    Some((text, At(u64::from_be_bytes(expires))))
}

/// HMAC-SHA-256 over the purpose, each part of it followed by a NUL, and then these bytes.
pub(crate) fn sign(secret: &[u8], purpose: &[&str], bytes: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in purpose {
        mac.update(part.as_bytes());
        mac.update(b"\0");
    }
    mac.update(bytes);
    mac
}

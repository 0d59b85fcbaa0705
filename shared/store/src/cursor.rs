//! Cursors: a place in a list, signed, bound to tenant and query, good for a day.
//!
//! Layout before base64url: version (1 byte), expiry (8 bytes, ms, big endian), the place, HMAC-SHA-256 cut to 16 bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use domain::id::TenantId;
use domain::time::At;
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::Error;

/// How long a cursor is good for, in milliseconds.
pub const LIFETIME_MS: u64 = 24 * 3_600_000;

const VERSION: u8 = 1;
const FRONT: usize = 9;
const MAC: usize = 16;

/// A cursor at `place` of the list that `query` names.
pub(crate) fn seal(secret: &[u8], tenant: &TenantId, query: &str, place: &str, now: At) -> String {
    let mut bytes = Vec::with_capacity(FRONT + place.len() + MAC);
    bytes.push(VERSION);
    bytes.extend(now.plus_ms(LIFETIME_MS).0.to_be_bytes());
    bytes.extend(place.as_bytes());
    let mac = sign(secret, tenant, query, &bytes).finalize().into_bytes();
    bytes.extend(&mac[..MAC]);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The place that `cursor` holds.
///
/// # Errors
/// [`Error::BadCursor`] when it was not made by [`seal`] for this tenant and query, [`Error::ExpiredCursor`] when it was
/// and is too old.
pub(crate) fn open(
    secret: &[u8],
    tenant: &TenantId,
    query: &str,
    cursor: &str,
    now: At,
) -> Result<String, Error> {
    let bytes = URL_SAFE_NO_PAD
        .decode(cursor)
        .map_err(|_| Error::BadCursor)?;
    let (signed, mac) = bytes
        .len()
        .checked_sub(MAC)
        .filter(|length| *length >= FRONT)
        .map(|length| bytes.split_at(length))
        .ok_or(Error::BadCursor)?;
    sign(secret, tenant, query, signed)
        .verify_truncated_left(mac)
        .map_err(|_| Error::BadCursor)?;
    let (front, place) = signed.split_at(FRONT);
    if front[0] != VERSION {
        return Err(Error::BadCursor);
    }
    let mut expires = [0; 8];
    expires.copy_from_slice(&front[1..]);
    if u64::from_be_bytes(expires) <= now.0 {
        return Err(Error::ExpiredCursor);
    }
    String::from_utf8(place.to_vec()).map_err(|_| Error::BadCursor)
}

fn sign(secret: &[u8], tenant: &TenantId, query: &str, bytes: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in [
        b"skein cursor",
        tenant.as_str().as_bytes(),
        query.as_bytes(),
    ] {
        mac.update(part);
        mac.update(b"\0");
    }
    mac.update(bytes);
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"a secret of the tests";
    const NOW: At = At(1_700_000_000_000);

    fn tenant(id: &str) -> TenantId {
        TenantId::parse(id).unwrap()
    }

    #[test]
    fn a_cursor_opens_only_where_it_belongs() {
        let cursor = seal(SECRET, &tenant("a"), "runs", "place", NOW);
        assert_eq!(
            open(SECRET, &tenant("a"), "runs", &cursor, NOW).unwrap(),
            "place"
        );
        for opened in [
            open(SECRET, &tenant("b"), "runs", &cursor, NOW),
            open(SECRET, &tenant("a"), "agents", &cursor, NOW),
            open(b"another secret", &tenant("a"), "runs", &cursor, NOW),
            open(SECRET, &tenant("a"), "runs", "", NOW),
            open(SECRET, &tenant("a"), "runs", "!", NOW),
            open(SECRET, &tenant("a"), "runs", &cursor[..20], NOW),
        ] {
            assert!(matches!(opened, Err(Error::BadCursor)));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let cursor = seal(SECRET, &tenant("a"), "runs", "place", NOW);
        let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            let forged = URL_SAFE_NO_PAD.encode(forged);
            let opened = open(SECRET, &tenant("a"), "runs", &forged, NOW);
            assert!(matches!(opened, Err(Error::BadCursor)), "bit {bit}");
        }
    }

    #[test]
    fn a_cursor_is_good_for_a_day() {
        let cursor = seal(SECRET, &tenant("a"), "runs", "place", NOW);
        let open = |now| open(SECRET, &tenant("a"), "runs", &cursor, now);
        assert!(open(NOW.plus_ms(LIFETIME_MS - 1)).is_ok());
        assert!(matches!(
            open(NOW.plus_ms(LIFETIME_MS)),
            Err(Error::ExpiredCursor)
        ));
    }
}

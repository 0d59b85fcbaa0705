//! Cursors: a place in a list, sealed for tenant and query, good for a day.

use domain::id::TenantId;
use domain::time::At;

use crate::{Error, seal};

/// How long a cursor is good for, in milliseconds.
pub const LIFETIME_MS: u64 = 24 * 3_600_000;

/// What is signed before all else.
const PURPOSE: &str = "skein cursor";

/// A cursor at `place` of the list that `query` names.
pub(crate) fn seal(secret: &[u8], tenant: &TenantId, query: &str, place: &str, now: At) -> String {
    let purpose = [PURPOSE, tenant.as_str(), query];
    seal::seal(secret, &purpose, place, now.plus_ms(LIFETIME_MS))
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
    let purpose = [PURPOSE, tenant.as_str(), query];
    let (place, expires_at) = seal::open(secret, &purpose, cursor).ok_or(Error::BadCursor)?;
    if expires_at <= now {
        return Err(Error::ExpiredCursor);
    }
    Ok(place)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

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

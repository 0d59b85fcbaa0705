//! Stream tokens: the right to follow one run for a while, sealed. Nothing is stored of them.

use domain::id::{KeyId, RunId, TenantId};
use domain::time::At;

use crate::{Store, seal};

/// What is signed before all else: no cursor is a token, and no token a cursor.
const PURPOSE: [&str; 1] = ["skein stream token"];
/// What every token begins with, for people and for scanners of secrets.
const PREFIX: &str = "skt_";

/// Who may follow which run until when. It opens as much as the key that it was made with, and that for as long as the key
/// does; both is for the caller to see to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamToken {
    /// Whose run it is.
    pub tenant: TenantId,
    /// The API key that it was made with.
    pub key: KeyId,
    /// The one run that may be followed.
    pub run: RunId,
    /// From when on it opens nothing.
    pub expires_at: At,
}

impl StreamToken {
    /// Whether this text looks like a token, which proves nothing.
    #[must_use]
    pub fn may_be(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

impl Store {
    /// The token as text: letters, digits, hyphens and underscores, at most 300.
    #[must_use]
    pub fn seal_stream_token(&self, token: &StreamToken) -> String {
        let secret = &self.inner.config.cursor_secret;
        // No id holds the separator.
        let text = format!("{}#{}#{}", token.tenant, token.key, token.run);
        let sealed = seal::seal(secret, &PURPOSE, &text, token.expires_at);
        format!("{PREFIX}{sealed}")
    }

    /// The token that this text is, expired or not; none when it was not given out here.
    #[must_use]
    pub fn open_stream_token(&self, text: &str) -> Option<StreamToken> {
        let secret = &self.inner.config.cursor_secret;
        let sealed = text.strip_prefix(PREFIX)?;
        let (text, expires_at) = seal::open(secret, &PURPOSE, sealed)?;
        let mut ids = text.split('#');
        let (tenant, key, run) = (ids.next()?, ids.next()?, ids.next()?);
        Some(StreamToken {
            tenant: TenantId::parse(tenant).ok()?,
            key: KeyId::parse(key).ok()?,
            run: RunId::parse(run).ok()?,
            expires_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cursor_is_a_token_and_no_token_a_cursor() {
        let secret = b"a secret of the tests";
        let (tenant, now) = (TenantId::parse("a").unwrap(), At(1_700_000_000_000));
        let text = "a#k#run_00000000000000000000000000000000";
        let token = seal::seal(secret, &PURPOSE, text, now.plus_ms(1));
        let opened = seal::open(secret, &PURPOSE, &token);
        assert_eq!(opened, Some((text.to_owned(), now.plus_ms(1))));
        assert!(crate::cursor::open(secret, &tenant, "runs", &token, now).is_err());
        let cursor = crate::cursor::seal(secret, &tenant, "runs", text, now);
        assert_eq!(seal::open(secret, &PURPOSE, &cursor), None);
    }
}

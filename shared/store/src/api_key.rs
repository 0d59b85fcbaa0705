//! API keys: who may act for a tenant. Only the hash of a secret is ever stored.

use domain::id::TenantId;
use domain::time::At;

use crate::item::{Item, Read, Set, keyed, text};
use crate::key::Key;
use crate::table::{Outcome, Write};
use crate::{Error, Store};

/// A stored API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// The public part of the key: 1 to 64 letters and digits.
    pub id: String,
    /// Whom it acts for.
    pub tenant: TenantId,
    /// SHA-256 of the secret, hexadecimal.
    pub hash: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created_at: At,
    /// When it ceases to hold, if ever.
    pub expires_at: Option<At>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<At>,
}

impl Store {
    /// Stores a key, new or changed.
    ///
    /// # Errors
    /// [`Error::BadKeyId`]; [`Error::Raced`] when another tenant has a key of that id; those of the table.
    pub async fn put_key(&self, api_key: &ApiKey) -> Result<(), Error> {
        let key = Key::api_key(&api_key.id).ok_or(Error::BadKeyId)?;
        let mut item = keyed(key, 7);
        item.set_text("tenant", api_key.tenant.as_str());
        item.set_text("hash", &api_key.hash);
        item.set_text("scopes", api_key.scopes.join(" "));
        item.set_text("label", &api_key.label);
        item.set_number("created_at", api_key.created_at.0);
        for (name, at) in [
            ("expires_at", api_key.expires_at),
            ("revoked_at", api_key.revoked_at),
        ] {
            if let Some(at) = at {
                item.set_number(name, at.0);
            }
        }
        let own = "attribute_not_exists(pk) OR tenant = :tenant";
        let write = Write::new(item, Some(own)).with(":tenant", text(api_key.tenant.as_str()));
        match self.put(write).await? {
            Outcome::Done => Ok(()),
            Outcome::Refused(_) => Err(Error::Raced),
            Outcome::Conflict => Err(Error::conflict("PutItem")),
        }
    }

    /// Reads a key by its public part, strongly consistent; none also for an id that no key can have. Whether it still
    /// holds is for the caller to say.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn key(&self, id: &str) -> Result<Option<ApiKey>, Error> {
        let Some(key) = Key::api_key(id) else {
            return Ok(None);
        };
        let item = self.get(key, true).await?;
        item.map(|item| read(id, &item)).transpose()
    }
}

fn read(id: &str, item: &Item) -> Result<ApiKey, Error> {
    let tenant = TenantId::parse(item.text("tenant")?).map_err(|_| item.corrupt("tenant"))?;
    let scopes = item.text("scopes")?.split_whitespace();
    Ok(ApiKey {
        id: id.to_owned(),
        tenant,
        hash: item.text("hash")?.to_owned(),
        scopes: scopes.map(str::to_owned).collect(),
        label: item.text("label")?.to_owned(),
        created_at: item.at("created_at")?,
        expires_at: item.find_number("expires_at").map(At),
        revoked_at: item.find_number("revoked_at").map(At),
    })
}

//! API keys: who may act for a tenant. Only the hash of a secret is ever stored.

use domain::gate::AtGate;
use domain::id::{KeyId, ProjectId, TenantId};
use domain::time::At;
use serde::{Deserialize, Serialize};

use crate::audit::{Act, state_of};
use crate::item::{Item, Read, Set, keyed, number, text, to_json};
use crate::key::{Key, key_list};
use crate::list::Page;
use crate::table::{Outcome, Write};
use crate::{Error, Store};

/// A stored API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// The public part of the key.
    pub id: KeyId,
    /// Whom it acts for.
    pub tenant: TenantId,
    /// The project that its runs belong to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<ProjectId>,
    /// SHA-256 of the secret, hexadecimal. Lists do not hold it.
    #[serde(skip)]
    pub hash: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// What its owner calls it.
    pub label: String,
    /// When it was made.
    pub created_at: At,
    /// When it ceases to hold, if ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<At>,
    /// When it was revoked, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<At>,
    /// When it was last seen in use, to a few minutes. Lists do not hold it.
    #[serde(skip)]
    pub last_used_at: Option<At>,
    /// What API Gateway is known to have of it. Lists do not hold it.
    #[serde(skip)]
    pub gate: Option<AtGate>,
}

impl Store {
    /// Stores a key, new or changed.
    ///
    /// # Errors
    /// [`Error::Raced`] when another tenant has a key of that id, or when it was revoked, which is for ever; those of the table.
    pub async fn put_key(&self, api_key: &ApiKey) -> Result<(), Error> {
        let mut item = keyed(Key::api_key(&api_key.id), 7);
        item.set_text("tenant", api_key.tenant.as_str());
        item.set_text("hash", &api_key.hash);
        item.set_text("head", to_json(api_key));
        item.set_text("list_pk", key_list(&api_key.tenant));
        item.set_text("list_sk", api_key.id.as_str());
        if let Some(at) = api_key.last_used_at {
            item.set_number("last_used_at", at.0);
        }
        if let Some(at) = &api_key.gate {
            item.set_text("gate_plan", &at.plan);
            item.set_number("gate_ready", at.is_ready.into());
        }
        if let Some(at) = api_key.revoked_at {
            item.set_number("revoked_at", at.0);
        }
        let own = if api_key.revoked_at.is_some() {
            "attribute_not_exists(pk) OR tenant = :tenant"
        } else {
            "attribute_not_exists(pk) OR (tenant = :tenant AND attribute_not_exists(revoked_at))"
        };
        let write = Write::new(item, Some(own)).with(":tenant", text(api_key.tenant.as_str()));
        let act = Act {
            tenant: &api_key.tenant,
            action: if api_key.revoked_at.is_some() {
                "key.revoked"
            } else {
                "key.stored"
            },
            subject: format!("key:{}", api_key.id),
            state: state_of(api_key),
            at: api_key.created_at,
        };
        let stored = self.transact_audited(&act, &[write]).await?;
        stored.map_err(|_| Error::Raced)
    }

    /// Reads a key by its public part, strongly consistent. Whether it still holds is for the caller to say.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn key(&self, id: &KeyId) -> Result<Option<ApiKey>, Error> {
        let item = self.get(Key::api_key(id), true).await?;
        item.map(|item| read(&item)).transpose()
    }

    /// A tenant's keys by id, revoked ones included, at most `limit` (1 to 200). Eventually consistent; without hashes.
    ///
    /// # Errors
    /// [`Error::BadCursor`], [`Error::ExpiredCursor`], and those of the table.
    pub async fn keys(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
        now: At,
    ) -> Result<Page<ApiKey>, Error> {
        let list = key_list(tenant);
        self.by_id(&list, tenant, limit, cursor, now).await
    }

    /// Notes what API Gateway has of a key, if it was noted to have `from` of it; false when it was not. No change of the
    /// key itself, so the audit trail does not tell of it.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn key_at_gate(
        &self,
        id: &KeyId,
        from: Option<&AtGate>,
        to: Option<&AtGate>,
    ) -> Result<bool, Error> {
        let condition = match from {
            Some(_) => "gate_plan = :from_plan AND gate_ready = :from_ready",
            None => "attribute_exists(pk) AND attribute_not_exists(gate_plan)",
        };
        let change = match to {
            Some(_) => "SET gate_plan = :to_plan, gate_ready = :to_ready",
            None => "REMOVE gate_plan, gate_ready",
        };
        let mut write = Write::update(Key::api_key(id), change.to_owned(), condition.to_owned());
        if let Some(from) = from {
            write = write
                .with(":from_plan", text(&from.plan))
                .with(":from_ready", number(from.is_ready.into()));
        }
        if let Some(to) = to {
            write = write
                .with(":to_plan", text(&to.plan))
                .with(":to_ready", number(to.is_ready.into()));
        }
        Ok(matches!(self.put(write).await?, Outcome::Done))
    }

    /// Notes that a key of this tenant was used, if that is at home here: elsewhere nothing of a key is written.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn key_used(&self, tenant: &TenantId, id: &KeyId, now: At) -> Result<(), Error> {
        let regions = self.regions();
        if !regions.is_one() {
            // Whoever asks knows only the key by itself; the record is the tenant's.
            let home = self.of(tenant).home_of(tenant.as_str()).await?;
            if !regions.is_own(home.epoch) {
                return Ok(());
            }
        }
        let set = "SET last_used_at = :now".to_owned();
        let known = "attribute_exists(pk)".to_owned();
        let write = Write::update(Key::api_key(id), set, known).with(":now", number(now.0));
        self.put(write).await.map(drop)
    }
}

fn read(item: &Item) -> Result<ApiKey, Error> {
    let mut key: ApiKey = item.json("head")?;
    item.text("hash")?.clone_into(&mut key.hash);
    key.last_used_at = item.find_number("last_used_at").map(At);
    if item.contains_key("gate_plan") {
        key.gate = Some(AtGate {
            plan: item.text("gate_plan")?.to_owned(),
            is_ready: item.find_number("gate_ready") == Some(1),
        });
    }
    Ok(key)
}

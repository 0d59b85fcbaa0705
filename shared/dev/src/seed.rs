//! What a new local platform holds: a demo tenant with a key, and sample agents.

use std::path::Path;

use anyhow::Context;
use api::auth::{OPERATOR, OPERATOR_SCOPES, SCOPES};
use api::keys::Presented;
use domain::agent::Agent;
use domain::id::{AgentId, KeyId, TenantId};
use domain::tenant::Tenant;
use domain::time::At;
use serde::{Deserialize, Serialize};
use store::{ApiKey, Store};

/// The demo tenant.
pub const TENANT: &str = "demo";

/// The demo tenant's tier: nobody who tries things out should meet its limits.
const TIER: &str = "enterprise";

/// The sample agents, by id.
pub const SAMPLES: [(&str, &str); 4] = [
    ("hello", include_str!("../samples/hello.json")),
    ("calculator", include_str!("../samples/calculator.json")),
    ("researcher", include_str!("../samples/researcher.json")),
    ("extractor", include_str!("../samples/extractor.json")),
];

/// The keys of a local platform, in the clear: they open nothing but this machine's.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keys {
    /// The demo tenant's, with every scope a tenant can have.
    pub api_key: String,
    /// The operator's.
    pub operator_key: String,
}

impl Keys {
    /// The keys of the platform in `folder`, made and stored where there are none. A table that does not know them, because
    /// it is new, gets them and the sample agents.
    ///
    /// # Errors
    /// When the folder or the table cannot be read or written, or the file with the keys is damaged.
    pub async fn seed(store: &Store, folder: Option<&Path>, now: At) -> anyhow::Result<Self> {
        let file = folder.map(|folder| folder.join("keys.json"));
        let keys = match file.as_deref() {
            Some(file) if file.exists() => Self::read(file)?,
            _ => Self::generate(),
        };
        let tenant = TenantId::parse(TENANT)?;
        if store.tenant(&tenant).await?.is_none() {
            let demo = Tenant::new(tenant.clone(), "Demo", TIER, now);
            store.put_tenant(&demo, None).await?;
        }
        if !is_known(store, &keys.api_key).await? {
            // Before the key, so that a start that was cut short is done again.
            for (id, text) in SAMPLES {
                let agent: Agent = serde_json::from_str(text)
                    .with_context(|| format!("reading the sample `{id}`"))?;
                store
                    .put_agent(&tenant, &AgentId::parse(id)?, &agent, now)
                    .await?;
            }
        }
        admit(store, &keys.api_key, &tenant, "demo", SCOPES, now).await?;
        let operator = TenantId::parse(OPERATOR)?;
        admit(
            store,
            &keys.operator_key,
            &operator,
            "operator",
            OPERATOR_SCOPES,
            now,
        )
        .await?;
        if let Some(file) = file.filter(|file| !file.exists()) {
            std::fs::write(&file, serde_json::to_string_pretty(&keys)?)
                .with_context(|| format!("writing {}", file.display()))?;
        }
        Ok(keys)
    }

    fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged; remove it to get new keys", file.display()))
    }

    fn generate() -> Self {
        Self {
            api_key: issue("demo"),
            operator_key: issue("operator"),
        }
    }
}

/// Makes an operator's key and stores it in the table: who may write there needs no key for that. Returns its text.
///
/// # Errors
/// Those of the table.
pub async fn issue_operator_key(
    store: &Store,
    label: &str,
    scopes: &[&str],
    now: At,
) -> anyhow::Result<String> {
    let key = issue("operator");
    let operator = TenantId::parse(OPERATOR)?;
    admit(store, &key, &operator, label, scopes, now).await?;
    Ok(key)
}

fn issue(tier: &str) -> String {
    api::keys::issue(tier, api::keys::random()).text
}

fn presented(key: &str) -> anyhow::Result<Presented<'_>> {
    api::keys::parse(key).context("a key in keys.json is damaged; remove the file to get new keys")
}

async fn is_known(store: &Store, key: &str) -> anyhow::Result<bool> {
    let id = KeyId::parse(presented(key)?.id)?;
    Ok(store.key(&id).await?.is_some())
}

/// Stores a key unless it is stored already.
async fn admit(
    store: &Store,
    key: &str,
    tenant: &TenantId,
    label: &str,
    scopes: &[&str],
    now: At,
) -> anyhow::Result<()> {
    if is_known(store, key).await? {
        return Ok(());
    }
    let presented = presented(key)?;
    let hash = presented.sha256();
    let key = ApiKey {
        id: KeyId::parse(presented.id)?,
        tenant: tenant.clone(),
        project: None,
        hash: hash.iter().map(|byte| format!("{byte:02x}")).collect(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
        label: label.to_owned(),
        created_at: now,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        gate: None,
    };
    store.put_key(&key).await?;
    Ok(())
}

//! Agents: versions that never change, and a pointer to the latest.

use std::sync::Arc;

use domain::agent::Agent;
use domain::budget::Node;
use domain::id::{AgentId, TenantId};
use domain::time::At;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::audit::Act;
use crate::blob::hex;
use crate::item::{Item, Read, Set, keyed, number, to_json};
use crate::key::{Key, VERSION, agent_list, agent_partition, version_sort};
use crate::list::{MAX_PAGE, Page};
use crate::table::{ABSENT, ATTEMPTS, Index, Range, Sort, Write, pause};
use crate::{Error, Store, cursor};

/// Most bytes of one definition: an item may have 400 KB, the rest is room for keys.
const MAX_DEFINITION_BYTES: u64 = 384 * 1024;

/// An agent, without its definition: what lists show.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentHead {
    /// The agent.
    pub id: AgentId,
    /// Its latest version, from 1.
    pub latest: u32,
    /// When its first version was stored.
    pub created_at: At,
    /// When it was archived, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archived_at: Option<At>,
    /// The description of the latest version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The model of the latest version.
    pub model: String,
}

/// One version of an agent. It never changes.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentVersion {
    /// The agent.
    pub id: AgentId,
    /// The version, from 1.
    pub version: u32,
    /// When it was stored.
    pub created_at: At,
    /// The definition.
    pub definition: Agent,
    pub(crate) weight_bytes: u64,
}

/// An agent as it was when its tenant had changed its definitions so many times. While it has not changed them again, this is
/// how the agent stands: a run's creation names the count, and the ledger refuses it under another one.
#[derive(Clone, Debug)]
pub struct Latest {
    /// The agent.
    pub head: AgentHead,
    /// Its latest version.
    pub version: Arc<AgentVersion>,
    /// How often the tenant's definitions were changed.
    pub definitions: u64,
}

/// A pointer as it is stored. `revision` counts its writes: whoever writes next must have read the last one.
struct Pointer {
    head: AgentHead,
    digest: String,
    revision: u64,
}

impl Store {
    /// Stores `agent` as the next version of `id`. The definition that is the latest version already is not stored again:
    /// the answer is that version. Storing to an archived agent brings it back.
    ///
    /// # Errors
    /// [`Error::TooLarge`]; [`Error::Raced`] when others keep storing to the same agent; those of the table.
    pub async fn put_agent(
        &self,
        tenant: &TenantId,
        id: &AgentId,
        agent: &Agent,
        now: At,
    ) -> Result<Arc<AgentVersion>, Error> {
        let json = to_json(agent);
        let bytes = u64::try_from(json.len()).unwrap_or(u64::MAX);
        if bytes > MAX_DEFINITION_BYTES {
            return Err(Error::TooLarge {
                what: "the definition",
                bytes,
                limit_bytes: MAX_DEFINITION_BYTES,
            });
        }
        let digest = hex(&Sha256::digest(&json));
        for attempt in 0..ATTEMPTS {
            let old = self.pointer(tenant, id).await?;
            let same = old.as_ref().filter(|old| old.digest == digest);
            if let Some(same) = same.filter(|same| same.head.archived_at.is_none())
                && let Some(version) = self.agent_version(tenant, id, same.head.latest).await?
            {
                return Ok(version);
            }
            let version = match (&old, same) {
                (None, _) => 1,
                (Some(old), None) => old.head.latest + 1,
                (Some(_), Some(same)) => same.head.latest,
            };
            let pointer = Pointer {
                head: AgentHead {
                    id: id.clone(),
                    latest: version,
                    created_at: old.as_ref().map_or(now, |old| old.head.created_at),
                    archived_at: None,
                    description: agent.description.clone(),
                    model: agent.model.clone(),
                },
                digest: digest.clone(),
                revision: old.as_ref().map_or(1, |old| old.revision + 1),
            };
            let mut writes = vec![pointer.write(tenant, old.as_ref()), changes(tenant)];
            if same.is_none() {
                let key = Key::agent_version(tenant, id, version);
                let mut item = keyed(key, 2);
                item.set_number("created_at", now.0);
                item.set_text("definition", &json);
                writes.push(Write::new(item, Some(ABSENT)));
            }
            let act = Act {
                tenant,
                action: "agent.stored",
                subject: format!("agent:{id}"),
                state: json!({"version": version, "sha256": digest}),
                at: now,
            };
            let stored = self.transact_audited(&act, &writes).await?;
            if stored.is_ok() {
                if same.is_some()
                    && let Some(version) = self.agent_version(tenant, id, version).await?
                {
                    return Ok(version);
                }
                let stored = Arc::new(AgentVersion {
                    id: id.clone(),
                    version,
                    created_at: now,
                    definition: agent.clone(),
                    weight_bytes: weigh(&json),
                });
                let key = Key::agent_version(tenant, id, version);
                self.inner.versions.insert(key, Arc::clone(&stored), now);
                return Ok(stored);
            }
            pause(attempt).await;
        }
        Err(Error::Raced)
    }

    /// An agent and its latest version, archived or not. The pointer is read each time, strongly consistent; the version
    /// comes from memory when it was read before.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn agent(
        &self,
        tenant: &TenantId,
        id: &AgentId,
    ) -> Result<Option<(AgentHead, Arc<AgentVersion>)>, Error> {
        let Some(pointer) = self.pointer(tenant, id).await? else {
            return Ok(None);
        };
        let version = self.agent_version(tenant, id, pointer.head.latest).await?;
        Ok(version.map(|version| (pointer.head, version)))
    }

    /// An agent for the creation of runs, from memory if it was read within a minute: see [`Latest`]. That there is none, or
    /// that it is archived, is never remembered.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn latest_agent(
        &self,
        tenant: &TenantId,
        id: &AgentId,
        now: At,
    ) -> Result<Option<Arc<Latest>>, Error> {
        let read = async {
            // In this order: of a change between the two the ledger will tell.
            let definitions = self.definitions(tenant).await?;
            let found = self.agent(tenant, id).await?;
            Ok(found.map(|(head, version)| Latest {
                head,
                version,
                definitions,
            }))
        };
        if !self.may_remember(tenant) {
            return Ok(Box::pin(read).await?.map(Arc::new));
        }
        let key = Key::agent(tenant, id);
        let latest = self.inner.latest.get(&key, now, Box::pin(read)).await?;
        if latest
            .as_ref()
            .is_none_or(|latest| latest.head.archived_at.is_some())
        {
            self.inner.latest.forget(&key);
        }
        Ok(latest)
    }

    /// Has [`Store::latest_agent`] read anew: the ledger told of a change.
    pub fn forget_agent(&self, tenant: &TenantId, id: &AgentId) {
        self.inner.latest.forget(&Key::agent(tenant, id));
    }

    /// One version of an agent, whether or not the agent is archived: runs that pin it go on. Kept in memory once read.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn agent_version(
        &self,
        tenant: &TenantId,
        id: &AgentId,
        version: u32,
    ) -> Result<Option<Arc<AgentVersion>>, Error> {
        let key = Key::agent_version(tenant, id, version);
        let read = async {
            let item = self.get(key.clone(), true).await?;
            item.map(|item| version_of(id, &item)).transpose()
        };
        if !self.may_remember(tenant) {
            return Ok(Box::pin(read).await?.map(Arc::new));
        }
        // What never changes is believed at any time.
        let versions = &self.inner.versions;
        versions.get(&key, At(0), Box::pin(read)).await
    }

    /// A tenant's agents by id, without archived ones, at most `limit` (1 to 200). Eventually consistent.
    ///
    /// # Errors
    /// [`Error::BadCursor`], [`Error::ExpiredCursor`], and those of the table.
    pub async fn agents(
        &self,
        tenant: &TenantId,
        limit: u32,
        cursor: Option<&str>,
        now: At,
    ) -> Result<Page<AgentHead>, Error> {
        let secret = &self.inner.config.cursor_secret;
        let after = cursor
            .map(|cursor| cursor::open(secret, tenant, "agents", cursor, now))
            .transpose()?;
        let range = Range {
            index: Some(Index::List),
            pk: agent_list(tenant),
            sort: after.map_or(Sort::All, Sort::Above),
            forward: true,
            limit: Some(limit.clamp(1, MAX_PAGE)),
            consistent: false,
        };
        let rows = self.query(&range, None).await?;
        let items = rows.items.iter().map(|item| item.json::<AgentHead>("head"));
        let items: Vec<AgentHead> = items.collect::<Result<_, _>>()?;
        let last = items.last().filter(|_| rows.next.is_some());
        let next = last.map(|last| cursor::seal(secret, tenant, "agents", last.id.as_str(), now));
        Ok(Page { items, next })
    }

    /// The versions of an agent, the latest first, at most `limit` (1 to 200). Strongly consistent.
    ///
    /// # Errors
    /// [`Error::BadCursor`], [`Error::ExpiredCursor`], and those of the table.
    pub async fn agent_versions(
        &self,
        tenant: &TenantId,
        id: &AgentId,
        limit: u32,
        cursor: Option<&str>,
        now: At,
    ) -> Result<Page<AgentVersion>, Error> {
        let secret = &self.inner.config.cursor_secret;
        let query = format!("agent versions {id}");
        let below = match cursor {
            None => u32::MAX,
            Some(cursor) => cursor::open(secret, tenant, &query, cursor, now)?
                .parse()
                .map_err(|_| Error::BadCursor)?,
        };
        let newest = if below == u32::MAX {
            format!("{VERSION}~")
        } else {
            version_sort(below.saturating_sub(1))
        };
        let range = Range {
            index: None,
            pk: agent_partition(tenant, id),
            sort: Sort::Between(version_sort(0), newest),
            forward: false,
            limit: Some(limit.clamp(1, MAX_PAGE)),
            consistent: true,
        };
        let rows = self.query(&range, None).await?;
        let items = rows.items.iter().map(|item| version_of(id, item));
        let items: Vec<AgentVersion> = items.collect::<Result<_, _>>()?;
        let last = items.last().filter(|_| rows.next.is_some());
        let next =
            last.map(|last| cursor::seal(secret, tenant, &query, &last.version.to_string(), now));
        Ok(Page { items, next })
    }

    /// Archives an agent: it leaves the list and starts no new runs. False when there is none of that id; archiving it
    /// again keeps the first instant.
    ///
    /// # Errors
    /// [`Error::Raced`] when others keep storing to the same agent; those of the table.
    pub async fn archive_agent(
        &self,
        tenant: &TenantId,
        id: &AgentId,
        now: At,
    ) -> Result<bool, Error> {
        for attempt in 0..ATTEMPTS {
            let Some(old) = self.pointer(tenant, id).await? else {
                return Ok(false);
            };
            if old.head.archived_at.is_some() {
                return Ok(true);
            }
            let archived = Pointer {
                head: AgentHead {
                    archived_at: Some(now),
                    ..old.head.clone()
                },
                digest: old.digest.clone(),
                revision: old.revision + 1,
            };
            let act = Act {
                tenant,
                action: "agent.archived",
                subject: format!("agent:{id}"),
                state: json!({"version": old.head.latest}),
                at: now,
            };
            let writes = [archived.write(tenant, Some(&old)), changes(tenant)];
            if self.transact_audited(&act, &writes).await?.is_ok() {
                return Ok(true);
            }
            pause(attempt).await;
        }
        Err(Error::Raced)
    }

    async fn pointer(&self, tenant: &TenantId, id: &AgentId) -> Result<Option<Pointer>, Error> {
        let Some(item) = self.get(Key::agent(tenant, id), true).await? else {
            return Ok(None);
        };
        Ok(Some(Pointer {
            head: item.json("head")?,
            digest: item.text("digest")?.to_owned(),
            revision: item.number("revision")?,
        }))
    }
}

/// Counts a change of the tenant's definitions, in the ledger that every creation of a run writes to.
fn changes(tenant: &TenantId) -> Write {
    let count = "SET definitions = if_not_exists(definitions, :none) + :one".to_owned();
    Write::update_always(Key::ledger(tenant, &Node::Tenant), count)
        .with(":none", number(0))
        .with(":one", number(1))
}

impl Pointer {
    fn write(&self, tenant: &TenantId, old: Option<&Self>) -> Write {
        let mut item = keyed(Key::agent(tenant, &self.head.id), 5);
        item.set_text("head", to_json(&self.head));
        item.set_text("digest", &self.digest);
        item.set_number("revision", self.revision);
        if self.head.archived_at.is_none() {
            item.set_text("list_pk", agent_list(tenant));
            item.set_text("list_sk", self.head.id.as_str());
        }
        match old {
            None => Write::new(item, Some(ABSENT)),
            Some(old) => Write::new(item, Some("revision = :revision"))
                .with(":revision", number(old.revision)),
        }
    }
}

fn version_of(id: &AgentId, item: &Item) -> Result<AgentVersion, Error> {
    let version = item
        .sort()
        .strip_prefix(VERSION)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| item.corrupt("sk"))?;
    Ok(AgentVersion {
        id: id.clone(),
        version,
        created_at: item.at("created_at")?,
        definition: item.json("definition")?,
        weight_bytes: weigh(item.text("definition")?),
    })
}

/// What a version weighs in memory: its JSON, twice for the form it is held in, and a constant for the rest.
fn weigh(json: &str) -> u64 {
    json.len() as u64 * 2 + 256
}

//! The tenant-partitioned table and the large payloads.
//!
//! [`Store`] is the one way to what Skein keeps: runs and their logs, agents, API keys. What it can be asked stands as a
//! table in this crate's `README.md`; a query that is not there is not written. **Invariant:** no type of an AWS SDK
//! leaves this crate except what [`Store::new`] takes, and no clock is read: time is an argument. (How long credentials last
//! is seen on the SDK's clock, by which it signs.)

mod access;
mod agent;
mod api_key;
mod archive;
mod audit;
mod blob;
mod bucket;
mod cache;
mod checkpoint;
mod claim;
mod closing;
mod cursor;
mod error;
mod home;
mod item;
mod key;
mod ledger;
mod limit;
mod list;
mod maintenance;
mod meter;
mod moving;
mod request;
mod requests;
mod run;
pub mod schema;
mod seal;
mod stream_token;
mod sts;
mod table;
mod tenant;
#[cfg(test)]
mod tests;
mod usage;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use access::{Access, Accesses};
use aws_types::SdkConfig;
use domain::id::TenantId;
use domain::region::Regions;
use home::Epoch;
use ledger::crowd::Crowds;

pub use access::TenantRole;
pub use agent::{AgentHead, AgentVersion, Latest};
pub use api_key::ApiKey;
pub use archive::Archive;
pub use audit::Refused;
pub use blob::MAX_PAYLOAD_BYTES;
pub use cache::Cache;
pub use checkpoint::{Plan, Trail};
pub use claim::Claimed;
pub use closing::Holdings;
pub use cursor::LIFETIME_MS as CURSOR_LIFETIME_MS;
pub use error::Error;
pub use key::{Key, WATCH_SHARDS};
pub use ledger::{Charge, Written};
pub use list::{Page, RunFilter};
pub use meter::Consumed;
pub use moving::Taken;
pub use requests::{MOST_TALLIED, Tallied, Tally};
pub use run::{Creation, Loaded};
pub use stream_token::StreamToken;
pub use sts::TENANT_TAG;
pub use usage::{Ended, head_in_stream};
pub use watch::Sight;

/// How long an agent is believed to stand as it was read; a creation of a run that believes too much is refused.
const BELIEVED: Duration = Duration::from_secs(60);
/// Agent versions that are expected in memory; how many there can be is a question of their size.
const VERSIONS: u32 = 1_000;

/// Where things are kept, and how.
#[derive(Clone)]
pub struct Config {
    /// Name of the stack's table; tables that tenants have for themselves are called so with a hyphen and more.
    pub table: String,
    /// Name of the bucket for payloads over 64 KiB.
    pub bucket: String,
    /// What cursors and stream tokens are signed with: at least 32 random bytes, the same in every process.
    pub cursor_secret: Vec<u8>,
    /// Partitions of each list of runs, 1 to 16. May be raised at any time, never lowered while runs are kept.
    pub list_shards: u8,
    /// Most bytes of agent definitions that are kept in memory.
    pub cache_bytes: u64,
    /// Whether the table is asked for the units that each request consumed, for [`Store::consumed`].
    pub capacity: bool,
    /// The role that tenants' work is done in; none when all of it is done as the process itself.
    pub tenant_role: Option<TenantRole>,
    /// The Regions that share the table.
    pub regions: Regions,
}

impl Config {
    /// The usual settings: 4 shards, 8 MiB of definitions, units counted, one Region.
    pub fn new(
        table: impl Into<String>,
        bucket: impl Into<String>,
        cursor_secret: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            table: table.into(),
            bucket: bucket.into(),
            cursor_secret: cursor_secret.into(),
            list_shards: 4,
            cache_bytes: 8 * 1024 * 1024,
            capacity: true,
            tenant_role: None,
            regions: Regions::default(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("table", &self.table)
            .field("bucket", &self.bucket)
            .field("list_shards", &self.list_shards)
            .field("cache_bytes", &self.cache_bytes)
            .field("capacity", &self.capacity)
            .field(
                "tenant_role",
                &self.tenant_role.as_ref().map(|role| &role.arn),
            )
            .finish_non_exhaustive()
    }
}

/// The store. Clones share everything and cost nothing.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
    access: Arc<Access>,
    /// How tenants' work is done, if not as the process itself.
    accesses: Option<Arc<Accesses>>,
    /// The tenant whose credentials `access` has.
    bound_to: Option<TenantId>,
    /// The table that tenants' items stand in, where that need not be asked.
    settled_in: Option<Arc<String>>,
    /// Which epoch's items are meant.
    epoch: Epoch,
    meter: Arc<meter::Meter>,
    /// Who makes the changes that the audit trail tells of.
    actor: Option<audit::Actor>,
}

struct Inner {
    config: Config,
    /// The stack's table.
    table: Arc<String>,
    homes: home::Homes,
    versions: Cache<Key, AgentVersion>,
    latest: Cache<Key, Latest>,
    crowds: Crowds,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// A store over this table, and over the bucket as `aws` says that S3 is to be asked. Nothing is asked of AWS yet.
    ///
    /// `list_shards` outside 1 to 16 is taken as the nearest bound.
    #[must_use]
    pub fn new(table: aws_sdk_dynamodb::Client, aws: &SdkConfig, mut config: Config) -> Self {
        config.list_shards = config.list_shards.clamp(1, 16);
        let versions =
            Cache::of_constants(VERSIONS, config.cache_bytes, |version: &AgentVersion| {
                version.weight_bytes
            });
        let access = Access::new(table, aws, &config.bucket);
        let accesses = Accesses::new(&access, aws, &config);
        Self {
            inner: Arc::new(Inner {
                table: Arc::new(config.table.clone()),
                homes: home::Homes::new(),
                config,
                versions,
                latest: Cache::of_changing(VERSIONS, BELIEVED),
                crowds: Crowds::default(),
            }),
            access: Arc::new(access),
            accesses: accesses.map(Arc::new),
            bound_to: None,
            settled_in: None,
            epoch: Epoch::Newest,
            meter: Arc::default(),
            actor: None,
        }
    }

    /// The same store with a meter of its own, for one run's receipt; the former meter goes on counting too.
    #[must_use]
    pub fn metered(&self) -> Self {
        Self {
            meter: Arc::new(meter::Meter::below(&self.meter)),
            ..self.clone()
        }
    }

    /// What this store, and those made from it by [`Store::metered`], have asked of AWS so far.
    #[must_use]
    pub fn consumed(&self) -> Consumed {
        self.meter.consumed()
    }

    /// Whether the table answers. Costs half a read unit.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), Error> {
        self.get(Key::ping(), false).await.map(|_| ())
    }

    /// Whether the bucket of payloads answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping_payloads(&self) -> Result<(), Error> {
        self.access.bucket.ping().await
    }
}

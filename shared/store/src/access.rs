//! How the table and the bucket are asked: with the process's own credentials, or with those of one tenant.
//!
//! The second ring around tenants. What a tenant's credentials reach is decided by the policy of their role and enforced by
//! AWS, so a mistake in our own code ends in a refusal. **Invariant:** the tenant of an [`Access`] is the one that
//! [`Store::of`] named, never that of a key that is asked for.

use std::convert::Infallible;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_dynamodb::config::IdentityCache;
use aws_types::SdkConfig;
use domain::id::TenantId;
use domain::time::At;
use quick_cache::sync::Cache as Entries;

use crate::bucket::Bucket;
use crate::sts::Sts;
use crate::{Cache, Config, Error, Store};

/// Most tenants whose credentials and clients one process holds.
const MAX_TENANTS: u32 = 1_000;
/// How long credentials are used before new ones are asked for: a quarter of their hour is left then, in which those at
/// hand still do should STS fail.
const BELIEVED: Duration = Duration::from_secs(45 * 60);
/// How long those at hand are used before STS is asked again after it failed.
const ASK_AGAIN: Duration = Duration::from_secs(60);
/// How long whoever has credentials that still do waits for new ones.
const PATIENCE: Duration = Duration::from_secs(1);
/// What credentials must have left to be used: a request under way, with its repetitions, and clocks that differ.
const SPARE: Duration = Duration::from_secs(60);

/// The role that tenants' work is done in, with the tenant as session tag.
#[derive(Clone, Debug)]
pub struct TenantRole {
    /// How STS is asked for it.
    pub aws: SdkConfig,
    /// Its ARN.
    pub arn: String,
}

/// Clients of the table and the bucket that act for the same principal.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) table: aws_sdk_dynamodb::Client,
    pub(crate) bucket: Bucket,
}

/// What each tenant's work asks with.
pub(crate) struct Accesses {
    /// The clients of the process itself, whose settings those of tenants share.
    table: aws_sdk_dynamodb::Config,
    payloads: SdkConfig,
    bucket: String,
    held: Entries<TenantId, Arc<Access>>,
    sessions: Arc<Sessions>,
}

/// Credentials by tenant.
struct Sessions {
    sts: Sts,
    held: Cache<TenantId, Credentials>,
    clock: Box<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Access {
    pub(crate) fn new(table: aws_sdk_dynamodb::Client, payloads: &SdkConfig, bucket: &str) -> Self {
        Self {
            table,
            bucket: Bucket::new(payloads, bucket),
        }
    }
}

impl Accesses {
    pub(crate) fn new(own: &Access, payloads: &SdkConfig, config: &Config) -> Option<Self> {
        let role = config.tenant_role.as_ref()?;
        let clock = role.aws.time_source().unwrap_or_default();
        Some(Self {
            table: own.table.config().clone(),
            payloads: payloads.clone(),
            bucket: config.bucket.clone(),
            held: Entries::new(usize::try_from(MAX_TENANTS).unwrap_or(usize::MAX)),
            sessions: Arc::new(Sessions {
                sts: Sts::new(&role.aws, &role.arn),
                held: Cache::of_changing(MAX_TENANTS, BELIEVED),
                clock: Box::new(move || clock.now()),
            }),
        })
    }

    /// Made once for a tenant, since a client costs more than the request that it is for.
    fn of(&self, tenant: &TenantId) -> Arc<Access> {
        let held = self.held.get_or_insert_with(tenant, || {
            Ok::<_, Infallible>(Arc::new(self.access(tenant)))
        });
        match held {
            Ok(access) => access,
            Err(never) => match never {},
        }
    }

    fn access(&self, tenant: &TenantId) -> Access {
        let credentials = SharedCredentialsProvider::new(OfTenant {
            tenant: tenant.clone(),
            sessions: Arc::clone(&self.sessions),
            last: Mutex::default(),
        });
        // The SDK would keep them in a cache that forgets no tenant.
        let table = self.table.to_builder();
        let table = table
            .credentials_provider(credentials.clone())
            .identity_cache(IdentityCache::no_cache())
            .build();
        let payloads = self.payloads.to_builder();
        let payloads = payloads
            .credentials_provider(credentials)
            .identity_cache(IdentityCache::no_cache())
            .build();
        let table = aws_sdk_dynamodb::Client::from_conf(table);
        Access::new(table, &payloads, &self.bucket)
    }
}

impl Store {
    /// The same store for the work of one tenant: where tenants have a role ([`Config::tenant_role`]), table and bucket are
    /// asked with credentials that are this tenant's, and refuse what is another's. Nothing is asked of AWS yet. A store
    /// that is a tenant's already stays that tenant's, whatever is asked of it.
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> Self {
        match &self.accesses {
            Some(accesses) if self.bound_to.is_none() => Self {
                access: accesses.of(tenant),
                bound_to: Some(tenant.clone()),
                ..self.clone()
            },
            Some(_) | None => self.clone(),
        }
    }

    /// Whether what a process remembers of this tenant may be told to whoever has this store. What it may not be told it
    /// has to ask the table for, which refuses it.
    #[must_use]
    pub fn may_remember(&self, tenant: &TenantId) -> bool {
        self.bound_to.as_ref().is_none_or(|bound| bound == tenant)
    }
}

/// Gives the SDK's clients a tenant's credentials.
struct OfTenant {
    tenant: TenantId,
    sessions: Arc<Sessions>,
    /// Those that were used last.
    last: Mutex<Option<Credentials>>,
}

impl OfTenant {
    async fn credentials(&self) -> Result<Credentials, Error> {
        let now = (self.sessions.clock)();
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let old = last().clone().filter(|old| lasts(old, now));
        let Some(old) = old else {
            let first = self.renewed(now).await?;
            return Ok(last().insert(first).clone());
        };
        let renewed = tokio::time::timeout(PATIENCE, self.renewed(now)).await;
        let renewed = renewed.unwrap_or_else(|late| {
            Err(Error::Unavailable {
                operation: "AssumeRole",
                source: late.into(),
            })
        });
        match renewed {
            Ok(new) => Ok(last().insert(new).clone()),
            Err(error) => {
                tracing::warn!(
                    tenant.id = %self.tenant,
                    error = &error as &dyn std::error::Error,
                    "a tenant's credentials were not renewed; those at hand still do"
                );
                let as_if_read = at(now - BELIEVED + ASK_AGAIN);
                let kept = Arc::new(old.clone());
                self.sessions
                    .held
                    .insert(self.tenant.clone(), kept, as_if_read);
                Ok(old)
            }
        }
    }

    /// Those that are believed, or new ones.
    async fn renewed(&self, now: SystemTime) -> Result<Credentials, Error> {
        let known = self.ask(now).await?;
        if lasts(&known, now) {
            return Ok(known);
        }
        self.sessions.held.forget(&self.tenant);
        self.ask(now).await
    }

    async fn ask(&self, now: SystemTime) -> Result<Credentials, Error> {
        let Sessions { sts, held, .. } = &*self.sessions;
        let read = Box::pin(async { sts.assume(&self.tenant).await.map(Some) });
        let found = held.get(&self.tenant, at(now), read).await?;
        found
            .map(|found| (*found).clone())
            .ok_or_else(|| Error::conflict("AssumeRole"))
    }
}

impl fmt::Debug for OfTenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfTenant")
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}

impl ProvideCredentials for OfTenant {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let credentials = self.credentials().await;
            credentials.map_err(CredentialsError::provider_error)
        })
    }
}

fn lasts(credentials: &Credentials, now: SystemTime) -> bool {
    credentials
        .expiry()
        .is_none_or(|expires| now + SPARE < expires)
}

fn at(time: SystemTime) -> At {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

//! Every key of the table and of the payload bucket.
//!
//! **Invariant:** a key that belongs to a tenant is made from that tenant's [`TenantId`] and from nothing else that could
//! hold a `#`, so no input can name another tenant's item. Layouts are pinned by a test; changing one loses data.

mod closing;

use std::borrow::Cow;

use domain::budget::{Node, Period};
use domain::id::{AgentId, FrameId, KeyId, RunId, TenantId};
use domain::run::Status;
use domain::tier::Window;
use domain::time::At;
use domain::usage::Interval;

pub(crate) use closing::{CLOSINGS, blobs, closing_partition, export, export_part_prefix, is_of};

/// Partitions of the watch index.
pub const WATCH_SHARDS: u8 = 4;

/// The newest possible position in a list of runs.
pub(crate) const NEWEST: &str = "9999999999999~";

/// The sort key of a run's head, and of an agent's pointer.
pub(crate) const HEAD: &str = "HEAD";
/// What the sort keys of workers' claims begin with. They and the lease stand right behind the head.
pub(crate) const CALL: &str = "HOLD#";
/// The sort key of a run's lease.
pub(crate) const LEASE: &str = "LEASE";
/// What the sort keys of commits begin with.
pub(crate) const COMMIT: &str = "C#";
/// What the sort keys of snapshots begin with.
pub(crate) const SNAPSHOT: &str = "S#";
/// What the sort keys of agent versions begin with.
pub(crate) const VERSION: &str = "V#";

/// The primary key of one item.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pk: String,
    sk: String,
}

impl Key {
    /// The commit of a run whose first event has this number.
    #[must_use]
    pub fn commit(tenant: &TenantId, run: &RunId, first: u64) -> Self {
        Self::new(run_partition(tenant, run), commit_sort(first))
    }

    /// The head of a run.
    #[must_use]
    pub fn head(tenant: &TenantId, run: &RunId) -> Self {
        Self::new(run_partition(tenant, run), HEAD.to_owned())
    }

    /// The lease of a run's driver.
    #[must_use]
    pub fn lease(tenant: &TenantId, run: &RunId) -> Self {
        Self::new(run_partition(tenant, run), LEASE.to_owned())
    }

    /// A worker's claim of the call that stands at this place among a frame's calls, whatever the step.
    #[must_use]
    pub fn call(tenant: &TenantId, run: &RunId, frame: &FrameId, call: u32) -> Self {
        let sort = format!("{CALL}{frame}#{call:05}");
        Self::new(run_partition(tenant, run), sort)
    }

    /// The state of a run folded up to this event.
    #[must_use]
    pub fn snapshot(tenant: &TenantId, run: &RunId, last_event: u64) -> Self {
        Self::new(run_partition(tenant, run), snapshot_sort(last_event))
    }

    /// One version of an agent.
    #[must_use]
    pub fn agent_version(tenant: &TenantId, agent: &AgentId, version: u32) -> Self {
        Self::new(agent_partition(tenant, agent), version_sort(version))
    }

    /// An agent's pointer to its latest version.
    #[must_use]
    pub fn agent(tenant: &TenantId, agent: &AgentId) -> Self {
        Self::new(agent_partition(tenant, agent), HEAD.to_owned())
    }

    /// An API key. The one item of a tenant that is read before the tenant is known, so it stands apart.
    #[must_use]
    pub fn api_key(id: &KeyId) -> Self {
        Self::new(format!("K#{id}"), "KEY".to_owned())
    }

    /// The counter of a rate limit; one for each subject, none of which is the tenant itself. None when the limit's name or
    /// the subject has other characters than letters, digits and hyphens.
    #[must_use]
    pub fn limit(tenant: &TenantId, limit: &Window, subject: Option<&str>) -> Option<Self> {
        let fits = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        if !fits(&limit.name) || !subject.is_none_or(fits) {
            return None;
        }
        let name = &limit.name;
        let pk = match subject {
            None => format!("T#{tenant}#L#{name}"),
            Some(subject) => format!("T#{tenant}#L#{name}#{subject}"),
        };
        Some(Self::new(pk, format!("WINDOW#{}", limit.seconds)))
    }

    /// A tenant's record: tier, standing, overrides, budgets. One for each epoch of its home; the highest holds.
    #[must_use]
    pub fn tenant(tenant: &TenantId, epoch: u64) -> Self {
        Self::new(format!("T#{tenant}"), marked("TENANT", epoch))
    }

    /// The ledger of one of a tenant's budget nodes.
    #[must_use]
    pub fn ledger(tenant: &TenantId, node: &Node) -> Self {
        Self::new(format!("T#{tenant}#B#{node}"), "LEDGER".to_owned())
    }

    /// A run's place among those that wait for their turn.
    #[must_use]
    pub fn waiting(tenant: &TenantId, created_at: At, run: &RunId) -> Self {
        Self::new(waiting_partition(tenant), run_list_sort(created_at, run))
    }

    /// The note that an ended run was counted as usage.
    #[must_use]
    pub fn counted(tenant: &TenantId, run: &RunId) -> Self {
        Self::new(run_partition(tenant, run), "USAGE".to_owned())
    }

    /// The note of what a process has told of a tenant's requests.
    pub(crate) fn tally(tenant: &TenantId, process: &str) -> Self {
        Self::new(format!("T#{tenant}#TALLIES"), process.to_owned())
    }

    /// Usage of one stretch of time and one subject.
    pub(crate) fn usage(partition: String, start: At, subject: &str) -> Self {
        Self::new(partition, format!("{:013}#{subject}", start.0))
    }

    /// A link of a tenant's audit trail.
    pub(crate) fn audit(tenant: &TenantId, number: u64) -> Self {
        Self::new(audit_partition(tenant), audit_sort(number))
    }

    /// Where a tenant's audit trail stands.
    pub(crate) fn audit_tip(tenant: &TenantId) -> Self {
        Self::new(audit_partition(tenant), "TIP".to_owned())
    }

    /// The checkpoint of a tenant's audit trail that begins with entry number `from`.
    pub(crate) fn checkpoint(tenant: &TenantId, from: u64) -> Self {
        Self::new(audit_partition(tenant), checkpoint_sort(from))
    }

    /// The note that a minute's refusals of a key for one reason stand in the trail.
    pub(crate) fn refused(tenant: &TenantId, key: &KeyId, code: &str, minute: u64) -> Self {
        let sort = format!("{key}#{code}#{minute}");
        Self::new(format!("T#{tenant}#REFUSED"), sort)
    }

    /// How far the watch of a Region was swept. No tenant's, like the index it is about.
    pub(crate) fn sweep(region: u64) -> Self {
        Self::new("SWEEP".to_owned(), marked("SWEEP", region))
    }

    /// An item that is never written: reading it shows that the table answers.
    pub(crate) fn ping() -> Self {
        Self::new("PING".to_owned(), "PING".to_owned())
    }

    /// What is said while there is maintenance; absent otherwise.
    pub(crate) fn maintenance() -> Self {
        Self::new("MAINTENANCE".to_owned(), "MAINTENANCE".to_owned())
    }

    /// The note that a tenant has this table for itself.
    pub(crate) fn bridge(table: &str) -> Self {
        Self::new(BRIDGES.to_owned(), table.to_owned())
    }

    fn new(pk: String, sk: String) -> Self {
        Self { pk, sk }
    }

    /// The partition key.
    #[must_use]
    pub fn pk(&self) -> &str {
        &self.pk
    }

    /// The sort key.
    #[must_use]
    pub fn sk(&self) -> &str {
        &self.sk
    }

    pub(crate) fn into_parts(self) -> (String, String) {
        (self.pk, self.sk)
    }

    /// The same place of another partition.
    pub(crate) fn moved_to(self, pk: String) -> Self {
        Self { pk, ..self }
    }
}

/// What marks the epoch in a key, from 1 on.
fn mark(epoch: u64) -> String {
    format!("@{epoch:06}")
}

/// A name of the first Region, or its counterpart for the Region or the time that this epoch stands for.
fn marked(name: &str, epoch: u64) -> String {
    match epoch {
        0 => name.to_owned(),
        _ => format!("{name}{}", mark(epoch)),
    }
}

/// The partition `pk` as it is called in an epoch of its tenant's home. One that is no tenant's is called the same always,
/// and so is one that is of an epoch already.
pub(crate) fn in_epoch(pk: &str, epoch: u64) -> Cow<'_, str> {
    match owner(pk) {
        Owner::Tenant(tenant) if epoch > 0 => {
            let rest = &pk[2 + tenant.len() + 1..];
            if rest.starts_with('@') {
                Cow::Borrowed(pk)
            } else {
                Cow::Owned(format!("T#{tenant}#{}#{rest}", mark(epoch)))
            }
        }
        Owner::Tenant(_) | Owner::Stack | Owner::Table => Cow::Borrowed(pk),
    }
}

/// The partition that names the tables which tenants have for themselves.
pub(crate) const BRIDGES: &str = "BRIDGES";

/// Whose items a partition holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    /// A tenant's, which may have a table of its own.
    Tenant(&'a str),
    /// The stack's: records of tenants, their keys, closings.
    Stack,
    /// All tenants' whose items stand in the same table: what is due.
    Table,
}

/// Whose items the partition `pk` holds, of the table or of an index.
pub(crate) fn owner(pk: &str) -> Owner<'_> {
    match pk.strip_prefix("T#").and_then(|rest| rest.split_once('#')) {
        // The list of a tenant's keys stands where the keys do.
        Some((_, "KEYS")) => Owner::Stack,
        Some((tenant, _)) => Owner::Tenant(tenant),
        None if pk.starts_with(TRAILS) || pk.starts_with(WATCH) => Owner::Table,
        None => Owner::Stack,
    }
}

pub(crate) fn run_partition(tenant: &TenantId, run: &RunId) -> String {
    format!("T#{tenant}#R#{run}")
}

/// What [`run_partition`] wrote, with the epoch that it is in.
pub(crate) fn parse_run_partition(text: &str) -> Option<(TenantId, u64, RunId)> {
    let (tenant, run) = text.strip_prefix("T#")?.split_once("#R#")?;
    let (tenant, epoch) = match tenant.split_once("#@") {
        Some((tenant, epoch)) => (tenant, epoch.parse().ok()?),
        None => (tenant, 0),
    };
    Some((
        TenantId::parse(tenant).ok()?,
        epoch,
        RunId::parse(run).ok()?,
    ))
}

/// The partition that holds a tenant's usage of one period: a day of minutes, a month of hours, all days.
pub(crate) fn usage_partition(tenant: &TenantId, interval: Interval, period: u64) -> String {
    format!("T#{tenant}#U#{}#{period}", interval.as_str())
}

/// The number of the period whose partition holds the stretch of `at`.
pub(crate) fn usage_period(interval: Interval, at: At) -> u64 {
    match interval {
        Interval::Minute => Period::Day.number(at),
        Interval::Hour => Period::Month.number(at),
        Interval::Day => Period::Total.number(at),
    }
}

pub(crate) fn audit_partition(tenant: &TenantId) -> String {
    format!("T#{tenant}#AUDIT")
}

pub(crate) fn audit_sort(number: u64) -> String {
    format!("E#{number:012}")
}

pub(crate) fn checkpoint_sort(from: u64) -> String {
    format!("CHECK#{from:012}")
}

pub(crate) fn waiting_partition(tenant: &TenantId) -> String {
    format!("T#{tenant}#WAITING")
}

pub(crate) fn agent_partition(tenant: &TenantId, agent: &AgentId) -> String {
    format!("T#{tenant}#A#{agent}")
}

pub(crate) fn commit_sort(first: u64) -> String {
    format!("C#{first:012}")
}

pub(crate) fn snapshot_sort(last_event: u64) -> String {
    format!("S#{last_event:012}")
}

pub(crate) fn version_sort(version: u32) -> String {
    format!("V#{version:06}")
}

/// The partition of `list` that holds a tenant's runs of one status and shard.
pub(crate) fn run_list(tenant: &TenantId, status: Status, shard: u8) -> String {
    format!("{}{shard}", run_list_prefix(tenant, status))
}

/// What [`run_list`] begins with, whatever the shard.
pub(crate) fn run_list_prefix(tenant: &TenantId, status: Status) -> String {
    format!("T#{tenant}#RUNS#{}#", status.as_str())
}

/// A run's place in its list: by creation. All places have the same length.
pub(crate) fn run_list_sort(created_at: At, run: &RunId) -> String {
    format!("{:013}#{run}", created_at.0)
}

/// The greatest text below a place in a list of runs that is not below any other place before it. The places have one
/// length and end in a hexadecimal digit, so lowering the last byte is enough.
pub(crate) fn before(place: &str) -> String {
    let mut text = place.to_owned();
    if let Some(last) = text.pop() {
        text.push(char::from(u8::try_from(last).unwrap_or(b'0') - 1));
    }
    text
}

/// The partition of `list` that holds a tenant's agents.
pub(crate) fn agent_list(tenant: &TenantId) -> String {
    format!("T#{tenant}#AGENTS")
}

/// The partition of `list` that holds a tenant's API keys.
pub(crate) fn key_list(tenant: &TenantId) -> String {
    format!("T#{tenant}#KEYS")
}

/// The partition of `list` that holds every tenant: the operator's.
pub(crate) const TENANTS: &str = "TENANTS";

/// The partition of `watch` that holds a run that goes on in a Region.
pub(crate) fn watch(run: &RunId, region: u64) -> String {
    watch_partition(shard(run, WATCH_SHARDS), region)
}

/// What the partitions of `watch` that hold runs begin with.
const WATCH: &str = "WATCH#";

pub(crate) fn watch_partition(shard: u8, region: u64) -> String {
    marked(&format!("{WATCH}{shard}"), region)
}

/// A run's place in `watch`: by the instant at which it is looked at.
pub(crate) fn watch_sort(at: At, tenant: &TenantId, run: &RunId) -> String {
    format!("{:013}#{tenant}#{run}", at.0)
}

/// What [`watch_sort`] wrote.
pub(crate) fn parse_watch_sort(text: &str) -> Option<(TenantId, RunId, At)> {
    let mut parts = text.splitn(3, '#');
    let at = parts.next()?.parse().ok()?;
    let tenant = TenantId::parse(parts.next()?).ok()?;
    let run = RunId::parse(parts.next()?).ok()?;
    Some((tenant, run, At(at)))
}

/// What the partitions of `watch` that hold the tips of audit trails begin with: all tenants', like the runs.
const TRAILS: &str = "TRAILS";

/// The partition of `watch` that holds the tips of trails that are written in a Region.
pub(crate) fn trails(region: u64) -> String {
    marked(TRAILS, region)
}

/// A trail's place in `watch`: by the instant at which its next checkpoint is due.
pub(crate) fn trail_sort(due: At, tenant: &TenantId) -> String {
    format!("{:013}#{tenant}", due.0)
}

/// What [`trail_sort`] wrote.
pub(crate) fn parse_trail_sort(text: &str) -> Option<(TenantId, At)> {
    let (due, tenant) = text.split_once('#')?;
    Some((TenantId::parse(tenant).ok()?, At(due.parse().ok()?)))
}

/// Where entries of an audit trail stand in the archive, from entry number `first` of this instant on.
pub(crate) fn archived(tenant: &TenantId, at: At, first: u64) -> String {
    let day = at.to_string();
    let (year, month) = (&day[..4], &day[5..7]);
    format!("tenants/{tenant}/audit/{year}/{month}/{first:012}.jsonl")
}

/// Where a payload stands in the bucket.
pub(crate) fn blob(tenant: &TenantId, run: &RunId, sha256: &str) -> String {
    format!("tenants/{tenant}/runs/{run}/{sha256}")
}

/// A run's shard among `shards`, by FNV-1a: the same in every build and for ever.
pub(crate) fn shard(run: &RunId, shards: u8) -> u8 {
    let hash = run
        .as_str()
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    // The low bits of FNV are weak; the high half is mixed in.
    u8::try_from((hash ^ (hash >> 32)) % u64::from(shards.max(1))).unwrap_or(0)
}

#[cfg(test)]
mod tests;

//! Every key of the table and of the payload bucket.
//!
//! **Invariant:** a key that belongs to a tenant is made from that tenant's [`TenantId`] and from nothing else that could
//! hold a `#`, so no input can name another tenant's item. Layouts are pinned by a test; changing one loses data.

use domain::budget::{Node, Period};
use domain::id::{AgentId, FrameId, KeyId, RunId, TenantId};
use domain::run::Status;
use domain::tier::Window;
use domain::time::At;
use domain::usage::Interval;

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

    /// A tenant's record: tier, standing, overrides, budgets.
    #[must_use]
    pub fn tenant(tenant: &TenantId) -> Self {
        Self::new(format!("T#{tenant}"), "TENANT".to_owned())
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

    /// How far the watch was swept. No tenant's, like the index it is about.
    pub(crate) fn sweep() -> Self {
        Self::new("SWEEP".to_owned(), "SWEEP".to_owned())
    }

    /// An item that is never written: reading it shows that the table answers.
    pub(crate) fn ping() -> Self {
        Self::new("PING".to_owned(), "PING".to_owned())
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
}

pub(crate) fn run_partition(tenant: &TenantId, run: &RunId) -> String {
    format!("T#{tenant}#R#{run}")
}

/// What [`run_partition`] wrote.
pub(crate) fn parse_run_partition(text: &str) -> Option<(TenantId, RunId)> {
    let (tenant, run) = text.strip_prefix("T#")?.split_once("#R#")?;
    Some((TenantId::parse(tenant).ok()?, RunId::parse(run).ok()?))
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

/// The partition of `watch` that holds a run.
pub(crate) fn watch(run: &RunId) -> String {
    watch_partition(shard(run, WATCH_SHARDS))
}

pub(crate) fn watch_partition(shard: u8) -> String {
    format!("WATCH#{shard}")
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
mod tests {
    use domain::tier::Subject;

    use super::*;

    fn ids() -> (TenantId, RunId, AgentId) {
        (
            TenantId::parse("acme").unwrap(),
            RunId::parse("run_0123456789abcdef0123456789abcdef").unwrap(),
            AgentId::parse("clerk").unwrap(),
        )
    }

    fn limit(name: &str, seconds: u32) -> Window {
        Window {
            name: name.to_owned(),
            requests: 10,
            seconds,
            by: Subject::Tenant,
        }
    }

    #[test]
    fn layouts_never_change() {
        let (tenant, run, agent) = ids();
        let partition = "T#acme#R#run_0123456789abcdef0123456789abcdef";
        let of = |key: Key| format!("{} {}", key.pk(), key.sk());
        assert_eq!(
            of(Key::commit(&tenant, &run, 7)),
            format!("{partition} C#000000000007")
        );
        assert_eq!(of(Key::head(&tenant, &run)), format!("{partition} HEAD"));
        assert_eq!(of(Key::lease(&tenant, &run)), format!("{partition} LEASE"));
        assert_eq!(
            of(Key::snapshot(&tenant, &run, 1_234)),
            format!("{partition} S#000000001234")
        );
        assert_eq!(
            of(Key::agent_version(&tenant, &agent, 12)),
            "T#acme#A#clerk V#000012"
        );
        assert_eq!(of(Key::agent(&tenant, &agent)), "T#acme#A#clerk HEAD");
        assert_eq!(
            of(Key::api_key(&KeyId::parse("4f9a").unwrap())),
            "K#4f9a KEY"
        );
        let minute = limit("permin", 60);
        assert_eq!(
            of(Key::limit(&tenant, &minute, None).unwrap()),
            "T#acme#L#permin WINDOW#60"
        );
        assert_eq!(
            of(Key::limit(&tenant, &minute, Some("4f9a")).unwrap()),
            "T#acme#L#permin#4f9a WINDOW#60"
        );
        assert_eq!(of(Key::tenant(&tenant)), "T#acme TENANT");
        assert_eq!(
            of(Key::ledger(&tenant, &Node::Tenant)),
            "T#acme#B#tenant LEDGER"
        );
        let project = Node::try_from("project:web".to_owned()).unwrap();
        assert_eq!(
            of(Key::ledger(&tenant, &project)),
            "T#acme#B#project:web LEDGER"
        );
        assert_eq!(
            of(Key::waiting(&tenant, At(1_700_000_000_123), &run)),
            "T#acme#WAITING 1700000000123#run_0123456789abcdef0123456789abcdef"
        );
        assert_eq!(
            of(Key::call(&tenant, &run, &FrameId::root(), 3)),
            "T#acme#R#run_0123456789abcdef0123456789abcdef HOLD#0#00003"
        );
        assert_eq!(
            of(Key::counted(&tenant, &run)),
            "T#acme#R#run_0123456789abcdef0123456789abcdef USAGE"
        );
        let hour = usage_partition(&tenant, Interval::Hour, 24_286);
        assert_eq!(
            of(Key::usage(hour, At(1_700_000_000_000), "-#-#a#m")),
            "T#acme#U#hour#24286 1700000000000#-#-#a#m"
        );
        assert_eq!(of(Key::audit(&tenant, 7)), "T#acme#AUDIT E#000000000007");
        assert_eq!(of(Key::audit_tip(&tenant)), "T#acme#AUDIT TIP");
        assert_eq!(of(Key::sweep()), "SWEEP SWEEP");
        let partition = run_partition(&tenant, &run);
        let parsed = parse_run_partition(&partition);
        assert_eq!(parsed, Some((tenant.clone(), run.clone())));
        assert_eq!(parse_run_partition("T#acme#A#clerk"), None);
        assert_eq!(key_list(&tenant), "T#acme#KEYS");
        assert_eq!(run_list(&tenant, Status::Parked, 3), "T#acme#RUNS#parked#3");
        assert_eq!(
            run_list_sort(At(1_700_000_000_123), &run),
            "1700000000123#run_0123456789abcdef0123456789abcdef"
        );
        assert_eq!(agent_list(&tenant), "T#acme#AGENTS");
        assert_eq!(watch(&run), "WATCH#1");
        assert_eq!(
            watch_sort(At(1_700_000_000_123), &tenant, &run),
            "1700000000123#acme#run_0123456789abcdef0123456789abcdef"
        );
        assert_eq!(
            blob(&tenant, &run, "ab12"),
            "tenants/acme/runs/run_0123456789abcdef0123456789abcdef/ab12"
        );
    }

    #[test]
    fn the_sort_keys_of_a_run_stand_in_the_order_that_reads_rely_on() {
        let (tenant, run, _) = ids();
        let keys = [
            Key::commit(&tenant, &run, 1),
            Key::commit(&tenant, &run, 999_999_999_999),
            Key::head(&tenant, &run),
            Key::call(&tenant, &run, &FrameId::root(), 0),
            Key::lease(&tenant, &run),
            Key::snapshot(&tenant, &run, 100),
            Key::counted(&tenant, &run),
        ];
        assert!(keys.windows(2).all(|pair| pair[0].sk() < pair[1].sk()));
    }

    #[test]
    fn shards_are_stable_and_even() {
        let mut counts = [0_u32; 4];
        for n in 0..4_000_u32 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            counts[usize::from(shard(&RunId::from_bytes(bytes), 4))] += 1;
        }
        assert!(
            counts.iter().all(|count| (800..1_200).contains(count)),
            "{counts:?}"
        );
        assert_eq!(shard(&ids().1, 1), 0);
    }

    #[test]
    fn the_place_before_excludes_itself_and_nothing_else() {
        let place = "1700000000123#run_0123456789abcdef0123456789abcdea";
        assert!(before(place).as_str() < place);
        assert!(before(place).as_str() > "1700000000123#run_0123456789abcdef0123456789abcde9");
        assert!(before(&place.replace("dea", "de0")) > place.replace("dea", "dd") + "f");
    }

    #[test]
    fn a_place_in_the_watch_index_is_read_back() {
        let (tenant, run, _) = ids();
        let text = watch_sort(At(5), &tenant, &run);
        assert_eq!(parse_watch_sort(&text), Some((tenant, run, At(5))));
        assert_eq!(parse_watch_sort("5#acme"), None);
    }
}

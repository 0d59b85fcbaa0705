//! Checkpoints of audit trails: what stands in a trail since the last one goes to the archive, and is signed.
//!
//! Once a minute those trails are seen to that have waited for an hour, or whose month is over. Each checkpoint is planned in
//! the table, then it is signed, then its object is stored, then it is stored itself, and its trail moves on. Whoever comes
//! again after a crash finds the plan and makes the same of it. **Invariant:** what is no chain is not signed.

use domain::audit::{Broken, Checkpoint, EVERY_MS, Entry, Stretch, Verifier, due};
use domain::id::TenantId;
use domain::time::At;
use futures_util::{StreamExt as _, stream};
use signer::Signer;
use store::{Archive, Plan, Store};

/// Most trails that one tick sees to; the next one goes on with those that have waited longest.
const MOST: u32 = 200;
/// Trails that are seen to at the same time.
const AT_ONCE: usize = 4;
/// Most checkpoints of one trail in one tick; the next tick goes on.
const MOST_OF_ONE: usize = 10;
/// Entries read at once.
const PAGE: u32 = 500;

/// Why a trail has no checkpoint.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The table or the archive fails.
    #[error("a checkpoint cannot be stored")]
    Store(#[from] store::Error),
    /// KMS fails.
    #[error("a checkpoint cannot be signed")]
    Signer(#[from] signer::Error),
    /// The trail is no chain: somebody has touched the table.
    #[error("the trail is not whole")]
    Broken(#[from] Broken),
    /// Entries that are planned, or that stand before the tip, are not there.
    #[error("the trail has no entry {0}")]
    Gap(u64),
}

impl Error {
    /// Whether it may go well later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            // Others were at work on the same trail.
            Self::Store(store::Error::Raced) => true,
            Self::Store(error) => error.is_transient(),
            Self::Signer(error) => error.is_transient(),
            Self::Broken(_) | Self::Gap(_) => false,
        }
    }
}

/// What a tick did for audit trails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// Trails that had waited long enough.
    pub due: usize,
    /// Checkpoints that were made.
    pub checkpoints: usize,
    /// Trails for which the next tick tries again.
    pub delayed: usize,
    /// Trails with which something is wrong that does not pass by itself.
    pub failed: usize,
}

impl Archived {
    /// Counts something that went wrong, and that passes or does not.
    fn count(&mut self, is_transient: bool) {
        if is_transient {
            self.delayed += 1;
        } else {
            self.failed += 1;
        }
    }
}

/// Makes the checkpoints that are due. What is wrong with one trail is logged and stops no other; one that cannot be read is
/// left alone for an hour.
///
/// # Errors
/// When it is not known which tables there are. One that does not say which trails are due counts as one trail.
pub async fn archive(
    store: &Store,
    archive: &Archive,
    signer: &Signer,
    now: At,
) -> Result<Archived, store::Error> {
    let mut archived = Archived::default();
    for table in store.tables().await? {
        let seen_to = archive_in(&table, archive, signer, now, &mut archived);
        if let Err(error) = Box::pin(seen_to).await {
            tracing::error!(error = %telemetry::chain(&error), "a table does not tell of its audit trails");
            archived.count(error.is_transient());
        }
    }
    Ok(archived)
}

/// [`archive`] for the tenants whose items stand in one table.
async fn archive_in(
    store: &Store,
    archive: &Archive,
    signer: &Signer,
    now: At,
    archived: &mut Archived,
) -> Result<(), store::Error> {
    let waiting = store.trails_due(now, MOST).await?;
    archived.due += waiting.len();
    let trails: Vec<_> = waiting
        .into_iter()
        .map(|(tenant, waited_until)| async move {
            let made = Box::pin(see_to(store, archive, signer, &tenant, now)).await;
            if let Err(error) = &made {
                report(store, &tenant, waited_until, now, error).await;
            }
            made
        })
        .collect();
    let mut trails = stream::iter(trails).buffer_unordered(AT_ONCE);
    while let Some(made) = trails.next().await {
        match made {
            Ok(made) => archived.checkpoints += made,
            Err(error) => archived.count(error.is_transient()),
        }
    }
    Ok(())
}

async fn report(store: &Store, tenant: &TenantId, waited_until: At, now: At, error: &Error) {
    let chain = telemetry::chain(error);
    if error.is_transient() {
        tracing::warn!(tenant.id = %tenant, error = %chain, "a trail waits for its checkpoint");
        return;
    }
    tracing::error!(tenant.id = %tenant, error = %chain, "a trail can have no checkpoint");
    let later = now.plus_ms(EVERY_MS);
    if let Err(error) = store.postpone_trail(tenant, waited_until, later).await {
        tracing::warn!(error = %telemetry::chain(&error), "a trail was not put off");
    }
}

/// Makes the checkpoints that one trail waits for, and says how many.
async fn see_to(
    store: &Store,
    archive: &Archive,
    signer: &Signer,
    tenant: &TenantId,
    now: At,
) -> Result<usize, Error> {
    let mut made = 0;
    for _ in 0..MOST_OF_ONE {
        let Some(trail) = store.trail(tenant).await? else {
            break;
        };
        let from = trail.covered + 1;
        if from > trail.number {
            break;
        }
        let planned = store.planned_checkpoint(tenant, from).await?;
        let entries = read(store, tenant, from, planned.map(|plan| plan.to)).await?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
            return Err(Error::Gap(from));
        };
        let last = last.number;
        let plan = match planned {
            Some(plan) => plan,
            // What came since the checkpoint before can wait as well.
            None if due(first.change.at) >= now => break,
            None => {
                let new = Plan { to: last, at: now };
                store.plan_checkpoint(tenant, from, new).await?
            }
        };
        if plan.to != last {
            // Somebody else has planned it meanwhile.
            continue;
        }
        let checkpoint = seal(archive, signer, &entries, plan.at).await?;
        made += usize::from(store.put_checkpoint(&checkpoint).await?);
    }
    Ok(made)
}

/// The entries of one object: up to `to`, or as many as go together.
async fn read(
    store: &Store,
    tenant: &TenantId,
    from: u64,
    to: Option<u64>,
) -> Result<Vec<Entry>, Error> {
    // The link before shows that the first one follows it.
    let mut verifier = Verifier::default();
    let (mut entries, mut stretch) = (Vec::new(), Stretch::default());
    let mut next = Some(from.saturating_sub(2));
    while let Some(after) = next {
        let page = store.audit(tenant, after, PAGE).await?;
        for entry in page.items {
            let number = entry.number;
            verifier.take(&entry)?;
            if number < from {
                continue;
            }
            let is_next = number == from + entries.len() as u64;
            if !is_next {
                return Err(Error::Gap(from + entries.len() as u64));
            }
            let goes = match to {
                Some(to) => number <= to,
                None => stretch.takes(&entry, line(&entry).len()),
            };
            if !goes {
                return Ok(entries);
            }
            entries.push(entry);
        }
        next = page.next.and_then(|next| next.parse().ok());
    }
    match to {
        Some(to) if from + entries.len() as u64 <= to => Err(Error::Gap(to)),
        _ => Ok(entries),
    }
}

/// Signs what these entries are, then stores their object: when KMS fails, nothing is left in the archive, where nobody can
/// delete it.
async fn seal(
    archive: &Archive,
    signer: &Signer,
    entries: &[Entry],
    at: At,
) -> Result<Checkpoint, Error> {
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Err(Error::Gap(0));
    };
    let lines: String = entries.iter().map(line).collect();
    let key = signer.public_key().await?;
    let mut checkpoint = Checkpoint {
        tenant: first.tenant.clone(),
        from: first.number,
        to: last.number,
        hash: last.hash.clone(),
        object: Archive::key(&first.tenant, first.change.at, first.number),
        sha256: Archive::sha256(&lines),
        at,
        key_id: key.id.clone(),
        public_key: key.spki.clone(),
        signature: String::new(),
    };
    checkpoint.signature = signer.sign(&checkpoint.statement()).await?;
    archive.put(&checkpoint.object, lines).await?;
    Ok(checkpoint)
}

fn line(entry: &Entry) -> String {
    let mut json = serde_json::to_string(entry).expect("an entry is plain data with text keys");
    json.push('\n');
    json
}

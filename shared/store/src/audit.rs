//! The audit trail: every change of a tenant, its keys and its agents writes a link of the tenant's chain in the same
//! transaction, so that neither is there without the other.

use domain::audit::{Change, Entry, Tip, due};
use domain::id::{KeyId, TenantId};
use domain::time::At;
use serde_json::Value;

use crate::item::{Item, Read, Set, keyed, number, text, to_json};
use crate::key::{self, Key};
use crate::list::Page;
use crate::schema::TTL;
use crate::table::{ABSENT, BUSY_ATTEMPTS, Outcome, Range, Refusal, Sort, Write, pause};
use crate::{Error, Store};

/// Most entries of one page.
const MAX_ENTRIES: u32 = 1_000;
/// How long it is noted that a minute's refusals were told, in seconds after it: longer than clocks differ.
const NOTED_S: u64 = 3_600;
/// Who acts where nobody is named: seeds and tests.
const PLATFORM: &str = "platform";

/// For whom a store acts, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    by: String,
    at: At,
}

/// What is done to what.
pub(crate) struct Act<'a> {
    /// Whose chain tells of it.
    pub(crate) tenant: &'a TenantId,
    /// What is done, as [`Change::action`] says.
    pub(crate) action: &'static str,
    /// To what.
    pub(crate) subject: String,
    /// How that is then.
    pub(crate) state: Value,
    /// When, unless the actor says so.
    pub(crate) at: At,
}

/// A request that policy refused.
#[derive(Debug)]
pub struct Refused<'a> {
    /// Whose trail tells of it.
    pub tenant: &'a TenantId,
    /// The key that was used.
    pub key: &'a KeyId,
    /// The reason: the code of the problem.
    pub code: &'a str,
    /// What was asked: method and route.
    pub request: &'a str,
    /// What else is to be told. Never a secret.
    pub state: Value,
    /// When.
    pub at: At,
}

impl Store {
    /// Tells the trail of a refused request, unless one of the same key, reason and minute was told already, by whatever
    /// process: false then.
    ///
    /// # Errors
    /// Those of the table. Whether it was told is not known then.
    pub async fn tell_refusal(&self, refused: &Refused<'_>) -> Result<bool, Error> {
        let minute = refused.at.0 / 60_000;
        let mut note = keyed(
            Key::refused(refused.tenant, refused.key, refused.code, minute),
            1,
        );
        note.set_number(TTL, (minute + 1) * 60 + NOTED_S);
        let act = Act {
            tenant: refused.tenant,
            action: "request.refused",
            subject: refused.request.to_owned(),
            state: refused.state.clone(),
            at: refused.at,
        };
        let writes = [Write::new(note, Some(ABSENT))];
        Ok(self.transact_audited(&act, &writes).await?.is_ok())
    }

    /// Tells the operators' trail of an act that is not of the table, before it is done: so that none is missing there.
    ///
    /// # Errors
    /// Those of the table; the act is not to be done then.
    pub async fn tell_operators(
        &self,
        operator: &TenantId,
        action: &'static str,
        subject: String,
        state: Value,
        now: At,
    ) -> Result<(), Error> {
        let act = Act {
            tenant: operator,
            action,
            subject,
            state,
            at: now,
        };
        // Nothing else is written, so nothing else is refused.
        let _told = self.transact_audited(&act, &[]).await?;
        Ok(())
    }

    /// The same store, acting for `by` at `now`: so the audit trail names who made a change.
    #[must_use]
    pub fn on_behalf_of(&self, by: &str, now: At) -> Self {
        Self {
            actor: Some(Actor {
                by: by.to_owned(),
                at: now,
            }),
            ..self.clone()
        }
    }

    /// Does these writes together with the link that tells of them. Refusals are those of the writes alone.
    pub(crate) async fn transact_audited(
        &self,
        act: &Act<'_>,
        writes: &[Write],
    ) -> Result<Result<(), Vec<Refusal>>, Error> {
        for attempt in 0..BUSY_ATTEMPTS {
            let tip = self.audit_tip(act.tenant).await?;
            let entry = Entry::after(&tip, act.tenant.clone(), self.change(act));
            let mut all = writes.to_vec();
            all.extend(links(&tip, &entry, self.trails()));
            match self.transact(all).await? {
                Outcome::Done => return Ok(Ok(())),
                Outcome::Conflict => {}
                Outcome::Refused(mut refusals) => {
                    let at_links = refusals.split_off(writes.len());
                    if refusals.iter().any(|refusal| refusal.failed) {
                        return Ok(Err(refusals));
                    }
                    // What stands there may be this very link, whose answer was lost.
                    let old = at_links.into_iter().next().and_then(|link| link.old);
                    if old.is_some_and(|old| old.find_text("hash") == Some(&entry.hash)) {
                        return Ok(Ok(()));
                    }
                }
            }
            pause(attempt).await;
        }
        Err(Error::conflict("TransactWriteItems"))
    }

    /// The partition of the trails that this Region writes.
    pub(crate) fn trails(&self) -> String {
        key::trails(self.regions().first_epoch())
    }

    pub(crate) fn change(&self, act: &Act<'_>) -> Change {
        let actor = self.actor.as_ref();
        Change {
            at: actor.map_or(act.at, |actor| actor.at),
            by: actor.map_or_else(|| PLATFORM.to_owned(), |actor| actor.by.clone()),
            action: act.action.to_owned(),
            subject: act.subject.clone(),
            state: act.state.clone(),
        }
    }

    pub(crate) async fn audit_tip(&self, tenant: &TenantId) -> Result<Tip, Error> {
        let Some(item) = self.get(Key::audit_tip(tenant), true).await? else {
            return Ok(Tip::default());
        };
        Ok(Tip {
            number: item.number("tip_number")?,
            hash: item.text("tip_hash")?.to_owned(),
        })
    }

    /// This store in the epoch that entry `number` was written in, and the last entry of that, if it is over.
    async fn holder_of_entry(
        &self,
        tenant: &TenantId,
        number: u64,
    ) -> Result<(Self, Option<u64>), Error> {
        if self.regions().is_one() {
            return Ok((self.clone(), None));
        }
        let home = self.home_of(tenant.as_str()).await?;
        let mut over = home.former.iter().rev();
        Ok(match over.find(|former| number <= former.entries) {
            Some(former) => (self.in_epoch(tenant, former.epoch), Some(former.entries)),
            None => (self.in_epoch(tenant, home.epoch), None),
        })
    }

    /// A tenant's chain after entry number `after`, in order, at most `limit` (1 to 1,000) and at most a page of 1 MB; `next`
    /// is the number after which it goes on. Strongly consistent; a page ends where the tenant's home moved.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn audit(
        &self,
        tenant: &TenantId,
        after: u64,
        limit: u32,
    ) -> Result<Page<Entry>, Error> {
        let (store, last) = self
            .holder_of_entry(tenant, after.saturating_add(1))
            .await?;
        let to = last.map_or("E#~".to_owned(), key::audit_sort);
        let range = Range {
            index: None,
            pk: key::audit_partition(tenant),
            sort: Sort::Between(key::audit_sort(after.saturating_add(1)), to),
            forward: true,
            limit: Some(limit.clamp(1, MAX_ENTRIES)),
            consistent: true,
        };
        let rows = store.query(&range, None).await?;
        let items = rows.items.iter().map(|item| item.json("entry"));
        let items = items.collect::<Result<Vec<Entry>, _>>()?;
        let goes_on = rows.next.is_some() || last.is_some();
        let last = items.last().filter(|_| goes_on);
        let next = last.map(|entry| entry.number.to_string());
        Ok(Page { items, next })
    }
}

/// How something is, as its record says.
pub(crate) fn state_of(record: &impl serde::Serialize) -> Value {
    serde_json::to_value(record).expect("records have text keys and no failing serialiser")
}

/// The link, and the tip that moves on to it.
fn links(tip: &Tip, entry: &Entry, trails: String) -> [Write; 2] {
    let mut link: Item = keyed(Key::audit(&entry.tenant, entry.number), 2);
    link.set_text("entry", to_json(entry));
    link.set_text("hash", &entry.hash);
    // The trail waits for a checkpoint since the first link that none covers.
    let set = "SET tip_number = :next, tip_hash = :next_hash, \
               watch_pk = if_not_exists(watch_pk, :trails), watch_sk = if_not_exists(watch_sk, :due)";
    let key = Key::audit_tip(&entry.tenant);
    let moved = if tip.number == 0 {
        Write::update(key, set.to_owned(), ABSENT.to_owned())
    } else {
        let unmoved = "tip_number = :number AND tip_hash = :hash";
        Write::update(key, set.to_owned(), unmoved.to_owned())
            .with(":number", number(tip.number))
            .with(":hash", text(&tip.hash))
    };
    let due = key::trail_sort(due(entry.change.at), &entry.tenant);
    let moved = moved
        .with(":next", number(entry.number))
        .with(":next_hash", text(&entry.hash))
        .with(":trails", text(trails))
        .with(":due", text(due));
    [Write::new(link, Some(ABSENT)), moved]
}

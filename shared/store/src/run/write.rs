//! Writing runs.

use domain::id::{DriverId, RunId, TenantId};
use domain::run::{Commit, Head, State};
use domain::time::At;

use super::Creation;
use crate::item::{Item, Read, Set, keyed, text, to_json};
use crate::key::{self, Key, SNAPSHOT};
use crate::ledger::crowd::Turn;
use crate::ledger::{Charge, Periods, Verdict, Written, place};
use crate::schema::TTL;
use crate::table::{
    ABSENT, ATTEMPTS, BUSY_ATTEMPTS, Outcome, PRESENT, Range, Refusal, Sort, Write, pause,
};
use crate::{Error, Store, blob};

/// Most old snapshots removed when a new one is written.
const SWEPT_SNAPSHOTS: u32 = 8;

impl Store {
    /// [`Store::create_charged`] for a run that no ledger knows of.
    ///
    /// # Errors
    /// As there.
    pub async fn create(
        &self,
        tenant: &TenantId,
        head: &Head,
        commit: &Commit,
    ) -> Result<Creation, Error> {
        self.create_charged(tenant, head, commit, None).await
    }

    /// Writes the head and the first commit of a run, and what they change in ledgers, in one transaction. A repetition of
    /// this very creation is [`Creation::New`] again.
    ///
    /// # Errors
    /// [`Error::TooLarge`] before anything is written; transient ones, after which the same call may be repeated.
    pub async fn create_charged(
        &self,
        tenant: &TenantId,
        head: &Head,
        commit: &Commit,
        charge: Option<&Charge<'_>>,
    ) -> Result<Creation, Error> {
        let mut ledgers = self.ledgers(tenant, charge).await;
        for attempt in 0..ledgers.attempts() {
            let mut writes = vec![
                Write::new(self.head_item(tenant, head), Some(ABSENT)),
                Write::new(
                    self.commit_item(tenant, &head.run, commit, head.kept_until)
                        .await?,
                    Some(ABSENT),
                ),
            ];
            writes.extend(ledgers.writes(tenant, head));
            match self.transact(writes).await? {
                Outcome::Done => return Ok(Creation::New),
                Outcome::Conflict => ledgers.stand_back(attempt).await,
                Outcome::Refused(mut refusals) => {
                    let at_ledgers = refusals.split_off(2);
                    let [at_head, at_commit] = pair(refusals);
                    if is_ours(at_commit.old.as_ref(), commit) {
                        return Ok(Creation::New);
                    }
                    if at_head.failed {
                        let old = at_head.old.ok_or(Error::Raced)?;
                        let old: Head = old.json("head")?;
                        return Ok(if old == *head {
                            Creation::New
                        } else {
                            Creation::Exists(Box::new(old))
                        });
                    }
                    if at_commit.failed {
                        return Err(Error::Raced);
                    }
                    match self.refused(&mut ledgers, &at_ledgers).await? {
                        Some(Written::Denied(denial)) => return Ok(Creation::Denied(denial)),
                        Some(Written::Stale) => return Ok(Creation::Stale),
                        Some(Written::Redefined) => return Ok(Creation::Redefined),
                        Some(Written::Done { .. }) | None => pause(attempt).await,
                    }
                }
            }
        }
        Err(Error::conflict("TransactWriteItems"))
    }

    /// [`Store::append_charged`] for a commit that changes no ledger.
    ///
    /// # Errors
    /// As there.
    pub async fn append(
        &self,
        tenant: &TenantId,
        run: &RunId,
        commit: &Commit,
        head: Option<&Head>,
    ) -> Result<(), Error> {
        let kept_until = head.and_then(|head| head.kept_until);
        self.append_charged(tenant, run, commit, head, None, kept_until)
            .await
            .map(drop)
    }

    /// Writes the next commit, with a new head when one is given and with what it changes in ledgers, all in one
    /// transaction. The run is kept until `kept_until`, if that is given. One request; a repetition of this very commit is
    /// [`Written::Done`] again.
    ///
    /// # Errors
    /// [`Error::Raced`] when another commit stands there, [`Error::Missing`] when a head is given and the run has none,
    /// [`Error::TooLarge`] before anything is written; transient ones, after which the same call may be repeated.
    pub async fn append_charged(
        &self,
        tenant: &TenantId,
        run: &RunId,
        commit: &Commit,
        head: Option<&Head>,
        charge: Option<&Charge<'_>>,
        kept_until: Option<At>,
    ) -> Result<Written, Error> {
        let mut ledgers = self.ledgers(tenant, charge).await;
        for attempt in 0..ledgers.attempts() {
            let item = self.commit_item(tenant, run, commit, kept_until).await?;
            let write = Write::new(item, Some(ABSENT));
            let outcome = if head.is_none() && charge.is_none() {
                self.put(write).await?
            } else {
                let mut writes = vec![write];
                writes.extend(
                    head.map(|head| Write::new(self.head_item(tenant, head), Some(PRESENT))),
                );
                writes.extend(
                    head.into_iter()
                        .flat_map(|head| ledgers.place(tenant, head)),
                );
                writes.extend(ledgers.charges());
                self.transact(writes).await?
            };
            match outcome {
                Outcome::Done => {
                    return Ok(Written::Done {
                        waiting: ledgers.waiting,
                    });
                }
                Outcome::Conflict => ledgers.stand_back(attempt).await,
                Outcome::Refused(mut refusals) => {
                    let before = 1 + usize::from(head.is_some()) + ledgers.places();
                    let at_ledgers = refusals.split_off(before.min(refusals.len()));
                    let [at_commit, at_head] = pair(refusals);
                    if is_ours(at_commit.old.as_ref(), commit) {
                        // The answer was lost, and with it whether anybody waits.
                        let ended = charge.is_some_and(|charge| charge.entry.active < 0);
                        return Ok(Written::Done { waiting: ended });
                    }
                    if head.is_some() && at_head.failed {
                        return Err(Error::Missing);
                    }
                    if at_commit.failed {
                        return Err(Error::Raced);
                    }
                    match self.refused(&mut ledgers, &at_ledgers).await? {
                        Some(refused) => return Ok(refused),
                        None => pause(attempt).await,
                    }
                }
            }
        }
        Err(Error::conflict("PutItem"))
    }

    /// The ledgers that a commit changes, as soon as it is its turn there.
    async fn ledgers<'a>(
        &'a self,
        tenant: &'a TenantId,
        charge: Option<&'a Charge<'a>>,
    ) -> Ledgers<'a> {
        let turn = match charge {
            Some(_) => Some(self.inner.crowds.approach(tenant).await),
            None => None,
        };
        Ledgers {
            charge,
            periods: Periods::default(),
            waiting: charge.is_some_and(|charge| charge.line && charge.entry.active < 0),
            turn,
        }
    }

    /// What the refusal of ledgers leads to: an answer, or nothing when the write can be tried again.
    async fn refused(
        &self,
        ledgers: &mut Ledgers<'_>,
        refusals: &[Refusal],
    ) -> Result<Option<Written>, Error> {
        let Some(charge) = ledgers.charge else {
            return Err(Error::Raced);
        };
        match charge.verdict(refusals, &mut ledgers.periods)? {
            Verdict::Denied(denial) => Ok(Some(Written::Denied(denial))),
            Verdict::Stale => Ok(Some(Written::Stale)),
            Verdict::Redefined => Ok(Some(Written::Redefined)),
            Verdict::Renew(renewals) => {
                self.renew_ledgers(renewals).await?;
                Ok(None)
            }
            Verdict::Waiting => {
                ledgers.waiting = true;
                Ok(None)
            }
            Verdict::Content => Err(Error::Raced),
        }
    }

    /// Writes the folded state, so that loading need not begin at the start, and removes older snapshots. `state` must
    /// come from commits that are stored.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and those of the table. A run without its snapshot loads as well, only slower.
    pub async fn snapshot(&self, state: &State) -> Result<(), Error> {
        let (tenant, run) = (&state.tenant, &state.run);
        let key = Key::snapshot(tenant, run, state.last_event);
        let older = Range {
            index: None,
            pk: key.pk().to_owned(),
            sort: Sort::Between(
                SNAPSHOT.to_owned(),
                key::snapshot_sort(state.last_event.saturating_sub(1)),
            ),
            forward: true,
            limit: Some(SWEPT_SNAPSHOTS),
            consistent: false,
        };
        let mut item = keyed(key, 2);
        keep(
            &mut item,
            state.created.as_ref().and_then(|it| it.kept_until),
        );
        self.spill(tenant, run, &mut item, "state", to_json(state))
            .await?;
        self.put(Write::new(item, None)).await?;
        let table = self.table_of(&older.pk).await?;
        for old in self.query(&older, None).await?.items {
            let answer = self
                .access
                .table
                .delete_item()
                .table_name(&*table)
                .key("pk", text(old.text("pk")?))
                .key("sk", text(old.text("sk")?))
                .set_return_consumed_capacity(self.capacity());
            let answer = Box::pin(answer.send()).await;
            self.meter.add(|consumed| consumed.writes += 1);
            let answer = answer.map_err(|error| Error::of_sdk("DeleteItem", error))?;
            self.count_write(answer.consumed_capacity.as_ref());
        }
        Ok(())
    }

    pub(crate) async fn commit_item(
        &self,
        tenant: &TenantId,
        run: &RunId,
        commit: &Commit,
        kept_until: Option<At>,
    ) -> Result<Item, Error> {
        let mut item = keyed(Key::commit(tenant, run, commit.first), 5);
        keep(&mut item, kept_until);
        item.set_number("at", commit.at.0);
        item.set_number("n", commit.events.len() as u64);
        if let Some(driver) = &commit.driver {
            item.set_text("driver", driver.as_str());
        }
        if let Some(used) = &commit.used {
            item.set_text("used", to_json(used));
        }
        self.spill(tenant, run, &mut item, "events", to_json(&commit.events))
            .await?;
        Ok(item)
    }

    pub(crate) fn head_item(&self, tenant: &TenantId, head: &Head) -> Item {
        let mut item = keyed(Key::head(tenant, &head.run), 6);
        keep(&mut item, head.kept_until);
        let shard = key::shard(&head.run, self.inner.config.list_shards);
        item.set_text("list_pk", key::run_list(tenant, head.status, shard));
        item.set_text("list_sk", key::run_list_sort(head.created_at, &head.run));
        // By this the table's stream tells whoever counts usage of runs that ended, and of nothing else.
        if let Some(at) = head.ended_at {
            item.set_number("ended_at", at.0);
        }
        if let Some(at) = head.watch_at {
            item.set_text(
                "watch_pk",
                key::watch(&head.run, self.regions().first_epoch()),
            );
            item.set_text("watch_sk", key::watch_sort(at, tenant, &head.run));
        }
        item.set_text("head", to_json(head));
        item
    }
}

/// The part of a write that concerns ledgers, over its attempts.
struct Ledgers<'a> {
    charge: Option<&'a Charge<'a>>,
    periods: Periods,
    /// Whether a place becomes free for which runs wait, as was seen or is believed.
    waiting: bool,
    turn: Option<Turn<'a>>,
}

impl Ledgers<'_> {
    /// Waits before the write that met another is tried again.
    async fn stand_back(&mut self, attempt: u32) {
        if let Some(turn) = &mut self.turn {
            turn.line_up().await;
        }
        pause(attempt).await;
    }

    fn attempts(&self) -> u32 {
        if self.charge.is_some() {
            BUSY_ATTEMPTS
        } else {
            ATTEMPTS
        }
    }

    /// What stands behind head and commit in a creation.
    fn writes(&self, tenant: &TenantId, head: &Head) -> Vec<Write> {
        let mut writes = self.charges();
        writes.extend(self.place(tenant, head));
        writes
    }

    fn charges(&self) -> Vec<Write> {
        self.charge
            .map(|charge| charge.writes(&self.periods, !self.waiting))
            .unwrap_or_default()
    }

    /// Writes to the run's place in line: 1 or none.
    fn places(&self) -> usize {
        usize::from(self.charge.is_some_and(|charge| charge.entry.waiting != 0))
    }

    fn place(&self, tenant: &TenantId, head: &Head) -> Option<Write> {
        match self.charge?.entry.waiting {
            0 => None,
            1.. => Some(Write::new(place(tenant, head.created_at, &head.run), None)),
            _ => Some(Write::delete(Key::waiting(
                tenant,
                head.created_at,
                &head.run,
            ))),
        }
    }
}

/// Lets the table delete an item some time after this instant.
fn keep(item: &mut Item, until: Option<At>) {
    if let Some(until) = until {
        item.set_number(TTL, until.0.div_ceil(1_000));
    }
}

/// Whether what stands in place of `commit` is that very commit: then its answer was lost, not the race.
fn is_ours(old: Option<&Item>, commit: &Commit) -> bool {
    old.is_some_and(|old| {
        old.find_text("driver") == commit.driver.as_ref().map(DriverId::as_str)
            && old.find_number("at") == Some(commit.at.0)
            && blob::holds(old, "events", &to_json(&commit.events))
    })
}

fn pair(refusals: Vec<Refusal>) -> [Refusal; 2] {
    let mut refusals = refusals.into_iter();
    std::array::from_fn(|_| refusals.next().unwrap_or_default())
}

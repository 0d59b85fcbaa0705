//! A tenant's home moves here: its record, its ledgers, the tip of its trail and its agents are carried into a new epoch at
//! once, its runs one by one.
//!
//! Everything is read from this Region's copy, which may lack what the other Region wrote last; that is lost. Nothing of an
//! epoch that is over is written, but that it no longer stands in indexes: see [`Store::unlist`].

use domain::audit::{Entry, due};
use domain::budget::Node;
use domain::id::{RunId, TenantId};
use domain::run::{Commit, Head, State, evolve, fold};
use domain::tenant::Tenant;
use domain::time::At;
use serde_json::json;

use crate::audit::Act;
use crate::home::Epoch;
use crate::item::{Item, Read, Set, keyed, number, to_json};
use crate::key::{self, HEAD, Key};
use crate::ledger;
use crate::run::{contiguous, first_of};
use crate::table::{ABSENT, ATTEMPTS, Index, Outcome, PRESENT, Range, Sort, Write, pause};
use crate::tenant::record_item;
use crate::{Error, Store};

/// Commits of a run that are read at once.
const PAGE: u32 = 100;

/// What became of a run that was to be taken over.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// It is, by this very call. The state that it goes on from.
    Now(Box<State>),
    /// It was, or was created here.
    Before,
    /// Nothing of it has arrived here.
    Unknown,
}

impl Store {
    /// Moves a tenant's home into this Region, in place of the home that `old` has, and gives the record as it is then. The
    /// Region before is not asked: it may be gone. Repeated after a crash it goes on; one that is at home here is given as it
    /// is.
    ///
    /// # Errors
    /// [`Error::Raced`] when somebody else moves it or changed it; those of the table.
    pub async fn move_home(&self, old: &Tenant, now: At) -> Result<Tenant, Error> {
        if self.elsewhere(old.home.epoch).is_none() {
            return Ok(old.clone());
        }
        let there = self.at_home_of(old);
        let tip = there.audit_tip(&old.id).await?;
        let epoch = self.regions().next_epoch(old.home.epoch);
        let new = Tenant {
            home: old.home.moved(epoch, tip.number),
            revision: old.revision + 1,
            updated_at: now,
            ..old.clone()
        };
        let here = self.at_home_of(&new);
        here.carry_agents(&there, &new.id).await?;

        // As long as there is no record of this epoch, nothing else of it counts: so this condition speaks for all.
        let mut writes = vec![Write::new(record_item(&new), Some(ABSENT))];
        let others = new.budgets.keys().filter(|node| **node != Node::Tenant);
        for node in std::iter::once(&Node::Tenant).chain(others) {
            let before = there.get(Key::ledger(&new.id, node), true).await?;
            let carried = ledger::carried(before.as_ref(), &new, node);
            writes.push(Write::new(carried, None));
        }
        let name = |epoch| self.regions().of(epoch).map(|region| region.name.clone());
        let act = Act {
            tenant: &new.id,
            action: "tenant.moved",
            subject: "tenant".to_owned(),
            state: json!({
                "from": {"region": name(old.home.epoch), "epoch": old.home.epoch},
                "to": {"region": name(epoch), "epoch": epoch},
            }),
            at: now,
        };
        let entry = Entry::after(&tip, new.id.clone(), self.change(&act));
        writes.extend(self.first_link(&entry));
        for attempt in 0..ATTEMPTS {
            match here.transact(writes.clone()).await? {
                Outcome::Done => {
                    self.learn(&new);
                    self.unlist_tenant(old).await?;
                    return Ok(new);
                }
                Outcome::Conflict => pause(attempt).await,
                Outcome::Refused(_) => {
                    // It may be this very move, whose answer was lost.
                    let stored = self.tenant(&new.id).await?.ok_or(Error::Raced)?;
                    if stored.home.epoch < epoch {
                        return Err(Error::Raced);
                    }
                    self.unlist_tenant(old).await?;
                    return Ok(stored);
                }
            }
        }
        Err(Error::conflict("TransactWriteItems"))
    }

    /// The link with which a trail goes on in a new epoch, and its tip there.
    fn first_link(&self, entry: &Entry) -> [Write; 2] {
        let mut link = keyed(Key::audit(&entry.tenant, entry.number), 2);
        link.set_text("entry", to_json(entry));
        link.set_text("hash", &entry.hash);
        let mut tip = keyed(Key::audit_tip(&entry.tenant), 4);
        tip.set_number("tip_number", entry.number);
        tip.set_text("tip_hash", &entry.hash);
        tip.set_text("watch_pk", self.trails());
        tip.set_text(
            "watch_sk",
            key::trail_sort(due(entry.change.at), &entry.tenant),
        );
        [link, tip].map(|item| Write::new(item, None))
    }

    /// Copies the agents that a tenant has in another epoch, as far as they are listed, with all their versions.
    async fn carry_agents(&self, from: &Self, tenant: &TenantId) -> Result<(), Error> {
        let list = Range {
            index: Some(Index::List),
            pk: key::agent_list(tenant),
            sort: Sort::All,
            forward: true,
            limit: None,
            consistent: false,
        };
        let mut start = None;
        loop {
            let rows = from.query(&list, start).await?;
            for listed in &rows.items {
                let id = listed.text("list_sk")?;
                let id = domain::id::AgentId::parse(id).map_err(|_| listed.corrupt("list_sk"))?;
                let agent = Range {
                    index: None,
                    pk: key::agent_partition(tenant, &id),
                    sort: Sort::All,
                    forward: true,
                    limit: None,
                    consistent: true,
                };
                let mut start = None;
                loop {
                    let rows = from.query(&agent, start).await?;
                    for item in rows.items {
                        self.carry(item, &agent.pk, tenant).await?;
                    }
                    start = rows.next;
                    if start.is_none() {
                        break;
                    }
                }
            }
            start = rows.next;
            if start.is_none() {
                return Ok(());
            }
        }
    }

    /// Copies a pointer or a version of an agent, unless what stands here is as new: the tenant may have gone on.
    async fn carry(&self, mut item: Item, pk: &str, tenant: &TenantId) -> Result<(), Error> {
        item.set_text("pk", pk);
        let write = if item.sort() == HEAD {
            if item.contains_key("list_pk") {
                item.set_text("list_pk", key::agent_list(tenant));
            }
            let revision = item.number("revision")?;
            Write::new(
                item,
                Some("attribute_not_exists(pk) OR revision < :revision"),
            )
            .with(":revision", number(revision))
        } else {
            Write::new(item, Some(ABSENT))
        };
        self.put(write).await.map(drop)
    }

    /// Takes a run of this tenant over from the epoch that it stands in: copies its log as far as it has arrived without a
    /// gap, and lets it go on behind that with the commit that `decide` makes of it; one that has ended is copied as it is.
    /// What arrives later for it is void. Any number of processes may do so at the same time.
    ///
    /// # Errors
    /// [`Error::Raced`] when another one does it at this instant, or the tenant was changed; those of the table and the
    /// payloads.
    pub async fn take_over(
        &self,
        tenant: &Tenant,
        run: &RunId,
        decide: impl Fn(&State) -> Option<Commit>,
    ) -> Result<Taken, Error> {
        let (id, here) = (&tenant.id, self.at_home_of(tenant));
        if here.has_run(id, run).await? {
            self.unlist(tenant, run).await?;
            return Ok(Taken::Before);
        }
        let Some((log, mut state)) = here.arrived(tenant, run).await? else {
            return Ok(Taken::Unknown);
        };
        // In order: who copies the next one has found, or made, all before it as they are in its own view.
        for mut item in log {
            item.set_text("pk", key::run_partition(id, run));
            match here.put(Write::new(item.clone(), Some(ABSENT))).await? {
                Outcome::Done => {}
                Outcome::Conflict => return Err(Error::Raced),
                Outcome::Refused(refusals) => {
                    let old = refusals.into_iter().find_map(|refusal| refusal.old);
                    let is_same = |old: &Item| {
                        let mut old = old.clone();
                        old.set_text("pk", key::run_partition(id, run));
                        old == item
                    };
                    if !old.as_ref().is_some_and(is_same) {
                        return Err(Error::Raced);
                    }
                }
            }
        }
        here.carry_version(tenant, &state).await?;
        let commit = decide(&state);
        // Whoever was quicker wrote a commit where this one is to stand.
        let mut writes = Vec::new();
        if let Some(commit) = &commit {
            evolve(&mut state, commit);
            let kept_until = state.created.as_ref().and_then(|it| it.kept_until);
            let item = here.commit_item(id, run, commit, kept_until).await?;
            writes.push(Write::new(item, Some(ABSENT)));
        }
        let head = Head::of(&state);
        writes.push(Write::new(here.head_item(id, &head), None));
        if commit.is_some() {
            writes.extend(ledger::taken(tenant, &state));
            if head.waiting {
                let place = ledger::place(id, head.created_at, run);
                writes.push(Write::new(place, None));
            }
        }
        for attempt in 0..ATTEMPTS {
            match here.transact(writes.clone()).await? {
                Outcome::Done => {
                    self.unlist(tenant, run).await?;
                    return Ok(Taken::Now(Box::new(state)));
                }
                Outcome::Conflict => pause(attempt).await,
                Outcome::Refused(_) if here.has_run(id, run).await? => return Ok(Taken::Before),
                Outcome::Refused(_) => return Err(Error::Raced),
            }
        }
        Err(Error::conflict("TransactWriteItems"))
    }

    /// The log of a run in the latest epoch before this one in which it stands, up to its first gap, and what it comes to.
    async fn arrived(
        &self,
        tenant: &Tenant,
        run: &RunId,
    ) -> Result<Option<(Vec<Item>, State)>, Error> {
        let id = &tenant.id;
        for former in &tenant.home.former {
            let there = self.in_epoch(id, former.epoch);
            let mut items = Vec::<Item>::new();
            let mut next = 1;
            loop {
                let mut page = there.commits_from(id, run, next, PAGE).await?;
                contiguous(&mut page, next)?;
                let Some(last) = page.last() else { break };
                next = first_of(last)? + last.number("n")?;
                items.extend(page);
            }
            let commits = there.commits_of(id, run, items.clone()).await?;
            let state = fold(id.clone(), run.clone(), &commits);
            // Who was interrupted while it took the run over has left copies of what is elsewhere.
            if state.created.is_some() && state.epoch == former.epoch {
                return Ok(Some((items, state)));
            }
        }
        Ok(None)
    }

    /// Copies the version of the agent that a run pins, which may be archived.
    async fn carry_version(&self, tenant: &Tenant, state: &State) -> Result<(), Error> {
        let Some(created) = &state.created else {
            return Ok(());
        };
        let key = Key::agent_version(&tenant.id, &created.agent.id, created.agent.version);
        for former in &tenant.home.former {
            let there = self.in_epoch(&tenant.id, former.epoch);
            if let Some(mut item) = there.get(key.clone(), true).await? {
                item.set_text("pk", key.pk());
                return self.put(Write::new(item, Some(ABSENT))).await.map(drop);
            }
        }
        Ok(())
    }

    /// Takes a run that has moved here out of the lists of the epochs that are over, where it may have come again.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn leave_behind(&self, tenant: &Tenant, run: &RunId) -> Result<(), Error> {
        if self.at_home_of(tenant).has_run(&tenant.id, run).await? {
            self.unlist(tenant, run).await?;
        }
        Ok(())
    }

    /// Takes a run out of the lists and the watch of the epochs that are over. This is the one write to what is another
    /// Region's: it takes nothing away that anybody should see again, and should that Region write the same item later, the
    /// run stands there once more, and goes at the next look.
    async fn unlist(&self, tenant: &Tenant, run: &RunId) -> Result<(), Error> {
        let removed = "REMOVE list_pk, list_sk, watch_pk, watch_sk";
        for former in &tenant.home.former {
            let key = Key::head(&tenant.id, run);
            self.unlist_one(key, tenant, former.epoch, removed).await?;
        }
        Ok(())
    }

    /// The same for a tenant's record and the tip of its trail.
    async fn unlist_tenant(&self, old: &Tenant) -> Result<(), Error> {
        let epoch = old.home.epoch;
        let record = Key::tenant(&old.id, epoch);
        self.unlist_one(record, old, epoch, "REMOVE list_pk, list_sk")
            .await?;
        let tip = Key::audit_tip(&old.id);
        self.unlist_one(tip, old, epoch, "REMOVE watch_pk, watch_sk")
            .await
    }

    async fn unlist_one(
        &self,
        key: Key,
        tenant: &Tenant,
        epoch: u64,
        removed: &str,
    ) -> Result<(), Error> {
        let there = Self {
            epoch: Epoch::AsNamed,
            ..self.at_home_of(tenant)
        };
        let pk = key::in_epoch(key.pk(), epoch).into_owned();
        let write = Write::update(key.moved_to(pk), removed.to_owned(), PRESENT.to_owned());
        there.put(write).await.map(drop)
    }
}

//! Closing tenants: a durable piece of work in small steps, each of which is stored before the next.
//!
//! What is done when stands in `domain::closing`, what is asked of table and bucket in `store`. Here: the request for it, who
//! works on it, and for how long. A message brings the janitor at once; its tick, once a minute, picks up whatever a lost
//! message or a dead process left. Whoever works on a closing has it in hand; two that believe to have meet at its revision,
//! and one of them stops. Every step may be repeated.

use std::time::Duration;

use domain::closing::{Closing, Phase, Place};
use domain::id::TenantId;
use domain::tenant::{Standing, Tenant};
use domain::time::At;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use queue::ClosingMessage;
use tokio::time::Instant;

use crate::tenants::{AT_ONCE, UNENDED};
use crate::{Engine, Error};

/// Races that a request loses before it gives up: each loss means that somebody else changed the tenant or its closing.
const MAX_RACES: u32 = 20;
/// Closings that one tick looks at.
const CLOSINGS: u32 = 100;
/// How far ahead a message is sent for a closing that waits, in milliseconds; later, the tick comes all the same.
const HORIZON_MS: u64 = 60_000;

/// What becomes of a request to take a closing back.
#[derive(Debug)]
pub enum TakenBack {
    /// The tenant is as it was before; runs that were cancelled stay so.
    Done(Box<Tenant>),
    /// Deletion has begun: there is no way back.
    TooLate,
    /// The tenant is not being closed.
    Idle,
}

impl Engine {
    /// Asks for a tenant to be closed. From here on nothing of it begins, as if it were suspended; the janitor does the rest.
    /// Asked again, it changes nothing. None when there is no such tenant and never was one that was closed.
    ///
    /// # Errors
    /// [`Error`] when the table fails; the same request may be repeated.
    pub async fn close_tenant(&self, id: &TenantId, by: &str) -> Result<Option<Closing>, Error> {
        for _ in 0..MAX_RACES {
            if let Some(closing) = self.store.closing(id).await? {
                if !closing.is_closed() {
                    self.send_closing(id, 0).await;
                }
                return Ok(Some(closing));
            }
            let Some(old) = self.store.tenant(id).await? else {
                return Ok(None);
            };
            let now = self.now();
            let new = Tenant {
                standing: Standing::Closing,
                revision: old.revision + 1,
                updated_at: now,
                ..old.clone()
            };
            let closing = Closing::new(&old, by, now);
            let stored = self.store.close_tenant(&new, &old, &closing);
            match Box::pin(stored).await {
                Ok(()) => {
                    self.forget_tenant(id);
                    self.send_closing(id, 0).await;
                    return Ok(Some(closing));
                }
                Err(store::Error::Raced) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(store::Error::Raced.into())
    }

    /// Takes a closing back, as long as nothing was deleted.
    ///
    /// # Errors
    /// [`Error`] when the table or a queue fails; the same request may be repeated.
    pub async fn take_closing_back(&self, id: &TenantId) -> Result<TakenBack, Error> {
        for _ in 0..MAX_RACES {
            let Some(closing) = self.store.closing(id).await? else {
                return Ok(TakenBack::Idle);
            };
            if !closing.may_be_taken_back() {
                return Ok(TakenBack::TooLate);
            }
            let Some(old) = self.store.tenant(id).await? else {
                continue;
            };
            let new = Tenant {
                standing: Standing::Active,
                revision: old.revision + 1,
                updated_at: self.now(),
                ..old.clone()
            };
            let stored = self.store.take_closing_back(&new, &old, &closing);
            match Box::pin(stored).await {
                Ok(()) => {
                    self.forget_tenant(id);
                    self.carry_out(&new).await?;
                    return Ok(TakenBack::Done(Box::new(new)));
                }
                Err(store::Error::Raced) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(store::Error::Raced.into())
    }

    /// Goes on with every closing that is due, for about as long as `within` says. One that fails is logged, and tried again
    /// when this is called next. Answers with how many were worked on.
    ///
    /// # Errors
    /// [`Error`] when the table does not tell which there are.
    pub async fn work_on_closings(&self, within: Duration) -> Result<usize, Error> {
        let until = Instant::now() + within;
        let closings = self.store.closings(CLOSINGS).await?;
        let mut worked = 0;
        for tenant in closings {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            if let Some(next) = self.go_on(&tenant, left).await {
                worked += 1;
                // Time ran out. For what has to wait, this comes again.
                if next <= self.now() {
                    self.send_closing(&tenant, 0).await;
                }
            }
        }
        Ok(worked)
    }

    /// Goes on with a closing for about as long as `within` says, and sends the message that goes on from there. A failure is
    /// logged: whoever works on all closings comes by once a minute.
    pub async fn work_on_closing(&self, tenant: &TenantId, within: Duration) {
        if let Some(next) = self.go_on(tenant, within).await {
            let delay_ms = next.since_ms(self.now());
            if delay_ms <= HORIZON_MS {
                self.send_closing(tenant, delay_ms).await;
            }
        }
    }

    /// Answers when somebody should come again; none when nothing was done.
    async fn go_on(&self, tenant: &TenantId, within: Duration) -> Option<At> {
        match Box::pin(self.steps(tenant, within)).await {
            Ok(next) => next,
            // Somebody else has it in hand, or it was taken back.
            Err(Error::Store(store::Error::Raced | store::Error::Elsewhere(_))) => None,
            Err(error) => {
                tracing::error!(
                    tenant.id = %tenant,
                    error = %telemetry::chain(&error),
                    "a closing does not go on"
                );
                None
            }
        }
    }

    async fn steps(&self, tenant: &TenantId, within: Duration) -> Result<Option<At>, Error> {
        let until = Instant::now() + within;
        // A tenant whose record is deleted already is closed by whoever is at it.
        if let Some(record) = self.store.tenant(tenant).await? {
            self.store.check_home(&record)?;
        }
        let Some(closing) = self.store.closing(tenant).await? else {
            return Ok(None);
        };
        let now = self.now();
        let is_due = |closing: &Closing, now| closing.due_at(now).is_some_and(|at| at <= now);
        if closing.is_held(now) || !is_due(&closing, now) {
            return Ok(None);
        }
        let mut closing = closing.held(now);
        self.store.put_closing(&closing, None).await?;
        loop {
            closing = Box::pin(self.step(closing)).await?;
            let waits_for_runs = closing.phase == Phase::Draining { drained_at: None };
            if waits_for_runs || !is_due(&closing, self.now()) || Instant::now() >= until {
                break;
            }
        }
        let closing = closing.let_go();
        self.store.put_closing(&closing, None).await?;
        tracing::info!(
            tenant.id = %tenant,
            phase = closing.phase_name(),
            passes = closing.passes,
            exported_items = closing.exported.items,
            deleted_items = closing.deleted.items,
            "a closing has gone on"
        );
        Ok(closing.look_again_at(self.now()))
    }

    /// Does what is due and stores how things stand then.
    async fn step(&self, closing: Closing) -> Result<Closing, Error> {
        let store = &self.store;
        let mut part = None;
        let next = match &closing.phase {
            Phase::Draining { drained_at: None } => {
                if self.end_runs(&closing).await? {
                    closing.drained(self.now())
                } else {
                    closing
                }
            }
            Phase::Draining { .. } | Phase::Waiting => closing.begin_pass(),
            Phase::Reading {
                place: Place::End, ..
            } => {
                let manifest = store.put_manifest(&closing).await?;
                let mut over = closing.end_pass(self.now());
                over.manifest = Some(manifest);
                over
            }
            Phase::Reading { place, .. } => {
                let found = store.holdings(&closing.tenant, place).await?;
                if found.unfinished && closing.may_be_taken_back() {
                    closing.drained_too_early()
                } else {
                    let place = found.next.clone();
                    part = store.export(&closing, found).await?;
                    closing.read_on(part.as_ref(), place)
                }
            }
            Phase::Deleting if closing.emptied < closing.parts => {
                let deleted = store.empty_part(&closing, closing.emptied + 1).await?;
                closing.emptied_part(deleted, self.now())
            }
            Phase::Deleting => closing.wait(),
            Phase::Closed { .. } => closing,
        };
        let next = next.held(self.now());
        store.put_closing(&next, part.as_ref()).await?;
        Ok(next)
    }

    /// Cancels every run that has not ended. True when there was none.
    async fn end_runs(&self, closing: &Closing) -> Result<bool, Error> {
        let mut none = true;
        for status in UNENDED {
            let mut cursor = None;
            loop {
                let page = self.page_of(&closing.tenant, status, cursor.as_deref());
                let page = page.await?;
                none &= page.items.is_empty();
                let reason = || Some("the tenant is being closed".to_owned());
                // Collected first: a closure within the stream would not be general enough for a future that is spawned.
                let ends: Vec<_> = page
                    .items
                    .iter()
                    .map(|head| {
                        Box::pin(self.cancel(&closing.tenant, &head.run, &closing.by, reason()))
                    })
                    .collect();
                let ends = stream::iter(ends).buffer_unordered(AT_ONCE);
                ends.try_collect::<Vec<_>>().await?;
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(none)
    }

    /// Has the janitor come. A failure is nobody's: it comes once a minute as well.
    async fn send_closing(&self, tenant: &TenantId, delay_ms: u64) {
        let message = ClosingMessage {
            tenant: tenant.clone(),
        };
        if let Err(error) = self.queue.send_closing(&message, delay_ms).await {
            tracing::warn!(
                tenant.id = %tenant,
                error = %telemetry::chain(&error),
                "nobody was asked to go on with a closing; the janitor's next tick will"
            );
        }
    }
}

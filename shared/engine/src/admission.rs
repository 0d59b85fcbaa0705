//! Admission: which runs may begin, and whose turn is next.
//!
//! A run is under way from its admission to its end, parked or not. As long as fewer than a tenant's limit are, a new run
//! begins at once; the others stand in line and begin in the order of their creation, one for each that ends. The ledger of
//! the tenant counts both in the transactions that begin and end runs, so no crash loses or doubles a place.

use domain::budget::{Amount, Budget, CHUNK, Denial, Node, Unit};
use domain::caps::Caps;
use domain::id::{RunId, TenantId};
use domain::run::{Admission, Command, Lane};
use domain::tenant::Tenant;
use domain::tier::DAY_MS;
use domain::time::At;

use crate::commands::Tried;
use crate::{Engine, Error, NewRun};

/// Attempts at one admission: each asks for less, or under newer settings.
pub(crate) const MAX_TRIES: u32 = 12;
/// Runs in line that are read at once.
const LINE: u32 = 10;
/// Reads of the line before the rest is left to others.
const MAX_READS: u32 = 100;

/// Why a run is not created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The tenant was never onboarded, or is gone.
    NoTenant,
    /// The tenant is suspended or being closed.
    Suspended,
    /// The tenant's definitions were changed since the agent was read: it is to be read anew.
    Redefined,
    /// As many runs stand in line as may.
    LineFull,
    /// A budget has nothing left.
    BudgetReached {
        /// Whose budget.
        node: Node,
        /// Which one.
        budget: Budget,
        /// When it begins anew, if it does.
        renews_at: Option<At>,
    },
}

/// A creation at the entrance: what the tenant's settings leave of it, and what it asks of the ledgers.
#[derive(Debug)]
pub(crate) struct Entrance {
    pub(crate) caps: Caps,
    pub(crate) lane: Lane,
    /// How long the run is kept after its deadline.
    pub(crate) retention_ms: u64,
    pub(crate) admission: Admission,
    /// The epoch of the tenant's home.
    pub(crate) epoch: u64,
}

impl Entrance {
    /// Where runs are believed to wait, the first place asked for is one in `line`: whoever takes that looks whether there is
    /// a better one.
    fn new(tenant: &Tenant, new: &NewRun, line: bool) -> Self {
        let limits = tenant.limits();
        let waiting = line && limits.waiting_runs > 0;
        let caps = new.caps.min(limits.caps);
        let project = new.project.clone().map(Node::Project);
        let nodes = project.into_iter().chain(new.key.clone().map(Node::Key));
        let nodes = nodes.filter(|node| !tenant.budgets_of(node).is_empty());
        let admission = Admission {
            nodes: nodes.collect(),
            grant: if waiting { Amount::ZERO } else { chunk(caps) },
            waiting,
        };
        Self {
            caps,
            lane: new.lane.max(limits.lane),
            retention_ms: u64::from(limits.retention_days) * DAY_MS,
            admission,
            epoch: tenant.home.epoch,
        }
    }

    /// Asks for less after a denial: a place in line, or what is left of the budget.
    pub(crate) fn lower(&mut self, denial: Denial) -> Result<(), Refusal> {
        match denial {
            Denial::Full if !self.admission.waiting => {
                self.admission.waiting = true;
                self.admission.grant = Amount::ZERO;
                Ok(())
            }
            Denial::Full | Denial::WaitingFull => Err(Refusal::LineFull),
            Denial::Spent {
                node,
                budget,
                left,
                renews_at,
            } if left <= 0 => Err(Refusal::BudgetReached {
                node,
                budget,
                renews_at,
            }),
            Denial::Spent { budget, left, .. } => {
                lower(&mut self.admission.grant, budget.unit, left);
                Ok(())
            }
        }
    }
}

fn chunk(caps: Caps) -> Amount {
    caps.amount().min(CHUNK)
}

fn lower(grant: &mut Amount, unit: Unit, left: i64) {
    let left = u64::try_from(left).unwrap_or(0);
    match unit {
        Unit::MicroUsd => grant.micro_usd = grant.micro_usd.min(left),
        Unit::Tokens => grant.tokens = grant.tokens.min(left),
    }
}

/// What became of a run's turn.
enum Turn {
    Taken,
    /// There is no place.
    Full,
    /// It waits no longer: somebody else let it in, or it ended.
    Past,
}

impl Engine {
    /// What a creation may ask for under the tenant's settings.
    pub(crate) async fn enter(&self, new: &NewRun) -> Result<Result<Entrance, Refusal>, Error> {
        let mut tenant = self.tenant(&new.tenant).await?;
        // What is refused is refused by how things stand now.
        if !tenant.as_ref().is_some_and(|tenant| tenant.is_active()) {
            tenant = self.tenant_anew(&new.tenant).await?;
        }
        Ok(match tenant {
            None => Err(Refusal::NoTenant),
            // Its runs are in a stack of its own.
            Some(tenant) if tenant.isolation.endpoint().is_some() => Err(Refusal::NoTenant),
            Some(tenant) if !tenant.is_active() => Err(Refusal::Suspended),
            Some(tenant) => {
                let line = self.turnstile.believes_in_line(&new.tenant);
                Ok(Entrance::new(&tenant, new, line))
            }
        })
    }

    /// Lets a run that stands in line begin if there is a place, which there mostly is not: whoever frees one gives it away.
    /// Tells how many stood there.
    ///
    /// # Errors
    /// [`Error`] when the table fails.
    pub(crate) async fn look_at_line(&self, id: &TenantId) -> Result<u64, Error> {
        let Some(tenant) = self.tenant(id).await? else {
            return Ok(0);
        };
        let Some(ledger) = self.store.ledger(&tenant, &Node::Tenant).await? else {
            return Ok(0);
        };
        let is_full = ledger.active >= u64::from(tenant.limits().concurrent_runs);
        self.turnstile
            .saw_line(id, ledger.waiting > 1 || (ledger.waiting > 0 && is_full));
        if ledger.waiting > 0 && !is_full {
            self.next_in_line(id).await;
        }
        Ok(ledger.waiting)
    }

    /// Gives a free place away. A failure is nobody's who frees one; whoever waits is looked at by the janitor as well.
    pub(crate) async fn next_in_line(&self, id: &TenantId) {
        let Some(mut turn) = self.turnstile.enter(id) else {
            return;
        };
        while let Some(places) = turn.places() {
            if let Err(error) = Box::pin(self.admit_waiting(id, places)).await {
                tracing::warn!(
                    tenant.id = %id,
                    places,
                    error = %telemetry::chain(&error),
                    "places are free and nobody was let in yet"
                );
            }
        }
    }

    /// Lets runs that stand in line begin, the oldest first, at most `most` and as many as there are places for.
    ///
    /// # Errors
    /// [`Error`] when the table or a queue fails; who was let in until then stays so.
    pub(crate) async fn admit_waiting(&self, id: &TenantId, most: u32) -> Result<(), Error> {
        let tenant = self.tenant(id).await?;
        if !tenant.is_some_and(|tenant| tenant.is_active()) {
            return Ok(());
        }
        let mut left = most;
        for _ in 0..MAX_READS {
            let line = self.store.waiting(id, LINE).await?;
            for run in &line {
                if left == 0 {
                    return Ok(());
                }
                match self.admit(id, run).await? {
                    Turn::Taken => left -= 1,
                    Turn::Full => return Ok(()),
                    Turn::Past => {}
                }
            }
            if u32::try_from(line.len()).is_ok_and(|length| length < LINE) {
                self.turnstile.saw_line(id, false);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Lets one run begin. One whose budget has nothing left begins with nothing, and parks when it needs something: it
    /// does not hold up those behind it.
    async fn admit(&self, tenant: &TenantId, run: &RunId) -> Result<Turn, Error> {
        let mut most = CHUNK;
        for _ in 0..MAX_TRIES {
            let tried = self
                .try_once(tenant, run, |state| {
                    let caps = state.created.as_ref().map(|created| created.caps);
                    Command::Admit {
                        grant: caps.map(chunk).unwrap_or_default().min(most),
                    }
                })
                .await?;
            match tried {
                Tried::Done(state) => {
                    self.wake(&state, None).await?;
                    return Ok(Turn::Taken);
                }
                Tried::Missing | Tried::Idle(_) => return Ok(Turn::Past),
                Tried::Raced => {}
                Tried::Denied(Denial::Full | Denial::WaitingFull) => return Ok(Turn::Full),
                Tried::Denied(Denial::Spent { budget, left, .. }) => {
                    lower(&mut most, budget.unit, left);
                }
            }
        }
        Err(store::Error::Raced.into())
    }
}

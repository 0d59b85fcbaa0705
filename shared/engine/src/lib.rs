//! The driver of runs: load, decide, commit, perform.
//!
//! One engine serves every tenant of a process. The orchestrator gives it queue messages, the stream function has it drive
//! a run while the client listens, the worker has it perform one tool call, the janitor has it look for what got stuck.
//! All of them go through the same rules in `domain::run` and the same fence in `store`.
//!
//! **Invariant:** an effect that needs an intent starts only after the commit that holds the intent was accepted. The
//! engine decides nothing itself and reads the clock in one place, [`Engine::now`].

mod admission;
mod closing;
mod commands;
mod drive;
mod driver;
mod error;
mod known;
mod moving;
mod perform;
mod put;
mod report;
mod share;
mod stuck;
mod sweep;
mod tenants;
pub mod tools;
mod trace;
mod turnstile;
mod usage;
mod warnings;

use std::sync::Arc;

pub use admission::Refusal;
pub use closing::TakenBack;
pub use commands::{Admitted, NewRun, Recorded};
use domain::id::TenantId;
use domain::time::At;
pub use drive::{Limits, Outcome, Signal, Work};
pub use error::Error;
use gateway::Gateway;
use known::Definitions;
pub use moving::Moved;
pub use perform::Performed;
use queue::{Queue, Toll};
use share::Shares;
use store::Store;
pub use stuck::{Search, StuckRun};
use sweep::Sweeps;
pub use sweep::Swept;
use tenants::Tenants;
use tools::Tools;
use trace::Trace;
use turnstile::Turnstile;
pub use usage::Platform;
use usage::Usage;

/// What tells the time: the system's clock, or a test's.
pub type Clock = Arc<dyn Fn() -> At + Send + Sync>;

/// Everything that a run needs to be driven. A clone is cheap and shares all of it.
#[derive(Clone)]
pub struct Engine {
    /// The table and the large payloads.
    pub store: Store,
    /// The run queues and the task queue.
    pub queue: Queue,
    gateway: Gateway,
    tools: Tools,
    definitions: Arc<Definitions>,
    tenants: Arc<Tenants>,
    turnstile: Arc<Turnstile>,
    sweeps: Arc<Sweeps>,
    usage: Option<Arc<Usage>>,
    platform: Platform,
    shares: Arc<Shares>,
    toll: Option<Toll>,
    trace: Trace,
    clock: Clock,
}

impl Engine {
    /// An engine over these adapters, on the system's clock.
    #[must_use]
    pub fn new(store: Store, queue: Queue, gateway: Gateway, tools: Tools) -> Self {
        Self::with_clock(store, queue, gateway, tools, Arc::new(system_clock))
    }

    /// An engine whose time is `clock`'s.
    #[must_use]
    pub fn with_clock(
        store: Store,
        queue: Queue,
        gateway: Gateway,
        tools: Tools,
        clock: Clock,
    ) -> Self {
        Self {
            store,
            queue,
            gateway,
            tools,
            definitions: Arc::new(Definitions::new()),
            tenants: Arc::new(Tenants::new()),
            turnstile: Arc::default(),
            sweeps: Arc::default(),
            usage: None,
            platform: Platform::default(),
            shares: Arc::default(),
            toll: None,
            trace: Trace::default(),
            clock,
        }
    }

    /// This engine for the work of one tenant: the table and the bucket refuse it what is another's, where tenants have
    /// credentials of their own. See [`Store::of`].
    #[must_use]
    pub fn of(&self, tenant: &TenantId) -> Self {
        Self {
            store: self.store.of(tenant),
            ..self.clone()
        }
    }

    /// This engine, acting for `by`: so the audit trail names who made a change.
    #[must_use]
    pub fn on_behalf_of(&self, by: &str) -> Self {
        Self {
            store: self.store.on_behalf_of(by, self.now()),
            ..self.clone()
        }
    }

    /// The instant that decisions are made at.
    #[must_use]
    pub fn now(&self) -> At {
        (self.clock)()
    }
}

fn system_clock() -> At {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    At(since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }))
}

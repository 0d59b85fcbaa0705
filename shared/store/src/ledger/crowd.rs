//! One charged write at a time, per tenant and process, where several meet at the ledger.
//!
//! DynamoDB refuses one of two transactions that name the same item at the same time, and charges for it all the same. Ten
//! runs of one tenant in one process would refuse each other again and again. So who was refused once lines up, and who
//! comes while others stand there joins them; where nobody was refused, nobody waits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::id::TenantId;
use tokio::sync::OwnedMutexGuard;

type Line = Arc<tokio::sync::Mutex<()>>;

/// The lines of this process, by tenant; a line that is over is forgotten.
#[derive(Default)]
pub(crate) struct Crowds(Mutex<HashMap<TenantId, Line>>);

/// Being at a tenant's ledger: on its own, or as the first of a line.
pub(crate) struct Turn<'a> {
    crowds: &'a Crowds,
    tenant: &'a TenantId,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Crowds {
    /// Goes to the ledger, after those who stand there in line.
    pub(crate) async fn approach<'a>(&'a self, tenant: &'a TenantId) -> Turn<'a> {
        let line = self.lock().get(tenant).cloned();
        let mut turn = Turn {
            crowds: self,
            tenant,
            guard: None,
        };
        if let Some(line) = line {
            turn.guard = Some(line.lock_owned().await);
        }
        turn
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Was refused by another's write: waits for its turn, unless it has it.
    pub(crate) async fn line_up(&mut self) {
        if self.guard.is_none() {
            let line = self
                .crowds
                .lock()
                .entry(self.tenant.clone())
                .or_default()
                .clone();
            self.guard = Some(line.lock_owned().await);
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let Some(guard) = self.guard.take() else {
            return;
        };
        let mut crowds = self.crowds.lock();
        // Whoever waits holds the line as well; nobody can begin to while the map is locked.
        if Arc::strong_count(OwnedMutexGuard::mutex(&guard)) == 2 {
            crowds.remove(self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_was_refused_lines_up_and_who_comes_then_waits() {
        let crowds = Crowds::default();
        let [acme, other] = ["acme", "other"].map(|id| TenantId::parse(id).unwrap());
        let alone = crowds.approach(&acme).await;
        let mut refused = crowds.approach(&acme).await;
        refused.line_up().await;
        refused.line_up().await;
        drop(crowds.approach(&other).await);
        let later = crowds.approach(&acme);
        let mut later = std::pin::pin!(later);
        let waits = tokio::time::timeout(Duration::from_millis(20), later.as_mut()).await;
        assert!(waits.is_err());
        drop(alone);
        drop(refused);
        let later = later.await;
        assert!(crowds.lock().contains_key(&acme));
        drop(later);
        assert!(crowds.lock().is_empty());
    }
}

//! Maintenance: one item of the stack, which is there while nothing new may begin.

use domain::id::TenantId;
use domain::maintenance::Maintenance;
use domain::time::At;
use serde_json::Value;

use crate::audit::{Act, state_of};
use crate::item::{Read, Set, keyed, number, to_json};
use crate::key::Key;
use crate::table::{ABSENT, Write};
use crate::{Error, Store};

impl Store {
    /// What is said while there is maintenance; none when there is none. Eventually consistent unless asked otherwise.
    ///
    /// # Errors
    /// Those of the table.
    pub async fn maintenance(&self, consistent: bool) -> Result<Option<Maintenance>, Error> {
        let item = self.get(Key::maintenance(), consistent).await?;
        item.map(|item| item.json("notice")).transpose()
    }

    /// Begins, changes or ends maintenance, in place of exactly `old`, and tells the operators' trail in the same
    /// transaction.
    ///
    /// # Errors
    /// [`Error::Raced`] when it is not as `old` says; those of the table.
    pub async fn put_maintenance(
        &self,
        operator: &TenantId,
        new: Option<&Maintenance>,
        old: Option<&Maintenance>,
        now: At,
    ) -> Result<(), Error> {
        let as_read = "noted_at = :read";
        let write = match (new, old) {
            (Some(new), old) => {
                let mut item = keyed(Key::maintenance(), 2);
                item.set_text("notice", to_json(new));
                item.set_number("noted_at", new.since.0);
                match old {
                    None => Write::new(item, Some(ABSENT)),
                    Some(_) => Write::new(item, Some(as_read)),
                }
            }
            (None, Some(_)) => Write::delete_if(Key::maintenance(), as_read),
            (None, None) => return Ok(()),
        };
        let write = match old {
            Some(old) => write.with(":read", number(old.since.0)),
            None => write,
        };
        let act = Act {
            tenant: operator,
            action: if new.is_some() {
                "maintenance.on"
            } else {
                "maintenance.off"
            },
            subject: "platform".to_owned(),
            state: new.map_or(Value::Null, state_of),
            at: now,
        };
        let stored = self.transact_audited(&act, &[write]).await?;
        stored.map_err(|_| Error::Raced)
    }
}

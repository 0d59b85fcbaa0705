//! Closing a tenant: export, deletion, and the proof that nothing of it remains. What is done next, as a function of what
//! was done.
//!
//! A closing goes in passes. Each pass looks at the whole table (and at the tenant's own one, if it has one) and at every object
//! of the tenant, and exports what it finds;
//! then exactly what was exported is deleted. What changed in between, or was written later, is left for the next pass. A
//! pass that finds nothing is the proof, if it began when every process was over that could still write for the tenant.

use serde::{Deserialize, Serialize};

use crate::id::TenantId;
use crate::tenant::{Isolation, Tenant};
use crate::time::At;

/// How long after the request and after the last deletion somebody may still write for the tenant, in milliseconds: the
/// longest invocation (15 minutes, `template.yaml`) and a minute for clocks that differ and for what is on its way.
pub const QUIET_MS: u64 = 16 * 60_000;
/// How long nothing is exported after the request, and after the last run ended, in milliseconds: settings are believed for a
/// minute, and an answer of the API takes up to 28 s more. Earlier, an export would be out of date when it is made.
pub const SETTLING_MS: u64 = 90_000;
/// For how long whoever works on a closing keeps it to itself, in milliseconds, unless it says so again: longer than the
/// janitor's invocation (55 s).
pub const HOLD_MS: u64 = 60_000;
/// How soon it is looked again whether the cancelled runs have ended, in milliseconds: a driver looks every 10 s.
const LOOK_MS: u64 = 10_000;

/// How much of a tenant was exported or deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Items of the table.
    pub items: u64,
    /// Objects of the bucket.
    pub objects: u64,
}

/// A part of an export: one object of JSON lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its number, from 1.
    pub number: u64,
    /// What its lines hold.
    #[serde(flatten)]
    pub counts: Counts,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
    /// The tenant's own table, if its items stood there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
}

/// The list of all parts of an export: an object beside them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Its name in the bucket.
    pub name: String,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// Where a pass goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// In the tenant's own table of this name, behind this key (partition, sort), or at its beginning. After it comes the
    /// stack's, which knows where a tenant's items are as long as there are any.
    Own(String, Option<(String, String)>),
    /// In the stack's table, likewise.
    Table(Option<(String, String)>),
    /// In the bucket, behind the object of this name, or at its beginning.
    Bucket(Option<String>),
    /// Nowhere: it has seen everything.
    End,
}

/// What is done now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Runs are cancelled, and time is given to whoever is at work.
    Draining {
        /// When it was seen that no run is unfinished.
        drained_at: Option<At>,
    },
    /// A pass: what is found is exported.
    Reading {
        /// Where it goes on.
        place: Place,
        /// Items and objects that this pass has found.
        found: u64,
    },
    /// What was exported is deleted.
    Deleting,
    /// Whoever could still write is waited for.
    Waiting,
    /// It is proven that nothing remains.
    Closed {
        /// When that was found.
        at: At,
    },
}

/// A closing: where it stands, and in the end the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The tenant.
    pub tenant: TenantId,
    /// What people called it.
    pub name: String,
    /// Where its data is: its record does not last as long as its closing.
    #[serde(default, skip_serializing_if = "Isolation::is_pool")]
    pub isolation: Isolation,
    /// Names this closing among those of the tenant, of which all but the last were taken back.
    pub id: String,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub requested_at: At,
    /// What is done now.
    pub phase: Phase,
    /// Passes that were begun.
    pub passes: u32,
    /// Parts of the export.
    pub parts: u64,
    /// What was exported. What changed after it was exported counts once more.
    pub exported: Counts,
    /// Bytes of all parts.
    pub exported_bytes: u64,
    /// Parts of which everything was deleted that was still as exported.
    pub emptied: u64,
    /// What was deleted.
    pub deleted: Counts,
    /// When something was deleted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<At>,
    /// The list of parts, once the first pass is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Manifest>,
    /// Until when somebody has it in hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_until: Option<At>,
    /// Counts the changes: who has read an older one changes nothing.
    pub revision: u64,
}

impl Closing {
    /// A closing as it is asked for.
    #[must_use]
    pub fn new(tenant: &Tenant, by: &str, now: At) -> Self {
        Self {
            tenant: tenant.id.clone(),
            name: tenant.name.clone(),
            isolation: tenant.isolation.clone(),
            id: format!("{:013}", now.0),
            by: by.to_owned(),
            requested_at: now,
            phase: Phase::Draining { drained_at: None },
            passes: 0,
            parts: 0,
            exported: Counts::default(),
            exported_bytes: 0,
            emptied: 0,
            deleted: Counts::default(),
            deleted_at: None,
            manifest: None,
            held_until: None,
            revision: 1,
        }
    }

    /// How the phase is called outside: `draining`, `exporting`, `deleting`, `waiting`, `proving`, `closed`.
    #[must_use]
    pub fn phase_name(&self) -> &'static str {
        match self.phase {
            Phase::Draining { .. } => "draining",
            Phase::Reading { .. } if self.passes <= 1 => "exporting",
            Phase::Reading { .. } => "proving",
            Phase::Deleting => "deleting",
            Phase::Waiting => "waiting",
            Phase::Closed { .. } => "closed",
        }
    }

    /// Whether nothing remains.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    /// Whether the tenant can be resumed: as long as nothing was deleted.
    #[must_use]
    pub fn may_be_taken_back(&self) -> bool {
        match self.phase {
            Phase::Draining { .. } => true,
            Phase::Reading { .. } => self.passes <= 1,
            Phase::Deleting | Phase::Waiting | Phase::Closed { .. } => false,
        }
    }

    /// From when on a pass that finds nothing is a proof.
    #[must_use]
    pub fn quiet_at(&self) -> At {
        let last = self.deleted_at.unwrap_or_default();
        last.max(self.requested_at).plus_ms(QUIET_MS)
    }

    /// When there is something to do next: now, when that is not later than now; never, when it is closed.
    #[must_use]
    pub fn due_at(&self, now: At) -> Option<At> {
        match self.phase {
            Phase::Draining { drained_at: None } => Some(now),
            Phase::Draining {
                drained_at: Some(at),
            } => Some(at.max(self.requested_at).plus_ms(SETTLING_MS)),
            Phase::Reading { .. } | Phase::Deleting => Some(now),
            Phase::Waiting => Some(self.quiet_at()),
            Phase::Closed { .. } => None,
        }
    }

    /// When somebody should come again: later than [`Closing::due_at`] where looking at once would show nothing new.
    #[must_use]
    pub fn look_again_at(&self, now: At) -> Option<At> {
        match self.phase {
            Phase::Draining { drained_at: None } => Some(now.plus_ms(LOOK_MS)),
            _ => self.due_at(now),
        }
    }

    /// Whether somebody else has it in hand.
    #[must_use]
    pub fn is_held(&self, now: At) -> bool {
        self.held_until.is_some_and(|until| now < until)
    }

    /// The next revision of it, in hand until [`HOLD_MS`] from now.
    #[must_use]
    pub fn held(mut self, now: At) -> Self {
        self.held_until = Some(now.plus_ms(HOLD_MS));
        self.revision += 1;
        self
    }

    /// The next revision of it, in nobody's hand.
    #[must_use]
    pub fn let_go(mut self) -> Self {
        self.held_until = None;
        self.revision += 1;
        self
    }

    /// No run is unfinished.
    #[must_use]
    pub fn drained(mut self, now: At) -> Self {
        self.phase = Phase::Draining {
            drained_at: Some(now),
        };
        self
    }

    /// A run is unfinished after all, before anything was deleted: what was exported so far counts no longer.
    #[must_use]
    pub fn drained_too_early(mut self) -> Self {
        self.phase = Phase::Draining { drained_at: None };
        (self.passes, self.parts) = (0, 0);
        (self.exported, self.exported_bytes) = (Counts::default(), 0);
        self
    }

    /// The next pass begins.
    #[must_use]
    pub fn begin_pass(mut self) -> Self {
        self.passes += 1;
        let own = self.isolation.own_table();
        self.phase = Phase::Reading {
            place: own.map_or(Place::Table(None), |own| Place::Own(own.to_owned(), None)),
            found: 0,
        };
        self
    }

    /// The pass goes on at `place`; what it has found on the way is exported as `part`.
    #[must_use]
    pub fn read_on(mut self, part: Option<&Part>, place: Place) -> Self {
        let mut found = match self.phase {
            Phase::Reading { found, .. } => found,
            _ => 0,
        };
        if let Some(part) = part {
            found += part.counts.items + part.counts.objects;
            self.parts = part.number;
            self.exported.items += part.counts.items;
            self.exported.objects += part.counts.objects;
            self.exported_bytes += part.bytes;
        }
        self.phase = Phase::Reading { place, found };
        self
    }

    /// The pass is over. The first one proves nothing, since it began before everybody was gone.
    #[must_use]
    pub fn end_pass(mut self, now: At) -> Self {
        let found_nothing = matches!(self.phase, Phase::Reading { found: 0, .. });
        self.phase = if found_nothing && self.passes > 1 {
            Phase::Closed { at: now }
        } else {
            Phase::Deleting
        };
        self
    }

    /// The next part is emptied.
    #[must_use]
    pub fn emptied_part(mut self, deleted: Counts, now: At) -> Self {
        self.emptied += 1;
        self.deleted.items += deleted.items;
        self.deleted.objects += deleted.objects;
        self.deleted_at = Some(now);
        self
    }

    /// Every part is emptied: from now on it is waited for a proof.
    #[must_use]
    pub fn wait(mut self) -> Self {
        self.phase = Phase::Waiting;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: At = At(1_700_000_000_000);

    fn asked() -> Closing {
        let acme = TenantId::parse("acme").unwrap();
        Closing::new(&Tenant::new(acme, "Acme", "free", NOW), "operator:1", NOW)
    }

    fn part(number: u64, items: u64) -> Part {
        Part {
            number,
            counts: Counts { items, objects: 0 },
            bytes: 10,
            sha256: "ab".to_owned(),
            table: None,
        }
    }

    #[test]
    fn nothing_is_exported_before_those_at_work_have_settled() {
        let closing = asked();
        assert_eq!(closing.due_at(NOW), Some(NOW));
        let later = NOW.plus_ms(1_000);
        let drained = closing.drained(later);
        let settled = later.plus_ms(SETTLING_MS);
        assert_eq!(drained.due_at(later), Some(settled));
        assert_eq!(drained.begin_pass().phase_name(), "exporting");
    }

    #[test]
    fn the_first_pass_is_no_proof_even_if_it_finds_nothing() {
        let closing = asked().drained(NOW).begin_pass().end_pass(NOW);
        assert_eq!(closing.phase, Phase::Deleting);
        let closing = closing.wait().begin_pass();
        assert_eq!(closing.phase_name(), "proving");
        let closing = closing.end_pass(NOW.plus_ms(5));
        assert_eq!(closing.phase, Phase::Closed { at: NOW.plus_ms(5) });
        assert_eq!(closing.due_at(NOW), None);
    }

    #[test]
    fn a_pass_that_finds_something_begins_the_wait_anew() {
        let closing = asked().drained(NOW).begin_pass();
        let closing = closing.read_on(Some(&part(1, 7)), Place::Bucket(None));
        let closing = closing.read_on(None, Place::Bucket(None)).end_pass(NOW);
        let gone_at = NOW.plus_ms(2_000);
        let seven = Counts {
            items: 7,
            objects: 0,
        };
        let closing = closing.emptied_part(seven, gone_at).wait();
        assert_eq!(closing.due_at(gone_at), Some(gone_at.plus_ms(QUIET_MS)));
        let again = closing
            .begin_pass()
            .read_on(Some(&part(2, 1)), Place::Table(None));
        let again = again.end_pass(gone_at.plus_ms(QUIET_MS));
        assert_eq!(again.phase, Phase::Deleting);
        let one = Counts {
            items: 1,
            objects: 0,
        };
        let last_at = gone_at.plus_ms(QUIET_MS + 1);
        let again = again.emptied_part(one, last_at).wait();
        assert_eq!(again.quiet_at(), last_at.plus_ms(QUIET_MS));
        assert_eq!((again.exported.items, again.deleted.items), (8, 8));
        assert_eq!((again.parts, again.emptied), (2, 2));
    }

    #[test]
    fn it_can_be_taken_back_until_deletion_begins() {
        let closing = asked();
        assert!(closing.may_be_taken_back());
        let reading = closing.drained(NOW).begin_pass();
        assert!(reading.may_be_taken_back());
        let read = reading.read_on(Some(&part(1, 7)), Place::Bucket(None));
        let early = read.clone().drained_too_early();
        assert_eq!((early.parts, early.exported.items, early.passes), (0, 0, 0));
        let deleting = read.end_pass(NOW);
        assert!(!deleting.may_be_taken_back());
        assert!(!deleting.wait().begin_pass().may_be_taken_back());
    }

    #[test]
    fn a_stored_closing_reads_back() {
        let place = Place::Table(Some(("T#a".to_owned(), "HEAD".to_owned())));
        let closing = asked().drained(NOW).begin_pass();
        let closing = closing.read_on(Some(&part(1, 7)), place).held(NOW);
        let json = serde_json::to_string(&closing).unwrap();
        assert_eq!(serde_json::from_str::<Closing>(&json).unwrap(), closing);
        assert!(closing.is_held(NOW) && !closing.is_held(NOW.plus_ms(HOLD_MS)));
        assert_eq!(closing.let_go().revision, 3);
    }
}

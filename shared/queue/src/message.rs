//! What travels: typed, versioned messages as JSON.
//!
//! Every body says its version and its type. A reader takes no other version or type and ignores fields that it does not
//! know, so that a newer sender may add some.

use domain::id::{DriverId, FrameId, Invalid, RunId, TenantId};
use domain::run::{Commit, Lane};
use domain::time::At;
use domain::trace::Carried;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::config::Origin;
use crate::error::Error;

/// The version that is written, and the only one that is read.
const VERSION: u64 = 1;
/// Most bytes of a body that carries a run's first commit: well under the 64 KB that SQS bills as one request.
const MAX_FIRST_BYTES: usize = 48 * 1024;
/// Most bytes of any body (limit of SQS: 1 MiB).
pub(crate) const MAX_BYTES: usize = 1024 * 1024;

/// How many deliveries of one chain are unusual: at each multiple, the sender logs a warning that an alarm stands on.
///
/// No number of hops is refused. A refusal would strand a run that may be in order, while its own caps and its deadline end
/// one that is not.
pub const HOPS_ALARM: u32 = 1_000;

/// Why a body is not a message of the expected kind.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// Not JSON, or fields are missing or of the wrong type.
    #[error("the body has not the shape of a message")]
    Shape(#[source] serde_json::Error),
    /// A version that this reader does not know.
    #[error("the message has version {0}; {VERSION} is known")]
    Version(u64),
    /// A message of another queue.
    #[error("the message has type `{found}` instead of `{expected}`")]
    Type {
        /// The type in the body.
        found: String,
        /// The type that this queue carries.
        expected: &'static str,
    },
    /// An identifier breaks its rule.
    #[error("the message names something that cannot exist")]
    Id(#[from] Invalid),
}

/// What can be read from a queue.
pub trait Message: Sized {
    /// Reads a body.
    ///
    /// # Errors
    /// [`Malformed`], saying what is wrong with it.
    fn parse(body: &str) -> Result<Self, Malformed>;
}

/// Says that a run has something to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunMessage {
    /// Whose run.
    pub tenant: TenantId,
    /// Which run.
    pub run: RunId,
    /// How many messages of this run went before in an unbroken chain.
    #[serde(default)]
    pub hops: u32,
    /// The driver that ran out of time and gave the run up, so that its lease need not be waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handed_over_by: Option<DriverId>,
    /// The instant that it was to wake the run at, when it was sent for that. A run that waits for another one by now has
    /// no more use for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wakes_at: Option<At>,
    /// Whether it was sent since the run showed no life: whoever had it may have died anywhere.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub revives: bool,
    /// The trace that it belongs to, where there are traces.
    #[serde(
        default,
        deserialize_with = "trace",
        skip_serializing_if = "Option::is_none"
    )]
    pub trace: Option<Carried>,
    /// The beginning of a run that was just created, so that the first delivery needs no read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Box<First>>,
}

/// The whole log of a run that was just created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct First {
    /// The commit that created it, from event 1.
    pub commit: Commit,
}

impl RunMessage {
    /// A message about a run that exists already.
    #[must_use]
    pub fn new(tenant: TenantId, run: RunId) -> Self {
        Self {
            tenant,
            run,
            hops: 0,
            handed_over_by: None,
            wakes_at: None,
            revives: false,
            trace: None,
            first: None,
        }
    }

    /// Makes this the first message about a run: the commit that created it travels along as long as the body stays within
    /// 48 KiB; otherwise it is left out when the message is sent.
    pub fn carry(&mut self, commit: Commit) {
        self.first = Some(Box::new(First { commit }));
    }

    /// The message that continues this one: one hop more, and nothing but the run.
    #[must_use]
    pub fn next_hop(&self) -> Self {
        Self {
            hops: self.hops.saturating_add(1),
            ..Self::new(self.tenant.clone(), self.run.clone())
        }
    }

    pub(crate) fn body(&self) -> Result<String, Error> {
        let body = encode(RUN, self);
        if body.len() > MAX_FIRST_BYTES && self.first.is_some() {
            let rest = Self {
                first: None,
                hops: self.hops,
                handed_over_by: self.handed_over_by.clone(),
                wakes_at: self.wakes_at,
                revives: self.revives,
                trace: self.trace,
                ..Self::new(self.tenant.clone(), self.run.clone())
            };
            return within_limit(encode(RUN, &rest));
        }
        within_limit(body)
    }
}

/// A trace that cannot be read is none: no message is worth less for it.
fn trace<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Carried>, D::Error> {
    let read = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(read).ok())
}

/// Asks the worker for a tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolMessage {
    /// Whose run.
    pub tenant: TenantId,
    /// The run that waits.
    pub run: RunId,
    /// The queue that carries the run, where the worker announces the result.
    #[serde(default)]
    pub lane: Lane,
    /// The frame that asked.
    pub frame: FrameId,
    /// The step whose answer asked.
    pub step: u32,
    /// The call's place among that answer's calls, from 0.
    pub call: u32,
    /// The effect id: what the tool receives as its `Idempotency-Key`.
    pub effect: String,
    /// The tool's name.
    pub tool: String,
    /// Its arguments.
    pub arguments: Value,
    /// When it must have answered.
    pub due_at: At,
    /// How many messages of this run went before in an unbroken chain.
    #[serde(default)]
    pub hops: u32,
    /// The trace that it belongs to, where there are traces.
    #[serde(
        default,
        deserialize_with = "trace",
        skip_serializing_if = "Option::is_none"
    )]
    pub trace: Option<Carried>,
}

impl ToolMessage {
    /// A message about the root frame of this run that asks for nothing yet: the other fields are to be filled in.
    #[must_use]
    pub fn new(tenant: TenantId, run: RunId) -> Self {
        Self {
            tenant,
            run,
            lane: Lane::default(),
            frame: FrameId::root(),
            step: 0,
            call: 0,
            effect: String::new(),
            tool: String::new(),
            arguments: Value::Null,
            due_at: At(0),
            hops: 0,
            trace: None,
        }
    }

    pub(crate) fn body(&self) -> Result<String, Error> {
        within_limit(encode(TOOL, self))
    }
}

/// Asks the janitor to look for runs that are stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SweepMessage {
    /// The instant up to which runs are to be looked at; it is delivered then.
    pub up_to: At,
}

/// Asks the janitor to go on with the closing of a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosingMessage {
    /// The tenant.
    pub tenant: TenantId,
}

const CLOSING: &str = "closing";
const RUN: &str = "run";
const SWEEP: &str = "sweep";
const TOOL: &str = "tool";

impl Message for RunMessage {
    fn parse(body: &str) -> Result<Self, Malformed> {
        check(body, RUN)?;
        let mut message: Self = serde_json::from_str(body).map_err(Malformed::Shape)?;
        // Anything but the beginning of the log is of no use; the log itself is read instead.
        message
            .first
            .take_if(|first| first.commit.first != 1 || first.commit.events.is_empty());
        Ok(message)
    }
}

impl Message for SweepMessage {
    fn parse(body: &str) -> Result<Self, Malformed> {
        check(body, SWEEP)?;
        serde_json::from_str(body).map_err(Malformed::Shape)
    }
}

impl Message for ClosingMessage {
    fn parse(body: &str) -> Result<Self, Malformed> {
        check(body, CLOSING)?;
        serde_json::from_str(body).map_err(Malformed::Shape)
    }
}

impl ClosingMessage {
    pub(crate) fn body(&self) -> Result<String, Error> {
        within_limit(encode(CLOSING, self))
    }
}

impl SweepMessage {
    pub(crate) fn body(self) -> Result<String, Error> {
        within_limit(encode(SWEEP, &self))
    }
}

impl Message for ToolMessage {
    fn parse(body: &str) -> Result<Self, Malformed> {
        check(body, TOOL)?;
        let message: Self = serde_json::from_str(body).map_err(Malformed::Shape)?;
        FrameId::parse(message.frame.as_str())?;
        Ok(message)
    }
}

/// What a message is about, without what it carries: inputs and arguments are the tenant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// `run`, `tool`, `sweep` or `closing`.
    pub kind: String,
    /// Whose run, or the tenant that is being closed.
    pub tenant: Option<TenantId>,
    /// The run.
    pub run: Option<RunId>,
    /// The tool that was to be called.
    pub tool: Option<String>,
}

impl About {
    /// Reads as much of a body of this queue.
    pub(crate) fn of(origin: Origin, body: &str) -> Result<Self, Malformed> {
        #[derive(Deserialize)]
        struct Named {
            tool: Option<String>,
        }
        let stamp = match origin {
            Origin::Lane(_) => check(body, RUN)?,
            Origin::Tasks => check(body, TOOL)?,
            Origin::Sweeps => check(body, CLOSING).or_else(|_| check(body, SWEEP))?,
        };
        let Named { tool } = serde_json::from_str(body).map_err(Malformed::Shape)?;
        Ok(Self {
            kind: stamp.r#type,
            tenant: stamp.tenant.as_deref().map(TenantId::parse).transpose()?,
            run: stamp.run.as_deref().map(RunId::parse).transpose()?,
            tool,
        })
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    v: u64,
    r#type: &'static str,
    #[serde(flatten)]
    message: &'a T,
}

/// What is looked at before anything else, so that the error names it.
#[derive(Deserialize)]
struct Stamp {
    v: u64,
    r#type: String,
    /// Whose run, and which; what is about no run has neither.
    tenant: Option<String>,
    run: Option<String>,
}

fn check(body: &str, expected: &'static str) -> Result<Stamp, Malformed> {
    let stamp: Stamp = serde_json::from_str(body).map_err(Malformed::Shape)?;
    if stamp.v != VERSION {
        return Err(Malformed::Version(stamp.v));
    }
    if stamp.r#type != expected {
        return Err(Malformed::Type {
            found: stamp.r#type.chars().take(64).collect(),
            expected,
        });
    }
    stamp.tenant.as_deref().map(TenantId::parse).transpose()?;
    stamp.run.as_deref().map(RunId::parse).transpose()?;
    Ok(stamp)
}

fn encode<T: Serialize>(r#type: &'static str, message: &T) -> String {
    let envelope = Envelope {
        v: VERSION,
        r#type,
        message,
    };
    let body = serde_json::to_string(&envelope)
        .expect("messages are plain data with text keys, which always serialise");
    // SQS refuses these two characters, which are valid in JSON; they can only stand inside its strings.
    if body.contains(['\u{fffe}', '\u{ffff}']) {
        body.replace('\u{fffe}', "\\ufffe")
            .replace('\u{ffff}', "\\uffff")
    } else {
        body
    }
}

fn within_limit(body: String) -> Result<String, Error> {
    if body.len() > MAX_BYTES {
        return Err(Error::TooLarge {
            bytes: body.len(),
            limit: MAX_BYTES,
        });
    }
    Ok(body)
}

#[cfg(test)]
mod tests;

//! Where the queues are, and how long a delivery is held.

use std::time::Duration;

use domain::run::Lane;

/// A queue that messages come from, and behind which those lie that were received too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A lane of runs.
    Lane(Lane),
    /// Tool calls for the worker.
    Tasks,
    /// What brings the janitor.
    Sweeps,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Lane(Lane::Interactive),
        Self::Lane(Lane::Standard),
        Self::Lane(Lane::Batch),
        Self::Tasks,
        Self::Sweeps,
    ];

    /// What operators call it, and what the queue's name ends in.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lane(Lane::Interactive) => "runs-interactive",
            Self::Lane(Lane::Standard) => "runs-standard",
            Self::Lane(Lane::Batch) => "runs-batch",
            Self::Tasks => "tasks",
            Self::Sweeps => "sweeps",
        }
    }

    /// The queue that `text` names.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.as_str() == text)
    }
}

/// Where the queues are.
#[derive(Clone, Debug)]
pub struct Config {
    /// URL of the queue of runs that somebody waits for.
    pub interactive_url: String,
    /// URL of the queue of ordinary runs.
    pub standard_url: String,
    /// URL of the queue of runs that take what room is left.
    pub batch_url: String,
    /// URL of the task queue, which carries tool calls to the worker.
    pub tasks_url: String,
    /// URL of the queue that brings the janitor at the instants at which a run may be stuck.
    pub sweeps_url: String,
    /// How delays over 15 minutes are kept; none leaves them to repeated delays.
    pub timers: Option<Timers>,
    /// How deliveries are held.
    pub beat: Beat,
}

/// What EventBridge Scheduler needs in order to send a message later.
#[derive(Clone, Debug)]
pub struct Timers {
    /// The schedule group that the timers are created in.
    pub group: String,
    /// The role that the scheduler takes on: it must allow `sqs:SendMessage` on the three run queues.
    pub role_arn: String,
}

/// How a delivery is held while it is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beat {
    /// How long after the delivery its visibility is shortened for the first time. What ends sooner costs no request; what
    /// crashes sooner is noticed only when the queue's own visibility timeout ends.
    pub first_after: Duration,
    /// How far apart the following beats are.
    pub every: Duration,
    /// How long a message stays hidden after a beat, so how late a crash is noticed. In whole seconds, at least one.
    pub visibility: Duration,
}

impl Default for Beat {
    /// At once, then every 10 s, for 30 s each time (design section 3): two beats may fail before the message reappears.
    fn default() -> Self {
        Self {
            first_after: Duration::ZERO,
            every: Duration::from_secs(10),
            visibility: Duration::from_secs(30),
        }
    }
}

impl Config {
    /// The URL of the queue that carries `lane`.
    #[must_use]
    pub fn lane_url(&self, lane: Lane) -> &str {
        match lane {
            Lane::Interactive => &self.interactive_url,
            Lane::Standard => &self.standard_url,
            Lane::Batch => &self.batch_url,
        }
    }

    /// The URL of a queue.
    #[must_use]
    pub fn url_of(&self, origin: Origin) -> &str {
        match origin {
            Origin::Lane(lane) => self.lane_url(lane),
            Origin::Tasks => &self.tasks_url,
            Origin::Sweeps => &self.sweeps_url,
        }
    }

    /// The URL of the queue that an event source's ARN names: both end in the queue's name.
    #[must_use]
    pub fn url_of_arn(&self, arn: &str) -> Option<&str> {
        let name = arn.rsplit(':').next()?;
        let urls = Origin::ALL.into_iter().map(|origin| self.url_of(origin));
        let mut urls = urls.filter(|url| name_of_url(url) == name);
        urls.next()
    }
}

/// The queue's name, for errors and logs.
pub(crate) fn name_of_url(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_finds_the_url_of_the_same_queue() {
        let url = |name: &str| format!("https://sqs.eu-west-1.amazonaws.com/1/{name}");
        let config = Config {
            interactive_url: url("runs-interactive"),
            standard_url: url("runs-standard"),
            batch_url: url("runs-batch"),
            tasks_url: url("tasks"),
            sweeps_url: url("sweeps"),
            timers: None,
            beat: Beat::default(),
        };
        assert_eq!(
            config.url_of_arn("arn:aws:sqs:eu-west-1:1:tasks"),
            Some(config.tasks_url.as_str())
        );
        assert_eq!(
            config.url_of_arn("arn:aws:sqs:eu-west-1:1:runs-batch"),
            Some(config.lane_url(Lane::Batch))
        );
        assert_eq!(config.url_of_arn("arn:aws:sqs:eu-west-1:1:batch"), None);
    }
}

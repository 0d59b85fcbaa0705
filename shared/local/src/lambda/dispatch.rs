//! The meeting point of one function's events and its processes: who waits, what is pending, what is in flight.
//!
//! Pure bookkeeping behind one lock that is never held across an await; the shell around it starts processes
//! ([`super::process`]) and speaks the protocol ([`super::runtime_api`]).

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use uuid::Uuid;

use super::{
    FunctionConfig, Mode,
    reply::{InvokeError, Reply},
};

pub(super) type Answer = Result<Reply, InvokeError>;

/// An event on its way into a function.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) payload: Bytes,
    pub(super) trace_id: Option<String>,
    pub(super) answer: oneshot::Sender<Answer>,
}

/// An event handed to a process.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) id: Uuid,
    pub(super) payload: Bytes,
    pub(super) trace_id: Option<String>,
    pub(super) deadline_at_ms: u128,
}

/// What a process that asks for its next event gets.
#[derive(Debug)]
pub(super) enum Next {
    Now(Assigned),
    Later(oneshot::Receiver<Assigned>),
}

/// What a supervisor is told to do to its process.
#[derive(Clone, Copy, Debug)]
pub(super) enum Signal {
    Terminate,
    Kill,
}

/// The right to run one process.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) process: u64,
    pub(super) signals: mpsc::UnboundedReceiver<Signal>,
}

/// How a process did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// It answered at least one event, so the next one may start at once.
    pub(super) answered: bool,
}

/// How many processes there are, and how many of them have asked for an event.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Population {
    pub(super) live: usize,
    pub(super) polled: usize,
}

/// One function: its settings and the state of its events and processes.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) config: FunctionConfig,
    pub(super) arn: String,
    pub(super) population: watch::Sender<Population>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_process: u64,
    processes: BTreeMap<u64, Process>,
    waiting: Vec<Waiting>,
    pending: VecDeque<Event>,
    in_flight: HashMap<Uuid, InFlight>,
    deadlines: BTreeSet<(Instant, Uuid)>,
    failed_starts: u32,
    init_error: Option<String>,
    stopped: bool,
}

#[derive(Debug)]
struct Process {
    pid: Option<u32>,
    signals: mpsc::UnboundedSender<Signal>,
    polled: bool,
    answered: bool,
    dying: bool,
}

#[derive(Debug)]
struct Waiting {
    process: u64,
    assign: oneshot::Sender<Assigned>,
}

#[derive(Debug)]
pub(super) struct InFlight {
    process: u64,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Answer>,
}

impl Function {
    pub(super) fn new(config: FunctionConfig, arn: String) -> Self {
        Self {
            config,
            arn,
            population: watch::Sender::default(),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the event to a waiting process, or keeps it until one asks.
    pub(super) fn enqueue(&self, mut event: Event) {
        let mut state = self.state();
        if state.stopped {
            let _ = event.answer.send(Err(InvokeError::Stopped));
            return;
        }
        while let Some(waiting) = state.waiting.pop() {
            let (assigned, in_flight) = self.assign(waiting.process, event);
            let (id, deadline) = (assigned.id, in_flight.deadline);
            // Registered first, so that the process cannot answer an event nobody knows.
            state.in_flight.insert(id, in_flight);
            state.deadlines.insert((deadline, id));
            let Err(refused) = waiting.assign.send(assigned) else {
                return;
            };
            let Some(in_flight) = state.take(id) else {
                return;
            };
            event = Event {
                payload: refused.payload,
                trace_id: refused.trace_id,
                answer: in_flight.answer,
            };
        }
        state.pending.push_back(event);
    }

    /// The next event for a process.
    pub(super) fn next(&self, process: u64) -> Next {
        let mut state = self.state();
        if let Some(entry) = state.processes.get_mut(&process)
            && !entry.polled
        {
            entry.polled = true;
            state.failed_starts = 0;
            state.init_error = None;
            state.publish(&self.population);
        }
        if state.is_usable(process)
            && let Some(event) = state.pending.pop_front()
        {
            let (assigned, in_flight) = self.assign(process, event);
            state.deadlines.insert((in_flight.deadline, assigned.id));
            state.in_flight.insert(assigned.id, in_flight);
            return Next::Now(assigned);
        }
        let (assign, later) = oneshot::channel();
        if state.is_usable(process) {
            state.waiting.push(Waiting { process, assign });
        }
        Next::Later(later)
    }

    fn assign(&self, process: u64, event: Event) -> (Assigned, InFlight) {
        let since_epoch = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let assigned = Assigned {
            id: Uuid::new_v4(),
            payload: event.payload,
            trace_id: event.trace_id,
            deadline_at_ms: (since_epoch + self.config.timeout).as_millis(),
        };
        let in_flight = InFlight {
            process,
            deadline: Instant::now() + self.config.timeout,
            answer: event.answer,
        };
        (assigned, in_flight)
    }

    /// Takes an invocation that its process now answers; `None` if it timed out or never was.
    pub(super) fn answered(&self, process: u64, id: Uuid) -> Option<InFlight> {
        let mut state = self.state();
        if state.in_flight.get(&id)?.process != process {
            return None;
        }
        if let Some(entry) = state.processes.get_mut(&process) {
            entry.answered = true;
        }
        state.take(id)
    }

    /// Remembers what a process said about why it cannot start.
    pub(super) fn init_failed(&self, message: String) {
        self.state().init_error = Some(message);
    }

    /// Reserves the right to run a process: one in concurrent mode, as many as pending events need in classic mode.
    pub(super) fn reserve(&self) -> Option<Slot> {
        let mut state = self.state();
        let (most, wanted) = match self.config.mode {
            Mode::Concurrent { .. } => (1, 1),
            Mode::Classic { max_processes } => (max_processes, state.pending.len()),
        };
        let starting = state
            .processes
            .values()
            .filter(|process| !process.polled)
            .count();
        if state.stopped || state.processes.len() >= most || starting >= wanted {
            return None;
        }
        let (sender, signals) = mpsc::unbounded_channel();
        state.last_process += 1;
        let process = state.last_process;
        state.processes.insert(
            process,
            Process {
                pid: None,
                signals: sender,
                polled: false,
                answered: false,
                dying: false,
            },
        );
        state.publish(&self.population);
        Some(Slot { process, signals })
    }

    pub(super) fn started(&self, process: u64, pid: Option<u32>) {
        if let Some(entry) = self.state().processes.get_mut(&process) {
            entry.pid = pid;
        }
    }

    /// Forgets a process that has ended and fails what it had in flight.
    ///
    /// The second process in a row that ends before its first poll also fails everything pending: Lambda too tries
    /// to initialise twice.
    pub(super) fn ended(&self, process: u64, reason: &str) -> Ended {
        let mut state = self.state();
        state.waiting.retain(|waiting| waiting.process != process);
        let lost: Vec<Uuid> = state
            .in_flight
            .iter()
            .filter(|(_, in_flight)| in_flight.process == process)
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            if let Some(in_flight) = state.take(id) {
                let _ = in_flight.answer.send(Err(InvokeError::Exited {
                    function: self.config.name.clone(),
                    reason: reason.to_owned(),
                }));
            }
        }
        let entry = state.processes.remove(&process);
        state.publish(&self.population);
        let polled = entry.as_ref().is_some_and(|entry| entry.polled);
        if !polled {
            state.failed_starts += 1;
            if state.failed_starts > 1 {
                let reason = state
                    .init_error
                    .clone()
                    .unwrap_or_else(|| reason.to_owned());
                for event in state.pending.drain(..) {
                    let _ = event.answer.send(Err(InvokeError::Init {
                        function: self.config.name.clone(),
                        reason: reason.clone(),
                    }));
                }
            }
        }
        Ended {
            answered: entry.is_some_and(|entry| entry.answered),
        }
    }

    /// When to look for timeouts again. An event assigned later cannot be due sooner, since all have one timeout.
    pub(super) fn next_expiry(&self) -> Instant {
        match self.state().deadlines.first() {
            Some((deadline, _)) => *deadline,
            None => Instant::now() + self.config.timeout,
        }
    }

    /// Fails every invocation that is due, and in classic mode kills its process.
    pub(super) fn expire(&self, now: Instant) {
        loop {
            let mut state = self.state();
            let Some((deadline, id)) = state.deadlines.first().copied() else {
                return;
            };
            if deadline > now {
                return;
            }
            let Some(in_flight) = state.take(id) else {
                return;
            };
            if let Mode::Classic { .. } = self.config.mode {
                state.kill(in_flight.process);
            }
            let _ = in_flight.answer.send(Err(self.timed_out()));
        }
    }

    pub(super) fn timed_out(&self) -> InvokeError {
        InvokeError::TimedOut {
            function: self.config.name.clone(),
            timeout_ms: self.config.timeout.as_millis(),
        }
    }

    pub(super) fn kill_process(&self, process: u64) {
        self.state().kill(process);
    }

    /// Kills every process; no event goes to them any more. Says how many there were.
    pub(super) fn kill_all(&self) -> usize {
        let mut state = self.state();
        let processes: Vec<u64> = state.processes.keys().copied().collect();
        for process in &processes {
            state.kill(*process);
        }
        processes.len()
    }

    /// Refuses events from now on, fails the pending ones and asks the processes to end.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        for event in state.pending.drain(..) {
            let _ = event.answer.send(Err(InvokeError::Stopped));
        }
        for process in state.processes.values() {
            let _ = process.signals.send(Signal::Terminate);
        }
    }

    pub(super) fn pids(&self) -> Vec<u32> {
        let state = self.state();
        state.processes.values().filter_map(|p| p.pid).collect()
    }
}

impl State {
    fn take(&mut self, id: Uuid) -> Option<InFlight> {
        let in_flight = self.in_flight.remove(&id)?;
        self.deadlines.remove(&(in_flight.deadline, id));
        Some(in_flight)
    }

    fn is_usable(&self, process: u64) -> bool {
        !self.stopped && self.processes.get(&process).is_some_and(|p| !p.dying)
    }

    fn kill(&mut self, process: u64) {
        self.waiting.retain(|waiting| waiting.process != process);
        if let Some(entry) = self.processes.get_mut(&process) {
            entry.dying = true;
            let _ = entry.signals.send(Signal::Kill);
        }
    }

    fn publish(&self, population: &watch::Sender<Population>) {
        population.send_replace(Population {
            live: self.processes.len(),
            polled: self.processes.values().filter(|p| p.polled).count(),
        });
    }
}

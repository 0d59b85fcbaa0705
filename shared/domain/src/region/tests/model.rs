//! Two Regions with copies of one table, every order in which writes and copies can come, explored to the end: whatever a
//! Region was told is stored stays there, and nobody goes on from what it has not seen.
//!
//! One run of one tenant, which begins in Region 0. In each Region a driver writes to its log, and whoever looks moves the
//! home there and takes the run over, one copied event at a time; two do that at once. Copies of items arrive in any order,
//! at any time; of two writes of one item the later one wins in the end. A Region that is cut off is one to which nothing
//! arrives for long; a driver that is not told of a move goes on as ever.

use std::collections::{BTreeMap, BTreeSet};

use stateright::{Checker, HasDiscoveries, Model, Property};

use super::super::{MOST, next_epoch};

/// How much happens in one history.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Events that the drivers of each Region write.
    writes: [u8; 2],
    /// Moves of the home.
    moves: u8,
    /// Times that somebody in one Region looks at what is to be taken over.
    looks: u8,
}

/// One move, with both Regions at work and two that take the run over.
const THERE: Bounds = Bounds {
    writes: [2, 1],
    moves: 1,
    looks: 2,
};
/// There and back, with a driver of the first time that is still alive.
const AND_BACK: Bounds = Bounds {
    writes: [2, 0],
    moves: 2,
    looks: 1,
};

/// A fault of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// The epoch is no part of an event's key.
    SharedKeys,
    /// A driver writes in the epoch that it hears of, not in the one that it has read.
    NotPinned,
    /// A driver writes whosever epoch it is.
    Unowned,
    /// A run is taken over with whatever has arrived, gaps and all.
    TakesGaps,
    /// Whoever takes a run over a second time overwrites the first.
    TakesTwice,
}

const KEPT: &str = "what a Region was told is stored stays stored there";
const ONE_WRITER: &str = "no item is written in two Regions";
const FOLLOWS: &str = "whoever writes has seen what stands before";
const BEHIND: &str = "a driver that was cut off goes on behind the move";
const BACK: &str = "a tenant comes back home";
const AGREES: &str = "once everything has arrived, Regions agree";

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Key {
    /// The tenant's record of an epoch.
    Home(u64),
    /// An event of the run, by epoch and number.
    Event(u64, u8),
}

/// A value that tells it from every other one: who wrote it as which of its writes, and the one that it follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Fact {
    writer: u8,
    number: u8,
    after: Option<(u8, u8)>,
    /// The epoch that the run is taken over into by it, or 0.
    takes: u64,
}

type Copies = BTreeMap<Key, (Fact, u8)>;

/// Somebody who drives the run in a Region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Driver {
    epoch: u64,
    /// Events that it has read, and the last of them.
    seen: u8,
    last: Option<(u8, u8)>,
}

/// Somebody who takes the run over into an epoch, with what it saw of the log and how much of that it has copied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Taking {
    epoch: u64,
    log: Vec<Option<Fact>>,
    copied: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    tables: [Copies; 2],
    /// What has not arrived, by the Region that it is for.
    under_way: BTreeSet<(u8, Key, Fact, u8)>,
    drivers: [Option<Driver>; 2],
    takings: [Vec<Taking>; 2],
    written: [u8; 2],
    moves: u8,
    /// Looks at the run by those who are to take it over, in each Region.
    looks: [u8; 2],
    /// Facts that each Region has made.
    facts: [u8; 2],
    /// What each Region was told is stored.
    told: [BTreeMap<Key, Fact>; 2],
    /// Who wrote an item, and how often it was written: the later one wins.
    writers: BTreeMap<Key, (BTreeSet<u8>, u8)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Action {
    Arrive(usize),
    Read(usize),
    Write(usize),
    Move(usize),
    Look(usize),
    Copy(usize, usize),
    Finish(usize, usize),
}

struct Rule {
    bug: Option<Bug>,
    bounds: Bounds,
}

impl World {
    fn newest(&self, region: usize) -> u64 {
        let homes = self.tables[region].keys().filter_map(|key| match key {
            Key::Home(epoch) => Some(*epoch),
            Key::Event(..) => None,
        });
        homes.max().unwrap_or_default()
    }

    /// The log of an epoch as it stands in a Region, up to its first gap.
    fn log(&self, rule: &Rule, region: usize, epoch: u64) -> Vec<Fact> {
        (0..)
            .map_while(|number| self.tables[region].get(&rule.event(epoch, number)))
            .map(|(fact, _)| *fact)
            .collect()
    }

    /// Writes an item in a Region, if it is absent there.
    fn put(&mut self, region: usize, key: Key, fact: Fact, always: bool) -> bool {
        if !always && self.tables[region].contains_key(&key) {
            return false;
        }
        let writer = u8::try_from(region).unwrap();
        let (writers, at) = self.writers.entry(key).or_default();
        writers.insert(writer);
        *at += 1;
        self.tables[region].insert(key, (fact, *at));
        self.told[region].insert(key, fact);
        self.under_way.insert((1 - writer, key, fact, *at));
        true
    }

    fn fact(&mut self, region: usize, after: Option<(u8, u8)>, takes: u64) -> Fact {
        self.facts[region] += 1;
        Fact {
            writer: u8::try_from(region).unwrap(),
            number: self.facts[region],
            after,
            takes,
        }
    }
}

impl Fact {
    fn id(&self) -> (u8, u8) {
        (self.writer, self.number)
    }
}

impl Rule {
    fn event(&self, epoch: u64, number: u8) -> Key {
        let shared = self.bug == Some(Bug::SharedKeys);
        Key::Event(if shared { 0 } else { epoch }, number)
    }

    fn owns(&self, region: usize, epoch: u64) -> bool {
        self.bug == Some(Bug::Unowned) || epoch % MOST == region as u64
    }

    /// Whether the run was taken over into an epoch, as far as a Region knows.
    fn is_taken(&self, world: &World, region: usize, epoch: u64) -> bool {
        let log = world.log(self, region, epoch);
        epoch == 0 || log.iter().any(|fact| fact.takes == epoch)
    }
}

impl Model for Rule {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        let first = Fact {
            writer: 0,
            number: 0,
            after: None,
            takes: 0,
        };
        let table: Copies = [(Key::Home(0), (first, 0)), (Key::Event(0, 0), (first, 0))].into();
        vec![World {
            tables: [table.clone(), table],
            under_way: BTreeSet::new(),
            drivers: [None, None],
            takings: [Vec::new(), Vec::new()],
            written: [0; 2],
            moves: 0,
            looks: [0; 2],
            facts: [0; 2],
            told: Default::default(),
            writers: BTreeMap::new(),
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        actions.extend((0..world.under_way.len()).map(Action::Arrive));
        for region in 0..2 {
            let newest = world.newest(region);
            let is_home = newest % MOST == region as u64;
            let may_write = world.written[region] < self.bounds.writes[region];
            if may_write && self.owns(region, newest) && world.drivers[region].is_none() {
                actions.push(Action::Read(region));
            }
            if may_write && world.drivers[region].is_some() {
                actions.push(Action::Write(region));
            }
            if !is_home && world.moves < self.bounds.moves {
                actions.push(Action::Move(region));
            }
            if is_home
                && newest > 0
                && world.looks[region] < self.bounds.looks
                && !self.is_taken(world, region, newest)
            {
                actions.push(Action::Look(region));
            }
            for (place, taking) in world.takings[region].iter().enumerate() {
                actions.push(if usize::from(taking.copied) < taking.log.len() {
                    Action::Copy(region, place)
                } else {
                    Action::Finish(region, place)
                });
            }
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let mut world = last.clone();
        match action {
            Action::Arrive(place) => {
                let arriving = *world.under_way.iter().nth(place)?;
                world.under_way.remove(&arriving);
                let (to, key, fact, at) = arriving;
                let table = &mut world.tables[usize::from(to)];
                let there = table.entry(key).or_insert((fact, at));
                if there.1 < at {
                    *there = (fact, at);
                }
            }
            Action::Read(region) => {
                let epoch = world.newest(region);
                let log = world.log(self, region, epoch);
                let last = log.last()?.id();
                let seen = u8::try_from(log.len()).unwrap();
                // What was not taken over has nobody who drives it.
                if epoch > 0 && !self.is_taken(&world, region, epoch) {
                    return None;
                }
                world.drivers[region] = Some(Driver {
                    epoch,
                    seen,
                    last: Some(last),
                });
            }
            Action::Write(region) => {
                let mut driver = world.drivers[region].take()?;
                if self.bug == Some(Bug::NotPinned) {
                    driver.epoch = world.newest(region);
                }
                if !self.owns(region, driver.epoch) {
                    return Some(world);
                }
                world.written[region] += 1;
                let fact = world.fact(region, driver.last, 0);
                let key = self.event(driver.epoch, driver.seen);
                if world.put(region, key, fact, false) {
                    driver.seen += 1;
                    driver.last = Some(fact.id());
                    world.drivers[region] = Some(driver);
                }
            }
            Action::Move(region) => {
                world.moves += 1;
                let epoch = next_epoch(world.newest(region), region as u64);
                let fact = world.fact(region, None, 0);
                world.put(region, Key::Home(epoch), fact, false);
            }
            Action::Look(region) => {
                world.looks[region] += 1;
                let epoch = world.newest(region);
                let before = world.tables[region].keys().filter_map(|key| match key {
                    Key::Home(other) if *other < epoch => Some(*other),
                    _ => None,
                });
                // The newest epoch in which the run stands.
                let before: Vec<u64> = before.collect();
                let former = before.into_iter().rev();
                let mut logs = former.map(|former| (former, world.log(self, region, former)));
                let (former, log) = logs.find(|(_, log)| !log.is_empty())?;
                let log: Vec<Option<Fact>> = if self.bug == Some(Bug::TakesGaps) {
                    let last = (0..8).rev().find(|number| {
                        world.tables[region].contains_key(&self.event(former, *number))
                    })?;
                    let at = |number| world.tables[region].get(&self.event(former, number));
                    (0..=last)
                        .map(|number| at(number).map(|(fact, _)| *fact))
                        .collect()
                } else {
                    log.into_iter().map(Some).collect()
                };
                let is_there = self.bug == Some(Bug::SharedKeys);
                let copied = u8::try_from(if is_there { log.len() } else { 0 }).unwrap();
                world.takings[region].push(Taking { epoch, log, copied });
                world.takings[region].sort();
            }
            Action::Copy(region, place) => {
                let mut taking = world.takings[region].remove(place);
                let fact = taking.log[usize::from(taking.copied)];
                let key = self.event(taking.epoch, taking.copied);
                let there = world.tables[region].get(&key).map(|(there, _)| *there);
                match (fact, there) {
                    (Some(fact), None) => {
                        world.put(region, key, fact, false);
                    }
                    // Somebody else took it over from here on.
                    (Some(fact), Some(there)) if fact != there => return Some(world),
                    _ => {}
                }
                taking.copied += 1;
                world.takings[region].push(taking);
                world.takings[region].sort();
            }
            Action::Finish(region, place) => {
                let taking = world.takings[region].remove(place);
                let last = taking.log.last().copied().flatten().map(|fact| fact.id());
                let key = self.event(taking.epoch, taking.copied);
                let always = self.bug == Some(Bug::TakesTwice);
                if always || !world.tables[region].contains_key(&key) {
                    let fact = world.fact(region, last, taking.epoch);
                    world.put(region, key, fact, always);
                }
            }
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(KEPT, |_, world: &World| {
                (0..2).all(|region| {
                    let mut told = world.told[region].iter();
                    told.all(|(key, fact)| {
                        world.tables[region].get(key).map(|(there, _)| there) == Some(fact)
                    })
                })
            }),
            Property::always(ONE_WRITER, |_, world: &World| {
                world
                    .writers
                    .values()
                    .all(|(writers, _)| writers.len() == 1)
            }),
            Property::always(FOLLOWS, |rule: &Self, world: &World| {
                (0..2).all(|region| {
                    let epoch = world.newest(region);
                    let log = world.log(rule, region, epoch);
                    let mut pairs = log.windows(2);
                    let is_whole = !rule.is_taken(world, region, epoch)
                        || world.told[region].keys().all(|key| match key {
                            Key::Event(of, number) if *of == epoch => {
                                usize::from(*number) < log.len()
                            }
                            _ => true,
                        });
                    is_whole && pairs.all(|pair| pair[1].after == Some(pair[0].id()))
                })
            }),
            Property::always(AGREES, |_, world: &World| {
                let facts = |region: usize| {
                    let table = world.tables[region].iter();
                    table
                        .map(|(key, (fact, _))| (*key, *fact))
                        .collect::<Vec<_>>()
                };
                !world.under_way.is_empty() || facts(0) == facts(1)
            }),
            Property::sometimes(BEHIND, |_, world: &World| {
                world.told[0].contains_key(&Key::Event(0, 2))
                    && world.told[1].contains_key(&Key::Event(1, 2))
            }),
            Property::sometimes(BACK, |_, world: &World| {
                world.told[0].contains_key(&Key::Event(8, 2))
            }),
        ]
    }
}

fn explored(bug: Option<Bug>, bounds: Bounds, until: HasDiscoveries) -> impl Checker<Rule> {
    let checker = Rule { bug, bounds }.checker().threads(2);
    checker.finish_when(until).spawn_dfs().join()
}

#[test]
fn no_order_of_writes_and_copies_loses_what_was_told_or_mixes_two_histories() {
    for (bounds, happens) in [(THERE, BEHIND), (AND_BACK, BACK)] {
        let checker = explored(None, bounds, HasDiscoveries::AnyFailures);
        for law in [KEPT, ONE_WRITER, FOLLOWS, AGREES] {
            checker.assert_no_discovery(law);
        }
        checker.assert_any_discovery(happens);
        assert!(checker.is_done());
        let states = checker.unique_state_count();
        assert!(states > 1_000, "only {states} states were seen");
    }
}

#[test]
fn each_planted_fault_is_found_by_the_law_that_it_breaks() {
    for (bug, bounds, law) in [
        (Bug::SharedKeys, THERE, KEPT),
        (Bug::SharedKeys, THERE, ONE_WRITER),
        (Bug::NotPinned, AND_BACK, FOLLOWS),
        (Bug::Unowned, THERE, ONE_WRITER),
        (Bug::TakesGaps, THERE, FOLLOWS),
        (Bug::TakesTwice, THERE, FOLLOWS),
    ] {
        let checker = explored(Some(bug), bounds, HasDiscoveries::AnyOf([law].into()));
        let is_found = checker.discovery(law).is_some();
        assert!(is_found, "{bug:?} is not found by {law}");
    }
}

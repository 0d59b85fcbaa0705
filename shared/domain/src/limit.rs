//! Rate limits: one process's share of a window.
//!
//! Each window of a limit has one shared counter. A process leases tokens from it, some at a time, and spends them without
//! asking again: the counter is written once for each lease, not once for each request, and what it gives out in one window
//! is never more than the limit. Nothing here asks the counter or reads the clock; the caller does, and passes in what it
//! learnt.
//!
//! **Boundaries.** Windows are fixed: window number `seconds since the Unix epoch / length`, each one following the last
//! without overlap. No window admits more than its limit. Two windows meet at a boundary, so the requests of any span that
//! is as long as a window are at most two limits: all of one window at its end, all of the next at its beginning.
//!
//! **What lapses.** Tokens that are leased and not spent when the window ends are lost, and so are those of a process that
//! dies and those of a lease whose answer got lost. A limit is thus kept from above exactly and from below almost: leases
//! shrink as the counter runs out, down to single tokens.
//!
//! **Clocks.** The counter's window never goes back. A process whose clock is behind the counter adopts the counter's
//! window, so that a fast clock cannot make two windows of one: each window that a clock of five minutes ahead opens is one
//! that nobody gets again. What that costs the others: until their own clocks get there they all share the window that was
//! opened early. For a window of a minute that can mean the requests of one minute for five, and with a window that is
//! used up refusals until its true end; for a window of a day nearly nothing. A clock that is ahead by a year would hold the
//! limit for a year: the clocks of Lambda are kept to within milliseconds, and a stray counter can be deleted by hand.

use crate::tier::Window;
use crate::time::At;

/// The number of the window that an instant falls in.
#[must_use]
pub fn index(window: &Window, at: At) -> u64 {
    at.0 / 1_000 / length_s(window)
}

/// The instant at which the window of this number ends and the next one begins.
#[must_use]
pub fn ends_at(window: &Window, index: u64) -> At {
    let seconds = index.saturating_add(1).saturating_mul(length_s(window));
    At(seconds.saturating_mul(1_000))
}

fn length_s(window: &Window) -> u64 {
    u64::from(window.seconds.max(1))
}

/// What the shared counter answered to the wish for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leased {
    /// The window that the tokens belong to: the one asked for, or the counter's, if that is a later one.
    pub window: u64,
    /// Tokens that were taken; none only when nothing was left.
    pub tokens: u64,
    /// Tokens that the counter still has.
    pub left: u64,
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spend {
    /// A token of this window was spent on it.
    Admitted {
        /// The window.
        window: u64,
        /// Tokens that are left here and, when it was last seen, in the counter.
        remaining: u64,
    },
    /// There are none here: lease so many of this window, tell [`Share::leased`], and spend again.
    NeedsLease {
        /// The window.
        window: u64,
        /// How many to ask for.
        tokens: u64,
    },
    /// There are none here, and none in the counter until this window ends.
    Refused {
        /// The window.
        window: u64,
    },
}

/// One process's share of the current window of one counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The window that all else is about.
    window: u64,
    /// Leased and not spent.
    tokens: u64,
    /// What the counter had when it was last seen; none when it was not seen in this window.
    left: Option<u64>,
    /// Tokens of the last lease in this window, none before the first one.
    last: u64,
    /// Tokens of the largest lease in this window.
    largest: u64,
    /// What the first lease of this window asks for.
    first: u64,
}

impl Share {
    /// Spends a token on a request that, by this process's clock, falls in window number `own` of a limit of so many
    /// `requests`.
    pub fn spend(&mut self, own: u64, requests: u64) -> Spend {
        self.enter(own);
        let window = self.window;
        if self.tokens > 0 {
            self.tokens -= 1;
            let remaining = self.tokens.saturating_add(self.left.unwrap_or(0));
            Spend::Admitted { window, remaining }
        } else if self.left == Some(0) {
            Spend::Refused { window }
        } else {
            let tokens = self.wish(requests);
            Spend::NeedsLease { window, tokens }
        }
    }

    /// Takes note of a lease. One of a later window begins that window; one of an earlier window has lapsed.
    pub fn leased(&mut self, leased: Leased) {
        self.enter(leased.window);
        if leased.window < self.window {
            return;
        }
        // Within a window the counter only falls, so of two answers the lower one is the later one.
        self.left = Some(self.left.map_or(leased.left, |seen| seen.min(leased.left)));
        self.tokens = self.tokens.saturating_add(leased.tokens);
        self.last = leased.tokens;
        self.largest = self.largest.max(leased.tokens);
    }

    /// Gives back the token that was spent in this window on a request that was then not done. Once for each
    /// [`Spend::Admitted`]; when the window has ended, the token has lapsed with it.
    pub fn put_back(&mut self, window: u64) {
        if window == self.window {
            self.tokens = self.tokens.saturating_add(1);
        }
    }

    /// Whether it is known, without asking anybody, that a request of window `own` is refused.
    #[must_use]
    pub fn refuses(&self, own: u64) -> bool {
        self.window >= own && self.tokens == 0 && self.left == Some(0)
    }

    /// The window that a request of window `own` counts in: a later one when the counter is ahead.
    #[must_use]
    pub fn window(&self, own: u64) -> u64 {
        self.window.max(own)
    }

    /// Requests that are left in that window as far as is known: all `requests` as long as nothing was asked.
    #[must_use]
    pub fn remaining(&self, own: u64, requests: u64) -> u64 {
        if self.window < own {
            return requests;
        }
        self.left.map_or(requests, |left| {
            left.saturating_add(self.tokens).min(requests)
        })
    }

    /// Goes on to a later window. Its first lease asks for half of the largest of the window just before, so that a steady
    /// load need not climb again, and one that went down wastes less each time.
    fn enter(&mut self, window: u64) {
        if window > self.window {
            let follows = window - self.window == 1;
            *self = Self {
                window,
                first: if follows { self.largest / 2 } else { 0 },
                ..Self::default()
            };
        }
    }

    /// The size of the next lease: twice the last one, at most a twentieth of the limit, so that few tokens are idle
    /// here while other processes need them, and at most an eighth of what is left, so that the end of a window is exact.
    fn wish(&self, requests: u64) -> u64 {
        let climb = if self.last == 0 {
            self.first
        } else {
            self.last.saturating_mul(2)
        };
        let left = self.left.unwrap_or(requests);
        climb.min(requests / 20).min(left / 8).max(1)
    }
}

#[cfg(test)]
mod tests;

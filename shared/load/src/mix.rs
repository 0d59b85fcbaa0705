//! What is asked for, and how often of a hundred times.

use serde::Deserialize;

/// What one request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `POST /v1/runs`.
    CreateRun,
    /// `GET /v1/runs/{run}`, of a run that was created lately.
    ReadRun,
    /// `GET /v1/runs`.
    ListRuns,
    /// `GET /v1/agents/{agent}`.
    ReadAgent,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::CreateRun,
        Self::ReadRun,
        Self::ListRuns,
        Self::ReadAgent,
    ];

    /// How scenarios call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::CreateRun => "create_run",
            Self::ReadRun => "read_run",
            Self::ListRuns => "list_runs",
            Self::ReadAgent => "read_agent",
        }
    }
}

/// Weights of the operations; one of nothing does not occur.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Of [`Operation::CreateRun`].
    pub create_run: u32,
    /// Of [`Operation::ReadRun`].
    pub read_run: u32,
    /// Of [`Operation::ListRuns`].
    pub list_runs: u32,
    /// Of [`Operation::ReadAgent`].
    pub read_agent: u32,
}

impl Mix {
    /// The weight of an operation.
    #[must_use]
    pub fn of(&self, operation: Operation) -> u32 {
        match operation {
            Operation::CreateRun => self.create_run,
            Operation::ReadRun => self.read_run,
            Operation::ListRuns => self.list_runs,
            Operation::ReadAgent => self.read_agent,
        }
    }

    /// The part of all requests that an operation has, 0 to 1.
    #[must_use]
    pub fn share(&self, operation: Operation) -> f64 {
        let all: f64 = Operation::ALL
            .iter()
            .map(|one| f64::from(self.of(*one)))
            .sum();
        f64::from(self.of(operation)) / all
    }

    /// The operations that occur, with their weights.
    pub(crate) fn weights(&self) -> Vec<(Operation, u32)> {
        Operation::ALL
            .into_iter()
            .map(|operation| (operation, self.of(operation)))
            .filter(|(_, weight)| *weight > 0)
            .collect()
    }

    /// One operation after the other for ever: each as often as its weight says, and spread as evenly as can be.
    pub(crate) fn turns(self) -> impl Iterator<Item = Operation> {
        let weights = self.weights();
        let all: i64 = weights.iter().map(|(_, weight)| i64::from(*weight)).sum();
        let mut owed = vec![0; weights.len()];
        std::iter::from_fn(move || {
            for (owed, (_, weight)) in owed.iter_mut().zip(&weights) {
                *owed += i64::from(*weight);
            }
            let places = 0..owed.len();
            // The first of several.
            let next = places.rev().max_by_key(|place| owed[*place])?;
            owed[next] -= all;
            Some(weights[next].0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_has_its_turn_as_often_as_its_weight_says() {
        let mix = Mix {
            create_run: 20,
            read_run: 50,
            list_runs: 15,
            read_agent: 15,
        };
        let turns: Vec<Operation> = mix.turns().take(200).collect();
        for operation in Operation::ALL {
            let count = turns.iter().filter(|turn| **turn == operation).count();
            assert_eq!(count, 2 * mix.of(operation) as usize, "{operation:?}");
        }
        // Spread, not in a row.
        let creations = turns.iter().take(20);
        let creations = creations.filter(|turn| **turn == Operation::CreateRun);
        assert_eq!(creations.count(), 4);
        assert_eq!(mix.share(Operation::ReadRun), 0.5);
    }

    #[test]
    fn what_weighs_nothing_does_not_occur() {
        let mix = Mix {
            list_runs: 3,
            ..Mix::default()
        };
        assert!(mix.turns().take(9).all(|turn| turn == Operation::ListRuns));
        assert_eq!(Mix::default().turns().next(), None);
    }
}

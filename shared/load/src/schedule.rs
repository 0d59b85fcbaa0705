//! When requests are due.

use std::time::Duration;

/// A span in which the rate stays, or goes evenly from one to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// How long it lasts.
    pub lasts: Duration,
    /// Requests a second when it begins.
    pub from: f64,
    /// Requests a second when it ends.
    pub to: f64,
}

impl Stage {
    fn requests(&self) -> f64 {
        (self.from + self.to) / 2.0 * self.lasts.as_secs_f64()
    }

    /// When so many requests were due in it, in seconds from its beginning.
    fn when(&self, requests: f64) -> f64 {
        if requests <= 0.0 {
            return 0.0;
        }
        let slope = (self.to - self.from) / self.lasts.as_secs_f64();
        // The root of `from * t + slope * t * t / 2 = requests`, in the form that also holds for a slope of nothing.
        let root = (self.from * self.from + 2.0 * slope * requests)
            .max(0.0)
            .sqrt();
        2.0 * requests / (self.from + root)
    }
}

/// How long all stages last.
pub(crate) fn lasts(stages: &[Stage]) -> Duration {
    stages.iter().map(|stage| stage.lasts).sum()
}

/// Requests a second at an instant, counted from the beginning.
pub(crate) fn rate_at(stages: &[Stage], at: Duration) -> f64 {
    let mut begins = Duration::ZERO;
    for stage in stages {
        if at < begins + stage.lasts {
            let part = (at - begins).as_secs_f64() / stage.lasts.as_secs_f64();
            return stage.from + (stage.to - stage.from) * part;
        }
        begins += stage.lasts;
    }
    0.0
}

/// The highest rate there is.
pub(crate) fn peak(stages: &[Stage]) -> f64 {
    stages
        .iter()
        .fold(0.0, |peak, stage| stage.from.max(stage.to).max(peak))
}

/// How many requests are due in all.
pub(crate) fn requests(stages: &[Stage]) -> f64 {
    stages.iter().map(Stage::requests).sum()
}

/// The instants at which requests are due, counted from the beginning: each in the middle of its share of the rate, so
/// that a second of ten requests a second has ten.
pub(crate) fn arrivals(stages: &[Stage]) -> impl Iterator<Item = Duration> {
    let mut stages = stages.iter();
    let mut stage = stages.next();
    let (mut begins, mut wanted) = (Duration::ZERO, 0.5);
    std::iter::from_fn(move || {
        loop {
            let current = stage?;
            if wanted < current.requests() {
                let due = begins + Duration::from_secs_f64(current.when(wanted));
                wanted += 1.0;
                return Some(due);
            }
            // What is left of a request is the next stage's.
            wanted -= current.requests();
            begins += current.lasts;
            stage = stages.next();
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(seconds: u64, from: f64, to: f64) -> Stage {
        Stage {
            lasts: Duration::from_secs(seconds),
            from,
            to,
        }
    }

    fn ms(stages: &[Stage]) -> Vec<u128> {
        arrivals(stages).map(|due| due.as_millis()).collect()
    }

    #[test]
    fn a_steady_rate_comes_evenly() {
        assert_eq!(ms(&[stage(1, 4.0, 4.0)]), [125, 375, 625, 875]);
    }

    #[test]
    fn a_climbing_rate_comes_faster_and_faster_and_in_all_as_often_as_its_mean() {
        let climb = [stage(60, 0.0, 2_000.0 / 60.0)];
        let due = ms(&climb);
        assert_eq!(due.len(), 1_000);
        let until = |ms: u128| due.iter().filter(|due| **due < ms).count();
        // In half of the time a quarter.
        assert_eq!(until(30_000), 250);
        assert!(due.windows(2).all(|pair| pair[0] <= pair[1]));
        assert!(due.last() < Some(&60_000));
    }

    #[test]
    fn a_falling_rate_ends_when_it_is_nothing() {
        let due = ms(&[stage(10, 10.0, 0.0)]);
        assert_eq!(due.len(), 50);
        assert!(due.last() < Some(&10_000));
    }

    #[test]
    fn stages_follow_each_other_and_lose_no_request_between_them() {
        let stages = [
            stage(60, 100.0, 100.0),
            stage(60, 100.0, 1_000.0),
            stage(600, 1_000.0, 1_000.0),
        ];
        assert_eq!(requests(&stages), 639_000.0);
        assert_eq!(arrivals(&stages).count(), 639_000);
        assert_eq!(lasts(&stages), Duration::from_secs(720));
        assert_eq!(peak(&stages), 1_000.0);
        // A request and a half in each: three in all.
        assert_eq!(arrivals(&[stage(3, 0.5, 0.5); 2]).count(), 3);
        // A stage that begins with nothing, of which nothing is left over.
        let whole = [stage(1, 1.5, 1.5), stage(1, 0.0, 2.0)];
        assert_eq!(ms(&whole), [333, 1_000]);
        // A pause.
        let pause = [stage(1, 1.0, 1.0), stage(5, 0.0, 0.0), stage(1, 1.0, 1.0)];
        assert_eq!(ms(&pause), [500, 6_500]);
    }

    #[test]
    fn the_rate_of_an_instant_is_that_of_its_stage() {
        let stages = [stage(10, 10.0, 10.0), stage(10, 10.0, 30.0)];
        let at = |seconds| rate_at(&stages, Duration::from_secs(seconds));
        assert_eq!([at(5), at(10), at(15), at(20)], [10.0, 10.0, 20.0, 0.0]);
    }
}

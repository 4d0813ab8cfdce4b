//! Health checks: Docker's rules, as a calculation. Who probes, and when, is the shim's business.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record::Time;
use crate::settings::Health;

/// So many results are kept (moby, health.go).
const KEPT: usize = 5;

/// So much of a probe's output is kept, in bytes (moby, health.go).
pub const MAX_OUTPUT: usize = 4096;

/// Whether a container is well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// No probe has succeeded yet, and not enough have failed.
    #[default]
    Starting,
    /// The last probe succeeded, or too few have failed since.
    Healthy,
    /// As many as count have failed in a row.
    Unhealthy,
}

/// One probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// When it began.
    pub start: Time,
    /// When it ended.
    pub end: Time,
    /// 0 for well, 1 for not well, 2 is reserved; -1 where it took too long or could not be made.
    pub status: i32,
    /// What it wrote, cut to [`MAX_OUTPUT`].
    pub output: String,
}

/// What is told of a container's health.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether it is well.
    pub state: State,
    /// Failures in a row.
    pub failing: u32,
    /// The last probes, oldest first.
    pub probes: VecDeque<Probe>,
}

impl Report {
    // ANCHOR: take
    /// Takes in a probe that ended `since` the container's start; tells whether the state changed.
    /// In the start period failures do not count, but a success ends the period for good.
    pub fn take(&mut self, settings: &Health, since: Duration, probe: Probe) -> bool {
        let before = self.state;
        let well = probe.status == 0;
        if self.probes.len() == KEPT {
            self.probes.pop_front();
        }
        self.probes.push_back(probe);
        if well {
            self.failing = 0;
            self.state = State::Healthy;
        } else if before != State::Starting || since >= settings.start_period {
            self.failing += 1;
            if self.failing >= settings.retries.max(1) {
                self.state = State::Unhealthy;
            }
        }
        before != self.state
    }
    // ANCHOR_END: take

    /// How long after the end of a probe the next begins, `since` the container's start.
    pub fn pause(&self, settings: &Health, since: Duration) -> Duration {
        if self.state == State::Starting && since < settings.start_period {
            settings.start_interval.min(settings.interval)
        } else {
            settings.interval
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Health {
        Health {
            command: vec!["true".into()],
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(30),
            start_period: Duration::from_secs(60),
            start_interval: Duration::from_secs(5),
            retries: 3,
        }
    }

    fn probe(status: i32) -> Probe {
        Probe { start: 1, end: 2, status, output: String::new() }
    }

    #[test]
    fn failures_count_after_the_start_period() {
        let (settings, mut report) = (settings(), Report::default());
        for _ in 0..10 {
            assert!(!report.take(&settings, Duration::from_secs(10), probe(1)));
        }
        assert_eq!((report.state, report.failing), (State::Starting, 0));
        assert_eq!(report.probes.len(), KEPT);
        let late = Duration::from_secs(60);
        assert!(!report.take(&settings, late, probe(1)));
        assert!(!report.take(&settings, late, probe(-1)));
        assert!(report.take(&settings, late, probe(1)));
        assert_eq!((report.state, report.failing), (State::Unhealthy, 3));
        assert!(report.take(&settings, late, probe(0)));
        assert_eq!((report.state, report.failing), (State::Healthy, 0));
    }

    #[test]
    fn a_success_ends_the_start_period() {
        let (settings, mut report) = (settings(), Report::default());
        let early = Duration::from_secs(5);
        assert_eq!(report.pause(&settings, early), Duration::from_secs(5));
        assert!(report.take(&settings, early, probe(0)));
        assert_eq!(report.pause(&settings, early), Duration::from_secs(30));
        for n in 1..=3 {
            assert_eq!(report.take(&settings, early, probe(1)), n == 3);
        }
        assert_eq!(report.state, State::Unhealthy);
    }
}

//! Whether and when a container that has ended is started again: Docker's rules, as a calculation.

use std::time::Duration;

use crate::settings::Restart;

/// The first wait.
const FIRST: Duration = Duration::from_millis(100);

/// The longest.
const LONGEST: Duration = Duration::from_secs(60);

/// Who has run so long has started well, and begins with the first wait again.
const WELL: Duration = Duration::from_secs(10);

/// What has happened so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// How often the container was started again.
    pub count: u32,
    /// The wait before the last start.
    wait: Option<Duration>,
}

/// How a run of the container ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// How long it lasted.
    pub lasted: Duration,
    /// As shells count it; `None` where it could not be started.
    pub status: Option<u8>,
    /// Whether somebody asked for its end.
    pub stopped: bool,
}

impl History {
    /// Nothing has happened since the container was restarted `count` times.
    pub fn new(count: u32) -> History {
        History { count, wait: None }
    }

    // ANCHOR: next
    /// How long to wait before the container is started again; `None` to leave it. The wait doubles
    /// from 100 ms to a minute, and is short again after a run of ten seconds (moby,
    /// restartmanager.go).
    pub fn next(&mut self, policy: Restart, run: Run) -> Option<Duration> {
        if run.stopped || !self.wanted(policy, run) {
            return None;
        }
        let wait = match self.wait {
            Some(last) if run.lasted < WELL => (last * 2).min(LONGEST),
            _ => FIRST,
        };
        self.wait = Some(wait);
        self.count += 1;
        Some(wait)
    }
    // ANCHOR_END: next

    fn wanted(&self, policy: Restart, run: Run) -> bool {
        match policy {
            Restart::No => false,
            Restart::Always | Restart::UnlessStopped => true,
            Restart::OnFailure { maximum } => {
                run.status != Some(0) && (maximum == 0 || self.count < maximum)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seconds: u64, status: u8) -> Run {
        Run { lasted: Duration::from_secs(seconds), status: Some(status), stopped: false }
    }

    #[test]
    fn the_wait_doubles_up_to_a_minute_and_falls_back_after_a_good_run() {
        let mut history = History::new(0);
        let mut waits = Vec::new();
        for _ in 0..12 {
            waits.push(history.next(Restart::Always, run(1, 0)).unwrap().as_millis());
        }
        assert_eq!(
            waits,
            [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]
        );
        assert_eq!(history.next(Restart::Always, run(10, 1)), Some(FIRST));
        assert_eq!(history.count, 13);
    }

    #[test]
    fn on_failure_counts_failures_only_and_gives_up() {
        let policy = Restart::OnFailure { maximum: 2 };
        let mut history = History::new(0);
        assert_eq!(history.next(policy, run(1, 0)), None);
        assert!(history.next(policy, run(1, 3)).is_some());
        let lost = Run { lasted: Duration::ZERO, status: None, stopped: false };
        assert!(history.next(policy, lost).is_some());
        assert_eq!(history.next(policy, run(1, 3)), None);
        assert!(History::new(7).next(Restart::OnFailure { maximum: 0 }, run(1, 3)).is_some());
    }

    #[test]
    fn what_was_stopped_stays_so() {
        for policy in [Restart::Always, Restart::UnlessStopped, Restart::OnFailure { maximum: 0 }] {
            let stopped = Run { stopped: true, ..run(1, 137) };
            assert_eq!(History::new(0).next(policy, stopped), None);
        }
        assert_eq!(History::new(0).next(Restart::No, run(1, 1)), None);
    }
}

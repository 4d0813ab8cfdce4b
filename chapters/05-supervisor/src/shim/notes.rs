//! What happens, as Docker names it, for the journal.

use super::Shim;
use crate::health::State;
use crate::protocol::Event;

impl Shim {
    /// Writes down what has happened. A disk that is full must not hurt the container, so nobody is
    /// told of a failure.
    pub(super) fn note(&self, event: &Event) {
        let Some(journal) = &self.settings.journal else { return };
        let written = match event {
            Event::Started { .. } => journal.tell("start", &[]),
            Event::Exit(exit) => {
                let seconds = exit.finished.saturating_sub(exit.started) / 1_000_000_000;
                let lasted = if exit.started == 0 { 0 } else { seconds };
                let more =
                    [("exitCode", exit.status.to_string()), ("execDuration", lasted.to_string())];
                journal.tell("die", &more)
            }
            Event::Oom => journal.tell("oom", &[]),
            Event::Paused => journal.tell("pause", &[]),
            Event::Resumed => journal.tell("unpause", &[]),
            Event::Health(State::Healthy) => journal.tell("health_status: healthy", &[]),
            Event::Health(State::Unhealthy) => journal.tell("health_status: unhealthy", &[]),
            Event::ExecStarted { exec, .. } => {
                journal.tell("exec_start", &[("execID", exec.to_string())])
            }
            Event::ExecEnded { exec, status } => journal.tell(
                "exec_die",
                &[("execID", exec.to_string()), ("exitCode", status.to_string())],
            ),
            _ => Ok(()),
        };
        drop(written);
    }

    /// Writes down that a signal was sent.
    pub(super) fn note_signal(&self, number: i32) {
        if let Some(journal) = &self.settings.journal {
            drop(journal.tell("kill", &[("signal", number.to_string())]));
        }
    }
}

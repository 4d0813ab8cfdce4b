//! What clients order: stop, signal, pause, resume, update.

use std::time::{Duration, Instant};

use corten_runtime::cgroup;

use super::Shim;
use crate::error::{Error, Result};
use crate::protocol::Event;
use crate::record::Phase;
use crate::settings::Restart;

impl Shim {
    // ANCHOR: stop
    /// Asks the container to end.
    pub(super) fn stop(&mut self, signal: Option<i32>, timeout: Option<i64>) -> Result<()> {
        if self.phase == Phase::Restarting {
            self.stopped = true;
            self.timers.restart = None;
            if let Some(exit) = &mut self.exit {
                exit.stopped = true;
                if !self.settings.auto_remove {
                    exit.write(&self.settings.record)?;
                }
            }
            self.retire();
            self.end_for_good();
            return Ok(());
        }
        let sent = self.signal(signal.unwrap_or(self.settings.stop.signal), false);
        // It may have ended this very moment.
        self.collect();
        if self.ending.is_some() {
            // It shall not begin again.
            self.stopped = true;
            return Ok(());
        }
        sent?;
        self.stopped = true;
        let timeout = timeout.unwrap_or(self.settings.stop.timeout);
        if let Ok(seconds) = u64::try_from(timeout) {
            self.timers.kill = Some(Instant::now() + Duration::from_secs(seconds));
        }
        Ok(())
    }
    // ANCHOR_END: stop

    /// Sends a signal. One that is meant to end the container also keeps it from being restarted,
    /// as Docker has it.
    pub(super) fn signal(&mut self, number: i32, all: bool) -> Result<()> {
        let life = self.running("signal")?;
        if all {
            corten_runtime::kill::kill(&life.container, number, true)?;
        } else {
            life.kill(number)?;
        }
        self.note_signal(number);
        let life = self.running("signal")?;
        if number == libc::SIGKILL {
            // Thaws it, where somebody else has frozen it: only then does it die.
            let _ = corten_runtime::kill::kill(&life.container, number, all);
        }
        if number == libc::SIGKILL || number == self.settings.stop.signal {
            self.stopped = true;
            if self.phase == Phase::Paused {
                self.resume()?;
            }
        }
        Ok(())
    }

    /// The time to end of its own accord is over.
    pub(super) fn kill_all(&mut self) {
        if let Some(life) = &self.life {
            let _ = life.kill(libc::SIGKILL);
            let _ = corten_runtime::kill::kill(&life.container, libc::SIGKILL, true);
        }
    }

    /// Freezes the container.
    pub(super) fn pause(&mut self) -> Result<()> {
        if self.phase == Phase::Paused {
            return Err(Error::State { operation: "pause", state: "is paused already" });
        }
        match self.running("pause")?.container.cgroup()? {
            Some(cgroup) => cgroup.freeze()?,
            None => return Err(Error::State { operation: "pause", state: "has no control group" }),
        }
        self.phase = Phase::Paused;
        self.tell(&Event::Paused);
        Ok(())
    }

    /// Thaws it.
    pub(super) fn resume(&mut self) -> Result<()> {
        if self.phase != Phase::Paused {
            return Err(Error::State { operation: "resume", state: "is not paused" });
        }
        if let Some(cgroup) = self.running("resume")?.container.cgroup()? {
            cgroup.thaw()?;
        }
        self.phase = Phase::Running;
        self.tell(&Event::Resumed);
        Ok(())
    }

    /// Sets other limits.
    pub(super) fn update(&mut self, resources: &serde_json::Value) -> Result<()> {
        let resources = corten_runtime::json::convert(resources).map_err(Error::Packet)?;
        let limits = cgroup::limits(&resources)?;
        Ok(corten_runtime::update::update(&self.running("update")?.container, &limits)?)
    }

    /// Sets another restart policy, which is kept over a restart of the engine by whoever asks.
    pub(super) fn set_policy(&mut self, policy: Restart) {
        self.settings.restart = policy;
    }
}

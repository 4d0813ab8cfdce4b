//! What is done with all containers at once.

use corten_supervisor::record::Exit;

use super::Engine;
use super::error::{Error, Result};
use super::filter::{Filters, OF_PRUNE};
use super::life::Start;
use super::record::{Record, State};
use super::volumes::usage;

impl Engine {
    /// Removes the containers that do not run and fit; gives their ids, and how many bytes they had
    /// written.
    ///
    /// # Errors
    /// For a filter that is none; where one cannot be removed.
    pub fn prune_containers(&self, filters: &[String]) -> Result<(Vec<String>, u64)> {
        let filters = Filters::parse(filters, &OF_PRUNE)?;
        let until = filters.until()?;
        let (mut ids, mut bytes) = (Vec::new(), 0);
        for (record, state) in self.containers.list()? {
            let is_old = until.as_ref().is_none_or(|until| record.created < *until);
            if matches!(state, State::Running { .. })
                || !is_old
                || !filters.labels_fit(&record.config.labels)
            {
                continue;
            }
            let size = usage::bytes(&self.containers.directory_of(&record.id));
            match self.remove_container(&record.id, false, false) {
                Ok(()) => {
                    bytes += size;
                    ids.push(record.id);
                }
                // Somebody was faster, to start it or to remove it.
                Err(Error::Running { .. } | Error::NoSuchContainer { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.note_prune("container", bytes);
        Ok((ids, bytes))
    }

    // ANCHOR: restore
    /// Starts what shall run whenever the machine does, and does not: after a boot, or after
    /// supervisors were killed. Gives the id of each that was started, or why it could not be.
    ///
    /// # Errors
    /// Where the containers cannot be listed.
    pub fn restore(&self) -> Result<Vec<(String, Result<()>)>> {
        let mut done = Vec::new();
        // The oldest first: who has another's network, or a link to it, was made after it.
        for (record, state) in self.containers.list()?.into_iter().rev() {
            if self.shall_run(&record, &state)? {
                let started = self.start(&record.id, &Start::default());
                done.push((record.id, started.map(drop)));
            }
        }
        // But the other may have been made anew.
        if done.iter().any(|(_, started)| started.is_ok()) {
            for (id, started) in done.iter_mut().filter(|(_, started)| started.is_err()) {
                *started = self.start(id, &Start::default()).map(drop);
            }
        }
        Ok(done)
    }

    /// By the restart policy, as dockerd decides it at its own start.
    pub(crate) fn shall_run(&self, record: &Record, state: &State) -> Result<bool> {
        let State::Exited { exit_code, .. } = state else { return Ok(false) };
        let exit = Exit::read(&self.containers.directory_of(&record.id))?;
        let is_stopped = exit.as_ref().is_some_and(|exit| exit.stopped);
        let policy = &record.host_config.restart_policy;
        Ok(match policy.name.as_str() {
            "always" => true,
            "unless-stopped" => !is_stopped,
            "on-failure" => {
                let count = exit.map_or(0, |exit| i64::from(exit.restarts));
                let maximum = policy.maximum_retry_count;
                *exit_code != 0 && !is_stopped && (maximum == 0 || count < maximum)
            }
            _ => false,
        })
    }
    // ANCHOR_END: restore
}

//! What is done with a container that is made: started, stopped, waited for, removed.
//!
//! Everything between a start and an end is its supervisor's business; this asks it. What an
//! operation changes on the disk it changes under the container's lock, so two engines, or an
//! engine and a command line, take turns.

use std::os::fd::OwnedFd;
use std::path::Path;

use corten_supervisor::client::{Asked, Client};
use corten_supervisor::front::Front;
use corten_supervisor::log::{Driver, Options};
use corten_supervisor::protocol::{Attach, Code, Operation, Outcome};
use corten_supervisor::reader::{self, Entry, Wanted};
use corten_supervisor::record::Exit;

use super::bundle::Bundle;
use super::container::Request;
use super::error::{Error, Result};
use super::options::supervision::supervision;
use super::options::{LogConfig, NetworkMode};
use super::pull::Event;
use super::state::{LogChoice, Owned, Record, State};
use super::{Engine, clock};

/// How a container is started.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// The streams that are wanted from before its first byte.
    pub attach: Option<Attach>,
    /// Rows and columns of the caller's terminal.
    pub window: (u16, u16),
}

/// What is said to a supervisor before its container's program begins.
pub type Prepare<'a> = &'a mut dyn FnMut(&mut Client) -> Result<()>;

/// A container that runs, and its supervisor.
#[derive(Debug)]
pub struct Started {
    /// What it is.
    pub record: Record,
    /// Its supervisor.
    pub client: Client,
    /// The streams that were asked for.
    pub streams: Option<OwnedFd>,
    /// The question how it ends, asked before it could.
    pub ended: Asked,
}

impl Engine {
    /// Runs a container in the foreground until it ends, or until the user leaves it; gives its
    /// exit status, `None` where it was left.
    ///
    /// # Errors
    /// What the image, the options or the kernel refuse. A container that could not be started
    /// leaves nothing behind with `auto_remove`, and a record of the error without it.
    pub fn run(
        &self,
        request: &Request,
        attach: Attach,
        pass_signals: bool,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<u8>> {
        let owned = self.create_owned(request, true, progress)?;
        // From here on a signal is passed to the container, so that it can't end this process
        // before the container's files are put in order; or it waits until the container runs.
        let front = Front::new(owned.record.config.tty, attach.stdin)?;
        let front = front.passing_signals(pass_signals);
        let window = corten_namespaces::terminal::size(std::os::fd::AsFd::as_fd(&std::io::stdin()));
        let started = self.start_owned(owned, &Start { attach: Some(attach), window })?;
        self.accompany(started, &front)
    }

    /// Makes a container and starts it; nobody stands before it.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn run_detached(
        &self,
        request: &Request,
        progress: &mut dyn FnMut(Event<'_>),
    ) -> Result<Started> {
        self.start_owned(self.create_owned(request, true, progress)?, &Start::default())
    }

    /// Stands before a container until its streams end.
    ///
    /// # Errors
    /// Where the caller's own streams fail.
    pub fn accompany(&self, started: Started, front: &Front) -> Result<Option<u8>> {
        let Started { record, mut client, streams, ended } = started;
        if let Some(streams) = streams {
            front.run(&mut client, streams)?;
            // The answer comes before the streams end, unless somebody has left them.
            if !client.is_answered(&ended)? && self.containers.shims.is_alive(&record.id) {
                return Ok(None);
            }
        }
        let exit = match client.answer(ended) {
            Ok((Outcome::Exit(exit), _)) => Some(*exit),
            _ => None,
        };
        Ok(Some(self.end(&record, exit)?.status))
    }

    // ANCHOR: start
    /// Starts a container that is the caller's. Where that fails it is as after an end: kept with
    /// the error, or removed.
    pub(super) fn start_owned(&self, owned: Owned, start: &Start) -> Result<Started> {
        self.start_owned_after(owned, start, &mut |_| Ok(()))
    }

    /// The same; `prepare` talks to the supervisor before the program begins.
    fn start_owned_after(
        &self,
        owned: Owned,
        start: &Start,
        prepare: Prepare<'_>,
    ) -> Result<Started> {
        match self.try_start(&owned, start, prepare) {
            Ok((client, streams, ended)) => {
                let record = owned.record.clone();
                owned.hand_over();
                Ok(Started { record, client, streams, ended })
            }
            Err(error) => {
                self.containers.shims.bury(&owned.record.id)?;
                self.containers.leave(&owned.record, true)?;
                if owned.record.auto_remove() {
                    self.containers.dispose(owned, true)?;
                } else {
                    owned.set_state(&State::exited(error.exit_code(), Some(error.to_string())))?;
                    owned.release()?;
                }
                Err(error)
            }
        }
    }
    // ANCHOR_END: start

    // ANCHOR: try_start
    fn try_start(
        &self,
        owned: &Owned,
        start: &Start,
        prepare: Prepare<'_>,
    ) -> Result<(Client, Option<OwnedFd>, Asked)> {
        // The last end is in the state; what is found there later is of the run that begins.
        owned.forget_exit()?;
        let Bundle { settings, spec } = self.assemble(owned, start.window, None)?;
        self.containers.note_volumes(&owned.record, true);
        let mut client = self.containers.shims.launch(&settings, &spec)?;
        let streams = start.attach.clone().map(|attach| client.attach(attach)).transpose()?;
        prepare(&mut client)?;
        let ended = client.ask(Operation::Wait { next: false })?;
        let pid = client.start()?;
        let supervisor = client.status().map_or(0, |status| status.supervisor);
        let last = owned.state()?.ended().map(str::to_owned);
        owned.set_state(&State::Running { pid, supervisor, started: clock::now(), ended: last })?;
        Ok((client, streams, ended))
    }
    // ANCHOR_END: try_start

    /// Starts a container that does not run.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; what keeps it from running. One that runs is no error, as with
    /// Docker.
    pub fn start(&self, name_or_id: &str, start: &Start) -> Result<Option<Started>> {
        self.start_after(name_or_id, start, &mut |_| Ok(()))
    }

    /// The same; `prepare` talks to the supervisor before the program begins: clients that have attached
    /// to a container that did not run yet get its streams from the first byte on.
    ///
    /// # Errors
    /// As [`Engine::start`]; what `prepare` gives.
    pub fn start_after(
        &self,
        name_or_id: &str,
        start: &Start,
        prepare: Prepare<'_>,
    ) -> Result<Option<Started>> {
        let (record, _) = self.containers.find(name_or_id)?;
        if self.containers.shims.is_alive(&record.id) {
            return Ok(None);
        }
        match self.containers.wait_and_own(&record)? {
            Some(owned) if self.containers.shims.is_alive(&record.id) => {
                owned.hand_over();
                Ok(None)
            }
            Some(owned) => {
                // It may have ended just now, and nobody has written that down.
                self.containers.conclude(&owned)?;
                self.start_owned_after(owned, start, prepare).map(Some)
            }
            None => Err(Error::NoSuchContainer { name: name_or_id.to_owned() }),
        }
    }

    /// The supervisor of a container that runs.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::NotRunning`].
    pub fn supervisor(&self, name_or_id: &str) -> Result<(Record, Client)> {
        let (record, _) = self.containers.find(name_or_id)?;
        match self.containers.shims.connect(&record.id) {
            Ok(client) => Ok((record, client)),
            Err(corten_supervisor::Error::NoSupervisor { .. }) => {
                Err(Error::NotRunning { id: record.short().to_owned() })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Stops a container; one that does not run is no error.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; where it cannot be reached.
    pub fn stop(&self, name_or_id: &str, signal: Option<i32>, timeout: Option<i64>) -> Result<()> {
        let (record, mut client) = match self.supervisor(name_or_id) {
            Err(Error::NotRunning { .. }) => return Ok(()),
            other => other?,
        };
        match client.stop(signal, timeout) {
            // It has ended of its own accord, just now.
            Err(corten_supervisor::Error::Refused(failure)) if failure.code == Code::State => {}
            Ok(_) | Err(corten_supervisor::Error::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.settle(&record)?;
        self.containers.note(&record, "stop", &[]);
        Ok(())
    }

    /// Waits until a container has ended and is not started again.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`].
    pub fn wait(&self, name_or_id: &str) -> Result<u8> {
        match self.supervisor(name_or_id) {
            Ok((record, mut client)) => Ok(self.end(&record, client.wait(false).ok())?.status),
            Err(Error::NotRunning { .. }) => {
                // It may have ended since this engine was opened.
                let (record, _) = self.containers.find(name_or_id)?;
                if let Some(exit) = self.settle(&record)? {
                    return Ok(exit.status);
                }
                match self.containers.find(name_or_id)?.1 {
                    State::Exited { exit_code, .. } => Ok(exit_code),
                    State::Created | State::Running { .. } => Ok(0),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// How a container has ended: what its supervisor said, or wrote; its files are in order then.
    pub(crate) fn end(&self, record: &Record, told: Option<Exit>) -> Result<Exit> {
        let written = || self.containers.exit(&record.id).ok().flatten();
        let known = told.or_else(written);
        let settled = self.settle(record)?;
        let lost = || Exit { error: Some("its supervisor was killed".into()), ..Exit::killed() };
        Ok(known.or(settled).unwrap_or_else(lost))
    }

    /// Puts a container in order whose supervisor has said that it has ended. Where the disk takes
    /// nothing, what is known stays where it is, and that is enough for whoever asks how it ended: the
    /// next engine tries again, and says what it meets.
    fn settle(&self, record: &Record) -> Result<Option<Exit>> {
        let Some(owned) = self.containers.wait_and_own_started(record)? else { return Ok(None) };
        self.containers.settle(owned).or_else(|error| match self.containers.exit(&record.id)? {
            None => Err(error),
            exit => Ok(exit),
        })
    }

    /// Whether a container was started below `root` and nobody has put it in order since.
    pub fn is_left(root: &Path, id: &str) -> bool {
        super::state::running(root, id).exists()
    }

    /// Puts a container in order that has ended, whoever was there when it did: its supervisor asks for
    /// it when all is over. One that runs, or is gone, needs nothing.
    ///
    /// # Errors
    /// Where something cannot be removed or written.
    pub fn tidy(&self, id: &str) -> Result<()> {
        let record = match self.containers.find(id) {
            Err(Error::NoSuchContainer { .. }) => return Ok(()),
            other => other?.0,
        };
        match self.containers.wait_and_own_started(&record)? {
            // Somebody has started it again.
            Some(owned) if self.containers.shims.is_alive(id) => owned.hand_over(),
            Some(owned) => drop(self.containers.settle(owned)?),
            None => {}
        }
        Ok(())
    }

    /// Does something to a container that runs.
    ///
    /// # Errors
    /// [`Error::NotRunning`]; what the supervisor refuses.
    pub fn ask(&self, name_or_id: &str, operation: Operation) -> Result<()> {
        Ok(self.supervisor(name_or_id)?.1.perform(operation)?)
    }

    /// Gives what a container has written to `take`, oldest first, until that says `false`.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; a container that keeps no log.
    pub fn logs(
        &self,
        name_or_id: &str,
        wanted: Wanted,
        take: &mut dyn FnMut(Entry) -> bool,
    ) -> Result<()> {
        let (record, _) = self.containers.find(name_or_id)?;
        let log = chosen_log(&record)?;
        let driver = Options::parse(&log.driver, &log.options)?.driver;
        let path = driver.path(&self.containers.directory_of(&record.id), &record.id);
        let is_written = || self.containers.shims.is_alive(&record.id);
        Ok(reader::read(driver, &path, wanted, &is_written, &mut |entry| Ok(take(entry)))?)
    }

    /// Gives a container another name.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::NameTaken`].
    pub fn rename(&self, name_or_id: &str, name: &str) -> Result<()> {
        super::state::check_name(name)?;
        let (record, _) = self.containers.find(name_or_id)?;
        self.containers.rename(&record.id, name)?;
        if matches!(record.host_config.network()?, NetworkMode::Network(_)) {
            self.networks()?.rename(&record.id, name)?;
        }
        let before = record.shown_name().to_owned();
        let record = Record { name: Some(name.to_owned()), ..record };
        self.containers.note(&record, "rename", &[("oldName", before)]);
        Ok(())
    }

    /// Removes a container that has ended; with `force`, one that runs is killed first. With
    /// `volumes`, those that have no name of the user's go with it.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Running`].
    pub fn remove_container(&self, name_or_id: &str, force: bool, volumes: bool) -> Result<()> {
        let (record, _) = self.containers.find(name_or_id)?;
        if let Ok(mut client) = self.containers.shims.connect(&record.id) {
            if !force {
                return Err(Error::Running { id: record.short().to_owned() });
            }
            let killed = client.stop(Some(nix::libc::SIGKILL), Some(0));
            if let Err(error) = killed
                && self.containers.shims.is_alive(&record.id)
                && !matches!(error, corten_supervisor::Error::Gone { .. })
            {
                return Err(error.into());
            }
        }
        // Whoever starts or ends it goes on first.
        if let Some(owned) = self.containers.wait_and_own(&record)? {
            self.containers.shims.bury(&record.id)?;
            self.containers.leave(&record, owned.ran()?)?;
            self.containers.dispose(owned, volumes || record.auto_remove())?;
        }
        self.sweep_after(&record.image_id)
    }
}

/// What a container's configuration says of its log.
pub(crate) fn chosen_log(record: &Record) -> Result<LogChoice> {
    let chosen = supervision(&record.config, &record.host_config)?.log;
    Ok(chosen.unwrap_or_else(|| LogChoice::of(&LogConfig::default())))
}

/// Where a container's log is: at Docker's place for it.
pub(super) fn log_path(directory: &Path, record: &Record) -> std::path::PathBuf {
    let driver = chosen_log(record).ok().and_then(|log| Driver::named(&log.driver));
    driver.unwrap_or(Driver::JsonFile).path(directory, &record.id)
}

//! `RUN`: a container of the engine's own, whose changes go to a directory of the build's.
//!
//! It is made, supervised and put in order as any other, so default rights, limits, networks and names
//! are what `corten run` gives. It is leashed: where the build is killed, its supervisor kills it.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_builder::run::{Ended, Mount, MountSource, Runner, Stay, Stayed, Step, Told};
use corten_supervisor::client::{Asked, Client};
use corten_supervisor::protocol::{Attach, Operation, Outcome};
use corten_supervisor::record::Exit;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde_json::{Value, json};

use crate::engine::bundle::{Bundle, Upper};
use crate::engine::error::{At, Error, Result};
use crate::engine::options::check::check;
use crate::engine::options::{Config, HostConfig, MountType};
use crate::engine::state::{self, ImageLock, Owned, Record, State};
use crate::engine::volumes::mount_points;
use crate::engine::{Engine, clock};

/// Runs commands in containers of `engine`.
pub(super) struct Containers<'a> {
    pub engine: &'a Engine,
}

impl Runner for Containers<'_> {
    fn run(
        &self,
        step: &Step<'_>,
        tell: &mut dyn FnMut(Told<'_>),
    ) -> corten_builder::Result<Ended> {
        self.engine.run_step(step, tell).map_err(|error| match error {
            Error::Build(error) => *error,
            other => corten_builder::Error::runner(other),
        })
    }

    fn make(&self, step: &Step<'_>) -> corten_builder::Result<Option<String>> {
        let made = self.engine.make_step(step);
        made.map(Some).map_err(corten_builder::Error::runner)
    }
}

/// A container that runs a step. It is this process's until the step is over: whoever stops or removes it
/// waits for that.
struct Running {
    owned: Owned,
    client: Client,
    streams: OwnedFd,
    ended: Asked,
}

/// One that stays, and is this process's until its changes are a layer.
#[derive(Debug)]
struct Staying {
    owned: Option<Owned>,
    changes: PathBuf,
}

impl Stayed for Staying {
    fn changes(&self) -> &Path {
        &self.changes
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // Where that fails the next engine finds that it has ended.
        drop(self.owned.take().map(Owned::release));
    }
}

impl Engine {
    // ANCHOR: run_step
    fn run_step(&self, step: &Step<'_>, tell: &mut dyn FnMut(Told<'_>)) -> Result<Ended> {
        let owned = self.create_step(self.record_of(step)?)?;
        let id = owned.record.id.clone();
        tell(Told::Started(&id));
        let running = self.start_step(owned, step)?;
        let Running { owned, mut client, streams, ended } = running;
        let cancelled = pass_on(&streams, step, &mut client, tell)?;
        let told = match client.answer(ended) {
            Ok((Outcome::Exit(exit), _)) => Some(*exit),
            _ => None,
        };
        drop(client);
        let told = told.or_else(|| self.containers.exit(&id).ok().flatten());
        let succeeded = told.as_ref().is_some_and(|exit| exit.status == 0 && exit.error.is_none());
        if let Some(stay) =
            step.stay.as_ref().filter(|stay| !cancelled && (stay.always || !succeeded))
        {
            let (exit, staying) = self.let_stay(owned, step, stay)?;
            let exit = told.or(exit).unwrap_or_else(lost);
            return ended_with(exit, Some(Box::new(staying)));
        }
        let exit = told.or(self.containers.settle(owned)?).unwrap_or_else(lost);
        tell(Told::Removed(&id));
        match cancelled {
            true => Err(corten_builder::Error::Cancelled.into()),
            false => ended_with(exit, None),
        }
    }
    // ANCHOR_END: run_step

    fn create_step(&self, record: Record) -> Result<Owned> {
        let mut points = record.mount_points.clone();
        let held = self.volumes.attach(&mut points)?;
        let owned = self.containers.create(Record { mount_points: points.clone(), ..record });
        drop(held);
        // The first error tells more than one of cleaning up.
        owned.inspect_err(|_| drop(self.volumes.discard(&points)))
    }

    /// The container of a step that runs nothing.
    fn make_step(&self, step: &Step<'_>) -> Result<String> {
        let mut owned = self.create_step(self.record_of(step)?)?;
        let id = owned.record.id.clone();
        if let Some(stay) = &step.stay {
            let _images = ImageLock::shared(&self.root)?;
            owned.keep(settled(&owned.record, stay)?)?;
        }
        owned.release()?;
        Ok(id)
    }

    /// Makes a container of a step one that stays: over an image of what the step stood on, with the
    /// changes that lie with the build, and without what was mounted for the step. Until it is written
    /// down that it stays, it is one to be removed, whatever kills this process.
    fn let_stay(
        &self,
        mut owned: Owned,
        step: &Step<'_>,
        stay: &Stay<'_>,
    ) -> Result<(Option<Exit>, Staying)> {
        // Its supervisor has the changes mounted as long as it lives.
        self.containers.shims.take_over(&owned.record.id);
        self.containers.shims.wait(&owned.record.id);
        let _images = ImageLock::shared(&self.root)?;
        let settled = settled(&owned.record, stay)?;
        let directory = owned.directory().to_owned();
        for entry in std::fs::read_dir(step.writable).at("read", step.writable)? {
            let entry = entry.at("read", step.writable)?;
            let to = directory.join(entry.file_name());
            std::fs::rename(entry.path(), &to).at("rename to", &to)?;
        }
        owned.keep(settled)?;
        let exit = self.containers.conclude(&owned)?;
        Ok((exit, Staying { owned: Some(owned), changes: directory }))
    }

    /// What the container is.
    fn record_of(&self, step: &Step<'_>) -> Result<Record> {
        let bad =
            |why: serde_json::Error| Error::invalid("the image's configuration", why.to_string());
        let mut config: Config = serde_json::from_value(step.config.clone()).map_err(bad)?;
        config.image = step.image.to_owned();
        (config.attach_stdout, config.attach_stderr) = (true, true);
        if !step.volumes {
            config.volumes.clear();
        }
        // What an image exposes is no wish of a build's.
        config.exposed_ports.clear();
        let mut wanted = Value::Object(step.resources.host_config.clone());
        wanted["AutoRemove"] = json!(true);
        wanted["LogConfig"] = match step.stay {
            // dockerd keeps none, and refuses to show it.
            Some(_) => json!({"Type": "json-file", "Config": {"max-size": LOG_LIMIT}}),
            None => json!({"Type": "none"}),
        };
        wanted["NetworkMode"] = json!(match step.network {
            "" => "default",
            network => network,
        });
        wanted["Privileged"] = json!(step.insecure);
        wanted["Mounts"] = step.mounts.iter().map(mount).collect();
        let mut host: HostConfig = serde_json::from_value(wanted).map_err(bad)?;
        check(&mut config, &mut host, self.machine()?)?;
        let mount_points = mount_points(&config, &host, &[])?;
        let networks = self.attachments(&config, &host, &BTreeMap::new(), false)?;
        Ok(Record {
            id: state::new_id()?,
            name: None,
            created: clock::now(),
            image_id: step.image.to_owned(),
            layers: step.layers.to_vec(),
            config,
            host_config: host,
            mount_points,
            networks,
        })
    }

    fn start_step(&self, owned: Owned, step: &Step<'_>) -> Result<Running> {
        match self.try_start_step(&owned, step) {
            Ok((client, streams, ended)) => Ok(Running { owned, client, streams, ended }),
            Err(error) => {
                self.containers.shims.bury(&owned.record.id)?;
                self.containers.leave(&owned.record, true)?;
                match &step.stay {
                    Some(stay) => {
                        let state = State::exited(error.exit_code(), Some(error.to_string()));
                        let (_, staying) = self.let_stay(owned, step, stay)?;
                        staying.owned.iter().try_for_each(|owned| owned.set_state(&state))?;
                    }
                    None => self.containers.dispose(owned, true)?,
                }
                Err(error)
            }
        }
    }

    fn try_start_step(&self, owned: &Owned, step: &Step<'_>) -> Result<(Client, OwnedFd, Asked)> {
        let driver = self.layers.build_driver_name();
        let upper = Upper { directory: step.writable.to_owned(), driver };
        let Bundle { mut settings, spec } = self.assemble(owned, (0, 0), Some(&upper))?;
        settings.leashed = true;
        let mut client = self.containers.shims.launch(&settings, &spec)?;
        let attach = Attach { stdout: true, stderr: true, wait: true, ..Attach::default() };
        let streams = client.attach(attach)?;
        let ended = client.ask(Operation::Wait { next: false })?;
        let pid = client.start()?;
        let supervisor = client.status().map_or(0, |status| status.supervisor);
        owned.set_state(&State::Running { pid, supervisor, started: clock::now(), ended: None })?;
        Ok((client, streams, ended))
    }
}

/// How much of a step's output is kept with a container that stays.
const LOG_LIMIT: &str = "10m";

fn lost() -> Exit {
    Exit { error: Some("its supervisor was killed".into()), ..Exit::killed() }
}

fn ended_with(exit: Exit, stays: Option<Box<dyn Stayed>>) -> Result<Ended> {
    match exit.error {
        Some(why) if exit.status == 0 => Err(Error::refused(why)),
        _ => Ok(Ended { status: exit.status.into(), stays }),
    }
}

/// What stays of a container: nothing of the mounts of the step, which are gone with it.
fn settled(record: &Record, stay: &Stay<'_>) -> Result<Record> {
    let bad = |why: serde_json::Error| Error::invalid("the image's configuration", why.to_string());
    let mut record = record.clone();
    let config: Config = serde_json::from_value(stay.config.clone()).map_err(bad)?;
    (record.config.env, record.image_id) = (config.env, (stay.image)()?);
    record.config.image.clone_from(&record.image_id);
    (record.config.attach_stdout, record.config.attach_stderr) = (false, false);
    record.host_config.auto_remove = false;
    record.host_config.mounts.clear();
    // All others are the step's.
    record.mount_points.retain(|point| point.kind == MountType::Volume);
    Ok(record)
}

/// A mount as the API has it.
fn mount(mount: &Mount) -> Value {
    match &mount.source {
        MountSource::Host(path) => json!({
            "Type": "bind", "Source": path, "Target": mount.target, "ReadOnly": !mount.writable,
        }),
        MountSource::Memory(0) => json!({"Type": "tmpfs", "Target": mount.target}),
        MountSource::Memory(size) => json!({
            "Type": "tmpfs", "Target": mount.target, "TmpfsOptions": {"SizeBytes": size},
        }),
    }
}

/// Passes on what the command writes until it ends; tells whether somebody has ended the build, and the
/// command with it.
fn pass_on(
    streams: &OwnedFd,
    step: &Step<'_>,
    client: &mut Client,
    tell: &mut dyn FnMut(Told<'_>),
) -> Result<bool> {
    let shown = Path::new("the command's output");
    let mut stream = std::fs::File::from(streams.try_clone().at("copy", shown)?);
    let mut cancelled = false;
    let mut content = Vec::new();
    loop {
        if !cancelled {
            let mut fds = [
                PollFd::new(streams.as_fd(), PollFlags::POLLIN),
                PollFd::new(step.cancel.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) => continue,
                other => other.at("wait for", shown)?,
            };
            if fds[1].any().unwrap_or(false) {
                cancelled = true;
                // It may have ended this very moment.
                let _ = client.stop(Some(nix::libc::SIGKILL), Some(0));
                continue;
            }
        }
        // Docker's frame: the stream, three zeroes, the length.
        let mut header = [0; 8];
        match stream.read_exact(&mut header) {
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                return Ok(cancelled);
            }
            other => other.at("read", shown)?,
        }
        let [kind, _, _, _, a, b, c, d] = header;
        content.resize(u32::from_be_bytes([a, b, c, d]) as usize, 0);
        stream.read_exact(&mut content).at("read", shown)?;
        tell(if kind == 2 { Told::Error(&content) } else { Told::Output(&content) });
    }
}

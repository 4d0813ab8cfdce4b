//! Containers in the foreground: made, run to their end, kept or removed.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_namespaces::{Config, Exit, Plan, Root};
use corten_registry::{Image, Policy, Reference};
use corten_unionfs::ChainId;

use super::durable::{self, Worth};
use super::error::{At, Error, Result};
use super::image::chain;
use super::pull::{Event, PullOptions};
use super::spec::{ImageDefaults, Options, Spec, Surroundings};
use super::state::{self, ImageLock, Owned, Record, State};
use super::user::Accounts;
use super::{Engine, clock};

/// When `corten run` fetches the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum PullPolicy {
    /// When it is not there.
    #[default]
    Missing,
    /// Every time.
    Always,
    /// Never.
    Never,
}

/// What `corten run` was asked for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// The image, as the user named it.
    pub image: String,
    /// A name for the container.
    pub name: Option<String>,
    /// Remove the container when it ends.
    pub auto_remove: bool,
    /// When to fetch the image.
    pub policy: PullPolicy,
    /// How to fetch it.
    pub pull: PullOptions,
    /// What differs from the image.
    pub options: Options,
}

impl Engine {
    /// Runs a container in the foreground until it ends: its standard streams are the caller's.
    /// Called from the main thread, because the container dies with the thread that started it.
    ///
    /// # Errors
    /// What the image, the options or the kernel refuse. A container that could not be started
    /// leaves nothing behind with `auto_remove`, and a record of the error without it.
    pub fn run(&self, request: &Request, progress: &mut dyn FnMut(Event<'_>)) -> Result<Exit> {
        if let Some(name) = &request.name {
            state::check_name(name)?;
        }
        let images = ImageLock::shared(&self.root)?;
        let image = self.image_for(request, progress)?;
        let layers = chain(&image)?;
        let id = state::new_id()?;
        let hostname = id.get(..12).unwrap_or(&id);
        let spec = self.decide(&image, &layers, &request.options, hostname)?;
        // From here on a signal is passed to the container, so that it can't end this process
        // before the container's files are put in order.
        let relay = corten_namespaces::Relay::new()?;
        let owned = self.containers.create(Record {
            id,
            name: request.name.clone(),
            created: clock::now(),
            image: request.image.clone(),
            image_id: image.id.to_string(),
            layers,
            auto_remove: request.auto_remove,
            spec,
        })?;
        // The record names the layers now, so they stay.
        drop(images);
        let outcome = self.run_owned(&owned, &relay);
        match &outcome {
            _ if request.auto_remove => owned.remove()?,
            Ok(exit) => {
                owned.set_state(&State::exited(exit.status(), None))?;
                owned.release()?;
            }
            Err(error) => {
                owned.set_state(&State::exited(error.exit_code(), Some(error.to_string())))?;
                owned.release()?;
            }
        }
        outcome
    }

    /// The system calls that [`Engine::run`] would make, without making them. The image must be
    /// there or may be fetched.
    ///
    /// # Errors
    /// As [`Engine::run`], up to the start.
    pub fn explain(&self, request: &Request, progress: &mut dyn FnMut(Event<'_>)) -> Result<Plan> {
        let _images = ImageLock::shared(&self.root)?;
        let image = self.image_for(request, progress)?;
        let layers = chain(&image)?;
        let spec = self.decide(&image, &layers, &request.options, "0123456789ab")?;
        let tree = self.tree(&layers, None)?;
        let directory = self.root.join("containers/ID");
        Ok(Plan::new(config(&spec, tree, &directory)?)?)
    }

    /// The image, fetched and unpacked where that is missing.
    fn image_for(&self, request: &Request, progress: &mut dyn FnMut(Event<'_>)) -> Result<Image> {
        let pull = |progress: &mut dyn FnMut(Event<'_>)| {
            let reference = Reference::parse(&request.image)?;
            Ok(self.pull_locked(&reference, &request.pull, progress)?.image)
        };
        if request.policy == PullPolicy::Always {
            return pull(progress);
        }
        match self.images.image(&request.image) {
            // Its layers may be missing where a pull was cut off between the two.
            Ok(image) => {
                // The policy may be younger than the image.
                self.images.check_policy(&Policy::system()?, &request.image)?;
                self.unpack(&image, &mut |_| {}).map(|()| image)
            }
            Err(error) if !error.is_not_found() => Err(error.into()),
            Err(_) if request.policy == PullPolicy::Never => {
                Err(Error::NotPulled { name: request.image.clone() })
            }
            Err(_) => pull(progress),
        }
    }

    fn decide(
        &self,
        image: &Image,
        layers: &[ChainId],
        options: &Options,
        hostname: &str,
    ) -> Result<Spec> {
        let root = Root::from_fd(self.tree(layers, None)?, "image");
        let accounts = Accounts::read(&root)?;
        Spec::new(&ImageDefaults::from(image.config.spec()), options, &accounts, hostname)
    }

    /// The merged tree of `layers`, detached; with a container's directory, writable.
    fn tree(&self, layers: &[ChainId], writable: Option<&Path>) -> Result<OwnedFd> {
        let lower = match layers.last() {
            Some(top) => self.layers.lower_dirs(top)?,
            None => vec![self.empty_layer()?],
        };
        Ok(self.layers.driver().mount(&lower, writable)?)
    }

    /// What an image without layers stands on.
    fn empty_layer(&self) -> Result<PathBuf> {
        let path = self.root.join("empty");
        std::fs::create_dir_all(&path).at("make", &path)?;
        Ok(path)
    }

    fn run_owned(&self, owned: &Owned, relay: &corten_namespaces::Relay) -> Result<Exit> {
        let record = &owned.record;
        let directory = owned.directory();
        let tree = self.tree(&record.layers, Some(directory))?;
        write_files(&record.spec, directory)?;
        for volume in &record.spec.volumes {
            volume.prepare()?;
        }
        let plan = Plan::new(config(&record.spec, tree, directory)?)?;
        let mut container = plan.spawn()?;
        // It holds the root's tree, which shall be gone when the container has ended.
        drop(plan);
        owned.set_state(&State::Running {
            pid: container.pid(),
            // Process ids fit: pid_max is below 2^22.
            engine: std::process::id() as i32,
            started: clock::now(),
        })?;
        Ok(relay.run(&mut container)?)
    }

    /// Removes a container that has ended; with `force`, one that runs is killed first.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`], [`Error::Running`].
    pub fn remove_container(&self, name_or_id: &str, force: bool) -> Result<()> {
        let (record, state) = self.containers.find(name_or_id)?;
        let image_id = record.image_id.clone();
        let owned = match self.containers.own(&record)? {
            Some(owned) => Some(owned),
            None => match state {
                State::Running { pid, engine, .. } if force => {
                    kill(pid, engine)?;
                    self.containers.wait_and_own(&record)?
                }
                State::Running { engine, .. } => {
                    return Err(Error::Running { id: record.short().to_owned(), pid: engine });
                }
                // It starts, ends or is removed at this moment: whoever does it goes on.
                _ => self.containers.wait_and_own(&record)?,
            },
        };
        if let Some(owned) = owned {
            owned.remove()?;
        }
        self.sweep_after(&image_id)
    }
}

/// Kills the first process of a container, whose parent is the process `engine`.
fn kill(pid: i32, engine: i32) -> Result<()> {
    let Ok(pidfd) = corten_namespaces::sys::pidfd_open(pid) else { return Ok(()) };
    // The descriptor is of whatever had the number just now; only a child of the engine that holds
    // the container's lock is the one that is meant.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"));
    if parent.is_none_or(|parent| parent.trim() != engine.to_string()) {
        return Ok(());
    }
    match corten_namespaces::sys::pidfd_send_signal(pidfd.as_fd(), nix::libc::SIGKILL) {
        Ok(()) | Err(nix::errno::Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno).at("kill process", Path::new(&pid.to_string())),
    }
}

/// Chapter 1's description of a container in `directory`.
fn config(spec: &Spec, tree: OwnedFd, directory: &Path) -> Result<Config> {
    let files = FILES.iter().map(|(name, target)| (directory.join(name), *target)).collect();
    let window = corten_namespaces::terminal::size(std::io::stdin().as_fd());
    spec.config(Surroundings {
        directory: directory.join("rootfs"),
        tree,
        files,
        cgroup2: has_unified_cgroups(),
        window,
    })
}

/// Files in a container's directory that are mounted into it. What it does to them ends with it.
const FILES: [(&str, &str); 2] = [("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// The names of the loopback addresses, as Docker writes them.
const HOSTS: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

fn write_files(spec: &Spec, directory: &Path) -> Result<()> {
    let hosts = format!("{HOSTS}127.0.0.1\t{}\n", spec.hostname);
    for (name, text) in [("hostname", format!("{}\n", spec.hostname)), ("hosts", hosts)] {
        durable::write(&directory.join(name), text.as_bytes(), 0o644, Worth::Volatile)?;
    }
    Ok(())
}

/// Whether /sys/fs/cgroup is the unified hierarchy (cgroups(7)); on v1 and hybrid hosts the
/// container is shown none.
fn has_unified_cgroups() -> bool {
    let path = "/sys/fs/cgroup";
    nix::sys::statfs::statfs(path)
        .is_ok_and(|found| found.filesystem_type() == nix::sys::statfs::CGROUP2_SUPER_MAGIC)
}

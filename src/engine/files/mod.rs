//! The files of a container, as it sees them itself, for the engine to read and write.
//!
//! A view is a mount namespace without a process, held by a descriptor. That of a running container
//! is a copy of its own: what it mounts or moves later changes nothing here. That of another one
//! is made of its root and its volumes. Either way proc, sys and dev are taken out, which are the
//! kernel's and not the container's. All goes with the descriptor, whatever crashes.
//!
//! | module | what |
//! |---|---|
//! | `namespace` | the namespace, made by a thread of its own |
//! | `find` | paths in it, by Docker's rules |

mod find;
mod namespace;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use corten_namespaces::Root;
use corten_supervisor::journal::Journal;
use corten_supervisor::record::Status;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::Engine;
use super::error::{At, Error, Result};
use super::oci::files::FILES;
use super::options::{MountType, NetworkMode};
use super::state::{Owned, Record, State};
use super::volumes::MountPoint;
pub use find::PathStat;
pub(crate) use find::{Spot, base, cleaned, evaluate, says_directory};
use namespace::{Attach, Base, Made, Plan};

/// What of a container is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All that it sees but proc, sys and dev.
    Whole,
    /// Its root, without anything that is mounted in it.
    Root,
}

/// The files of a container.
#[derive(Debug)]
pub struct Files {
    /// What it is.
    pub record: Record,
    /// How the user called it, for messages.
    name: String,
    /// Where is written down what is done with them.
    journal: Journal,
    root: Root,
    /// Holds the mounts.
    _namespace: OwnedFd,
    /// Nobody starts or removes it meanwhile.
    owned: Option<Owned>,
}

impl Drop for Files {
    fn drop(&mut self) {
        if let Some(owned) = self.owned.take() {
            // Where that fails, the next engine finds it and puts it in order.
            let _ = owned.release();
        }
    }
}

/// A container starts or ends while it is being looked at; so often that is waited for.
const ATTEMPTS: u32 = 500;

impl Engine {
    // ANCHOR: files
    /// The files of a container.
    ///
    /// # Errors
    /// [`Error::NoSuchContainer`]; where its root or a volume cannot be mounted.
    pub fn files(&self, name_or_id: &str, scope: Scope) -> Result<Files> {
        for _ in 0..ATTEMPTS {
            let (record, _) = self.containers.find(name_or_id)?;
            if self.containers.shims.is_alive(&record.id) {
                if let Some(view) = self.files_of_living(name_or_id, record, scope)? {
                    return Ok(view);
                }
                std::thread::sleep(Duration::from_millis(10));
                continue;
            }
            let Some(owned) = self.containers.wait_and_own(&record)? else { continue };
            if self.containers.shims.is_alive(&record.id) {
                owned.hand_over();
            } else if matches!(owned.state()?, State::Running { .. }) {
                self.containers.settle(owned)?;
            } else {
                return self.files_of_resting(name_or_id, owned, scope);
            }
        }
        Err(Error::refused(format!("container {name_or_id} starts and ends all the time")))
    }
    // ANCHOR_END: files

    /// `None` where it is between two states.
    fn files_of_living(&self, name: &str, record: Record, scope: Scope) -> Result<Option<Files>> {
        let Ok(mut client) = self.containers.shims.connect(&record.id) else { return Ok(None) };
        let Ok(status) = client.status() else { return Ok(None) };
        let same = |now: &Status| (now.pid, now.restarts) == (status.pid, status.restarts);
        let process = if status.pid > 0 { status.pid } else { status.supervisor };
        let Some(namespace) = mount_namespace(process)? else { return Ok(None) };
        // While it is the supervisor's child, the number is nobody else's.
        if !client.status().is_ok_and(|now| same(&now)) {
            return Ok(None);
        }
        let made = if status.pid > 0 {
            let own_dev = !record.mount_points.iter().any(|point| point.destination == "/dev");
            namespace::make(Base::Running { namespace, own_dev }, Plan::of(scope))
        } else {
            let rootfs = self.containers.directory_of(&record.id).join("rootfs");
            let plan = self.plan(&record, &record.mount_points, scope)?;
            namespace::make(Base::Supervised { namespace, rootfs }, plan)
        };
        match made {
            Ok(made) => Ok(Some(self.files_of(name, record, made, None))),
            // Its root is not mounted any more, or not yet.
            Err(_) if !client.status().is_ok_and(|now| same(&now)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn files_of(
        &self,
        name: &str,
        record: Record,
        (root, namespace): Made,
        owned: Option<Owned>,
    ) -> Files {
        let (root, journal) = (Root::from_fd(root, "/"), self.containers.journal(&record));
        Files { record, name: name.to_owned(), journal, root, _namespace: namespace, owned }
    }

    fn files_of_resting(&self, name: &str, owned: Owned, scope: Scope) -> Result<Files> {
        match self.make_resting(&owned, scope) {
            Ok(made) => Ok(self.files_of(name, owned.record.clone(), made, Some(owned))),
            Err(error) => {
                // The first error tells more than one of giving it up.
                let _ = owned.release();
                Err(error)
            }
        }
    }

    fn make_resting(&self, owned: &Owned, scope: Scope) -> Result<Made> {
        let record = &owned.record;
        let mut points = record.mount_points.clone();
        let tree = self.tree(&record.layers, Some(owned.directory()))?;
        let mut _held = None;
        if scope == Scope::Whole {
            _held = Some(self.volumes.attach(&mut points)?);
            let tree = tree.try_clone().at("copy the descriptor of", owned.directory())?;
            self.volumes.fill(&points, &Root::from_fd(tree, "root"))?;
        }
        let plan = self.plan(record, &points, scope)?;
        namespace::make(Base::Tree { tree, rootfs: owned.rootfs() }, plan)
    }

    /// What is mounted in a container that does not run.
    fn plan(&self, record: &Record, points: &[MountPoint], scope: Scope) -> Result<Plan> {
        let mut plan = Plan::of(scope);
        if scope == Scope::Root {
            return Ok(plan);
        }
        plan.read_only = record.host_config.readonly_rootfs;
        let seen = |point: &&MountPoint| {
            matches!(point.kind, MountType::Volume | MountType::Bind) && point.device.is_none()
        };
        plan.mounts.extend(points.iter().filter(seen).map(Attach::of));
        if !matches!(record.host_config.network()?, NetworkMode::Container(_)) {
            let directory = self.containers.directory_of(&record.id);
            for (name, target) in FILES {
                if !points.iter().any(|point| point.destination == target) {
                    let source = directory.join(name);
                    plan.mounts.push(Attach::own_file(source, target, plan.read_only));
                }
            }
        }
        plan.mounts.sort_by_key(|mount| mount.target.components().count());
        Ok(plan)
    }
}

impl Files {
    /// How the user called it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes down what is done with them. That it is done counts more than that it is written down.
    pub(crate) fn note(&self, action: &str) {
        drop(self.journal.tell(action, &[]));
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.owned.is_none()
    }

    /// Its root directory.
    pub fn root(&self) -> &Root {
        &self.root
    }
}

/// The mount namespace of a process; `None` where it has ended.
fn mount_namespace(pid: i32) -> Result<Option<OwnedFd>> {
    let path = PathBuf::from(format!("/proc/{pid}/ns/mnt"));
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    match openat(nix::fcntl::AT_FDCWD, &path, flags, Mode::empty()) {
        Ok(fd) => Ok(Some(fd)),
        Err(nix::errno::Errno::ENOENT | nix::errno::Errno::ESRCH) => Ok(None),
        Err(errno) => Err(errno).at("open", &path),
    }
}

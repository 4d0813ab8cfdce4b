//! Creating a container: the plan, as data.
//!
//! ```text
//! Bundle + Options ──Create::new──▶ Create ──Create::execute──▶ Created ──start──▶ running
//!                                  (steps)    parent: spawn.rs
//!                                             child:  crate::child walks the steps
//! ```

mod describe;
mod plan;
mod restore;
mod root;
mod spawn;
pub mod step;

use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use corten_namespaces::idmap::IdMap;
use corten_namespaces::{Namespace, NamespaceSet};
use oci_spec::runtime::Hook;

use crate::cgroup;
use crate::id::ContainerId;
use crate::state::State;

pub(crate) use plan::rights;
pub(crate) use root::{detach_root, personality};
pub use spawn::Created;
pub(crate) use spawn::{clone_among, died, set_oom_score, start_over, write_pid};
pub use step::Step;

/// What the caller of `create` or `run` says beside the bundle.
#[derive(Debug, Default)]
pub struct Options {
    /// The state directory of all containers.
    pub root: PathBuf,
    /// The socket on which the caller waits for the master of the terminal.
    pub console: Option<OwnedFd>,
    /// Where to write the number of the first process.
    pub pid_file: Option<PathBuf>,
    /// Where to send a descriptor of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// Moves the root instead of pivoting: for an initramfs.
    pub no_pivot: bool,
    /// Leaves the caller's session keyring.
    pub no_new_keyring: bool,
    /// How many descriptors beyond 2 the container inherits.
    pub preserve_fds: RawFd,
    /// How control groups are made.
    pub cgroup_manager: cgroup::Manager,
    /// The container waits on a socket for `start`; else on the channel to its parent, for `run`.
    pub detached_start: bool,
    /// LISTEN_FDS of the caller's environment.
    pub listen_fds: Option<u32>,
    /// The program is an init: its signals wait until it takes them.
    pub init: bool,
    /// The file system with the socket of [`crate::notify`].
    pub notify: Option<OwnedFd>,
}

// ANCHOR: create
/// A container to be created: everything that is read, opened and checked before the first process
/// exists.
#[derive(Debug)]
pub struct Create {
    /// Its name.
    pub id: ContainerId,
    /// What the caller said.
    pub options: Options,
    /// The configuration's text, which is kept.
    pub config: String,
    /// The state that will be written.
    pub state: State,
    /// The namespaces that clone3 makes.
    pub namespaces: NamespaceSet,
    /// Namespaces that must be joined by a process in between, because a user namespace is.
    pub through: Vec<(Namespace, OwnedFd)>,
    /// A pid namespace to be joined by the parent, for its child.
    pub pid_namespace: Option<OwnedFd>,
    /// The ids of a new user namespace.
    pub maps: Option<(IdMap, IdMap)>,
    /// Its control groups.
    pub cgroup: Option<cgroup::Plan>,
    /// /proc/PID/oom_score_adj, which the parent sets: the hidden child may not.
    pub oom_score_adj: Option<i32>,
    /// Its intelRdt group.
    pub rdt: Option<crate::rdt::Plan>,
    /// Who takes the decisions of a notifying filter.
    pub listener: Option<crate::seccomp::Listener>,
    /// Devices of the host's network that are moved into its own: name, new name.
    pub devices: Vec<(String, Option<String>)>,
    /// Hooks that run in the caller's namespaces before pivot_root.
    pub hooks: RuntimeHooks,
    /// What the child does.
    pub steps: Vec<Step>,
    /// What was asked for and cannot be had.
    pub warnings: Vec<String>,
    /// What helps to find a fault.
    pub notes: Vec<String>,
}
// ANCHOR_END: create

/// The hooks that the parent runs.
#[derive(Debug, Default)]
pub struct RuntimeHooks {
    /// The older name.
    pub prestart: Vec<Hook>,
    /// The newer one.
    pub create_runtime: Vec<Hook>,
    /// Run after `start`.
    pub poststart: Vec<Hook>,
}

impl RuntimeHooks {
    /// Whether the child has to wait for any.
    pub fn before_pivot(&self) -> bool {
        !self.prestart.is_empty() || !self.create_runtime.is_empty()
    }
}

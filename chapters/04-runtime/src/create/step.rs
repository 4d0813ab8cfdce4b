//! What the first process of a container does before it becomes the container's program.

use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use corten_namespaces::Namespace;
use corten_namespaces::config::{Limit, User};
use oci_spec::runtime::Hook;

use crate::capability::Capabilities;
use crate::channel::Listener;
use crate::mount::{Inside, Mount};
use crate::program::Program;
use crate::seccomp::Filter;
use crate::sys::schedule::SchedulerAttributes;

// ANCHOR: step
/// One thing that the child does. The order in the plan is the order in time.
#[derive(Debug)]
pub enum Step {
    /// Is killed when the thread that made it ends: until the container is complete.
    DieWithParent,
    /// Moves into a namespace of another process.
    Join(Namespace, OwnedFd),
    /// Unmounts what is mounted at a place.
    Unmount(Inside),
    /// Tells the parent that all is done, and ends.
    Done,
    /// Waits until the parent has written the id maps, then becomes root inside.
    BecomeMappedRoot,
    /// Becomes root of the user namespace that it has joined.
    BecomeRoot,
    /// Takes `/` of the mount namespace that it has joined as the root.
    OpenRoot,
    /// Makes a time namespace, sets its clocks and moves into it.
    OffsetClocks(CString),
    /// Makes the process one that others may not look into, until execve (CVE-2019-5736).
    HideProcess,
    /// Joins a session keyring of its own.
    Keyring(CString),
    /// Sets the propagation of all mounts.
    Propagation(u64, bool),
    /// Attaches the root's tree on itself, so that it is a mount.
    AttachRoot(CString),
    /// The mount that the root file system lies on becomes private.
    PrivateParent(CString),
    /// Mounts something below the root.
    Mount(Mount),
    /// Waits for the files of v1's control groups, which the parent makes meanwhile, and enters
    /// them (clone3 has put it into v2's); makes a cgroup namespace there.
    Cgroups {
        /// Whether to make the namespace.
        namespace: bool,
    },
    /// Makes a network namespace. Not by clone3: it takes the kernel as long as all other kinds
    /// together, in which time the parent makes the control groups.
    NewNetwork,
    /// Makes a device node, or bind-mounts the host's where mknod is not allowed.
    Device(Device),
    /// Makes a symbolic link in /dev.
    Link(Inside, PathBuf),
    /// Lets the parent run the prestart and createRuntime hooks.
    RuntimeHooks,
    /// Runs the createContainer hooks.
    ContainerHooks(Vec<Hook>),
    /// Opens a pseudoterminal in the container's /dev/pts and sends its master to the caller.
    Terminal(Terminal),
    /// Makes the root `/`.
    SwitchRoot(Switch),
    /// Sets the propagation of `/`.
    RootPropagation(u64, bool),
    /// Makes `/` read-only.
    ReadOnlyRoot,
    /// Sets the host name.
    Hostname(CString),
    /// Sets the NIS domain name.
    Domainname(CString),
    /// Sets the loopback interface up.
    LoopbackUp,
    /// Writes kernel parameters: the path below /proc/sys, and the value.
    Sysctl(PathBuf, String),
    /// Makes paths read-only.
    WriteProtect(Vec<Inside>),
    /// Hides paths.
    Mask(Vec<Inside>),
    /// Sets a resource limit.
    Limit(Limit),
    /// Sets the processors that it may run on.
    Affinity(Vec<usize>),
    /// sched_setattr(2).
    Scheduler(SchedulerAttributes),
    /// ioprio_set(2).
    IoPriority(u32, u32),
    /// personality(2).
    Personality(u64),
    /// set_mempolicy(2): mode with flags, and nodes.
    MemoryPolicy(i32, Vec<u64>),
    /// Starts a session and takes the pseudoterminal as its controlling terminal.
    Session,
    /// Asks AppArmor or SELinux for a label at execve: the file below /proc/self/attr, the value.
    Label(&'static str, CString),
    /// Drops capabilities from the bounding set, for good.
    BoundCapabilities(u64),
    /// Takes on the ids of the user, and keeps capabilities for the next step.
    Credentials(User),
    /// Sets the sets of capabilities. With true, CAP_SYS_ADMIN stays until execve, which a filter
    /// without no_new_privs needs.
    Capabilities(Capabilities, bool),
    /// Sets no_new_privs.
    NoNewPrivileges,
    /// Sets the umask.
    Umask(u32),
    /// Makes the working directory, where it is missing.
    MakeDirectory(Inside),
    /// Changes to the working directory and checks that it lies inside the root. As root first,
    /// which may enter what the user may not; with true as the user, if root could not.
    WorkingDirectory(CString, bool),
    /// Finds the program, so that `create` can say that it is not there.
    FindProgram,
    /// Marks all descriptors but 0, 1, 2 and this many more close-on-exec.
    CloseDescriptors(RawFd),
    /// Tells the parent that all is ready, and waits for `start`.
    AwaitStart(Option<Listener>),
    /// Runs the startContainer hooks.
    StartHooks(Vec<Hook>),
    /// Gives all signals their default action and unblocks them.
    ResetSignals,
    /// Keeps signals waiting for an init that takes them: pid 1 gets none for which it has no
    /// handler, so one that comes too early would be lost.
    BlockSignals,
    /// Loads the filter. From here on only execve is called.
    Seccomp(Filter),
    /// execve(2).
    Execute(Program),
}
// ANCHOR_END: step

/// How the container's root becomes `/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Switch {
    /// pivot_root(2).
    #[default]
    Pivot,
    /// Moves the mount over `/` and changes the root: for an initramfs.
    Move,
    /// Only changes the root. For tests of what that does not hold.
    Chroot,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Where.
    pub target: Inside,
    /// `S_IFCHR`, `S_IFBLK` or `S_IFIFO`, and the permissions.
    pub mode: libc::mode_t,
    /// Major and minor.
    pub number: libc::dev_t,
    /// Owner and group.
    pub owner: (u32, u32),
}

/// A pseudoterminal to be opened.
#[derive(Debug)]
pub struct Terminal {
    /// Rows and columns.
    pub size: Option<(u16, u16)>,
    /// Whom it shall belong to.
    pub uid: u32,
    /// The caller's socket, to which the master is sent.
    pub socket: OwnedFd,
    /// Whether /dev/console is made of it: not where a process joins a running container.
    pub console: bool,
}

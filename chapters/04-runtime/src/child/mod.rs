//! The child: from clone3 to execve, one step after the other.
//!
//! It is a copy of a program with one thread, so unlike chapter 1's it may allocate, and a step
//! that fails can make its own sentence. It still holds to the rule that nothing is resolved twice:
//! the sources of mounts were opened before it was made, container paths go through
//! [`place::find`].

mod devices;
mod identity;
mod mounts;
mod place;
mod settings;
mod start;
mod terminal;

use std::convert::Infallible;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use corten_namespaces::error::Context;
use corten_namespaces::{Namespace, Root};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::channel::{Channel, Message};
use crate::create::Step;
use crate::error::{Error, Result};
use crate::state::State;

/// What the child holds besides its steps.
pub(crate) struct Child {
    /// The way to the parent, then to whoever says `start`.
    channel: Channel,
    /// The host's /proc: that which the image cannot replace.
    proc: OwnedFd,
    /// The host's /dev/null, to hide files with.
    null: Option<OwnedFd>,
    /// The mount that becomes `/`.
    root: Option<Root>,
    /// The container's end of its pseudoterminal.
    slave: Option<OwnedFd>,
    /// An empty read-only file system, to hide directories with.
    empty: Option<OwnedFd>,
    /// Whether the working directory was entered.
    entered: bool,
    /// The program's file.
    program: Option<CString>,
    /// For hooks.
    state: State,
}

/// Opens the host's /proc for the child, which needs files of it when its own `/proc` is already
/// one that an image may have covered.
pub(crate) fn host_proc() -> Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let proc = nix::fcntl::open("/proc", flags, Mode::empty()).on("open", "/proc")?;
    place::is_proc(&proc).on("look at", "/proc")?;
    Ok(proc)
}

// ANCHOR: walk
/// Does all that `steps` say. Returns never: the last step is execve.
pub(crate) fn walk(steps: &[Step], channel: Channel, proc: OwnedFd, state: State) -> Infallible {
    // A panic must end this process at once: it must not unwind into what is the parent's, and as
    // the first process of a pid namespace it would not even die of abort's signal.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("corten-runtime: error: {panic}");
        corten_namespaces::sys::exit_now(1);
    }));
    // Modes in the plan are meant as they are; the program's own umask is a step.
    nix::sys::stat::umask(Mode::empty());
    let mut child = Child {
        channel,
        proc,
        null: None,
        root: None,
        slave: None,
        empty: None,
        entered: false,
        program: None,
        state,
    };
    for step in steps {
        let done = match (step, steps.last()) {
            (Step::FindProgram, Some(Step::Execute(program))) => child.find_program(program),
            _ => child.perform(step),
        };
        if let Err(error) = done {
            // Nobody is left to tell where this fails, too.
            let failed = Message::Failed(error.exit_code(), error.to_string());
            let _ = child.channel.send(&failed);
            break;
        }
    }
    corten_namespaces::sys::exit_now(1)
}
// ANCHOR_END: walk

impl Child {
    /// One line for each step: what it means is in the module of what it changes.
    fn perform(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::DieWithParent => self.die_with_parent(),
            Step::Join(kind, fd) => Ok(kind.join(fd.as_fd())?),
            Step::Unmount(path) => self.unmount(path),
            Step::Done => self.done(),
            Step::BecomeMappedRoot => self.become_mapped_root(),
            Step::BecomeRoot => become_root(),
            Step::OpenRoot => self.open_root(),
            Step::OffsetClocks(offsets) => settings::offset_clocks(offsets),
            Step::HideProcess => identity::hide(),
            Step::Keyring(name) => settings::keyring(name),
            Step::Propagation(flag, below) | Step::RootPropagation(flag, below) => {
                mounts::propagation(*flag, *below)
            }
            Step::AttachRoot(path) => self.attach_root(path),
            Step::PrivateParent(path) => mounts::private_parent(path),
            Step::Mount(mount) => self.mount(mount),
            Step::Cgroups { namespace } => self.cgroups(*namespace),
            Step::NewNetwork => settings::new_network(),
            Step::Device(device) => self.device(device),
            Step::Link(at, to) => self.link(at, to),
            Step::RuntimeHooks => self.runtime_hooks(),
            Step::ContainerHooks(hooks) => self.container_hooks(hooks),
            Step::Terminal(terminal) => self.terminal(terminal),
            Step::SwitchRoot(switch) => self.switch_root(*switch),
            Step::MakeDirectory(path) => self.make_directory(path),
            Step::ReadOnlyRoot => settings::read_only_root(),
            Step::Hostname(name) => settings::hostname(name),
            Step::Domainname(name) => settings::domainname(name),
            Step::LoopbackUp => settings::loopback_up(),
            Step::Sysctl(path, value) => self.sysctl(path, value),
            Step::WriteProtect(paths) => paths.iter().try_for_each(|path| self.write_protect(path)),
            Step::Mask(paths) => paths.iter().try_for_each(|path| self.mask(path)),
            Step::Limit(limit) => settings::limit(limit),
            Step::Affinity(cpus) => settings::affinity(cpus),
            Step::Scheduler(attributes) => settings::scheduler(*attributes),
            Step::IoPriority(class, level) => settings::io_priority(*class, *level),
            Step::Personality(persona) => settings::personality(*persona),
            Step::MemoryPolicy(mode, nodes) => settings::memory_policy(*mode, nodes),
            Step::Session => self.session(),
            Step::Label(file, value) => self.label(file, value),
            Step::BoundCapabilities(set) => identity::bound(*set),
            Step::Credentials(user) => identity::credentials(user),
            Step::Capabilities(sets, keep_admin) => identity::capabilities(sets, *keep_admin),
            Step::NoNewPrivileges => identity::no_new_privileges(),
            Step::Umask(mask) => settings::umask(*mask),
            Step::WorkingDirectory(path, last) => self.working_directory(path, *last),
            Step::FindProgram => Ok(()),
            Step::CloseDescriptors(first) => self.close_descriptors(*first),
            Step::AwaitStart(listener) => self.await_start(listener.as_ref()),
            Step::StartHooks(hooks) => self.start_hooks(hooks),
            Step::ResetSignals => self.reset_signals(),
            Step::BlockSignals => {
                corten_namespaces::sys::block_signals();
                Ok(())
            }
            Step::Seccomp(filter) => self.seccomp(filter),
            Step::Execute(program) => self.execute(program),
        }
    }

    /// The end of a process that was only to set something up.
    fn done(&self) -> Result<()> {
        self.channel.send(&Message::Ready)?;
        corten_namespaces::sys::exit_now(0)
    }

    fn open_root(&mut self) -> Result<()> {
        self.root = Some(Root::from_fd(crate::exec::own_root()?, "/"));
        Ok(())
    }

    fn reset_signals(&self) -> Result<()> {
        corten_namespaces::sys::reset_signals();
        // Told here, since a filter need not allow it later.
        self.channel.send(&Message::Going)
    }

    fn root(&self) -> Result<&Root> {
        self.root.as_ref().ok_or_else(|| Error::invalid("the plan", "has no root before this step"))
    }

    fn die_with_parent(&self) -> Result<()> {
        use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
        let kill = libc::SIGKILL as u64;
        corten_namespaces::sys::identity::prctl(libc::PR_SET_PDEATHSIG, kill, 0)
            .during("ask to be killed with the parent")?;
        // It may have ended before it was asked for; its end of the channel is closed then.
        let mut channel = [PollFd::new(self.channel.as_fd(), PollFlags::empty())];
        poll(&mut channel, PollTimeout::ZERO).during("poll")?;
        if channel[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP)) {
            corten_namespaces::sys::exit_now(1);
        }
        Ok(())
    }

    /// Waits for `message`; a parent that says something else, or is gone, is the end.
    fn expect(&self, message: &Message) -> Result<()> {
        match self.channel.receive()? {
            Some(heard) if heard == *message => Ok(()),
            _ => corten_namespaces::sys::exit_now(1),
        }
    }

    fn become_mapped_root(&self) -> Result<()> {
        self.expect(&Message::Mapped)?;
        become_root()
    }

    // ANCHOR: cgroups
    /// Enters the groups of v1 by itself. A process that moves another makes the kernel hold all
    /// forks and exits of the machine, for which it waits until every processor has passed through
    /// the scheduler: 8 to 20 ms. A thread that moves itself, through `tasks`, needs none of that
    /// (`cgroup_procs_write_start` in kernel/cgroup/cgroup.c).
    ///
    /// A cgroup namespace shows as its root the group in which the process is when it makes the
    /// namespace, so that comes after.
    fn cgroups(&self, namespace: bool) -> Result<()> {
        let (message, tasks) = self.channel.receive_with()?;
        if message != Some(Message::Joined) {
            corten_namespaces::sys::exit_now(1);
        }
        for file in &tasks {
            nix::unistd::write(file, b"0").during("enter a control group")?;
        }
        if namespace {
            // The value is one of the CLONE_NEW* flags, which fit.
            corten_namespaces::sys::unshare(Namespace::Cgroup.flag() as i32)
                .during("make a cgroup namespace")?;
        }
        Ok(())
    }
    // ANCHOR_END: cgroups

    fn runtime_hooks(&self) -> Result<()> {
        self.channel.send(&Message::Hooks)?;
        self.expect(&Message::Hooks)
    }
}

/// A new or joined user namespace gives all rights, and leaves the ids as they were outside.
fn become_root() -> Result<()> {
    corten_namespaces::sys::identity::setgid(0).during("become group 0 in the user namespace")?;
    Ok(corten_namespaces::sys::identity::setuid(0).during("become user 0 in the user namespace")?)
}

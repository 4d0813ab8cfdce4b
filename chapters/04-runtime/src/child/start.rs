//! From a complete container to its program.

use std::ffi::CStr;
use std::os::fd::RawFd;
use std::path::Path;

use corten_namespaces::error::{Context, KernelError};
use corten_namespaces::sys;
use nix::errno::Errno;
use oci_spec::runtime::Hook;

use super::Child;
use crate::channel::{Listener, Message};
use crate::container::{StateReport, Status};
use crate::error::Result;
use crate::hooks;
use crate::program::Program;
use crate::seccomp::Filter;

impl Child {
    // ANCHOR: working_directory
    /// A working directory that is reached through a leaked descriptor lies outside of the root:
    /// CVE-2024-21626. The kernel's getcwd tells, by a path that does not begin with a slash.
    pub(super) fn working_directory(&mut self, path: &CStr, last: bool) -> Result<()> {
        if self.entered {
            return Ok(());
        }
        let shown = path.to_string_lossy();
        match nix::unistd::chdir(path) {
            Err(Errno::EACCES) if !last => return Ok(()),
            other => other.on("change to the working directory", &*shown)?,
        }
        let mut buffer = [0; libc::PATH_MAX as usize];
        let inside = sys::getcwd(&mut buffer)
            .on("ask for the working directory", &*shown)?
            .first()
            .is_some_and(|byte| *byte == b'/');
        if !inside {
            let path = Some(Path::new(&*shown));
            let error = KernelError::new("change to the working directory", path, Errno::EPERM);
            let error = error.with_remedy(
                "current working directory is outside of container mount namespace root, CVE-2024-21626: refused",
            );
            return Err(corten_namespaces::Error::from(error).into());
        }
        self.entered = true;
        Ok(())
    }
    // ANCHOR_END: working_directory

    pub(super) fn find_program(&mut self, program: &Program) -> Result<()> {
        self.program = Some(program.find()?);
        Ok(())
    }

    /// What must not reach the program: all but standard input, output, error and what the caller
    /// wants to hand on.
    pub(super) fn close_descriptors(&mut self, first: RawFd) -> Result<()> {
        // Whoever started this program handed on descriptors that survive an execve; all that this
        // program opens does not. So those below `first` are as they shall be.
        self.root = None;
        self.empty = None;
        self.slave = None;
        // Never negative.
        Ok(sys::cloexec_from(first as u32).during("mark descriptors close-on-exec")?)
    }

    // ANCHOR: await_start
    /// Tells that all is ready and waits. From here on the container outlives its maker; failures
    /// are told to whoever says `start`.
    pub(super) fn await_start(&mut self, listener: Option<&Listener>) -> Result<()> {
        sys::identity::prctl(libc::PR_SET_PDEATHSIG, 0, 0).during("outlive the parent")?;
        self.channel.send(&Message::Ready)?;
        if let Some(listener) = listener {
            self.channel = listener.accept()?;
        }
        self.expect(&Message::Start)
    }
    // ANCHOR_END: await_start

    fn report(&self, status: Status) -> StateReport<'_> {
        StateReport {
            oci_version: &self.state.oci_version,
            id: &self.state.id,
            pid: nix::unistd::getpid().as_raw(),
            status,
            bundle: &self.state.bundle,
            rootfs: &self.state.rootfs,
            created: &self.state.created,
            owner: &self.state.owner,
            annotations: &self.state.annotations,
        }
    }

    pub(super) fn container_hooks(&self, list: &[Hook]) -> Result<()> {
        hooks::run("createContainer", list, &self.report(Status::Creating))
    }

    pub(super) fn start_hooks(&self, list: &[Hook]) -> Result<()> {
        hooks::run("startContainer", list, &self.report(Status::Created))
    }

    // ANCHOR: seccomp
    /// Loads the filter, as the last thing before execve. With a listener, whoever said `start`
    /// fetches it from here ([`seccomp::listener`](crate::seccomp::listener)).
    pub(super) fn seccomp(&self, filter: &Filter) -> Result<()> {
        let load = |flags| crate::sys::seccomp::load(&filter.program, flags);
        if !filter.notifies {
            load(filter.flags).during("load the seccomp filter")?;
            return Ok(());
        }
        // The kernel takes the lowest free number: that of a descriptor that has just been closed.
        let number = {
            use std::os::fd::AsRawFd;
            let probe = self.proc.try_clone().during("find a free descriptor")?;
            probe.as_raw_fd()
        };
        self.channel.send(&Message::Listener(number))?;
        load(filter.flags | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)
            .during("load the seccomp filter")?;
        self.expect(&Message::Start)
    }
    // ANCHOR_END: seccomp

    pub(super) fn execute(&self, program: &Program) -> Result<()> {
        match &self.program {
            Some(file) => Err(program.execute(file)),
            None => Err(program.execute(&program.find()?)),
        }
    }
}

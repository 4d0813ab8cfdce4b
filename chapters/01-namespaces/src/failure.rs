//! A step that failed in the child, as a sentence for the user.

use std::path::Path;

use nix::errno::Errno;

use crate::error::{Error, KernelError};
use crate::execute::{Detail, Report};
use crate::mount::Source;
use crate::plan::{Plan, Program, Step};

/// The error for what the child reported.
pub(crate) fn error(plan: &Plan, report: Report) -> Error {
    let errno = Errno::from_raw(report.errno);
    let Some(step) = plan.steps.get(report.step as usize) else {
        return KernelError::new("start the container", None, errno).into();
    };
    if let Step::Execute(program) = step {
        return not_executed(program, errno, report.detail);
    }
    let (operation, path) = attempted(step, report.detail);
    let mut error = KernelError::new(operation, path.as_deref().map(Path::new), errno);
    if let Some(remedy) = remedy(step, errno, report.detail) {
        error = error.with_remedy(remedy);
    }
    let log = String::from_utf8_lossy(&report.log);
    let log = log.trim_end_matches('\0').trim();
    // The kernel's lines begin with a letter for their level: `e tmpfs: Bad value for 'size'`.
    if let Some(said) = log.strip_prefix("e ") {
        error = error.with_remedy(said.to_owned());
    }
    error.into()
}

fn not_executed(program: &Program, errno: Errno, detail: Detail) -> Error {
    let strings = program.argv.strings();
    let command = strings.first().map(|c| c.to_string_lossy().into_owned()).unwrap_or_default();
    if detail == Detail::InterpreterMissing {
        return Error::InterpreterMissing { command };
    }
    let why = match errno {
        Errno::ENOENT | Errno::ENOTDIR => {
            return Error::CommandNotFound { command, searched: program.searched.clone() };
        }
        Errno::EACCES => "it is a directory, or not executable for this user, or on a noexec mount",
        Errno::ENOEXEC => "its format is unknown: another architecture, or a script without #!",
        Errno::ETXTBSY => "somebody has it open for writing",
        Errno::E2BIG => "the arguments and the environment are too long",
        _ => "execve refused it",
    };
    Error::CannotExecute { command, errno, why }
}

/// The operation and its object.
fn attempted(step: &Step, detail: Detail) -> (String, Option<String>) {
    let path = |p: &dyn std::fmt::Display| Some(p.to_string());
    let c = |s: &std::ffi::CStr| Some(s.to_string_lossy().into_owned());
    match step {
        Step::DieWithParent => ("ask to be killed with the parent".into(), None),
        Step::BecomeMappedRoot => ("become root in the user namespace".into(), None),
        Step::Join(namespaces, _) => ("setns to namespaces".into(), path(namespaces)),
        Step::OffsetClocks(_) => ("set the clocks of a time namespace".into(), None),
        Step::HideProcess => ("make the process undumpable".into(), None),
        Step::IsolateMounts => ("make all mounts private below".into(), Some("/".into())),
        Step::AttachRoot(at, _) => ("attach the root file system".into(), c(at)),
        Step::KeepRoot => ("open".into(), Some("/".into())),
        Step::Mount(mount) => match &mount.source {
            Source::Bind { source, .. } if detail == Detail::BindSource => {
                ("open the source of a bind mount".into(), c(source))
            }
            Source::Bind { source, .. } => {
                (format!("bind {} on", source.to_string_lossy()), path(&mount.target))
            }
            Source::FileSystem { kind, .. } => {
                (format!("mount {} on", kind.to_string_lossy()), path(&mount.target))
            }
        },
        Step::Device(target, host, _) if detail == Detail::BindSource => {
            ("bind the host's device for ".to_owned() + &target.to_string(), c(host))
        }
        Step::Device(target, ..) => ("make the device".into(), path(target)),
        Step::Link(target, _) => ("make the link".into(), path(target)),
        Step::Mask(target) => ("hide".into(), path(target)),
        Step::WriteProtect(target) => ("make read-only".into(), path(target)),
        Step::MakeDirectory(target) => ("make the working directory".into(), path(target)),
        Step::Terminal(..) => {
            ("open a terminal in the container's".into(), Some("/dev/pts".into()))
        }
        Step::PivotRoot => ("pivot_root to the root file system".into(), None),
        Step::Chroot => ("chroot to the root file system".into(), None),
        Step::WriteProtectRoot => ("make read-only".into(), Some("/".into())),
        Step::Hostname(name) => ("set the host name".into(), c(name)),
        Step::Domainname(name) => ("set the domain name".into(), c(name)),
        Step::LoopbackUp => ("set up the interface".into(), Some("lo".into())),
        Step::Limit(limit) => {
            (format!("set the limit {}={}:{}", limit.name, limit.soft, limit.hard), None)
        }
        Step::Umask(_) => ("set the umask".into(), None),
        Step::Stdio(number, _) => (format!("take over standard descriptor {number}"), None),
        Step::Session => ("start a session with the terminal".into(), None),
        Step::Fork => ("fork".into(), None),
        Step::BoundCapabilities(_) => ("drop capabilities from the bounding set".into(), None),
        Step::Credentials(user, _) => {
            (format!("become user {} group {}", user.uid, user.gid), None)
        }
        Step::Capabilities(_) => ("reduce the capabilities".into(), None),
        Step::NoNewPrivileges => ("set no_new_privs".into(), None),
        Step::CloseDescriptors => ("mark descriptors close-on-exec".into(), None),
        Step::WorkingDirectory(path) => ("change to the working directory".into(), c(path)),
        Step::ResetSignals => ("reset signals".into(), None),
        Step::Execute(_) => ("execute".into(), None),
    }
}

/// Where the place tells more than the errno.
fn remedy(step: &Step, errno: Errno, detail: Detail) -> Option<&'static str> {
    match (step, errno) {
        (Step::WorkingDirectory(_), _) if detail == Detail::OutsideRoot => {
            Some("it lies outside of the container's root, CVE-2024-21626: refused")
        }
        (Step::Device(..) | Step::Mask(_), _) if detail == Detail::FalseDevice => {
            Some("in the container's /dev, something else has the name of a device")
        }
        (Step::PivotRoot, Errno::EINVAL) => Some(
            "the kernel cannot pivot while / is the initramfs: boot with a root on disk or tmpfs",
        ),
        (Step::Credentials(..), Errno::EINVAL) => {
            Some("the id is not mapped in the user namespace")
        }
        (Step::Limit(_), Errno::EPERM) => {
            Some("raising the hard limit needs CAP_SYS_RESOURCE, which the caller lacks")
        }
        (Step::OffsetClocks(_), Errno::ERANGE) => {
            Some("the clock would become negative or too large: see time_namespaces(7)")
        }
        (Step::AttachRoot(..), Errno::ENOENT) => {
            Some("no such directory: unpack an image there first")
        }
        (Step::AttachRoot(..), Errno::ENOTDIR) => Some("the root file system must be a directory"),
        (Step::Mount(_), Errno::ENOTDIR | Errno::EINVAL) => {
            Some("a directory cannot be mounted on a file, nor a file on a directory")
        }
        (Step::Mount(mount), Errno::EPERM) if matches!(&mount.source, Source::FileSystem { kind, .. } if kind.as_c_str() == c"proc") => {
            Some(
                "in a user namespace proc can be mounted only where the outer /proc has nothing \
                  mounted over it, as it has inside another container",
            )
        }
        _ => None,
    }
}

//! System call filters: from a profile of config.json to a program of the kernel's filter machine.
//!
//! ```text
//! LinuxSeccomp ──rules::resolve──▶ per architecture: number ▶ rules ──assemble──▶ instructions
//!  (names, actions)                 (syscalls.tbl)                                   │
//!        └────────── sha256 ──────────▶ cache::load ◀──────────── cache::store ──────┘
//! ```
//!
//! The kernel runs the program at every system call of the container, so it is a binary search over
//! ranges of numbers, about nine comparisons for Docker's profile, instead of one per listed name.

mod assemble;
pub mod cache;
pub mod default;
pub mod listener;
pub mod rules;
pub mod syscalls;

use std::path::Path;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag};

use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::sys::seccomp::Instruction;

pub use rules::Architecture;

/// A filter, ready to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program.
    pub program: Vec<Instruction>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u64,
    /// Whether a listener takes decisions (SCMP_ACT_NOTIFY).
    pub notifies: bool,
}

/// Where the listener's descriptor is to be sent, and what goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listener {
    /// The socket.
    pub path: std::path::PathBuf,
    /// `listenerMetadata`.
    pub metadata: String,
}

// ANCHOR: compile
/// Compiles a profile for a machine of the architecture `native`.
///
/// # Errors
/// [`Error::Invalid`] for an errno out of range, an argument number above 5, or a profile that does
/// not fit the 4096 instructions that the kernel allows.
pub fn compile(profile: &LinuxSeccomp, native: Architecture) -> Result<Filter> {
    let resolved = rules::resolve(profile, native)?;
    let program = assemble::program(&resolved);
    const MOST: usize = 4096;
    if program.len() > MOST {
        let why = format!("needs {} instructions; the kernel takes {MOST}", program.len());
        return Err(Error::invalid("linux.seccomp", why));
    }
    let notify = LinuxSeccompAction::ScmpActNotify;
    if profile.default_action() == notify {
        let why = "cannot be SCMP_ACT_NOTIFY: who hands over the listener would wait for it";
        return Err(Error::invalid("linux.seccomp.defaultAction", why));
    }
    let notifies = profile.syscalls().iter().flatten().any(|rule| rule.action() == notify);
    let flags = match profile.flags() {
        // runc's default where a profile says nothing of flags.
        None => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        Some(flags) => flags.iter().map(flag).fold(0, |all, flag| all | flag),
    };
    Ok(Filter { program, flags, notifies })
}
// ANCHOR_END: compile

fn flag(flag: &LinuxSeccompFilterFlag) -> u64 {
    match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
            libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
        }
    }
}

/// The filter of a bundle, which may have none; compiled ones are kept below the state directory
/// `root`.
///
/// # Errors
/// As [`filter`].
pub(crate) fn of(bundle: &Bundle, root: &Path) -> Result<(Option<Filter>, Option<Listener>)> {
    let Some(text) = bundle.seccomp.as_deref().filter(|text| *text != "null") else {
        return Ok((None, None));
    };
    let (filter, listener) = filter(text, &root.join(".seccomp"))?;
    Ok((Some(filter), listener))
}

// ANCHOR: filter
/// The filter for the profile `text`, out of the cache in `directory` or compiled and put there.
///
/// # Errors
/// [`Error::Json`], and as [`compile`].
pub fn filter(text: &str, directory: &Path) -> Result<(Filter, Option<Listener>)> {
    let key = cache::key(text);
    if let Some(filter) = cache::load(directory, &key)
        && !filter.notifies
    {
        return Ok((filter, None));
    }
    let profile: LinuxSeccomp = crate::json::parse(text)
        .map_err(|source| Error::Json { path: "linux.seccomp".into(), source })?;
    let filter = compile(&profile, Architecture::native()?)?;
    cache::store(directory, &key, &filter);
    let listener = filter.notifies.then(|| Listener {
        path: profile.listener_path().clone().unwrap_or_default(),
        metadata: profile.listener_metadata().clone().unwrap_or_default(),
    });
    if listener.as_ref().is_some_and(|listener| listener.path.as_os_str().is_empty()) {
        let why = "has the action SCMP_ACT_NOTIFY and no listenerPath: who shall be notified?";
        return Err(Error::invalid("linux.seccomp", why));
    }
    Ok((filter, listener))
}
// ANCHOR_END: filter

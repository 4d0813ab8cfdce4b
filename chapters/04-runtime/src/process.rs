//! The process of a container as it is asked for, checked and converted for the kernel.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_namespaces::config::{Limit, User};
use oci_spec::runtime as oci;

use crate::capability::Capabilities;
use crate::error::{Error, Result};
use crate::sys;
use crate::sys::schedule::SchedulerAttributes;

/// A process to be run in a container.
#[derive(Debug)]
pub struct Process {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// The working directory.
    pub cwd: CString,
    /// The ids.
    pub user: User,
    /// The file mode creation mask.
    pub umask: Option<u32>,
    /// A pseudoterminal, of this size (rows, columns) where one is given.
    pub terminal: Option<Option<(u16, u16)>>,
    /// The sets of capabilities; `None` for an empty one of each.
    pub capabilities: Capabilities,
    /// Resource limits, clamped to what this process can set.
    pub limits: Vec<Limit>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// AppArmor's profile.
    pub apparmor: Option<String>,
    /// SELinux's label.
    pub selinux: Option<String>,
    /// /proc/PID/oom_score_adj.
    pub oom_score_adj: Option<i32>,
    /// Class and level of ioprio_set(2).
    pub io_priority: Option<(u32, u32)>,
    /// sched_setattr(2).
    pub scheduler: Option<SchedulerAttributes>,
    /// Processors until the process is in its control group, and from then on.
    pub affinity: (Option<Vec<usize>>, Option<Vec<usize>>),
    /// What was asked for and cannot be had.
    pub warnings: Vec<String>,
}

impl Process {
    /// Checks and converts a process of a configuration or of `exec`.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field.
    pub fn plan(config: &oci::Process) -> Result<Process> {
        crate::check::process_of(config)?;
        let args = config.args().clone().unwrap_or_default();
        if args.first().is_none_or(String::is_empty) {
            return Err(Error::invalid("process.args", "is empty: it must name a program"));
        }
        let mut warnings = Vec::new();
        let (capabilities, missing) = match config.capabilities() {
            Some(sets) => Capabilities::plan(sets)?,
            None => (Capabilities::default(), Vec::new()),
        };
        if !missing.is_empty() {
            warnings.push(unavailable(&missing));
        }
        let user = config.user();
        let size = config.console_size().map(|size| {
            let fits = |n: u64| u16::try_from(n).unwrap_or(u16::MAX);
            (fits(size.height()), fits(size.width()))
        });
        let affinity = match config.exec_cpu_affinity() {
            Some(affinity) => (list(affinity.initial())?, list(affinity.cpu_affinity_final())?),
            None => (None, None),
        };
        let set = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
        Ok(Process {
            env: config.env().clone().unwrap_or_default(),
            cwd: c_path(config.cwd())?,
            user: User {
                uid: user.uid(),
                gid: user.gid(),
                groups: user.additional_gids().clone().unwrap_or_default(),
            },
            umask: user.umask(),
            terminal: config.terminal().unwrap_or(false).then_some(size),
            limits: limits(config, &mut warnings)?,
            no_new_privileges: config.no_new_privileges().unwrap_or(false),
            apparmor: set(config.apparmor_profile()),
            selinux: set(config.selinux_label()),
            oom_score_adj: config.oom_score_adj(),
            io_priority: config.io_priority().as_ref().map(io_priority).transpose()?,
            scheduler: config.scheduler().as_ref().map(scheduler).transpose()?,
            args,
            capabilities,
            affinity,
            warnings,
        })
    }
}

/// The sentence that is logged where capabilities are left out.
pub(crate) fn unavailable(names: &[String]) -> String {
    format!("ignoring unknown or unavailable capabilities: [{}]", names.join(" "))
}

/// A path as a C string.
///
/// # Errors
/// [`Error::Invalid`] with a NUL byte.
pub(crate) fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::invalid(format!("path {path:?}"), "holds a NUL byte"))
}

// ANCHOR: limits
/// A hard limit can be raised with CAP_SYS_RESOURCE only. A root that lacks it (many a container
/// or VM) gets as much as there is, and a warning, where other runtimes die of EPERM.
fn limits(config: &oci::Process, warnings: &mut Vec<String>) -> Result<Vec<Limit>> {
    const SYS_RESOURCE: u32 = 24;
    let may_raise = sys::process::capabilities()
        .is_ok_and(|[effective, ..]| effective >> SYS_RESOURCE & 1 == 1);
    let mut limits = Vec::new();
    for limit in config.rlimits().iter().flatten() {
        let long = limit.typ().to_string();
        let short = long.trim_start_matches("RLIMIT_").to_ascii_lowercase();
        let known = Limit::NAMES.into_iter().find(|(name, _)| *name == short);
        let Some((name, resource)) = known else {
            return Err(Error::invalid(format!("process.rlimits: {long}"), "is unknown"));
        };
        // The values of linux/resource.h are 0 to 15.
        let resource = resource as i32;
        let (mut soft, mut hard) = (limit.soft(), limit.hard());
        if let Ok(most) = sys::process::hard_limit(resource)
            && hard > most
            && !may_raise
        {
            warnings.push(format!("{long} is cut to {most}: raising it needs CAP_SYS_RESOURCE"));
            (soft, hard) = (soft.min(most), most);
        }
        limits.push(Limit { name, resource, soft, hard });
    }
    Ok(limits)
}
// ANCHOR_END: limits

fn io_priority(priority: &oci::LinuxIOPriority) -> Result<(u32, u32)> {
    let class = match priority.class() {
        oci::IOPriorityClass::IoprioClassRt => 1,
        oci::IOPriorityClass::IoprioClassBe => 2,
        oci::IOPriorityClass::IoprioClassIdle => 3,
    };
    match u32::try_from(priority.priority()) {
        Ok(level @ 0..=7) => Ok((class, level)),
        _ => Err(Error::invalid("process.ioPriority.priority", "must be 0 to 7")),
    }
}

fn scheduler(scheduler: &oci::Scheduler) -> Result<SchedulerAttributes> {
    use oci::{LinuxSchedulerFlag as Flag, LinuxSchedulerPolicy as Policy};
    let policy = match scheduler.policy() {
        Policy::SchedOther => 0,
        Policy::SchedFifo => 1,
        Policy::SchedRr => 2,
        Policy::SchedBatch => 3,
        Policy::SchedIso => 4,
        Policy::SchedIdle => 5,
        Policy::SchedDeadline => 6,
    };
    let flag = |flag: &Flag| match flag {
        Flag::SchedResetOnFork => 1,
        Flag::SchedFlagReclaim => 2,
        Flag::SchedFlagDLOverrun => 4,
        Flag::SchedFlagKeepPolicy => 8,
        Flag::SchedFlagKeepParams => 16,
        Flag::SchedFlagUtilClampMin => 32,
        Flag::SchedFlagUtilClampMax => 64,
    };
    let nice = scheduler.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        return Err(Error::invalid("process.scheduler.nice", "must be -20 to 19"));
    }
    let priority = u32::try_from(scheduler.priority().unwrap_or(0))
        .map_err(|_| Error::invalid("process.scheduler.priority", "must not be negative"))?;
    Ok(SchedulerAttributes {
        size: 0,
        policy,
        flags: scheduler.flags().iter().flatten().map(flag).fold(0, |all, flag| all | flag),
        nice,
        priority,
        runtime: scheduler.runtime().unwrap_or(0),
        deadline: scheduler.deadline().unwrap_or(0),
        period: scheduler.period().unwrap_or(0),
    })
}

fn list(text: &Option<String>) -> Result<Option<Vec<usize>>> {
    text.as_deref().filter(|text| !text.is_empty()).map(cpu_list).transpose()
}

/// A list of numbers as the kernel writes it: `0-3,7`.
///
/// # Errors
/// [`Error::Invalid`].
pub fn cpu_list(text: &str) -> Result<Vec<usize>> {
    let bad = || Error::invalid(format!("list `{text}`"), "is not like 0-3,7");
    let mut numbers = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) =
            (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        if first > last || last >= 8192 {
            return Err(bad());
        }
        numbers.extend(first..=last);
    }
    if numbers.is_empty() { Err(bad()) } else { Ok(numbers) }
}

/// A set of processors as a number: `0x3`.
pub fn mask(cpus: &[usize]) -> String {
    let mut words = vec![0u64; cpus.iter().max().map_or(1, |max| max / 64 + 1)];
    for cpu in cpus {
        if let Some(word) = words.get_mut(cpu / 64) {
            *word |= 1 << (cpu % 64);
        }
    }
    let mut text = String::new();
    for (at, word) in words.iter().rev().enumerate() {
        text += &if at == 0 { format!("{word:x}") } else { format!("{word:016x}") };
    }
    format!("0x{text}")
}

/// Where a program is searched for without a `PATH`.
pub fn default_path() -> PathBuf {
    PathBuf::from(corten_namespaces::config::DEFAULT_PATH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        assert_eq!(cpu_list("0-2, 7").unwrap(), [0, 1, 2, 7]);
        assert_eq!(mask(&cpu_list("0,1").unwrap()), "0x3");
        assert_eq!(mask(&[64, 0]), "0x10000000000000001");
        for bad in ["", "x", "3-1", "-1", "0-99999"] {
            assert!(cpu_list(bad).is_err(), "{bad}");
        }
    }
}

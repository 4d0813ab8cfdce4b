//! `kill`: signals to a container.

use std::os::fd::AsFd;

use corten_namespaces::error::Context;
use nix::errno::Errno;
use nix::sys::signal::Signal;

use crate::container::{Container, Status};
use crate::error::{Error, Result};

/// A signal's number, from a number or a name with or without `SIG`.
///
/// # Errors
/// [`Error::Invalid`].
pub fn signal(text: &str) -> Result<i32> {
    let bad = || Error::invalid(format!("signal `{text}`"), "is unknown: see kill -l");
    if let Ok(number) = text.parse() {
        return if (1..=libc::SIGRTMAX()).contains(&number) { Ok(number) } else { Err(bad()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(number) = real_time(name) {
        return Ok(number);
    }
    format!("SIG{name}").parse::<Signal>().map(|signal| signal as i32).map_err(|_| bad())
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-1`.
fn real_time(name: &str) -> Option<i32> {
    let (first, last) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let number = match name.strip_prefix("RTMIN") {
        Some("") => first,
        Some(offset) => first + offset.strip_prefix('+')?.parse::<i32>().ok()?,
        None => match name.strip_prefix("RTMAX")? {
            "" => last,
            offset => last - offset.strip_prefix('-')?.parse::<i32>().ok()?,
        },
    };
    (first..=last).contains(&number).then_some(number)
}

// ANCHOR: kill
/// Sends `number` to the container's first process, or to all.
///
/// # Errors
/// [`Error::Status`] where it does not run.
pub fn kill(container: &Container, number: i32, all: bool) -> Result<()> {
    let status = container.status();
    if all {
        return kill_all(container, number, status);
    }
    if status == Status::Stopped {
        let hint = match container.cgroup() {
            // Without a pid namespace of its own, other processes may live on.
            Ok(Some(cgroup)) if cgroup.processes().is_ok_and(|all| !all.is_empty()) => {
                ": use --all for the processes that are left (container not running)"
            }
            _ => " (container not running)",
        };
        return Err(container.wrong_status("kill", status, hint));
    }
    let init = container.init("kill")?;
    let pidfd = corten_namespaces::sys::pidfd_open(init.pid).during("open the container")?;
    // The number was another's if it has been used again between the two.
    if !init.is_alive() {
        return Err(container.wrong_status("kill", Status::Stopped, " (container not running)"));
    }
    match corten_namespaces::sys::pidfd_send_signal(pidfd.as_fd(), number) {
        Err(Errno::ESRCH) => {
            Err(container.wrong_status("kill", Status::Stopped, " (container not running)"))
        }
        other => Ok(other.during("signal the container")?),
    }?;
    // A frozen process dies when it is thawed; in v2 it dies at once.
    if number == libc::SIGKILL
        && status == Status::Paused
        && let Some(cgroup) = container.cgroup()?
    {
        cgroup.thaw()?;
    }
    Ok(())
}
// ANCHOR_END: kill

fn kill_all(container: &Container, number: i32, status: Status) -> Result<()> {
    let Some(cgroup) = container.cgroup().ok().flatten() else {
        if status == Status::Stopped {
            return Ok(());
        }
        return kill(container, number, false);
    };
    if number == libc::SIGKILL {
        return cgroup.kill();
    }
    for pid in cgroup.processes()? {
        // Ended meanwhile.
        let _ = corten_namespaces::sys::kill(pid, number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (text, number) in
            [("9", 9), ("KILL", 9), ("sigterm", 15), ("SIGRTMIN+3", libc::SIGRTMIN() + 3)]
        {
            assert_eq!(signal(text).unwrap(), number, "{text}");
        }
        for bad in ["", "0", "-1", "65", "SIGNOPE", "RTMIN+99", "SIG"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}

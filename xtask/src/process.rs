//! Starting programs, waiting for them with a limit, and finding what they left behind.

use std::collections::BTreeMap;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::error::{Error, Result};

/// Runs `command` and fails unless it ends with 0.
///
/// # Errors
/// Where it cannot be started or ends otherwise.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().map_err(|e| start_error(command, e))?;
    if status.success() { Ok(()) } else { Err(Error::Ended { command: line(command), status }) }
}

/// Runs `command` and gives its standard output; standard error is passed on.
///
/// # Errors
/// Where it cannot be started or does not end with 0.
pub fn read(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| start_error(command, e))?;
    if !output.status.success() {
        return Err(Error::Ended { command: line(command), status: output.status });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs `command` silently; `None` where it cannot be started.
pub fn try_output(command: &mut Command) -> Option<Output> {
    command.stdin(Stdio::null()).output().ok()
}

/// Whether `command` can be started and ends with 0; nothing is printed.
pub fn succeeds(command: &mut Command) -> bool {
    try_output(command).is_some_and(|output| output.status.success())
}

/// Whether a program of this name is in PATH, or in the places of root's programs.
pub fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|dir| dir.join(program).is_file())
}

/// Waits for `child` and kills it with all its descendants when `limit` has passed, in which case
/// the answer is `None`.
///
/// # Errors
/// Where the child cannot be waited for.
pub fn wait_at_most(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let pid = child.id().cast_signed();
    let (ended, wait) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        let late = wait.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
        if late {
            kill_all(&descendants(pid));
            kill_all(&[pid]);
        }
        late
    });
    let status = child.wait();
    drop(ended);
    let late = watch.join().unwrap_or(false);
    let status =
        status.map_err(|e| Error::failed(format!("wait for the child process {pid}: {e}")))?;
    Ok((!late).then_some(status))
}

/// Makes this process the parent of every descendant whose own parent ends
/// (PR_SET_CHILD_SUBREAPER, prctl(2)), so that nothing that a test starts can get out of sight.
pub fn adopt_orphans() {
    // It exists since Linux 3.4 and has no way to fail with this argument.
    let _ = nix::sys::prctl::set_child_subreaper(true);
}

/// Runs `command` as its child, and collects every other process that ends, at once: as process 1 of
/// a machine does it. A process 1 of a pid namespace, for one, does not end before all others of
/// its namespace were collected. Ends this process as the child has ended.
///
/// # Errors
/// Where it cannot be started.
pub fn reap(command: &[std::ffi::OsString]) -> Result<()> {
    adopt_orphans();
    let (program, arguments) = command.split_first().ok_or_else(|| Error::failed("no program"))?;
    let mut command = Command::new(program);
    let child = command.args(arguments).spawn().map_err(|e| start_error(&command, e))?;
    let child = Pid::from_raw(child.id().cast_signed());
    loop {
        match waitpid(Pid::from_raw(-1), None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == child => std::process::exit(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                std::process::exit(128 + signal as i32)
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(Error::failed(format!("wait for {child}: {errno}"))),
        }
    }
}

/// Collects ended processes that were adopted.
pub fn reap_adopted() {
    while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            break;
        }
    }
}

/// Waits for the end of all descendants of this process, at most as long as `patience`: what is
/// still removing something after its answer may finish that. Whether all have ended.
pub fn await_descendants(patience: Duration) -> bool {
    let begun = Instant::now();
    loop {
        reap_adopted();
        if descendants(std::process::id().cast_signed()).is_empty() {
            return true;
        }
        if begun.elapsed() > patience {
            return false;
        }
        // There is no event for the end of them all.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// As [`await_descendants`], and kills those that have not ended.
pub fn end_descendants(patience: Duration) {
    if !await_descendants(patience) {
        kill_all(&descendants(std::process::id().cast_signed()));
        await_descendants(Duration::from_secs(5));
    }
}

/// Sends SIGKILL to each.
pub fn kill_all(pids: &[i32]) {
    for pid in pids {
        // A process that has ended in the meantime is what is wanted.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
}

/// A process as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its parent.
    pub parent: i32,
    /// Its name, at most 15 bytes (proc_pid_comm(5)).
    pub name: String,
}

/// Every process of this machine that is not a kernel thread.
pub fn all() -> BTreeMap<i32, Process> {
    let mut processes = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some(process) = parse_stat(&stat) {
            processes.insert(pid, process);
        }
    }
    // kthreadd is 2, and the parent of all other kernel threads.
    processes.retain(|pid, process| *pid != 2 && process.parent != 2);
    processes
}

/// The descendants of `ancestor`.
pub fn descendants(ancestor: i32) -> Vec<i32> {
    below(&all(), ancestor)
}

/// The processes of `all` that descend from `ancestor`.
pub fn below(all: &BTreeMap<i32, Process>, ancestor: i32) -> Vec<i32> {
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        found.extend(all.iter().filter(|(_, p)| p.parent == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// `/proc/PID/stat`: `pid (name) state ppid …`; the name may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Process> {
    let name = stat.get(stat.find('(')? + 1..stat.rfind(')')?)?;
    let parent = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().nth(1)?.parse().ok()?;
    Some(Process { parent, name: name.to_owned() })
}

/// An error that names the program of `command`.
pub fn start_error(command: &Command, source: std::io::Error) -> Error {
    Error::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

/// A command as one would type it.
pub fn line(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy()];
    words.extend(command.get_args().map(|word| word.to_string_lossy()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(parent: i32) -> Process {
        Process { parent, name: String::new() }
    }

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let process = parse_stat("17 (a) b (c) S 4 17 17 0").unwrap();
        assert_eq!(process, Process { parent: 4, name: "a) b (c".into() });
    }

    #[test]
    fn descendants_are_found_through_every_generation() {
        let all =
            BTreeMap::from([(1, process(0)), (5, process(1)), (9, process(5)), (7, process(1))]);
        assert_eq!(below(&all, 5), [9]);
        assert_eq!(below(&all, 1), [5, 7, 9]);
        assert_eq!(below(&all, 9), [] as [i32; 0]);
    }

    #[test]
    fn a_child_that_takes_too_long_is_killed() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(wait_at_most(&mut child, Duration::from_millis(50)).unwrap(), None);
    }
}

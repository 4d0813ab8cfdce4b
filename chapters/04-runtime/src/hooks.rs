//! Hooks: programs of the caller that run at six points of a container's life, with the container's
//! state on their standard input.

use std::io::Write as _;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use oci_spec::runtime::Hook;

use crate::container::StateReport;
use crate::error::{Error, Result};

// ANCHOR: run
/// Runs `hooks` one after the other; the first that fails ends it.
///
/// # Errors
/// [`Error::Hook`].
pub fn run(kind: &'static str, hooks: &[Hook], state: &StateReport<'_>) -> Result<()> {
    let input = serde_json::to_vec(state).unwrap_or_default();
    hooks.iter().try_for_each(|hook| run_one(kind, hook, &input))
}
// ANCHOR_END: run

fn run_one(kind: &'static str, hook: &Hook, input: &[u8]) -> Result<()> {
    let failed = |why: String| Error::Hook { kind, path: hook.path().clone(), why };
    if !hook.path().is_absolute() {
        return Err(failed("must be an absolute path".into()));
    }
    let mut command = Command::new(hook.path());
    if let Some(args) = hook.args() {
        if let Some(name) = args.first() {
            command.arg0(name);
        }
        command.args(args.iter().skip(1));
    }
    // The hook gets the environment that it is configured with and nothing of ours.
    command.env_clear();
    for variable in hook.env().iter().flatten() {
        let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
        if !name.is_empty() {
            command.env(name, value);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let timeout = hook.timeout().filter(|seconds| *seconds > 0);
    if timeout.is_some() {
        // To be killed together with what it has started.
        command.process_group(0);
    }
    let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A hook need not read its input: that the pipe is closed then is no failure.
        let _ = stdin.write_all(input);
    }
    let deadline = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds as u64));
    let stderr = match read_until(child.stderr.take(), deadline) {
        Ok(stderr) => stderr,
        Err(()) => {
            kill_group(&mut child);
            let seconds = timeout.unwrap_or_default();
            return Err(failed(format!("was killed after its timeout of {seconds} s")));
        }
    };
    let status = wait_until(&mut child, deadline).map_err(|()| {
        failed(format!("was killed after its timeout of {} s", timeout.unwrap_or(0)))
    })?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&stderr);
    let said = said.trim();
    let how = describe(status);
    Err(failed(if said.is_empty() { how } else { format!("{how}: {said}") }))
}

/// Kills a hook with its process group, which it leads, and collects it.
fn kill_group(child: &mut std::process::Child) {
    let group = nix::unistd::Pid::from_raw(child.id() as libc::pid_t);
    let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
    let _ = child.wait();
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("killed by signal {}", signal.unwrap_or(0)),
    }
}

/// What the hook says on standard error, until it closes it; `Err` when the deadline passes.
fn read_until(
    pipe: Option<std::process::ChildStderr>,
    deadline: Option<Instant>,
) -> std::result::Result<Vec<u8>, ()> {
    use std::io::Read as _;
    use std::os::fd::AsFd;
    const ENOUGH: usize = 4096;
    let mut said = Vec::new();
    let Some(mut pipe) = pipe else { return Ok(said) };
    let mut buffer = [0; 1024];
    loop {
        let timeout = match deadline {
            None => PollTimeout::NONE,
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                // At least a millisecond, or the rest of one would be waited for busily.
                PollTimeout::try_from(left.max(Duration::from_millis(1)))
                    .unwrap_or(PollTimeout::MAX)
            }
        };
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut fds, timeout) {
            Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Err(()),
            Ok(0) | Err(_) => continue,
            Ok(_) => {}
        }
        match pipe.read(&mut buffer) {
            Ok(0) | Err(_) => return Ok(said),
            Ok(length) if said.len() < ENOUGH => {
                said.extend_from_slice(buffer.get(..length).unwrap_or_default());
            }
            Ok(_) => {}
        }
    }
}

/// Waits for the end of a hook that has closed its standard error, until the deadline.
fn wait_until(
    child: &mut std::process::Child,
    deadline: Option<Instant>,
) -> std::result::Result<ExitStatus, ()> {
    use std::os::fd::AsFd;
    if let Some(deadline) = deadline {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        // The number of a child that has not been waited for is still its own.
        let pidfd = corten_namespaces::sys::pidfd_open(child.id() as libc::pid_t).map_err(drop)?;
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)];
        if matches!(nix::poll::poll(&mut fds, timeout), Ok(0)) {
            kill_group(child);
            return Err(());
        }
    }
    child.wait().map_err(drop)
}

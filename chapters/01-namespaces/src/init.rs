//! What pid 1 has to do: pid_namespaces(7).
//!
//! The first process of a pid namespace is its init. The kernel gives it every orphan, and it must
//! collect them or they stay zombies. Signals for which it has no handler do not reach it from
//! inside, so a program that runs as pid 1 and expects SIGTERM's default action cannot be stopped.
//! And when it ends, the kernel kills everything else in the namespace. So a small init stands
//! before the program: it forwards signals, collects orphans, and ends with the program's status.

use nix::errno::Errno;

use crate::sys;

// ANCHOR: init
/// Is pid 1 for the program `child` and ends as it ends. All signals are blocked since before the
/// fork, so none is lost between.
pub(crate) fn run(child: libc::pid_t) -> ! {
    // Above all the channel to the parent, which waits for its end to learn of execve.
    sys::close_from(3);
    // In the caller's session the keys of its terminal would come here and be forwarded to a
    // program that gets them, too. It can fail only for the leader of a session, which is as good.
    let _ = nix::unistd::setsid();
    loop {
        match sys::next_signal() {
            Ok(libc::SIGCHLD) => {
                // Signals do not count: one SIGCHLD may stand for many ended children.
                while let Ok(Some((pid, status))) = sys::reap() {
                    if pid == child {
                        sys::exit_now(exit_status(status));
                    }
                }
            }
            // The program may be gone already, with its SIGCHLD pending: nothing is lost then.
            Ok(signal) => drop(sys::kill(child, signal)),
            Err(Errno::EINTR) => {}
            Err(_) => sys::exit_now(125),
        }
    }
}
// ANCHOR_END: init

// ANCHOR: exit_status
/// The exit status for a raw wait status: its own, or 128 and the signal's number, as shells do.
/// Pid 1 cannot end by a signal of its own, so this is all that it can pass on.
fn exit_status(status: libc::c_int) -> libc::c_int {
    if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) }
}
// ANCHOR_END: exit_status

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_128_and_its_number() {
        assert_eq!(exit_status(libc::SIGKILL), 137);
        assert_eq!(exit_status(3 << 8), 3);
    }
}

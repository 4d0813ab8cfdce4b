//! `corten daemon` over a test's own state directory.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Host, Outcome, eventually, outcome};

/// A daemon that answers; dropped, it is asked to end.
pub struct Daemon {
    pub child: Child,
    pub socket: PathBuf,
}

impl Daemon {
    pub fn start(host: &Host, options: &[&str]) -> Daemon {
        let socket = host.path("socket");
        let at = format!("unix://{}", socket.display());
        let command = host.command(&[&["daemon", "-H", &at], options].concat());
        Daemon::of(command, socket)
    }

    pub fn of(mut command: Command, socket: PathBuf) -> Daemon {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let daemon = Daemon { child, socket };
        eventually("the daemon answers", || {
            // By our own client: a VM has no other.
            let mut version = Command::new(env!("CARGO_BIN_EXE_corten"));
            version.arg("-H").arg(format!("unix://{}", daemon.socket.display())).arg("version");
            (outcome(version.output().unwrap()).status == 0).then_some(())
        });
        daemon
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket.display()));
        command.env("HOME", self.socket.parent().unwrap()).args(args).stdin(Stdio::null());
        command
    }

    pub fn docker(&self, args: &[&str]) -> Outcome {
        outcome(self.command("docker", args).output().unwrap())
    }

    /// Another program that finds the daemon by its environment.
    pub fn program(&self, program: &str, args: &[&str]) -> Command {
        self.command(program, args)
    }

    pub fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command("docker", args);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Asks it to end; gives its exit status.
    pub fn terminate(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap().code()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.terminate();
        }
    }
}

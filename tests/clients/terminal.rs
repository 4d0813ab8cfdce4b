//! A person at a terminal of her own.

#[allow(dead_code)]
#[path = "../../chapters/01-namespaces/tests/lab/pty.rs"]
mod pty;

use std::process::{Child, Command};

use nix::sys::termios::Termios;
use pty::Pty;

pub struct Person {
    pty: Pty,
    child: Child,
    before: Termios,
}

impl Person {
    /// Starts a command, whose terminal it is.
    pub fn start(command: Command, (rows, columns): (u16, u16)) -> Person {
        let pty = Pty::new(rows, columns);
        let before = pty.settings();
        // Only of its controlling terminal a process is told that the size has changed.
        let mut whole = Command::new("setsid");
        whole.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => whole.env(name, value),
                None => whole.env_remove(name),
            };
        }
        let child =
            whole.stdin(pty.stdio()).stdout(pty.stdio()).stderr(pty.stdio()).spawn().unwrap();
        Person { pty, child, before }
    }

    pub fn types(&mut self, keys: &str) {
        self.pty.press(keys);
    }

    #[track_caller]
    pub fn waits_for(&mut self, text: &str) {
        self.pty.expect(text);
    }

    pub fn resize(&self, (rows, columns): (u16, u16)) {
        self.pty.resize(rows, columns);
    }

    /// The exit status.
    pub fn ends(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }

    /// Whether the terminal is as it was before.
    pub fn is_cooked(&self) -> bool {
        self.pty.settings() == self.before
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

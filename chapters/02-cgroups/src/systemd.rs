//! Groups by way of systemd: where systemd runs, the tree of groups is its own, and others ask it
//! for a part. A *scope* is a unit for processes that somebody else has started; systemd makes its
//! group and, asked to delegate it, leaves it alone from then on (systemd.scope(5),
//! <https://systemd.io/CGROUP_DELEGATION>).
//!
//! systemd is asked over its private socket, in D-Bus's format but without a bus. The two messages
//! that this takes are written by hand: zbus would add 1.3 MB to a runtime that may have 3 MB, and
//! rustbus, which adds 0.1 MB, leaves its socket open across execve and never ends waiting for a
//! peer that has gone ([`message`]).

mod limits;
pub mod message;
mod unit;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use message::{Call, Message, Value};

use crate::error::{Error, Result};

pub use limits::properties;
pub use unit::{Property, Unit};

/// systemd answers at once, or when the job is done; this is D-Bus's usual limit.
const PATIENCE: Duration = Duration::from_secs(25);

const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// A connection to the systemd of the machine, or of the user.
#[derive(Debug)]
pub struct Systemd {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: Vec<Message>,
    /// What was read behind the last message.
    buffer: Vec<u8>,
}

impl Systemd {
    /// Connects to the machine's systemd as root, otherwise to the user's.
    ///
    /// # Errors
    /// [`Error::Systemd`] where there is none.
    pub fn connect() -> Result<Systemd> {
        let directory = match nix::unistd::geteuid().is_root() {
            true => PathBuf::from("/run"),
            false => std::env::var_os("XDG_RUNTIME_DIR").map_or("/run".into(), PathBuf::from),
        };
        Systemd::connect_to(&directory.join("systemd/private"))
    }

    /// Connects to the systemd that listens on `socket`.
    ///
    /// # Errors
    /// As [`Systemd::connect`].
    pub fn connect_to(socket: &Path) -> Result<Systemd> {
        let operation = format!("connect to {}", socket.display());
        let told = |error: std::io::Error| {
            let name = crate::error::errno_name(crate::error::errno_of(&error));
            let hint = "is systemd running here? The driver `cgroupfs` does without it";
            failed(&operation, format!("{name} ({hint})"))
        };
        let mut stream = UnixStream::connect(socket).map_err(told)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(told)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(told)?;
        // SASL EXTERNAL: the user id in decimal, in hexadecimal. The kernel vouches for it. BEGIN
        // need not wait for the answer, which is OK or the end.
        let uid = nix::unistd::geteuid().to_string();
        let hex: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
        write!(stream, "\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n").map_err(told)?;
        let mut systemd = Systemd { stream, serial: 0, signals: Vec::new(), buffer: Vec::new() };
        let line = systemd.line().map_err(|error| failed("authenticate", error.to_string()))?;
        if line.starts_with("OK ") { Ok(systemd) } else { Err(failed("authenticate", line)) }
    }

    // ANCHOR: start_scope
    /// Starts a scope with the processes `pids`, which systemd moves into its group, and waits
    /// until that is done. The group is delegated: what is set in it afterwards stays.
    ///
    /// # Errors
    /// [`Error::Systemd`] with systemd's own words.
    pub fn start_scope(
        &mut self,
        unit: &Unit,
        description: &str,
        pids: &[u32],
        properties: &[Property],
    ) -> Result<()> {
        let mut all = vec![
            Property::new("Description", Value::Text(description.to_owned())),
            Property::new("Slice", Value::Text(unit.slice.clone())),
            Property::new("Delegate", Value::Bool(true)),
            Property::new("DefaultDependencies", Value::Bool(false)),
            Property::new("PIDs", Value::Numbers(pids.to_vec())),
        ];
        all.extend_from_slice(properties);
        let operation = format!("start the scope {}", unit.name);
        let call = Call::new(PATH, MANAGER, "StartTransientUnit", "ssa(sv)a(sa(sv))")
            .text(&unit.name)
            .text("replace")
            .properties(&all)
            .empty_units();
        let job = self.call(&operation, call)?.first_text();
        self.wait_for_job(&operation, &job)
    }
    // ANCHOR_END: start_scope

    /// Stops a unit and waits until it has stopped.
    ///
    /// # Errors
    /// [`Error::Systemd`]; where there is no such unit (any more), none.
    pub fn stop(&mut self, unit: &Unit) -> Result<()> {
        let operation = format!("stop {}", unit.name);
        let call = Call::new(PATH, MANAGER, "StopUnit", "ss").text(&unit.name).text("replace");
        match self.call(&operation, call) {
            Err(Error::Systemd { message, .. }) if message.contains("not loaded") => Ok(()),
            Err(error) => Err(error),
            Ok(answer) => self.wait_for_job(&operation, &answer.first_text()),
        }
    }

    /// Makes systemd forget that a unit has failed, so that its name can be used again.
    ///
    /// # Errors
    /// [`Error::Systemd`], also where there is no such unit.
    pub fn reset_failed(&mut self, unit: &Unit) -> Result<()> {
        let call = Call::new(PATH, MANAGER, "ResetFailedUnit", "s").text(&unit.name);
        self.call(&format!("reset {}", unit.name), call).map(drop)
    }

    /// Changes properties of a unit until the next boot.
    ///
    /// # Errors
    /// [`Error::Systemd`].
    pub fn set_properties(&mut self, unit: &Unit, properties: &[Property]) -> Result<()> {
        let call = Call::new(PATH, MANAGER, "SetUnitProperties", "sba(sv)")
            .text(&unit.name)
            .bool(true)
            .properties(properties);
        self.call(&format!("set properties of {}", unit.name), call).map(drop)
    }

    /// The path of a unit's group from the top of the hierarchies.
    ///
    /// # Errors
    /// [`Error::Systemd`].
    pub fn control_group(&mut self, unit: &Unit) -> Result<PathBuf> {
        let interface = "org.freedesktop.DBus.Properties";
        let call = Call::new(&unit.object(), interface, "Get", "ss")
            .text("org.freedesktop.systemd1.Scope")
            .text("ControlGroup");
        let operation = format!("ask for the group of {}", unit.name);
        Ok(self.call(&operation, call)?.variant_text().into())
    }

    /// Sends a call and waits for its answer.
    fn call(&mut self, operation: &str, call: Call) -> Result<Message> {
        self.serial += 1;
        let told = |error: std::io::Error| failed(operation, error.to_string());
        self.stream.write_all(&call.encode(self.serial)).map_err(told)?;
        loop {
            let message = self.message().map_err(told)?;
            match message.reply_to {
                Some(serial) if serial == self.serial => {
                    return match &message.error {
                        Some(name) => {
                            let text = format!("{} ({name})", message.first_text());
                            Err(failed(operation, text))
                        }
                        None => Ok(message),
                    };
                }
                _ => self.signals.push(message),
            }
        }
    }

    // ANCHOR: job
    /// systemd answers with a job and tells by a signal how it has ended.
    fn wait_for_job(&mut self, operation: &str, job: &str) -> Result<()> {
        loop {
            let message = match self.signals.pop() {
                Some(message) => message,
                None => self.message().map_err(|error| failed(operation, error.to_string()))?,
            };
            if let Some(result) = message.removed_job(job) {
                return match result.as_str() {
                    "done" | "skipped" => Ok(()),
                    other => Err(failed(operation, format!("the job ended with `{other}`"))),
                };
            }
        }
    }
    // ANCHOR_END: job

    /// The next message; what is no whole message yet is waited for.
    fn message(&mut self) -> std::io::Result<Message> {
        loop {
            if let Some(length) = Message::length(&self.buffer)?
                && self.buffer.len() >= length
            {
                let rest = self.buffer.split_off(length);
                let bytes = std::mem::replace(&mut self.buffer, rest);
                return Message::decode(&bytes);
            }
            self.receive()?;
        }
    }

    fn line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let rest = self.buffer.split_off(end + 2);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.receive()?;
        }
    }

    fn receive(&mut self) -> std::io::Result<()> {
        let mut bytes = [0; 4096];
        match self.stream.read(&mut bytes)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            length => {
                self.buffer.extend_from_slice(&bytes[..length]);
                Ok(())
            }
        }
    }
}

fn failed(operation: &str, message: impl Into<String>) -> Error {
    Error::Systemd { operation: operation.to_owned(), message: message.into() }
}

#[cfg(test)]
mod tests;

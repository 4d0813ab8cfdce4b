//! `corten login`, `corten logout`.

use std::io::{BufRead, IsTerminal, Read};
use std::os::fd::AsFd;

use clap::{ArgAction, Args};
use corten_namespaces::terminal::RawMode;
use corten_registry::Credentials;
use corten_registry::client::login;

use super::{print, warn};
use crate::cli::{Error, Result};
use crate::engine::pull::{Asker, log_in};

/// Where nobody says which.
const USUAL: &str = "docker.io";

#[derive(Debug, Args)]
pub(super) struct Login {
    /// Who; asked for on a terminal otherwise
    #[arg(short, long)]
    username: Option<String>,
    /// The password: others see it in the list of processes
    #[arg(short, long)]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password", requires = "username")]
    password_stdin: bool,
    /// Whether the registry must show a certificate that is trusted; false also allows plain HTTP
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: bool,
    /// Its host name, and port where it has one of its own
    #[arg(value_name = "REGISTRY", default_value = USUAL)]
    registry: String,
}

impl Login {
    pub(super) fn execute(&self) -> Result<()> {
        let user = match &self.username {
            Some(user) => user.clone(),
            None => asked("Username: ", line)?,
        };
        let password = match &self.password {
            Some(password) => {
                warn("others see a password on the command line: use --password-stdin");
                password.clone()
            }
            None if self.password_stdin => {
                let mut text = String::new();
                let read = std::io::stdin().lock().read_to_string(&mut text);
                read.map_err(|why| Error::invalid("standard input", why.to_string()))?;
                text.trim_end_matches(['\r', '\n']).to_owned()
            }
            None => asked("Password: ", hidden)?,
        };
        if user.is_empty() || password.is_empty() {
            return Err(Error::invalid("login", "a user name and a password are needed"));
        }
        let own = Credentials::Password { user: user.clone(), password: password.clone() };
        let asker = Asker::Client(Some(own));
        let domain = log_in(&self.registry, &asker, !self.tls_verify)?;
        let path = login::keep(&domain, &user, &password)?;
        print(&format!("Login Succeeded: {} knows it\n", path.display()))
    }
}

/// Asks on the terminal.
fn asked(question: &str, read: fn() -> std::io::Result<String>) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        let why = "there is no terminal to ask on: use --username and --password-stdin";
        return Err(Error::invalid("login", why));
    }
    print(question)?;
    read().map_err(|why| Error::invalid("standard input", why.to_string()))
}

fn line() -> std::io::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A line that is not seen on the terminal.
fn hidden() -> std::io::Result<String> {
    let stdin = std::io::stdin();
    let raw = RawMode::enter(stdin.as_fd()).map_err(std::io::Error::other)?;
    let mut line = Vec::new();
    for byte in stdin.lock().bytes() {
        match byte? {
            b'\r' | b'\n' | 0x04 => break,
            // Control-C: in raw mode nobody else hears it.
            0x03 => return Err(std::io::ErrorKind::Interrupted.into()),
            0x7f | 0x08 => drop(line.pop()),
            byte => line.push(byte),
        }
    }
    drop(raw);
    println!();
    String::from_utf8(line).map_err(std::io::Error::other)
}

#[derive(Debug, Args)]
pub(super) struct Logout {
    /// Its host name, and port where it has one of its own
    #[arg(value_name = "REGISTRY", default_value = USUAL)]
    registry: String,
}

impl Logout {
    pub(super) fn execute(&self) -> Result<()> {
        let known = login::forget(&self.registry)?;
        let registry = &self.registry;
        print(&match known {
            true => format!("Removed what was known of {registry}\n"),
            false => format!("Not logged in to {registry}\n"),
        })
    }
}

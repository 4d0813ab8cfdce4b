//! Where a daemon is, as `-H` and contexts name it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A daemon's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// `unix://PATH`.
    Unix(PathBuf),
    /// `tcp://NAME[:PORT]`: a name or an address, and the port where one is given.
    Tcp(String, Option<u16>),
    /// `ssh://[USER@]HOST[:PORT][PATH]`.
    Ssh(Ssh),
}

/// A machine that is reached by ssh(1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// Who; what ssh is configured with otherwise.
    pub user: Option<String>,
    /// The machine.
    pub host: String,
    /// The port of its sshd, where it is not the usual one.
    pub port: Option<u16>,
    /// The daemon's socket there; the usual one otherwise.
    pub path: Option<String>,
}

/// Docker's port without TLS.
const PLAIN: u16 = 2375;
/// Docker's port with TLS.
const CERTIFIED: u16 = 2376;

impl Place {
    /// The name or address of a machine that is reached by TCP, and the port with TLS or without.
    pub(super) fn address(&self, tls: bool) -> Option<(&str, u16)> {
        match self {
            Place::Tcp(host, port) => {
                Some((host, port.unwrap_or(if tls { CERTIFIED } else { PLAIN })))
            }
            _ => None,
        }
    }

    /// What `Host` says: of a socket there is no name.
    pub(super) fn host(&self, tls: bool) -> String {
        match self.address(tls) {
            Some((host, port)) if host.contains(':') => format!("[{host}]:{port}"),
            Some((host, port)) => format!("{host}:{port}"),
            None => "docker".to_owned(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Unix(path) => write!(f, "unix://{}", path.display()),
            Place::Tcp(host, port) => {
                let bare = host.contains(':');
                let host = if bare { format!("[{host}]") } else { host.clone() };
                write!(f, "tcp://{host}")?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
            Place::Ssh(Ssh { user, host, port, path }) => {
                write!(f, "ssh://")?;
                if let Some(user) = user {
                    write!(f, "{user}@")?;
                }
                write!(f, "{host}")?;
                if let Some(port) = port {
                    write!(f, ":{port}")?;
                }
                write!(f, "{}", path.as_deref().unwrap_or_default())
            }
        }
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Place> {
        let wrong = |why: &str| Error::invalid(format!("-H {text}"), why);
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(wrong("has a character that no address has"));
        }
        if let Some(path) = text.strip_prefix("unix://") {
            return match path.starts_with('/') {
                true => Ok(Place::Unix(path.into())),
                false => Err(wrong("is not absolute: unix:///run/corten.sock")),
            };
        }
        if let Some(rest) = text.strip_prefix("ssh://") {
            return ssh(rest).map(Place::Ssh).map_err(|why| wrong(&why));
        }
        let rest = text.strip_prefix("tcp://").or_else(|| text.strip_prefix("http://"));
        let rest = rest.or_else(|| text.strip_prefix("https://"));
        let Some(rest) = rest else {
            return Err(wrong("is none of unix://PATH, tcp://HOST:PORT and ssh://USER@HOST"));
        };
        let (host, port) = host_and_port(rest.trim_end_matches('/')).map_err(|why| wrong(&why))?;
        Ok(Place::Tcp(host, port))
    }
}

/// `HOST`, `HOST:PORT`, `[::1]:PORT`.
fn host_and_port(text: &str) -> std::result::Result<(String, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    // A name that begins so would be an option of ssh.
    let is_name = !host.is_empty() && !host.starts_with('-') && !host.contains(['/', '@', '?']);
    if !is_name {
        return Err("has no name of a machine".to_owned());
    }
    let number = |text: &str| text.parse().map_err(|_| format!("has no port number: {text:?}"));
    Ok((host.to_owned(), port.map(number).transpose()?))
}

fn ssh(text: &str) -> std::result::Result<Ssh, String> {
    let (machine, path) = match text.split_once('/') {
        Some((machine, "")) => (machine, None),
        Some((machine, path)) => (machine, Some(format!("/{path}"))),
        None => (text, None),
    };
    let (user, machine) = match machine.rsplit_once('@') {
        Some((user, machine)) => (Some(user.to_owned()), machine),
        None => (None, machine),
    };
    if user.as_deref().is_some_and(|user| user.contains(':')) {
        return Err("has a password in it, which others would see: use a key".to_owned());
    }
    if user.as_deref().is_some_and(|user| user.is_empty() || user.starts_with('-')) {
        return Err("has no name of a user before the @".to_owned());
    }
    // It becomes part of a command line of the shell over there.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if !path.as_deref().unwrap_or_default().chars().all(plain) {
        return Err("has a path with characters that a shell would change".to_owned());
    }
    let (host, port) = host_and_port(machine)?;
    Ok(Ssh { user, host, port, path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_docker_writes_them() {
        for text in [
            "unix:///run/corten.sock",
            "tcp://build.example:2376",
            "tcp://build.example",
            "tcp://[::1]:2375",
            "ssh://me@box:2222/run/d.sock",
            "ssh://box",
        ] {
            assert_eq!(text.parse::<Place>().unwrap().to_string(), text);
        }
        let place: Place = "tcp://box".parse().unwrap();
        assert_eq!((place.host(false), place.host(true)), ("box:2375".into(), "box:2376".into()));
        assert_eq!("ssh://box/".parse::<Place>().unwrap().to_string(), "ssh://box");
    }

    #[test]
    fn what_would_be_an_option_or_a_command_is_no_place() {
        for bad in [
            "",
            "box",
            "unix://run",
            "tcp://",
            "tcp://box:port",
            "tcp://a b",
            "ssh://-oProxyCommand=x",
            "ssh://-l@box",
            "ssh://me:secret@box",
            "ssh://box/$(x)",
            "npipe:////./pipe/docker",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad}");
        }
    }
}

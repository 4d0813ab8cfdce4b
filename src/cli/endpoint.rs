//! Which engine a command is for: this machine's, or a daemon elsewhere.
//!
//! Of all who may say so the first counts: `-H`; `--context`; `--root` and `--state`, which mean this
//! machine; CORTEN_HOST; DOCKER_HOST; DOCKER_CONTEXT; the context that `context use` has chosen.

use std::path::PathBuf;

use clap::Args;
use corten_daemon::client::{ClientFiles, Place, Remote};
use corten_daemon::version::Version;
use corten_registry::client::login;

use super::context;
use super::home::Home;
use crate::cli::{Error, Result};

#[derive(Debug, Default, Args)]
#[command(next_help_heading = "A daemon elsewhere")]
pub(super) struct Endpoint {
    /// The daemon: unix://PATH, tcp://HOST:PORT or ssh://USER@HOST; else CORTEN_HOST or DOCKER_HOST
    #[arg(short = 'H', long, value_name = "HOST", conflicts_with = "context")]
    host: Option<String>,
    /// The daemon by the name of its context; else DOCKER_CONTEXT, or what `context use` has chosen
    #[arg(short, long, value_name = "NAME")]
    context: Option<String>,
    /// Speak TLS, to whoever answers
    #[arg(long)]
    tls: bool,
    /// Speak TLS, and only to a daemon with the right certificate; else DOCKER_TLS_VERIFY
    #[arg(long)]
    tlsverify: bool,
    /// Who signs the daemon's certificate; ca.pem in DOCKER_CERT_PATH or ~/.docker otherwise
    #[arg(long, value_name = "FILE")]
    tlscacert: Option<PathBuf>,
    /// The client's certificate; cert.pem there otherwise
    #[arg(long, value_name = "FILE")]
    tlscert: Option<PathBuf>,
    /// The client's key; key.pem there otherwise
    #[arg(long, value_name = "FILE")]
    tlskey: Option<PathBuf>,
}

/// A daemon elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub place: Place,
    pub tls: Option<ClientFiles>,
    /// How a user who means this machine says so.
    pub remedy: &'static str,
}

impl Target {
    /// The daemon. The version of its API is agreed on, unless DOCKER_API_VERSION says which.
    pub(super) fn connect(&self) -> Result<Remote> {
        let pinned = variable("DOCKER_API_VERSION").map(|text| pinned(&text)).transpose()?;
        let remote = Remote::connect(self.place.clone(), self.tls.as_ref());
        let remote = remote.map_err(Error::Daemon)?;
        Ok(match pinned {
            Some(version) => remote.speaking(version),
            None => remote,
        })
    }
}

/// The version that DOCKER_API_VERSION says; docker takes it with a `v` before it, too.
fn pinned(text: &str) -> Result<Version> {
    let bad = |()| {
        let why = "is no version of the Docker Engine API: write it as 1.41, or unset it";
        Error::invalid(format!("DOCKER_API_VERSION={text}"), why)
    };
    text.strip_prefix('v').unwrap_or(text).parse().map_err(bad)
}

/// A variable that says something.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|text| !text.is_empty())
}

/// What the environment says of the daemon's place.
pub(super) fn host_of_environment() -> Option<String> {
    variable("CORTEN_HOST").or_else(|| variable("DOCKER_HOST"))
}

impl Endpoint {
    /// What the words of a command line say that is still being typed.
    pub(super) fn of_words(mut words: impl Iterator<Item = String>) -> Endpoint {
        let mut endpoint = Endpoint::default();
        while let Some(word) = words.next() {
            match word.as_str() {
                "-H" | "--host" => endpoint.host = words.next(),
                "-c" | "--context" => endpoint.context = words.next(),
                "--tls" => endpoint.tls = true,
                "--tlsverify" => endpoint.tlsverify = true,
                // From here on they are the command's own.
                "run" | "exec" | "create" => break,
                _ => {}
            }
        }
        endpoint
    }

    /// Whether the command line itself names a daemon.
    pub(super) fn is_named(&self) -> bool {
        self.host.is_some() || self.context.is_some()
    }

    /// The name of the context that counts.
    pub(super) fn context(&self) -> String {
        let own = self.context.clone();
        if own.is_none() && (self.host.is_some() || host_of_environment().is_some()) {
            return context::DEFAULT.to_owned();
        }
        let chosen = || {
            login::entry("currentContext").unwrap_or_else(|why| {
                // It is docker's file, and most commands want nothing else of it.
                super::warn(&format!("no context is known: {why}"));
                None
            })
        };
        let own = own.or_else(|| variable("DOCKER_CONTEXT")).or_else(chosen);
        own.unwrap_or_else(|| context::DEFAULT.to_owned())
    }

    /// The daemon; `None` for the engine of this machine, which `is_local` says is meant unless the
    /// command line names another.
    pub(super) fn target(&self, is_local: bool) -> Result<Option<Target>> {
        if let Some(host) = &self.host {
            return self.at(host, "leave out -H").map(Some);
        }
        if let Some(name) = &self.context {
            return context::target(name, "leave out --context");
        }
        if is_local {
            return Ok(None);
        }
        if let Some(host) = host_of_environment() {
            return self.at(&host, "unset CORTEN_HOST and DOCKER_HOST").map(Some);
        }
        context::target(&self.context(), "use --context default")
    }

    /// Lets bytes pass between this process and the daemon: the one that is named, or else the one of this
    /// machine.
    pub(super) fn relay(&self) -> Result<u8> {
        let usual = || self.at(&Home::of_caller()?.host(), "");
        let target = self.target(false)?.map_or_else(usual, Ok)?;
        Remote::relay(target.place, target.tls.as_ref()).map_err(Error::Daemon)?;
        Ok(0)
    }

    fn at(&self, host: &str, remedy: &'static str) -> Result<Target> {
        let place: Place = host.parse().map_err(Error::Daemon)?;
        Ok(Target { tls: self.files(&place), place, remedy })
    }

    /// The certificates for a place that is reached by TCP.
    fn files(&self, place: &Place) -> Option<ClientFiles> {
        let verify = self.tlsverify || variable("DOCKER_TLS_VERIFY").is_some();
        let wanted = verify || self.tls || variable("DOCKER_TLS").is_some();
        if !wanted || !matches!(place, Place::Tcp(..)) {
            return None;
        }
        let named = variable("DOCKER_CERT_PATH").map(PathBuf::from);
        let usual = |own: &Option<PathBuf>, name: &str| {
            let at = |directory: PathBuf| directory.join(name);
            let home = || login::directory().map(at).filter(|path| path.exists());
            own.clone().or_else(|| named.clone().map(at)).or_else(home)
        };
        Some(ClientFiles {
            ca: usual(&self.tlscacert, "ca.pem"),
            cert: usual(&self.tlscert, "cert.pem"),
            key: usual(&self.tlskey, "key.pem"),
            verify,
        })
    }
}

/// What is said of a command that has no remote form.
pub(super) fn only_here(command: &str, target: &Target) -> Error {
    Error::OnlyHere { command: command.to_owned(), remedy: target.remedy.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_still_typed_name_a_daemon_before_the_command_only() {
        let of = |line: &str| Endpoint::of_words(line.split_whitespace().map(str::to_owned));
        assert_eq!(of("corten -H unix:///x start web").host.as_deref(), Some("unix:///x"));
        assert_eq!(of("corten --context far ps").context.as_deref(), Some("far"));
        assert!(!of("corten run busybox sh -c ls").is_named());
        assert!(!of("corten exec web curl -H x").is_named());
        assert!(!of("corten -H").is_named());
    }

    #[test]
    fn a_version_may_be_pinned() {
        assert_eq!(pinned("1.41").unwrap(), Version(1, 41));
        assert_eq!(pinned("v1.30").unwrap(), Version(1, 30));
        assert!(pinned("abc").unwrap_err().to_string().contains("write it as 1.41"));
    }

    #[test]
    fn a_place_by_tcp_has_certificates_and_others_have_none() {
        let endpoint =
            Endpoint { tlsverify: true, tlscacert: Some("ca".into()), ..Endpoint::default() };
        let target = endpoint.at("tcp://box", "").unwrap();
        let files = target.tls.unwrap();
        assert!(files.verify && files.ca == Some("ca".into()));
        assert_eq!(endpoint.at("unix:///x", "").unwrap().tls, None);
    }
}

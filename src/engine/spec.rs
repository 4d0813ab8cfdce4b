//! From an image's configuration and the user's options to what chapter 1 runs.
//!
//! [`Spec::new`] is pure: it decides the command, the environment, the working directory and the
//! user by Docker's rules. What it decides is written to `config.json` of the container, and
//! [`Spec::config`] turns it into chapter 1's [`Config`].

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use corten_namespaces::capability::CapabilitySet;
use corten_namespaces::config::{Limit, User};
use corten_namespaces::mount::{Mount, attribute};
use corten_namespaces::{Config, Namespace, Process, Rootfs};
use serde::{Deserialize, Serialize};

use super::env::{self, Defaults, Variable};
use super::error::{Error, Result};
use super::user::Accounts;
use super::volume::{self, Volume};

/// What the user wants to be different from the image.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The arguments after the image: in the place of its `Cmd`.
    pub command: Vec<String>,
    /// In the place of its `Entrypoint`; empty for none.
    pub entrypoint: Option<String>,
    /// Changes to its `Env`.
    pub env: Vec<Variable>,
    /// In the place of its `WorkingDir`.
    pub cwd: Option<String>,
    /// In the place of its `User`.
    pub user: Option<String>,
    /// The host name; the beginning of the container's id otherwise.
    pub hostname: Option<String>,
    /// What is mounted.
    pub volumes: Vec<Volume>,
    /// Whether standard input is the caller's.
    pub stdin: bool,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Whether a small init is its first process.
    pub init: bool,
    /// Whether its root is read-only.
    pub read_only: bool,
    /// Resource limits.
    pub limits: Vec<Limit>,
}

/// All that is decided about a container's program and its surroundings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its supplementary groups.
    pub groups: Vec<u32>,
    /// The host name.
    pub hostname: String,
    /// What the user mounts, outer mounts first.
    pub volumes: Vec<Volume>,
    /// Whether standard input is the caller's.
    pub stdin: bool,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether a small init is its first process.
    pub init: bool,
    /// Whether its root is read-only.
    pub read_only: bool,
    /// Resource limits, as `--ulimit` takes them.
    pub limits: Vec<String>,
}

/// The parts of an image's configuration that say how to run it.
#[derive(Debug, Clone, Default)]
pub struct ImageDefaults {
    /// `Entrypoint`.
    pub entrypoint: Vec<String>,
    /// `Cmd`.
    pub cmd: Vec<String>,
    /// `Env`.
    pub env: Vec<String>,
    /// `WorkingDir`.
    pub cwd: String,
    /// `User`.
    pub user: String,
}

impl From<&oci_spec::image::ImageConfiguration> for ImageDefaults {
    fn from(configuration: &oci_spec::image::ImageConfiguration) -> ImageDefaults {
        let Some(config) = configuration.config() else { return ImageDefaults::default() };
        ImageDefaults {
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            env: config.env().clone().unwrap_or_default(),
            cwd: config.working_dir().clone().unwrap_or_default(),
            user: config.user().clone().unwrap_or_default(),
        }
    }
}

/// What is made in the container's directory and mounted into it.
#[derive(Debug)]
pub struct Surroundings {
    /// Where the root is attached.
    pub directory: PathBuf,
    /// The root's tree.
    pub tree: OwnedFd,
    /// Files of the host and where they are seen inside.
    pub files: Vec<(PathBuf, &'static str)>,
    /// Whether the host has the unified cgroup hierarchy, so that the container's is shown.
    pub cgroup2: bool,
    /// Rows and columns of the caller's terminal.
    pub window: (u16, u16),
}

impl Spec {
    /// Decides everything. `default_hostname` is used where the user gives none.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is no command, or a user, path or host name is wrong.
    pub fn new(
        image: &ImageDefaults,
        options: &Options,
        accounts: &Accounts,
        default_hostname: &str,
    ) -> Result<Spec> {
        let args = command(image, options)?;
        let user = options.user.as_deref().unwrap_or(&image.user);
        let identity = accounts.resolve(user)?;
        let hostname = match &options.hostname {
            Some(name) => check_hostname(name)?,
            None => default_hostname,
        };
        let defaults = Defaults { hostname, home: &identity.home, terminal: options.terminal };
        Ok(Spec {
            args,
            env: env::merge(defaults, &image.env, &options.env),
            cwd: working_directory(&image.cwd, options.cwd.as_deref())?,
            uid: identity.user.uid,
            gid: identity.user.gid,
            groups: identity.user.groups,
            hostname: hostname.to_owned(),
            volumes: volume::ordered(options.volumes.clone())?,
            stdin: options.stdin,
            terminal: options.terminal,
            init: options.init,
            read_only: options.read_only,
            limits: options.limits.iter().map(written).collect(),
        })
    }

    /// What chapter 1 shall run.
    ///
    /// # Errors
    /// Where `/dev/null` cannot be opened, or a path holds a NUL byte.
    pub fn config(&self, around: Surroundings) -> Result<Config> {
        let namespaces = [
            Namespace::Mount,
            Namespace::Pid,
            Namespace::Net,
            Namespace::Ipc,
            Namespace::Uts,
            Namespace::Cgroup,
        ];
        let mut mounts = Vec::new();
        if around.cgroup2 {
            let quiet = attribute::NOSUID | attribute::NOEXEC | attribute::NODEV;
            let mount =
                Mount::file_system("cgroup2", "/sys/fs/cgroup", quiet | attribute::RDONLY, "")?;
            mounts.push(mount);
        }
        // The user's mount of the same path takes the place of the engine's own file; one of a
        // directory above it comes before, or it would hide the file.
        let mut own = around.files;
        own.retain(|(_, target)| !self.volumes.iter().any(|v| v.target() == Path::new(target)));
        let outer =
            |v: &&Volume| own.iter().any(|(_, file)| Path::new(file).starts_with(v.target()));
        for volume in self.volumes.iter().filter(outer) {
            mounts.push(volume.mount()?);
        }
        for (source, target) in &own {
            mounts.push(Mount::bind(source, target, 0)?);
        }
        for volume in self.volumes.iter().filter(|v| !outer(v)) {
            mounts.push(volume.mount()?);
        }
        Ok(Config {
            namespaces: namespaces.into_iter().collect(),
            rootfs: Some(Rootfs {
                path: around.directory,
                mount: Some(around.tree),
                switch: corten_namespaces::config::RootSwitch::Pivot,
            }),
            mounts,
            read_only: self.read_only,
            protect_kernel: true,
            hostname: Some(self.hostname.clone()),
            process: self.process(around.window)?,
            die_with_parent: true,
            ..Config::default()
        })
    }

    fn process(&self, window: (u16, u16)) -> Result<Process> {
        let limits = self.limits.iter().map(|limit| Ok(limit.parse()?)).collect::<Result<_>>()?;
        // With a terminal, chapter 1 gives all three; without -i there is nothing to read.
        let input = if self.stdin || self.terminal { None } else { Some(null()?) };
        Ok(Process {
            args: self.args.clone(),
            env: self.env.clone(),
            cwd: self.cwd.clone(),
            user: User { uid: self.uid, gid: self.gid, groups: self.groups.clone() },
            terminal: self.terminal.then_some(window),
            stdio: [input, None, None],
            init: self.init,
            capabilities: Some(CapabilitySet::CONTAINER),
            limits,
            ..Process::default()
        })
    }
}

fn null() -> Result<OwnedFd> {
    use super::error::At;
    Ok(std::fs::File::open("/dev/null").at("open", Path::new("/dev/null"))?.into())
}

/// The rules of moby's `merge` (daemon/commit.go): an entrypoint of the user's drops the image's
/// `Cmd` too, because that was meant as arguments of the image's entrypoint.
fn command(image: &ImageDefaults, options: &Options) -> Result<Vec<String>> {
    let own = &options.command;
    let (entrypoint, cmd) = match &options.entrypoint {
        Some(text) if text.is_empty() => (Vec::new(), own),
        Some(text) => (vec![text.clone()], own),
        None if own.is_empty() => (image.entrypoint.clone(), &image.cmd),
        None => (image.entrypoint.clone(), own),
    };
    let args: Vec<String> = entrypoint.into_iter().chain(cmd.iter().cloned()).collect();
    if args.is_empty() {
        let why = "the image has no Cmd and no Entrypoint: say what to run after the image's name";
        return Err(Error::invalid("no command", why));
    }
    Ok(args)
}

fn working_directory(image: &str, own: Option<&str>) -> Result<PathBuf> {
    match own {
        Some(path) if !path.starts_with('/') => Err(Error::invalid(
            format!("working directory `{path}`"),
            "is not absolute: it must begin with /",
        )),
        Some(path) => Ok(volume::lexical(Path::new(path))),
        None => Ok(volume::lexical(Path::new(image))),
    }
}

/// It becomes a line of /etc/hostname and a variable, so it is held to the letters of a host name.
fn check_hostname(name: &str) -> Result<&str> {
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(letters) {
        return Err(Error::invalid(
            format!("host name `{}`", name.escape_debug()),
            "must be 1 to 64 letters, digits, hyphens, dots or underscores",
        ));
    }
    Ok(name)
}

fn written(limit: &Limit) -> String {
    let number = |value: u64| if value == u64::MAX { "-1".into() } else { value.to_string() };
    format!("{}={}:{}", limit.name, number(limit.soft), number(limit.hard))
}

#[cfg(test)]
#[path = "spec_tests.rs"]
mod tests;

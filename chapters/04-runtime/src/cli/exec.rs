//! exec.

use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use corten_namespaces::error::Context;
use oci_spec::runtime as oci;
use serde_json::{Value, json};

use super::{Global, terminal};
use crate::bundle::{complete, remove_unknown_capabilities};
use crate::channel;
use crate::container::Container;
use crate::error::{Error, Result};
use crate::exec;
use crate::json;
use crate::log::Log;

#[derive(Debug, Args)]
pub struct Exec {
    /// The container
    #[arg(value_name = "CONTAINER")]
    id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
    /// A file that describes the process, as in config.json
    #[arg(long, short = 'p')]
    process: Option<PathBuf>,
    /// Returns when the program runs
    #[arg(long, short = 'd')]
    detach: bool,
    /// The file that gets the number of the process
    #[arg(long)]
    pid_file: Option<PathBuf>,
    /// The socket that gets a descriptor of the process
    #[arg(long)]
    pidfd_socket: Option<PathBuf>,
    /// The socket that gets the master of the terminal
    #[arg(long)]
    console_socket: Option<PathBuf>,
    /// A terminal
    #[arg(long, short = 't')]
    tty: bool,
    /// The working directory
    #[arg(long)]
    cwd: Option<PathBuf>,
    /// NAME=value, for the environment
    #[arg(long, short = 'e')]
    env: Vec<String>,
    /// UID or UID:GID
    #[arg(long, short = 'u')]
    user: Option<String>,
    /// Another group
    #[arg(long, short = 'g')]
    additional_gids: Vec<u32>,
    /// Another capability
    #[arg(long, short = 'c')]
    cap: Vec<String>,
    /// Gains no rights by execve
    #[arg(long)]
    no_new_privs: bool,
    /// AppArmor's profile
    #[arg(long)]
    apparmor: Option<String>,
    /// SELinux's label
    #[arg(long)]
    process_label: Option<String>,
    /// How many descriptors after 2 the process inherits
    #[arg(long, default_value_t = 0)]
    preserve_fds: i32,
    /// A control group below the container's
    #[arg(long)]
    cgroup: Option<String>,
    /// Begins in a paused container, too
    #[arg(long)]
    ignore_paused: bool,
    /// Leaves orphans to others
    #[arg(long)]
    no_subreaper: bool,
}

impl Exec {
    pub fn run(&self, global: &Global, log: &Log) -> Result<u8> {
        let container = Container::load(&global.root(), &self.id.parse()?)?;
        let bundle = container.bundle()?;
        let (process, unknown) = self.process(&bundle)?;
        if !unknown.is_empty() {
            log.warn(&crate::process::unavailable(&unknown));
        }
        let mut console =
            self.console_socket.as_deref().map(channel::connect_caller).transpose()?;
        let wants = process.terminal().unwrap_or(false);
        let front = terminal::Front::prepare(wants && console.is_none(), self.detach)?;
        if let Some(socket) = front.socket()? {
            console = Some(socket);
        }
        let options = exec::Options {
            console,
            preserve_fds: self.preserve_fds,
            cgroup: self.cgroup.as_deref().map(below).transpose()?,
            ignore_paused: self.ignore_paused,
            pid_file: self.pid_file.clone(),
            pidfd_socket: self.pidfd_socket.clone(),
            root: global.root(),
        };
        let plan = exec::Exec::new(&container, &bundle, &process, options)?;
        plan.warnings.iter().for_each(|warning| log.warn(warning));
        plan.notes.iter().for_each(|note| log.debug(note));
        if !self.detach && !self.no_subreaper {
            let set = corten_namespaces::sys::identity::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0);
            set.during("become a subreaper")?;
        }
        let (pidfd, pid) = plan.execute(&container)?;
        if self.detach { Ok(0) } else { front.wait(pidfd.as_fd(), pid) }
    }

    /// The process: that of a file, or the container's own with another command.
    fn process(&self, bundle: &crate::Bundle) -> Result<(oci::Process, Vec<String>)> {
        let (path, mut value) = match &self.process {
            Some(path) => {
                let text = std::fs::read_to_string(path).on("read", path)?;
                let json = |source| Error::Json { path: path.clone(), source };
                (path.clone(), json::parse::<Value>(&text).map_err(json)?)
            }
            None => {
                let path = PathBuf::from("config.json");
                let json = |source| Error::Json { path: path.clone(), source };
                let process = bundle.spec.process().as_ref();
                (path.clone(), serde_json::to_value(process).map_err(json)?)
            }
        };
        let inherits = self.process.is_none();
        complete(&mut value);
        self.apply(&mut value, inherits)?;
        let unknown = remove_unknown_capabilities(&mut value);
        // What the file leaves out is the container's.
        let process: oci::Process =
            json::convert(&value).map_err(|source| Error::Json { path, source })?;
        Ok((process, unknown))
    }

    fn apply(&self, value: &mut Value, inherits: bool) -> Result<()> {
        let Some(process) = value.as_object_mut() else {
            return Err(Error::invalid(
                "the process",
                "is not described: use --process or a command",
            ));
        };
        let mut set = |name: &str, value: Value| drop(process.insert(name.to_owned(), value));
        if inherits {
            if self.command.is_empty() {
                return Err(Error::invalid("the command", "is missing"));
            }
            set("args", json!(self.command));
            set("terminal", json!(self.tty));
        } else if self.tty {
            set("terminal", json!(true));
        }
        if let Some(cwd) = &self.cwd {
            set("cwd", json!(cwd));
        }
        if self.no_new_privs {
            set("noNewPrivileges", json!(true));
        }
        if let Some(profile) = &self.apparmor {
            set("apparmorProfile", json!(profile));
        }
        if let Some(label) = &self.process_label {
            set("selinuxLabel", json!(label));
        }
        if let Some(user) = &self.user {
            let (uid, gid) = user.split_once(':').unwrap_or((user, "0"));
            let number = |text: &str| {
                text.parse::<u32>().map_err(|_| {
                    Error::invalid(format!("--user {user}"), "must be UID or UID:GID in numbers")
                })
            };
            set("user", json!({"uid": number(uid)?, "gid": number(gid)?}));
        }
        append(process, &["env"], self.env.iter().map(|v| json!(v)));
        append(process, &["user", "additionalGids"], self.additional_gids.iter().map(|g| json!(g)));
        for set in ["bounding", "effective", "permitted"] {
            append(process, &["capabilities", set], self.cap.iter().map(|c| json!(c)));
        }
        Ok(())
    }
}

/// Adds to a list inside of objects that may be missing.
fn append(
    object: &mut serde_json::Map<String, Value>,
    path: &[&str],
    values: impl Iterator<Item = Value>,
) {
    let values: Vec<Value> = values.collect();
    let [first, rest @ ..] = path else { return };
    if values.is_empty() {
        return;
    }
    let entry = object.entry(*first);
    if rest.is_empty() {
        if let Some(list) = entry.or_insert_with(|| json!([])).as_array_mut() {
            list.extend(values);
        }
    } else if let Some(inner) = entry.or_insert_with(|| json!({})).as_object_mut() {
        append(inner, rest, values.into_iter());
    }
}

/// `--cgroup PATH`, or runc's `CONTROLLER[,…]:PATH`.
fn below(text: &str) -> Result<exec::Below> {
    let (controllers, path) = match text.split_once(':') {
        Some((controllers, path)) => (controllers.split(',').map(str::to_owned).collect(), path),
        None => (Vec::new(), text),
    };
    let path = PathBuf::from(path.trim_start_matches('/'));
    let normal = |part| matches!(part, std::path::Component::Normal(_));
    if !path.components().all(normal) {
        let why = "must lead to a group below the container's own";
        return Err(Error::invalid(format!("--cgroup {text}"), why));
    }
    Ok(exec::Below { controllers, path })
}

//! The supervisors of containers: where they are, how they are started, whether they live.
//!
//! ```text
//! STATE/ID/bundle/config.json   chapter 4's configuration
//! STATE/ID/settings.json        what the supervisor was told
//! STATE/ID/control.sock, lock   the supervisor's own
//! STATE/.runtime/ID             chapter 4's state
//! STATE/.names/NAME             whose name it is: an index
//! ```
//!
//! None of it survives a reboot, and none need: it is made again at each start.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use corten_runtime::Bundle;
use corten_runtime::create::{Create, Options};
use corten_supervisor::client::Client;
use corten_supervisor::launch::Program;
use corten_supervisor::record::{Phase, Status};
use corten_supervisor::settings::{Cgroups, Settings};
use oci_spec::runtime::Spec;
use serde_json::Value;

use super::error::{At, Error, Result};
use corten_supervisor::durable::{self, Worth};

/// The directory of all supervisors.
#[derive(Debug)]
pub struct Shims {
    directory: PathBuf,
    program: OnceLock<Program>,
    children: Mutex<Children>,
}

/// Supervisors that this process has started. They outlive it, but those that end before are its
/// children, and zombies until it has asked how they ended.
#[derive(Debug, Default)]
struct Children {
    living: BTreeMap<String, Child>,
    /// Their containers have ended, they are clearing up.
    ending: Vec<Child>,
}

impl Children {
    fn ended(&mut self, id: &str) {
        self.ending.extend(self.living.remove(id));
        self.ending.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    }
}

impl Shims {
    /// Makes the directory.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn open(directory: PathBuf) -> Result<Shims> {
        private(&directory)?;
        Ok(Shims { directory, program: OnceLock::new(), children: Mutex::default() })
    }

    /// What supervisors are started from: one protected copy for all.
    fn program(&self) -> Result<&Program> {
        match self.program.get() {
            Some(program) => Ok(program),
            None => {
                Program::beside().map(|own| self.program.get_or_init(|| own)).map_err(Error::from)
            }
        }
    }

    /// Starts supervisors from `program`.
    ///
    /// # Errors
    /// Where no protected copy of it can be made.
    pub fn start_from(&mut self, program: &Path) -> Result<()> {
        self.program = Program::at(program)?.into();
        Ok(())
    }

    fn children(&self) -> MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The directory of all.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The directory of one.
    pub fn of(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    /// The file that the supervisor of `id` holds a lock on while it lives.
    pub fn lock_of(&self, id: &Path) -> PathBuf {
        self.directory.join(id).join(corten_supervisor::shim::LOCK)
    }

    /// Chapter 4's state.
    pub fn runtime_root(&self) -> PathBuf {
        self.directory.join(".runtime")
    }

    /// Starts a supervisor, which waits for the word to start its container.
    ///
    /// # Errors
    /// Where a file cannot be written or no process be made; nothing is left then.
    pub fn launch(&self, settings: &Settings, spec: &Spec) -> Result<Client> {
        let directory = self.of(&settings.id);
        private(&settings.bundle)?;
        durable::write_json(&settings.bundle.join("config.json"), spec, Worth::Volatile)?;
        settings.write(&directory)?;
        let (client, child) = self.program()?.launch(&directory, &settings.id)?;
        self.children().living.insert(settings.id.clone(), child);
        Ok(client)
    }

    /// Whether a container that runs has a control group.
    pub fn is_grouped(&self, id: &str) -> bool {
        Settings::read(&self.of(id)).is_ok_and(|settings| settings.cgroups != Cgroups::Disabled)
    }

    /// What a container that runs was started with: `process` of its configuration.
    ///
    /// # Errors
    /// Where it does not run.
    pub fn process(&self, id: &str) -> Result<Value> {
        let path = self.of(id).join("bundle/config.json");
        let config: Option<Value> = durable::read_json(&path)?;
        let process = config.and_then(|mut config| config.get_mut("process").map(Value::take));
        process.ok_or_else(|| Error::NotRunning { id: id.get(..12).unwrap_or(id).to_owned() })
    }

    /// The steps by which chapter 4 would create a container.
    ///
    /// # Errors
    /// What chapter 4 refuses.
    pub fn plan(&self, id: &str, spec: &Spec) -> Result<Create> {
        let path = self.of(id).join("bundle");
        let text = serde_json::to_string(spec).map_err(corten_supervisor::Error::Packet)?;
        let bundle = Bundle::parse(path, text)?;
        let terminal = spec.process().as_ref().and_then(|process| process.terminal());
        let mut options = Options { root: self.runtime_root(), ..Options::default() };
        if terminal == Some(true) {
            // Somebody must wait for the terminal, or there would be no plan.
            options.console =
                Some(std::fs::File::open("/dev/null").at("open", Path::new("/dev/null"))?.into());
        }
        Ok(Create::new(id.parse()?, &bundle, options)?)
    }

    /// Talks to a supervisor.
    ///
    /// # Errors
    /// [`corten_supervisor::Error::NoSupervisor`] where it does not live.
    pub fn connect(&self, id: &str) -> corten_supervisor::Result<Client> {
        Client::connect(&self.of(id), id)
    }

    /// Whether a supervisor lives.
    pub fn is_alive(&self, id: &str) -> bool {
        use nix::fcntl::{Flock, FlockArg};
        let Ok(file) = std::fs::File::open(self.lock_of(Path::new(id))) else { return false };
        matches!(
            Flock::lock(file, FlockArg::LockSharedNonblock),
            Err((_, nix::errno::Errno::EWOULDBLOCK))
        )
    }

    /// What the supervisor of a container that was started has written about it last.
    pub fn status(&self, id: &str) -> Option<Status> {
        let status = Status::read(&self.of(id)).ok().flatten();
        status.filter(|status| status.phase != Phase::Created)
    }

    /// Takes care of what a supervisor that has told of the end would have done afterwards by a program
    /// (`after` in its settings): it looks for this file first.
    pub fn take_over(&self, id: &str) {
        // Where it was faster both do it, one after the other.
        let _ = std::fs::remove_file(self.of(id).join(corten_supervisor::settings::FILE));
    }

    /// Waits until a supervisor has ended that has said so of its container, and is clearing up.
    pub fn wait(&self, id: &str) {
        use nix::fcntl::{Flock, FlockArg};
        if let Ok(file) = std::fs::File::open(self.lock_of(Path::new(id))) {
            drop(Flock::lock(file, FlockArg::LockShared));
        }
    }

    /// Waits until a supervisor has ended, and removes what is left of it and of the runtime's.
    ///
    /// # Errors
    /// Where something cannot be removed.
    pub fn bury(&self, id: &str) -> Result<()> {
        let directory = self.of(id);
        // Of one that was killed.
        let settings = Settings::read(&directory).ok();
        self.wait(id);
        self.children().ended(id);
        if let Ok(name) = id.parse() {
            corten_runtime::delete::delete(&self.runtime_root(), &name, true)?;
        }
        if let Some(given) = settings.and_then(|settings| settings.given_group) {
            let _ = corten_cgroups::delegation::leave(&given);
        }
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).at("remove", &directory)
            }
            _ => Ok(()),
        }
    }
}

/// Makes a directory that only its owner can enter.
fn private(path: &Path) -> Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).at("make", path)
}

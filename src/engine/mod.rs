//! The engine: composes the chapters into images and containers with a life cycle.
//!
//! No kernel mechanism lives here. A container is decided in [`options`] and [`oci`] (pure),
//! described on disk by [`record`], stacked by chapter 3, created by chapter 4 and supervised by chapter 5; an image comes
//! by chapter 6 and is unpacked by chapter 3, which [`mod@pull`] puts in order.
//!
//! | module | what |
//! |---|---|
//! | [`build`] | chapter 8 with images, layers and containers of this engine |
//! | [`container`] | what the user and the image say come together: create |
//! | [`life`], [`exec`] | start, stop, wait, remove; further programs |
//! | [`shims`], `bundle` | supervisors, and what they are told |
//! | [`view`], [`inspect`], `shape`, [`stats`], [`filter`] | what is known of a container or an image, in Docker's shape |
//! | [`events`] | what has happened and happens |
//! | [`update`] | other limits, also while it runs |
//! | [`mod@pull`], `arrival`, [`notices`] | download and unpack, at the same time; what people are told of it |
//! | [`image`] | list, remove, import, save, load |
//! | [`usage`] | what all of it takes on the disk |
//! | [`user`] | the image's /etc/passwd and /etc/group |
//! | [`env`](mod@env), [`path`] | `-e` as checked types; paths of users |
//! | [`files`], [`copy`] | the files of a container; `cp` |
//! | [`mod@changes`], [`export`], [`commit`] | `diff`; a container as an archive, and as an image |
//! | [`options`], [`machine`], [`oci`] | Docker's configuration of a container, checked, to an OCI one |
//! | [`networks`] | networks: joined before a start, left at the end |
//! | [`volumes`] | volumes: kept, listed, removed, filled |
//! | [`record`], [`state`], [`owned`] | the files of each container, and who owns it |
//! | `lookup`, `names` | who is called so, and who lives, without looking at all |
//! | `nickname` | names for those that nobody names |
//! | [`clock`] | points in time |

mod arrival;
pub mod build;
mod bundle;
pub mod changes;
pub mod choice;
pub mod clock;
pub mod commit;
pub mod container;
pub mod copy;
pub mod env;
pub mod error;
pub mod events;
pub mod exec;
pub mod export;
pub mod files;
pub mod filter;
pub mod image;
pub mod info;
pub mod inspect;
pub mod life;
mod lookup;
pub mod machine;
mod many;
mod names;
pub mod networks;
mod nickname;
pub mod notices;
pub mod oci;
pub mod options;
pub mod owned;
pub mod path;
pub mod pull;
pub mod record;
pub mod search;
pub(crate) mod shape;
pub mod shims;
pub mod state;
pub mod stats;
pub mod update;
pub mod usage;
pub mod user;
pub mod view;
pub mod volumes;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use corten_registry::Store;
use corten_unionfs::LayerStore;

pub use error::{Error, Result};
use machine::Machine;
use shims::Shims;
use state::Containers;
use volumes::Volumes;

/// One state directory, open.
#[derive(Debug)]
pub struct Engine {
    root: PathBuf,
    images: Store,
    layers: LayerStore,
    containers: Containers,
    volumes: Volumes,
    machine: OnceLock<Machine>,
    /// The command `corten`, where this is it.
    program: Option<PathBuf>,
}

impl Engine {
    /// Opens the state directory `root` (`/var/lib/corten`), makes what is missing in it, and
    /// finishes what killed processes left half-done.
    ///
    /// # Errors
    /// [`Error::NotRoot`], or where a directory cannot be made or read.
    ///
    /// Supervisors are in `state` (`/run/corten`), which need not survive a reboot.
    pub fn open(root: &Path, state: &Path) -> Result<Engine> {
        use error::At;
        if !nix::unistd::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        std::fs::create_dir_all(root).at("make the state directory", root)?;
        // Bind mounts and overlay want paths that hold wherever this process is.
        let root = root.canonicalize().at("resolve", root)?;
        let volumes = Volumes::open(&root)?;
        // Processes that are started elsewhere are told of it.
        let shims = Shims::open(std::path::absolute(state).at("resolve", state)?)?;
        // What builds were making that were killed.
        for path in [build::work(&root), build::secrets(&shims)] {
            corten_builder::work::clear(&path)?;
        }
        Ok(Engine {
            images: Store::open(root.join("images"))?,
            layers: LayerStore::open(root.join("layers"))?,
            containers: Containers::open(&root, shims, volumes.clone())?,
            volumes,
            root,
            machine: OnceLock::new(),
            program: None,
        })
    }

    /// The same engine, which starts supervisors from the program `supervisor` and not from the one
    /// beside its own: for programs that only use this library.
    ///
    /// # Errors
    /// Where the program cannot be read.
    pub fn supervised_by(mut self, supervisor: &Path) -> Result<Engine> {
        self.containers.shims.start_from(supervisor)?;
        Ok(self)
    }

    /// The same engine, whose containers' supervisors start `program` when their containers have ended
    /// and nobody has taken care of that: any command of it does.
    #[must_use]
    pub fn tidied_by(mut self, program: PathBuf) -> Engine {
        self.program = Some(program);
        self
    }

    /// What this machine has; looked at once.
    ///
    /// # Errors
    /// Where the control groups cannot be found out.
    pub fn machine(&self) -> Result<&Machine> {
        match self.machine.get() {
            Some(machine) => Ok(machine),
            None => Machine::probe().map(|machine| self.machine.get_or_init(|| machine)),
        }
    }

    /// The state directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The containers.
    pub fn containers(&self) -> &Containers {
        &self.containers
    }

    /// The volumes.
    pub fn volumes(&self) -> &Volumes {
        &self.volumes
    }
}

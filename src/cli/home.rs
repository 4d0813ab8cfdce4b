//! Where the engine of this machine is for whoever calls: root's, or a user's own in namespaces of the
//! user's (chapter 1's [`rootless`]).

use std::path::{Path, PathBuf};

use corten_namespaces::NamespaceSet;
use corten_namespaces::rootless::{self, Place};

use crate::cli::{Error, Result};
use crate::engine;
use crate::engine::error::At;

/// The usual state directory of root's engine.
const ROOT: &str = "/var/lib/corten";

/// Where clients find root's daemon, unless something else is said.
const HOST: &str = "unix:///run/corten.sock";

/// Where things are, unless something else is said.
#[derive(Debug)]
pub(super) struct Home {
    root: PathBuf,
    state: PathBuf,
    /// Where the user's namespaces are noted down; `None` for root.
    place: Option<Place>,
}

impl Home {
    /// Of whoever calls.
    ///
    /// # Errors
    /// Where a user has no place for it.
    pub(super) fn of_caller() -> Result<Home> {
        if !rootless::needed() {
            return Ok(Home { root: ROOT.into(), state: "/run/corten".into(), place: None });
        }
        let place = Place::usual();
        let absolute = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let data = absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")))
            .ok_or_else(|| Error::invalid("HOME", "names no directory for images: --root does"))?;
        Ok(Home { root: data.join("corten"), state: place.state(), place: Some(place) })
    }

    /// The state directory.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where supervisors are, where nothing, or `state`, is said of it.
    pub(super) fn state(&self, root: &Path, state: Option<&Path>) -> PathBuf {
        match state {
            Some(path) => path.to_owned(),
            None if root == self.root => self.state.clone(),
            None => root.join("run"),
        }
    }

    /// Where clients find the daemon.
    pub(super) fn host(&self) -> String {
        let beside = |place: &Place| place.directory().with_extension("sock");
        let own = self.place.as_ref().map(beside);
        own.map_or_else(|| HOST.to_owned(), |path| format!("unix://{}", path.display()))
    }

    /// Makes this process root: it is, or becomes it in these namespaces of its user's. It has one thread. The
    /// state directory `root` is made then, and is nobody else's.
    ///
    /// # Errors
    /// What the user lacks.
    pub(super) fn enter(&self, namespaces: NamespaceSet, root: &Path) -> Result<()> {
        match &self.place {
            // Once is enough.
            Some(place) if rootless::needed() => {
                // Others may not look into it: a program there that is set-user-ID to root is so to the user.
                place.enter(namespaces)?;
                Ok(private(root)?)
            }
            _ => Ok(()),
        }
    }
}

/// Makes the directory of a user's engine, and closes it to others.
fn private(root: &Path) -> engine::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(root).at("make the directory", root)?;
    let mode = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(root, mode).at("close to others", root)
}

//! Files with several names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use corten_namespaces::Root;

use crate::error::Result;
use crate::walk::{Found, Visit, Walk, identity};

/// The first name under which each file with several names was told.
#[derive(Default)]
pub(super) struct Links(HashMap<(u64, u64), PathBuf>);

impl Links {
    /// The name under which the file was told before; otherwise this one is kept as its first.
    pub(super) fn first(&mut self, found: &Found) -> Option<PathBuf> {
        if found.is_directory() || found.stat.st_nlink < 2 {
            return None;
        }
        let first = self.0.get(&identity(&found.stat)).cloned();
        if first.is_none() {
            self.0.insert(identity(&found.stat), found.path.clone());
        }
        first
    }
}

/// The names of every file of a tree that has more than one, sorted.
#[derive(Default)]
pub(super) struct Groups(HashMap<(u64, u64), Rc<Vec<PathBuf>>>);

impl Groups {
    pub(super) fn of(tree: &Root) -> Result<Groups> {
        let mut groups: HashMap<(u64, u64), Vec<PathBuf>> = HashMap::new();
        let mut walk = Walk::new(tree);
        while let Some(visit) = walk.next()? {
            if let Visit::Node(found) = visit
                && !found.is_directory()
                && found.stat.st_nlink > 1
            {
                groups.entry(identity(&found.stat)).or_default().push(found.path);
            }
        }
        // A name outside of the tree does not count.
        groups.retain(|_, names| names.len() > 1);
        Ok(Groups(groups.into_iter().map(|(id, names)| (id, Rc::new(names))).collect()))
    }

    /// All names of a file, or nothing where it has one.
    pub(super) fn names(&self, found: &Found) -> &[PathBuf] {
        self.0.get(&identity(&found.stat)).map_or(&[], |names| names.as_slice())
    }

    /// The first name of a file, where `path` is a later one.
    pub(super) fn first<'a>(&'a self, found: &Found, path: &Path) -> Option<&'a Path> {
        self.names(found).first().map(PathBuf::as_path).filter(|first| *first != path)
    }
}

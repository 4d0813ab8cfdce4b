//! The tree of a running container, as it can be compared with one on disk.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub use corten_unionfs::fixture::tree::{Tree, assert_equal};

/// What the engine mounts over an image, or writes because it mounts there.
const MOUNTED: [&str; 6] = ["proc", "sys", "dev", "etc/hosts", "etc/hostname", "etc/resolv.conf"];

/// Reads everything below `root` but what the engine mounts.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    let inside = |path: &Path| path.strip_prefix(root).unwrap().to_path_buf();
    let walk = walkdir::WalkDir::new(root).min_depth(1).follow_links(false).into_iter();
    let walk = walk.filter_entry(|entry| {
        let path = inside(entry.path());
        !MOUNTED.iter().any(|mounted| path == Path::new(mounted))
    });
    for entry in walk {
        let entry = entry.unwrap();
        let name = inside(entry.path()).as_os_str().as_bytes().escape_ascii().to_string();
        tree.insert(name, describe(entry.path()));
    }
    tree
}

fn describe(path: &Path) -> String {
    let m = path.symlink_metadata().unwrap();
    let kind = m.file_type();
    let content = if kind.is_file() {
        corten_unionfs::fixture::digest(&std::fs::read(path).unwrap())
    } else if kind.is_symlink() {
        format!("{:?}", std::fs::read_link(path).unwrap())
    } else {
        format!("device {:x}", m.rdev())
    };
    let xattrs: BTreeMap<_, _> = xattr::list(path)
        .unwrap()
        .filter(|name| !name.as_bytes().starts_with(b"trusted.overlay."))
        .filter(|name| name != "user.rootlesscontainers")
        .map(|name| (name.clone(), xattr::get(path, name).unwrap()))
        .collect();
    // Each file system counts the directories in a directory in its own way.
    let links = if kind.is_dir() { 0 } else { m.nlink() };
    let (owner, time) = ((m.uid(), m.gid()), (m.mtime(), m.mtime_nsec()));
    format!("{:o} {owner:?} {time:?} links {links} {content} {xattrs:?}", m.mode())
}

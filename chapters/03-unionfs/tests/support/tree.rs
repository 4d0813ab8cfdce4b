//! A tree as it can be compared: every entry with all that an image says about it.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Path, and a line that says everything about the entry.
pub type Tree = BTreeMap<String, String>;

/// Where a detached mount can be looked at. (Rust's `read_dir` needs the trailing component.)
pub fn of_mount(mount: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/thread-self/fd/{}/.", mount.as_raw_fd()))
}

/// Reads everything below `root`, and `root` itself.
pub fn read(root: &Path) -> Tree {
    let mut tree = Tree::new();
    for entry in walkdir::WalkDir::new(root).follow_links(false) {
        let entry = entry.unwrap();
        let path = entry.path();
        let inside = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
        tree.insert(inside.escape_ascii().to_string(), describe(path));
    }
    tree
}

fn describe(path: &Path) -> String {
    let m = path.symlink_metadata().unwrap();
    let kind = m.file_type();
    let content = if kind.is_file() {
        corten_unionfs::fixture::digest(&std::fs::read(path).unwrap())
    } else if kind.is_symlink() {
        std::fs::read_link(path).unwrap().display().to_string()
    } else if kind.is_char_device() || kind.is_block_device() {
        format!("device {:x}", m.rdev())
    } else {
        String::new()
    };
    // How many directories a directory has is counted by each file system in its own way.
    let links = if kind.is_dir() { 0 } else { m.nlink() };
    let mut xattrs: Vec<String> = xattr::list(path)
        .unwrap()
        .filter(|name| !name.as_bytes().starts_with(b"trusted.overlay."))
        // umoci's own, of the time when it could not be root.
        .filter(|name| name != "user.rootlesscontainers")
        .map(|name| {
            let value = xattr::get(path, &name).unwrap().unwrap();
            format!("{}={}", name.display(), value.escape_ascii())
        })
        .collect();
    xattrs.sort();
    format!(
        "{kind:?} {:o} {}:{} {}.{:09} links {links} {content} {xattrs:?}",
        m.mode(),
        m.uid(),
        m.gid(),
        m.mtime(),
        m.mtime_nsec()
    )
}

/// Fails with all differences.
pub fn assert_equal(found: &Tree, expected: &Tree) {
    let mut differences = String::new();
    for path in found.keys().chain(expected.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (found, expected) = (found.get(path), expected.get(path));
        if found != expected {
            differences
                .push_str(&format!("{path}\n  found    {found:?}\n  expected {expected:?}\n"));
        }
    }
    assert!(differences.is_empty(), "trees differ:\n{differences}");
}

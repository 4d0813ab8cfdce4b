//! Random trees: few names, so that two trees meet often.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use proptest::prelude::*;

/// One step of making a tree. A step that cannot be made is left out.
#[derive(Debug, Clone)]
pub struct Step {
    path: Vec<u8>,
    make: Make,
    mode: u32,
    owner: u32,
    time: (i64, i64),
    xattr: Option<u8>,
}

#[derive(Debug, Clone)]
enum Make {
    Directory,
    File(u8),
    Sparse,
    Symlink,
    Link(Vec<u8>),
    Device,
    Fifo,
    Remove,
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    let name = prop::sample::select(vec![&b"a"[..], b"b", b"c", b"\xff", b"d\n"]);
    prop::collection::vec(name, 1..4).prop_map(|names| names.join(&b'/'))
}

/// A handful of steps.
pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let make = prop_oneof![
        4 => Just(Make::Directory),
        4 => any::<u8>().prop_map(Make::File),
        1 => Just(Make::Sparse),
        1 => Just(Make::Symlink),
        2 => path().prop_map(Make::Link),
        1 => Just(Make::Device),
        1 => Just(Make::Fifo),
        3 => Just(Make::Remove),
    ];
    let mode = prop::sample::select(vec![0o644, 0o755, 0o4755, 0o1777, 0o2770, 0o000]);
    let time = (-5i64..5, prop::sample::select(vec![0i64, 1, 500_000_000, 999_999_999]));
    let step = (path(), make, mode, 0u32..3, time, prop::option::of(any::<u8>()));
    let step = step.prop_map(|(path, make, mode, owner, time, xattr)| Step {
        path,
        make,
        mode,
        owner,
        time,
        xattr,
    });
    prop::collection::vec(step, 0..most)
}

/// Makes the steps in `root`, a directory that no others reach.
pub fn play(root: &Path, steps: &[Step]) {
    for step in steps {
        let path = root.join(std::ffi::OsStr::from_bytes(&step.path));
        if let Some(parent) = path.parent() {
            let _ = fs::create_dir_all(parent);
        }
        if make(root, &path, &step.make).is_none() {
            continue;
        }
        let _ = std::os::unix::fs::lchown(&path, Some(step.owner), Some(step.owner * 7));
        let kind = path.symlink_metadata().unwrap().file_type();
        if !kind.is_symlink() {
            fs::set_permissions(&path, fs::Permissions::from_mode(step.mode)).unwrap();
        }
        if let (Some(value), true) = (step.xattr, kind.is_file() || kind.is_dir()) {
            xattr::set(&path, "user.x", &[value]).unwrap();
        }
        let (seconds, nanoseconds) = step.time;
        let time = TimeSpec::new(1_700_000_000 * (seconds & 1) + seconds, nanoseconds);
        let no = UtimensatFlags::NoFollowSymlink;
        utimensat(nix::fcntl::AT_FDCWD, &path, &time, &time, no).unwrap();
    }
}

fn make(root: &Path, path: &Path, make: &Make) -> Option<()> {
    let there = path.symlink_metadata().ok();
    match make {
        Make::Remove => {
            let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
            return None;
        }
        // An existing directory gets other attributes, which only it can.
        Make::Directory if there.as_ref().is_some_and(fs::Metadata::is_dir) => return Some(()),
        // A file is written to, under all its names.
        Make::File(byte) if there.as_ref().is_some_and(fs::Metadata::is_file) => {
            return fs::write(path, vec![*byte; usize::from(*byte % 3) * 3000]).ok();
        }
        _ if there.is_some() => return None,
        _ => {}
    }
    match make {
        Make::Directory => fs::create_dir(path).ok(),
        Make::File(byte) => fs::write(path, vec![*byte; usize::from(*byte % 3) * 3000]).ok(),
        Make::Sparse => {
            let file = fs::File::create(path).ok()?;
            file.write_all_at(b"data", 300_000).ok()?;
            file.set_len(1 << 20).ok()
        }
        Make::Symlink => symlink("some/where", path).ok(),
        Make::Link(other) => {
            let other = root.join(std::ffi::OsStr::from_bytes(other));
            other.symlink_metadata().ok().filter(|m| !m.is_dir())?;
            fs::hard_link(other, path).ok()
        }
        Make::Device => mknod(path, SFlag::S_IFCHR, Mode::S_IRUSR, 0x103).ok(),
        Make::Fifo => mknod(path, SFlag::S_IFIFO, Mode::S_IRUSR, 0).ok(),
        Make::Remove => None,
    }
}

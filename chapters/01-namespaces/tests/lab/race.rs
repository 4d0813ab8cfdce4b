//! A race for whoever resolves paths: names that change while they are walked through.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use corten_namespaces::Root;
use nix::fcntl::{AT_FDCWD, OFlag, RenameFlags};
use nix::sys::stat::Mode;

use super::Lab;

/// One thread swaps a directory and a symbolic link that leads outside, for as long as the other
/// walks through that name.
pub fn racing_renames(lab: &Lab, root: &Root) {
    let dir = lab.rootfs().join("race");
    fs::create_dir_all(dir.join("a/b")).unwrap();
    fs::write(dir.join("a/secret"), "inside\n").unwrap();
    symlink(lab.outside(), dir.join("link")).unwrap();
    symlink("../../../..", dir.join("up")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let swap = |a: &str, b: &str| {
                let (a, b) = (dir.join(a), dir.join(b));
                nix::fcntl::renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE)
            };
            while !stop.load(Ordering::Relaxed) {
                swap("a", "link").unwrap();
                swap("a", "up").unwrap();
            }
        });
        for _ in 0..3000 {
            for path in ["race/a/secret", "race/link/b/../secret", "race/up/b/../../a/secret"] {
                if let Ok(fd) = root.open_at(path, OFlag::O_RDONLY, Mode::empty()) {
                    let mut text = String::new();
                    File::from(fd).read_to_string(&mut text).unwrap();
                    assert_eq!(text, "inside\n", "{path} led out");
                }
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

//! What the tests of this crate share: scratch file systems, random trees, a stack of layers.
#![allow(dead_code, reason = "each test file uses its part")]

use std::path::{Path, PathBuf};
use std::process::Command;

use corten_unionfs::{
    BtrfsDriver, ChainId, CopyDriver, DiffId, Driver, FuseDriver, LayerStore, OverlayDriver,
    Wanted, fixture,
};

pub mod random;

/// A file system of its own in a mount namespace of its own, which this thread and all threads and
/// processes that it starts live in from now on. It is gone with the last of them.
pub struct Scratch {
    pub dir: tempfile::TempDir,
}

impl Scratch {
    /// btrfs in a file.
    pub fn btrfs() -> Scratch {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(512 << 20).unwrap();
        run(Command::new("mkfs.btrfs").arg("-q").arg(&image));
        own_mounts();
        let at = dir.path().join("at");
        std::fs::create_dir(&at).unwrap();
        let mut mount = Command::new("/usr/bin/mount");
        run(mount.args(["-t", "btrfs", "-o", "loop"]).arg(&image).arg(&at));
        Scratch { dir }
    }

    /// In memory.
    pub fn tmpfs() -> Scratch {
        let dir = tempfile::tempdir().unwrap();
        own_mounts();
        let at = dir.path().join("at");
        std::fs::create_dir(&at).unwrap();
        run(Command::new("/usr/bin/mount").args(["-t", "tmpfs", "scratch"]).arg(&at));
        Scratch { dir }
    }

    /// An overlay, on which overlay takes no upper directory.
    pub fn overlay() -> Scratch {
        let scratch = Scratch::tmpfs();
        let base = scratch.path().join("base");
        for name in ["lower", "upper", "work", "at"] {
            std::fs::create_dir_all(base.join(name)).unwrap();
        }
        let options = "lowerdir=lower,upperdir=upper,workdir=work";
        let mut mount = Command::new("/usr/bin/mount");
        run(mount.current_dir(&base).args(["-t", "overlay", "scratch", "-o", options, "at"]));
        scratch
    }

    /// Where [`Scratch::overlay`] has its overlay.
    pub fn on_overlay(&self) -> PathBuf {
        self.path().join("base/at")
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("at")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // The loop device goes with the mount.
        run(Command::new("/usr/bin/umount").arg("-l").arg(self.path()));
    }
}

/// Puts this thread into a mount namespace of its own, from which no mount spreads.
pub fn own_mounts() {
    use nix::mount::MsFlags;
    corten_namespaces::sys::unshare(libc::CLONE_NEWNS | libc::CLONE_FS).unwrap();
    let none = None::<&str>;
    nix::mount::mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// All drivers, which must work in `dir`: on btrfs all do.
pub fn drivers(dir: &Path) -> Vec<Box<dyn Driver>> {
    for probe in corten_unionfs::driver::probe(dir) {
        assert!(probe.verdict.is_ok(), "{probe:?}");
    }
    vec![
        Box::new(OverlayDriver::default()),
        Box::new(FuseDriver),
        Box::new(BtrfsDriver),
        Box::new(CopyDriver),
    ]
}

/// Unpacks plain layers, bottom first, several at a time; gives the topmost.
pub fn unpack(store: &LayerStore, layers: &[Vec<u8>]) -> ChainId {
    let wanted: Vec<Wanted> = layers
        .iter()
        .map(|layer| {
            let diff_id: DiffId = fixture::digest(layer).parse().unwrap();
            Wanted { diff_id, compression: corten_unionfs::Compression::Detect }
        })
        .collect();
    let made = store.ensure_all(None, &wanted, 4, |at| Ok(&layers[at][..])).unwrap();
    made.last().unwrap().chain_id
}

/// The tree of `layers` with `driver`, in a store below `dir`.
pub fn merged(driver: Box<dyn Driver>, dir: &Path, layers: &[Vec<u8>]) -> fixture::tree::Tree {
    let store = LayerStore::open_with(dir, driver).unwrap();
    let top = unpack(&store, layers);
    let mount = store.driver().mount(&store.lower_dirs(&top).unwrap(), None).unwrap();
    fixture::tree::read(&fixture::tree::of_mount(&mount))
}

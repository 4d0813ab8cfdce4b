//! A diff, applied to what it was made from, gives what it was made of; and the same change gives the
//! same bytes.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use corten_namespaces::Root;
use corten_unionfs::diff::{LayerWriter, Listing, of_tree, of_trees};
use corten_unionfs::fixture::tree::{self, Tree};
use corten_unionfs::{
    Compression, Driver, FuseDriver, LayerStore, Options, Overlay, OverlayDriver, apply, copy,
    fixture, merge,
};
use lab::random::{Step, play, steps};
use proptest::prelude::*;

fn directory(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    fs::create_dir(&path).unwrap();
    path
}

fn root(path: &Path) -> Root {
    Root::open(path).unwrap()
}

fn compared(old: &Path, new: &Path) -> Vec<u8> {
    let mut layer = LayerWriter::new(Vec::new());
    of_trees(&root(old), &root(new), &mut layer).unwrap();
    let (bytes, written) = layer.finish().unwrap();
    assert_eq!(written.diff_id.to_string(), fixture::digest(&bytes));
    assert_eq!(written.bytes, bytes.len() as u64);
    bytes
}

fn unpacked(layer: &[u8], dir: &Path, lower: &Path) -> bool {
    let options = Options { lower: vec![root(lower)], ..Options::default() };
    apply(layer, Compression::None, &root(dir), &options).unwrap().opaque_root
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..Default::default() }
}

#[corten_tier::t1]
fn a_diff_applied_to_the_old_tree_gives_the_new_one() {
    proptest!(config(60), |(first in steps(14), second in steps(14))| {
        let dir = tempfile::tempdir().unwrap();
        let old = directory(dir.path(), "old");
        play(&old, &first);
        let new = directory(dir.path(), "new");
        copy::copy_tree(&root(&old), &root(&new)).unwrap();
        tree::assert_equal(&tree::read(&new), &tree::read(&old));
        prop_assert!(compared(&old, &new).len() == 1024, "a copy differs from its original");
        play(&new, &second);
        let expected = tree::read(&new);
        let layer = compared(&old, &new);
        // As overlay stacks it.
        let changes = directory(dir.path(), "changes");
        let opaque = unpacked(&layer, &changes, &old);
        prop_assert!(!opaque);
        let lower = vec![changes.clone(), old.clone()];
        let overlay =
            Overlay { lower, writable: None, xattr: Default::default(), copyup: Default::default() };
        let mount = overlay.mount().unwrap();
        tree::assert_equal(&tree::read(&tree::of_mount(&mount)), &expected);
        drop(mount);
        // As the other drivers merge it.
        merge::merge(&root(&changes), &root(&old), false).unwrap();
        tree::assert_equal(&tree::read(&old), &expected);
    });
}

/// A container of `driver` lives on what `first` makes, and does what `second` says. Its tree and the one
/// that is packed and unpacked are compared as far as `compared` leaves them.
fn lived(driver: &dyn Driver, first: &[Step], second: &[Step], compared: impl Fn(Tree) -> Tree) {
    let dir = tempfile::tempdir().unwrap();
    let old = directory(dir.path(), "old");
    play(&old, first);
    let options = || Options {
        marks: driver.marks(),
        separate_names: !driver.keeps_links(),
        ..Options::default()
    };
    let old = match driver.keeps_links() {
        true => old,
        false => {
            let mut layer = LayerWriter::new(Vec::new());
            of_tree(&root(&old), &mut layer).unwrap();
            let unpacked = directory(dir.path(), "unpacked");
            let layer = layer.finish().unwrap().0;
            apply(&layer[..], Compression::None, &root(&unpacked), &options()).unwrap();
            unpacked
        }
    };
    let container = directory(dir.path(), "container");
    let layers = [old.clone()];
    let mount = driver.mount(&layers, Some(&container)).unwrap();
    play(&PathBuf::from(format!("/proc/thread-self/fd/{}/.", mount.as_raw_fd())), second);
    let expected = tree::read(&tree::of_mount(&mount));
    drop(mount);
    let mut layer = LayerWriter::new(Vec::new());
    driver.diff(&layers, &container, &mut layer).unwrap();
    let (layer, _) = layer.finish().unwrap();
    let changes = directory(dir.path(), "changes");
    let lower = vec![root(&old)];
    let options = Options { lower, ..options() };
    apply(&layer[..], Compression::None, &root(&changes), &options).unwrap();
    let mount = driver.mount(&[changes, old], None).unwrap();
    tree::assert_equal(&compared(tree::read(&tree::of_mount(&mount))), &compared(expected));
}

#[corten_tier::t1]
fn an_upper_directory_packed_and_applied_gives_the_merged_tree() {
    proptest!(config(60), |(first in steps(14), second in steps(14), copyup in any::<bool>())| {
        let copyup = if copyup { corten_unionfs::overlay::Copyup::of_kernel() } else { Default::default() };
        let driver = OverlayDriver { copyup, ..OverlayDriver::default() };
        lived(&driver, &first, &second, |tree| tree);
    });
}

#[corten_tier::t1]
fn what_fuse_overlayfs_wrote_packed_and_applied_gives_the_merged_tree() {
    proptest!(config(60), |(first in steps(14), second in steps(14))| {
        // It has a file for each name, and counts of a container's own links those that it has come across.
        let compared = |tree| tree::without_links(without_times_of_directories(tree));
        lived(&FuseDriver, &first, &second, compared);
    });
}

/// fuse-overlayfs lets a directory have a new time when it copies something up in it, and the kernel
/// keeps the old one until it asks again.
fn without_times_of_directories(mut tree: Tree) -> Tree {
    for line in tree.values_mut().filter(|line| line.contains("is_dir: true")) {
        let (before, after) = line.split_once(" links ").unwrap();
        let (before, _time) = before.rsplit_once(' ').unwrap();
        *line = format!("{before} links {after}");
    }
    tree
}

#[corten_tier::t1]
fn the_same_tree_gives_the_same_bytes_wherever_it_lies() {
    proptest!(config(30), |(first in steps(20))| {
        let dir = tempfile::tempdir().unwrap();
        let one = directory(dir.path(), "one");
        play(&one, &first);
        // The times of the root and of unlisted parents are those of the making.
        let two = directory(dir.path(), "two");
        copy::copy_tree(&root(&one), &root(&two)).unwrap();
        let pack = |path: &Path| {
            let mut layer = LayerWriter::new(Vec::new());
            of_tree(&root(path), &mut layer).unwrap();
            layer.finish().unwrap().1.diff_id
        };
        prop_assert_eq!(pack(&one), pack(&two));
    });
}

#[corten_tier::t1]
fn every_driver_tells_the_same_changes() {
    let scratch = lab::Scratch::btrfs();
    let layers = fixture::image_of_everything();
    let mut listings = Vec::new();
    for driver in lab::drivers(&scratch.path()) {
        let name = driver.name();
        let dir = directory(&scratch.path(), name);
        let store = LayerStore::open_with(dir.join("layers"), driver).unwrap();
        let lower = store.lower_dirs(&lab::unpack(&store, &layers)).unwrap();
        let container = directory(&dir, "container");
        let mut nothing = Listing::default();
        store.driver().diff(&lower, &container, &mut nothing).unwrap();
        assert!(nothing.lines.is_empty(), "{name}: {nothing:?}");
        let mount = store.driver().mount(&lower, Some(&container)).unwrap();
        let mut unchanged = Listing::default();
        store.driver().diff(&lower, &container, &mut unchanged).unwrap();
        assert!(unchanged.lines.is_empty(), "{name}: {unchanged:?}");
        let at = tree::of_mount(&mount);
        fs::write(at.join("etc/new"), "new").unwrap();
        fs::remove_file(at.join("etc/hosts")).unwrap();
        fs::write(at.join("bin/su"), "other").unwrap();
        fs::remove_dir_all(at.join("opaque")).unwrap();
        fs::create_dir(at.join("opaque")).unwrap();
        fs::write(at.join("opaque/again"), "x").unwrap();
        let mut listing = Listing::default();
        store.driver().diff(&lower, &container, &mut listing).unwrap();
        let lines: Vec<String> = listing
            .lines
            .iter()
            .map(|(letter, path)| format!("{letter} {}", path.display()))
            .collect();
        for wanted in ["A /etc/new", "D /etc/hosts", "C /bin/su", "C /opaque", "A /opaque/again"] {
            assert!(lines.iter().any(|line| line == wanted), "{name}: {wanted} not in {lines:#?}");
        }
        assert!(!lines.iter().any(|line| line.contains("dev")), "{name}: {lines:#?}");
        // Packed, unpacked on top, and still the same tree.
        let expected = tree::read(&at);
        drop(mount);
        let mut layer = LayerWriter::new(Vec::new());
        store.driver().diff(&lower, &container, &mut layer).unwrap();
        let mut more = layers.clone();
        more.push(layer.finish().unwrap().0);
        let top = lab::unpack(&store, &more);
        let mount = store.driver().mount(&store.lower_dirs(&top).unwrap(), None).unwrap();
        tree::assert_equal(&tree::read(&tree::of_mount(&mount)), &expected);
        drop(mount);
        listings.push(lines);
    }
    // In overlay's upper directory lies one thing more or less than in a comparison: an opaque
    // directory hides what a comparison tells name by name.
    let made = |lines: &Vec<String>| -> Vec<String> {
        lines.iter().filter(|line| !line.starts_with('D')).cloned().collect()
    };
    let [overlay, fuse, btrfs, copy] = &listings[..] else { panic!("four drivers: {listings:?}") };
    assert_eq!(made(overlay), made(btrfs));
    assert_eq!(copy, btrfs);
    // fuse-overlayfs lets a directory have a new time when it copies a file up in it.
    let mut fuse = made(fuse);
    fuse.retain(|line| line != "C /bin");
    assert_eq!(made(overlay), fuse);
}

#[corten_tier::t1]
fn a_renamed_directory_is_packed_with_all_that_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let old = directory(dir.path(), "old");
    fs::create_dir_all(old.join("dir/sub")).unwrap();
    fs::write(old.join("dir/sub/file"), "below").unwrap();
    fs::write(old.join("big"), vec![1; 100_000]).unwrap();
    let container = directory(dir.path(), "container");
    let copyup = corten_unionfs::overlay::Copyup::of_kernel();
    let driver = OverlayDriver { copyup, ..OverlayDriver::default() };
    let layers = [old.clone()];
    let mount = driver.mount(&layers, Some(&container)).unwrap();
    let at = tree::of_mount(&mount);
    fs::rename(at.join("dir"), at.join("moved")).unwrap();
    std::os::unix::fs::chown(at.join("big"), Some(5), None).unwrap();
    let blocks = std::os::unix::fs::MetadataExt::blocks(
        &container.join("upper/big").symlink_metadata().unwrap(),
    );
    assert!(blocks < 100, "chown has copied the content: {blocks} blocks");
    assert!(!container.join("upper/moved/sub").exists(), "rename has copied the directory");
    let expected = tree::read(&at);
    drop(mount);
    let mut layer = LayerWriter::new(Vec::new());
    driver.diff(&layers, &container, &mut layer).unwrap();
    let changes = directory(dir.path(), "changes");
    unpacked(&layer.finish().unwrap().0, &changes, &old);
    let mount = driver.mount(&[changes, old], None).unwrap();
    tree::assert_equal(&tree::read(&tree::of_mount(&mount)), &expected);
}

#[corten_tier::t1]
fn gnu_tar_and_umoci_read_our_layers() {
    let dir = tempfile::tempdir().unwrap();
    let made = directory(dir.path(), "made");
    let everything = fixture::image_of_everything().swap_remove(0);
    let options = Options { bottom: true, ..Options::default() };
    apply(&everything[..], Compression::None, &root(&made), &options).unwrap();
    let sparse = fs::File::create(made.join("sparse")).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"end", 10 << 20).unwrap();
    let mut layer = LayerWriter::new(Vec::new());
    of_tree(&root(&made), &mut layer).unwrap();
    let (layer, _) = layer.finish().unwrap();
    assert!(layer.len() < 3 << 20, "the hole is packed: {} bytes", layer.len());
    let expected = tree::read(&made);

    let file = dir.path().join("layer.tar");
    fs::write(&file, &layer).unwrap();
    let by_tar = directory(dir.path(), "tar");
    let mut tar = std::process::Command::new("tar");
    tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]).arg(&file);
    lab::run(tar.arg("-C").arg(&by_tar));
    tree::assert_equal(&tree::read(&by_tar), &expected);

    fixture::oci_layout(&dir.path().join("oci"), "test", &[layer], serde_json::json!({}));
    let image = format!("{}:test", dir.path().join("oci").display());
    let bundle = dir.path().join("bundle");
    lab::run(std::process::Command::new("umoci").args(["unpack", "--image", &image]).arg(&bundle));
    tree::assert_equal(&tree::read(&bundle.join("rootfs")), &expected);
}

/// A hard link means an earlier entry of its own layer, so a file goes with all its names or none.
#[corten_tier::t1]
fn a_new_name_of_an_old_file_is_packed_with_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (directory(dir.path(), "old"), directory(dir.path(), "new"));
    fs::write(old.join("a"), "content").unwrap();
    copy::copy_tree(&root(&old), &root(&new)).unwrap();
    fs::hard_link(new.join("a"), new.join("b")).unwrap();
    let layer = compared(&old, &new);
    let expected = tree::read(&new);
    let changes = directory(dir.path(), "changes");
    unpacked(&layer, &changes, &old);
    merge::merge(&root(&changes), &root(&old), false).unwrap();
    tree::assert_equal(&tree::read(&old), &expected);
}

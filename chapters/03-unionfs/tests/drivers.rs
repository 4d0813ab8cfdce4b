//! The four drivers make the same trees, and the probe says which of them work where.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use corten_namespaces::Root;
use corten_unionfs::fixture::tree;
use corten_unionfs::{
    BtrfsDriver, CopyDriver, Driver, LayerStore, Overlay, Writable, copy, driver, fixture,
};

#[corten_tier::t1]
fn every_driver_makes_the_same_tree() {
    let scratch = lab::Scratch::btrfs();
    let layers = fixture::image_of_everything();
    let (mut trees, mut separate) = (Vec::new(), Vec::new());
    for driver in lab::drivers(&scratch.path()) {
        let dir = scratch.path().join(driver.name());
        let to = if driver.keeps_links() { &mut trees } else { &mut separate };
        to.push(lab::merged(driver, &dir, &layers));
    }
    assert_eq!((trees.len(), separate.len()), (3, 1));
    trees.iter().for_each(|tree| tree::assert_equal(tree, &trees[0]));
    let [separate] = separate.try_into().unwrap();
    tree::assert_equal(&tree::without_links(separate), &tree::without_links(trees[0].clone()));
    // And on a file system that shares no blocks.
    let elsewhere = tempfile::tempdir().unwrap();
    let tree = lab::merged(Box::new(CopyDriver), &elsewhere.path().join("layers"), &layers);
    tree::assert_equal(&tree, &trees[0]);
}

#[corten_tier::t1]
fn a_layer_is_not_changed_by_the_container_on_it() {
    let scratch = lab::Scratch::btrfs();
    let layers = fixture::image_of_everything();
    for driver in lab::drivers(&scratch.path()) {
        let dir = scratch.path().join(format!("own-{}", driver.name()));
        let store = LayerStore::open_with(dir.join("layers"), driver).unwrap();
        let lower = store.lower_dirs(&lab::unpack(&store, &layers)).unwrap();
        let container = dir.join("container");
        fs::create_dir(&container).unwrap();
        let read_only = store.driver().mount(&lower, None).unwrap();
        let before = tree::read(&tree::of_mount(&read_only));
        let error = fs::write(tree::of_mount(&read_only).join("etc/hosts"), "x").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
        for round in ["first", "second"] {
            let mount = store.driver().mount(&lower, Some(&container)).unwrap();
            let at = tree::of_mount(&mount);
            // What the last mount has written is found again.
            let hosts = fs::read_to_string(at.join("etc/hosts")).unwrap();
            assert_eq!(hosts == "first", round == "second");
            fs::write(at.join("etc/hosts"), round).unwrap();
            fs::remove_dir_all(at.join("bin")).ok();
        }
        tree::assert_equal(&tree::read(&tree::of_mount(&read_only)), &before);
    }
}

#[corten_tier::t1]
fn snapshots_and_clones_take_no_room() {
    let scratch = lab::Scratch::btrfs();
    let dir = scratch.path();
    let used = || {
        lab::run(std::process::Command::new("sync").arg("-f").arg(&dir));
        let stat = nix::sys::statvfs::statvfs(&dir).unwrap();
        (stat.blocks() - stat.blocks_free()) * stat.fragment_size()
    };
    let bottom = dir.join("bottom");
    BtrfsDriver.begin(&bottom, None).unwrap();
    let content: Vec<u8> =
        (0..20u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(bottom.join("diff/big"), content).unwrap();
    let before = used();
    BtrfsDriver.begin(&dir.join("snapshot"), Some(&bottom)).unwrap();
    CopyDriver.begin(&dir.join("copy"), Some(&bottom)).unwrap();
    assert_eq!(fs::metadata(dir.join("copy/diff/big")).unwrap().len(), 20 << 20);
    let more = used() - before;
    assert!(more < 4 << 20, "{more} bytes more for a snapshot and a clone of 20 MiB");
    BtrfsDriver.discard(&dir.join("snapshot")).unwrap();
    assert!(!dir.join("snapshot").exists());
}

#[corten_tier::t1]
fn a_copy_keeps_holes_links_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("from"), dir.path().join("to"));
    fs::create_dir(&from).unwrap();
    fs::create_dir(&to).unwrap();
    lab::random::play(&from, &[]);
    let file = fs::File::create(from.join("sparse")).unwrap();
    file.set_len(64 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"x", 32 << 20).unwrap();
    fs::hard_link(from.join("sparse"), from.join("again")).unwrap();
    let copied = copy::copy_tree(&Root::open(&from).unwrap(), &Root::open(&to).unwrap()).unwrap();
    tree::assert_equal(&tree::read(&to), &tree::read(&from));
    assert!(copied.shared == 1 || copied.bytes < 1 << 20, "{copied:?}");
    assert!(to.join("sparse").metadata().unwrap().blocks() < 1000);
}

fn verdict(dir: &Path, driver: &str) -> Result<String, String> {
    driver::probe(dir).into_iter().find(|probe| probe.driver == driver).unwrap().verdict
}

#[corten_tier::t1]
fn the_probe_says_what_works_and_why_not() {
    let dir = tempfile::tempdir().unwrap();
    assert!(verdict(dir.path(), "overlay").unwrap().contains("trusted xattrs"));
    assert!(verdict(dir.path(), "btrfs").unwrap_err().contains("no btrfs"));
    assert!(verdict(dir.path(), "copy").is_ok());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "the probe has left something");
    let (driver, _) = driver::choose(dir.path()).unwrap();
    assert_eq!(driver.name(), "overlay");

    let scratch = lab::Scratch::btrfs();
    assert_eq!(verdict(&scratch.path(), "btrfs").unwrap(), "subvolumes and snapshots");
    assert!(verdict(&scratch.path(), "copy").unwrap().contains("share their blocks"));
    // On procfs nothing can be made, and the message says which call failed.
    let nowhere = driver::choose(Path::new("/proc")).unwrap_err().to_string();
    assert!(nowhere.contains("overlay: no: mkdir") && nowhere.contains("copy: no"), "{nowhere}");
}

#[corten_tier::t1]
fn a_store_keeps_its_driver() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("layers");
    drop(LayerStore::open_with(&path, Box::new(CopyDriver)).unwrap());
    assert_eq!(LayerStore::open(&path).unwrap().driver().name(), "copy");
    let error = LayerStore::open_with(&path, Box::new(BtrfsDriver)).unwrap_err().to_string();
    assert!(error.contains("its layers are copy's, not btrfs's"), "{error}");
}

/// In a user namespace overlay works with marks that its root may set, and nothing else.
#[corten_tier::t1]
fn overlay_in_a_user_namespace_uses_user_xattrs() {
    let dir = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_corten-unionfs");
    let layers = fixture::image_of_everything();
    // Without devices and trusted xattrs, which nobody may make there.
    let bottom = fixture::LayerBuilder::new().dir("d", 0o755).file("d/below", 0o644, "x").build();
    let top = fixture::LayerBuilder::new();
    let top = top.dir("d", 0o755).whiteout("d/.wh..wh..opq").file("d/above", 0o644, "y").build();
    assert!(layers.len() > 2);
    fs::write(dir.path().join("bottom.tar"), bottom).unwrap();
    fs::write(dir.path().join("top.tar"), top).unwrap();
    let script = format!(
        "set -e; cd {}; {program} apply bottom.tar b; {program} apply --userxattr --lower b top.tar t;\
         mkdir u w m; {program} mount --userxattr --lower t:b --upper u --work w m -- sh -c 'ls m/d; rm -r m/d; mkdir m/d';\
         {program} mount --userxattr --lower u:t:b m -- ls -A m/d",
        dir.path().display()
    );
    let said = lab::run(std::process::Command::new("unshare").args([
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        &script,
    ]));
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("sha256:")).collect();
    assert_eq!(lines, ["above"], "{said}");
    let mark = xattr::get(dir.path().join("u/d"), "user.overlay.opaque").unwrap();
    assert_eq!(mark.as_deref(), Some(&b"y"[..]));
}

/// Both ways of telling overlay its layers take paths as they are given, also the one whose thread
/// works in another directory.
#[corten_tier::t1]
fn relative_paths_are_those_of_the_caller() {
    let dir = tempfile::tempdir().unwrap();
    let depth = std::env::current_dir().unwrap().components().count() - 1;
    let inside = dir.path().strip_prefix("/").unwrap();
    let relative = |name: &str| Path::new(&"../".repeat(depth)).join(inside).join(name);
    let mut lower = Vec::new();
    for name in ["top", "bottom"] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("file"), name).unwrap();
        lower.push(relative(name));
    }
    for old in [false, true] {
        let place = format!("container-{old}");
        fs::create_dir(dir.path().join(&place)).unwrap();
        let writable = Some(Writable::prepare(&relative(&place), &lower).unwrap());
        let overlay = Overlay {
            lower: lower.clone(),
            writable,
            xattr: Default::default(),
            copyup: Default::default(),
        };
        let mount = if old { overlay.mount_in_thread() } else { overlay.mount() }.unwrap();
        let root = tree::of_mount(&mount);
        assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "top");
    }
}

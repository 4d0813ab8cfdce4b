//! The solutions of the exercises of chapter 3, each put to the test.
#![allow(clippy::unwrap_used)]

#[path = "../examples/returns.rs"]
#[allow(dead_code)]
mod returns;
#[path = "../examples/squash.rs"]
#[allow(dead_code)]
mod squash;
#[path = "../examples/tampered.rs"]
#[allow(dead_code)]
mod tampered;
#[path = "../examples/waste.rs"]
#[allow(dead_code)]
mod waste;

mod lab;

use std::fs;
use std::path::PathBuf;

use corten_unionfs::fixture::{self, LayerBuilder, tree};
use corten_unionfs::{Driver, LayerStore, OverlayDriver};

fn stack(dir: &std::path::Path, layers: &[Vec<u8>]) -> Vec<PathBuf> {
    let store = LayerStore::open(dir).unwrap();
    let top = lab::unpack(&store, layers);
    store.lower_dirs(&top).unwrap()
}

#[corten_tier::t1]
fn exercise_1_one_layer_shows_what_the_stack_shows() {
    let dir = tempfile::tempdir().unwrap();
    let layers = stack(&dir.path().join("layers"), &fixture::image_of_everything());
    let mut squashed = Vec::new();
    squash::squash(&layers, &mut squashed).unwrap();
    let one = stack(&dir.path().join("squashed"), &[squashed]);
    assert_eq!(one.len(), 1);
    let show = |layers: &[PathBuf]| {
        let mount = OverlayDriver::default().mount(layers, None).unwrap();
        tree::read(&tree::of_mount(&mount))
    };
    tree::assert_equal(&show(&one), &show(&layers));
}

#[corten_tier::t1]
fn exercise_2_what_is_hidden_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let bottom = LayerBuilder::new()
        .file("replaced", 0o644, vec![1; 100])
        .file("deleted", 0o644, vec![1; 20])
        .file("kept", 0o644, vec![1; 3])
        .dir("opaque", 0o755)
        .file("opaque/below", 0o644, vec![1; 4000])
        .build();
    let middle = LayerBuilder::new().file("replaced", 0o644, vec![1; 7]).whiteout(".wh.deleted");
    let top = LayerBuilder::new().dir("opaque", 0o755).whiteout("opaque/.wh..wh..opq");
    let top = top.file("replaced", 0o644, "").build();
    let layers = stack(dir.path(), &[bottom, middle.build(), top]);
    assert_eq!(waste::waste(&layers).unwrap(), [0, 7, 4120]);
}

#[corten_tier::t1]
fn exercise_3_every_touch_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let layer = fixture::image_of_everything().swap_remove(0);
    let dirs = stack(&dir.path().join("layers"), std::slice::from_ref(&layer));
    let check = || {
        let scratch = tempfile::tempdir_in(dir.path()).unwrap();
        tampered::tampered(&layer[..], &dirs[0], scratch.path()).unwrap()
    };
    assert_eq!(check(), []);
    let hosts = dirs[0].join("etc/hosts");
    let times = fs::metadata(&hosts).unwrap().modified().unwrap();
    // Of the same length, with the same time.
    fs::write(&hosts, "127.0.0.1 lacalhost\n").unwrap();
    fs::File::options().write(true).open(&hosts).unwrap().set_modified(times).unwrap();
    assert_eq!(check(), [('C', PathBuf::from("/etc/hosts"))]);
}

#[corten_tier::t1]
fn exercise_4_the_broken_layer_brings_files_back_and_the_mended_one_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let bottom = LayerBuilder::new().dir("d", 0o755).file("d/old", 0o644, "x").build();
    let layers = stack(&dir.path().join("layers"), std::slice::from_ref(&bottom));
    let container = dir.path().join("container");
    fs::create_dir(&container).unwrap();
    let mount = OverlayDriver::default().mount(&layers, Some(&container)).unwrap();
    let at = tree::of_mount(&mount);
    fs::remove_dir_all(at.join("d")).unwrap();
    fs::create_dir(at.join("d")).unwrap();
    fs::write(at.join("d/new"), "y").unwrap();
    drop(mount);
    let names = |name: &str, layer: Vec<u8>| {
        let dirs = stack(&dir.path().join(name), &[bottom.clone(), layer]);
        let mount = OverlayDriver::default().mount(&dirs, None).unwrap();
        let names = fs::read_dir(tree::of_mount(&mount).join("d")).unwrap();
        let mut names: Vec<_> = names.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names("broken", returns::broken(&container, &layers).unwrap()), ["new", "old"]);
    assert_eq!(names("mended", returns::mended(&container, &layers).unwrap()), ["new"]);
}

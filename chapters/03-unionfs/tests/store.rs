//! The layer store: what crashes leave, who keeps a layer, what images take.
#![allow(clippy::unwrap_used)]

mod lab;

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use corten_unionfs::fixture::{self, LayerBuilder};
use corten_unionfs::{ChainId, Compression, DiffId, Error, LayerStore};

fn layer(name: &str, size: usize) -> Vec<u8> {
    LayerBuilder::new().file(name, 0o644, vec![7; size]).build()
}

fn ensure(store: &LayerStore, parent: Option<&ChainId>, layer: &[u8]) -> ChainId {
    let diff_id: DiffId = fixture::digest(layer).parse().unwrap();
    store.ensure(parent, &diff_id, Compression::None, layer).unwrap().chain_id
}

fn nothing() -> Result<HashSet<ChainId>, Error> {
    Ok(HashSet::new())
}

#[corten_tier::t1]
fn collection_keeps_what_is_used_and_all_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path().join("layers")).unwrap();
    let a = ensure(&store, None, &layer("a", 1));
    let ab = ensure(&store, Some(&a), &layer("b", 1));
    let abc = ensure(&store, Some(&ab), &layer("c", 1));
    let ad = ensure(&store, Some(&a), &layer("d", 1));
    let removed = store.collect(|| Ok::<_, Error>(HashSet::from([ab]))).unwrap();
    // From the top.
    assert_eq!(HashSet::from_iter(removed), HashSet::from([abc, ad]));
    assert_eq!(store.lower_dirs(&ab).unwrap().len(), 2);
    let removed = store.collect(nothing).unwrap();
    assert_eq!(removed, [ab, a], "a layer went before the one on it");
    assert!(store.list().unwrap().is_empty());
}

#[corten_tier::t1]
fn a_lease_keeps_layers_until_its_process_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path().join("layers")).unwrap();
    let a = ensure(&store, None, &layer("a", 1));
    let ab = ensure(&store, Some(&a), &layer("b", 1));
    let lease = store.lease(&[ab]).unwrap();
    assert!(store.collect(nothing).unwrap().is_empty());
    // Another process that opens the store takes neither the layers nor the lease.
    let other = LayerStore::open(dir.path().join("layers")).unwrap();
    assert!(other.collect(nothing).unwrap().is_empty());
    drop(lease);
    assert_eq!(store.collect(nothing).unwrap().len(), 2);
    // What a killed process leaves is a file that nobody has locked.
    let a = ensure(&store, None, &layer("a", 1));
    fs::write(store.path().join(".lease-1-0"), format!("{a}\n")).unwrap();
    assert_eq!(store.collect(nothing).unwrap(), [a]);
    assert!(!store.path().join(".lease-1-0").exists());
}

#[corten_tier::t1]
fn layers_that_are_being_unpacked_are_not_collected() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path().join("layers")).unwrap();
    let a = ensure(&store, None, &layer("a", 1));
    let b = layer("b", 100_000);
    let diff_id: DiffId = fixture::digest(&b).parse().unwrap();
    // A stream that collects in its middle.
    struct Meddling<'a>(&'a [u8], &'a LayerStore);
    impl std::io::Read for Meddling<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            assert!(self.1.collect(nothing).unwrap().is_empty());
            self.0.read(buffer)
        }
    }
    let made = store.ensure(Some(&a), &diff_id, Compression::None, Meddling(&b, &store)).unwrap();
    assert_eq!(store.lower_dirs(&made.chain_id).unwrap().len(), 2);
}

#[corten_tier::t1]
fn usage_counts_a_shared_layer_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path().join("layers")).unwrap();
    let base = ensure(&store, None, &layer("base", 1 << 20));
    let one = ensure(&store, Some(&base), &layer("one", 2 << 20));
    let two = ensure(&store, Some(&base), &layer("two", 3 << 20));
    let alone = ensure(&store, None, &layer("alone", 4 << 20));
    let usage = store.usage(&[vec![base, one], vec![base, two]]).unwrap();
    let mib = |bytes: u64| bytes >> 20;
    let seen: Vec<_> = usage.images.iter().map(|i| (mib(i.shared), mib(i.unique))).collect();
    assert_eq!(seen, [(1, 2), (1, 3)]);
    assert_eq!((mib(usage.total), mib(usage.unused)), (10, 4));
    assert_eq!(mib(store.size_on_disk(&alone).unwrap()), 4);
}

#[corten_tier::t1]
fn layers_side_by_side_equal_layers_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let layers = fixture::image_of_everything();
    let store = LayerStore::open(dir.path().join("one")).unwrap();
    let mut parent = None;
    for layer in &layers {
        parent = Some(ensure(&store, parent.as_ref(), layer));
    }
    let other = LayerStore::open(dir.path().join("other")).unwrap();
    let top = lab::unpack(&other, &layers);
    assert_eq!(Some(top), parent);
    for (one, other) in store.lower_dirs(&top).unwrap().iter().zip(other.lower_dirs(&top).unwrap())
    {
        // A whiteout has the time of its making, which nobody sees.
        let read = |path: &Path| {
            let mut tree = fixture::tree::read(path);
            tree.retain(|_, line| !line.contains(" 20000 0:0 "));
            tree
        };
        fixture::tree::assert_equal(&read(one), &read(&other));
    }
}

#[corten_tier::t1]
fn a_bad_layer_leaves_the_good_ones_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = LayerStore::open(dir.path().join("layers")).unwrap();
    let layers = [layer("a", 10), layer("b", 10), layer("c", 10)];
    let wanted: Vec<_> = layers
        .iter()
        .map(|layer| corten_unionfs::Wanted {
            diff_id: fixture::digest(layer).parse().unwrap(),
            compression: Compression::None,
        })
        .collect();
    // The second is cut off.
    let error = store
        .ensure_all(None, &wanted, 3, |at| {
            Ok(if at == 1 { &layers[1][..700] } else { &layers[at] })
        })
        .unwrap_err();
    assert!(error.is_refusal(), "{error}");
    assert_eq!(store.list().unwrap().len(), 1);
    let left = fs::read_dir(store.path()).unwrap().flatten();
    assert!(!left.map(|e| e.file_name()).any(|name| name.to_string_lossy().starts_with(".tmp")));
}

/// Kills the program at moments spread over the time that it takes, and looks at what is left.
#[corten_tier::t1]
fn killed_at_any_moment_a_layer_is_complete_or_absent() {
    // In memory: syncfs(2) would wait for whatever else this machine writes.
    let dir = lab::Scratch::tmpfs();
    let path = dir.path().join("layers");
    let layers = [big_layer(0), big_layer(1)];
    let mut files = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        let file = dir.path().join(format!("{at}.tar.gz"));
        fs::write(&file, fixture::compress(layer, Compression::Gzip)).unwrap();
        files.push(file);
    }
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_corten-unionfs"));
        command.arg("store").arg(&path).arg("add").args(&files).stdout(Stdio::null());
        command
    };
    let start = std::time::Instant::now();
    assert!(command().status().unwrap().success());
    let whole = start.elapsed();
    let expected = contents(&path);
    assert_eq!(expected.len(), 2);
    let mut seen = [0; 3];
    for round in 0..25u32 {
        let _ = fs::remove_dir_all(&path);
        let mut child = command().spawn().unwrap();
        std::thread::sleep(whole * round / 24);
        let _ = child.kill();
        child.wait().unwrap();
        let found = contents(&path);
        seen[found.len()] += 1;
        for (name, tree) in &found {
            let whole = &expected.iter().find(|(other, _)| other == name).unwrap().1;
            fixture::tree::assert_equal(tree, whole);
        }
        // The next one repairs and completes.
        if round % 5 == 0 {
            assert!(command().status().unwrap().success());
            assert_eq!(contents(&path).len(), 2);
            let names = fs::read_dir(&path).unwrap().map(|e| e.unwrap().file_name());
            assert_eq!(names.filter(|n| n.to_string_lossy().starts_with(".tmp")).count(), 0);
        }
    }
    assert!(seen[0] > 0, "never killed before the end: {seen:?}");
    eprintln!("layers after a kill: none {}, one {}, both {}", seen[0], seen[1], seen[2]);
}

fn big_layer(seed: usize) -> Vec<u8> {
    (0..300)
        .fold(LayerBuilder::new().dir(".", 0o755), |layer, at| {
            layer.file(format!("{seed}-{at}"), 0o644, vec![at as u8; 5000 + at * 7])
        })
        .build()
}

/// The complete layers of a store by name, with their trees.
fn contents(store: &Path) -> Vec<(String, fixture::tree::Tree)> {
    let mut contents = Vec::new();
    let Ok(entries) = fs::read_dir(store) else { return contents };
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.len() == 64 {
            contents.push((name, fixture::tree::read(&path.join("diff"))));
        }
    }
    contents.sort_by(|a, b| a.0.cmp(&b.0));
    contents
}

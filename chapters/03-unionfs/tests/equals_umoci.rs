//! The merged tree equals, entry by entry, the one that umoci makes of the same image.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use corten_unionfs::fixture::tree;
use corten_unionfs::{
    ChainId, Compression, DiffId, Driver, LayerStore, Options, Overlay, OverlayDriver, Writable,
    apply, fixture,
};

fn unpack(store: &LayerStore, layers: &[Vec<u8>]) -> ChainId {
    let mut parent: Option<ChainId> = None;
    for (at, layer) in layers.iter().enumerate() {
        let compression = [Compression::Gzip, Compression::Zstd, Compression::None][at % 3];
        let diff_id: DiffId = fixture::digest(layer).parse().unwrap();
        let bytes = fixture::compress(layer, compression);
        let detected = Compression::Detect;
        let made = store.ensure(parent.as_ref(), &diff_id, detected, &bytes[..]).unwrap();
        parent = Some(made.chain_id);
    }
    parent.unwrap()
}

fn umoci(dir: &Path, layers: &[Vec<u8>]) -> PathBuf {
    fixture::oci_layout(&dir.join("oci"), "test", layers, serde_json::json!({}));
    let bundle = dir.join("bundle");
    let output = Command::new("umoci")
        .args(["unpack", "--image"])
        .arg(format!("{}:test", dir.join("oci").display()))
        .arg(&bundle)
        .output()
        .expect("umoci (package umoci) runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    bundle.join("rootfs")
}

#[corten_tier::t1]
fn merged_tree_equals_umoci() {
    let dir = tempfile::tempdir().unwrap();
    let layers = fixture::image_of_everything();
    let expected = tree::read(&umoci(dir.path(), &layers));
    assert!(expected.len() > 60, "umoci made only {} entries", expected.len());

    let store = LayerStore::open(dir.path().join("layers")).unwrap();
    let chain = unpack(&store, &layers);
    let lower = store.lower_dirs(&chain).unwrap();
    for writable in [None, Some(dir.path())] {
        let mount = OverlayDriver::default().mount(&lower, writable).unwrap();
        let found = tree::read(&tree::of_mount(&mount));
        tree::assert_equal(&found, &expected);
    }
}

#[corten_tier::t1]
fn bottom_layer_alone_equals_umoci() {
    let dir = tempfile::tempdir().unwrap();
    let mut layers = fixture::image_of_everything();
    layers.truncate(1);
    let expected = tree::read(&umoci(dir.path(), &layers));
    let store = LayerStore::open(dir.path().join("layers")).unwrap();
    let lower = store.lower_dirs(&unpack(&store, &layers)).unwrap();
    let mount = OverlayDriver::default().mount(&lower, None).unwrap();
    tree::assert_equal(&tree::read(&tree::of_mount(&mount)), &expected);
    let refused = std::fs::write(tree::of_mount(&mount).join("new"), "x").unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
}

#[corten_tier::t1]
fn hundred_and_thirty_layers_both_ways() {
    let dir = tempfile::tempdir().unwrap();
    // A path that fsconfig does not take, and characters that the old list of layers would split.
    for name in ["plain", "comma,colon:", "back\\slash", &format!("long,:{}", "x".repeat(240))] {
        stack_of_130(&dir.path().join(name));
    }
}

fn stack_of_130(odd: &Path) {
    std::fs::create_dir(odd).unwrap();
    let mut lower = Vec::new();
    for at in 0..130 {
        let path = odd.join(format!("{at}"));
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join(format!("from-{at}")), at.to_string()).unwrap();
        std::fs::write(path.join("top"), at.to_string()).unwrap();
        lower.push(path);
    }
    for old in [false, true] {
        let place = odd.join(format!("container-{old}"));
        std::fs::create_dir(&place).unwrap();
        let writable = Some(Writable::prepare(&place, &lower).unwrap());
        let overlay = Overlay {
            lower: lower.clone(),
            writable,
            xattr: Default::default(),
            copyup: Default::default(),
        };
        let before = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        let mount = if old { overlay.mount_in_thread() } else { overlay.mount() }.unwrap();
        let after = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert_eq!(before, after, "nothing is mounted where others see it");
        let root = tree::of_mount(&mount);
        assert_eq!(std::fs::read_to_string(root.join("top")).unwrap(), "0");
        assert_eq!(std::fs::read_to_string(root.join("from-129")).unwrap(), "129");
        std::fs::write(root.join("top"), "changed").unwrap();
        assert_eq!(std::fs::read_to_string(place.join("upper/top")).unwrap(), "changed");
        assert_eq!(std::fs::read_to_string(lower[0].join("top")).unwrap(), "0");
    }
}

#[corten_tier::t1]
fn kernel_reason_is_in_the_error() {
    let dir = tempfile::tempdir().unwrap();
    let lower = vec![dir.path().join("no-such-layer"), dir.path().to_path_buf()];
    let error =
        Overlay { lower, writable: None, xattr: Default::default(), copyup: Default::default() }
            .mount()
            .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("ENOENT") && text.contains("no-such-layer"), "{text}");
    let same = vec![dir.path().to_path_buf(), dir.path().to_path_buf()];
    let error = Overlay {
        lower: same,
        writable: None,
        xattr: Default::default(),
        copyup: Default::default(),
    }
    .mount();
    let text = error.unwrap_err().to_string();
    assert!(text.contains("ELOOP"), "{text}");
}

#[corten_tier::t1]
fn opaque_root_hides_all_layers_below() {
    let dir = tempfile::tempdir().unwrap();
    let bottom = fixture::LayerBuilder::new().file("below", 0o644, "x").build();
    let top = fixture::LayerBuilder::new();
    let top = top.whiteout(".wh..wh..opq").file("above", 0o644, "x").build();
    let store = LayerStore::open(dir.path().join("layers")).unwrap();
    let lower = store.lower_dirs(&unpack(&store, &[bottom, top])).unwrap();
    assert_eq!(lower.len(), 1);
}

#[corten_tier::t1]
fn sparse_files_have_holes() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sparse");
    let made = std::fs::File::create(&file).unwrap();
    use std::os::unix::fs::FileExt;
    for at in [0u64, 1 << 20, 3 << 20, 9 << 20, 20 << 20, 33 << 20] {
        made.write_all_at(&[1 + (at >> 20) as u8; 8192], at).unwrap();
    }
    made.set_len(64 << 20).unwrap();
    let expected = std::fs::read(&file).unwrap();
    for format in ["gnu", "pax0.0", "pax0.1", "pax1.0"] {
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(dir.path()).args(["-S", "-c", "-f", "-"]);
        match format.strip_prefix("pax") {
            None => tar.arg("--format=gnu"),
            Some(version) => tar.args(["--format=pax", &format!("--sparse-version={version}")]),
        };
        let output = tar.arg("sparse").output().expect("GNU tar runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{format} (needs GNU tar): {said}");
        assert!(output.stdout.len() < 200_000, "{format}");
        let to = dir.path().join(format);
        std::fs::create_dir(&to).unwrap();
        let root = corten_namespaces::Root::open(&to).unwrap();
        apply(&output.stdout[..], Compression::Detect, &root, &Options::default()).unwrap();
        let unpacked = to.join("sparse");
        assert!(std::fs::read(&unpacked).unwrap() == expected, "{format}: content differs");
        let blocks = std::os::unix::fs::MetadataExt::blocks(&unpacked.metadata().unwrap());
        assert!(blocks < 400, "{format}: {blocks} blocks");
    }
}

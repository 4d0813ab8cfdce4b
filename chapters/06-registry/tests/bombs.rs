//! Bombs: little that becomes much. The client is run as a process of its own with no more than
//! 100 MB of memory for data (RLIMIT_DATA), so that what is not bounded fails.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use corten_registry::Digest;

mod double;
use double::{Double, Image, Reply, image};

const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pulls within 100 MB and gives what was said.
fn pull(store: &Path, registry: &Double) -> String {
    let program = env!("CARGO_BIN_EXE_corten-registry");
    let script = format!(
        "ulimit -d 100000; exec {program} pull --store {} --platform linux/amd64 {}/app:1",
        store.display(),
        registry.host()
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("memory allocation"), "{said}");
    assert!(output.status.code().is_some(), "{:?} {said}", output.status);
    said
}

fn is_empty(store: &Path) {
    let store = corten_registry::Store::open(store).unwrap();
    assert!(store.list().unwrap().is_empty());
    store.collect_garbage().unwrap();
    let blobs = std::fs::read_dir(store.root().join("blobs/sha256")).unwrap().count();
    let partial = std::fs::read_dir(store.root().join(".corten/partial")).unwrap().count();
    assert_eq!((blobs, partial), (0, 0));
}

/// The image with another configuration, and the manifest that fits it.
fn with_config(config: Vec<u8>) -> Image {
    let old = image();
    let text = String::from_utf8(old.manifest.clone()).unwrap();
    let text = text
        .replace(&Digest::sha256(&old.config).to_string(), &Digest::sha256(&config).to_string())
        .replace(
            &format!("\"size\":{}}}", old.config.len()),
            &format!("\"size\":{}}}", config.len()),
        );
    Image { config, manifest: text.into_bytes(), ..old }
}

#[test]
fn a_configuration_that_is_a_json_bomb_is_refused_in_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let steps = "{},".repeat((8 << 20) / 3 - 100);
    let text = format!("{{\"history\":[{}{{}}],", steps);
    let old = String::from_utf8(image().config).unwrap();
    let bomb = old.replacen('{', &text, 1).into_bytes();
    let registry = Double::of(&with_config(bomb));
    let said = pull(dir.path(), &registry);
    assert!(said.contains("a JSON bomb: more than 100000 values"), "{said}");
    is_empty(dir.path());
}

#[test]
fn a_manifest_that_is_a_json_bomb_is_refused_in_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let text = String::from_utf8(image.manifest.clone()).unwrap();
    let most = (4 << 20) - text.len() - 100;
    let wide = text.replacen('{', &format!("{{\"x\":[{}0],", "0,".repeat(most / 2)), 1);
    let deep = text.replacen(
        '{',
        &format!("{{\"x\":{}{},", "[".repeat(most / 2), "]".repeat(most / 2)),
        1,
    );
    for (bomb, why) in [(wide, "more than 100000 values"), (deep, "nested more than 64 deep")] {
        let reply = Reply::body(bomb).header("Content-Type", KIND);
        let registry = Double::of(&image).with("/v2/app/manifests/1", reply);
        let said = pull(dir.path(), &registry);
        assert!(said.contains(why), "{said}");
        is_empty(dir.path());
    }
}

#[test]
fn endless_bodies_are_cut_off_in_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    for (path, why) in [
        ("/v2/app/manifests/1".to_owned(), "is larger than 4194304 bytes"),
        (image.config_path(), "more than"),
        (image.layer_path(), "more than"),
    ] {
        let registry = Double::of(&image).with(&path, Reply::Endless { chunked: true });
        let said = pull(dir.path(), &registry);
        assert!(said.contains(why), "{said}");
        is_empty(dir.path());
    }
}

#[test]
fn a_layer_that_claims_a_size_beyond_all_disks_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let image = image();
    let text = String::from_utf8(image.manifest.clone()).unwrap();
    let size = format!("\"size\":{}}}]", image.layer.len());
    for huge in ["18446744073709551615", "-1", "1e400", "\"1\""] {
        let text = text.replace(&size, &format!("\"size\":{huge}}}]"));
        let reply = Reply::body(text).header("Content-Type", KIND);
        let registry = Double::of(&image).with("/v2/app/manifests/1", reply);
        let said = pull(dir.path(), &registry);
        assert!(said.contains("expected") || said.contains("not an image manifest"), "{said}");
        is_empty(dir.path());
    }
}

/// Many layers at a time: the buffers of all workers together.
#[test]
fn an_honest_pull_needs_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let registry = Double::of(&image());
    assert_eq!(pull(dir.path(), &registry), "");
}

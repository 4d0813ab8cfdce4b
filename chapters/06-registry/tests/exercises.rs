//! The solutions of the exercises of chapter 6, each put to the test.
#![allow(clippy::unwrap_used)]

#[path = "../examples/half.rs"]
#[allow(dead_code)]
mod half;
#[path = "../examples/mirror.rs"]
#[allow(dead_code)]
mod mirror;
#[path = "../examples/shared_layers.rs"]
#[allow(dead_code)]
mod shared;
#[path = "../examples/stale.rs"]
#[allow(dead_code)]
mod stale;

mod peer;

use std::fs;
use std::io::{self, Read};

use corten_registry::{Client, ClientOptions, Digest, Platform, Reference, Silent, Store, pull};
use peer::{Registry, layout};

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn client() -> Client {
    Client::new(ClientOptions { docker_config: None, ..ClientOptions::default() })
}

#[corten_tier::t1]
fn exercise_1_shared_layers_are_counted_once_for_each_image() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, registry) = (layout(dir.path()), Registry::start(dir.path()));
    registry.push(&layout, "amd", "a:1", &[]);
    registry.push(&layout, "arm", "b:1", &[]);
    let store = Store::open(dir.path().join("images")).unwrap();
    let amd64 = Platform::new("linux", "amd64", None);
    for text in ["a:1", "b:1"] {
        let name = name(&format!("{}/{text}", registry.host()));
        pull(&client(), &store, &name, &amd64, &mut Silent).unwrap();
        store.tag(&name.to_string(), &name.with_tag("again").unwrap()).unwrap();
    }
    assert_eq!(shared::shared(&store).unwrap(), []);
    // The same layers in another image.
    let archive = dir.path().join("archive.tar");
    let mut bytes = Vec::new();
    store.save(&[format!("{}/a:1", registry.host())], &mut bytes).unwrap();
    fs::write(&archive, &bytes).unwrap();
    let image = store.image(&format!("{}/a:1", registry.host())).unwrap();
    let config =
        String::from_utf8(image.config.raw().to_vec()).unwrap().replace("/bin/sh", "/bin/ls");
    let (config, second) = (config.into_bytes(), dir.path().join("second"));
    fs::create_dir(&second).unwrap();
    let lease = store.lease().unwrap();
    let kind = corten_registry::MediaType::OciConfig;
    let config = store.put_bytes(&lease, kind, &config).unwrap();
    let manifest = corten_registry::Manifest::build(config, image.manifest.layers.clone()).unwrap();
    let kind = corten_registry::MediaType::OciManifest;
    let descriptor = store.put_bytes(&lease, kind, manifest.raw()).unwrap();
    add_name(&store, &descriptor, "c:1");
    let found = shared::shared(&store).unwrap();
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|(_, _, users)| *users == 2));
}

/// Writes a name into index.json, as another tool would.
fn add_name(store: &Store, descriptor: &corten_registry::Descriptor, name: &str) {
    let path = store.root().join("index.json");
    let mut index: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["manifests"].as_array_mut().unwrap().push(serde_json::json!({
        "mediaType": descriptor.media_type.as_str(), "digest": descriptor.digest.to_string(),
        "size": descriptor.size, "annotations": {"org.opencontainers.image.ref.name": name},
    }));
    fs::write(&path, index.to_string()).unwrap();
}

#[corten_tier::t1]
fn exercise_2_a_name_that_moved_is_stale() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, registry) = (layout(dir.path()), Registry::start(dir.path()));
    let store = Store::open(dir.path().join("images")).unwrap();
    let amd64 = Platform::new("linux", "amd64", None);
    for text in ["a:1", "a:2"] {
        registry.push(&layout, "amd", text, &[]);
        let name = name(&format!("{}/{text}", registry.host()));
        pull(&client(), &store, &name, &amd64, &mut Silent).unwrap();
    }
    assert_eq!(stale::stale(&client(), &store).unwrap(), []);
    registry.push(&layout, "arm", "a:2", &[]);
    let moved = name(&format!("{}/a:2", registry.host()));
    assert_eq!(stale::stale(&client(), &store).unwrap(), [moved]);
}

#[corten_tier::t1]
fn exercise_3_a_second_copy_has_nothing_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, registry) = (layout(dir.path()), Registry::start(dir.path()));
    registry.push(&layout, "amd", "app:1", &[]);
    registry.push(&layout, "multi", "app:2", &["--all"]);
    let scratch = Store::open(dir.path().join("scratch")).unwrap();
    let [from, to] =
        ["app", "copy/of/app"].map(|path| name(&format!("{}/{path}", registry.host())));
    let run = || mirror::mirror(&client(), &scratch, &from, &to).unwrap();
    assert_eq!(run(), ["1", "2"]);
    assert_eq!(run(), [] as [String; 0]);
    registry.push(&layout, "arm", "app:1", &[]);
    assert_eq!(run(), ["1"]);
}

/// A body that breaks off.
struct Breaks(&'static [u8]);

impl Read for Breaks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer)? {
            0 => Err(io::Error::other("the connection broke")),
            n => Ok(n),
        }
    }
}

#[test]
fn exercise_4_what_broke_off_is_taken_for_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let whole: &[u8] = b"the whole content";
    let digest = Digest::sha256(whole);
    let is_whole = || fs::read(dir.path().join(digest.hex())).is_ok_and(|bytes| bytes == whole);

    half::broken(dir.path(), &digest, &mut Breaks(b"the wh")).unwrap_err();
    half::broken(dir.path(), &digest, &mut &*whole).unwrap();
    assert!(!is_whole(), "the second call believed the first one's file");
    fs::remove_file(dir.path().join(digest.hex())).unwrap();

    let size = whole.len() as u64;
    half::mended(dir.path(), &digest, size, &mut Breaks(b"the wh")).unwrap_err();
    half::mended(dir.path(), &digest, size, &mut &b"another content !"[..]).unwrap_err();
    assert!(!dir.path().join(digest.hex()).exists());
    half::mended(dir.path(), &digest, size, &mut &*whole).unwrap();
    assert!(is_whole());
}

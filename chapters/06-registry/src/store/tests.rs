use std::io::Write as _;

use tempfile::TempDir;

use super::*;
use crate::media::{Compression, MediaType};

pub(super) fn store() -> (TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("images")).unwrap();
    (dir, store)
}

pub(super) fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

pub(super) fn import(store: &Store, text: &str, tar: &[u8]) -> Image {
    let config = platform();
    let options = ImportOptions { name: Some(name(text)), config, message: "test".into() };
    store.import(&mut &*tar, &options).unwrap()
}

/// A configuration that names a platform.
fn platform() -> serde_json::Map<String, serde_json::Value> {
    let host = Platform::host();
    let pair = |name: &str, value: String| (name.to_owned(), value.into());
    [pair("os", host.os), pair("architecture", host.architecture)].into_iter().collect()
}

fn blobs(store: &Store) -> usize {
    fs::read_dir(store.root().join("blobs/sha256")).unwrap().count()
}

fn leases(store: &Store) -> usize {
    fs::read_dir(store.root().join(".corten/leases")).unwrap().count()
}

#[test]
fn an_imported_image_is_found_by_name_and_by_id() {
    let (_dir, store) = store();
    let image = import(&store, "a:1", b"plain tar");
    assert_eq!(image.layers[0].diff_id, Digest::sha256(b"plain tar"));
    assert_eq!(image.layers[0].descriptor.digest, image.layers[0].diff_id);
    assert_eq!(image.names, [name("a:1")]);
    for text in
        ["a:1", "docker.io/library/a:1", image.id.hex(), image.id.short(), &image.id.to_string()]
    {
        assert_eq!(store.image(text).unwrap().id, image.id, "{text}");
    }
    assert!(store.image("a:2").unwrap_err().is_not_found());
    assert!(store.image("0000000").unwrap_err().is_not_found());
    assert_eq!(leases(&store), 0);
}

#[test]
fn a_gzip_layer_has_two_digests_and_keeps_its_bytes() {
    let (_dir, store) = store();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"plain tar").unwrap();
    let gzip = gzip.finish().unwrap();
    let image = import(&store, "a", &gzip);
    let layer = &image.layers[0];
    assert_eq!(layer.descriptor.media_type, MediaType::OciLayer(Compression::Gzip));
    assert_eq!(
        (&layer.descriptor.digest, &layer.diff_id),
        (&Digest::sha256(&gzip), &Digest::sha256(b"plain tar"))
    );

    let zstd = zstd::encode_all(&b"plain tar"[..], 1).unwrap();
    let layer = &import(&store, "b", &zstd).layers[0];
    assert_eq!(layer.descriptor.media_type, MediaType::OciLayer(Compression::Zstd));
    assert_eq!(layer.diff_id, Digest::sha256(b"plain tar"));

    let options = ImportOptions { name: None, config: platform(), message: String::new() };
    let before = blobs(&store);
    for cut in [
        &gzip[..gzip.len() - 3],
        b"\x28\xb5\x2f\xfd zstd",
        &zstd[..zstd.len() - 3],
        b"BZh91AY",
        b"\x1f\x8bnot gzip",
    ] {
        assert!(store.import(&mut &*cut, &options).is_err(), "{cut:?}");
    }
    assert_eq!((blobs(&store), leases(&store)), (before, 0));
}

#[test]
fn removing_the_last_name_deletes_what_no_other_image_needs() {
    let (_dir, store) = store();
    let a = import(&store, "a", b"one");
    store.tag("a", &name("b")).unwrap();
    import(&store, "c", b"two");
    assert_eq!(blobs(&store), 6);

    assert!(matches!(store.remove(a.id.short(), false), Err(Error::SeveralNames { .. })));
    let first = store.remove("a", false).unwrap();
    let untagged = |text| vec![Untagged { name: name(text), image: Some(a.id.clone()) }];
    assert_eq!((first.untagged, first.images, first.blobs.len()), (untagged("a"), vec![], 0));
    let last = store.remove("b", false).unwrap();
    assert_eq!((last.untagged, last.images, last.blobs.len()), (untagged("b"), vec![a.id], 3));
    assert_eq!(blobs(&store), 3);
    store.image("c").unwrap();
}

#[test]
fn a_name_that_moves_on_leaves_its_image_without_a_name() {
    let (_dir, store) = store();
    let old = import(&store, "a", b"old");
    let new = import(&store, "a", b"new");
    assert_eq!(store.image("a").unwrap().id, new.id);
    let kept = store.image(old.id.short()).unwrap();
    assert_eq!(kept.names, []);
    assert!(store.collect_garbage().unwrap().blobs.is_empty());
    assert_eq!(store.remove(old.id.short(), false).unwrap().images, [old.id]);
    assert_eq!(store.list().unwrap().len(), 1);
}

#[test]
fn a_sweep_spares_the_blobs_of_a_living_lease_and_takes_those_of_a_dead_one() {
    let (_dir, store) = store();
    let living = store.lease().unwrap();
    let kept = store.put_bytes(&living, MediaType::Other("x".into()), b"kept").unwrap();
    let dropped = store.lease().unwrap();
    let gone = store.put_bytes(&dropped, MediaType::Other("x".into()), b"gone").unwrap();
    drop(dropped);
    let removed = store.collect_garbage().unwrap();
    assert_eq!(removed.blobs, std::slice::from_ref(&gone.digest));
    assert!(store.has_blob(&kept).unwrap() && !store.has_blob(&gone).unwrap());
}

#[test]
fn opening_clears_what_a_crashed_pull_left_and_nothing_of_a_living_one() {
    let (_dir, store) = store();
    let living = store.lease().unwrap();
    fs::write(living.temporary("part"), "half").unwrap();
    // A crashed process leaves its directory, and nobody holds the lock in it.
    let dead = store.own_dir().join("leases/4194304-0");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join("held"), "").unwrap();
    fs::write(dead.join("part"), "half").unwrap();
    Store::open(store.root()).unwrap();
    assert!(!dead.exists() && living.temporary("part").exists());
}

#[test]
fn wrong_content_leaves_nothing() {
    let (_dir, store) = store();
    let lease = store.lease().unwrap();
    let promised = Descriptor::of(MediaType::Other("x".into()), b"honest");
    for (bytes, why) in [
        (&b"robbed"[..], "the content's digest is"),
        (b"hones", "ended after 5 bytes"),
        (b"honest?", "more than 6 bytes"),
    ] {
        let error = store.put_blob(&lease, &mut &*bytes, &promised).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(!lease.temporary(promised.digest.hex()).exists());
    }
    assert_eq!(blobs(&store), 0);
}

#[test]
fn concurrent_imports_lose_no_name() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        for i in 0..8 {
            let own = store.clone();
            scope.spawn(move || import(&own, &format!("image{i}"), format!("tar {i}").as_bytes()));
            if i % 3 == 0 {
                let store = Store::open(store.root()).unwrap();
                scope.spawn(move || store.collect_garbage().unwrap());
            }
        }
    });
    assert_eq!(store.list().unwrap().len(), 8);
    for i in 0..8 {
        let image = store.image(&format!("image{i}")).unwrap();
        assert!(store.has_blob(&image.layers[0].descriptor).unwrap());
    }
}

#[test]
fn an_image_that_was_damaged_on_disk_can_still_be_removed() {
    let (_dir, store) = store();
    let image = import(&store, "a", b"one");
    fs::write(store.blob_path(&image.descriptor.digest), "{}").unwrap();
    assert!(store.image("a").unwrap_err().to_string().contains("ended after 2 bytes"));
    let untagged = [Untagged { name: name("a"), image: None }];
    assert_eq!(store.remove("a", false).unwrap().untagged, untagged);
    assert_eq!(blobs(&store), 0);
}

#[test]
fn names_of_other_tools_are_understood() {
    let (_dir, store) = store();
    let image = import(&store, "a:1", b"one");
    let with = |short: &str, full: Option<&str>| {
        let mut entry = Entry::new(None, &image.descriptor, None);
        entry.descriptor.annotations.insert(REF_NAME.into(), short.into());
        full.map(|full| entry.descriptor.annotations.insert(FULL_NAME.into(), full.into()));
        let own = store.own_dir();
        layout::write(store.root(), &own, &[entry]).unwrap();
        store.list().unwrap()[0].name.clone().unwrap().familiar()
    };
    assert_eq!(with("latest", Some("docker.io/library/x:latest")), "x:latest");
    assert_eq!(with("busybox:1", None), "busybox:1");
    // umoci tag copies the annotations of the image that it tags.
    assert_eq!(with("new", Some("docker.io/library/x:latest")), "new:latest");
}

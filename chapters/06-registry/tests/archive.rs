//! Archives and the layout itself, both ways against skopeo; and archives that lie.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::Path;

use corten_registry::store::Untagged;
use corten_registry::{Digest, Error, ImportOptions, Platform, Reference, Store};
use serde_json::{Value, json};

mod peer;
use peer::{layout, run};

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn store(dir: &Path, at: &str) -> Store {
    Store::open(dir.join(at)).unwrap()
}

/// Imports `bytes` as the image `text` of one gzip layer.
fn import(store: &Store, text: &str, bytes: &[u8]) -> corten_registry::Image {
    import_for(store, text, bytes, "amd64")
}

fn import_for(
    store: &Store,
    text: &str,
    bytes: &[u8],
    architecture: &str,
) -> corten_registry::Image {
    let mut layer = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    layer.append_data(&mut header, "file", bytes).unwrap();
    let layer = layer.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&layer).unwrap();
    let Value::Object(config) = json!({"os": "linux", "architecture": architecture}) else {
        unreachable!("an object was written")
    };
    let options = ImportOptions { name: Some(name(text)), config, message: "made".into() };
    store.import(&mut &*gzip.finish().unwrap(), &options).unwrap()
}

fn saved(store: &Store, names: &[&str]) -> Vec<u8> {
    let mut archive = Vec::new();
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    store.save(&names, &mut archive).unwrap();
    archive
}

fn blobs(store: &Store) -> usize {
    fs::read_dir(store.root().join("blobs/sha256")).unwrap().count()
}

/// A tar archive of these files; `name -> target` makes a link.
fn tarred(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        if let Some((name, target)) = name.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, name, target).unwrap();
            continue;
        }
        // As bytes, for `append_data` refuses names that climb.
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_cksum();
        archive.append(&header, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn what_is_saved_is_loaded_again_also_compressed() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path(), "first");
    let a = import(&first, "a:1", b"one");
    let b = import(&first, "registry.example/b:2", b"two");
    first.tag("a:1", &name("a:latest")).unwrap();
    let archive = saved(&first, &["a:1", "a", "registry.example/b:2"]);
    assert_eq!(archive, saved(&first, &["a:1", "a", "registry.example/b:2"]));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    let (gzip, zstd) = (gzip.finish().unwrap(), zstd::encode_all(&*archive, 1).unwrap());
    for (number, bytes) in [archive, gzip, zstd].into_iter().enumerate() {
        let second = store(dir.path(), &format!("second-{number}"));
        second.unpack_archive(&mut &*bytes).unwrap();
        assert_eq!(second.image("a:1").unwrap().id, a.id);
        assert_eq!(second.image("a").unwrap().id, a.id);
        assert_eq!(second.image("registry.example/b:2").unwrap().id, b.id);
        assert_eq!(blobs(&second), 6);
    }
    // By its id it has no name.
    let second = store(dir.path(), "by-id");
    second.unpack_archive(&mut &*saved(&first, &[a.id.short()])).unwrap();
    assert_eq!(second.image(a.id.short()).unwrap().names, []);
}

#[test]
fn of_an_archive_the_images_for_a_platform_are_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path(), "first");
    let amd = import_for(&first, "amd:1", b"one", "amd64");
    let arm = import_for(&first, "arm:1", b"two", "arm64");
    let archive = saved(&first, &["amd:1", "arm:1"]);
    for (at, wanted, ids) in [
        ("both", &["linux/arm64", "linux/amd64"][..], &[&amd.id, &arm.id][..]),
        ("one", &["linux/arm64"], &[&arm.id]),
    ] {
        let second = store(dir.path(), at);
        let images = second.unpack_archive_for(&platforms(wanted), &mut &*archive).unwrap();
        assert_eq!(images.iter().map(|image| &image.id).collect::<Vec<_>>(), ids);
        assert_eq!(blobs(&second), 3 * ids.len());
    }
    let second = store(dir.path(), "none");
    let why = second.unpack_archive_for(&platforms(&["linux/s390x"]), &mut &*archive).unwrap_err();
    let words = "no image for platform linux/s390x; there is: linux/amd64, linux/arm64";
    assert!(why.to_string().contains(words), "{why}");
    assert_eq!((second.list().unwrap().len(), blobs(&second)), (0, 0));
}

fn platforms(list: &[&str]) -> Vec<Platform> {
    list.iter().map(|text| text.parse().unwrap()).collect()
}

/// An archive of one name, `many:1`, with an image of it for each of these machines; and the digest of its
/// index.
fn of_many(dir: &Path, architectures: &[&str]) -> (Vec<u8>, Digest, Vec<corten_registry::Image>) {
    let first = store(dir, "many");
    let images: Vec<_> = architectures
        .iter()
        .map(|it| import_for(&first, &format!("{it}:1"), it.as_bytes(), it))
        .collect();
    let manifest = |(image, architecture): (&corten_registry::Image, &&str)| {
        json!({"mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": image.descriptor.digest.to_string(), "size": image.descriptor.size,
            "platform": {"os": "linux", "architecture": architecture}})
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let manifests: Vec<Value> = images.iter().zip(architectures).map(manifest).collect();
    // With something that an index of our own would not have.
    let inner = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests,
        "annotations": {"made": "elsewhere"}})
    .to_string();
    let digest = Digest::sha256(inner.as_bytes());
    let outer = json!({"schemaVersion": 2, "manifests": [{"mediaType": kind, "size": inner.len(),
        "digest": digest.to_string(),
        "annotations": {"org.opencontainers.image.ref.name": "many:1"}}]})
    .to_string();
    let mut files: Vec<(String, Vec<u8>)> = fs::read_dir(first.root().join("blobs/sha256"))
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
        .map(|(name, bytes)| (format!("blobs/sha256/{name}"), bytes))
        .collect();
    files.push((format!("blobs/sha256/{}", digest.hex()), inner.into_bytes()));
    files.push(("index.json".into(), outer.into_bytes()));
    let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (&**name, &**bytes)).collect();
    (tarred(&files), digest, images)
}

/// `manifest.json` of an archive.
fn for_docker(mut archive: &[u8]) -> Value {
    let mut archive = tar::Archive::new(&mut archive);
    let mut entries = archive.entries().unwrap().map(|entry| entry.unwrap());
    let found = entries.find(|entry| &*entry.path_bytes() == b"manifest.json").unwrap();
    serde_json::from_reader(found).unwrap()
}

#[test]
fn an_archive_has_images_of_one_name_for_several_platforms() {
    let dir = tempfile::tempdir().unwrap();
    let own = Platform::host().architecture;
    let (archive, digest, images) = of_many(dir.path(), &["s390x", &own, "riscv64"]);
    let (other, host) = (&images[0], &images[1]);
    for (platform, id) in
        [("linux/s390x".to_owned(), &other.id), (format!("linux/{own}"), &host.id)]
    {
        let second = store(dir.path(), &platform);
        second.unpack_archive_for(&platforms(&[&platform]), &mut &*archive).unwrap();
        assert_eq!(second.image("many:1").unwrap().id, *id, "{platform}");
        assert_eq!(blobs(&second), 3, "what is for others is not kept");
    }

    // All of them: the index is kept as it came, and the name means the image for this machine.
    let whole = store(dir.path(), "whole");
    whole.unpack_archive(&mut &*archive).unwrap();
    let all = platforms(&["linux/riscv64", &format!("linux/{own}"), "linux/s390x"]);
    let again = store(dir.path(), "again");
    again.unpack_archive_for(&all, &mut &*archive).unwrap();
    for store in [&whole, &again] {
        assert_eq!(store.list().unwrap()[0].descriptor.digest, digest);
        assert_eq!((store.image("many:1").unwrap().id, blobs(store)), (host.id.clone(), 10));
        store.collect_garbage().unwrap();
        assert_eq!(blobs(store), 10);
    }
    let saved_for = |store: &Store, list: &[Platform]| {
        let mut bytes = Vec::new();
        store.save_for(&["many:1".to_owned()], list, &mut bytes).map(|()| bytes)
    };
    let bytes = saved_for(&whole, &all).unwrap();
    assert_eq!(bytes, saved_for(&again, &[]).unwrap());
    let shown = for_docker(&bytes);
    assert_eq!(shown[0]["Config"], format!("blobs/sha256/{}", host.id.hex()));
    assert_eq!((shown.as_array().unwrap().len(), &shown[0]["RepoTags"]), (1, &json!(["many:1"])));

    // Two of three: an index of our own, and nothing that it names is missing.
    let two = platforms(&["linux/s390x", "linux/riscv64"]);
    let bytes = saved_for(&whole, &two).unwrap();
    let third = store(dir.path(), "third");
    third.unpack_archive(&mut &*bytes).unwrap();
    assert_ne!(third.list().unwrap()[0].descriptor.digest, digest);
    assert_eq!((third.platforms_of("many:1").unwrap(), blobs(&third)), (two.clone(), 7));
    assert_eq!(third.image("many:1").unwrap().id, other.id, "none is for this machine");
    let fourth = store(dir.path(), "fourth");
    fourth.unpack_archive_for(&two, &mut &*archive).unwrap();
    assert_eq!(saved_for(&fourth, &[]).unwrap(), bytes);
    assert_eq!(fourth.fsck().unwrap().problems, Vec::<String>::new());

    // One of three is an image as any other.
    let one = saved_for(&whole, &two[..1]).unwrap();
    let fifth = store(dir.path(), "fifth");
    fifth.unpack_archive(&mut &*one).unwrap();
    assert_eq!((fifth.image("many:1").unwrap().id, blobs(&fifth)), (other.id.clone(), 3));
    let why = saved_for(&fifth, &platforms(&["linux/riscv64"])).unwrap_err().to_string();
    assert_eq!(why, "many:1: no image for platform linux/riscv64; there is: linux/s390x");
    fourth.remove("many:1", false).unwrap();
    assert_eq!(blobs(&fourth), 0);
}

#[test]
fn an_archive_of_an_old_docker_with_links_between_layers_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let layer = tarred(&[("f", b"x")]);
    let digest = Digest::sha256(&layer).to_string();
    let config = json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [digest, digest]}})
    .to_string();
    let manifest = json!([{"Config": "c.json", "RepoTags": ["old:1"],
        "Layers": ["a/layer.tar", "b/layer.tar"]}])
    .to_string();
    let archive = tarred(&[
        ("a/VERSION", b"1.0"),
        ("a/json", b"{}"),
        ("a/layer.tar", &layer),
        ("b/layer.tar -> ../a/layer.tar", b""),
        ("c.json", config.as_bytes()),
        ("manifest.json", manifest.as_bytes()),
        ("repositories", b"{}"),
    ]);
    let store = store(dir.path(), "images");
    let images = store.unpack_archive(&mut &*archive).unwrap();
    assert_eq!(images[0].layers.len(), 2);
    assert_eq!((store.image("old:1").unwrap().id, blobs(&store)), (images[0].id.clone(), 3));
}

#[test]
fn an_archive_that_lies_or_climbs_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("outside");
    fs::write(&outside, "untouched").unwrap();
    let store = store(dir.path(), "images");
    let other = Digest::sha256(b"other");
    let blob = format!("blobs/sha256/{}", other.hex());
    let docker = |config: &str, layer: &str| {
        json!([{"Config": config, "RepoTags": ["x:1"], "Layers": [layer]}]).to_string()
    };
    let config = json!({"os": "linux", "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [other.to_string()]}})
    .to_string();
    let index = json!({"schemaVersion": 2, "manifests": [{"digest": other.to_string(), "size": 5,
        "mediaType": "application/vnd.oci.image.manifest.v1+json"}]})
    .to_string();
    let (far, link) = (docker("../../outside", "l"), docker("c", "l"));
    let long = vec![b' '; (4 << 20) + 1];
    type Files<'a> = &'a [(&'a str, &'a [u8])];
    let cases: [(Files<'_>, &str); 8] = [
        (&[(&blob, b"robbed")], "the content's digest is"),
        (&[("etc/passwd", b"root")], "neither index.json nor manifest.json"),
        (&[("../outside", b"gone"), ("manifest.json", b"[")], "manifest.json: "),
        (&[("manifest.json", far.as_bytes())], "which is not in it"),
        (&[("c -> ../../outside", b""), ("manifest.json", link.as_bytes())], "which is not in it"),
        (
            &[("c", config.as_bytes()), ("l", b"layer"), ("manifest.json", link.as_bytes())],
            "the content's digest is",
        ),
        (&[("index.json", index.as_bytes())], "the archive: open blob"),
        (&[("manifest.json", &long)], "is larger than 4194304 bytes"),
    ];
    for (files, why) in cases {
        let error = store.unpack_archive(&mut &*tarred(files)).unwrap_err().to_string();
        assert!(error.contains(why), "expected {why:?} in: {error}");
        assert!(store.list().unwrap().is_empty(), "{why}");
        assert_eq!(blobs(&store), 0, "{why}");
    }
    let error = store.unpack_archive(&mut &b"words"[..]).unwrap_err().to_string();
    assert!(error.contains("the archive: it is no tar archive, or cut off"), "{error}");
    // An archive that ends in the middle of a file.
    let cut = &tarred(&[("l", &[7; 5000])])[..3000];
    assert!(store.unpack_archive(&mut &*cut).is_err());
    assert_eq!((blobs(&store), fs::read_to_string(&outside).unwrap()), (0, "untouched".into()));
}

#[test]
fn history_tells_which_step_made_which_layer_and_prune_spares_what_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), "images");
    let old = import(&store, "a:1", b"old");
    let new = import(&store, "a:1", b"new");
    let history = new.history();
    assert_eq!((history.len(), history[0].comment.as_str()), (1, "made"));
    assert_eq!(history[0].layer.as_ref().unwrap().1, new.size());

    assert!(store.prune(false, &|id| *id == old.id).unwrap().images.is_empty());
    let removed = store.prune(false, &|_| false).unwrap();
    assert_eq!((removed.images, removed.blobs.len()), (vec![old.id], 3));
    assert!(store.prune(true, &|id| *id == new.id).unwrap().untagged.is_empty());
    let untagged = [Untagged { name: name("a:1"), image: Some(new.id.clone()) }];
    assert_eq!(store.prune(true, &|_| false).unwrap().untagged, untagged);
    assert_eq!(blobs(&store), 0);
}

#[test]
fn a_damaged_blob_is_not_saved() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), "images");
    let image = import(&store, "a:1", b"one");
    let path = store.blob_path(&image.layers[0].descriptor.digest);
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = store.save(&["a:1".to_owned()], &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
}

/// The digests of an image's layers as skopeo sees them.
fn skopeo_layers(from: &str) -> Vec<Value> {
    let text = run("skopeo", &["inspect", from]);
    let seen: Value = serde_json::from_str(&text).unwrap();
    seen["Layers"].as_array().unwrap().clone()
}

#[corten_tier::t1]
fn skopeo_reads_our_archive_as_oci_and_as_docker_and_our_layout() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), "images");
    let image = import(&store, "app:1", &[b'x'; 50_000]);
    let file = dir.path().join("saved.tar");
    fs::write(&file, saved(&store, &["app:1"])).unwrap();
    let (file, root) = (file.display(), store.root().display());
    let layer = Value::from(image.layers[0].descriptor.digest.to_string());
    for from in [format!("oci-archive:{file}:app:1"), format!("oci:{root}:app:1")] {
        assert_eq!(skopeo_layers(&from), std::slice::from_ref(&layer));
    }
    // Docker's archives have plain layers: skopeo shows what they unpack to.
    let plain = Value::from(image.layers[0].diff_id.to_string());
    let docker = format!("docker-archive:{file}:docker.io/library/app:1");
    assert_eq!(skopeo_layers(&docker), [plain]);
    for (number, from) in [docker, format!("oci-archive:{file}:app:1")].iter().enumerate() {
        let to = dir.path().join(format!("copy-{number}"));
        run("skopeo", &["copy", "--quiet", from, &format!("dir:{}", to.display())]);
        assert!(to.join(image.id.hex()).exists(), "{from}");
    }
}

#[corten_tier::t1]
fn we_read_skopeos_archives_and_what_it_wrote_into_our_layout() {
    let dir = tempfile::tempdir().unwrap();
    let made = layout(dir.path());
    let from = format!("oci:{}:amd", made.display());
    let docker = dir.path().join("docker.tar");
    let oci = dir.path().join("oci.tar");
    let to = [
        format!("docker-archive:{}:docker.io/library/d:1", docker.display()),
        format!("oci-archive:{}:o:1", oci.display()),
    ];
    for to in &to {
        run("skopeo", &["copy", "--quiet", &from, to]);
    }
    let store = store(dir.path(), "images");
    for (file, text) in [(&docker, "d:1"), (&oci, "o:1")] {
        let images = store.unpack_archive(&mut fs::File::open(file).unwrap()).unwrap();
        assert_eq!((images.len(), images[0].layers.len()), (1, 3));
        assert!(images[0].names.contains(&name(text)));
    }
    let to = format!("oci:{}:written:1", store.root().display());
    run("skopeo", &["copy", "--quiet", &from, &to]);
    let (written, loaded) = (store.image("written:1").unwrap(), store.image("o:1").unwrap());
    assert_eq!(written.id, loaded.id);
    assert_eq!(store.image("d:1").unwrap().config.diff_ids(), written.config.diff_ids());
    // And what it wrote survives our removals, and ours its.
    store.remove("o:1", false).unwrap();
    for layer in &store.image("written:1").unwrap().layers {
        assert!(store.has_blob(&layer.descriptor).unwrap());
    }
}

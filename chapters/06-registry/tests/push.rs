//! Writing to the real docker-registry: pushes, whole and in parts, cut off and resumed, mounted;
//! lists and removal; and skopeo's view of all of it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use corten_registry::client::Exchange;
use corten_registry::{
    Client, ClientOptions, Digest, ImportOptions, Platform, Reference, Silent, Store, copy, pull,
    push,
};
use serde_json::json;

mod peer;
use peer::relay::{Relay, Way};
use peer::{Registry, Settings, layout, run};

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn options(dir: &Path) -> ClientOptions {
    ClientOptions {
        certs_dir: dir.join("certs.d"),
        docker_config: None,
        backoff: std::time::Duration::from_millis(1),
        ..Default::default()
    }
}

/// A store with the image `big:1` of one layer of so many bytes.
fn store_with(dir: &Path, size: usize) -> Store {
    let store = Store::open(dir.join("images")).unwrap();
    let layer: Vec<u8> = (0..size / 4).flat_map(|i| (i as u32).to_le_bytes()).collect();
    let config = json!({"os": "linux", "architecture": "amd64"}).as_object().unwrap().clone();
    let options = ImportOptions { name: Some(name("big:1")), config, message: "test".into() };
    store.import(&mut &*layer, &options).unwrap();
    store
}

type Log = Arc<Mutex<Vec<String>>>;

fn traced(options: ClientOptions) -> (Client, Log) {
    let log = Log::default();
    let sink = Arc::clone(&log);
    let trace = move |exchange: &Exchange<'_>| {
        let path = exchange.url.split_once("/v2/").map_or("", |(_, path)| path);
        let path = path.split('?').next().unwrap_or(path);
        let path = path.split("/uploads/").next().unwrap_or(path);
        sink.lock().unwrap().push(format!("{} {path}", exchange.method));
    };
    (Client::with_trace(options, Arc::new(trace)), log)
}

fn count(log: &Log, method: &str) -> usize {
    log.lock().unwrap().iter().filter(|line| line.starts_with(method)).count()
}

/// What skopeo makes of an image in the registry, after reading every byte.
fn skopeo_digest(dir: &Path, text: &str) -> String {
    let to = format!("dir:{}", tempfile::tempdir_in(dir).unwrap().keep().display());
    let from = format!("docker://{text}");
    run("skopeo", &["copy", "--quiet", "--all", "--src-tls-verify=false", &from, &to]);
    let raw = run("skopeo", &["inspect", "--tls-verify=false", "--raw", &from]);
    Digest::sha256(raw.as_bytes()).to_string()
}

#[corten_tier::t1]
fn a_push_is_read_by_skopeo_and_a_second_one_sends_no_layer() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, store) = (Registry::start(dir.path()), store_with(dir.path(), 100_000));
    let (client, log) = traced(options(dir.path()));
    let to = name(&format!("{}/team/big:1", registry.host()));
    let pushed = push(&client, &store, "big:1", &to, &mut Silent).unwrap();
    assert_eq!((pushed.blobs, count(&log, "PATCH")), ([0, 0, 2], 0));
    assert_eq!(skopeo_digest(dir.path(), &to.to_string()), pushed.digest.to_string());

    let again = push(&client, &store, "big:1", &to, &mut Silent).unwrap();
    assert_eq!((again.blobs, again.uploaded), ([2, 0, 0], 0));
    assert_eq!(again.digest, pushed.digest);

    // Another repository of the same registry takes the layers from the first.
    store.tag("big:1", &to).unwrap();
    let other = name(&format!("{}/other/big:1", registry.host()));
    let mounted = push(&client, &store, "big:1", &other, &mut Silent).unwrap();
    assert_eq!((mounted.blobs, mounted.uploaded), ([0, 2, 0], 0));
    assert_eq!(skopeo_digest(dir.path(), &other.to_string()), pushed.digest.to_string());
}

#[corten_tier::t1]
fn a_large_layer_goes_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, store) = (Registry::start(dir.path()), store_with(dir.path(), 1_000_000));
    let (client, log) = traced(ClientOptions { chunk: 300_000, ..options(dir.path()) });
    let to = name(&format!("{}/big:1", registry.host()));
    let pushed = push(&client, &store, "big:1", &to, &mut Silent).unwrap();
    assert_eq!(count(&log, "PATCH"), 4, "{log:?}");
    assert_eq!(skopeo_digest(dir.path(), &to.to_string()), pushed.digest.to_string());
}

#[corten_tier::t1]
fn an_upload_that_is_cut_off_goes_on_where_the_registry_says() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, store) = (Registry::start(dir.path()), store_with(dir.path(), 2_000_000));
    for (chunk, repository) in [(64 << 20, "whole"), (500_000, "parts")] {
        let relay = Relay::cutting(&registry.host(), Way::Up, 700_000, 2);
        let (client, log) = traced(ClientOptions { chunk, ..options(dir.path()) });
        let to = name(&format!("{}/{repository}:1", relay.host()));
        let pushed = push(&client, &store, "big:1", &to, &mut Silent).unwrap();
        assert_eq!(relay.left(), 0, "{log:?}");
        // Each time it asks how much has arrived.
        assert!(count(&log, "GET") >= 2, "{log:?}");
        let direct = format!("{}/{repository}:1", registry.host());
        assert_eq!(skopeo_digest(dir.path(), &direct), pushed.digest.to_string());
    }
}

#[corten_tier::t1]
fn a_download_that_is_cut_off_is_resumed_also_by_the_next_pull() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, store) = (Registry::start(dir.path()), store_with(dir.path(), 2_000_000));
    let to = name(&format!("{}/big:1", registry.host()));
    push(&Client::new(options(dir.path())), &store, "big:1", &to, &mut Silent).unwrap();

    // One connection breaks: the same pull goes on.
    let fresh = Store::open(dir.path().join("second")).unwrap();
    let relay = Relay::cutting(&registry.host(), Way::Down, 700_000, 1);
    let through = name(&format!("{}/big:1", relay.host()));
    let (client, _) = traced(options(dir.path()));
    pull(&client, &fresh, &through, &Platform::host(), &mut Silent).unwrap();
    assert_eq!(relay.left(), 0);

    // All connections break: the next pull goes on.
    let fresh = Store::open(dir.path().join("third")).unwrap();
    let relay = Relay::cutting(&registry.host(), Way::Down, 700_000, u64::MAX);
    let through = name(&format!("{}/big:1", relay.host()));
    let once = ClientOptions { retries: 0, ..options(dir.path()) };
    let error = pull(&Client::new(once), &fresh, &through, &Platform::host(), &mut Silent);
    assert!(error.unwrap_err().to_string().contains("broke off after"));
    let rest = pull(&client, &fresh, &to, &Platform::host(), &mut Silent).unwrap();
    assert!(rest.downloaded < 1_500_000 && rest.downloaded > 1_000_000, "{}", rest.downloaded);
    assert_eq!(fs::read_dir(fresh.root().join(".corten/partial")).unwrap().count(), 0);
}

#[corten_tier::t1]
fn what_was_pulled_keeps_its_digest_when_it_is_pushed_on() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, registry) = (layout(dir.path()), Registry::start(dir.path()));
    registry.push(&layout, "amd", "app:docker", &["--format", "v2s2"]);
    let store = Store::open(dir.path().join("images")).unwrap();
    let client = Client::new(options(dir.path()));
    let from = name(&format!("{}/app:docker", registry.host()));
    let amd64 = Platform::new("linux", "amd64", None);
    let pulled = pull(&client, &store, &from, &amd64, &mut Silent).unwrap();
    let to = name(&format!("{}/copy:1", registry.host()));
    let pushed = push(&client, &store, &from.to_string(), &to, &mut Silent).unwrap();
    assert_eq!(pushed.digest, pulled.digest);
    assert_eq!(skopeo_digest(dir.path(), &to.to_string()), pulled.digest.to_string());
}

#[corten_tier::t1]
fn a_copy_between_registries_takes_all_platforms_or_one() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, registry) = (layout(dir.path()), Registry::start(dir.path()));
    let other_dir = tempfile::tempdir_in(dir.path()).unwrap();
    let other = Registry::start(other_dir.path());
    registry.push(&layout, "multi", "multi:1", &["--all"]);
    let client = Client::new(options(dir.path()));
    let store = Store::open(dir.path().join("copy")).unwrap();
    let from = name(&format!("{}/multi:1", registry.host()));
    let digest = client.manifest(&from).unwrap().digest;
    for host in [other.host(), registry.host()] {
        let to = name(&format!("{host}/second:1"));
        let copied = copy(&client, &store, &from, &to, None, &mut Silent).unwrap();
        assert_eq!(copied.digest, digest);
        assert_eq!(skopeo_digest(dir.path(), &to.to_string()), digest.to_string());
    }
    let platforms = client.platforms(&from).unwrap();
    let of = |d: &corten_registry::Descriptor| d.platform.as_ref().map(ToString::to_string);
    let all: Vec<_> = platforms.iter().filter_map(of).collect();
    assert_eq!(all, ["unknown/unknown", "linux/arm64", "linux/amd64"]);
    let arm: Platform = "linux/arm64".parse().unwrap();
    let to = name(&format!("{}/arm:1", other.host()));
    copy(&client, &store, &from, &to, Some(&arm), &mut Silent).unwrap();
    assert_eq!(client.platforms(&to).unwrap()[0].platform, Some(arm));
}

#[corten_tier::t1]
fn tags_come_page_by_page_and_the_catalog_tells_the_repositories() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, store) = (Registry::start(dir.path()), store_with(dir.path(), 1000));
    let client = Client::new(options(dir.path()));
    let at = |text: &str| name(&format!("{}/{text}", registry.host()));
    for text in ["a:3", "a:1", "a:2", "b/c:1"] {
        push(&client, &store, "big:1", &at(text), &mut Silent).unwrap();
    }
    assert_eq!(client.tags(&at("a")).unwrap(), ["1", "2", "3"]);
    assert_eq!(client.catalog(&registry.host()).unwrap(), ["a", "b/c"]);
    let error = client.tags(&at("none")).unwrap_err().to_string();
    assert!(error.contains("404 NAME_UNKNOWN"), "{error}");
}

#[corten_tier::t1]
fn a_manifest_is_deleted_by_digest_and_what_the_registry_forbids_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), 1000);
    let client = Client::new(options(dir.path()));
    for delete in [true, false] {
        let own = tempfile::tempdir_in(dir.path()).unwrap();
        let registry = Registry::with(own.path(), &Settings { delete, ..Settings::default() });
        let tag = name(&format!("{}/app:1", registry.host()));
        let pushed = push(&client, &store, "big:1", &tag, &mut Silent).unwrap();
        let error = client.delete(&tag).unwrap_err().to_string();
        let by_digest = client.delete(&tag.with_digest(pushed.digest));
        if delete {
            // This registry cannot take a tag away alone.
            assert!(error.contains("deletes by digest only"), "{error}");
            by_digest.unwrap();
            assert!(client.manifest(&tag).unwrap_err().is_not_found());
        } else {
            let error = by_digest.unwrap_err().to_string();
            assert!(error.contains("405") && error.contains("does not delete"), "{error}");
            client.manifest(&tag).unwrap();
        }
    }
}

#[corten_tier::t1]
fn referrers_are_kept_under_the_fallback_tag_where_the_registry_knows_none() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, store) = (Registry::start(dir.path()), store_with(dir.path(), 1000));
    let client = Client::new(options(dir.path()));
    let tag = name(&format!("{}/app:1", registry.host()));
    let pushed = push(&client, &store, "big:1", &tag, &mut Silent).unwrap();
    assert_eq!(client.referrers(&tag, &pushed.digest, None).unwrap(), []);

    let image = store.image("big:1").unwrap();
    let config = json!({"mediaType": image.manifest.config.media_type.as_str(),
        "digest": image.id.to_string(), "size": image.manifest.config.size});
    for kind in ["application/spdx+json", "text/x-note"] {
        let document = json!({"schemaVersion": 2, "artifactType": kind, "config": config,
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "layers": [],
            "subject": {"mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": pushed.digest.to_string(), "size": pushed.size}});
        for _ in 0..2 {
            client.push_referrer(&tag, &serde_json::to_vec(&document).unwrap()).unwrap();
        }
    }
    assert_eq!(client.referrers(&tag, &pushed.digest, None).unwrap().len(), 2);
    let only = client.referrers(&tag, &pushed.digest, Some("text/x-note")).unwrap();
    assert_eq!(only.len(), 1);
    assert_eq!(only[0].artifact_type.as_deref(), Some("text/x-note"));
    client.manifest(&tag.with_digest(only[0].descriptor.digest.clone())).unwrap();
}

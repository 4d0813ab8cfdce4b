//! Against the real docker-registry, filled by skopeo from what umoci made; and what they make of
//! our store in turn. T1 because the packages are installed where T1 runs, and umoci wants root.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use corten_registry::client::Exchange;
use corten_registry::{
    Client, ClientOptions, Digest, Error, Event, MediaType, Platform, PulledImage, Reference,
    Result, Silent, Store, pull,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

mod peer;
use peer::{Registry, layout, run};

fn name(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn amd64() -> Platform {
    Platform::new("linux", "amd64", None)
}

fn options(dir: &Path) -> ClientOptions {
    ClientOptions { certs_dir: dir.join("certs.d"), docker_config: None, ..Default::default() }
}

fn pull_amd64(client: &Client, store: &Store, text: &str) -> Result<PulledImage> {
    pull(client, store, &name(text), &amd64(), &mut Silent)
}

fn verify_all_blobs(store: &Store) {
    for entry in fs::read_dir(store.root().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let digest = Digest::sha256(&fs::read(&path).unwrap());
        assert_eq!(path.file_name().unwrap(), digest.hex());
    }
    assert_eq!(fs::read_dir(store.root().join(".corten/leases")).unwrap().count(), 0);
}

#[corten_tier::t1]
fn images_in_oci_and_docker_format_are_pulled_and_read_by_skopeo_and_umoci() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, registry) = (layout(dir.path()), Registry::start(dir.path()));
    registry.push(&layout, "amd", "team/app:oci", &[]);
    registry.push(&layout, "amd", "team/app:docker", &["--format", "v2s2"]);
    let store = Store::open(dir.path().join("images")).unwrap();
    let client = Client::new(options(dir.path()));
    for tag in ["oci", "docker"] {
        let text = format!("{}/team/app:{tag}", registry.host());
        let pulled = pull_amd64(&client, &store, &text).unwrap();
        let served = fs::read(store.blob_path(&pulled.digest)).unwrap();
        assert_eq!(String::from_utf8(served).unwrap().contains("vnd.docker"), tag == "docker");
        assert_eq!(pulled.image.descriptor.media_type, MediaType::OciManifest);
        assert_eq!(pulled.image.layers.len(), 3);
        let url = format!("docker://{text}");
        let raw = run("skopeo", &["inspect", "--tls-verify=false", "--raw", &url]);
        assert_eq!(Digest::sha256(raw.as_bytes()), pulled.digest);
        let run_config = pulled.image.config.spec().config().clone().unwrap();
        assert_eq!(run_config.cmd().as_deref().unwrap(), ["/bin/sh"]);
        assert_eq!(store.image(&text).unwrap().id, pulled.image.id);

        let ours = format!("{}:{text}", store.root().display());
        let seen = run("skopeo", &["inspect", "--format", "{{.Digest}}", &format!("oci:{ours}")]);
        assert_eq!(seen.trim(), pulled.image.descriptor.digest.to_string());
        let copy = format!("dir:{}", dir.path().join(format!("copy-{tag}")).display());
        run("skopeo", &["copy", "--quiet", &format!("oci:{ours}"), &copy]);
    }
    store.tag(&format!("{}/team/app:oci", registry.host()), &name("app:1")).unwrap();
    let bundle = dir.path().join("bundle");
    let image = format!("{}:app:1", store.root().display());
    run("umoci", &["unpack", "--image", &image, &bundle.display().to_string()]);
    let made = fs::read(dir.path().join("bundle-amd-2/rootfs/file-2")).unwrap();
    assert_eq!(fs::read(bundle.join("rootfs/file-2")).unwrap(), made);
    verify_all_blobs(&store);
}

#[corten_tier::t1]
fn an_index_gives_the_platform_that_is_asked_for_and_a_second_pull_is_one_request() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, registry) = (layout(dir.path()), Registry::start(dir.path()));
    registry.push(&layout, "multi", "multi:1", &["--all"]);
    let store = Store::open(dir.path().join("images")).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&seen);
    let trace = move |exchange: &Exchange<'_>| {
        sink.lock().unwrap().push(format!("{} {}", exchange.method, exchange.url));
    };
    let client = Client::with_trace(options(dir.path()), Arc::new(trace));
    let text = format!("{}/multi:1", registry.host());

    let mut events = Vec::new();
    let mut growing = HashMap::new();
    let mut listen = |event: Event<'_>| match event {
        Event::LayerStart { size, .. } => events.push(format!("start {size}")),
        Event::LayerGrowing { digest, file } => {
            growing.insert(digest.clone(), file.try_clone().unwrap());
        }
        Event::LayerDone { digest } => {
            // Told before, and with all of it in the file, whatever name that has by now.
            let file = &growing[digest];
            let mut content = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut content, 0).unwrap();
            assert_eq!(Digest::sha256(&content), *digest);
            events.push("done".to_owned());
        }
        Event::LayerExists { .. } => events.push("exists".to_owned()),
        _ => {}
    };
    let first = pull(&client, &store, &name(&text), &amd64(), &mut listen).unwrap();
    assert_eq!(first.image.config.platform(), amd64());
    assert_ne!(first.digest, first.image.descriptor.digest);
    assert_eq!(events.len(), 6);
    assert_eq!(events.iter().filter(|e| *e == "done").count(), 3);
    let total: u64 = first.image.layers.iter().map(|l| l.descriptor.size).sum();
    assert_eq!(first.downloaded, total);

    seen.lock().unwrap().clear();
    assert!(pull_amd64(&client, &store, &text).unwrap().up_to_date);
    assert_eq!(seen.lock().unwrap().len(), 1, "{:?}", seen.lock().unwrap());

    // The same name for another platform is another image.
    let arm = "linux/arm64".parse::<Platform>().unwrap();
    let other = pull(&client, &store, &name(&text), &arm, &mut Silent).unwrap();
    assert_eq!(other.image.config.platform(), arm);
    assert_eq!(store.list().unwrap().len(), 2);
    let error = pull(&client, &store, &name(&text), &"linux/s390x".parse().unwrap(), &mut Silent);
    let error = error.unwrap_err().to_string();
    assert!(error.ends_with("there is: linux/arm64, linux/amd64"), "{error}");

    // Both are here under the registry's index, and an archive can have both.
    let both = [amd64(), arm];
    let archive = dir.path().join("both.tar");
    let mut file = fs::File::create(&archive).unwrap();
    store.save_for(std::slice::from_ref(&text), &both, &mut file).unwrap();
    let loaded = Store::open(dir.path().join("loaded")).unwrap();
    loaded.unpack_archive(&mut fs::File::open(&archive).unwrap()).unwrap();
    assert_eq!(loaded.platforms_of(&text).unwrap(), [both[1].clone(), both[0].clone()]);
    let from = format!("oci-archive:{}", archive.display());
    let to = format!("oci:{}:both", dir.path().join("copied").display());
    run("skopeo", &["copy", "--all", &from, &to]);

    // By the digest of the index, and layers that are there are not fetched again.
    let by_digest = format!("{}/multi@{}", registry.host(), first.digest);
    let again = pull_amd64(&client, &store, &by_digest).unwrap();
    assert_eq!((again.downloaded, again.image.id), (0, first.image.id));
    assert!(pull_amd64(&client, &store, &by_digest).unwrap().up_to_date);
    verify_all_blobs(&store);
}

#[corten_tier::t1]
fn what_does_not_exist_is_said_with_the_registrys_words_and_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, registry) = (layout(dir.path()), Registry::start(dir.path()));
    registry.push(&layout, "arm", "app:1", &[]);
    let store = Store::open(dir.path().join("images")).unwrap();
    let client = Client::new(options(dir.path()));
    for text in ["app:2", "nothing:1"] {
        let text = format!("{}/{text}", registry.host());
        let error = pull_amd64(&client, &store, &text).unwrap_err();
        assert!(error.is_not_found());
        let shown = error.to_string();
        assert!(shown.contains("404 MANIFEST_UNKNOWN: manifest unknown (no such image"), "{shown}");
    }
    // An image without an index may be for another platform: that is told, not refused.
    let mut warned = None;
    let mut listen = |event: Event<'_>| {
        if let Event::OtherPlatform(platform) = event {
            warned = Some(platform.to_string());
        }
    };
    let text = format!("{}/app:1", registry.host());
    pull(&client, &store, &name(&text), &amd64(), &mut listen).unwrap();
    assert_eq!(warned.as_deref(), Some("linux/arm64"));
}

#[corten_tier::t1]
fn tls_is_verified_by_an_own_authority_and_plain_http_is_only_for_insecure_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &ca).unwrap();
    let path = |file: &str| dir.path().join(file);
    fs::write(path("ca.pem"), ca.pem()).unwrap();
    fs::write(path("cert.pem"), certificate.pem()).unwrap();
    fs::write(path("key.pem"), key.serialize_pem()).unwrap();

    let layout = layout(dir.path());
    let registry = Registry::start_tls(dir.path(), &path("cert.pem"), &path("key.pem"));
    registry.push(&layout, "amd", "app:1", &[]);
    let text = format!("{}/app:1", registry.host());
    let attempt = |options: ClientOptions| {
        let store = Store::open(tempfile::tempdir_in(dir.path()).unwrap().keep()).unwrap();
        pull_amd64(&Client::new(options), &store, &text)
    };
    let strict = ClientOptions { loopback_is_insecure: false, ..options(dir.path()) };

    let error = attempt(strict.clone()).unwrap_err();
    let shown = error.to_string();
    assert!(matches!(error, Error::Network { .. }), "{shown}");
    assert!(shown.contains("/etc/docker/certs.d/HOST/ca.crt"), "{shown}");

    attempt(ClientOptions { ca_files: vec![path("ca.pem")], ..strict.clone() }).unwrap();
    attempt(options(dir.path())).unwrap();
    attempt(ClientOptions { insecure: vec![registry.host()], ..strict.clone() }).unwrap();
    let certs = strict.certs_dir.join(registry.host());
    fs::create_dir_all(&certs).unwrap();
    fs::copy(path("ca.pem"), certs.join("ca.crt")).unwrap();
    attempt(strict.clone()).unwrap();

    // And a host that is not named as insecure is never spoken to without TLS.
    let plain_dir = tempfile::tempdir_in(dir.path()).unwrap();
    let plain = Registry::start(plain_dir.path());
    let store = Store::open(path("plain")).unwrap();
    let error = pull_amd64(&Client::new(strict), &store, &format!("{}/app:1", plain.host()));
    let shown = error.unwrap_err().to_string();
    assert!(shown.contains("https://") && shown.contains("it speaks plain HTTP"), "{shown}");
}

#[corten_tier::t1]
fn parallel_pulls_and_removals_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, registry) = (layout(dir.path()), Registry::start(dir.path()));
    for i in 0..4 {
        registry.push(&layout, "amd", &format!("app{i}:1"), &[]);
    }
    let root = dir.path().join("images");
    let client = Client::new(options(dir.path()));
    std::thread::scope(|scope| {
        for i in 0..4 {
            let (root, client, host) = (&root, &client, registry.host());
            scope.spawn(move || {
                let store = Store::open(root).unwrap();
                let text = format!("{host}/app{i}:1");
                for _ in 0..5 {
                    pull_amd64(client, &store, &text).unwrap();
                    store.remove(&text, false).unwrap();
                }
                pull_amd64(client, &store, &text).unwrap();
            });
        }
    });
    let store = Store::open(&root).unwrap();
    assert_eq!(store.list().unwrap().len(), 4);
    verify_all_blobs(&store);
    let id = store.image(&format!("{}/app0:1", registry.host())).unwrap().id;
    let untagged = store.remove(id.hex(), true).unwrap().untagged;
    assert_eq!(untagged.iter().filter(|one| one.name.digest().is_none()).count(), 4);
    assert_eq!(untagged.len(), 8, "with the digest of each repository: {untagged:?}");
    assert_eq!(fs::read_dir(root.join("blobs/sha256")).unwrap().count(), 0);
}

//! Signatures and policies, at the pull and after it. The peers are openssl and, in `soak`, sigstore's
//! own library and skopeo of Debian 13; Debian 12 builds its own without signatures of this kind.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use corten_registry::signature::{Payload, signatures};
use corten_registry::{
    Client, ClientOptions, Platform, Policy, PrivateKey, PublicKey, PulledImage, Reference, Result,
    Silent, Store, pull_trusted, sign,
};
use serde_json::json;
use tempfile::TempDir;

mod peer;
use peer::{Registry, layout};

const PASSPHRASE: &str = "open sesame";

struct Scene {
    dir: TempDir,
    registry: Registry,
    layout: PathBuf,
    key: PrivateKey,
    client: Client,
    store: Store,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let registry = Registry::start(dir.path());
        let options = ClientOptions {
            certs_dir: dir.path().join("none"),
            docker_config: None,
            ..Default::default()
        };
        let key = PrivateKey::generate().unwrap();
        key.write(&dir.path().join("k.key"), PASSPHRASE.as_bytes()).unwrap();
        fs::write(dir.path().join("k.pub"), key.public().pem()).unwrap();
        let store = Store::open(dir.path().join("images")).unwrap();
        Scene { registry, layout, key, client: Client::new(options), store, dir }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn text(&self, name: &str) -> String {
        format!("{}/{name}", self.registry.host())
    }

    /// A policy: this registry's images must be signed by the
    /// key, all others are accepted.
    fn policy(&self, public: &str) -> PathBuf {
        let path = self.dir.path().join("policy.json");
        let text = format!(
            r#"{{"default":[{{"type":"insecureAcceptAnything"}}],"transports":{{"docker":{{
            "{}":[{{"type":"sigstoreSigned","keyPath":"{public}"}}]}}}}}}"#,
            self.registry.host()
        );
        fs::write(&path, text).unwrap();
        path
    }

    fn pull(&self, policy: &Path, name: &str) -> Result<PulledImage> {
        let (policy, name) = (Policy::read(policy)?, Reference::parse(&self.text(name))?);
        let amd64 = Platform::new("linux", "amd64", None);
        pull_trusted(&self.client, &self.store, &policy, &name, &amd64, &mut Silent)
    }
}

/// What sigstore's own library wrote lies in `tests/sigstore`: `./x soak signatures` made it.
#[test]
fn the_key_and_the_signature_of_sigstores_library_are_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sigstore");
    let read = |file: &str| fs::read(dir.join(file)).unwrap();
    let key = PrivateKey::read(&dir.join("peer.key"), b"secret").unwrap();
    let public = PublicKey::read(&dir.join("peer.pub")).unwrap();
    assert_eq!(key.public(), public);
    let (payload, signature) = (read("payload.json"), read("signature"));
    assert!(public.verifies(&payload, &signature));
    let parsed = Payload::parse(&payload).unwrap();
    assert!(parsed.name.ends_with("/app:1") || parsed.name.ends_with("/app"), "{}", parsed.name);
    assert!(!public.verifies(&payload[1..], &signature));
}

#[corten_tier::t1]
fn an_image_without_a_good_signature_is_refused_before_a_layer_is_asked_for() {
    let scene = Scene::new();
    scene.registry.push(&scene.layout, "amd", "app:1", &[]);
    scene.registry.push(&scene.layout, "arm", "app:2", &[]);
    let policy = scene.policy(&scene.path("k.pub"));
    let refused = |name: &str, why: &str| {
        let error = scene.pull(&policy, name).unwrap_err().to_string();
        assert!(error.contains("is not trusted") && error.contains(why), "{error}");
        assert!(scene.store.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(scene.store.root().join("blobs/sha256")).unwrap().count(), 0);
    };
    refused("app:1", "there is none");
    let name = Reference::parse(&scene.text("app:1")).unwrap();
    let other = PrivateKey::generate().unwrap();
    sign(&scene.client, &other, &name, false).unwrap();
    refused("app:1", "one is by another key");
    sign(&scene.client, &scene.key, &name, false).unwrap();
    refused("app:2", "there is none");
    let pulled = scene.pull(&policy, "app:1").unwrap();
    // Once more, for one request, with the signature that was kept.
    assert!(scene.pull(&policy, "app:1").unwrap().up_to_date);
    scene.pull(&policy, &format!("app@{}", pulled.digest)).unwrap();

    // The registry moves the signed content under a name that it was not signed for.
    scene.registry.push(&scene.layout, "amd", "app:3", &[]);
    let error = scene.pull(&policy, "app:3").unwrap_err().to_string();
    assert!(error.contains("one is for the name"), "{error}");
}

#[corten_tier::t1]
fn an_index_is_vouched_for_by_its_own_signature_or_that_of_the_chosen_manifest() {
    let scene = Scene::new();
    scene.registry.push(&scene.layout, "multi", "multi:1", &["--all"]);
    let policy = scene.policy(&scene.path("k.pub"));
    let name = Reference::parse(&scene.text("multi:1")).unwrap();
    sign(&scene.client, &scene.key, &name, false).unwrap();
    let pulled = scene.pull(&policy, "multi:1").unwrap();
    scene.store.check_policy(&Policy::read(&policy).unwrap(), &name.to_string()).unwrap();

    let other = name.with_tag("2").unwrap();
    scene.registry.push(&scene.layout, "multi", "multi:2", &["--all"]);
    let chosen = other.with_digest(pulled.image.descriptor.digest);
    let error = scene.pull(&policy, "multi:2").unwrap_err().to_string();
    assert!(error.contains("one is for the name"), "{error}");
    // Without a tag it is signed for the repository.
    sign(&scene.client, &scene.key, &chosen, false).unwrap();
    scene.pull(&policy, "multi:2").unwrap();
}

/// openssl knows the keys and the signatures, too.
#[corten_tier::t1]
fn openssl_verifies_our_signature_with_our_public_key() {
    let scene = Scene::new();
    scene.registry.push(&scene.layout, "amd", "app:1", &[]);
    let name = Reference::parse(&scene.text("app:1")).unwrap();
    let digest = sign(&scene.client, &scene.key, &name, false).unwrap();
    let signed = signatures(&scene.client, &name, &digest).unwrap();
    fs::write(scene.path("payload"), &signed[0].payload).unwrap();
    fs::write(scene.path("signature"), &signed[0].signature).unwrap();
    let [public, signature, payload] = ["k.pub", "signature", "payload"].map(|f| scene.path(f));
    let arguments = ["dgst", "-sha256", "-verify", &public, "-signature", &signature, &payload];
    assert_eq!(peer::run("openssl", &arguments).trim(), "Verified OK");
}

#[corten_tier::t1]
fn a_policy_is_enforced_on_what_is_in_the_store_without_the_registry() {
    let scene = Scene::new();
    scene.registry.push(&scene.layout, "amd", "app:1", &["--format", "v2s2"]);
    scene.registry.push(&scene.layout, "arm", "app:2", &[]);
    let text = scene.text("app:1");
    let name = Reference::parse(&text).unwrap();
    sign(&scene.client, &scene.key, &name, false).unwrap();
    let file = scene.policy(&scene.path("k.pub"));
    let pulled = scene.pull(&file, "app:1").unwrap();
    let policy = Policy::read(&file).unwrap();
    drop(scene.registry);

    let store = &scene.store;
    let check = |text: &str| store.check_policy(&policy, text).map_err(|e| e.to_string());
    check(&text).unwrap();
    check(&pulled.image.id.to_string()).unwrap();
    // The same image under a name that it was not signed for.
    let (domain, _) = text.split_once('/').unwrap();
    let other = Reference::parse(&format!("{domain}/other:1")).unwrap();
    store.tag(&text, &other).unwrap();
    assert!(check(&other.to_string()).unwrap_err().contains("one is for the name"));
    // Another image under the name that was signed.
    let options = corten_registry::ImportOptions {
        name: Some(name.clone()),
        config: json!({"os": "linux", "architecture": "amd64"}).as_object().unwrap().clone(),
        message: String::new(),
    };
    store.import(&mut &b"evil"[..], &options).unwrap();
    assert!(check(&text).unwrap_err().contains("there is none"));
    // What the policy does not speak of is accepted, as it says.
    store.tag(&text, &Reference::parse("elsewhere.example/x:1").unwrap()).unwrap();
    check("elsewhere.example/x:1").unwrap();
    // The signatures go with the image.
    let signatures = store.root().join(".corten/signatures");
    assert!(fs::read_dir(&signatures).unwrap().count() > 0);
    store.prune(true, &|_| false).unwrap();
    assert_eq!(fs::read_dir(&signatures).unwrap().count(), 0);
}

/// Against sigstore's own library and a skopeo that knows such signatures: `./x soak signatures` builds
/// tests/sigstore-peer, fetches that skopeo, and runs these.
mod soak {
    use std::process::Command;

    use super::*;

    fn peer(arguments: &[&str]) -> bool {
        let program = std::env::var("CORTEN_SIGSTORE_PEER").expect("./x soak signatures");
        let output = Command::new(program).args(arguments).output().unwrap();
        print!("{}", String::from_utf8_lossy(&output.stdout));
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        output.status.success()
    }

    #[test]
    #[ignore = "needs sigstore's library: ./x soak signatures"]
    fn they_verify_what_we_signed() {
        let scene = Scene::new();
        scene.registry.push(&scene.layout, "amd", "app:1", &[]);
        let (text, public) = (scene.text("app:1"), scene.path("k.pub"));
        assert!(!peer(&["verify", &text, &public]));
        sign(&scene.client, &scene.key, &Reference::parse(&text).unwrap(), false).unwrap();
        assert!(peer(&["verify", &text, &public]));
        let other = PrivateKey::generate().unwrap();
        fs::write(scene.path("other.pub"), other.public().pem()).unwrap();
        assert!(!peer(&["verify", &text, &scene.path("other.pub")]));
    }

    #[test]
    #[ignore = "needs sigstore's library: ./x soak signatures"]
    fn they_sign_with_our_key_file_and_we_verify() {
        let scene = Scene::new();
        scene.registry.push(&scene.layout, "amd", "app:1", &[]);
        let policy = scene.policy(&scene.path("k.pub"));
        scene.pull(&policy, "app:1").unwrap_err();
        assert!(peer(&["sign", &scene.text("app:1"), &scene.path("k.key"), PASSPHRASE]));
        scene.pull(&policy, "app:1").unwrap();
    }

    #[test]
    #[ignore = "needs sigstore's library: ./x soak signatures"]
    fn we_sign_with_their_key_file_and_they_verify() {
        let scene = Scene::new();
        scene.registry.push(&scene.layout, "amd", "app:1", &[]);
        let text = scene.text("app:1");
        assert!(peer(&["keygen", &scene.path("peer"), "secret"]));
        let key = PrivateKey::read(Path::new(&scene.path("peer.key")), b"secret").unwrap();
        let name = Reference::parse(&text).unwrap();
        let digest = sign(&scene.client, &key, &name, false).unwrap();
        assert!(peer(&["verify", &text, &scene.path("peer.pub")]));

        // What the test without the library reads.
        if let Some(to) = std::env::var_os("CORTEN_SIGSTORE_FIXTURE") {
            let to = PathBuf::from(to);
            scene.registry.push(&scene.layout, "arm", "app:1", &[]);
            assert!(peer(&["sign", &text, &scene.path("peer.key"), "secret"]));
            let theirs = scene.client.manifest(&name).unwrap().digest;
            assert_ne!(theirs, digest);
            let signed = signatures(&scene.client, &name, &theirs).unwrap();
            fs::create_dir_all(&to).unwrap();
            for file in ["peer.key", "peer.pub"] {
                fs::copy(scene.path(file), to.join(file)).unwrap();
            }
            fs::write(to.join("payload.json"), &signed[0].payload).unwrap();
            fs::write(to.join("signature"), &signed[0].signature).unwrap();
        }
    }

    /// skopeo of Debian 13, told where signatures are: beside the image, in the registry.
    fn skopeo(scene: &Scene, arguments: &[&str]) -> std::result::Result<(), String> {
        let program = std::env::var("CORTEN_SKOPEO").expect("./x soak signatures");
        let settings = scene.dir.path().join("registries.d");
        fs::create_dir_all(&settings).unwrap();
        let host = scene.registry.host();
        let text = format!("docker:\n  {host}:\n    use-sigstore-attachments: true\n");
        fs::write(settings.join("corten.yaml"), text).unwrap();
        let mut command = Command::new(program);
        command.arg("--registries.d").arg(&settings).args(arguments);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        println!("{said}");
        if output.status.success() { Ok(()) } else { Err(said) }
    }

    /// Pulls with the policy's file that we obey as well.
    fn skopeo_pulls(scene: &Scene, public: &str, name: &str) -> std::result::Result<(), String> {
        let policy = scene.policy(&scene.path(public)).display().to_string();
        let from = format!("docker://{}", scene.text(name));
        let to = format!("dir:{}", scene.path("pulled"));
        skopeo(scene, &["--policy", &policy, "copy", "--src-tls-verify=false", &from, &to])
    }

    #[test]
    #[ignore = "needs Debian 13's skopeo: ./x soak signatures"]
    fn skopeo_verifies_what_we_signed() {
        let scene = Scene::new();
        scene.registry.push(&scene.layout, "amd", "app:1", &["--format", "v2s2"]);
        let unsigned = skopeo_pulls(&scene, "k.pub", "app:1").unwrap_err();
        assert!(unsigned.contains("no signature exists"), "{unsigned}");
        let name = Reference::parse(&scene.text("app:1")).unwrap();
        sign(&scene.client, &scene.key, &name, false).unwrap();
        skopeo_pulls(&scene, "k.pub", "app:1").unwrap();
        let other = PrivateKey::generate().unwrap();
        fs::write(scene.path("other.pub"), other.public().pem()).unwrap();
        skopeo_pulls(&scene, "other.pub", "app:1").unwrap_err();
        // The same content under a name that it was not signed for.
        scene.registry.push(&scene.layout, "amd", "app:2", &["--format", "v2s2"]);
        let moved = skopeo_pulls(&scene, "k.pub", "app:2").unwrap_err();
        assert!(moved.contains("app:1"), "{moved}");
    }

    #[test]
    #[ignore = "needs Debian 13's skopeo: ./x soak signatures"]
    fn we_verify_what_skopeo_signed_with_our_key_file() {
        let scene = Scene::new();
        let policy = scene.policy(&scene.path("k.pub"));
        fs::write(scene.path("passphrase"), PASSPHRASE).unwrap();
        let from = format!("oci:{}:amd", scene.layout.display());
        let [key, passphrase] = ["k.key", "passphrase"].map(|file| scene.path(file));
        let push = |name: &str, more: &[&str]| {
            let to = format!("docker://{}", scene.text(name));
            let options = ["copy", "--dest-tls-verify=false", "--insecure-policy", &from, &to];
            skopeo(&scene, &[&options, more].concat()).unwrap();
        };
        push("app:1", &[]);
        scene.pull(&policy, "app:1").unwrap_err();
        let signed =
            ["--sign-by-sigstore-private-key", &key, "--sign-passphrase-file", &passphrase];
        push("app:2", &signed);
        scene.pull(&policy, "app:2").unwrap();
    }
}

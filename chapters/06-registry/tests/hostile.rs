//! Registries that are broken or malicious. Each time: refused with the reason, in bounded time and
//! memory, and nothing is left in the store.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

use corten_registry::{
    Client, ClientOptions, Digest, Error, Platform, Reference, Result, Silent, Store, pull,
};
use tempfile::TempDir;

mod double;
use double::{Double, Reply, image};

const KIND: &str = "application/vnd.oci.image.manifest.v1+json";

struct Scene {
    dir: TempDir,
    store: Store,
    options: ClientOptions,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path().join("images")).unwrap();
        let options = ClientOptions {
            certs_dir: dir.path().join("none"),
            docker_config: None,
            connect_timeout: Duration::from_secs(5),
            stall_timeout: Duration::from_millis(700),
            retries: 2,
            backoff: Duration::from_millis(1),
            ..ClientOptions::default()
        };
        Scene { dir, store, options }
    }

    fn pull(&self, registry: &Double) -> Result<corten_registry::PulledImage> {
        self.pull_name(&format!("{}/app:1", registry.host()))
    }

    fn pull_name(&self, name: &str) -> Result<corten_registry::PulledImage> {
        let client = Client::new(self.options.clone());
        let name = Reference::parse(name)?;
        pull(&client, &self.store, &name, &"linux/amd64".parse::<Platform>()?, &mut Silent)
    }

    /// Asserts that the pull fails, says why, and left neither a name nor a temporary file nor
    /// anything that a sweep would not take.
    fn refuses(&self, registry: &Double, why: &str) -> Error {
        let error = self.pull(registry).expect_err("the pull must fail");
        assert!(error.to_string().contains(why), "expected {why:?} in: {error}");
        self.is_clean();
        error
    }

    fn is_clean(&self) {
        assert!(self.store.list().unwrap().is_empty());
        assert_eq!(fs::read_dir(self.store.root().join(".corten/leases")).unwrap().count(), 0);
        for entry in fs::read_dir(self.store.root().join("blobs/sha256")).unwrap() {
            let path = entry.unwrap().path();
            let digest = Digest::sha256(&fs::read(&path).unwrap());
            assert_eq!(path.file_name().unwrap(), digest.hex(), "a blob that is not what it says");
        }
        self.store.collect_garbage().unwrap();
        assert_eq!(fs::read_dir(self.store.root().join("blobs/sha256")).unwrap().count(), 0);
    }
}

#[test]
fn an_honest_registry_is_pulled_from() {
    let (scene, image) = (Scene::new(), image());
    let registry = Double::of(&image);
    let pulled = scene.pull(&registry).unwrap();
    assert_eq!(pulled.digest, Digest::sha256(&image.manifest));
    assert_eq!(pulled.downloaded, image.layer.len() as u64);
    let before = registry.requests().len();
    assert!(scene.pull(&registry).unwrap().up_to_date);
    let after: Vec<String> = registry.requests()[before..].to_vec();
    // The probe for TLS is a request too; the pull itself is one HEAD.
    let pull: Vec<&String> = after.iter().filter(|r| !r.contains("GET /v2/ ")).collect();
    assert_eq!(pull.len(), 1, "{after:?}");
    assert!(pull[0].starts_with("HEAD /v2/app/manifests/1"), "{after:?}");
}

#[test]
fn a_layer_with_another_content_is_refused() {
    let (scene, image) = (Scene::new(), image());
    let mut forged = image.layer.clone();
    forged[10] ^= 1;
    let registry = Double::of(&image).with(&image.layer_path(), Reply::body(forged));
    scene.refuses(&registry, "the content's digest is");
}

#[test]
fn a_configuration_with_another_content_is_refused() {
    let (scene, image) = (Scene::new(), image());
    let forged = String::from_utf8(image.config.clone()).unwrap().replace("amd64", "arm64");
    let registry = Double::of(&image).with(&image.config_path(), Reply::body(forged));
    scene.refuses(&registry, "the content's digest is");
}

#[test]
fn a_manifest_that_is_not_what_the_registry_announces_is_refused() {
    let (scene, image) = (Scene::new(), image());
    let reply = Reply::body(image.manifest.clone())
        .header("Content-Type", KIND)
        .header("Docker-Content-Digest", &Digest::sha256(b"other").to_string());
    let registry = Double::of(&image).with("/v2/app/manifests/1", reply);
    scene.refuses(&registry, "the content's digest is");
}

#[test]
fn a_manifest_that_was_asked_for_by_digest_must_have_it() {
    let (scene, image) = (Scene::new(), image());
    let wanted = Digest::sha256(b"what the user trusts");
    let reply = Reply::body(image.manifest.clone())
        .header("Content-Type", KIND)
        .header("Docker-Content-Digest", &wanted.to_string());
    let registry = Double::of(&image).with(&format!("/v2/app/manifests/{wanted}"), reply);
    let error = scene.pull_name(&format!("{}/app@{wanted}", registry.host())).unwrap_err();
    assert!(matches!(error, Error::WrongDigest { .. }), "{error}");
    scene.is_clean();
}

#[test]
fn a_layer_of_another_size_is_refused_before_it_is_read() {
    let (scene, image) = (Scene::new(), image());
    let mut longer = image.layer.clone();
    longer.push(0);
    let registry = Double::of(&image).with(&image.layer_path(), Reply::body(longer));
    scene.refuses(&registry, "the server announces");
}

#[test]
fn an_endless_layer_is_cut_off_at_its_size() {
    let (scene, image) = (Scene::new(), image());
    let registry = Double::of(&image).with(&image.layer_path(), Reply::Endless { chunked: true });
    scene.refuses(&registry, &format!("more than {} bytes", image.layer.len()));
    let registry = Double::of(&image).with(&image.layer_path(), Reply::Endless { chunked: false });
    scene.refuses(&registry, &format!("more than {} bytes", image.layer.len()));
}

#[test]
fn an_endless_manifest_is_cut_off_at_the_limit() {
    let (scene, image) = (Scene::new(), image());
    let registry = Double::of(&image).with("/v2/app/manifests/1", Reply::Endless { chunked: true });
    scene.refuses(&registry, "is larger than 4194304 bytes");
}

#[test]
fn a_manifest_above_the_limit_is_not_even_read() {
    let (scene, image) = (Scene::new(), image());
    let reply = Reply::body(vec![b' '; (4 << 20) + 1]).header("Content-Type", KIND);
    let registry = Double::of(&image).with("/v2/app/manifests/1", reply);
    scene.refuses(&registry, "is larger than 4194304 bytes");
}

#[test]
fn a_configuration_above_the_limit_is_not_even_asked_for() {
    let scene = Scene::new();
    let mut image = image();
    let text = String::from_utf8(image.manifest).unwrap();
    let size = format!("\"size\":{}", image.config.len());
    image.manifest = text.replace(&size, "\"size\":99999999").into_bytes();
    let registry = Double::of(&image);
    scene.refuses(&registry, "is larger than 8388608 bytes");
    assert!(registry.requests().iter().all(|request| !request.contains("/blobs/")));
}

#[test]
fn a_layer_that_breaks_off_is_resumed_where_it_broke() {
    let (scene, image) = (Scene::new(), image());
    let registry = Double::of(&image)
        .with(&image.layer_path(), Reply::Broken { after: 1000, ranges: true, times: 2 });
    scene.pull(&registry).unwrap();
    let ranges = registry.requests().iter().filter(|r| r.contains("range: bytes=")).count();
    assert_eq!(ranges, 2, "{:?}", registry.requests());
}

#[test]
fn a_layer_that_breaks_off_is_fetched_anew_where_the_server_knows_no_ranges() {
    let (scene, image) = (Scene::new(), image());
    let registry = Double::of(&image)
        .with(&image.layer_path(), Reply::Broken { after: 1000, ranges: false, times: 1 });
    scene.pull(&registry).unwrap();
}

#[test]
fn a_layer_that_always_breaks_off_is_given_up() {
    let (scene, image) = (Scene::new(), image());
    let registry = Double::of(&image)
        .with(&image.layer_path(), Reply::Broken { after: 10, ranges: true, times: usize::MAX });
    scene.refuses(&registry, "the body broke off after");
}

#[test]
fn a_server_that_drips_is_given_up() {
    let (scene, image) = (Scene::new(), image());
    let start = Instant::now();
    let registry = Double::of(&image).with(&image.layer_path(), Reply::Drip);
    scene.refuses(&registry, "the server sends less than");
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let (scene, image) = (Scene::new(), image());
    for path in ["/v2/app/manifests/1".to_owned(), image.layer_path()] {
        let start = Instant::now();
        let registry = Double::of(&image).with(&path, Reply::Hang);
        scene.refuses(&registry, "timeout");
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    }
}

#[test]
fn a_redirect_to_another_host_is_followed_without_the_token() {
    let (mut scene, image) = (Scene::new(), image());
    let storage = Double::of(&image);
    let to = format!("http://{}{}", storage.host(), image.layer_path());
    let registry = Double::of(&image)
        .with(&image.layer_path(), Reply::Redirect(to))
        .secured("Basic realm=\"test\"", "Basic dTpw");
    let config = scene.dir.path().join("config.json");
    let text = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"dTpw\"}}}}}}", registry.host());
    fs::write(&config, text).unwrap();
    scene.options.docker_config = Some(config);
    scene.pull(&registry).unwrap();
    assert!(registry.requests().iter().any(|r| r.contains("authorization: Basic dTpw")));
    let leaked = storage.requests().iter().any(|r| r.to_lowercase().contains("authorization"));
    assert!(!leaked, "{:?}", storage.requests());
}

#[test]
fn a_token_is_fetched_from_whom_the_challenge_names_and_used_again() {
    let (scene, image) = (Scene::new(), image());
    let tokens = Double::of(&image)
        .with("/token?service=me&scope=repository:app:pull", Reply::body(r#"{"token":"t0"}"#));
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"me\",scope=\"repository:app:pull\"",
        tokens.host()
    );
    let registry = Double::of(&image).secured(&challenge, "Bearer t0");
    scene.pull(&registry).unwrap();
    assert_eq!(tokens.requests().len(), 1);
    let refused = Double::of(&image).secured(&challenge, "Bearer other");
    let scene = Scene::new();
    let error = scene.refuses(&refused, "401");
    assert!(error.to_string().contains("docker login"), "{error}");
}

#[test]
fn a_token_server_without_tls_or_without_a_token_is_refused() {
    let (scene, image) = (Scene::new(), image());
    let tokens =
        Double::of(&image).with("/token?scope=repository:app:pull", Reply::body(r#"{"token":""}"#));
    for (realm, why) in [
        ("file:///etc/passwd".to_owned(), "which is not https"),
        (format!("http://{}/token", tokens.host()), "holds no token"),
        (format!("http://{}/none", tokens.host()), "the token server refuses"),
    ] {
        let challenge = format!("Bearer realm=\"{realm}\"");
        scene.refuses(&Double::of(&image).secured(&challenge, "Bearer x"), why);
    }
}

#[test]
fn a_redirect_to_a_file_or_in_a_circle_is_refused() {
    let (scene, image) = (Scene::new(), image());
    let registry = Double::of(&image)
        .with(&image.layer_path(), Reply::Redirect("file:///etc/passwd".to_owned()));
    scene.refuses(&registry, "redirects to \"file:///etc/passwd\"");
    let registry =
        Double::of(&image).with(&image.layer_path(), Reply::Redirect(image.layer_path()));
    scene.refuses(&registry, "more than 5 redirects");
}

#[test]
fn trouble_that_passes_is_waited_out_and_lasting_trouble_is_reported() {
    let (scene, image) = (Scene::new(), image());
    let registry = Double::of(&image).with(&image.layer_path(), Reply::Busy { times: 2 });
    scene.pull(&registry).unwrap();
    let scene = Scene::new();
    let registry = Double::of(&image).with(&image.layer_path(), Reply::Busy { times: usize::MAX });
    scene.refuses(&registry, "503 UNAVAILABLE: too busy (the registry is in trouble");
}

#[test]
fn a_manifest_of_the_wrong_type_is_refused() {
    let (scene, image) = (Scene::new(), image());
    for (kind, why) in [
        ("text/html", "but calls itself"),
        ("application/vnd.oci.image.index.v1+json", "but calls itself"),
        ("application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
    ] {
        let reply = Reply::body(image.manifest.clone()).header("Content-Type", kind);
        scene.refuses(&Double::of(&image).with("/v2/app/manifests/1", reply), why);
    }
    let reply = Reply::body("{").header("Content-Type", KIND);
    scene.refuses(&Double::of(&image).with("/v2/app/manifests/1", reply), "not a manifest");
}

#[test]
fn a_manifest_whose_layers_and_diff_ids_differ_in_number_is_refused() {
    let scene = Scene::new();
    let mut image = image();
    let text = String::from_utf8(image.manifest).unwrap();
    let (start, end) = (text.find("\"layers\":[").unwrap() + 10, text.rfind(']').unwrap());
    let twice = format!("{},{}", &text[start..end], &text[start..end]);
    image.manifest = text.replace(&text[start..end], &twice).into_bytes();
    scene.refuses(&Double::of(&image), "1 diff_ids for 2 layers");
}

#[test]
fn control_characters_of_a_registry_do_not_reach_the_terminal() {
    let (scene, image) = (Scene::new(), image());
    let body = r#"{"errors":[{"code":"DENIED","message":"\u001b[2Jcleared"}]}"#;
    let reply = Reply::body(body).status(403);
    let error = scene.refuses(&Double::of(&image).with("/v2/app/manifests/1", reply), "DENIED");
    assert!(!error.to_string().contains('\u{1b}'), "{error:?}");
}

#[test]
fn nobody_there_is_said_at_once() {
    let (scene, start) = (Scene::new(), Instant::now());
    let error = scene.pull_name("127.0.0.1:1/app").unwrap_err().to_string();
    assert!(error.contains("nothing listens there"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
    let error = scene.pull_name("no-such-host.invalid/app").unwrap_err().to_string();
    assert!(error.contains("check the registry's name"), "{error}");
    scene.is_clean();
}

#[test]
fn names_that_climb_or_smuggle_are_refused_before_anything_is_asked() {
    let (scene, image) = (Scene::new(), image());
    let registry = Double::of(&image);
    let host = registry.host();
    for name in [
        format!("{host}/../app:1"),
        format!("{host}/app/../../etc/passwd:1"),
        format!("{host}/app:../1"),
        format!("{host}/app:1/../../x"),
        format!("{host}/app:1?x=y"),
        format!("{host}/app:1#x"),
        format!("{host}/app%2f..:1"),
        format!("{host}/app\r\nX-Evil: 1:1"),
        format!("{host}/app:1\0"),
        format!("user:password@{host}/app:1"),
        format!("{host}/app@sha256:../../../../etc/passwd"),
    ] {
        let error = scene.pull_name(&name).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{name}: {error}");
    }
    assert!(registry.requests().is_empty());
    scene.is_clean();
}

#[test]
fn digests_in_documents_that_are_paths_are_refused() {
    let (scene, image) = (Scene::new(), image());
    let text = String::from_utf8(image.manifest.clone()).unwrap();
    let digest = Digest::sha256(&image.layer);
    for trick in ["sha256:../../../index.json", "../../x:y", "sha256:", "md5:00"] {
        let forged = text.replace(&digest.to_string(), trick);
        let reply = Reply::body(forged).header("Content-Type", KIND);
        let registry = Double::of(&image).with("/v2/app/manifests/1", reply);
        let error = scene.pull(&registry).unwrap_err().to_string();
        let said = ["not an image manifest", "digest"].iter().any(|why| error.contains(why));
        assert!(said, "{trick}: {error}");
        scene.is_clean();
    }
}

#[test]
fn an_upload_that_goes_on_at_another_host_goes_without_the_token() {
    let (mut scene, image) = (Scene::new(), image());
    scene.pull(&Double::of(&image)).unwrap();
    let storage = Double::of(&image);
    let uploads = "/v2/new/blobs/uploads/";
    let reply = Reply::body("")
        .status(202)
        .header("Location", &format!("http://{}/elsewhere", storage.host()));
    let registry =
        Double::of(&image).with(uploads, reply).secured("Basic realm=\"test\"", "Basic dTpw");
    let config = scene.dir.path().join("config.json");
    let text = format!("{{\"auths\":{{\"{}\":{{\"auth\":\"dTpw\"}}}}}}", registry.host());
    fs::write(&config, text).unwrap();
    scene.options.docker_config = Some(config);
    let client = Client::new(scene.options.clone());
    let to = Reference::parse(&format!("{}/new:1", registry.host())).unwrap();
    let id = scene.store.list().unwrap()[0].name.as_ref().unwrap().to_string();
    let error = corten_registry::push(&client, &scene.store, &id, &to, &mut Silent).unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    let seen = storage.requests().join("");
    assert!(seen.contains("PUT /elsewhere") && !seen.contains("authorization"), "{seen}");
}

#[test]
fn an_index_that_names_itself_or_another_index_is_refused() {
    let (scene, image) = (Scene::new(), image());
    let kind = "application/vnd.oci.image.index.v1+json";
    let inner = format!(r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[]}}"#);
    let digest = Digest::sha256(inner.as_bytes());
    for inner_kind in [kind, KIND] {
        let outer = format!(
            r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{{"mediaType":"{inner_kind}","digest":"{digest}","size":{},"platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#,
            inner.len()
        );
        let registry = Double::of(&image)
            .with("/v2/app/manifests/1", Reply::body(outer).header("Content-Type", kind))
            .with(
                &format!("/v2/app/manifests/{digest}"),
                Reply::body(inner.clone()).header("Content-Type", kind),
            );
        let error = scene.pull(&registry).unwrap_err().to_string();
        assert!(error.contains("not a manifest") || error.contains("calls itself"), "{error}");
        scene.is_clean();
    }
}

//! How a registry is reached: credentials, mirrors, proxies, certificates, patience.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use corten_registry::{
    Client, ClientOptions, PulledImage, Reference, Result, Silent, Store, pull, push,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

mod double;
mod peer;
use double::{Double, Reply, image};
use peer::{Registry, Settings, layout, run};

struct Scene {
    dir: TempDir,
    options: ClientOptions,
}

impl Scene {
    fn new() -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let options = ClientOptions {
            certs_dir: dir.path().join("certs.d"),
            docker_config: None,
            backoff: Duration::from_millis(1),
            ..ClientOptions::default()
        };
        Scene { dir, options }
    }

    fn config(&mut self, text: &str) {
        let path = self.dir.path().join("config.json");
        fs::write(&path, text).unwrap();
        self.options.docker_config = Some(path);
    }

    fn pull(&self, name: &str) -> Result<PulledImage> {
        let store = Store::open(tempfile::tempdir_in(self.dir.path()).unwrap().keep())?;
        let (client, name) = (Client::new(self.options.clone()), Reference::parse(name)?);
        pull(&client, &store, &name, &"linux/amd64".parse()?, &mut Silent)
    }
}

fn tags(host: &str, options: &ClientOptions) -> Result<Vec<String>> {
    Client::new(options.clone()).tags(&Reference::parse(&format!("{host}/app"))?)
}

#[test]
fn tags_are_read_page_by_page() {
    let scene = Scene::new();
    let next = "</v2/app/tags/list?n=1000&last=b>; rel=\"next\"";
    let registry = Double::of(&image())
        .with("/v2/app/tags/list?n=1000", Reply::body(r#"{"tags":["b","a"]}"#).header("Link", next))
        .with("/v2/app/tags/list?n=1000&last=b", Reply::body(r#"{"tags":["c"]}"#));
    assert_eq!(tags(registry.host(), &scene.options).unwrap(), ["a", "b", "c"]);
}

#[test]
fn a_list_that_goes_on_elsewhere_or_does_not_end_is_refused() {
    let scene = Scene::new();
    let first = "/v2/app/tags/list?n=1000";
    for (link, body, why) in [
        ("<http://127.0.0.1:1/x>; rel=next", r#"{"tags":["a"]}"#, "lies at another server"),
        (
            "<file:///etc/passwd>; rel=next",
            r#"{"tags":["a"]}"#,
            "redirects to \"file:///etc/passwd\"",
        ),
        ("</v2/app/tags/list?n=1000>; rel=next", r#"{"tags":["a"]}"#, "does not end"),
        ("</v2/app/tags/list?n=1>; rel=next", r#"{"tags":null}"#, "does not end"),
    ] {
        let registry = Double::of(&image()).with(first, Reply::body(body).header("Link", link));
        let error = tags(registry.host(), &scene.options).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn an_identity_token_is_exchanged_and_never_sent_to_the_registry() {
    let (mut scene, image) = (Scene::new(), image());
    let tokens = Double::of(&image).with("/token", Reply::body(r#"{"access_token":"t1"}"#));
    let challenge = format!("Bearer realm=\"http://{}/token\",service=\"me\"", tokens.host());
    let registry = Double::of(&image).secured(&challenge, "Bearer t1");
    let host = registry.host();
    scene.config(&format!(r#"{{"auths":{{"{host}":{{"identitytoken":"very secret"}}}}}}"#));
    scene.pull(&format!("{host}/app:1")).unwrap();
    let asked = tokens.requests().join("");
    assert!(asked.starts_with("POST /token"), "{asked}");
    assert!(asked.contains("scope=repository:app:pull&refresh_token=very%20secret"), "{asked}");
    assert!(!registry.requests().join("").contains("secret"));
}

#[test]
fn retry_after_is_waited_for_and_one_too_far_away_is_told() {
    let (scene, image) = (Scene::new(), image());
    let registry =
        Double::of(&image).with(&image.layer_path(), Reply::Later { after: "1", times: 1 });
    let start = Instant::now();
    scene.pull(&format!("{}/app:1", registry.host())).unwrap();
    assert!(start.elapsed() >= Duration::from_secs(1));

    let registry = Double::of(&image)
        .with(&image.layer_path(), Reply::Later { after: "3600", times: usize::MAX });
    let start = Instant::now();
    let error = scene.pull(&format!("{}/app:1", registry.host())).unwrap_err().to_string();
    assert!(error.contains("429") && error.contains("left alone for 3600 seconds"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_mirror_is_asked_first_without_the_registrys_password_and_may_fail() {
    let (mut scene, image) = (Scene::new(), image());
    let registry = Double::of(&image).secured("Basic realm=\"x\"", "Basic dTpw");
    let mirror = Double::of(&image).secured("Basic realm=\"x\"", "Basic dTpw");
    let host = registry.host();
    scene.config(&format!(r#"{{"auths":{{"{host}":{{"auth":"dTpw"}}}}}}"#));
    let url = format!("http://{}/", mirror.host());
    scene.options.mirrors = HashMap::from([(host.to_owned(), vec![url])]);
    scene.pull(&format!("{host}/app:1")).unwrap();
    let seen = mirror.requests().join("");
    assert!(seen.contains("GET /v2/app/manifests/1"), "{seen}");
    assert!(!seen.contains("authorization"), "{seen}");
    assert!(registry.requests().join("").contains("authorization: Basic dTpw"));

    // One that has the image spares the registry.
    let mirror = Double::of(&image);
    let url = format!("http://{}", mirror.host());
    scene.options.mirrors = HashMap::from([(host.to_owned(), vec![url])]);
    let before = registry.requests().len();
    scene.pull(&format!("{host}/app:1")).unwrap();
    assert_eq!(registry.requests().len(), before);

    // And one that lies does no harm: what it gives has another digest.
    let name = format!("{host}/app@{}", corten_registry::Digest::sha256(&image.manifest));
    let path = name.split('@').nth(1).map(|digest| format!("/v2/app/manifests/{digest}")).unwrap();
    let mirror = Double::of(&image).with(&path, Reply::body("{}"));
    let url = format!("http://{}", mirror.host());
    scene.options.mirrors = HashMap::from([(host.to_owned(), vec![url])]);
    let error = scene.pull(&name).unwrap_err().to_string();
    assert!(error.contains("the content's digest is"), "{error}");
}

/// A proxy for CONNECT that sends everything to `target`, and what it was asked for.
fn proxy(target: &str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = listener.local_addr().unwrap().to_string();
    let (asked, target) = (Arc::new(Mutex::new(Vec::new())), target.to_owned());
    let log = Arc::clone(&asked);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut reader = BufReader::new(client.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap_or(0) > 0 {}
            log.lock().unwrap().push(head);
            (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let server = TcpStream::connect(&target).unwrap();
            let carry = |mut from: Box<dyn Read + Send>, mut into: TcpStream| {
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut into);
                    let _ = into.shutdown(std::net::Shutdown::Both);
                });
            };
            carry(Box::new(reader), server.try_clone().unwrap());
            carry(Box::new(server), client);
        }
    });
    (host, asked)
}

#[test]
fn a_proxy_is_asked_to_connect_and_resolves_the_name() {
    let (mut scene, image) = (Scene::new(), image());
    let registry = Double::of(&image);
    let (host, asked) = proxy(registry.host());
    scene.options.proxy = Some(format!("http://user:word@{host}"));
    scene.options.insecure = vec!["registry.invalid:5000".to_owned()];
    scene.pull("registry.invalid:5000/app:1").unwrap();
    let asked = asked.lock().unwrap().join("");
    assert!(asked.starts_with("CONNECT registry.invalid:5000"), "{asked}");
    assert!(asked.to_lowercase().contains("proxy-authorization: basic dxnlcjp3b3jk"), "{asked}");
    scene.options.proxy = Some("nonsense://x".to_owned());
    assert!(scene.pull("registry.invalid:5000/app:1").unwrap_err().to_string().contains("proxy"));
}

#[corten_tier::t1]
fn user_and_password_let_in_where_the_registry_wants_them() {
    let mut scene = Scene::new();
    let path = |file: &str| scene.dir.path().join(file);
    // `sesame`, by bcrypt with few rounds.
    let line = "ali:$2b$04$ZFMgLi/Fmd0UbCcHUwDqP.BEK3leXaSFEZR6No/1DJ35Igwcfc7PC\n";
    fs::write(path("htpasswd"), line).unwrap();
    let settings = Settings { htpasswd: Some(path("htpasswd")), ..Settings::default() };
    let layout = layout(scene.dir.path());
    let registry = Registry::with(scene.dir.path(), &settings);
    registry.push(&layout, "amd", "app:1", &["--dest-creds", "ali:sesame"]);
    let text = format!("{}/app:1", registry.host());

    let error = scene.pull(&text).unwrap_err().to_string();
    assert!(error.contains("401 UNAUTHORIZED") && error.contains("docker login"), "{error}");
    for (user, works) in [("ali:sesame", true), ("ali:wrong", false)] {
        use base64::Engine as _;
        let auth = base64::engine::general_purpose::STANDARD.encode(user);
        scene.config(&format!(r#"{{"auths":{{"{}":{{"auth":"{auth}"}}}}}}"#, registry.host()));
        assert_eq!(scene.pull(&text).is_ok(), works, "{user}");
        let store = Store::open(scene.dir.path().join("push")).unwrap();
        let client = Client::new(scene.options.clone());
        let name = Reference::parse(&text).unwrap();
        if works {
            pull(&client, &store, &name, &"linux/amd64".parse().unwrap(), &mut Silent).unwrap();
        }
        let to = Reference::parse(&format!("{}/new:1", registry.host())).unwrap();
        assert_eq!(push(&client, &store, &text, &to, &mut Silent).is_ok(), works, "{user}");
    }
    let from = format!("docker://{}/new:1", registry.host());
    run("skopeo", &["inspect", "--tls-verify=false", "--creds", "ali:sesame", "--raw", &from]);
}

/// An authority, and a certificate of it for `name` in `NAME.crt` and `NAME.key`.
fn certify(dir: &Path, names: &[&str]) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
    for name in names {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![(*name).to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &ca).unwrap();
        fs::write(dir.join(format!("{name}.crt")), certificate.pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[corten_tier::t1]
fn a_client_certificate_in_certs_d_is_shown_to_who_asks_for_it() {
    let mut scene = Scene::new();
    let dir = scene.dir.path().to_path_buf();
    certify(&dir, &["127.0.0.1", "client"]);
    let settings = Settings {
        tls: Some((dir.join("127.0.0.1.crt"), dir.join("127.0.0.1.key"))),
        client_ca: Some(dir.join("ca.pem")),
        ..Settings::default()
    };
    let layout = layout(&dir);
    let registry = Registry::with(&dir, &settings);
    let certs = dir.join("certs.d").join(registry.host());
    fs::create_dir_all(&certs).unwrap();
    fs::copy(dir.join("ca.pem"), certs.join("ca.crt")).unwrap();
    scene.options.loopback_is_insecure = false;
    let text = format!("{}/app:1", registry.host());
    let error = scene.pull(&text).unwrap_err().to_string();
    assert!(error.contains("it wants to see a certificate of ours"), "{error}");

    fs::copy(dir.join("client.crt"), certs.join("me.cert")).unwrap();
    let error = scene.pull(&text).unwrap_err().to_string();
    assert!(error.contains("there is no") && error.contains("me.key"), "{error}");
    fs::copy(dir.join("client.key"), certs.join("me.key")).unwrap();
    let certs_text = certs.display().to_string();
    registry.push(&layout, "amd", "app:1", &["--dest-cert-dir", &certs_text]);
    scene.pull(&text).unwrap();
}

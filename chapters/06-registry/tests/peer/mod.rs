//! The real counterparts, from Debian's packages: docker-registry, skopeo, umoci.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub mod relay;

/// Runs a program, which must succeed, and gives what it printed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}: install the packages: ./x test"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// How a registry is set up.
#[derive(Default)]
pub struct Settings {
    /// Certificate and key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// The authority that must have signed the clients' certificates.
    pub client_ca: Option<PathBuf>,
    /// Users and passwords, as htpasswd makes them with bcrypt.
    pub htpasswd: Option<PathBuf>,
    /// Whether manifests can be deleted.
    pub delete: bool,
}

impl Settings {
    pub fn text(&self, data: &Path, port: u16) -> String {
        let mut text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  \
             delete:\n    enabled: {}\n  filesystem:\n    rootdirectory: {}\n",
            self.delete,
            data.display()
        );
        if let Some(path) = &self.htpasswd {
            let path = path.display();
            text += &format!("auth:\n  htpasswd:\n    realm: test\n    path: {path}\n");
        }
        text += &format!("http:\n  addr: 127.0.0.1:{port}\n");
        if let Some((certificate, key)) = &self.tls {
            let (certificate, key) = (certificate.display(), key.display());
            text += &format!("  tls:\n    certificate: {certificate}\n    key: {key}\n");
        }
        if let Some(ca) = &self.client_ca {
            text += &format!("    clientcas:\n      - {}\n", ca.display());
        }
        text
    }
}

/// A running docker-registry; ended when dropped.
pub struct Registry {
    child: Child,
    port: u16,
}

impl Registry {
    pub fn start(dir: &Path) -> Registry {
        Registry::with(dir, &Settings::default())
    }

    /// With a certificate and its key.
    pub fn start_tls(dir: &Path, certificate: &Path, key: &Path) -> Registry {
        let tls = Some((certificate.to_path_buf(), key.to_path_buf()));
        Registry::with(dir, &Settings { tls, ..Settings::default() })
    }

    pub fn with(dir: &Path, settings: &Settings) -> Registry {
        // Between our closing the port and its opening it, somebody else may take it: then again.
        for _ in 0..5 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let config = dir.join("registry.yml");
            fs::write(&config, settings.text(&dir.join("registry"), port)).unwrap();
            let mut child = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap_or_else(|e| panic!("docker-registry: {e}: install the packages: ./x test"));
            let limit = Instant::now() + Duration::from_secs(20);
            while child.try_wait().unwrap().is_none() && Instant::now() < limit {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Registry { child, port };
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("docker-registry does not start");
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Pushes `layout:tag` as `name` with skopeo.
    pub fn push(&self, layout: &Path, tag: &str, name: &str, options: &[&str]) {
        let from = format!("oci:{}:{tag}", layout.display());
        let to = format!("docker://{}/{name}", self.host());
        let mut arguments = vec!["copy", "--quiet", "--dest-tls-verify=false"];
        arguments.extend(options);
        arguments.extend([from.as_str(), to.as_str()]);
        run("skopeo", &arguments);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It ends by itself only when the test process is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An OCI layout made by umoci: the image `amd` of three layers, the image `arm` of one, and the
/// index `multi` of both and an attestation.
pub fn layout(dir: &Path) -> PathBuf {
    let layout = dir.join("layout");
    let at = |tag: &str| format!("{}:{tag}", layout.display());
    run("umoci", &["init", "--layout", &layout.display().to_string()]);
    for (tag, architecture, layers) in [("amd", "amd64", 3), ("arm", "arm64", 1)] {
        run("umoci", &["new", "--image", &at(tag)]);
        for layer in 0..layers {
            let bundle = dir.join(format!("bundle-{tag}-{layer}"));
            let bundle_text = bundle.display().to_string();
            run("umoci", &["unpack", "--image", &at(tag), &bundle_text]);
            let file = bundle.join(format!("rootfs/file-{layer}"));
            fs::write(file, format!("{tag} {layer} ").repeat(20_000)).unwrap();
            run("umoci", &["repack", "--image", &at(tag), &bundle_text]);
        }
        run(
            "umoci",
            &[
                "config",
                "--image",
                &at(tag),
                "--architecture",
                architecture,
                "--config.cmd",
                "/bin/sh",
                "--config.env",
                "A=b",
            ],
        );
    }
    add_index(&layout);
    layout
}

fn add_index(layout: &Path) {
    let path = layout.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let mut manifests = Vec::new();
    for (tag, os, architecture) in
        [("amd", "unknown", "unknown"), ("arm", "linux", "arm64"), ("amd", "linux", "amd64")]
    {
        let entries = index["manifests"].as_array().unwrap();
        let named = |e: &&Value| e["annotations"]["org.opencontainers.image.ref.name"] == tag;
        let entry = entries.iter().find(named).unwrap();
        manifests.push(json!({
            "mediaType": entry["mediaType"], "digest": entry["digest"], "size": entry["size"],
            "platform": {"os": os, "architecture": architecture},
        }));
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let document = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
    let bytes = serde_json::to_vec(&document).unwrap();
    let digest = corten_registry::Digest::sha256(&bytes);
    fs::write(layout.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    index["manifests"].as_array_mut().unwrap().push(json!({
        "mediaType": kind, "digest": digest.to_string(), "size": bytes.len(),
        "annotations": {"org.opencontainers.image.ref.name": "multi"},
    }));
    fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
}

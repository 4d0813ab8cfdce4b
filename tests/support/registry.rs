//! A real registry on loopback: docker-registry from Debian, filled with skopeo.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::eventually;

/// A running registry; dropped, it is ended.
pub struct Registry {
    process: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Registry {
    pub fn start() -> Registry {
        super::own_network();
        // A port that is free now; docker-registry cannot be given a socket.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Registry::listening(free.port())
    }

    /// One at a port of its caller's choice.
    pub fn listening(port: u16) -> Registry {
        let dir = tempfile::tempdir().unwrap();
        let storage = dir.path().join("storage");
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config(&storage, port)).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry (package docker-registry)");
        let registry = Registry { process, port, dir };
        eventually("the registry listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        registry
    }

    /// The full name of `name` in this registry.
    pub fn name(&self, name: &str) -> String {
        format!("127.0.0.1:{}/{name}", self.port)
    }

    /// The directory with all that it holds.
    pub fn storage(&self) -> PathBuf {
        self.dir.path().join("storage")
    }

    /// Pushes the image `tag` of the OCI layout `layout` as `name`.
    pub fn push(&self, layout: &Path, tag: &str, name: &str, options: &[&str]) {
        let output = Command::new("skopeo")
            .args(["copy", "--dest-tls-verify=false"])
            .args(options)
            .arg(format!("oci:{}:{tag}", layout.display()))
            .arg(format!("docker://{}", self.name(name)))
            .output()
            .expect("skopeo (package skopeo)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The file of a blob.
    pub fn blob(&self, hex: &str) -> PathBuf {
        let blobs = self.dir.path().join("storage/docker/registry/v2/blobs/sha256");
        blobs.join(&hex[..2]).join(hex).join("data")
    }
}

/// What configures a registry with its files in `storage`.
pub fn config(storage: &Path, port: u16) -> String {
    format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n\
         http:\n  addr: 127.0.0.1:{port}\n",
        storage.display()
    )
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

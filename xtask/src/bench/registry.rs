//! `./x bench registry`: pulling and pushing beside skopeo, and beside curl and sha256sum.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Before, Method, compare};
use crate::error::{Error, OnPath, Result};
use crate::run::build;
use crate::setup::apt::Privilege;
use crate::{process, workspace};

/// The layers of the image, in MiB.
const LAYERS: [&str; 3] = ["30", "20", "10"];

/// docker-registry on loopback, ended when dropped.
struct Registry {
    child: Child,
    host: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    fn start(dir: &Path) -> Result<Registry> {
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|free| free.local_addr())
            .map_err(|e| Error::failed(format!("no free port: {e}")))?
            .port();
        let host = format!("127.0.0.1:{port}");
        let config = dir.join("registry.yml");
        let data = dir.join("data");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  \
             filesystem:\n    rootdirectory: {}\nhttp:\n  addr: {host}\n",
            data.display()
        );
        fs::write(&config, text).on("write", &config)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| Error::failed(format!("docker-registry: {e}")))?;
        let registry = Registry { child, host };
        let limit = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(&registry.host).is_err() {
            if Instant::now() > limit {
                return Err(Error::failed("docker-registry does not listen"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(registry)
    }
}

/// Measures a pull and a push of the same image.
///
/// # Errors
/// Where a program is missing or fails.
pub fn run(privilege: Privilege) -> Result<()> {
    build("corten-registry")?;
    let dir = workspace::scratch("bench-registry")?;
    let registry = Registry::start(&dir)?;
    let program = workspace::target().join("release/corten-registry");
    let (ours, host) = (program.display(), &registry.host);
    let (archive, store) = (dir.join("image.tar"), dir.join("store"));
    let script = workspace::root().join("benches/registry-image.sh");
    process::run(Command::new(script).arg(&archive).args(LAYERS))?;
    let at = |name: &str| dir.join(name).display().to_string();
    let (source, name) = (store.display(), format!("{host}/bench:1"));
    let on = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        process::read(command.args(arguments).arg("--store").arg(&store)).map(drop)
    };
    on(&["load", &at("image.tar")])?;
    on(&["push", "bench:1", &name])?;

    let (mine, theirs, plain) = (at("ours"), at("skopeo"), at("curl"));
    let urls: Vec<String> = blobs(&store)?
        .iter()
        .map(|blob| format!("http://{host}/v2/bench/blobs/sha256:{blob}"))
        .collect();
    let urls = urls.join(" ");
    let script = format!("for u in {urls}; do curl -sf $u | tee {plain} | sha256sum; done");
    let commands = [
        ("corten-registry", format!("{ours} pull {name} --platform linux/amd64 --store {mine}")),
        (
            "skopeo copy",
            format!("skopeo copy --src-tls-verify=false docker://{name} oci:{theirs}:bench:1"),
        ),
        ("curl, sha256sum", format!("sh -c '{script}'")),
    ];
    let method = removing(&[&mine, &theirs, &plain]);
    compare(privilege, "registry", "Pulling an image of 60 MiB", &method, &commands)?;

    let data = at("data/docker");
    let copy = format!("oci:{source}:bench:1 docker://{name}");
    let commands = [
        ("corten-registry", format!("{ours} push bench:1 {name} --store {source}")),
        ("skopeo copy", format!("skopeo copy --dest-tls-verify=false {copy}")),
    ];
    let method = removing(&[&data, &data]);
    compare(privilege, "registry-push", "Pushing an image of 60 MiB", &method, &commands)
}

/// Each command begins without the directory that it fills.
fn removing(directories: &[&String]) -> Method {
    let remove = |directory: &&String| format!("rm -rf {directory}");
    let prepare = directories.iter().map(remove).collect();
    let before = Before::Commands { prepare, cleanup: "true".to_owned() };
    Method { before, rounds: 3, runs: 8, warmup: 2 }
}

/// The layers' blobs in the store: the large ones.
fn blobs(store: &Path) -> Result<Vec<String>> {
    let dir = store.join("blobs/sha256");
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).on("list", &dir)?.flatten() {
        let large = entry.metadata().is_ok_and(|metadata| metadata.len() > 1 << 20);
        found.extend(large.then(|| entry.file_name().to_string_lossy().into_owned()));
    }
    Ok(found)
}

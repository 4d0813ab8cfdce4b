//! `./x bench registry`: pulling and pushing beside skopeo, and beside curl and sha256sum.

use std::process::Command;

use super::server::Registry;
use super::{Before, Method, compare, large_blobs, shell};
use crate::error::Result;
use crate::run::build;
use crate::setup::apt::Privilege;
use crate::{process, workspace};

/// The layers of the image, in MiB.
const LAYERS: [&str; 3] = ["30", "20", "10"];

/// Measures a pull and a push of the same image.
///
/// # Errors
/// Where a program is missing or fails.
pub fn run(privilege: Privilege) -> Result<()> {
    build("corten-registry")?;
    let dir = workspace::scratch("bench-registry")?;
    let registry = Registry::start(&dir.join("data"))?;
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
    let urls: Vec<String> = large_blobs(&store)?
        .iter()
        .filter_map(|blob| blob.file_name()?.to_str())
        .map(|digest| format!("http://{host}/v2/bench/blobs/sha256:{digest}"))
        .collect();
    let urls = urls.join(" ");
    let script = format!("for u in {urls}; do curl -sf $u | tee {plain} | sha256sum; done");
    let commands = [
        ("corten-registry", format!("{ours} pull {name} --platform linux/amd64 --store {mine}")),
        (
            "skopeo copy",
            format!("skopeo copy --src-tls-verify=false docker://{name} oci:{theirs}:bench:1"),
        ),
        ("curl, sha256sum", shell(&script)),
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
    Method { before, rounds: 3, runs: 8, warmup: 2, ..Method::default() }
}

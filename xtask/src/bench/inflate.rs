//! Which library inflates a layer fastest: benches/inflate is built once for each, and run.

use std::process::Command;

use super::{Method, compare};
use crate::error::Result;
use crate::setup::apt::Privilege;
use crate::{process, workspace};

/// What a library is called, and the feature of benches/inflate that takes it. The first is what the
/// workspace's Cargo.toml asks for.
const LIBRARIES: [(&str, &str); 6] = [
    ("zlib-rs", "zlib-rs-detect"),
    ("zlib-rs without the CPU's own instructions", "zlib-rs"),
    ("miniz_oxide", "miniz_oxide"),
    ("zlib-ng", "zlib-ng"),
    ("Cloudflare's zlib", "cloudflare"),
    ("zlib", "zlib"),
];

pub(super) fn run() -> Result<()> {
    let layer = workspace::scratch("bench-inflate")?.join("layer.tar.gz");
    let mut tar = Command::new("tar");
    process::read(
        tar.args(["-C", "/", "-czf"]).arg(&layer).args(["usr/lib/python3.11", "usr/bin"]),
    )?;
    let mut commands = Vec::new();
    for (library, feature) in LIBRARIES {
        let target = workspace::root().join("target/inflate").join(feature);
        let manifest = workspace::root().join("benches/inflate/Cargo.toml");
        let mut build = workspace::cargo();
        build.args(["build", "--release", "--locked", "--features", feature]);
        build.arg("--manifest-path").arg(manifest).arg("--target-dir").arg(&target);
        process::run(&mut build)?;
        let program = target.join("release/inflate");
        commands.push((library, format!("{} {}", program.display(), layer.display())));
    }
    commands.push(("gzip -dc", super::shell(&format!("gzip -dc {} >/dev/null", layer.display()))));
    let title = "Inflating a layer of 216 MB to 605 MB";
    let method = Method { rounds: 4, runs: 4, warmup: 1, ..Method::default() };
    compare(Privilege::here(), "inflate", title, &method, &commands)
}

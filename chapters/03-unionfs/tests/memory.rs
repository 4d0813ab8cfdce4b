//! What unpacking takes of memory, whatever the layer. A test binary of its own: the kernel keeps the
//! largest of all children.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::process::{Command, Stdio};

/// The layer is made by other programs: what this one holds would be counted as its children's, too.
#[corten_tier::t1]
fn a_large_layer_takes_little_memory() {
    let dir = lab::Scratch::tmpfs();
    let from = dir.path().join("from");
    fs::create_dir(&from).unwrap();
    for at in 0..6 {
        let file = fs::File::create(from.join(format!("{at}"))).unwrap();
        file.set_len(16 << 20).unwrap();
    }
    let file = dir.path().join("layer.tar.gz");
    lab::run(Command::new("tar").arg("-C").arg(&from).arg("-czf").arg(&file).arg("."));
    let to = dir.path().join("to");
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten-unionfs"));
    command.arg("apply").arg(&file).arg(&to).stdout(Stdio::null());
    assert!(command.status().unwrap().success());
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN);
    let mib = usage.unwrap().max_rss() >> 10;
    assert!(mib < 32, "{mib} MiB for a layer of 96 MiB");
}

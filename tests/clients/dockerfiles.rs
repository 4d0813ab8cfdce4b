//! Every Dockerfile of tests/dockerfiles, built by corten and by others: the same trees, configurations,
//! histories, and the same stream.

use std::path::Path;
use std::process::Command;

/// Compares with `peer`.
fn compare(peer: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dockerfiles/compare.sh");
    let output = Command::new(script)
        .env("CORTEN", env!("CARGO_BIN_EXE_corten"))
        .env("PEERS", peer)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let differs: Vec<&str> = text.lines().filter(|line| !line.starts_with("same: ")).collect();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{errors}", differs.join("\n"));
    let same = text.lines().filter(|line| line.starts_with("same: ")).count();
    assert!(same >= 50, "only {same} were compared");
}

#[corten_tier::t1]
fn builds_are_those_of_docker_s_classic_builder() {
    compare("docker");
}

#[corten_tier::t1]
fn builds_are_those_of_buildah() {
    compare("buildah");
}

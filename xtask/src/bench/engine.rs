//! The comparison of the whole engine with docker and podman.

use std::fs;
use std::process::Command;

use serde_json::Value;

use super::{Method, measure, record, rounded};
use crate::error::{Error, OnPath, Result};
use crate::run::build;
use crate::setup::apt::Privilege;
use crate::{process, workspace};

/// What each of them is asked for; the same words for all three.
const RUN: &str = "run --rm --network none busybox true";
const EXEC: &str = "exec box true";

/// One container from its making to its removal, one program in a container that runs, and a hundred
/// containers that are started together.
pub fn run() -> Result<()> {
    build("corten")?;
    build("corten-supervisor")?;
    let ours = workspace::target().join("release/corten").display().to_string();
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed("containers need root: run `sudo -v` first"));
    }
    library()?;
    let programs = [("corten", ours.as_str()), ("docker", "docker"), ("podman", "podman")];
    let method =
        Method { runs: 15, warmup: 3, world: "benches/engine/world.sh", ..Method::default() };
    for (name, title, words) in [
        ("engine-run", "One container: made, run, removed", RUN),
        ("engine-exec", "A program in a container that runs", EXEC),
    ] {
        let lines: Vec<(&str, String)> = programs
            .iter()
            .map(|(label, program)| (*label, format!("{program} {words}")))
            .collect();
        let mut commands = lines.clone();
        commands.insert(1, ("corten, as a library", format!("cargo bench --bench engine {name}")));
        let mut times = measure(privilege, &method, &lines)?;
        times.insert(1, samples(name)?);
        let tool = process::read(Command::new("hyperfine").arg("--version")).unwrap_or_default();
        record(name, title, ("ms", tool.trim()), &commands, &times)?;
    }
    together(privilege, &method, &programs)
}

fn together(privilege: Privilege, method: &Method, programs: &[(&str, &str)]) -> Result<()> {
    let script = workspace::root().join("benches/engine/together.sh");
    let line = |program: &str| format!("{} 100 {program} {RUN}", script.display());
    let commands: Vec<(&str, String)> =
        programs.iter().map(|(label, program)| (*label, line(program))).collect();
    let method = Method { rounds: 3, runs: 1, warmup: 0, ..method.clone() };
    let times = measure(privilege, &method, &commands)?;
    let title = "A hundred containers at the same time";
    record("engine-together", title, ("ms", "hyperfine"), &commands, &times)
}

/// The same through the library, by criterion.
fn library() -> Result<()> {
    process::run(workspace::cargo().args(["bench", "-p", "corten", "--bench", "engine"]))
}

/// The times of each iteration that criterion has measured, in milliseconds, sorted.
fn samples(name: &str) -> Result<Vec<f64>> {
    let path = workspace::target().join("criterion").join(name).join("new/sample.json");
    let text = fs::read_to_string(&path).on("read", &path)?;
    let document: Value = serde_json::from_str(&text)
        .map_err(|error| Error::failed(format!("{}: {error}", path.display())))?;
    let numbers = |name: &str| {
        let list = document[name].as_array().into_iter().flatten();
        list.filter_map(Value::as_f64).collect::<Vec<f64>>()
    };
    let (iterations, times) = (numbers("iters"), numbers("times"));
    let mut each: Vec<f64> =
        times.iter().zip(iterations).map(|(time, count)| rounded(time / count / 1e6)).collect();
    each.sort_by(f64::total_cmp);
    Ok(each)
}

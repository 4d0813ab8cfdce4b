//! `./x bench`: the side-by-side comparisons, written to benches/results.

mod builder;
mod daemon;
mod engine;
mod images;
mod inflate;
mod log;
mod names;
mod network;
mod registry;
mod runtime;
mod server;
mod supervisor;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::book::{self, Action};
use crate::error::{Error, OnPath, Result};
use crate::run::{build, image};
use crate::setup::apt::Privilege;
use crate::setup::{self, Purpose};
use crate::{process, say, workspace};

/// Which comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Comparison {
    /// corten-namespaces run beside unshare(1) and a program without namespaces
    Namespaces,
    /// corten build beside dockerd's classic builder and buildah
    Builder,
    /// corten-cgroups run beside a shell script that does the same and a program without limits
    Cgroups,
    /// corten pull and push beside podman and containerd, of an image of 4 GB
    Images,
    /// The libraries that could inflate layers, each alone
    Inflate,
    /// corten-unionfs apply beside tar and beside gzip alone
    Unionfs,
    /// corten-runtime run beside crun, runc and a bare program, with and without a seccomp profile
    Runtime,
    /// create, start, exec and delete, each alone, of corten-runtime, crun and runc
    RuntimeVerbs,
    /// 100 containers at the same time, and one while 500 others live
    RuntimeMany,
    /// How large the runtimes are, and how much memory one run of them takes
    RuntimeSize,
    /// corten-runtime run with one part of the configuration left out at a time
    RuntimeParts,
    /// corten-supervisor run beside crun alone and beside conmon with crun, and the memory of one
    /// supervisor of each kind
    Supervisor,
    /// The docker client, the list, memory and start of Corten's daemon beside dockerd's
    Daemon,
    /// corten run and exec beside docker and podman, one at a time and a hundred at once
    Engine,
    /// The log of a container that writes 1 GB, beside dockerd's json-file
    Log,
    /// How soon a container's name is resolved, beside dockerd
    Names,
    /// One container's network, made and ended, beside ip and nft by hand
    Network,
    /// corten-registry pull and push beside skopeo, and beside curl with sha256sum
    Registry,
}

/// Runs `comparison`, writes its numbers and prints the ratios of the medians.
///
/// # Errors
/// Without root, or where a command that is measured fails.
pub fn run(comparison: Comparison) -> Result<()> {
    setup::ensure(&[Purpose::Bench, Purpose::Run])?;
    match comparison {
        Comparison::Namespaces => namespaces(),
        Comparison::Builder => builder::run(),
        Comparison::Cgroups => cgroups(),
        Comparison::Images => images::run(),
        Comparison::Inflate => inflate::run(),
        Comparison::Unionfs => unionfs(),
        Comparison::Runtime => runtime::whole(),
        Comparison::RuntimeVerbs => runtime::verbs(),
        Comparison::RuntimeMany => runtime::many(),
        Comparison::RuntimeSize => runtime::size(),
        Comparison::RuntimeParts => runtime::parts(),
        Comparison::Supervisor => supervisor::run(),
        Comparison::Daemon => daemon::run(),
        Comparison::Engine => engine::run(),
        Comparison::Log => log::run(),
        Comparison::Names => names::run(),
        Comparison::Network => network::run(Privilege::here()),
        Comparison::Registry => registry::run(Privilege::here()),
    }
}

fn namespaces() -> Result<()> {
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed("unshare needs root for these namespaces: run `sudo -v` first"));
    }
    build("corten-namespaces")?;
    let rootfs = image::unpacked(&image::layer(&image::busybox()?)?)?;
    let program = workspace::target().join("release/corten-namespaces");
    let ours = format!("{} run --rootfs {} -- /bin/true", program.display(), rootfs.display());
    let commands = [
        ("corten-namespaces", ours),
        ("unshare", "unshare -mpfuin --mount-proc true".to_owned()),
        ("no namespaces", "/bin/true".to_owned()),
    ];
    let title = "Starting and ending one container";
    compare(privilege, "namespaces", title, &Method::default(), &commands)
}

fn cgroups() -> Result<()> {
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed("control groups need root: run `sudo -v` first"));
    }
    build("corten-cgroups")?;
    let program = workspace::target().join("release/corten-cgroups");
    let limits = "--memory 64m --cpus 0.5 --pids 20";
    let script = workspace::root().join("benches/cgroups-by-hand.sh");
    let commands = [
        ("corten-cgroups", format!("{} run {limits} -- /bin/true", program.display())),
        ("by hand", format!("{} /bin/true", script.display())),
        ("no limits", "/bin/true".to_owned()),
    ];
    let title = "Starting and ending one program with limits";
    let method = Method { before: Before::Rest, ..Method::default() };
    compare(privilege, "cgroups", title, &method, &commands)
}

/// A layer of Python's library, in memory: what the disk does is not ours.
fn unionfs() -> Result<()> {
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed("layers hold files of all users: run `sudo -v` first"));
    }
    build("corten-unionfs")?;
    let layer = workspace::scratch("bench-unionfs")?.join("layer.tar.gz");
    let mut tar = Command::new("tar");
    process::read(tar.args(["-C", "/", "-czf"]).arg(&layer).args(["usr/lib/python3.11"]))?;
    let program = workspace::target().join("release/corten-unionfs");
    let script = workspace::root().join("benches/unionfs-unpack.sh");
    let (layer, script) = (layer.display(), script.display());
    let commands = [
        ("corten-unionfs", format!("{script} {} apply {layer}", program.display())),
        ("GNU tar", format!("{script} tar -xzpf {layer} -C")),
        ("gzip alone", format!("{script} sh -c 'gzip -dc {layer} >/dev/null'")),
    ];
    let title = "Unpacking a layer of Python's library, in memory";
    let method = Method { runs: 10, warmup: 2, ..Method::default() };
    compare(privilege, "unionfs", title, &method, &commands)
}

/// What happens before each run of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Before {
    /// Nothing: it follows at once.
    Nothing,
    /// A twentieth of a second passes: what the kernel keeps ready for a while after its first use
    /// is not ready any more.
    Rest,
    /// A command for each of those that are measured.
    Commands {
        prepare: Vec<String>,
        /// After all runs of any command in a round.
        cleanup: String,
    },
}

/// How often and in which way commands are measured.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Method {
    before: Before,
    /// The commands take turns this many times, so that what else this machine does falls on all.
    rounds: usize,
    /// Runs of each command in a round.
    runs: usize,
    /// Runs before those, which are not measured.
    warmup: usize,
    /// The script that gives them what they need.
    world: &'static str,
}

impl Default for Method {
    fn default() -> Method {
        let world = "benches/runtime/world.sh";
        Method { before: Before::Nothing, rounds: 6, runs: 50, warmup: 10, world }
    }
}

/// Measures the commands, of which the first is ours, and writes what came of it.
fn compare(
    privilege: Privilege,
    name: &str,
    title: &str,
    method: &Method,
    commands: &[(&str, String)],
) -> Result<()> {
    let measured = measure(privilege, method, commands)?;
    let tool = process::read(Command::new("hyperfine").arg("--version")).unwrap_or_default();
    record(name, title, ("ms", tool.trim()), commands, &measured)
}

/// Writes what has been measured of the commands, sorted, in a unit and with a tool.
fn record(
    name: &str,
    title: &str,
    (unit, tool): (&str, &str),
    commands: &[(&str, String)],
    measured: &[Vec<f64>],
) -> Result<()> {
    let runs = runs(commands, measured)?;
    let file = workspace::root().join(format!("benches/results/{name}.json"));
    let mut document =
        json!({ "name": name, "title": title, "unit": unit, "tool": tool, "runs": runs });
    document.as_object_mut().into_iter().for_each(|fields| fields.extend(place()));
    write(&file, &document)?;
    for run in &runs {
        let number = |name: &str| run[name].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:<32} median {:>8.3} {unit}   25 to 75 %: {:>8.3} to {:>8.3}   n {}   {:.2} times",
            run["label"].as_str().unwrap_or_default(),
            number("median"),
            number("p25"),
            number("p75"),
            run["n"],
            number("ratio"),
        );
    }
    say!("written to {}", file.display());
    book::run(Action::Figures, None)
}

/// Measures the commands in turn, in several rounds, without a shell around them. Gives the times of
/// each in milliseconds, sorted.
fn measure(
    privilege: Privilege,
    method: &Method,
    commands: &[(&str, String)],
) -> Result<Vec<Vec<f64>>> {
    let rounds = method.rounds;
    let export = workspace::scratch("bench")?.join("hyperfine.json");
    let mut all = vec![Vec::new(); commands.len()];
    for round in 1..=rounds {
        say!("measuring, round {round} of {rounds}");
        let mut command = privilege.command(workspace::root().join(method.world));
        command.args(["hyperfine", "--shell=none", "--style=none"]);
        command.arg(format!("--warmup={}", method.warmup));
        command.arg(format!("--runs={}", method.runs));
        command.arg("--export-json").arg(&export);
        match &method.before {
            Before::Nothing => {}
            Before::Rest => {
                command.args(["--prepare", "sleep 0.05"]);
            }
            Before::Commands { prepare, cleanup } => {
                for line in prepare {
                    command.args(["--prepare", line]);
                }
                command.args(["--cleanup", cleanup]);
            }
        }
        command.args(commands.iter().map(|(_, line)| line));
        let output = process::try_output(&mut command)
            .ok_or_else(|| Error::failed("hyperfine cannot be started"))?;
        if !output.status.success() {
            return Err(Error::failed(String::from_utf8_lossy(&output.stderr).trim()));
        }
        let text = fs::read_to_string(&export).on("read", &export)?;
        let document: Value = serde_json::from_str(&text)
            .map_err(|e| Error::failed(format!("{}: {e}", export.display())))?;
        let results = document["results"].as_array().into_iter().flatten();
        for (times, result) in all.iter_mut().zip(results) {
            let seconds = result["times"].as_array().into_iter().flatten();
            times.extend(seconds.filter_map(Value::as_f64).map(|seconds| rounded(seconds * 1e3)));
        }
    }
    all.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    Ok(all)
}

/// A summary and the raw times of each command, in the form that corten-book reads and checks. The
/// ratio is the first one's median as a multiple of this one's.
fn runs(commands: &[(&str, String)], measured: &[Vec<f64>]) -> Result<Vec<Value>> {
    let none = || Error::failed("hyperfine's results hold no times");
    let ours =
        measured.first().and_then(|times| quantile(times, 0.5)).map(rounded).ok_or_else(none)?;
    let root = format!("{}/", workspace::root().display());
    let run = |((label, command), times): (&(&str, String), &Vec<f64>)| {
        let at = |q| quantile(times, q).map(rounded).ok_or_else(none);
        Ok(json!({
            "label": label,
            "command": command.replace(&root, ""),
            "n": times.len(),
            "median": at(0.5)?,
            "p25": at(0.25)?,
            "p75": at(0.75)?,
            "min": at(0.0)?,
            "max": at(1.0)?,
            "ratio": rounded(ours / at(0.5)?),
            "times": times,
        }))
    };
    commands.iter().zip(measured).map(run).collect()
}

/// The blobs of the layers in an image layout: whatever is larger than a manifest.
fn large_blobs(layout: &Path) -> Result<Vec<PathBuf>> {
    let dir = layout.join("blobs/sha256");
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).on("list", &dir)?.flatten() {
        let large = entry.metadata().is_ok_and(|metadata| metadata.len() > 1 << 20);
        found.extend(large.then(|| entry.path()));
    }
    Ok(found)
}

/// As one word of hyperfine's command lines, which it starts without a shell.
fn shell(script: &str) -> String {
    format!("sh -c '{script}'")
}

/// Four digits after the point: a tenth of a microsecond.
fn rounded(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The value below which the part `q` of the sorted `times` lies, interpolated.
fn quantile(times: &[f64], q: f64) -> Option<f64> {
    let last = times.len().checked_sub(1)?;
    let at = q * last as f64;
    let (low, high) = (times.get(at.floor() as usize)?, times.get(at.ceil() as usize)?);
    Some(low + (high - low) * at.fract())
}

/// The machine, without its name, which is nobody's business; and the day.
fn place() -> serde_json::Map<String, Value> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    let said = |program: &str, arguments: &[&str]| {
        process::read(Command::new(program).args(arguments)).unwrap_or_default().trim().to_owned()
    };
    let fields = [
        ("machine", format!("{}, {processors} processors", std::env::consts::ARCH)),
        ("cpu", cpu.map_or("unknown", |(_, name)| name.trim()).to_owned()),
        ("kernel", kernel.trim().to_owned()),
        ("date", said("date", &["-u", "+%Y-%m-%d"])),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn write(file: &Path, document: &Value) -> Result<()> {
    let dir = file.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(dir).on("create", dir)?;
    fs::write(file, format!("{document:#}\n")).on("write", file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let times = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(quantile(&times, 0.5), Some(2.5));
        assert_eq!(quantile(&times, 0.0), Some(1.0));
        assert_eq!(quantile(&times, 1.0), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn ratios_are_of_the_first_to_each_other() {
        let commands = ["a", "b", "c"].map(|name| (name, name.to_owned()));
        let runs = runs(&commands, &[vec![3.0], vec![2.0], vec![1.0]]).unwrap();
        let ratios: Vec<_> = runs.iter().map(|run| run["ratio"].as_f64().unwrap()).collect();
        assert_eq!(ratios, [1.0, 1.5, 3.0]);
        assert!(super::runs(&commands, &[vec![], vec![1.0], vec![1.0]]).is_err());
    }
}

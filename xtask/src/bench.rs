//! `./x bench`: the side-by-side comparisons, written to benches/results.

use std::fs;
use std::path::Path;
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
    /// corten-cgroups run beside a shell script that does the same and a program without limits
    Cgroups,
    /// corten-unionfs apply beside tar and beside gzip alone
    Unionfs,
    /// corten-runtime run beside crun, runc and a bare program, with and without a seccomp profile
    Runtime,
}

/// Runs `comparison`, writes its numbers and prints the ratios of the medians.
///
/// # Errors
/// Without root, or where a command that is measured fails.
pub fn run(comparison: Comparison) -> Result<()> {
    setup::ensure(&[Purpose::Bench, Purpose::Run])?;
    match comparison {
        Comparison::Namespaces => namespaces(),
        Comparison::Cgroups => cgroups(),
        Comparison::Unionfs => unionfs(),
        Comparison::Runtime => runtime(),
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
    compare(privilege, "namespaces", title, Pace::Constant, &commands)
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
    compare(privilege, "cgroups", title, Pace::Rested, &commands)
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
    compare(privilege, "unionfs", title, Pace::Slow, &commands)
}

/// `run` of a static true: with runc's default configuration, and with Docker's seccomp profile.
fn runtime() -> Result<()> {
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed("containers need root: run `sudo -v` first"));
    }
    build("corten-runtime")?;
    let rootfs = image::unpacked(&image::layer(&image::busybox()?)?)?;
    let scratch = workspace::scratch("bench-runtime")?;
    let floor = scratch.join("floor");
    let source = workspace::root().join("benches/runtime/floor.c");
    let mut cc = Command::new("cc");
    process::read(cc.args(["-O2", "-static", "-o"]).arg(&floor).arg(source))?;
    let program = workspace::target().join("release/corten-runtime");
    for (name, profile, title) in [
        ("runtime", None, "Running one container of runc's default configuration"),
        ("runtime-seccomp", Some(SECCOMP), "The same with Docker's seccomp profile"),
    ] {
        let bundle = bundle(&program, &scratch.join(name), &rootfs, profile)?;
        let run = |program: &str| format!("{program} --root /mnt/{name} run --bundle {bundle} x");
        let mut commands = vec![("corten-runtime", run(&program.display().to_string()))];
        for other in ["crun", "runc"] {
            if process::exists(other) {
                commands.push((other, run(other)));
            }
        }
        commands.push(("floor", format!("{} {} /bin/true", floor.display(), rootfs.display())));
        compare(privilege, name, title, Pace::Constant, &commands)?;
    }
    Ok(())
}

/// A seccomp profile as Docker writes it into a container's configuration.
const SECCOMP: &str = "chapters/04-runtime/tests/rig/docker-seccomp.json";

/// A bundle of runc's default configuration that runs true. The version is one that older runtimes
/// know.
fn bundle(
    program: &Path,
    directory: &Path,
    rootfs: &Path,
    profile: Option<&str>,
) -> Result<String> {
    let file = directory.join("config.json");
    // It is there from the last time.
    let _ = fs::remove_file(&file);
    fs::create_dir_all(directory).on("create", directory)?;
    process::read(Command::new(program).args(["spec", "--bundle"]).arg(directory))?;
    let text = fs::read_to_string(&file).on("read", &file)?;
    let json = |e: serde_json::Error| Error::failed(format!("{}: {e}", file.display()));
    let mut config: Value = serde_json::from_str(&text).map_err(json)?;
    config["ociVersion"] = json!("1.0.2");
    config["root"]["path"] = json!(rootfs);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/true"]);
    if let Some(profile) = profile {
        let path = workspace::root().join(profile);
        let text = fs::read_to_string(&path).on("read", &path)?;
        config["linux"]["seccomp"] = serde_json::from_str(&text).map_err(json)?;
    }
    fs::write(&file, config.to_string()).on("write", &file)?;
    Ok(directory.display().to_string())
}

/// How soon one run follows on the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// At once.
    Constant,
    /// After a twentieth of a second: what the kernel keeps ready for a while after its first use
    /// is not ready any more.
    Rested,
    /// At once, and fewer of them.
    Slow,
}

/// Measures the commands, of which the first is ours, and writes what came of it.
fn compare(
    privilege: Privilege,
    name: &str,
    title: &str,
    pace: Pace,
    commands: &[(&str, String)],
) -> Result<()> {
    let measured = measure(privilege, pace, commands)?;
    let runs = runs(commands, &measured)?;
    let file = workspace::root().join(format!("benches/results/{name}.json"));
    let mut document = json!({
        "name": name,
        "title": title,
        "unit": "ms",
        "runs": runs,
    });
    document.as_object_mut().into_iter().for_each(|fields| fields.extend(place()));
    write(&file, &document)?;
    for run in &runs {
        let number = |name: &str| run[name].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:<20} median {:>7.3} ms   25 to 75 %: {:>7.3} to {:>7.3} ms   n {}   {:.2} times",
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

/// Measures the commands in turn, in several rounds, so that what else this machine does falls on
/// all of them; without a shell around them. Gives the times of each in milliseconds,
/// sorted.
fn measure(privilege: Privilege, pace: Pace, commands: &[(&str, String)]) -> Result<Vec<Vec<f64>>> {
    const ROUNDS: usize = 6;
    let export = workspace::scratch("bench")?.join("hyperfine.json");
    let mut all = vec![Vec::new(); commands.len()];
    for round in 1..=ROUNDS {
        say!("measuring, round {round} of {ROUNDS}");
        let world = workspace::root().join("benches/runtime/world.sh");
        let mut command = privilege.command(&world);
        command.arg("hyperfine");
        command.args(["--shell=none", "--style=none"]);
        command.args(match pace {
            Pace::Slow => ["--warmup=2", "--runs=10"],
            Pace::Constant | Pace::Rested => ["--warmup=10", "--runs=50"],
        });
        command.arg("--export-json").arg(&export);
        if pace == Pace::Rested {
            command.args(["--prepare", "sleep 0.05"]);
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

/// The machine, without its name, which is nobody's business; the day and the tool.
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
        ("tool", said("hyperfine", &["--version"])),
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

//! `./x bench`: the side-by-side comparisons, written to benches/results.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

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
}

/// Runs `comparison`, writes its numbers and prints the ratios of the medians.
///
/// # Errors
/// Without root, or where a command that is measured fails.
pub fn run(comparison: Comparison) -> Result<()> {
    setup::ensure(&[Purpose::Bench, Purpose::Run])?;
    match comparison {
        Comparison::Namespaces => namespaces(),
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
    let measured = measure(privilege, &commands)?;
    let results: Vec<Value> = commands.iter().zip(&measured).map(row).collect();
    let ratios = ratios(&results)?;
    let file = workspace::root().join("benches/results/namespaces.json");
    let document = json!({
        "benchmark": "namespaces",
        "unit": "seconds",
        "machine": machine()?,
        "results": results,
        "ratios_of_medians": ratios,
    });
    write(&file, &document)?;
    for result in &results {
        println!(
            "{:<20} median {:>7.3} ms   25 to 75 %: {:>7.3} to {:>7.3} ms   n {}",
            result["name"].as_str().unwrap_or_default(),
            milliseconds(&result["median"]),
            milliseconds(&result["p25"]),
            milliseconds(&result["p75"]),
            result["n"],
        );
    }
    for (name, ratio) in ratios.as_object().into_iter().flatten() {
        println!("corten-namespaces takes {:.2} times {name}", ratio.as_f64().unwrap_or(f64::NAN));
    }
    say!("written to {}", file.display());
    Ok(())
}

/// Measures the commands in turn, in several rounds, so that what else this machine does falls on
/// all of them; without a shell around them. Gives the times of each, sorted.
fn measure(privilege: Privilege, commands: &[(&str, String)]) -> Result<Vec<Vec<f64>>> {
    const ROUNDS: usize = 6;
    let export = workspace::scratch("bench")?.join("hyperfine.json");
    let mut all = vec![Vec::new(); commands.len()];
    for round in 1..=ROUNDS {
        say!("measuring, round {round} of {ROUNDS}");
        let mut command = privilege.command("hyperfine");
        command.args(["--shell=none", "--warmup=10", "--runs=50", "--style=none"]);
        command.arg("--export-json").arg(&export);
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
            times.extend(seconds.filter_map(Value::as_f64));
        }
    }
    all.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    Ok(all)
}

fn row(((name, command), times): (&(&str, String), &Vec<f64>)) -> Value {
    let root = workspace::root().display().to_string();
    json!({
        "name": name,
        "command": command.replace(&format!("{root}/"), ""),
        "n": times.len(),
        "median": quantile(times, 0.5),
        "p25": quantile(times, 0.25),
        "p75": quantile(times, 0.75),
        "min": quantile(times, 0.0),
        "max": quantile(times, 1.0),
        "times": times,
    })
}

/// The value below which the part `q` of the sorted `times` lies, interpolated.
fn quantile(times: &[f64], q: f64) -> Option<f64> {
    let last = times.len().checked_sub(1)?;
    let at = q * last as f64;
    let (low, high) = (times.get(at.floor() as usize)?, times.get(at.ceil() as usize)?);
    Some(low + (high - low) * at.fract())
}

/// The first result's median as a multiple of each other's.
fn ratios(results: &[Value]) -> Result<Value> {
    let median = |result: &Value| result["median"].as_f64().filter(|median| *median > 0.0);
    let mut medians = results.iter().map(median);
    let first = medians.next().flatten();
    let mut ratios = serde_json::Map::new();
    for (result, other) in results.iter().skip(1).zip(medians) {
        let (Some(first), Some(other)) = (first, other) else {
            return Err(Error::failed("hyperfine's results hold no times"));
        };
        let name = result["name"].as_str().unwrap_or_default();
        ratios.insert(name.to_owned(), json!((first / other * 1000.0).round() / 1000.0));
    }
    Ok(Value::Object(ratios))
}

fn milliseconds(seconds: &Value) -> f64 {
    seconds.as_f64().unwrap_or(f64::NAN) * 1e3
}

/// The machine, without its name, which is nobody's business.
fn machine() -> Result<Value> {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let hyperfine = process::read(Command::new("hyperfine").arg("--version"))?;
    Ok(json!({
        "architecture": std::env::consts::ARCH,
        "kernel": kernel.trim(),
        "cpu": cpu.map_or("unknown", |(_, name)| name.trim()),
        "cpus": std::thread::available_parallelism().map_or(0, usize::from),
        "date": process::read(Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]))?.trim(),
        "tool": hyperfine.trim(),
    }))
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
        let results = [("a", 3.0), ("b", 2.0), ("c", 1.0)]
            .map(|(name, median)| json!({"name": name, "median": median}));
        assert_eq!(ratios(&results).unwrap(), json!({"b": 1.5, "c": 3.0}));
        assert!(ratios(&[json!({"name": "a"}), json!({"name": "b"})]).is_err());
    }
}

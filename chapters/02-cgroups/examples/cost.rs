//! What a control group costs: the time of each operation, as medians over many groups.
//!
//! `cargo run --release -p corten-cgroups --example cost -- [ROUNDS]`
#![deny(unsafe_code)]

use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use corten_cgroups::limits::{Cpu, Memory, cpus};
use corten_cgroups::{Cgroup, DeviceRule, Hierarchy, Limits, Max, Placement, Result, launch};

/// What `docker run --memory 64m --cpus 0.5 --pids-limit 20` asks for.
fn limits() -> Result<Limits> {
    Ok(Limits {
        cpu: Cpu { share: None, ..cpus("0.5")? },
        memory: Memory {
            limit: Some(Max::At(64 << 20)),
            swap: Some(Max::At(128 << 20)),
            ..Memory::default()
        },
        pids: Some(Max::At(20)),
        devices: Some(DeviceRule::CONTAINER.into()),
        ..Limits::default()
    })
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn round(hierarchy: &Hierarchy, name: &str, limits: &Limits) -> Result<[Duration; 4]> {
    let placement = Placement::Below(name.into());
    let begun = Instant::now();
    let cgroup = Cgroup::create(hierarchy, &placement, limits)?;
    let created = Instant::now();
    let running = launch::start(&cgroup, &["true"])?;
    let started = Instant::now();
    running.wait()?;
    let ended = Instant::now();
    cgroup.remove(Duration::from_secs(5))?;
    let removed = Instant::now();
    Ok([created - begun, started - created, ended - started, removed - ended])
}

/// fork and execve without any group, to compare with.
fn alone() -> Duration {
    let begun = Instant::now();
    let mut command = Command::new("true");
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    drop(status);
    begun.elapsed()
}

fn measure(rounds: usize) -> Result<()> {
    let begun = Instant::now();
    let hierarchy = Hierarchy::detect()?;
    let detected = begun.elapsed();
    let limits = limits()?;
    let mut times: [Vec<Duration>; 4] = Default::default();
    let mut bare = Vec::new();
    for number in 0..rounds {
        let name = format!("corten-cost-{}-{number}", std::process::id());
        for (all, one) in times.iter_mut().zip(round(&hierarchy, &name, &limits)?) {
            all.push(one);
        }
        bare.push(alone());
    }
    let [create, start, wait, remove] = times.map(median);
    println!("layout {}, {rounds} rounds, medians in microseconds", hierarchy.layout());
    println!("detect {:8.0}  (once)", detected.as_secs_f64() * 1e6);
    println!(
        "create {create:8.0}  directories and limits\nstart  {start:8.0}  clone, enter, execve"
    );
    println!("wait   {wait:8.0}  until `true` has ended\nremove {remove:8.0}");
    println!("bare   {:8.0}  `true` without a group", median(bare));
    Ok(())
}

fn main() -> ExitCode {
    let rounds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(200);
    match measure(rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cost: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

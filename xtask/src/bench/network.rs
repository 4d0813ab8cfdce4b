//! The time that one container's network takes, beside the same with ip and nft.

use std::process::Command;

use super::record;
use crate::error::{Error, OnPath, Result};
use crate::setup::apt::Privilege;
use crate::{process, say, workspace};

/// The kinds take turns this many times, so that what else this machine does falls on all.
const ROUNDS: usize = 3;

/// Containers in a round of a kind.
const CONTAINERS: usize = 40;

/// How many are connected before, for the kind that has neighbours.
const NEIGHBOURS: usize = 500;

/// Set-up and tear-down: with none connected, with many, and by hand.
pub fn run(privilege: Privilege) -> Result<()> {
    if privilege == Privilege::None {
        return Err(Error::failed("network namespaces need root: run `sudo -v` first"));
    }
    let package = ["build", "--release", "-p", "corten-network", "--bins", "--examples"];
    process::read(workspace::cargo().args(package))?;
    times_of_life(privilege)?;
    kernel(privilege)?;
    packets(privilege)
}

/// Set-up and end.
fn times_of_life(privilege: Privilege) -> Result<()> {
    let program = workspace::target().join("release/examples/speed").display().to_string();
    let script = workspace::root().join("benches/network/by-hand.sh").display().to_string();
    let by_hand = format!("unshare -n -m {script} {CONTAINERS}");
    let commands = [
        ("corten-network", format!("{program} {CONTAINERS} 0 1")),
        ("corten-network, 500 connected", format!("{program} {CONTAINERS} {NEIGHBOURS} 1")),
        ("ip and nft by hand", by_hand),
    ];
    let (mut ups, mut downs) = (vec![Vec::new(); 3], vec![Vec::new(); 3]);
    for _ in 0..ROUNDS {
        for (at, (_, line)) in commands.iter().enumerate() {
            let mut words = line.split(' ');
            let mut command = privilege.command(words.next().unwrap_or_default());
            let text = process::read(command.args(words))?;
            for (up, down) in times(&text)? {
                ups[at].push(up);
                downs[at].push(down);
            }
        }
    }
    let sort = |all: &mut Vec<Vec<f64>>| all.iter_mut().for_each(|t| t.sort_by(f64::total_cmp));
    sort(&mut ups);
    sort(&mut downs);
    let tool = tool();
    let title = "Setting up a container with a published port";
    record("network-setup", title, ("ms", &tool), &commands, &ups)?;
    let title = "Ending one container's network, for whoever waits";
    record("network-teardown", title, ("ms", &tool), &commands, &downs)
}

/// What the kernel alone takes for a container's port of a bridge: what is left of a set-up when nobody keeps
/// books.
fn kernel(privilege: Privilege) -> Result<()> {
    let script = workspace::root().join("benches/network/kernel.py").display().to_string();
    let line = |attached| format!("unshare -n -m python3 {script} {attached} {CONTAINERS}");
    let commands = [("the kernel", line(0)), ("the kernel, 500 connected", line(NEIGHBOURS))];
    let mut all = vec![Vec::new(); commands.len()];
    for _ in 0..ROUNDS {
        for (at, (_, line)) in commands.iter().enumerate() {
            let mut words = line.split(' ');
            let mut command = privilege.command(words.next().unwrap_or_default());
            let text = process::read(command.args(words))?;
            // Microseconds of its three requests.
            let sum = |line: &str| {
                line.split(' ').map(str::parse::<f64>).sum::<std::result::Result<f64, _>>()
            };
            for line in text.lines() {
                let wrong = |_| Error::failed(format!("not what kernel.py prints: {text}"));
                all[at].push(sum(line).map_err(wrong)? / 1000.0);
            }
        }
    }
    all.iter_mut().for_each(|times| times.sort_by(f64::total_cmp));
    let title = "A port of a bridge, by the kernel alone";
    record("network-kernel", title, ("ms", "rtnetlink from Python"), &commands, &all)
}

/// What is measured of packets: its name in the script's output and in that of files, its unit, and a
/// title.
const PACKETS: [(&str, &str, &str); 5] = [
    ("containers", "Gbit/s", "TCP between two containers of a network"),
    ("host", "Gbit/s", "TCP from the host to a container"),
    ("published", "Gbit/s", "TCP from another machine to a published port"),
    ("containers-latency", "µs", "A byte there and back between two containers"),
    ("published-latency", "µs", "A byte there and back through a published port"),
];

/// How often each engine's packets are measured, in turn, and the seconds of each measurement.
const TURNS: usize = 7;
const SECONDS: usize = 2;

/// Throughput and latency, beside dockerd's.
fn packets(privilege: Privilege) -> Result<()> {
    let release = workspace::target().join("release");
    let programs = workspace::scratch("bench-network")?;
    for (from, name) in [("corten-network", "corten-network"), ("examples/pingpong", "pingpong")] {
        let (from, to) = (release.join(from), programs.join(name));
        std::fs::copy(&from, &to).on("copy", &from)?;
    }
    let script = workspace::root().join("benches/network/throughput.sh").display().to_string();
    let kinds = [("corten-network", "corten"), ("dockerd", "docker")];
    let line = |kind| format!("unshare -n -m {script} {kind} {} {SECONDS}", programs.display());
    let commands = kinds.map(|(label, kind)| (label, line(kind)));
    let mut measured = vec![vec![Vec::new(); kinds.len()]; PACKETS.len()];
    for turn in 1..=TURNS {
        say!("measuring packets, turn {turn} of {TURNS}");
        for (at, (_, line)) in commands.iter().enumerate() {
            let mut words = line.split(' ');
            let mut command = privilege.command(words.next().unwrap_or_default());
            let text = process::read(command.args(words))?;
            for (what, all) in PACKETS.iter().zip(&mut measured) {
                all[at].push(value(&text, what.0)?);
            }
        }
    }
    for ((name, unit, title), mut all) in PACKETS.into_iter().zip(measured) {
        all.iter_mut().for_each(|values| values.sort_by(f64::total_cmp));
        let tool = if unit == "µs" { "corten-network's example pingpong" } else { "iperf3" };
        record(&format!("network-{name}"), title, (unit, tool), &commands, &all)?;
    }
    Ok(())
}

/// The number behind a name.
fn value(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let number = line.and_then(|number| number.trim().parse().ok());
    number.ok_or_else(|| Error::failed(format!("no {name} in: {text}")))
}

fn tool() -> String {
    let ip = process::read(Command::new("ip").arg("-V")).unwrap_or_default();
    let nft = process::read(Command::new("nft").arg("-v")).unwrap_or_default();
    let word = |text: &str| text.split(',').next().unwrap_or_default().trim().to_owned();
    format!("{}, {}", word(&ip), word(&nft))
}

/// The last two numbers of each line, or its only two: set-up and end.
fn times(text: &str) -> Result<Vec<(f64, f64)>> {
    let wrong = || Error::failed(format!("not what the program prints: {text}"));
    let mut found = Vec::new();
    for line in text.lines() {
        let numbers: std::result::Result<Vec<f64>, _> =
            line.split_whitespace().map(str::parse).collect();
        match numbers.map_err(|_| wrong())?[..] {
            [.., up, down] => found.push((up, down)),
            _ => return Err(wrong()),
        }
    }
    if found.is_empty() { Err(wrong()) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let text = "containers-latency 21.5\ncontainers 9.1\n";
        assert_eq!(value(text, "containers").unwrap(), 9.1);
        assert!(value(text, "host").is_err());
    }

    #[test]
    fn the_last_two_numbers_of_a_line_are_its_set_up_and_its_end() {
        assert_eq!(times("0.9 1.2 2.1 0.3\n5.5 6.5\n").unwrap(), [(2.1, 0.3), (5.5, 6.5)]);
        assert!(times("").is_err() && times("x 1\n").is_err() && times("1\n").is_err());
    }
}

//! The time that one container's network takes, beside the same with ip and nft.

use std::process::Command;

use super::record;
use crate::error::{Error, Result};
use crate::process;
use crate::setup::apt::Privilege;
use crate::workspace;

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
    let package = ["build", "--release", "-p", "corten-network", "--example", "speed"];
    process::read(workspace::cargo().args(package))?;
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
    let title = "Setting up one container's network, with a published port";
    record("network-setup", title, ("ms", &tool), &commands, &ups)?;
    let title = "Ending one container's network, for whoever waits";
    record("network-teardown", title, ("ms", &tool), &commands, &downs)
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
    fn the_last_two_numbers_of_a_line_are_its_set_up_and_its_end() {
        assert_eq!(times("0.9 1.2 2.1 0.3\n5.5 6.5\n").unwrap(), [(2.1, 0.3), (5.5, 6.5)]);
        assert!(times("").is_err() && times("x 1\n").is_err() && times("1\n").is_err());
    }
}

//! The comparison of Corten's daemon with dockerd: the time of the docker client's commands, the list of
//! containers, memory, and the start with many containers on the disk.

use std::collections::BTreeMap;

use super::record;
use crate::error::{Error, Result};
use crate::run::build;
use crate::setup::apt::Privilege;
use crate::{process, say, workspace};

/// Runs of each command, containers that run while they are listed, and those on the disk at a start.
const COUNTS: (usize, usize, usize) = (30, 200, 1000);

/// The environment variable that gives other counts, `RUNS,CONTAINERS,STORED`: to see that all works.
const COUNTS_VARIABLE: &str = "CORTEN_BENCH_DAEMON";

/// What the script prints: its name, its unit, and a title.
const THINGS: [(&str, &str, &str); 7] = [
    ("run", "ms", "docker run --rm --network none busybox true"),
    ("run-network", "ms", "docker run --rm busybox true"),
    ("exec", "ms", "docker exec c0 true"),
    ("list", "requests/s", "Lists of containers, to four clients"),
    ("idle", "MB", "Resident memory without containers"),
    ("running", "MB", "Resident memory with containers"),
    ("ready", "ms", "Start to first answer"),
];

/// All of them, of both daemons in turns.
pub fn run() -> Result<()> {
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed("containers need root: run `sudo -v` first"));
    }
    build("corten")?;
    let (runs, containers, stored) = counts(std::env::var(COUNTS_VARIABLE).ok().as_deref())?;
    let load = load();
    if load > 1.0 {
        say!("other programs run here (load {load:.1}): read the ratios, and no single value");
    }
    let script = workspace::root().join("benches/daemon/world.sh");
    let corten = workspace::target().join("release/corten");
    let line = format!(
        "env CORTEN={} {} {runs} {containers} {stored}",
        corten.display(),
        script.display()
    );
    let mut words = line.split(' ');
    let mut command = privilege.command(words.next().unwrap_or_default());
    let text = process::read(command.args(words))?;
    let measured = values(&text)?;
    for (thing, unit, title) in THINGS {
        let of = |daemon: &str| {
            let found = measured.get(&(thing.to_owned(), daemon.to_owned()));
            found
                .cloned()
                .ok_or_else(|| Error::failed(format!("no {thing} of {daemon} in: {text}")))
        };
        let commands = [("corten", line.clone()), ("dockerd", line.clone())];
        let name = format!("daemon-{thing}");
        let title = match thing {
            "running" | "list" => format!("{title} ({containers} run)"),
            "ready" => format!("{title}, {stored} containers on disk"),
            _ => title.to_owned(),
        };
        let tool = format!("measure.py, load {load:.1}");
        record(&name, &title, (unit, &tool), &commands, &[of("corten")?, of("dockerd")?])?;
    }
    Ok(())
}

/// What was asked for in place of [`COUNTS`].
fn counts(text: Option<&str>) -> Result<(usize, usize, usize)> {
    let Some(text) = text else { return Ok(COUNTS) };
    let numbers: Vec<usize> = text.split(',').flat_map(str::parse).collect();
    match numbers[..] {
        [runs, containers, stored] if runs >= 5 && containers > 0 => Ok((runs, containers, stored)),
        _ => Err(Error::failed(format!(
            "{COUNTS_VARIABLE}={text}: three numbers are due, as in 30,200,1000, the first 5 or more"
        ))),
    }
}

/// How many programs wanted a processor in the last minute (proc_loadavg(5)).
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

/// The numbers of the script's lines, of all lines with the same two words together, sorted.
fn values(text: &str) -> Result<BTreeMap<(String, String), Vec<f64>>> {
    let mut all: BTreeMap<(String, String), Vec<f64>> = BTreeMap::new();
    for line in text.lines() {
        let wrong = || Error::failed(format!("not what the script prints: {line}"));
        let mut words = line.split(' ');
        let (Some(thing), Some(daemon)) = (words.next(), words.next()) else { return Err(wrong()) };
        let own = all.entry((thing.to_owned(), daemon.to_owned())).or_default();
        for word in words {
            own.push(super::rounded(word.parse().map_err(|_| wrong())?));
        }
    }
    all.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_all_turns_are_one_list() {
        let all = values("run corten 3 1\nrun dockerd 9\nrun corten 2\n").unwrap();
        assert_eq!(all[&("run".to_owned(), "corten".to_owned())], [1.0, 2.0, 3.0]);
        assert_eq!(all[&("run".to_owned(), "dockerd".to_owned())], [9.0]);
        assert!(values("run corten x").is_err() && values("run").is_err());
    }

    #[test]
    fn counts_are_three_numbers() {
        assert_eq!(counts(None).unwrap(), COUNTS);
        assert_eq!(counts(Some("5,3,10")).unwrap(), (5, 3, 10));
        assert!(counts(Some("1,2")).is_err() && counts(Some("1,2,3")).is_err());
    }
}

//! The comparison of builds: corten, dockerd's classic builder, buildah.

use std::path::PathBuf;

use super::record;
use crate::error::{Error, Result};
use crate::run::build;
use crate::setup::apt::Privilege;
use crate::{process, say, workspace};

/// How often each build is measured, unless the environment's `CORTEN_BENCH_RUNS` says otherwise.
const RUNS: usize = 15;

/// What is measured: its name in the script's output and in that of files, and a title.
const BUILDS: [(&str, &str); 6] = [
    ("runs", "Twenty RUN true, nothing in the cache"),
    ("runs-cached", "Twenty RUN true, everything in the cache"),
    ("copy", "COPY of 20,000 small files"),
    ("copy-cached", "COPY of 20,000 small files, in the cache"),
    ("stages", "Ten stages with COPY and RUN, nothing in the cache"),
    ("stages-changed", "Ten stages, one file changed"),
];

/// As the script calls them, and as the tables do.
const BUILDERS: [(&str, &str); 3] =
    [("corten", "corten"), ("dockerd", "dockerd, classic builder"), ("buildah", "buildah")];

/// All builds, in turns of one.
pub fn run() -> Result<()> {
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed("containers need root: run `sudo -v` first"));
    }
    // As the script has it: another program may be measured than this checkout's.
    let program = match std::env::var_os("CORTEN") {
        Some(program) => PathBuf::from(program),
        None => {
            build("corten")?;
            workspace::target().join("release/corten")
        }
    };
    let runs = std::env::var("CORTEN_BENCH_RUNS").ok().and_then(|text| text.parse().ok());
    let runs: usize = runs.unwrap_or(RUNS);
    let script = workspace::root().join("benches/builder/measure.sh");
    // What else the machine did counts here more than elsewhere: a build is many processes.
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("?").to_owned();
    say!("measuring each build {runs} times, at a load of {load}");
    let mut command = privilege.command("env");
    command.arg(format!("CORTEN={}", program.display())).arg(format!("RUNS={runs}"));
    let text = process::read(command.arg(&script))?;
    let tool = format!("measure.sh, load {load}");
    for (name, title) in BUILDS {
        let mut times = Vec::new();
        for (builder, _) in BUILDERS {
            let mut one = times_of(&text, name, builder)?;
            if one.len() != runs {
                return Err(Error::failed(format!("{} times of {name} by {builder}", one.len())));
            }
            one.sort_by(f64::total_cmp);
            times.push(one);
        }
        let commands = BUILDERS.map(|(_, label)| (label, script.display().to_string()));
        record(&format!("builder-{name}"), title, ("ms", &tool), &commands, &times)?;
    }
    Ok(())
}

/// The times of one build by one builder, in milliseconds.
fn times_of(text: &str, name: &str, builder: &str) -> Result<Vec<f64>> {
    let wrong = |line: &str| Error::failed(format!("not what the script prints: {line}"));
    let mut times = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [what, who, time] = fields[..] else { return Err(wrong(line)) };
        if (what, who) == (name, builder) {
            times.push(time.parse().map_err(|_| wrong(line))?);
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_build_a_builder_and_milliseconds() {
        let text = "runs\tcorten\t10.500\nruns\tdockerd\t99.000\nruns-cached\tcorten\t1.000\n";
        assert_eq!(times_of(text, "runs", "corten").unwrap(), [10.5]);
        assert!(times_of("runs corten 1\n", "runs", "corten").is_err());
        assert!(times_of("runs\tcorten\tx\n", "runs", "corten").is_err());
    }
}

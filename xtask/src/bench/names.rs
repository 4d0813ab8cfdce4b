//! The comparison of a network's name server with the one in dockerd.

use super::record;
use crate::error::{Error, Result};
use crate::run::build;
use crate::setup::apt::Privilege;
use crate::{process, workspace};

/// So many questions one container asks in a round.
const QUESTIONS: usize = 100;

/// So often, in turns of one.
const ROUNDS: usize = 5;

/// From a container's question for another container's address to the answer.
pub fn run() -> Result<()> {
    let privilege = Privilege::here();
    if privilege == Privilege::None {
        return Err(Error::failed("containers need root: run `sudo -v` first"));
    }
    build("corten-network")?;
    let example = ["build", "--release", "-p", "corten-network", "--example", "ask"];
    process::run(workspace::cargo().args(example))?;
    let release = workspace::target().join("release");
    let (ours, ask) = (release.join("corten-network"), release.join("examples/ask"));
    let script = workspace::root().join("benches/names/ask.sh");
    let line = |kind: &str, program: &str| {
        format!("{} {kind} {program} {} {QUESTIONS}", script.display(), ask.display())
    };
    let commands = [
        ("corten-network", line("corten", &ours.display().to_string())),
        ("dockerd", line("dockerd", "dockerd")),
    ];
    let mut times = vec![Vec::new(); 2];
    for _ in 0..ROUNDS {
        for (place, (_, line)) in commands.iter().enumerate() {
            let mut words = line.split(' ');
            let mut command = privilege.command(words.next().unwrap_or_default());
            let text = process::read(command.args(words))?;
            let before = times[place].len();
            times[place].extend(text.lines().flat_map(str::parse::<f64>));
            if times[place].len() != before + QUESTIONS {
                return Err(Error::failed(format!("{line} said {text}")));
            }
        }
    }
    times.iter_mut().for_each(|all| all.sort_by(f64::total_cmp));
    let title = "A container asks for the address of another one";
    record("names", title, ("ms", "benches/names/ask.sh"), &commands, &times)
}

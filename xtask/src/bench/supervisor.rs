//! The comparisons of corten-supervisor with a runtime alone and with conmon.

use super::runtime::Stage;
use super::{Method, compare, record};
use crate::error::{Error, Result};
use crate::run::build;
use crate::{process, workspace};

/// `run` of true to its end, and the private memory of one supervisor while its container sleeps.
pub fn run() -> Result<()> {
    let stage = Stage::new()?;
    build("corten-supervisor")?;
    let ours = workspace::target().join("release/corten-supervisor").display().to_string();
    time(&stage, &ours)?;
    memory(&stage, &ours)
}

fn time(stage: &Stage, ours: &str) -> Result<()> {
    let bundle = stage.bundle("supervisor", &["/bin/true"], |_| {})?;
    let conmon = workspace::root().join("benches/supervisor/conmon.sh");
    // The name is used again and again, so what is left of the one before goes first. Without a log,
    // as crun alone has none; conmon cannot do without.
    let supervised = format!("{ours} --root /mnt/s run --rm --log-driver none --bundle {bundle} x");
    let logged = format!("{ours} --root /mnt/l run --rm --bundle {bundle} x");
    let commands = [
        ("corten-supervisor", supervised),
        ("corten-supervisor with a log", logged),
        ("crun alone", format!("crun --root /mnt/c run --bundle {bundle} x")),
        ("conmon with crun", format!("{} {bundle} crun", conmon.display())),
    ];
    let title = "Running true under supervision, to its end";
    compare(stage.privilege, "supervisor", title, &Method::default(), &commands)
}

/// How many supervisors live at the same time: what they share is shared by two at least.
const ALIVE: usize = 5;

fn memory(stage: &Stage, ours: &str) -> Result<()> {
    let bundle = stage.bundle("supervisor-memory", &["/bin/sleep", "1000"], |_| {})?;
    let script = workspace::root().join("benches/supervisor/memory.sh");
    let (mut commands, mut taken) = (Vec::new(), Vec::new());
    let kinds = [("corten-supervisor", "corten", ours), ("conmon", "conmon", "conmon")];
    for (label, kind, program) in kinds {
        let line = format!("{} {kind} {ALIVE} {program} {bundle}", script.display());
        let mut command = stage.privilege.command("benches/runtime/world.sh");
        command.current_dir(workspace::root()).args(line.split(' '));
        let text = process::read(&mut command)?;
        let kib = text.lines().map(|line| line.trim().parse::<f64>());
        let kib: std::result::Result<Vec<f64>, _> = kib.collect();
        let kib = kib.map_err(|e| Error::failed(format!("{line}: {e} in {text}")))?;
        let mut megabytes: Vec<f64> = kib.iter().map(|kib| kib * 1024.0 / 1e6).collect();
        megabytes.sort_by(f64::total_cmp);
        if megabytes.len() != ALIVE {
            return Err(Error::failed(format!("{line}: {} of {ALIVE}", megabytes.len())));
        }
        commands.push((label, line));
        taken.push(megabytes);
    }
    let title = "Private memory of one supervisor at rest";
    record("supervisor-memory", title, ("MB", "smaps_rollup"), &commands, &taken)
}

//! Exercise 1.4, to be debugged: the container of user 1000 outlives the process that started it.
//!
//! `cargo run -p corten-namespaces --example outlives -- ROOTFS UID CMD…`; then kill it with SIGKILL
//! and look for the command.
#![deny(unsafe_code)]

use std::process::ExitCode;

use corten_namespaces::config::User;
use corten_namespaces::plan::Step;
use corten_namespaces::{Config, Namespace, Plan, Process, Result, Rootfs};

/// The plan of a container that runs as user `uid`, without a request to die with its parent.
fn plan(rootfs: &str, uid: u32, command: &[String]) -> Result<Plan> {
    let user = User { uid, ..User::default() };
    let config = Config {
        namespaces: [Namespace::Mount, Namespace::Pid].into_iter().collect(),
        rootfs: Some(Rootfs { path: rootfs.into(), mount: None, switch: Default::default() }),
        process: Process { args: command.to_vec(), user, ..Process::default() },
        die_with_parent: false,
        ..Config::default()
    };
    Plan::new(config)
}

// ANCHOR: broken
/// "The container shall be killed with its parent from the very beginning, so that there is no
/// moment without protection: the step comes first."
pub fn broken(rootfs: &str, uid: u32, command: &[String]) -> Result<Plan> {
    let mut plan = plan(rootfs, uid, command)?;
    plan.steps.insert(0, Step::DieWithParent);
    Ok(plan)
}
// ANCHOR_END: broken

// ANCHOR: mended
/// prctl(2): the kernel clears the request when the process changes its credentials, so it is made
/// again after that.
pub fn mended(rootfs: &str, uid: u32, command: &[String]) -> Result<Plan> {
    let mut plan = broken(rootfs, uid, command)?;
    let changes = |step: &Step| matches!(step, Step::Credentials(..) | Step::Capabilities(..));
    let after = plan.steps.iter().rposition(changes).map_or(0, |last| last + 1);
    plan.steps.insert(after, Step::DieWithParent);
    Ok(plan)
}
// ANCHOR_END: mended

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [rootfs, uid, command @ ..] = &words[..] else {
        eprintln!("usage: outlives ROOTFS UID CMD…");
        return ExitCode::from(125);
    };
    let uid = uid.parse().unwrap_or(0);
    match broken(rootfs, uid, command).and_then(|plan| plan.spawn()?.wait()) {
        Ok(exit) => ExitCode::from(exit.status()),
        Err(error) => {
            eprintln!("outlives: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

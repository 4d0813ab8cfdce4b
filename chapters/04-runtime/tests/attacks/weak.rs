//! The runtime with a defence taken out. A plan is data, so that is one line; and as nothing of
//! the kind may be in the program itself, the tests' own binary is the weakened runtime: run again
//! as the test `runtime`, with what it shall do in its environment.

use std::path::{Path, PathBuf};
use std::process::Command;

use corten_runtime::cgroup::Manager;
use corten_runtime::create::{Options, Step};
use corten_runtime::{Bundle, Container, Create, delete, exec};

const WEAKNESS: &str = "CORTEN_ATTACK_WEAKNESS";

/// Makes `command` run the weakened runtime.
pub fn arguments(
    command: &mut Command,
    weakness: &str,
    verb: &str,
    bundle: &Path,
    id: &str,
    more: &[&str],
) {
    command.args(["runtime", "--exact", "--nocapture", "--test-threads=1"]);
    command.env(WEAKNESS, weakness).env("VERB", verb).env("BUNDLE", bundle).env("ID", id);
    if more.contains(&"--detach") {
        command.env("DETACH", "1");
    }
    let process = more.iter().position(|option| *option == "--process");
    if let Some(path) = process.and_then(|at| more.get(at + 1)) {
        command.env("PROCESS", path);
    }
}

/// The environment that makes this binary, as a program in a container, wait at a named pipe.
pub fn block() -> String {
    format!("{WEAKNESS}=block")
}

/// What the test `runtime` does: nothing, unless it is told to.
pub fn main() {
    let Ok(weakness) = std::env::var(WEAKNESS) else { return };
    if weakness == "block" {
        let _ = std::fs::OpenOptions::new().append(true).open("/fifo");
        return;
    }
    let bundle = PathBuf::from(std::env::var_os("BUNDLE").unwrap());
    let root = bundle.join("state");
    let id = std::env::var("ID").unwrap().parse().unwrap();
    if std::env::var("VERB").unwrap() == "exec" {
        let container = Container::load(&root, &id).unwrap();
        let text = std::fs::read_to_string(std::env::var_os("PROCESS").unwrap()).unwrap();
        let process = serde_json::from_str(&text).unwrap();
        let options = exec::Options { root, ..exec::Options::default() };
        let bundle = container.bundle().unwrap();
        let mut plan = exec::Exec::new(&container, &bundle, &process, options).unwrap();
        weaken(&mut plan.steps, &weakness);
        let (pidfd, _) = plan.execute(&container).unwrap();
        let _ = corten_namespaces::sys::wait(std::os::fd::AsFd::as_fd(&pidfd));
        return;
    }
    let options =
        Options { root: root.clone(), cgroup_manager: Manager::Disabled, ..Options::default() };
    let mut plan = Create::new(id, &Bundle::open(&bundle).unwrap(), options).unwrap();
    weaken(&mut plan.steps, &weakness);
    let created = plan.execute().unwrap();
    created.start().unwrap();
    if std::env::var_os("DETACH").is_some() {
        return;
    }
    let _ = corten_namespaces::sys::wait(std::os::fd::AsFd::as_fd(&created.pidfd));
    drop(created);
    let id = std::env::var("ID").unwrap().parse().unwrap();
    delete::delete(&root, &id, true).unwrap();
}

fn weaken(steps: &mut Vec<Step>, weakness: &str) {
    let before = steps.len();
    match weakness {
        // The tests' binary does not call `shield::up`.
        "unshielded" => return,
        "descriptors stay open" => steps.retain(|s| !matches!(s, Step::CloseDescriptors(_))),
        "all capabilities" => {
            steps.retain(|s| !matches!(s, Step::BoundCapabilities(_) | Step::Capabilities(..)))
        }
        "inheritable capabilities" => {
            for step in steps.iter_mut() {
                if let Step::Capabilities(sets, _) = step {
                    sets.inheritable = sets.bounding;
                }
            }
            return;
        }
        other => panic!("no weakness `{other}`"),
    }
    assert!(steps.len() < before, "the plan has no step for `{weakness}`");
}

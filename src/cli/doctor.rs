//! `corten doctor`: what this machine has of what containers need, and what to do about the rest.

use std::fmt::Write as _;
use std::path::Path;

use clap::Args;

use super::{print, table};
use crate::engine::{Engine, Result};

#[derive(Debug, Args)]
pub(super) struct Doctor {}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Good,
    /// Something works less well, or not at all, and the rest does.
    Lesser,
    /// No container runs.
    Missing,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    state: State,
    what: &'static str,
    found: String,
    remedy: String,
}

impl Finding {
    fn good(what: &'static str, found: impl Into<String>) -> Finding {
        Finding { state: State::Good, what, found: found.into(), remedy: String::new() }
    }

    fn bad(state: State, what: &'static str, found: impl Into<String>, remedy: &str) -> Finding {
        Finding { state, what, found: found.into(), remedy: remedy.to_owned() }
    }
}

impl Doctor {
    /// Prints a line for each thing; gives the exit status.
    pub(super) fn execute(&self, root: &Path, open: impl FnOnce() -> Result<Engine>) -> Result<u8> {
        let mut findings = vec![rights()];
        match open() {
            Ok(engine) => of_engine(&engine, root, &mut findings)?,
            Err(error) => {
                let remedy = "see what it says; --debug says more";
                findings.push(Finding::bad(State::Missing, "engine", error.to_string(), remedy));
            }
        }
        print(&shown(&findings))?;
        Ok(u8::from(findings.iter().any(|finding| finding.state == State::Missing)))
    }
}

fn shown(findings: &[Finding]) -> String {
    let mut text = String::new();
    for Finding { state, what, found, remedy } in findings {
        let state = match state {
            State::Good => "ok",
            State::Lesser => "lesser",
            State::Missing => "MISSING",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{state:<8} {what:<16} {found}");
        if !remedy.is_empty() {
            let _ = writeln!(text, "{:<25} → {remedy}", "");
        }
    }
    text
}

fn rights() -> Finding {
    match nix::unistd::geteuid().is_root() {
        true => Finding::good("root", "you are root"),
        false => Finding::bad(
            State::Missing,
            "root",
            "you are not root",
            "use sudo, or docker with `corten daemon`",
        ),
    }
}

fn of_engine(engine: &Engine, root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let machine = engine.machine()?;
    let (major, minor) = machine.kernel;
    let kernel = format!("Linux {major}.{minor}");
    findings.push(match machine.kernel >= (5, 15) {
        true => Finding::good("kernel", kernel),
        false => Finding::bad(State::Missing, "kernel", kernel, "Linux 5.15 or newer is needed"),
    });
    let version = if machine.unified { "v2" } else { "v1 or hybrid" };
    let support = machine.support;
    let limits = [
        ("memory", support.memory),
        ("swap", support.swap),
        ("pids", support.pids),
        ("cpu", support.cpu_quota),
        ("cpuset", support.cpuset),
        ("disks", support.blkio_throttle),
    ];
    let lacking: Vec<&str> = limits.iter().filter(|(_, is)| !is).map(|(name, _)| *name).collect();
    findings.push(match lacking.is_empty() {
        true => Finding::good("control groups", format!("{version}; all limits")),
        false => Finding::bad(
            State::Lesser,
            "control groups",
            format!("{version}; no limits of {}", lacking.join(", ")),
            "enable the controllers: kernel parameters such as cgroup_enable=memory swapaccount=1, or \
             cgroup.subtree_control (chapter 2)",
        ),
    });
    let info = engine.info()?;
    let how = info.probes.iter().find(|probe| probe.driver == info.driver);
    let driver = how.map_or_else(|| info.driver.to_owned(), ToString::to_string);
    findings.push(match info.driver {
        "copy" => Finding::bad(
            State::Lesser,
            "layers",
            driver,
            "each container copies its image: put the root on a file system that overlay can use",
        ),
        _ => Finding::good("layers", driver),
    });
    findings.push(space(root));
    match engine.networks().and_then(|networks| Ok(networks.obstacles()?)) {
        Err(error) => findings.push(Finding::bad(
            State::Lesser,
            "networks",
            error.to_string(),
            "containers run with --network host or none",
        )),
        Ok(obstacles) if obstacles.is_empty() => {
            findings
                .push(Finding::good("networks", "bridges and nftables; nothing is in their way"));
        }
        Ok(obstacles) => findings.extend(
            obstacles.into_iter().map(|found| Finding::bad(State::Lesser, "networks", found, "")),
        ),
    }
    findings.push(match machine.apparmor {
        true => Finding::good("security", "seccomp and capabilities, AppArmor"),
        false => Finding::good("security", "seccomp and capabilities"),
    });
    for problem in &engine.containers().problems {
        let remedy = "it is tried again at the next command";
        findings.push(Finding::bad(State::Lesser, "after a crash", problem.to_string(), remedy));
    }
    Ok(())
}

/// Room below which an image of ordinary size does not fit.
const LITTLE: u64 = 2_000_000_000;

fn space(root: &Path) -> Finding {
    let what = "room";
    let Ok(stat) = nix::sys::statvfs::statvfs(root) else {
        return Finding::bad(
            State::Lesser,
            what,
            format!("{} cannot be looked at", root.display()),
            "",
        );
    };
    let free = stat.blocks_available() * stat.fragment_size();
    let found = format!("{} in {}", table::size(free), root.display());
    match free > LITTLE {
        true => Finding::good(what, found),
        false => Finding::bad(State::Lesser, what, found, "corten system prune -a"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_below_what_it_is_for() {
        let findings = [
            Finding::good("kernel", "Linux 6.1"),
            Finding::bad(State::Missing, "root", "you are not root", "use sudo"),
        ];
        let text = shown(&findings);
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("MISSING  root             you are not root\n"), "{text}");
        assert!(text.ends_with("→ use sudo\n"), "{text}");
    }
}

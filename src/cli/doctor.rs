//! `corten doctor`: what this machine has of what containers need, and what to do about the rest.

use std::path::Path;

use clap::Args;
use corten_namespaces::rootless;

use super::finding::Finding;
use super::{print, table};
use crate::cli::Result;
use crate::engine::Engine;
use crate::engine::options::limit;

#[derive(Debug, Args)]
pub(super) struct Doctor {}

impl Doctor {
    /// Prints a line for each thing; gives the exit status.
    pub(super) fn execute(&self, root: &Path, open: impl FnOnce() -> Result<Engine>) -> Result<u8> {
        let mut findings = rights();
        if findings.iter().any(Finding::is_missing) {
            return tell(&findings);
        }
        match open() {
            Ok(engine) => of_engine(&engine, root, &mut findings)?,
            Err(error) => {
                let remedy = "see what it says; --debug says more";
                findings.push(Finding::missing("engine", error.to_string(), remedy));
            }
        }
        tell(&findings)
    }
}

fn tell(findings: &[Finding]) -> Result<u8> {
    print(&findings.iter().map(|finding| format!("{finding}\n")).collect::<String>())?;
    Ok(u8::from(findings.iter().any(Finding::is_missing)))
}

/// Whether the caller is root, or what is missing to be root in namespaces.
fn rights() -> Vec<Finding> {
    if !rootless::needed() {
        return vec![Finding::good("root", "you are root")];
    }
    let lacks = rootless::lack::of_this_machine();
    let mut findings = Vec::new();
    if !lacks.iter().any(rootless::lack::Lack::is_fatal) {
        findings.push(Finding::good("root", "not you, but in a user namespace you can be"));
    }
    findings.extend(lacks.into_iter().map(|lack| match lack.is_fatal() {
        true => Finding::missing("without root", lack.what, lack.remedy),
        false => Finding::lesser("without root", lack.what, lack.remedy),
    }));
    findings
}

fn of_engine(engine: &Engine, root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let machine = engine.machine()?;
    let (major, minor) = machine.kernel;
    let kernel = format!("Linux {major}.{minor}");
    findings.push(match machine.kernel >= (5, 15) {
        true => Finding::good("kernel", kernel),
        false => Finding::missing("kernel", kernel, "Linux 5.15 or newer is needed"),
    });
    let version = if machine.unified { "v2" } else { "v1 or hybrid" };
    let support = machine.support;
    if !machine.cgroups {
        let found = "none is yours: no limits, pause and stats";
        findings.push(Finding::lesser("control groups", found, limit::REMEDY));
    }
    let limits = [
        ("memory", support.memory),
        ("swap", support.swap),
        ("pids", support.pids),
        ("cpu", support.cpu_quota),
        ("cpuset", support.cpuset),
        ("disks", support.blkio_throttle),
    ];
    let lacking: Vec<&str> = limits.iter().filter(|(_, is)| !is).map(|(name, _)| *name).collect();
    findings.extend(machine.cgroups.then(|| match lacking.is_empty() {
        true => Finding::good("control groups", format!("{version}; all limits")),
        false if machine.given.is_some() => Finding::lesser(
            "control groups",
            format!("{version}, given to you; no limits of {}", lacking.join(", ")),
            "who has given you the group switches on more in cgroup.subtree_control above it; for systemd: \
             systemctl edit user@.service, Delegate=cpu cpuset io memory pids",
        ),
        false => Finding::lesser("control groups",
            format!("{version}; no limits of {}", lacking.join(", ")),
            "enable the controllers: kernel parameters such as cgroup_enable=memory swapaccount=1, or \
             cgroup.subtree_control (chapter 2)",
        ),
    }));
    let info = engine.info()?;
    let how = info.probes.iter().find(|probe| probe.driver == info.driver);
    let driver = how.map_or_else(|| info.driver.to_owned(), ToString::to_string);
    findings.push(match info.driver {
        "copy" => Finding::lesser(
            "layers",
            driver,
            "each container copies its image: put the root on a file system that overlay can use",
        ),
        "fuse-overlayfs" => Finding::lesser(
            "layers",
            driver,
            "each look at a file goes through a program: put the root on a file system that overlay can use",
        ),
        _ => Finding::good("layers", driver),
    });
    findings.push(space(root));
    match engine.networks().and_then(|networks| Ok(networks.obstacles()?)) {
        Err(error) => findings.push(Finding::lesser(
            "networks",
            error.to_string(),
            "containers run with --network host or none",
        )),
        Ok(obstacles) if obstacles.is_empty() => {
            findings
                .push(Finding::good("networks", "bridges and nftables; nothing is in their way"));
        }
        Ok(obstacles) => findings
            .extend(obstacles.into_iter().map(|found| Finding::lesser("networks", found, ""))),
    }
    findings.push(match machine.apparmor {
        true => Finding::good("security", "seccomp and capabilities, AppArmor"),
        false => Finding::good("security", "seccomp and capabilities"),
    });
    for problem in &engine.containers().problems {
        let remedy = "it is tried again at the next command";
        findings.push(Finding::lesser("after a crash", problem.to_string(), remedy));
    }
    Ok(())
}

/// Room below which an image of ordinary size does not fit.
const LITTLE: u64 = 2_000_000_000;

fn space(root: &Path) -> Finding {
    let what = "room";
    let Ok(stat) = nix::sys::statvfs::statvfs(root) else {
        return Finding::lesser(what, format!("{} cannot be looked at", root.display()), "");
    };
    let free = stat.blocks_available() * stat.fragment_size();
    let found = format!("{} in {}", table::size(free), root.display());
    match free > LITTLE {
        true => Finding::good(what, found),
        false => Finding::lesser(what, found, "corten system prune -a"),
    }
}

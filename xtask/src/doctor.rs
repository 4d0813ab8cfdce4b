//! `./x doctor`: what this machine has, what it lacks, and what to do about it.

#[path = "../../src/cli/finding.rs"]
mod finding;

use std::fs;
use std::path::Path;
use std::process::Command;

use finding::Finding;

use crate::error::{Error, Result};
use crate::setup::Purpose;
use crate::setup::apt::{self, Privilege};
use crate::setup::os_release::{OsRelease, Support};
use crate::{process, vm, workspace};

/// Prints a line for each requirement.
///
/// # Errors
/// Where `./x run` cannot work on this machine.
pub fn run() -> Result<()> {
    let mut missing = Vec::new();
    let mut checks: Vec<fn() -> Finding> = vec![
        distribution,
        kernel,
        rights,
        user_namespaces,
        uid_ranges,
        cgroups,
        overlay,
        linker,
        disk,
        qemu,
        kvm,
    ];
    checks.extend([packages_run as fn() -> Finding, packages_test, packages_more]);
    for check in checks {
        let finding = check();
        println!("{finding}");
        if finding.is_missing() {
            missing.push(finding.what);
        }
    }
    if missing.is_empty() {
        println!("\n./x run can work here.");
        Ok(())
    } else {
        Err(Error::failed(format!("./x run cannot work here yet: {}", missing.join(", "))))
    }
}

fn distribution() -> Finding {
    let release = OsRelease::here();
    let found = release.to_string();
    let what = "distribution";
    match release.support() {
        Support::Tried => Finding::good(what, found),
        Support::HasApt => Finding::lesser(
            what,
            found,
            "tried are Debian 12 and Ubuntu 22.04 and later; packages may have other names here",
        ),
        Support::ByHand => Finding::lesser(
            what,
            found,
            "no packages are installed for you here: ./x run and ./x test say what they need",
        ),
    }
}

fn kernel() -> Finding {
    let release = read("/proc/sys/kernel/osrelease");
    let what = "kernel";
    if version(&release) >= (5, 15) {
        Finding::good(what, format!("Linux {release}"))
    } else {
        let remedy = "Corten needs Linux 5.15 or newer: upgrade the system, or work in a VM";
        Finding::missing(what, format!("Linux {release}"), remedy)
    }
}

/// `6.1.0-13-amd64` → (6, 1).
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn rights() -> Finding {
    let what = "root";
    match Privilege::here() {
        Privilege::Root => Finding::good(what, "you are root"),
        Privilege::Sudo => Finding::good(what, "sudo works without a password"),
        Privilege::None if user_namespaces_work() => Finding::lesser(
            what,
            "you are not root",
            "./x run uses a user namespace; ./x test needs root: run `sudo -v` before it",
        ),
        Privilege::None => Finding::missing(
            what,
            "you are not root and user namespaces are forbidden",
            "run `sudo -v` first, or allow user namespaces (below)",
        ),
    }
}

/// Whether a user namespace with all capabilities can be made here: tried, because three settings
/// and two security modules have a say in it. unshare(1) is of util-linux, which no system lacks.
pub fn user_namespaces_work() -> bool {
    let probe = ["--user", "--map-root-user", "--mount", "true"];
    process::succeeds(Command::new("unshare").args(probe))
}

fn user_namespaces() -> Finding {
    let what = "user namespaces";
    if user_namespaces_work() {
        let as_root = if nix::unistd::geteuid().is_root() { " for root" } else { "" };
        if let Some((setting, remedy)) = userns_forbidden_by() {
            return Finding::lesser(what, format!("allowed{as_root} only: {setting}"), remedy);
        }
        return Finding::good(what, "allowed");
    }
    let (setting, remedy) = userns_forbidden_by()
        .unwrap_or(("by something else (a container around this shell?)".into(), String::new()));
    let remedy = if remedy.is_empty() { "work as root or in a VM".into() } else { remedy };
    Finding::lesser(what, format!("forbidden: {setting}"), remedy)
}

/// The setting that forbids user namespaces to users, and how to change it.
fn userns_forbidden_by() -> Option<(String, String)> {
    let settings = [
        // Ubuntu 23.10 and later: the namespace is made, but without capabilities.
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        // Debian's own switch.
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("user/max_user_namespaces", "0", "15000"),
    ];
    settings.into_iter().find_map(|(path, bad, good)| {
        let name = path.replace('/', ".");
        (read(Path::new("/proc/sys").join(path)) == bad)
            .then(|| (format!("{name} = {bad}"), format!("sudo sysctl {name}={good}")))
    })
}

fn uid_ranges() -> Finding {
    let what = "uid ranges";
    if !process::exists("newuidmap") || !process::exists("newgidmap") {
        return Finding::lesser(
            what,
            "newuidmap and newgidmap are not there",
            "needed for several uids in a container without root: apt-get install uidmap",
        );
    }
    let user = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
    let name = user.map(|user| user.name).unwrap_or_default();
    let uid = nix::unistd::getuid().to_string();
    let has = |file: &str| read(file).lines().any(|line| has_range(line, &name, &uid));
    if has("/etc/subuid") && has("/etc/subgid") {
        Finding::good(what, format!("{name} has ranges in /etc/subuid and /etc/subgid"))
    } else if uid == "0" {
        Finding::good(what, "root needs none")
    } else {
        Finding::lesser(
            what,
            format!("{name} has none in /etc/subuid or /etc/subgid"),
            format!("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"),
        )
    }
}

/// `name:100000:65536` (subuid(5)).
fn has_range(line: &str, name: &str, uid: &str) -> bool {
    let mut fields = line.split(':');
    fields.next().is_some_and(|owner| owner == name || owner == uid)
        && fields.nth(1).and_then(|count| count.trim().parse::<u64>().ok()).is_some_and(|n| n > 0)
}

fn cgroups() -> Finding {
    let what = "cgroups";
    let mounts = read("/proc/self/mountinfo");
    match hierarchy(&mounts) {
        "" => Finding::lesser(
            what,
            "none are mounted",
            "needed for limits (chapter 2): mount -t cgroup2 none /sys/fs/cgroup",
        ),
        "v2" => Finding::good(what, "v2"),
        other => Finding::good(what, format!("{other} (the book begins with v2; the VM has it)")),
    }
}

/// Which cgroup hierarchies a mountinfo shows: `v2`, `hybrid` (v1 with an empty v2), `v1`, or none.
fn hierarchy(mountinfo: &str) -> &'static str {
    let has = |kind: &str| {
        mountinfo
            .lines()
            .filter_map(|line| line.split_once(" - "))
            .any(|(_, after)| after.split_whitespace().next() == Some(kind))
    };
    match (has("cgroup2"), has("cgroup")) {
        (true, true) => "hybrid",
        (true, false) => "v2",
        (false, true) => "v1",
        (false, false) => "",
    }
}

fn overlay() -> Finding {
    let what = "overlay";
    let lists = || read("/proc/filesystems").lines().any(|line| line.trim() == "nodev\toverlay");
    // A module is loaded at the first mount by root; `modinfo` finds it before that.
    if lists() {
        Finding::good(what, "in /proc/filesystems")
    } else if process::succeeds(Command::new("/sbin/modinfo").arg("overlay")) {
        Finding::good(what, "a module, loaded when it is first used")
    } else {
        Finding::missing(
            what,
            "this kernel has no overlay file system",
            "boot the distribution's own kernel, or work in a VM",
        )
    }
}

fn linker() -> Finding {
    if process::exists("cc") {
        Finding::good("C compiler", "cc")
    } else {
        Finding::missing("C compiler", "cc is not there", "apt-get install gcc libc6-dev")
    }
}

fn disk() -> Finding {
    let what = "disk";
    const NEEDED: u64 = 8 << 30;
    let free = nix::sys::statvfs::statvfs(workspace::root())
        .map_or(0, |s| s.blocks_available() * s.fragment_size());
    let found = format!("{} GiB free", free >> 30);
    if free >= NEEDED {
        Finding::good(what, found)
    } else if free >= NEEDED / 4 {
        Finding::lesser(what, found, "./x test writes about 8 GiB below target/")
    } else {
        Finding::missing(what, found, "./x run needs about 2 GiB below target/, ./x test 8")
    }
}

fn qemu() -> Finding {
    let program = format!("qemu-system-{}", std::env::consts::ARCH);
    if process::exists(&program) {
        Finding::good("QEMU", program)
    } else {
        Finding::lesser("QEMU", format!("{program} is not there"), "./x test installs it")
    }
}

fn kvm() -> Finding {
    let what = "KVM";
    if !Path::new("/dev/kvm").exists() {
        return Finding::lesser(
            what,
            "no /dev/kvm",
            "the lab VM runs by software emulation, which is slower and otherwise the same",
        );
    }
    match vm::kvm_works() {
        Ok(true) => Finding::good(what, "a VM boots with it"),
        Ok(false) => Finding::lesser(
            what,
            "/dev/kvm is there, but no VM boots with it",
            "the lab VM runs by software emulation; look at the rights on /dev/kvm (group kvm)",
        ),
        Err(why) => Finding::lesser(what, format!("not tried: {why}"), "./x test tries it"),
    }
}

fn packages_run() -> Finding {
    packages("packages: run", &[Purpose::Run])
}

fn packages_test() -> Finding {
    packages("packages: test", &[Purpose::Test, Purpose::Vm])
}

fn packages_more() -> Finding {
    packages(
        "packages: more",
        &[Purpose::Clients, Purpose::Book, Purpose::Bench, Purpose::Soak, Purpose::Project],
    )
}

fn packages(what: &'static str, purposes: &[Purpose]) -> Finding {
    let wanted: Vec<_> = purposes.iter().flat_map(|p| p.packages()).collect();
    let names: Vec<&str> = wanted.iter().map(|(name, _)| *name).collect();
    if !apt::present() {
        return Finding::lesser(what, "no apt-get here", format!("provide {}", names.join(" ")));
    }
    let missing = apt::missing(&names);
    if missing.is_empty() {
        return Finding::good(what, "installed");
    }
    let uses: Vec<String> = wanted
        .iter()
        .filter(|(name, _)| missing.contains(name))
        .map(|(name, why)| format!("{name} ({why})"))
        .collect();
    let commands: Vec<&str> = purposes.iter().map(|p| p.command()).collect();
    Finding::lesser(
        what,
        format!("not installed: {}", uses.join(", ")),
        format!("{} installs them", commands.join(" or ")),
    )
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_compare_as_numbers() {
        assert_eq!(version("6.1.0-13-amd64"), (6, 1));
        assert_eq!(version("5.15"), (5, 15));
        assert!(version("5.4.0-generic") < (5, 15));
        assert!(version("6.12+deb13-cloud-amd64") >= (5, 15));
    }

    #[test]
    fn a_mountinfo_tells_the_cgroup_hierarchy() {
        let v1 = "33 31 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";
        let v2 = "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw\n";
        assert_eq!(hierarchy(v1), "v1");
        assert_eq!(hierarchy(v2), "v2");
        assert_eq!(hierarchy(&format!("{v1}{v2}")), "hybrid");
        assert_eq!(hierarchy(""), "");
    }

    #[test]
    fn a_range_belongs_to_a_name_or_a_uid_and_is_not_empty() {
        assert!(has_range("ada:100000:65536", "ada", "1000"));
        assert!(has_range("1000:100000:65536", "ada", "1000"));
        assert!(!has_range("adam:100000:65536", "ada", "1000"));
        assert!(!has_range("ada:100000:0", "ada", "1000"));
    }
}

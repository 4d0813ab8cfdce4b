//! The host's fingerprint: what a container engine could leave behind, as lines that can be
//! compared.
//!
//! Left out is what changes on a machine without our doing, so that a difference always means
//! something. [`IGNORED`] lists it with the reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;

/// What is not compared, and why.
pub const IGNORED: [&str; 6] = [
    "mount ids and peer group numbers: the kernel counts them up",
    "mounts below /run/user and /run/credentials: sessions and units come and go",
    "control groups named like systemd's units (*.service, *.scope, *.slice, …): units come and go",
    "control groups that hold a process of somebody else before or after: they are not ours",
    "processes that do not descend from the test run: xtask adopts every orphan of it \
     (PR_SET_CHILD_SUBREAPER), so what a test leaves behind is always a descendant",
    "kernel threads",
];

/// Whose processes and network namespaces are looked at.
#[derive(Debug)]
pub enum Scope {
    /// Everybody's.
    Everything,
    /// Those of the tests that this process has run, and the tests' temporary directory.
    Tests {
        /// TMPDIR of the tests.
        temporary: PathBuf,
    },
    /// Those of other programs that this process has run, which have no temporary directory in common.
    Steps,
}

/// A description of the host: sorted lines by section.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    sections: BTreeMap<&'static str, Vec<String>>,
    /// Lines of any section that belong to somebody else.
    foreign: BTreeSet<String>,
}

impl Fingerprint {
    /// Looks at the host.
    pub fn take(scope: &Scope) -> Fingerprint {
        // Of this thread, as a test has a mount namespace of its own.
        let mountinfo = read("/proc/thread-self/mountinfo");
        let processes = process::all();
        let own = std::process::id().cast_signed();
        let descendants: BTreeSet<i32> = process::below(&processes, own).into_iter().collect();
        let pids: Vec<i32> = match scope {
            Scope::Everything => processes.keys().copied().filter(|pid| *pid != own).collect(),
            Scope::Tests { .. } | Scope::Steps => descendants.iter().copied().collect(),
        };
        let mut fingerprint = Fingerprint::default();
        let control_groups = fingerprint.control_groups(&mountinfo, &descendants);
        fingerprint.set("cgroups", control_groups);
        fingerprint.set("mounts", mountinfo.lines().filter_map(mount_line));
        fingerprint.set("links", links());
        fingerprint.set("nftables", nftables());
        fingerprint.set("loop devices", loop_devices());
        fingerprint.set("network namespaces", network_namespaces(&pids));
        fingerprint.set("files", files(scope));
        fingerprint.set(
            "processes",
            pids.iter().filter_map(|pid| {
                let process = processes.get(pid)?;
                Some(format!("{pid} (parent {}) {}", process.parent, process.name))
            }),
        );
        fingerprint
    }

    fn set(&mut self, section: &'static str, lines: impl IntoIterator<Item = String>) {
        let mut lines: Vec<String> = lines.into_iter().collect();
        lines.sort();
        self.sections.insert(section, lines);
    }

    /// Every control group of every mounted hierarchy. One that holds a process that does not
    /// descend from this one is noted as somebody else's.
    fn control_groups(&mut self, mountinfo: &str, ours: &BTreeSet<i32>) -> Vec<String> {
        let mut found = Vec::new();
        for mount in mountinfo.lines().filter(|line| {
            line.split_once(" - ").is_some_and(|(_, after)| after.starts_with("cgroup"))
        }) {
            let Some(point) = mount.split_whitespace().nth(4) else { continue };
            let mut pending = vec![PathBuf::from(point)];
            while let Some(dir) = pending.pop() {
                pending.extend(directories(&dir));
                let name = dir.display().to_string();
                if unit(&name) {
                    continue;
                }
                let own = std::process::id().cast_signed();
                let members = read(dir.join("cgroup.procs"));
                let mut members = members.lines().filter_map(|pid| pid.parse::<i32>().ok());
                if members.any(|pid| pid != own && !ours.contains(&pid)) {
                    self.foreign.insert(name.clone());
                }
                found.push(name);
            }
        }
        found
    }

    /// The control groups named by our tests that are in `after` and not in `self`, the innermost
    /// first, so that they can be removed in this order.
    fn new_control_groups(&self, after: &Fingerprint) -> Vec<PathBuf> {
        let of = |fingerprint: &Fingerprint| -> BTreeSet<PathBuf> {
            fingerprint.sections.get("cgroups").into_iter().flatten().map(PathBuf::from).collect()
        };
        let tests_own = |path: &PathBuf| {
            path.components()
                .any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"corten-"))
        };
        let mut new: Vec<PathBuf> =
            of(after).difference(&of(self)).filter(|path| tests_own(path)).cloned().collect();
        new.reverse();
        new
    }

    /// Removes the control groups named by our tests that have come since. One that cannot be removed is in
    /// the next comparison.
    pub fn remove_new_control_groups(&self, scope: &Scope) {
        for group in self.new_control_groups(&Fingerprint::take(scope)) {
            let _ = fs::remove_dir(group);
        }
    }

    /// What must be done to `self` to get `after`: lines that went and lines that came.
    pub fn changes_to(&self, after: &Fingerprint) -> Changes {
        let mut changes = Vec::new();
        let names: BTreeSet<_> = self.sections.keys().chain(after.sections.keys()).collect();
        for name in names {
            let none = Vec::new();
            let old = count(self.sections.get(name).unwrap_or(&none));
            let new = count(after.sections.get(name).unwrap_or(&none));
            for line in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
                if self.foreign.contains(*line) || after.foreign.contains(*line) {
                    continue;
                }
                let (old, new) = (old.get(line).unwrap_or(&0), new.get(line).unwrap_or(&0));
                let sign = if new > old { '+' } else { '-' };
                for _ in 0..old.abs_diff(*new) {
                    changes.push(format!("{sign} {name}: {line}"));
                }
            }
        }
        Changes(changes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, lines) in &self.sections {
            writeln!(f, "{section} ({}):", lines.len())?;
            for line in lines {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}

/// The difference of two fingerprints.
#[derive(Debug, PartialEq, Eq)]
pub struct Changes(Vec<String>);

impl Changes {
    /// Whether the host is as it was.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says what has changed, and who was at work meanwhile.
    pub fn tell(&self, who: &str) {
        if self.is_empty() {
            println!("the host's fingerprint is the same before and after");
        } else {
            println!("THE HOST IS NOT AS IT WAS: {who} left or removed\n{self}");
        }
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// Prints the fingerprint of the whole host.
pub fn print() {
    print!("{}", Fingerprint::take(&Scope::Everything));
    println!("not compared by ./x test:");
    for reason in IGNORED {
        println!("  {reason}");
    }
}

fn count(lines: &[String]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.as_str()).or_default() += 1;
    }
    counts
}

/// `mount point, root, options, propagation, type, source` of a line of mountinfo
/// (proc_pid_mountinfo(5)), or `None` where it is not compared.
fn mount_line(line: &str) -> Option<String> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split_whitespace().skip(3);
    let (root, point, options) = (fields.next()?, fields.next()?, fields.next()?);
    if ["/run/user/", "/run/credentials/"].iter().any(|prefix| point.starts_with(prefix)) {
        return None;
    }
    let tags: Vec<&str> = fields.map(|tag| tag.split(':').next().unwrap_or(tag)).collect();
    Some(format!("{point} {root} {options} {} {after}", tags.join(",")))
}

/// Whether the last component is named like a unit of systemd.
fn unit(path: &str) -> bool {
    let kinds = [".service", ".scope", ".slice", ".mount", ".socket", ".swap", ".automount"];
    kinds.iter().any(|kind| path.ends_with(kind))
}

fn links() -> Vec<String> {
    entries("/sys/class/net")
        .into_iter()
        .map(|path| {
            let index = read(path.join("ifindex"));
            format!("{} index {} {}", name(&path), index.trim(), read(path.join("address")).trim())
        })
        .collect()
}

/// The packet filter's rules without their counters.
fn nftables() -> Vec<String> {
    if !process::exists("nft") {
        return vec!["(not looked at: nft is not installed)".into()];
    }
    let mut nft = Command::new("nft");
    nft.args(["--stateless", "list", "ruleset"]);
    match process::try_output(&mut nft) {
        Some(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
        }
        _ => vec!["(not looked at: nft needs root and a kernel with nf_tables)".into()],
    }
}

fn loop_devices() -> Vec<String> {
    entries("/sys/block")
        .into_iter()
        .filter_map(|device| {
            let file = fs::read_to_string(device.join("loop/backing_file")).ok()?;
            Some(format!("{} {}", name(&device), file.trim()))
        })
        .collect()
}

/// Names that ip-netns(8) keeps, and the namespaces of processes other than this one's own. A
/// namespace that lives on by a mount is among the mounts.
fn network_namespaces(pids: &[i32]) -> Vec<String> {
    let of = |pid: String| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = of("self".into());
    let used: BTreeSet<PathBuf> = pids
        .iter()
        .filter_map(|pid| of(pid.to_string()))
        .filter(|ns| Some(ns) != own.as_ref())
        .collect();
    let named = entries("/run/netns");
    used.into_iter().chain(named).map(|path| path.display().to_string()).collect()
}

/// What is named after us where programs leave things, and what the engine's own directories hold.
fn files(scope: &Scope) -> Vec<String> {
    let mut found = Vec::new();
    for dir in ["/tmp", "/var/tmp", "/run", "/dev/shm", "/var/lib"] {
        found.extend(entries(dir).into_iter().filter(|path| name(path).starts_with("corten")));
    }
    for dir in ["/run/corten", "/var/lib/corten", "/var/lib/corten/containers"] {
        found.extend(entries(dir));
    }
    if let Scope::Tests { temporary } = scope {
        found.extend(entries(temporary));
    }
    found.into_iter().map(|path| path.display().to_string()).collect()
}

fn entries(dir: impl AsRef<Path>) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn directories(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(lines: &[&str]) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        fingerprint.set("mounts", lines.iter().map(|line| (*line).to_owned()));
        fingerprint
    }

    #[test]
    fn what_came_and_what_went_is_told_apart() {
        let changes = fingerprint(&["a", "b"]).changes_to(&fingerprint(&["b", "c"]));
        assert_eq!(changes.to_string(), "- mounts: a\n+ mounts: c\n");
        assert!(fingerprint(&["a"]).changes_to(&fingerprint(&["a"])).is_empty());
    }

    #[test]
    fn new_control_groups_come_with_the_innermost_first() {
        let of = |names: &[&str]| {
            let mut fingerprint = Fingerprint::default();
            fingerprint.set("cgroups", names.iter().map(|name| (*name).to_owned()));
            fingerprint
        };
        let before = of(&["/c/corten-old", "/c/x"]);
        let after = of(&["/c/corten-old", "/c/y", "/c/corten-new", "/c/corten-new/inner"]);
        let new = before.new_control_groups(&after);
        assert_eq!(new, ["/c/corten-new/inner", "/c/corten-new"].map(PathBuf::from));
    }

    #[test]
    fn a_second_equal_mount_is_a_change() {
        let changes = fingerprint(&["a"]).changes_to(&fingerprint(&["a", "a"]));
        assert_eq!(changes.to_string(), "+ mounts: a\n");
    }

    #[test]
    fn what_is_somebody_elses_before_or_after_is_no_change() {
        let mut before = fingerprint(&["a"]);
        before.foreign.insert("a".into());
        assert!(before.changes_to(&fingerprint(&[])).is_empty());
        assert!(fingerprint(&[]).changes_to(&before).is_empty());
    }

    #[test]
    fn a_mount_is_compared_without_its_numbers() {
        let one = "36 35 98:0 /mnt1 /mnt2 rw,noatime shared:1 master:7 - ext3 /dev/root rw";
        let two = "77 12 98:0 /mnt1 /mnt2 rw,noatime shared:9 master:2 - ext3 /dev/root rw";
        assert_eq!(mount_line(one), mount_line(two));
        assert_eq!(
            mount_line(one).unwrap(),
            "/mnt2 /mnt1 rw,noatime shared,master ext3 /dev/root rw"
        );
        assert_ne!(mount_line(one), mount_line(&one.replace("shared:1 ", "")));
        assert_eq!(mount_line(&one.replace("/mnt2", "/run/user/1000")), None);
    }

    #[test]
    fn units_of_systemd_are_told_by_the_last_component() {
        assert!(unit("/sys/fs/cgroup/system.slice/apt-daily.service"));
        assert!(!unit("/sys/fs/cgroup/user.slice/user@1000.service/corten-test"));
    }

    #[corten_tier::t1]
    fn a_mount_that_is_left_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let before = Fingerprint::take(&Scope::Everything);
        assert!(process::succeeds(
            Command::new("mount").args(["-t", "tmpfs", "left"]).arg(dir.path())
        ));
        let changes = before.changes_to(&Fingerprint::take(&Scope::Everything)).to_string();
        let expected = format!("+ mounts: {} / rw,relatime  tmpfs left", dir.path().display());
        assert!(changes.contains(&expected), "{changes}");
        assert!(process::succeeds(Command::new("umount").arg(dir.path())));
    }

    #[test]
    fn a_file_in_the_tests_directory_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let scope = Scope::Tests { temporary: dir.path().into() };
        let before = Fingerprint::take(&scope);
        fs::write(dir.path().join("left"), "").unwrap();
        let changes = before.changes_to(&Fingerprint::take(&scope)).to_string();
        assert!(changes.contains("/left"), "{changes}");
    }
}

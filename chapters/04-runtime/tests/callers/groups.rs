//! Control groups of the test's own: on a host with v1, alone or beside v2, as CI's is. On one with
//! v2 alone, the daemons would be in the way of the groups that they make.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A control group in every hierarchy, which a cgroup namespace makes the root of what the world
/// sees: whatever a daemon calls its groups, they lie below.
#[derive(Default)]
pub struct Groups {
    name: String,
    /// The directories.
    dirs: Vec<PathBuf>,
    /// The files by which a process enters them.
    pub join: Vec<String>,
    /// The commands that mount the hierarchies in the world.
    pub mounts: String,
}

impl Groups {
    pub fn new() -> Groups {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("corten-world-{}-{number}", std::process::id());
        let mut groups = Groups { name, ..Groups::default() };
        let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mut mounted = Vec::new();
        for line in mountinfo.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [.., kind, _, options] = fields[..] else { continue };
            if kind.starts_with("cgroup") {
                let options = v1(options);
                groups.add(fields[4], fields[4], (kind == "cgroup").then_some(&options));
                mounted.push(options);
            }
        }
        // One that is mounted nowhere may live on for the groups in it. A daemon sees it in
        // /proc/self/cgroup and wants to find it.
        for line in fs::read_to_string("/proc/self/cgroup").unwrap().lines() {
            let name = line.split(':').nth(1).unwrap_or_default();
            let is_known = mounted.iter().any(|options| options.ends_with(name));
            if name.is_empty() || is_known {
                continue;
            }
            // In this test's own mount namespace, and with it gone.
            let here = Path::new("/mnt").join(name.replace('=', "-"));
            if !here.exists() {
                mount("tmpfs", Path::new("/mnt"), "mode=755");
                fs::create_dir(&here).unwrap();
            }
            let options = v1(name);
            mount("cgroup", &here, &options);
            let point = format!("/sys/fs/cgroup/{}", name.trim_start_matches("name="));
            groups.add(here.to_str().unwrap(), &point, Some(&options));
        }
        groups.mounts.insert_str(0, "mount -t tmpfs -o mode=755 cgroup /sys/fs/cgroup\n");
        groups
    }

    /// A group in the hierarchy at `here`, which the world has at `point`.
    fn add(&mut self, here: &str, point: &str, v1: Option<&String>) {
        let dir = Path::new(here).join(&self.name);
        fs::create_dir(&dir).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"].iter().filter(|_| v1.is_some()) {
            if let Ok(text) = fs::read_to_string(Path::new(here).join(file)) {
                fs::write(dir.join(file), text).unwrap();
            }
        }
        self.join.push(dir.join("cgroup.procs").display().to_string());
        self.dirs.push(dir);
        let _ = writeln!(self.mounts, "mkdir -p {point}");
        let _ = match v1 {
            None => writeln!(self.mounts, "mount -t cgroup2 cgroup2 {point}"),
            Some(options) => writeln!(self.mounts, "mount -t cgroup -o {options} cgroup {point}"),
        };
    }

    /// Removes them, when the last process is gone.
    pub fn remove(&self) {
        for dir in &self.dirs {
            let begun = Instant::now();
            // The kernel empties a group a moment after the processes are gone.
            while remove_tree(dir).is_err() && begun.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

fn remove_tree(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    fs::remove_dir(dir)
}

/// What mount(8) needs of what mountinfo shows of a v1 hierarchy.
fn v1(options: &str) -> String {
    let kept: Vec<&str> = options
        .split(',')
        .filter(|option| !["rw", "ro", "xattr", "clone_children"].contains(option))
        .filter(|option| !option.starts_with("release_agent="))
        .collect();
    let none = if kept.iter().all(|option| option.starts_with("name=")) { "none," } else { "" };
    format!("{none}{}", kept.join(","))
}

fn mount(kind: &str, at: &Path, options: &str) {
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some(kind), at, Some(kind), flags, Some(options)).unwrap();
}

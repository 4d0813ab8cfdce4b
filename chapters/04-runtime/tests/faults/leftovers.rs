//! What a runtime may leave behind.

use std::fs;
use std::path::{Path, PathBuf};

use crate::rig::{Container, cgroup};

/// The variable by which the runtime's processes are known until they execute a program.
pub const MARK: &str = "CORTEN_FAULT";

/// The number of mounts in this thread's namespace.
pub fn mounts() -> usize {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines().count()
}

/// Everything of `container` that is there, in words; `mounts` is what there was before.
pub fn of(container: &Container, mounts_before: usize) -> Vec<String> {
    let mut left = Vec::new();
    for entry in fs::read_dir(container.root()).unwrap().flatten() {
        if entry.file_name() != ".seccomp" {
            left.push(format!("state {}", entry.path().display()));
        }
    }
    left.extend(groups(&container.id).into_iter().map(|path| format!("group {}", path.display())));
    left.extend(processes(&container.id).into_iter().map(|pid| format!("process {pid}")));
    let mounts = mounts();
    if mounts != mounts_before {
        left.push(format!("mounts: {mounts} instead of {mounts_before}"));
    }
    left
}

/// Control groups whose name holds `id`.
fn groups(id: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let root = Path::new("/sys/fs/cgroup");
    let mut hierarchies = vec![root.to_owned()];
    if !cgroup::is_v2() {
        hierarchies = fs::read_dir(root).unwrap().flatten().map(|entry| entry.path()).collect();
    }
    for hierarchy in hierarchies {
        // `/ID`, as the scene's configuration says.
        let group = hierarchy.join(id);
        if group.exists() {
            found.push(group);
        }
    }
    found
}

/// Processes that carry the mark of `id` or are in its groups.
pub fn processes(id: &str) -> Vec<i32> {
    let mark = format!("{MARK}={id}");
    let holds = |pid: i32| {
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let marked = environ.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes());
        let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (marked || group.contains(&format!("/{id}"))) && !stat.contains(") Z ") && !stat.is_empty()
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|e| e.file_name().to_str()?.parse().ok()).filter(|pid| holds(*pid)).collect()
}

//! A container's control groups, seen from the host.

use std::fs;
use std::path::{Path, PathBuf};

/// Where this machine has its control groups.
const ROOT: &str = "/sys/fs/cgroup";

/// Whether this machine has cgroup v2 and nothing else.
pub fn is_v2() -> bool {
    Path::new(ROOT).join("cgroup.controllers").exists()
}

/// Whether limits of `controller` can be set.
pub fn has(controller: &str) -> bool {
    if is_v2() {
        let list = fs::read_to_string(Path::new(ROOT).join("cgroup.controllers"));
        return list.is_ok_and(|list| list.split_whitespace().any(|name| name == controller));
    }
    point(controller).is_some()
}

/// Where a v1 hierarchy is mounted.
pub fn point(controller: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        if after.next()? != "cgroup" {
            return None;
        }
        let options = after.nth(1)?;
        let point = before.split(' ').nth(4)?;
        options.split(',').any(|option| option == controller).then(|| PathBuf::from(point))
    })
}

/// Mounts v1's hugetlb in this thread's mount namespace where it is not: crun refuses to work
/// beside a hierarchy that it cannot find, and ours sets the limit where it can.
pub fn prepare() {
    let hugetlb = Path::new(ROOT).join("hugetlb");
    if is_v2() || has("hugetlb") || !hugetlb.is_dir() {
        return;
    }
    let flags = nix::mount::MsFlags::empty();
    let _ = nix::mount::mount(Some("cgroup"), &hugetlb, Some("cgroup"), flags, Some("hugetlb"));
}

/// The group of a process in the hierarchy of `controller`, below that hierarchy's root.
pub fn path_of(pid: i32, controller: &str) -> PathBuf {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let line = text.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, names, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours =
            if is_v2() { names.is_empty() } else { names.split(',').any(|n| n == controller) };
        ours.then(|| PathBuf::from(path))
    });
    line.unwrap_or_else(|| panic!("{controller} is not in {text}"))
}

/// The directory of that group.
pub fn directory(pid: i32, controller: &str) -> PathBuf {
    let point = if is_v2() { PathBuf::from(ROOT) } else { point(controller).unwrap() };
    point.join(path_of(pid, controller).strip_prefix("/").unwrap())
}

/// A file of that group.
#[track_caller]
pub fn value(pid: i32, controller: &str, file: &str) -> String {
    let path = directory(pid, controller).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.trim().to_owned()
}

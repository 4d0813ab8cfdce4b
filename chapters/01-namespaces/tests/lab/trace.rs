//! What a container may leave behind: processes, namespaces, mounts, descriptors.

use std::collections::BTreeSet;
use std::fs;

use corten_namespaces::namespace::{self, Identity, Namespace};

/// What belongs to this test now.
#[derive(Debug, PartialEq, Eq)]
pub struct Traces {
    mounts: String,
    descriptors: BTreeSet<(String, String)>,
    processes: BTreeSet<i32>,
    namespaces: BTreeSet<(Namespace, Identity)>,
}

impl Traces {
    /// The processes are the descendants of this one: other tests of the machine run at the same
    /// time. For the same reason a target that compares traces must not run tests beside it.
    pub fn now() -> Traces {
        let processes = descendants();
        let namespaces = namespace::list()
            .unwrap()
            .into_iter()
            .filter(|member| processes.contains(&member.pid))
            .flat_map(|member| member.namespaces)
            .collect();
        Traces { mounts: mounts(), descriptors: descriptors(), processes, namespaces }
    }
}

/// The mounts that this thread sees.
pub fn mounts() -> String {
    fs::read_to_string("/proc/thread-self/mountinfo").unwrap()
}

fn descriptors() -> BTreeSet<(String, String)> {
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            // The descriptor that reads this very directory is gone again.
            let to = fs::read_link(&path).ok()?.display().to_string();
            (!to.ends_with("/fd")).then(|| (path.display().to_string(), to))
        })
        .collect()
}

/// All processes below this one, zombies too.
pub fn descendants() -> BTreeSet<i32> {
    tree(std::process::id() as i32)
}

fn tree(root: i32) -> BTreeSet<i32> {
    let parents: Vec<(i32, i32)> = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let pid = entry.ok()?.file_name().to_str()?.parse().ok()?;
            Some((pid, parent(pid)?))
        })
        .collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        for (pid, parent) in &parents {
            if found.contains(parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            break;
        }
    }
    found.remove(&root);
    found
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Whether a process with this number is there and no zombie.
pub fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z')))
}

/// `pid` and all processes below it.
pub fn below(pid: i32) -> Vec<i32> {
    let mut found = vec![pid];
    found.extend(tree(pid));
    found
}

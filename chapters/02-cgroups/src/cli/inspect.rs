//! `stat` and `ls`.

use std::path::Path;

use corten_cgroups::hierarchy::{Mount, Version};
use corten_cgroups::{Controller, Hierarchy, Placement, Result};

use super::show;

/// Prints the figures of a group.
pub fn stat(group: &Path) -> Result<u8> {
    print!("{}", show::stats(&super::open(group)?.stats()?));
    Ok(0)
}

/// Prints the hierarchies, or the groups below `group`.
pub fn ls(group: Option<&Path>) -> Result<u8> {
    let hierarchy = Hierarchy::detect()?;
    match group {
        None => hierarchies(&hierarchy),
        Some(group) => {
            let mount = tree_of(&hierarchy);
            let top = match group.has_root() && group.parent().is_none() {
                true => mount.point.clone(),
                false => hierarchy.directory(mount, &Placement::parse(Some(group), "")?),
            };
            // A group that is not there is an error, not an empty list.
            if !top.is_dir() {
                super::open(group)?;
            }
            println!("{:>9}  GROUP", "PROCESSES");
            tree(&top, &top.display().to_string(), 0);
        }
    }
    Ok(0)
}

fn hierarchies(hierarchy: &Hierarchy) {
    println!("layout: {}", hierarchy.layout());
    let rows: Vec<[String; 4]> = hierarchy.mounts().iter().map(row).collect();
    let width = |at: usize| rows.iter().map(|row| row[at].len()).max().unwrap_or(0).max(11);
    let (controllers, point) = (width(1), width(2));
    println!("{:<3} {:<controllers$}  {:<point$}  OURS", "", "CONTROLLERS", "MOUNTED ON");
    for [version, set, at, ours] in &rows {
        println!("{version:<3} {set:<controllers$}  {at:<point$}  {ours}");
    }
}

fn row(mount: &Mount) -> [String; 4] {
    let (version, controllers) = match mount.version {
        Version::V1 => ("v1", mount.label()),
        Version::V2 => {
            let names: Vec<_> = mount.controllers.iter().filter_map(Controller::v2_name).collect();
            ("v2", if names.is_empty() { "-".into() } else { names.join(",") })
        }
    };
    let ours = mount.own.strip_prefix(&mount.point).unwrap_or(&mount.own);
    let point = mount.point.display().to_string();
    [version.to_owned(), controllers, point, format!("/{}", ours.display())]
}

/// The hierarchy whose tree is shown: v2's, where it is the only one, or that which counts
/// processes.
pub fn tree_of(hierarchy: &Hierarchy) -> &Mount {
    let pids = hierarchy.of(Controller::Pids);
    pids.unwrap_or_else(|| &hierarchy.mounts()[0])
}

fn tree(dir: &Path, name: &str, depth: usize) {
    let processes = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    println!("{:>9}  {:indent$}{name}", processes.lines().count(), "", indent = 2 * depth);
    for child in children(dir) {
        tree(&dir.join(&child), &child, depth + 1);
    }
}

/// The names of the groups directly below `dir`.
pub fn children(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

//! `linux.devices`, and the rules about devices.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_namespaces::error::errno_of;
use nix::errno::Errno;
use nix::sys::stat::{self, FileStat, SFlag};
use serde_json::{Value, json};

use crate::engine::error::{Error, Result};
use crate::engine::options::HostConfig;
use crate::engine::options::host::Device;
use crate::engine::path::lexical;

/// The devices that are made, and the rules about which may be used.
/// In a user namespace those that are there are shown under their own names.
pub(super) fn all(host: &HostConfig, rootless: bool) -> Result<(Vec<Value>, Vec<Value>)> {
    let mut devices = Vec::new();
    if host.privileged {
        host_devices(Path::new("/dev"), &mut devices);
        // One that is there under its own name is there already.
        let renamed =
            host.resources.devices.iter().filter(|d| d.path_on_host != d.path_in_container);
        for device in renamed.filter(|_| !rootless) {
            devices.extend(from_path(device)?.into_iter().map(|(device, _)| device));
        }
        return Ok((devices, vec![json!({"allow": true, "access": "rwm"})]));
    }
    let mut rules = default_rules();
    let is_made = |device: &&Device| !rootless || !is_renamed(device);
    for device in host.resources.devices.iter().filter(is_made) {
        for (device, rule) in from_path(device)? {
            devices.push(device);
            rules.push(rule);
        }
    }
    for rule in &host.resources.device_cgroup_rules {
        rules.push(parse_rule(rule)?);
    }
    Ok((devices, rules))
}

fn is_renamed(device: &Device) -> bool {
    !["", &device.path_on_host].contains(&device.path_in_container.as_str())
}

/// Devices that have other names in the container, where nobody can make devices: from where to where they
/// are mounted.
///
/// # Errors
/// [`Error::Refused`].
pub(super) fn renamed(host: &HostConfig) -> Result<Vec<(String, String)>> {
    let renamed = host.resources.devices.iter().filter(|device| is_renamed(device));
    let places = renamed.map(|device| {
        from_path(device)?;
        Ok((device.path_on_host.clone(), device.path_in_container.clone()))
    });
    places.collect()
}

/// Nothing but zero, null, urandom, random, tty and console; the rest of the usual ones is the
/// runtime's. The last rule denies /dev/fuse, as dockerd's does.
fn default_rules() -> Vec<Value> {
    let mut rules = vec![json!({"allow": false, "access": "rwm"})];
    for (major, minor, allow) in [
        (1, 5, true),
        (1, 3, true),
        (1, 9, true),
        (1, 8, true),
        (5, 0, true),
        (5, 1, true),
        (10, 229, false),
    ] {
        rules.push(json!({"allow": allow, "type": "c", "major": major, "minor": minor,
            "access": "rwm"}));
    }
    rules
}

/// Reads an entry of `DeviceCgroupRules`: `c 42:* rwm`.
///
/// # Errors
/// [`Error::Refused`].
pub fn parse_rule(rule: &str) -> Result<Value> {
    let read = || {
        let [kind, numbers, access] = rule.split(' ').collect::<Vec<_>>()[..] else { return None };
        let (major, minor) = numbers.split_once(':')?;
        let number = |text: &str| match text {
            "*" => Some(-1),
            text => text.parse::<u32>().ok().map(i64::from),
        };
        let known = ["a", "b", "c"].contains(&kind)
            && (1..=3).contains(&access.len())
            && access.bytes().all(|way| b"rwm".contains(&way));
        known.then_some(json!({"allow": true, "type": kind, "major": number(major)?,
            "minor": number(minor)?, "access": access}))
    };
    read().ok_or_else(|| Error::refused(format!("invalid device cgroup rule format: '{rule}'")))
}

/// A device, or all that are in a directory: each with its rule.
fn from_path(device: &Device) -> Result<Vec<(Value, Value)>> {
    let failed = |why: String| {
        Error::refused(format!(
            "error gathering device information while adding custom device {:?}: {why}",
            device.path_on_host
        ))
    };
    let inside = match device.path_in_container.as_str() {
        "" => &device.path_on_host,
        path => path,
    };
    let access = match device.cgroup_permissions.as_str() {
        "" => "rwm",
        access => access,
    };
    if !access.bytes().all(|way| b"rwm".contains(&way)) {
        return Err(failed(format!("invalid device mode: {access}")));
    }
    // In Go's words: `docker run` ends with 127 where it finds "no such file or directory".
    let said = |errno: Errno| failed(errno.desc().to_lowercase());
    let source =
        std::fs::canonicalize(&device.path_on_host).map_err(|error| said(errno_of(&error)))?;
    let found = stat::lstat(&source).map_err(said)?;
    let inside = lexical(Path::new(inside));
    if is(&found, SFlag::S_IFDIR) {
        let mut all = Vec::new();
        below(&source, &inside, access, 0, &mut all);
        return if all.is_empty() { Err(failed("not a device node".to_owned())) } else { Ok(all) };
    }
    match node(&found, &inside, access) {
        Some(pair) => Ok(vec![pair]),
        None => Err(failed("not a device node".to_owned())),
    }
}

/// No honest directory of devices is deeper.
const DEEPEST: usize = 16;

fn below(from: &Path, to: &Path, access: &str, depth: usize, all: &mut Vec<(Value, Value)>) {
    let Ok(entries) = std::fs::read_dir(from) else { return };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let Ok(found) = stat::lstat(&path) else { continue };
        let to = to.join(path.file_name().unwrap_or_default());
        if is(&found, SFlag::S_IFDIR) && depth < DEEPEST {
            below(&path, &to, access, depth + 1, all);
        }
        all.extend(node(&found, &to, access));
    }
}

/// All devices of the host, but those that a container has its own of.
fn host_devices(directory: &Path, all: &mut Vec<Value>) {
    const OWN: [&[u8]; 7] = [b"pts", b"shm", b"fd", b"mqueue", b".lxc", b".lxd-mounts", b".udev"];
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let mut entries: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        let Ok(found) = stat::lstat(&path) else { continue };
        let name = path.file_name().unwrap_or_default().as_bytes();
        if is(&found, SFlag::S_IFDIR) {
            if !OWN.contains(&name) && path.components().count() < DEEPEST {
                host_devices(&path, all);
            }
        } else if name != b"console" {
            all.extend(node(&found, &path, "rwm").map(|(device, _)| device));
        }
    }
}

fn is(found: &FileStat, kind: SFlag) -> bool {
    found.st_mode & SFlag::S_IFMT.bits() == kind.bits()
}

/// The device and its rule; `None` for what is no device.
fn node(found: &FileStat, path: &Path, access: &str) -> Option<(Value, Value)> {
    let kind = match () {
        () if is(found, SFlag::S_IFCHR) => "c",
        () if is(found, SFlag::S_IFBLK) => "b",
        () => return None,
    };
    let (major, minor) = (stat::major(found.st_rdev), stat::minor(found.st_rdev));
    let device = json!({"path": path, "type": kind, "major": major, "minor": minor,
        "fileMode": found.st_mode & 0o7777, "uid": found.st_uid, "gid": found.st_gid});
    let rule = json!({"allow": true, "type": kind, "major": major, "minor": minor,
        "access": access});
    Some((device, rule))
}

//! `mounts`: the usual ones, the engine's own files, and the user's.

use std::path::Path;

use corten_namespaces::mount::READ_ONLY;
use serde_json::{Value, json};

use super::process::has_init;
use super::{INIT, Wanted, device, files};
use crate::engine::error::Result;
use crate::engine::options::mount::MountType;
use crate::engine::options::security::Security;
use crate::engine::options::{HostConfig, IpcMode, NetworkMode, PidMode};
use crate::engine::volumes::MountPoint;

/// A mount while it is being decided.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    destination: String,
    kind: String,
    source: String,
    options: Vec<String>,
}

impl Entry {
    fn new(destination: &str, kind: &str, source: &str, options: &str) -> Entry {
        Entry {
            destination: destination.to_owned(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            options: options.split(',').map(str::to_owned).collect(),
        }
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|own| own == option)
    }

    fn json(self) -> Value {
        json!({"destination": self.destination, "type": self.kind, "source": self.source,
            "options": self.options})
    }
}

/// What every container has.
fn usual() -> Vec<Entry> {
    let quiet = "nosuid,noexec,nodev";
    vec![
        Entry::new("/proc", "proc", "proc", quiet),
        Entry::new("/dev", "tmpfs", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        Entry::new(
            "/dev/pts",
            "devpts",
            "devpts",
            "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620,gid=5",
        ),
        Entry::new("/sys", "sysfs", "sysfs", "nosuid,noexec,nodev,ro"),
        Entry::new("/sys/fs/cgroup", "cgroup", "cgroup", "ro,nosuid,noexec,nodev"),
        Entry::new("/dev/mqueue", "mqueue", "mqueue", quiet),
        Entry::new("/dev/shm", "tmpfs", "shm", "nosuid,noexec,nodev,mode=1777"),
    ]
}

/// All mounts in the order in which they are made, and the propagation that the root must have.
pub(super) fn all(wanted: &Wanted<'_>) -> Result<(Vec<Value>, Option<&'static str>)> {
    let mut own = wanted.mounts.iter().map(entry).collect::<Vec<_>>();
    let taken = |own: &[Entry], path: &str| own.iter().any(|entry| entry.destination == path);
    // The user's mount of the same path takes the place of the engine's own file.
    for file in own_files(wanted)? {
        if !taken(&own, &file.destination) {
            own.push(file);
        }
    }
    if let Some(shm) = shared_memory(wanted)?.filter(|_| !taken(&own, "/dev/shm")) {
        own.push(shm);
    }
    own.sort_by_key(|entry| Path::new(&entry.destination).components().count());
    let no_shm = wanted.host.ipc()? == IpcMode::None;
    let under_dev = taken(&own, "/dev");
    let mut entries = usual();
    entries.retain(|entry| {
        let path = entry.destination.as_str();
        !(taken(&own, path)
            || under_dev && path.starts_with("/dev/")
            || no_shm && path == "/dev/shm")
    });
    if wanted.machine.rootless {
        show_the_hosts(&mut entries, wanted.host)?;
        own.extend(
            device::renamed(wanted.host)?
                .into_iter()
                .map(|(from, to)| Entry::new(&to, "bind", &from, "bind,rprivate,nosuid,noexec")),
        );
    }
    for entry in entries.iter_mut().filter(|entry| entry.destination == "/dev/shm") {
        entry.options.push(format!("size={}", wanted.host.shm_size));
    }
    protect(&mut entries, wanted.host);
    let propagation = propagation(wanted.mounts);
    entries.extend(own);
    // Last: the user may mount something on /dev.
    if has_init(wanted.host)? {
        let init = wanted.place.init.to_string_lossy();
        entries.push(Entry::new(INIT, "bind", &init, "rbind,rprivate,ro"));
    }
    Ok((entries.into_iter().map(Entry::json).collect(), propagation))
}

/// What shows a namespace of the host's can be mounted by the host's root alone. In a user namespace it is
/// the mount that is there.
fn show_the_hosts(entries: &mut Vec<Entry>, host: &HostConfig) -> Result<()> {
    let shared =
        [("/proc", host.pid()? == PidMode::Host), ("/dev/mqueue", host.ipc()? == IpcMode::Host)];
    for (path, _) in shared.into_iter().filter(|(_, is_shared)| *is_shared) {
        if !Path::new(path).exists() {
            entries.retain(|entry| entry.destination != path);
        }
        for entry in entries.iter_mut().filter(|entry| entry.destination == path) {
            *entry = Entry::new(path, "bind", path, "rbind,nosuid,noexec,nodev");
        }
    }
    Ok(())
}

/// A read-only root is read-only in its corners, too; a privileged container may write to /sys.
fn protect(entries: &mut [Entry], host: &HostConfig) {
    const WRITABLE: [&str; 5] = ["/proc", "/dev/pts", "/dev/shm", "/dev/mqueue", "/dev"];
    for entry in entries {
        if host.readonly_rootfs
            && !WRITABLE.contains(&entry.destination.as_str())
            && !entry.has("ro")
        {
            entry.options.push("ro".to_owned());
        }
        if host.privileged && (entry.destination == "/sys" || entry.kind == "cgroup") {
            entry.options.retain(|option| option != "ro");
        }
    }
}

/// The files of the network's names: the container's own, or those of the one whose network it
/// shares.
fn own_files(wanted: &Wanted<'_>) -> Result<Vec<Entry>> {
    let directory = match wanted.host.network()? {
        NetworkMode::Container(name) => wanted.neighbours.directory(&name)?,
        _ => wanted.place.directory.clone(),
    };
    let options = if wanted.host.readonly_rootfs { "rbind,ro,rprivate" } else { "rbind,rprivate" };
    let entry = |(name, target): &(&str, &str)| {
        Entry::new(target, "bind", &directory.join(name).to_string_lossy(), options)
    };
    Ok(files::FILES.iter().map(entry).collect())
}

/// /dev/shm where it is not the container's alone.
fn shared_memory(wanted: &Wanted<'_>) -> Result<Option<Entry>> {
    let path = match wanted.host.ipc()? {
        IpcMode::Host => Some("/dev/shm".into()),
        IpcMode::Container(name) => wanted.neighbours.shm(&name)?,
        IpcMode::Shareable => wanted.place.shm.clone(),
        IpcMode::Private | IpcMode::None => None,
    };
    let entry = |path: std::path::PathBuf| {
        Entry::new("/dev/shm", "bind", &path.to_string_lossy(), "rbind,rprivate")
    };
    Ok(path.map(entry))
}

/// One of the user's mounts.
fn entry(point: &MountPoint) -> Entry {
    let path = point.destination.as_str();
    if point.kind == MountType::Tmpfs {
        return Entry { options: tmpfs(&point.tmpfs), ..Entry::new(path, "tmpfs", "tmpfs", "") };
    }
    if let Some(device) = &point.device {
        let mut entry = Entry::new(path, &device.kind, &device.source, "");
        entry.options.clone_from(&device.options);
        if !point.writable && !entry.has("ro") {
            entry.options.push("ro".to_owned());
        }
        return entry;
    }
    let mut options = vec![if point.non_recursive { "bind" } else { "rbind" }];
    if !point.writable {
        // Docker 25 and later: what is mounted below is read-only, too.
        options.push(if point.read_only_non_recursive { "ro" } else { "rro" });
    }
    if !point.propagation.is_empty() {
        options.push(&point.propagation);
    }
    Entry::new(path, "bind", &point.source, &options.join(","))
}

/// Docker's options of a tmpfs and over them the user's: the last word of two that contradict each
/// other counts.
fn tmpfs(own: &str) -> Vec<String> {
    let usual = ["noexec", "nosuid", "nodev", "rprivate"];
    let mut merged: Vec<String> = Vec::new();
    for option in usual.into_iter().chain(own.split(',').filter(|option| !option.is_empty())) {
        let subject = |option: &str| match option.split_once('=') {
            Some((name, _)) => format!("{name}="),
            None if super::super::volumes::point::PROPAGATION.contains(&option) => {
                "propagation".to_owned()
            }
            None if ["ro", "rw"].contains(&option) => "access".to_owned(),
            None => option.strip_prefix("no").unwrap_or(option).to_owned(),
        };
        merged.retain(|known| subject(known) != subject(option));
        merged.push(option.to_owned());
    }
    merged
}

/// Mounts that are made on the host later are seen in the container only where its root is no more
/// private than the mount is.
fn propagation(points: &[MountPoint]) -> Option<&'static str> {
    let any = |names: [&str; 2]| points.iter().any(|p| names.contains(&p.propagation.as_str()));
    if any(["shared", "rshared"]) {
        Some("shared")
    } else if any(["slave", "rslave"]) {
        Some("rslave")
    } else {
        None
    }
}

/// Hidden in every container: what tells about the machine, or reaches it.
const MASKED: [&str; 13] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
];

/// The paths that are hidden, and those that are read-only.
pub(super) fn hidden(host: &HostConfig, security: &Security) -> (Vec<String>, Vec<String>) {
    if host.privileged || security.all_system_paths {
        return (Vec::new(), Vec::new());
    }
    let or = |own: &Option<Vec<String>>, usual: &[&str]| match own {
        Some(own) => own.clone(),
        None => usual.iter().map(|&path| path.to_owned()).collect(),
    };
    (or(&host.masked_paths, &MASKED), or(&host.readonly_paths, &READ_ONLY))
}

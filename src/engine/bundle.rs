//! From what was decided to what chapter 4 runs: the runtime specification's `config.json`.

use std::path::Path;

use corten_namespaces::mount::attribute;
use serde_json::{Value, json};

use super::container::FILES;
use super::spec::Spec;
use super::volume::Volume;

/// The group above those of all containers.
pub(super) const CGROUPS: &str = "corten";

/// What Docker leaves to root in a container.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Paths of /proc and /sys that tell of the host, as Docker hides them.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Paths of /proc that change the host, as Docker protects them.
const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The configuration of container `id`, whose files are in `directory`. `window` is the size of the
/// caller's terminal, `init` the program that is the first process where `--init` is given.
pub fn config(spec: &Spec, id: &str, directory: &Path, window: (u16, u16), init: &Path) -> Value {
    let args: Vec<&str> = match spec.init {
        true => [corten_supervisor::init::PATH, "--"]
            .into_iter()
            .chain(spec.args.iter().map(String::as_str))
            .collect(),
        false => spec.args.iter().map(String::as_str).collect(),
    };
    let namespaces: Vec<Value> = ["mount", "pid", "network", "ipc", "uts", "cgroup"]
        .into_iter()
        .map(|kind| json!({ "type": kind }))
        .collect();
    json!({
        "ociVersion": corten_runtime::OCI_VERSION,
        "process": {
            "terminal": spec.terminal,
            "consoleSize": spec.terminal.then(|| json!({ "height": window.0, "width": window.1 })),
            "user": { "uid": spec.uid, "gid": spec.gid, "additionalGids": spec.groups },
            "args": args,
            "env": spec.env,
            "cwd": spec.cwd,
            "capabilities": capabilities(),
            "rlimits": spec.limits.iter().filter_map(|limit| rlimit(limit)).collect::<Vec<_>>(),
        },
        "root": { "path": directory.join("rootfs"), "readonly": spec.read_only },
        "hostname": spec.hostname,
        "mounts": mounts(spec, directory, init),
        "linux": {
            "namespaces": namespaces,
            "cgroupsPath": format!("/{CGROUPS}/{id}"),
            "resources": { "devices": devices() },
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    })
}

/// What a program in a container may.
pub(super) fn capabilities() -> Value {
    json!({ "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES })
}

/// `nofile=1024:2048`, as the specification has it.
fn rlimit(text: &str) -> Option<Value> {
    let (name, values) = text.split_once('=')?;
    let (soft, hard) = values.split_once(':')?;
    let value = |text: &str| if text == "-1" { Some(u64::MAX) } else { text.parse().ok() };
    let kind = format!("RLIMIT_{}", name.to_uppercase());
    Some(json!({ "type": kind, "soft": value(soft)?, "hard": value(hard)? }))
}

fn mounts(spec: &Spec, directory: &Path, init: &Path) -> Vec<Value> {
    let own = |kind: &str, target: &str, options: &[&str]| json!({ "type": kind, "source": kind, "destination": target, "options": options });
    let quiet = ["nosuid", "noexec", "nodev"];
    let mut mounts = vec![
        own("proc", "/proc", &quiet),
        own("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        own(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        own("sysfs", "/sys", &[&quiet[..], &["ro"]].concat()),
        own("cgroup", "/sys/fs/cgroup", &[&quiet[..], &["ro"]].concat()),
        own("mqueue", "/dev/mqueue", &quiet),
        own("tmpfs", "/dev/shm", &[&quiet[..], &["mode=1777", "size=65536k"]].concat()),
    ];
    let bind = |source: &Path, target: &Path, options: &[&str]| json!({ "type": "bind", "source": source, "destination": target, "options": ([&["rbind", "rprivate"], options].concat()) });
    // The user's mount of the same path takes the place of the engine's own file; one of a directory
    // above it comes before, or it would hide the file.
    let files: Vec<_> = FILES
        .iter()
        .map(|(name, target)| (directory.join(name), Path::new(*target)))
        .filter(|(_, target)| !spec.volumes.iter().any(|volume| volume.target() == *target))
        .collect();
    let outer = |volume: &&Volume| files.iter().any(|(_, file)| file.starts_with(volume.target()));
    let of_user = |volume: &Volume| match volume {
        Volume::Bind { source, target, read_only } => {
            bind(source, target, if *read_only { &["rro"] } else { &[] })
        }
        Volume::Tmpfs { target, options, attributes } => json!({
            "type": "tmpfs",
            "source": "tmpfs",
            "destination": target,
            "options": tmpfs(options, *attributes),
        }),
    };
    mounts.extend(spec.volumes.iter().filter(outer).map(of_user));
    mounts.extend(files.iter().map(|(source, target)| bind(source, target, &[])));
    mounts.extend(spec.volumes.iter().filter(|volume| !outer(volume)).map(of_user));
    if spec.init {
        mounts.push(bind(init, Path::new(corten_supervisor::init::PATH), &["ro"]));
    }
    mounts
}

fn tmpfs(options: &str, attributes: u64) -> Vec<String> {
    let flags = [
        (attribute::NODEV, "nodev"),
        (attribute::NOEXEC, "noexec"),
        (attribute::NOSUID, "nosuid"),
        (attribute::RDONLY, "ro"),
    ];
    let set = flags.iter().filter(|(flag, _)| attributes & flag != 0);
    let own = options.split(',').filter(|option| !option.is_empty());
    set.map(|(_, name)| *name).chain(own).map(str::to_owned).collect()
}

/// Nothing but what every container has (moby, oci/devices_linux.go).
fn devices() -> Vec<Value> {
    let allow = |kind: &str, major: Option<i64>, minor: Option<i64>, access: &str| json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": access });
    let mut rules = vec![json!({ "allow": false, "access": "rwm" })];
    // Any may be made, few may be used.
    rules.extend([allow("c", None, None, "m"), allow("b", None, None, "m")]);
    for (major, minor) in [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2)] {
        rules.push(allow("c", Some(major), Some(minor), "rwm"));
    }
    rules.push(allow("c", Some(136), None, "rwm"));
    rules
}

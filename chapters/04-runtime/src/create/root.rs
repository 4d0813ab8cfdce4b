//! The part of the plan that builds the container's tree.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use corten_namespaces::Namespace;
use corten_namespaces::error::Context;
use oci_spec::runtime as oci;
use oci_spec::runtime::{LinuxDeviceType, LinuxNamespace, LinuxNamespaceType};

use super::step::{Device, Switch};
use super::{Create, Step};
use crate::bundle::Bundle;
use crate::error::{Error, Result};
use crate::mount::{self, Inside, Mount, Source};
use crate::notify;
use crate::process::{Process, c_path};

/// The devices that every container has: runtime-spec, config-linux, default devices.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

// ANCHOR: furnish
/// Mounts, devices, links and hooks below the new root, and the switch to it.
pub(super) fn furnish(
    plan: &mut Create,
    bundle: &Bundle,
    linux: &oci::Linux,
    process: &Process,
) -> Result<()> {
    let propagation = root_propagation(linux)?;
    let host = match propagation {
        None => (libc::MS_SLAVE, true),
        // Nothing could be cloned out of it; the container's own root becomes so in the end.
        Some((libc::MS_UNBINDABLE, below)) => (libc::MS_PRIVATE, below),
        Some(other) => other,
    };
    let own_mounts = has_mount_namespace(linux);
    let root = c_path(&plan.state.rootfs)?;
    if own_mounts {
        plan.steps.push(Step::Propagation(host.0, true));
        // Else it would be the caller's again, and pivot_root refuses to leave a shared mount.
        plan.steps.extend((host.0 == libc::MS_SHARED).then(|| Step::PrivateParent(root.clone())));
    } else {
        plan.state.mounts_before = Some(mounts_at(&plan.state.rootfs)?);
    }
    plan.steps.push(Step::AttachRoot(root));
    let mounts = mounts(plan, bundle, linux, host)?;
    // The parent puts the child into its control groups meanwhile: the first mount that shows them
    // has to wait for that, and the others need not.
    let shows = |mount: &Mount| matches!(mount.source, Source::Cgroups(_));
    let first = mounts.iter().position(shows);
    let namespace = plan.namespaces.contains(Namespace::Cgroup);
    let wait = Step::Cgroups { namespace };
    plan.namespaces = plan.namespaces.without(Namespace::Cgroup);
    let own_dev = !mounts.iter().any(|mount| {
        mount.target.path() == Path::new("/dev") && matches!(mount.source, Source::Tree { .. })
    });
    let mut mounts = mounts.into_iter();
    plan.steps.extend(mounts.by_ref().take(first.unwrap_or(usize::MAX)).map(Step::Mount));
    if first.is_some() {
        plan.steps.push(wait);
        plan.steps.extend(mounts.map(Step::Mount));
        devices(plan, linux, own_dev)?;
    } else {
        devices(plan, linux, own_dev)?;
        plan.steps.push(wait);
    }
    if plan.hooks.before_pivot() {
        plan.steps.push(Step::RuntimeHooks);
    }
    let hooks = bundle.spec.hooks().as_ref().and_then(|hooks| hooks.create_container().clone());
    plan.steps.extend(hooks.filter(|hooks| !hooks.is_empty()).map(Step::ContainerHooks));
    let paths = |paths: &Option<Vec<String>>| -> Result<Vec<Inside>> {
        paths.iter().flatten().map(Inside::new).collect()
    };
    let cwd = std::ffi::OsStr::from_bytes(process.cwd.to_bytes());
    plan.steps.push(Step::MakeDirectory(Inside::new(cwd)?));
    let (protect, mask) = (paths(linux.readonly_paths())?, paths(linux.masked_paths())?);
    plan.steps.extend((!protect.is_empty()).then_some(Step::WriteProtect(protect)));
    plan.steps.extend((!mask.is_empty()).then_some(Step::Mask(mask)));
    let switch = match plan.options.no_pivot {
        _ if !own_mounts => Switch::Chroot,
        true => Switch::Move,
        false => Switch::Pivot,
    };
    plan.steps.push(Step::SwitchRoot(switch));
    plan.steps.extend(propagation.map(|(flag, below)| Step::RootPropagation(flag, below)));
    if bundle.spec.root().as_ref().and_then(|root| root.readonly()).unwrap_or(false) {
        plan.steps.push(Step::ReadOnlyRoot);
    }
    Ok(())
}
// ANCHOR_END: furnish

/// Whether the container's mounts are its own. Without a mount namespace they are the caller's:
/// the specification lets a container inherit what is not listed.
fn has_mount_namespace(linux: &oci::Linux) -> bool {
    let list = linux.namespaces().iter().flatten();
    list.into_iter().any(|namespace| namespace.typ() == LinuxNamespaceType::Mount)
}

/// How many mounts lie on each other at `path`.
pub(crate) fn mounts_at(path: &Path) -> Result<usize> {
    const FILE: &str = "/proc/thread-self/mountinfo";
    let text = std::fs::read_to_string(FILE).on("read", FILE)?;
    // The kernel writes a blank as \040.
    let shown = path.to_string_lossy().replace('\\', "\\134").replace(' ', "\\040");
    Ok(text.lines().filter(|line| line.split(' ').nth(4) == Some(&*shown)).count())
}

/// Detaches the root of a container without a mount namespace from the caller's, with all that was
/// mounted in it, where it is still there.
pub(crate) fn detach_root(state: &crate::state::State) -> Result<()> {
    let Some(before) = state.mounts_before else { return Ok(()) };
    if mounts_at(&state.rootfs)? > before {
        let path = c_path(&state.rootfs)?;
        corten_namespaces::sys::mount::umount_detach(&path).on("unmount", &state.rootfs)?;
    }
    Ok(())
}

fn root_propagation(linux: &oci::Linux) -> Result<Option<(u64, bool)>> {
    let Some(name) = linux.rootfs_propagation().as_deref().filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    let found = mount::options::propagation(name);
    found.map(Some).ok_or_else(|| {
        let what = format!("linux.rootfsPropagation `{name}`");
        Error::invalid(what, "is none of shared, slave, private, unbindable (or with r before it)")
    })
}

fn mounts(
    plan: &mut Create,
    bundle: &Bundle,
    linux: &oci::Linux,
    propagation: (u64, bool),
) -> Result<Vec<Mount>> {
    let maps = linux.uid_mappings().as_deref().zip(linux.gid_mappings().as_deref());
    let own_namespace = plan.namespaces.contains(Namespace::Cgroup);
    let cgroups = plan.cgroup.as_ref().map(|c| c.mounts(own_namespace)).unwrap_or_default();
    let surroundings = mount::Surroundings {
        bundle: &bundle.path,
        propagation,
        maps,
        joined: plan.through.iter().find(|(kind, _)| *kind == Namespace::User).map(|(_, fd)| fd),
        cgroups,
        label: linux.mount_label().as_deref().filter(|label| !label.is_empty()),
    };
    let list = bundle.spec.mounts().iter().flatten();
    let mut mounts: Vec<Mount> =
        list.map(|mount| mount::plan(mount, &surroundings)).collect::<Result<_>>()?;
    if let Some(tree) = &plan.options.notify {
        mounts.push(notify::mount(tree)?);
    }
    Ok(mounts)
}

// ANCHOR: devices
/// The default devices and the configuration's. Where the whole /dev is the caller's, it is left
/// alone.
fn devices(plan: &mut Create, linux: &oci::Linux, own_dev: bool) -> Result<()> {
    let listed = linux.devices().as_deref().unwrap_or_default();
    if !own_dev {
        return Ok(());
    }
    for (name, major, minor) in DEVICES {
        let path = Path::new("/dev").join(name);
        if listed.iter().any(|device| *device.path() == path) {
            continue;
        }
        let mode = libc::S_IFCHR | 0o666;
        let target = Inside::new(path)?;
        let number = libc::makedev(major, minor);
        plan.steps.push(Step::Device(Device { target, mode, number, owner: (0, 0) }));
    }
    for device in listed {
        let kind = match device.typ() {
            LinuxDeviceType::C | LinuxDeviceType::U => libc::S_IFCHR,
            LinuxDeviceType::B => libc::S_IFBLK,
            LinuxDeviceType::P => libc::S_IFIFO,
            LinuxDeviceType::A => {
                let what = format!("linux.devices: {}", device.path().display());
                return Err(Error::invalid(what, "has the type `a`: must be c, b, u or p"));
            }
        };
        let number = |n: i64| {
            u32::try_from(n).map_err(|_| {
                let what = format!("linux.devices: {}", device.path().display());
                Error::invalid(what, "has a number that is out of range")
            })
        };
        let number = if kind == libc::S_IFIFO {
            0
        } else {
            libc::makedev(number(device.major())?, number(device.minor())?)
        };
        plan.steps.push(Step::Device(Device {
            target: Inside::new(device.path())?,
            mode: kind | device.file_mode().unwrap_or(0o666) & 0o7777,
            number,
            owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
        }));
    }
    for (name, to) in LINKS {
        plan.steps.push(Step::Link(Inside::new(name)?, PathBuf::from(to)));
    }
    if Path::new("/proc/kcore").exists() {
        plan.steps.push(Step::Link(Inside::new("/dev/core")?, PathBuf::from("/proc/kcore")));
    }
    Ok(())
}
// ANCHOR_END: devices

// ANCHOR: sysctl
/// A kernel parameter may be set where it belongs to a namespace of the container's own. All others
/// are the host's.
pub(super) fn sysctl(name: &str, namespaces: &[LinuxNamespace]) -> Result<PathBuf> {
    let bad = |why: &str| Error::invalid(format!("linux.sysctl: {name}"), why);
    // `net/ipv4/conf/eth0.1/…`: with a slash first, dots are parts of names.
    let slash_first =
        name.find('/').is_some_and(|slash| name.find('.').is_none_or(|dot| slash < dot));
    let path: String = if slash_first {
        name.to_owned()
    } else {
        name.chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect()
    };
    if path.split('/').any(|part| part.is_empty() || part == ".." || part == ".") {
        return Err(bad("is no name of a parameter"));
    }
    let own = |kind| namespaces.iter().any(|namespace| namespace.typ() == kind);
    let ipc = [
        "kernel/msgmax",
        "kernel/msgmnb",
        "kernel/msgmni",
        "kernel/sem",
        "kernel/shmall",
        "kernel/shmmax",
        "kernel/shmmni",
        "kernel/shm_rmid_forced",
    ];
    if ipc.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
        return if own(LinuxNamespaceType::Ipc) {
            Ok(path.into())
        } else {
            Err(bad("needs an ipc namespace"))
        };
    }
    if path.starts_with("net/") {
        return if own(LinuxNamespaceType::Network) {
            Ok(path.into())
        } else {
            Err(bad("needs a network namespace"))
        };
    }
    if path == "kernel/domainname" || path == "kernel/hostname" {
        return if path.ends_with("domainname") && own(LinuxNamespaceType::Uts) {
            Ok(path.into())
        } else {
            Err(bad("is not allowed: set it by `hostname` of config.json"))
        };
    }
    Err(bad("is not in a separate kernel namespace: setting it would change the host"))
}
// ANCHOR_END: sysctl

/// The value of personality(2).
pub(crate) fn personality(personality: &oci::LinuxPersonality) -> Result<u64> {
    if personality.flags().as_ref().is_some_and(|flags| !flags.is_empty()) {
        return Err(Error::invalid("linux.personality.flags", "are not supported by any runtime"));
    }
    Ok(match personality.domain() {
        oci::LinuxPersonalityDomain::PerLinux => 0,
        oci::LinuxPersonalityDomain::PerLinux32 => 8,
    })
}

/// Mode and nodes of set_mempolicy(2).
pub(super) fn memory_policy(policy: &oci::LinuxMemoryPolicy) -> Result<(i32, Vec<u64>)> {
    use oci::{MemoryPolicyFlagType as Flag, MemoryPolicyModeType as Mode};
    let mode = match policy.mode() {
        Mode::MpolDefault => 0,
        Mode::MpolPreferred => 1,
        Mode::MpolBind => 2,
        Mode::MpolInterleave => 3,
        Mode::MpolLocal => 4,
        Mode::MpolPreferredMany => 5,
        Mode::MpolWeightedInterleave => 6,
    };
    let flag = |flag: &Flag| match flag {
        Flag::MpolFNumaBalancing => 1 << 13,
        Flag::MpolFRelativeNodes => 1 << 14,
        Flag::MpolFStaticNodes => 1 << 15,
    };
    let flags = policy.flags().iter().flatten().map(flag).fold(0, |all, flag| all | flag);
    let mut nodes = Vec::new();
    let list = policy.nodes().as_deref().filter(|list| !list.is_empty());
    for node in list.map(crate::process::cpu_list).transpose()?.into_iter().flatten() {
        let word = node / 64;
        if nodes.len() <= word {
            nodes.resize(word + 1, 0u64);
        }
        if let Some(word) = nodes.get_mut(word) {
            *word |= 1 << (node % 64);
        }
    }
    let needs = matches!(mode, 2 | 3 | 5 | 6);
    if needs == nodes.is_empty() && mode != 1 {
        let why = if needs { "needs nodes" } else { "takes no nodes" };
        return Err(Error::invalid("linux.memoryPolicy", why));
    }
    Ok((mode | flags, nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_belongs_to_a_namespace_or_is_refused() {
        let namespace = |kind| oci::LinuxNamespaceBuilder::default().typ(kind).build().unwrap();
        let all = [namespace(LinuxNamespaceType::Ipc), namespace(LinuxNamespaceType::Network)];
        let path = |name| sysctl(name, &all).map(|path| path.display().to_string());
        assert_eq!(path("net.ipv4.ip_forward").unwrap(), "net/ipv4/ip_forward");
        assert_eq!(path("net.ipv4.conf.eth0/1.x").unwrap(), "net/ipv4/conf/eth0.1/x");
        assert_eq!(path("net/ipv4/conf/eth0.1/x").unwrap(), "net/ipv4/conf/eth0.1/x");
        assert_eq!(path("kernel.shmmax").unwrap(), "kernel/shmmax");
        for bad in [
            "kernel.panic",
            "net..x",
            "net/../kernel/panic",
            "vm.swappiness",
            "",
            "kernel.hostname",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
        assert!(sysctl("net.ipv4.ip_forward", &[]).is_err());
    }
}

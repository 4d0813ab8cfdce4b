//! `linux.namespaces` and `linux.sysctl`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Wanted, own_network};
use crate::engine::error::Result;
use crate::engine::options::{IpcMode, NetworkMode, PidMode};

/// The namespaces that are made new or joined; those of the host are left out.
pub(super) fn all(wanted: &Wanted<'_>) -> Result<Vec<Value>> {
    let host = wanted.host;
    let new = |kind: &str| json!({"type": kind});
    let join = |kind: &str, path: PathBuf| json!({"type": kind, "path": path});
    let of = |container: &str, kind: &str| wanted.neighbours.namespace(container, kind);
    let mut all = vec![new("mount")];
    match host.network()? {
        NetworkMode::Host => {}
        NetworkMode::Container(name) => all.push(join("network", of(&name, "net")?)),
        NetworkMode::None | NetworkMode::Network(_) => all.push(match wanted.network {
            Some(path) => join("network", path.to_owned()),
            None => new("network"),
        }),
    }
    if !host.host_uts()? {
        all.push(new("uts"));
    }
    match host.pid()? {
        PidMode::Host => {}
        PidMode::Container(name) => all.push(join("pid", of(&name, "pid")?)),
        PidMode::Private => all.push(new("pid")),
    }
    match host.ipc()? {
        IpcMode::Host => {}
        IpcMode::Container(name) => all.push(join("ipc", of(&name, "ipc")?)),
        IpcMode::Private | IpcMode::Shareable | IpcMode::None => all.push(new("ipc")),
    }
    let private = host.private_cgroups()?.unwrap_or(wanted.machine.unified);
    if private && wanted.machine.cgroup_namespaces {
        all.push(new("cgroup"));
    }
    Ok(all)
}

/// The kernel's settings: two that make rights needless, then the user's.
pub(super) fn sysctls(wanted: &Wanted<'_>) -> Result<BTreeMap<String, String>> {
    let mut sysctls = BTreeMap::new();
    let mut set = |name: &str, value: &str| sysctls.insert(name.to_owned(), value.to_owned());
    if own_network(wanted.host)? && wanted.machine.network_sysctls {
        // Echo requests without CAP_NET_RAW, low ports without CAP_NET_BIND_SERVICE. The range is of groups
        // that exist, which in a user namespace are fewer.
        if !wanted.machine.rootless {
            set("net.ipv4.ping_group_range", "0 2147483647");
        }
        set("net.ipv4.ip_unprivileged_port_start", "0");
    }
    if !wanted.config.domainname.is_empty() && !wanted.host.host_uts()? {
        set("kernel.domainname", &wanted.config.domainname);
    }
    for (name, value) in &wanted.host.sysctls {
        set(name, value);
    }
    Ok(sysctls)
}

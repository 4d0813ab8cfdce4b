//! What is refused, in dockerd's words, and what is completed.
//!
//! Clients and test suites know these sentences; so where dockerd has one, it is used as it is.

use std::net::IpAddr;

use super::config::Config;
use super::host::HostConfig;
use super::limit;
use super::mode::{IpcMode, NetworkMode, PidMode};
use super::security::Security;
use crate::engine::error::{Error, Result};
use crate::engine::machine::Machine;
use crate::engine::oci::{capability, device};

/// The size of /dev/shm where nobody says.
pub const SHM_SIZE: i64 = 64 << 20;
/// How the runtime is called where nobody says: by dockerd's name for its usual one, which clients look
/// for. As there, a name says nothing of the program; `info` tells that.
pub const DEFAULT_RUNTIME: &str = "runc";
/// All names of the one runtime that there is.
pub const RUNTIMES: [&str; 4] =
    [DEFAULT_RUNTIME, "io.containerd.runc.v2", "corten", "corten-runtime"];
/// No time of a health check may be shorter: one millisecond.
const SHORTEST: i64 = 1_000_000;

/// Checks a container's configuration, already merged with the image's, fills in what depends on
/// the machine, and drops what its kernel lacks. Returns what the user should be told.
///
/// # Errors
/// [`Error::Refused`], with dockerd's sentence.
pub fn check(config: &mut Config, host: &mut HostConfig, machine: &Machine) -> Result<Vec<String>> {
    program(config)?;
    health(config)?;
    ports(config, host)?;
    restart(host)?;
    log(host)?;
    for entry in &host.extra_hosts {
        extra_host(entry)?;
    }
    network(config, host)?;
    complete(host, machine)?;
    let mut warnings = limit::check(&mut host.resources, machine, false)?;
    warnings.extend(machine_half(host, machine)?);
    sysctls(host)?;
    Ok(warnings)
}

fn program(config: &mut Config) -> Result<()> {
    if !config.working_dir.is_empty() {
        if !config.working_dir.starts_with('/') {
            return Err(Error::refused(format!(
                "the working directory '{}' is invalid, it needs to be an absolute path",
                config.working_dir
            )));
        }
        let cleaned = crate::engine::path::lexical(config.working_dir.as_ref());
        config.working_dir = cleaned.to_string_lossy().into_owned();
    }
    for variable in &config.env {
        if variable.is_empty() || variable.starts_with('=') || variable.contains('\0') {
            return Err(Error::refused(format!("invalid environment variable: {variable}")));
        }
    }
    // It becomes a line of /etc/hosts and a variable.
    let letter = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    for (what, name) in [("hostname", &config.hostname), ("domainname", &config.domainname)] {
        if name.len() > 64 || !name.chars().all(letter) {
            return Err(Error::refused(format!("invalid {what} format: {}", name.escape_debug())));
        }
    }
    if !config.stop_signal.is_empty() {
        signal(&config.stop_signal)?;
    }
    Ok(())
}

/// The number of a signal, by name with or without `SIG`, or by number.
///
/// # Errors
/// For what is none.
pub fn signal(text: &str) -> Result<i32> {
    let invalid = || Error::refused(format!("invalid signal: {text}"));
    if let Ok(number) = text.parse::<i32>() {
        return if (1..=64).contains(&number) { Ok(number) } else { Err(invalid()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some(rest) = name.strip_prefix("RTMIN") {
        let more = rest.strip_prefix('+').unwrap_or(rest);
        let more: i32 = if rest.is_empty() { 0 } else { more.parse().map_err(|_| invalid())? };
        return if (0..=30).contains(&more) { Ok(34 + more) } else { Err(invalid()) };
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        let less = rest.strip_prefix('-').unwrap_or(rest);
        let less: i32 = if rest.is_empty() { 0 } else { less.parse().map_err(|_| invalid())? };
        return if (0..=30).contains(&less) { Ok(64 - less) } else { Err(invalid()) };
    }
    match format!("SIG{name}").parse::<nix::sys::signal::Signal>() {
        Ok(signal) => Ok(signal as i32),
        Err(_) => Err(invalid()),
    }
}

fn health(config: &Config) -> Result<()> {
    let Some(health) = &config.healthcheck else { return Ok(()) };
    for (what, time) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if time != 0 && time < SHORTEST {
            return Err(Error::refused(format!("{what} in Healthcheck cannot be less than 1ms")));
        }
    }
    if health.retries < 0 {
        return Err(Error::refused("Retries in Healthcheck cannot be negative"));
    }
    Ok(())
}

fn ports(config: &Config, host: &HostConfig) -> Result<()> {
    for port in config.exposed_ports.keys().chain(host.port_bindings.keys()) {
        let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        let known = ["tcp", "udp", "sctp"].contains(&protocol.to_ascii_lowercase().as_str());
        if number.is_empty() || !known || range(number).is_none() {
            return Err(Error::refused(format!("invalid port specification: {port:?}")));
        }
    }
    for binding in host.port_bindings.values().flatten() {
        if !binding.host_port.is_empty() && range(&binding.host_port).is_none() {
            let text = format!("invalid port specification: {:?}", binding.host_port);
            return Err(Error::refused(text));
        }
        if !binding.host_ip.is_empty() && binding.host_ip.parse::<IpAddr>().is_err() {
            return Err(Error::refused(format!("invalid IP address: {}", binding.host_ip)));
        }
    }
    Ok(())
}

/// `80` or `80-90`.
fn range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let range = (first.parse().ok()?, last.parse().ok()?);
    (range.0 <= range.1).then_some(range)
}

/// Where output shall go.
fn log(host: &HostConfig) -> Result<()> {
    let chosen = &host.log_config;
    Ok(corten_supervisor::log::Options::check(chosen.driver(), &chosen.config).map(drop)?)
}

/// The restart policy alone.
///
/// # Errors
/// [`Error::Refused`].
pub fn restart(host: &HostConfig) -> Result<()> {
    let policy = &host.restart_policy;
    let text = match policy.name.as_str() {
        "always" | "unless-stopped" | "no" if policy.maximum_retry_count != 0 => {
            format!("maximum retry count cannot be used with restart policy '{}'", policy.name)
        }
        "on-failure" if policy.maximum_retry_count < 0 => {
            "maximum retry count cannot be negative".to_owned()
        }
        "" | "no" => return Ok(()),
        "always" | "unless-stopped" | "on-failure" if host.auto_remove => {
            "can't create 'AutoRemove' container with restart policy".to_owned()
        }
        "always" | "unless-stopped" | "on-failure" => return Ok(()),
        other => format!("invalid restart policy '{other}'"),
    };
    Err(Error::refused(text))
}

/// In the place of an address: the host's.
pub const HOST_GATEWAY: &str = "host-gateway";

/// Checks `NAME:ADDRESS`; the address may be [`HOST_GATEWAY`].
///
/// # Errors
/// [`Error::Refused`].
pub fn extra_host(entry: &str) -> Result<(&str, &str)> {
    // Newer clients write `=`; an IPv6 address has colons of its own and may be in brackets.
    let (name, address) = entry
        .split_once('=')
        .or_else(|| entry.split_once(':'))
        .filter(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace))
        .ok_or_else(|| Error::refused(format!("bad format for add-host: {entry:?}")))?;
    let address = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if address != HOST_GATEWAY && address.parse::<IpAddr>().is_err() {
        return Err(Error::refused(format!("invalid IP address in add-host: {address:?}")));
    }
    Ok((name, address))
}

fn network(config: &Config, host: &HostConfig) -> Result<()> {
    let mode = host.network()?;
    let conflict = |what: &str| Err(Error::refused(format!("conflicting options: {what}")));
    let NetworkMode::Container(_) = mode else {
        if host.host_uts()? && !config.hostname.is_empty() {
            return conflict("hostname and the UTS mode");
        }
        return Ok(());
    };
    match () {
        () if !config.hostname.is_empty() => conflict("hostname and the network mode"),
        () if !host.links.is_empty() => conflict(
            "container type network can't be used with links. This would result in undefined \
             behavior",
        ),
        () if host.dns.as_ref().is_some_and(|dns| !dns.is_empty()) => {
            conflict("dns and the network mode")
        }
        () if !host.extra_hosts.is_empty() => {
            conflict("custom host-to-IP mapping and the network mode")
        }
        () if !config.mac_address.is_empty() => conflict("mac-address and the network mode"),
        () if !host.port_bindings.is_empty() || host.publish_all_ports => {
            conflict("port publishing and the container type network mode")
        }
        () if !config.exposed_ports.is_empty() => {
            conflict("port exposing and the container type network mode")
        }
        () => Ok(()),
    }
}

/// Fills in what dockerd's daemon/daemon_unix.go fills in.
fn complete(host: &mut HostConfig, machine: &Machine) -> Result<()> {
    let resources = &mut host.resources;
    if resources.memory > 0 && resources.memory_swap == 0 {
        resources.memory_swap = resources.memory.saturating_mul(2);
    }
    // Clients send 0 and -1 for no limit.
    if resources.pids_limit.is_some_and(|limit| limit <= 0) {
        resources.pids_limit = None;
    }
    resources.oom_kill_disable.get_or_insert(false);
    if host.shm_size == 0 {
        host.shm_size = SHM_SIZE;
    }
    if host.ipc_mode.is_empty() {
        host.ipc_mode = "private".to_owned();
    }
    if host.network_mode.is_empty() {
        host.network_mode = "default".to_owned();
    }
    if host.private_cgroups()?.is_none() {
        // On v2 a privileged container has its own, too.
        host.cgroupns_mode = if machine.unified { "private" } else { "host" }.to_owned();
    }
    if host.restart_policy.name.is_empty() {
        host.restart_policy.name = "no".to_owned();
    }
    if host.runtime.is_empty() {
        host.runtime = DEFAULT_RUNTIME.to_owned();
    }
    Ok(())
}

fn machine_half(host: &mut HostConfig, machine: &Machine) -> Result<Vec<String>> {
    let mut warnings = Vec::new();
    host.ipc()?;
    host.pid()?;
    host.host_uts()?;
    if host.shm_size < 0 {
        return Err(Error::refused("SHM size can not be less than 0"));
    }
    if !(-1000..=1000).contains(&host.oom_score_adj) {
        return Err(Error::refused(format!(
            "Invalid value {}, range for oom score adj is [-1000, 1000]",
            host.oom_score_adj
        )));
    }
    if host.network()? == NetworkMode::Host && !host.port_bindings.is_empty() {
        let text = "Published ports are discarded when using host network mode";
        warnings.push(text.to_owned());
    }
    if !["", "host"].contains(&host.userns_mode.as_str()) {
        return Err(Error::refused(format!("invalid userns mode: {}", host.userns_mode)));
    }
    if !["", "default"].contains(&host.isolation.as_str()) {
        let text =
            format!("invalid isolation: {:?} - linux only supports 'default'", host.isolation);
        return Err(Error::refused(text));
    }
    if host.private_cgroups()? == Some(true) && !machine.cgroup_namespaces {
        warnings.push(
            "Your kernel does not support cgroup namespaces.  Cgroup namespace setting discarded."
                .to_owned(),
        );
        host.cgroupns_mode = "host".to_owned();
    }
    if !host.storage_opt.is_empty() {
        let text =
            "--storage-opt is supported only for overlay over xfs with 'pquota' mount option";
        return Err(Error::refused(text));
    }
    for (what, list) in [("CapAdd", &host.cap_add), ("CapDrop", &host.cap_drop)] {
        capability::tweak(list, &[], false, machine)
            .map_err(|why| Error::refused(format!("invalid {what}: {why}")))?;
    }
    // Names that callers give to the one that there is.
    if !RUNTIMES.contains(&host.runtime.as_str()) {
        return Err(Error::refused(format!("Unknown runtime specified {}", host.runtime)));
    }
    Security::parse(host)?;
    for rule in &host.resources.device_cgroup_rules {
        device::parse_rule(rule)?;
    }
    Ok(warnings)
}

/// Refuses a start with devices that a driver would have to give, such as GPUs: there is no driver.
///
/// # Errors
/// In dockerd's words, which has the same to say where it knows none.
pub fn devices(host: &HostConfig) -> Result<()> {
    let Some(request) = host.resources.device_requests.first() else { return Ok(()) };
    let sets = request.capabilities.iter().map(|set| format!("[{}]", set.join(" ")));
    let capabilities = sets.collect::<Vec<_>>().join(" ");
    Err(Error::refused(format!(
        "could not select device driver {:?} with capabilities: [{capabilities}]",
        request.driver
    )))
}

/// A setting of the kernel that is the container's alone. The runtime would refuse others, too, but
/// a start is too late to say it.
fn sysctls(host: &HostConfig) -> Result<()> {
    const IPC: [&str; 8] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    ];
    for name in host.sysctls.keys() {
        // `net/ipv4/…` is the same name, in the kernel's own spelling.
        let dotted = name.replace('/', ".");
        if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
            if matches!(host.ipc()?, IpcMode::Host) {
                let text = format!("sysctl {name:?} is not allowed in the hosts ipc namespace");
                return Err(Error::refused(text));
            }
        } else if dotted.starts_with("net.") {
            if host.network()? == NetworkMode::Host {
                let text = format!("sysctl {name:?} not allowed in host network namespace");
                return Err(Error::refused(text));
            }
        } else if dotted != "kernel.domainname" {
            let text = format!("sysctl {name:?} is not in a separate kernel namespace");
            return Err(Error::refused(text));
        }
    }
    Ok(())
}

impl HostConfig {
    /// The containers whose namespaces it uses: they must run when it starts.
    ///
    /// # Errors
    /// For a mode that is none.
    pub fn neighbours(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        if let NetworkMode::Container(name) = self.network()? {
            names.push(name);
        }
        if let IpcMode::Container(name) = self.ipc()? {
            names.push(name);
        }
        if let PidMode::Container(name) = self.pid()? {
            names.push(name);
        }
        Ok(names)
    }
}

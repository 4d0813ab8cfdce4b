//! The engine as a whole: info, version, events, disk usage, login.

use corten_daemon::Outcome;
use corten_daemon::backend::{Credentials, EventsWanted, Feed, Images, List, System, UsageWanted};
use corten_daemon::version::{ADDITIONS, Version};
use corten_supervisor::durable::{self, Worth};
use serde_json::{Value, json};

use super::figures::machine_memory;
use super::{Api, locked};
use crate::engine::image::chain;
use crate::engine::options::check::{DEFAULT_RUNTIME, RUNTIMES};
use crate::engine::usage::ImageLine;
use crate::engine::{Error, clock};

/// The version from which on kinds can be chosen in `system df`.
const KINDS: Version = Version(1, 42);

/// The version from which on devices are listed that a container can be given by name, and no longer
/// whether bridges' frames pass the packet filter.
const DEVICES: Version = Version(1, 50);

/// The version that has no limit on the kernel's buffers for TCP any more.
const NO_KERNEL_MEMORY_TCP: Version = Version(1, 52);

/// The version from which on `system df` has sums.
const SUMS: Version = ADDITIONS;

/// A line of a file of the kernel's or the system's.
fn line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// `PRETTY_NAME` and `VERSION_ID` of os-release(5).
fn release() -> (String, String) {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let value = |name: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found.unwrap_or_default().trim_matches('"').to_owned()
    };
    (value("PRETTY_NAME"), value("VERSION_ID"))
}

/// The processor's name, as uname(1) has it.
fn architecture() -> &'static str {
    std::env::consts::ARCH
}

/// The same as Go has it.
fn go_architecture() -> String {
    corten_registry::Platform::host().architecture
}

impl System for Api {
    fn info(&self, version: Version) -> Outcome<Value> {
        let engine = self.engine();
        let (mut running, mut paused, mut all) = (0, 0, 0);
        for view in engine.views(true, &[])? {
            all += 1;
            match view.word() {
                "running" | "restarting" => running += 1,
                "paused" => paused += 1,
                _ => {}
            }
        }
        let mut images: Vec<String> = Vec::new();
        for entry in engine.store().list().map_err(Error::from)? {
            images.push(entry.descriptor.digest.to_string());
        }
        images.sort();
        images.dedup();
        let machine = engine.machine()?;
        let support = machine.support;
        let (system, system_version) = release();
        let warning =
            |is_there: bool, what: &str| (!is_there).then(|| format!("WARNING: No {what} support"));
        let warnings: Vec<String> = [
            warning(support.memory, "memory limit"),
            warning(support.swap, "swap limit"),
            warning(support.cpu_quota, "cpu cfs quota"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut security = vec!["name=seccomp,profile=default"];
        if machine.apparmor {
            security.insert(0, "name=apparmor");
        }
        if machine.rootless {
            security.push("name=rootless");
        }
        let group_version = if machine.unified { "2" } else { "1" };
        if machine.unified {
            security.push("name=cgroupns");
        }
        let mut info = json!({
            "ID": self.id(),
            "Containers": all,
            "ContainersRunning": running,
            "ContainersPaused": paused,
            "ContainersStopped": all - running - paused,
            "Images": images.len(),
            "Driver": engine.driver_name(),
            "DriverStatus": [["State directory", engine.root()]],
            "Plugins": {"Volume": ["local"], "Network": ["bridge", "host", "ipvlan", "macvlan", "null"],
                "Authorization": null, "Log": ["json-file", "local"]},
            "MemoryLimit": support.memory,
            "SwapLimit": support.swap,
            "KernelMemory": false,
            "CpuCfsPeriod": support.cpu_quota,
            "CpuCfsQuota": support.cpu_quota,
            "CPUShares": support.cpu_shares,
            "CPUSet": support.cpuset,
            "PidsLimit": support.pids,
            "IPv4Forwarding": line("/proc/sys/net/ipv4/ip_forward") == "1",
        });
        if version < DEVICES {
            for (name, file) in
                [("BridgeNfIptables", "iptables"), ("BridgeNfIp6tables", "ip6tables")]
            {
                let path = format!("/proc/sys/net/bridge/bridge-nf-call-{file}");
                info[name] = json!(line(&path) == "1");
            }
        } else {
            info["DiscoveredDevices"] = json!([]);
        }
        if version < NO_KERNEL_MEMORY_TCP {
            info["KernelMemoryTCP"] = json!(!machine.unified && support.memory);
        }
        let rest = json!({
            "Debug": false,
            "NFd": descriptors(),
            "OomKillDisable": support.oom_kill_disable,
            "NGoroutines": 0,
            "SystemTime": clock::now(),
            "LoggingDriver": "json-file",
            "CgroupDriver": if machine.cgroups { "cgroupfs" } else { "none" },
            "CgroupVersion": group_version,
            "NEventsListener": self.0.hub.listeners(),
            "KernelVersion": line("/proc/sys/kernel/osrelease"),
            "OperatingSystem": system,
            "OSVersion": system_version,
            "OSType": "linux",
            "Architecture": architecture(),
            "IndexServerAddress": "https://index.docker.io/v1/",
            "RegistryConfig": {"AllowNondistributableArtifactsCIDRs": [],
                "AllowNondistributableArtifactsHostnames": [],
                "InsecureRegistryCIDRs": ["127.0.0.0/8"], "IndexConfigs": {"docker.io": {
                    "Name": "docker.io", "Mirrors": [], "Secure": true, "Official": true}},
                "Mirrors": []},
            "NCPU": machine.cpus,
            "MemTotal": machine_memory(),
            "GenericResources": null,
            "DockerRootDir": engine.root(),
            "HttpProxy": std::env::var("HTTP_PROXY").unwrap_or_default(),
            "HttpsProxy": std::env::var("HTTPS_PROXY").unwrap_or_default(),
            "NoProxy": std::env::var("NO_PROXY").unwrap_or_default(),
            "Name": machine.hostname,
            "Labels": *locked(&self.0.labels),
            "ExperimentalBuild": false,
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "Runtimes": runtimes(),
            "DefaultRuntime": DEFAULT_RUNTIME,
            "Swarm": {"NodeID": "", "NodeAddr": "", "LocalNodeState": "inactive",
                "ControlAvailable": false, "Error": "", "RemoteManagers": null},
            "LiveRestoreEnabled": true,
            "Isolation": "",
            "InitBinary": "corten-supervisor",
            "ContainerdCommit": {"ID": "", "Expected": ""},
            "RuncCommit": {"ID": "", "Expected": ""},
            "InitCommit": {"ID": "", "Expected": ""},
            "SecurityOptions": security,
            "CDISpecDirs": [],
            "Warnings": if warnings.is_empty() { Value::Null } else { json!(warnings) },
        });
        if let (Some(info), Value::Object(rest)) = (info.as_object_mut(), rest) {
            info.extend(rest);
        }
        Ok(info)
    }

    fn version(&self) -> Value {
        let version = env!("CARGO_PKG_VERSION");
        let kernel = line("/proc/sys/kernel/osrelease");
        json!({
            "Platform": {"Name": "Corten"},
            "Components": [{"Name": "Engine", "Version": version, "Details": {
                "Arch": go_architecture(), "Os": "linux", "KernelVersion": kernel,
                "Experimental": "false", "GitCommit": "", "GoVersion": "", "BuildTime": ""}}],
            "Version": version,
            "GitCommit": "",
            "GoVersion": "",
            "Os": "linux",
            "Arch": go_architecture(),
            "KernelVersion": kernel,
            "BuildTime": "",
        })
    }

    fn events(&self, wanted: &EventsWanted) -> Outcome<Feed> {
        super::hub::events(self, wanted)
    }

    fn disk_usage(&self, wanted: &UsageWanted, version: Version) -> Outcome<Value> {
        let kinds = &wanted.kinds;
        let wants =
            |kind: &str| version < KINDS || kinds.is_empty() || kinds.iter().any(|own| own == kind);
        let builds = if version < KINDS { Value::Null } else { json!([]) };
        let mut usage = json!({"LayersSize": 0, "Images": [], "Containers": [], "Volumes": [],
            "BuildCache": builds, "BuilderSize": 0});
        if wants("image") {
            let whole = self.engine().disk_usage()?;
            let mut rows = self.list_images(true, true, &Default::default(), version)?;
            for row in &mut rows {
                let of = whole.images.iter().find(|image| row["Id"] == image.id.to_string());
                if let Some(image) = of {
                    row["Containers"] = json!(image.containers);
                    row["SharedSize"] = json!(self.shared_size(row, &whole.images));
                }
            }
            usage["LayersSize"] = json!(self.layers_size());
            usage["Images"] = json!(rows);
        }
        if wants("container") {
            let version = Some(version);
            let all = List { all: true, size: true, version, ..List::default() };
            usage["Containers"] = json!(self.summaries(&all)?);
        }
        if wants("volume") {
            usage["Volumes"] = json!(self.engine().volume_usage()?);
        }
        if wants("build-cache") {
            let rows = self.engine().build_usage()?;
            let own = rows.iter().filter(|row| row["Shared"] == false);
            usage["BuilderSize"] = own.filter_map(|row| row["Size"].as_u64()).sum::<u64>().into();
            if !rows.is_empty() {
                usage["BuildCache"] = json!(rows);
            }
        }
        if version < SUMS {
            return Ok(usage);
        }
        Ok(super::usage::with_sums(usage, wants, wanted.verbose))
    }

    fn login(&self, credentials: &Credentials) -> Outcome<String> {
        self.try_login(credentials)
    }

    fn figures(&self) -> Vec<(&'static str, u64)> {
        let views = self.engine().views(true, &[]).unwrap_or_default();
        let count =
            |words: &[&str]| views.iter().filter(|v| words.contains(&v.word())).count() as u64;
        vec![
            ("corten_containers_running", count(&["running", "restarting"])),
            ("corten_containers_paused", count(&["paused"])),
            ("corten_containers_stopped", count(&["created", "exited", "dead"])),
            ("corten_uptime_seconds", self.0.since.elapsed().as_secs()),
            ("corten_open_descriptors", descriptors()),
        ]
    }
}

/// All names of the runtime, and the program that they mean.
fn runtimes() -> Value {
    RUNTIMES.iter().map(|name| ((*name).to_owned(), json!({"path": "corten-runtime"}))).collect()
}

/// Descriptors that this process has open.
fn descriptors() -> u64 {
    std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64)
}

impl Api {
    /// A name of this engine that stays: made once, beside its state.
    fn id(&self) -> String {
        let path = self.engine().root().join("engine-id");
        if let Ok(known) = std::fs::read_to_string(&path) {
            return known.trim().to_owned();
        }
        let id = crate::engine::state::new_id().unwrap_or_default();
        let written = durable::write(&path, id.as_bytes(), 0o600, Worth::Durable);
        if let Err(why) = written {
            tracing::warn!(%why, "the engine's id cannot be written");
        }
        id
    }
}

impl Api {
    /// Bytes of all layers of images, each once: counted as an image's size is.
    fn layers_size(&self) -> u64 {
        let mut seen = std::collections::HashSet::new();
        for listed in self.engine().images().unwrap_or_default() {
            seen.extend(chain(&listed.image).unwrap_or_default());
        }
        seen.iter().map(|id| self.engine().layers_size(std::slice::from_ref(id))).sum()
    }

    /// Bytes of an image's layers that other images have, too.
    fn shared_size(&self, row: &Value, all: &[ImageLine]) -> u64 {
        let layers = |id: &str| {
            let image = self.engine().store().image(id).ok();
            image.and_then(|image| chain(&image).ok()).unwrap_or_default()
        };
        let id = row["Id"].as_str().unwrap_or_default();
        let others = all.iter().filter(|other| other.id.to_string() != id);
        let others: std::collections::HashSet<_> =
            others.flat_map(|other| layers(&other.id.to_string())).collect();
        let own = layers(id);
        let shared = own.iter().filter(|layer| others.contains(layer));
        shared.map(|id| self.engine().layers_size(std::slice::from_ref(id))).sum()
    }
}

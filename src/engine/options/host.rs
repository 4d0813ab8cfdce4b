//! The half of a container's configuration that concerns the machine it runs on.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::api;
use super::mount::Mount;

api! {
    /// `HostConfig`, with `Resources` in it as the API has it.
    pub struct HostConfig {
        /// `SOURCE:TARGET[:OPTIONS]`.
        pub binds: Vec<String>,
        /// The file that the client writes the id to; kept as it comes.
        #[serde(rename = "ContainerIDFile")]
        pub container_id_file: String,
        /// Where its output goes.
        pub log_config: LogConfig,
        /// `default`, `bridge`, `none`, `host`, `container:NAME` or a network.
        pub network_mode: String,
        /// Where on the host its ports are.
        pub port_bindings: BTreeMap<String, Vec<PortBinding>>,
        /// Whether it is started again.
        pub restart_policy: RestartPolicy,
        /// Whether it is removed when it ends.
        pub auto_remove: bool,
        /// The driver of volumes that are made for `binds`.
        pub volume_driver: String,
        /// `CONTAINER[:ro|rw]` whose volumes are this one's, too.
        pub volumes_from: Vec<String>,
        /// Rows and columns of its terminal at first.
        pub console_size: [u32; 2],
        /// For the runtime.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub annotations: BTreeMap<String, String>,
        /// Capabilities beyond the usual ones.
        pub cap_add: Vec<String>,
        /// Usual capabilities that it does not get.
        pub cap_drop: Vec<String>,
        /// `private` or `host`.
        pub cgroupns_mode: String,
        /// Name servers. This and the next two are null where nobody said them, as dockerd keeps it.
        pub dns: Option<Vec<String>>,
        /// Options of the resolver.
        pub dns_options: Option<Vec<String>>,
        /// Domains to look in.
        pub dns_search: Option<Vec<String>>,
        /// `NAME:ADDRESS` for /etc/hosts.
        pub extra_hosts: Vec<String>,
        /// Supplementary groups.
        pub group_add: Vec<String>,
        /// `private`, `shareable`, `none`, `host` or `container:NAME`.
        pub ipc_mode: String,
        /// Of old clients; accepted where empty.
        pub cgroup: String,
        /// Links of old clients.
        pub links: Vec<String>,
        /// How likely the kernel kills it when memory is short, -1000 to 1000.
        pub oom_score_adj: i64,
        /// Private where empty, `host` or `container:NAME`.
        pub pid_mode: String,
        /// All rights.
        pub privileged: bool,
        /// Every exposed port on some port of the host.
        pub publish_all_ports: bool,
        /// Whether its root is read-only.
        pub readonly_rootfs: bool,
        /// `seccomp=…`, `no-new-privileges` …
        pub security_opt: Vec<String>,
        /// Options of the storage driver.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub storage_opt: BTreeMap<String, String>,
        /// `PATH` to the options of a tmpfs.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub tmpfs: BTreeMap<String, String>,
        /// Private where empty, or `host`.
        #[serde(rename = "UTSMode")]
        pub uts_mode: String,
        /// `host` or empty: there is no other here.
        pub userns_mode: String,
        /// The size of /dev/shm in bytes.
        pub shm_size: i64,
        /// Settings of the kernel that the container has for itself.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        pub sysctls: BTreeMap<String, String>,
        /// The OCI runtime.
        pub runtime: String,
        /// Of Windows; accepted where empty or `default`.
        pub isolation: String,
        /// Mounts by names.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub mounts: Vec<Mount>,
        /// Paths that are hidden; null is for the usual ones.
        pub masked_paths: Option<Vec<String>>,
        /// Paths that are read-only; null is for the usual ones.
        pub readonly_paths: Option<Vec<String>>,
        /// Whether a small init is its first process.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub init: Option<bool>,
        /// What it may use. `docker update` sends these alone.
        #[serde(flatten)]
        pub resources: Resources,
    }
}

api! {
    /// `Resources`: what it may use.
    pub struct Resources {
        /// The share of the processors beside others; 1024 is usual.
        pub cpu_shares: i64,
        /// Bytes of memory.
        pub memory: i64,
        /// Thousand-millionths of processors.
        pub nano_cpus: i64,
        /// The group that its own is in.
        pub cgroup_parent: String,
        /// The share of the disks, 10 to 1000.
        pub blkio_weight: u16,
        /// The same for single disks.
        pub blkio_weight_device: Vec<WeightDevice>,
        /// Bytes a second.
        pub blkio_device_read_bps: Vec<ThrottleDevice>,
        /// Bytes a second.
        pub blkio_device_write_bps: Vec<ThrottleDevice>,
        /// Operations a second.
        #[serde(rename = "BlkioDeviceReadIOps")]
        pub blkio_device_read_iops: Vec<ThrottleDevice>,
        /// Operations a second.
        #[serde(rename = "BlkioDeviceWriteIOps")]
        pub blkio_device_write_iops: Vec<ThrottleDevice>,
        /// Microseconds that `cpu_quota` is for.
        pub cpu_period: i64,
        /// Microseconds of processors in a period.
        pub cpu_quota: i64,
        /// The same for real-time scheduling.
        pub cpu_realtime_period: i64,
        /// The same for real-time scheduling.
        pub cpu_realtime_runtime: i64,
        /// `0-2,5`.
        pub cpuset_cpus: String,
        /// `0,1`.
        pub cpuset_mems: String,
        /// Devices of the host.
        pub devices: Vec<Device>,
        /// `c 42:* rmw`.
        pub device_cgroup_rules: Vec<String>,
        /// Devices by what they can do, which needs drivers that are not here: refused.
        pub device_requests: Vec<DeviceRequest>,
        /// A limit that kernels no longer have.
        #[serde(skip_serializing_if = "is_zero")]
        pub kernel_memory: i64,
        /// Bytes of TCP's buffers, on v1.
        #[serde(rename = "KernelMemoryTCP", skip_serializing_if = "is_zero")]
        pub kernel_memory_tcp: i64,
        /// Bytes that it is pushed back to when memory is short.
        pub memory_reservation: i64,
        /// Bytes of memory and swap together; -1 for no limit of swap.
        pub memory_swap: i64,
        /// How eagerly its memory is swapped out, 0 to 100, on v1; -1 is for the kernel's.
        pub memory_swappiness: Option<i64>,
        /// Whether it waits for memory instead of being killed, on v1.
        pub oom_kill_disable: Option<bool>,
        /// How many processes and threads; 0 and less for no limit.
        pub pids_limit: Option<i64>,
        /// Limits of the kernel on each process.
        pub ulimits: Vec<Ulimit>,
        /// Of Windows.
        pub cpu_count: i64,
        /// Of Windows.
        pub cpu_percent: i64,
        /// Of Windows.
        #[serde(rename = "IOMaximumIOps")]
        pub io_maximum_iops: u64,
        /// Of Windows.
        #[serde(rename = "IOMaximumBandwidth")]
        pub io_maximum_bandwidth: u64,
    }
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

api! {
    /// `LogConfig`.
    pub struct LogConfig {
        /// `json-file`, `local`, `none`; the engine's default where empty.
        #[serde(rename = "Type")]
        pub driver: String,
        /// The driver's options.
        pub config: BTreeMap<String, String>,
    }
}

impl LogConfig {
    /// The driver that is meant: Docker's, where nobody chooses.
    pub fn driver(&self) -> &str {
        if self.driver.is_empty() { "json-file" } else { &self.driver }
    }
}

api! {
    /// `PortBindings[]`.
    pub struct PortBinding {
        /// The address; any where empty.
        pub host_ip: String,
        /// The port or range; one that is free where empty.
        pub host_port: String,
    }
}

api! {
    /// `RestartPolicy`.
    pub struct RestartPolicy {
        /// `no`, `always`, `unless-stopped`, `on-failure`; no where empty.
        pub name: String,
        /// How often at most, for `on-failure`; 0 is for ever.
        pub maximum_retry_count: i64,
    }
}

api! {
    /// `Devices[]`.
    pub struct Device {
        /// The device, or a directory of devices.
        pub path_on_host: String,
        /// Where it is seen in the container.
        pub path_in_container: String,
        /// Of `r`, `w`, `m`.
        pub cgroup_permissions: String,
    }
}

api! {
    /// `DeviceRequests[]`.
    pub struct DeviceRequest {
        /// The driver.
        pub driver: String,
        /// How many.
        pub count: i64,
        /// Which.
        #[serde(rename = "DeviceIDs")]
        pub device_ids: Vec<String>,
        /// What they must be able to do.
        pub capabilities: Vec<Vec<String>>,
        /// For the driver.
        pub options: BTreeMap<String, String>,
    }
}

api! {
    /// `Ulimits[]`; -1 is no limit.
    pub struct Ulimit {
        /// `nofile` …
        pub name: String,
        /// Where the kernel stops the process.
        pub soft: i64,
        /// How far it can raise that.
        pub hard: i64,
    }
}

/// `BlkioWeightDevice[]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WeightDevice {
    /// The disk.
    pub path: String,
    /// Its share.
    pub weight: u16,
}

/// `BlkioDeviceReadBps[]` and its like.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ThrottleDevice {
    /// The disk.
    pub path: String,
    /// How much a second.
    pub rate: u64,
}

//! Limits of cgroup v1, each read back from the file that the kernel has for it.

use serde_json::{Value, json};

use crate::rig::{Container, cgroup, skip};

/// A created container with `resources`, where this machine has `controller` in v1.
fn with(controller: &str, resources: Value) -> Option<Container> {
    // Mounts hugetlb, where that can be.
    cgroup::prepare();
    if cgroup::is_v2() || !cgroup::has(controller) {
        skip(&format!("no v1 controller {controller}"));
        return None;
    }
    let mut container = Container::sleeper();
    container.set("/linux/resources", resources);
    let path = format!("/{}", container.id);
    container.set("/linux/cgroupsPath", path);
    container.create();
    Some(container)
}

/// Checks files of one group.
#[track_caller]
fn check(controller: &str, resources: Value, files: &[(&str, &str)]) {
    let Some(container) = with(controller, resources) else { return };
    for (file, expected) in files {
        assert_eq!(cgroup::value(container.pid(), controller, file), *expected, "{file}");
    }
}

#[corten_tier::t1]
fn cpu() {
    check(
        "cpu",
        json!({"cpu": {"shares": 500, "quota": 40_000, "period": 80_000}}),
        &[("cpu.shares", "500"), ("cpu.cfs_quota_us", "40000"), ("cpu.cfs_period_us", "80000")],
    );
}

#[corten_tier::t1]
fn cpu_period_or_quota_alone() {
    check(
        "cpu",
        json!({"cpu": {"period": 50_000}}),
        &[("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "-1")],
    );
    check("cpu", json!({"cpu": {"quota": 50_000}}), &[("cpu.cfs_quota_us", "50000")]);
    check("cpu", json!({"cpu": {"quota": -1}}), &[("cpu.cfs_quota_us", "-1")]);
}

#[corten_tier::t1]
fn cpu_values_at_the_edge() {
    check("cpu", json!({"cpu": {"shares": 2}}), &[("cpu.shares", "2")]);
    check("cpu", json!({"cpu": {"shares": 262_144}}), &[("cpu.shares", "262144")]);
}

#[corten_tier::t1]
fn cpu_burst_and_idle() {
    if !std::fs::exists("/sys/fs/cgroup/cpu/cpu.cfs_burst_us").unwrap_or(false) {
        return skip("no cpu.cfs_burst_us");
    }
    let resources = json!({"cpu": {"quota": 50_000, "period": 100_000, "burst": 20_000}});
    check("cpu", resources, &[("cpu.cfs_burst_us", "20000")]);
    check("cpu", json!({"cpu": {"idle": 1}}), &[("cpu.idle", "1")]);
}

#[corten_tier::t1]
fn cpusets() {
    check(
        "cpuset",
        json!({"cpu": {"cpus": "0", "mems": "0"}}),
        &[("cpuset.cpus", "0"), ("cpuset.mems", "0")],
    );
}

#[corten_tier::t1]
fn a_cpuset_of_what_is_not_there_is_refused() {
    if cgroup::is_v2() || !cgroup::has("cpuset") {
        return skip("no v1 controller cpuset");
    }
    let mut container = Container::sleeper();
    container.set("/linux/resources/cpu/cpus", "4095");
    container.refused();
}

#[corten_tier::t1]
fn memory() {
    check(
        "memory",
        json!({"memory": {"limit": 50_593_792, "reservation": 25_296_896, "swappiness": 50}}),
        &[
            ("memory.limit_in_bytes", "50593792"),
            ("memory.soft_limit_in_bytes", "25296896"),
            ("memory.swappiness", "50"),
        ],
    );
}

#[corten_tier::t1]
fn memory_with_swap() {
    let Some(point) = cgroup::point("memory") else { return skip("no v1 controller memory") };
    if !point.join("memory.memsw.limit_in_bytes").exists() {
        return skip("no accounting of swap");
    }
    check(
        "memory",
        json!({"memory": {"limit": 50_593_792, "swap": 101_187_584}}),
        &[("memory.limit_in_bytes", "50593792"), ("memory.memsw.limit_in_bytes", "101187584")],
    );
}

#[corten_tier::t1]
fn memory_without_the_oom_killer() {
    let Some(container) = with("memory", json!({"memory": {"disableOOMKiller": true}})) else {
        return;
    };
    let control = cgroup::value(container.pid(), "memory", "memory.oom_control");
    assert!(control.contains("oom_kill_disable 1"), "{control}");
}

/// The limit is gone from kernels; a configuration that has it works all the same.
#[corten_tier::t1]
fn kernel_memory_is_no_failure() {
    let Some(point) = cgroup::point("memory") else { return skip("no v1 controller memory") };
    let tcp = point.join("memory.kmem.tcp.limit_in_bytes").exists();
    let files: &[_] = if tcp { &[("memory.kmem.tcp.limit_in_bytes", "50593792")] } else { &[] };
    check(
        "memory",
        json!({"memory": {"limit": 50_593_792, "kernel": 50_593_792, "kernelTCP": 50_593_792}}),
        files,
    );
}

#[corten_tier::t1]
fn unlimited_memory() {
    let Some(container) = with("memory", json!({"memory": {"limit": -1}})) else { return };
    let limit = cgroup::value(container.pid(), "memory", "memory.limit_in_bytes");
    assert!(limit.parse::<u64>().unwrap() > 1 << 50, "{limit}");
}

#[corten_tier::t1]
fn pids() {
    check("pids", json!({"pids": {"limit": 1000}}), &[("pids.max", "1000")]);
    check("pids", json!({"pids": {"limit": -1}}), &[("pids.max", "max")]);
}

/// The numbers of a block device that is there.
fn device() -> Option<(u64, u64)> {
    let entries = std::fs::read_dir("/sys/block").ok()?;
    let names = entries.flatten().filter_map(|entry| {
        let text = std::fs::read_to_string(entry.path().join("dev")).ok()?;
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    names.min()
}

#[corten_tier::t1]
fn block_io_throttles() {
    let Some((major, minor)) = device() else { return skip("no block device") };
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    let line = |rate: u64| format!("{major}:{minor} {rate}");
    check(
        "blkio",
        json!({"blockIO": {
            "throttleReadBpsDevice": rate(102_400), "throttleWriteBpsDevice": rate(204_800),
            "throttleReadIOPSDevice": rate(100), "throttleWriteIOPSDevice": rate(200)
        }}),
        &[
            ("blkio.throttle.read_bps_device", &line(102_400)),
            ("blkio.throttle.write_bps_device", &line(204_800)),
            ("blkio.throttle.read_iops_device", &line(100)),
            ("blkio.throttle.write_iops_device", &line(200)),
        ],
    );
}

#[corten_tier::t1]
fn block_io_weight_where_the_kernel_has_it() {
    let Some(point) = cgroup::point("blkio") else { return skip("no v1 controller blkio") };
    let mut container = Container::sleeper();
    let file = ["blkio.weight", "blkio.bfq.weight"].into_iter().find(|file| {
        // A file of groups other than the root.
        let probe = point.join(format!("{}-probe", container.id));
        std::fs::create_dir(&probe).unwrap();
        let there = probe.join(file).exists();
        std::fs::remove_dir(&probe).unwrap();
        there
    });
    container.set("/linux/resources/blockIO/weight", 500);
    match file {
        Some(file) => {
            container.create();
            let value = cgroup::value(container.pid(), "blkio", file);
            assert_eq!(value.trim_start_matches("default "), "500");
        }
        None => {
            container.refused();
        }
    }
}

#[corten_tier::t1]
fn huge_pages() {
    let sizes = std::fs::read_dir("/sys/kernel/mm/hugepages");
    if sizes.is_ok_and(|mut dir| dir.all(|e| e.unwrap().file_name() != "hugepages-2048kB")) {
        return skip("no pages of 2 MB");
    }
    let resources = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 209_715_200}]});
    check("hugetlb", resources, &[("hugetlb.2MB.limit_in_bytes", "209715200")]);
}

#[corten_tier::t1]
fn huge_pages_that_are_reserved() {
    cgroup::prepare();
    let Some(point) = cgroup::point("hugetlb") else { return skip("no v1 controller hugetlb") };
    if !point.join("hugetlb.2MB.rsvd.limit_in_bytes").exists() {
        return skip("no reservation limits");
    }
    let resources = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 209_715_200}]});
    check("hugetlb", resources, &[("hugetlb.2MB.rsvd.limit_in_bytes", "209715200")]);
}

#[corten_tier::t1]
fn huge_pages_of_no_size_are_refused() {
    let mut container = Container::sleeper();
    let limit = json!({"pageSize": "3MB", "limit": 314_572_800});
    container.set("/linux/resources/hugepageLimits", [limit]);
    container.refused();
}

#[corten_tier::t1]
fn network_class() {
    check("net_cls", json!({"network": {"classID": 255}}), &[("net_cls.classid", "255")]);
}

#[corten_tier::t1]
fn network_priorities() {
    let Some(container) =
        with("net_prio", json!({"network": {"priorities": [{"name": "lo", "priority": 10}]}}))
    else {
        return;
    };
    let map = cgroup::value(container.pid(), "net_prio", "net_prio.ifpriomap");
    assert!(map.lines().any(|line| line == "lo 10"), "{map}");
}

#[corten_tier::t1]
fn a_limit_of_a_controller_that_is_absent_is_refused() {
    if cgroup::is_v2() || cgroup::has("net_cls") {
        return skip("net_cls is there");
    }
    let mut container = Container::sleeper();
    container.set("/linux/resources/network/classID", 255);
    let said = container.refused();
    assert!(said.contains("net_cls"), "{said}");
}

#[corten_tier::t1]
fn devices_of_the_list() {
    let rule = |kind: &str, major: u32, minor: u32, access: &str| json!({"allow": true, "type": kind, "major": major, "minor": minor, "access": access});
    let rules = json!([rule("c", 10, 229, "rwm"), rule("b", 8, 20, "rw"), rule("b", 10, 200, "r")]);
    let Some(container) = with("devices", json!({"devices": rules})) else { return };
    let list = cgroup::value(container.pid(), "devices", "devices.list");
    for line in ["c 10:229 rwm", "b 8:20 rw", "b 10:200 r", "c 1:3 rwm"] {
        assert!(list.lines().any(|l| l == line), "{line}: {list}");
    }
    assert!(!list.contains("a *:*"), "{list}");
}

#[corten_tier::t1]
fn it_joins_every_hierarchy() {
    let Some(container) = with("pids", json!({})) else { return };
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", container.pid())).unwrap();
    for controller in ["cpu", "cpuacct", "memory", "freezer", "blkio", "devices", "pids"] {
        if cgroup::has(controller) {
            let path = cgroup::path_of(container.pid(), controller);
            assert!(path.ends_with(&container.id), "{controller}: {text}");
        }
    }
}

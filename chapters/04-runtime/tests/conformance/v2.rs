//! Limits of cgroup v2, each read back from the file that the kernel has for it.

use serde_json::{Value, json};

use crate::rig::{Container, cgroup, skip};

/// A created container with `resources`, where this machine has `controller` in v2.
fn with(controller: &str, resources: Value) -> Option<Container> {
    if !cgroup::is_v2() || !cgroup::has(controller) {
        skip(&format!("no v2 controller {controller}"));
        return None;
    }
    let mut container = Container::sleeper();
    container.set("/linux/resources", resources);
    let path = format!("/{}", container.id);
    container.set("/linux/cgroupsPath", path);
    container.create();
    Some(container)
}

#[track_caller]
fn check(controller: &str, resources: Value, files: &[(&str, &str)]) {
    let Some(container) = with(controller, resources) else { return };
    for (file, expected) in files {
        assert_eq!(cgroup::value(container.pid(), controller, file), *expected, "{file}");
    }
}

#[corten_tier::t1]
fn cpu_quota_and_period() {
    check(
        "cpu",
        json!({"cpu": {"quota": 40_000, "period": 80_000}}),
        &[("cpu.max", "40000 80000")],
    );
    check("cpu", json!({"cpu": {"quota": 250_000}}), &[("cpu.max", "250000 100000")]);
    check("cpu", json!({"cpu": {"period": 250_000}}), &[("cpu.max", "max 250000")]);
    check("cpu", json!({"cpu": {"quota": -9999}}), &[("cpu.max", "max 100000")]);
    check("cpu", json!({"cpu": {"quota": 0}}), &[("cpu.max", "max 100000")]);
}

/// The conversion changed in 2025: both results are right.
#[corten_tier::t1]
fn cpu_shares_become_a_weight() {
    let Some(container) = with("cpu", json!({"cpu": {"shares": 22_000}})) else { return };
    let weight = cgroup::value(container.pid(), "cpu", "cpu.weight");
    assert!(weight == "840" || weight == "1204", "{weight}");
}

#[corten_tier::t1]
fn cpu_shares_of_nothing_or_too_much() {
    check("cpu", json!({"cpu": {"shares": 0}}), &[("cpu.weight", "100")]);
    check("cpu", json!({"cpu": {"shares": 500_000}}), &[("cpu.weight", "10000")]);
}

#[corten_tier::t1]
fn cpu_idle_and_burst() {
    check("cpu", json!({"cpu": {"idle": 1}}), &[("cpu.idle", "1")]);
    check("cpu", json!({"cpu": {}}), &[("cpu.idle", "0")]);
    check(
        "cpu",
        json!({"cpu": {"quota": 50_000, "period": 100_000, "burst": 20_000}}),
        &[("cpu.max.burst", "20000")],
    );
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
fn memory() {
    check(
        "memory",
        json!({"memory": {"limit": 50_593_792, "reservation": 25_296_896}}),
        &[("memory.max", "50593792"), ("memory.low", "25296896")],
    );
    check("memory", json!({"memory": {"limit": -1}}), &[("memory.max", "max")]);
}

/// v1's number counts memory and swap, v2's swap alone.
#[corten_tier::t1]
fn memory_with_swap() {
    let Some(container) =
        with("memory", json!({"memory": {"limit": 50_593_792, "swap": 101_187_584}}))
    else {
        return;
    };
    let directory = cgroup::directory(container.pid(), "memory");
    if !directory.join("memory.swap.max").exists() {
        return skip("no accounting of swap");
    }
    assert_eq!(cgroup::value(container.pid(), "memory", "memory.swap.max"), "50593792");
}

#[corten_tier::t1]
fn swap_below_memory_is_refused() {
    if !cgroup::is_v2() {
        return skip("no cgroup v2");
    }
    let mut container = Container::sleeper();
    container.set("/linux/resources/memory", json!({"limit": 50_593_792, "swap": 1024}));
    container.refused();
}

#[corten_tier::t1]
fn pids() {
    check("pids", json!({"pids": {"limit": 1000}}), &[("pids.max", "1000")]);
    check("pids", json!({"pids": {"limit": -1}}), &[("pids.max", "max")]);
}

#[corten_tier::t1]
fn the_unified_map_is_written_as_it_is() {
    let values = json!({
        "memory.min": "131072", "memory.low": "524288", "memory.high": "20971520",
        "memory.max": "41943040", "pids.max": "99", "cpu.max": "10000 100000", "cpu.weight": "42"
    });
    let Some(container) = with("memory", json!({"unified": values})) else { return };
    for (file, expected) in values.as_object().unwrap() {
        assert_eq!(
            cgroup::value(container.pid(), "memory", file),
            expected.as_str().unwrap(),
            "{file}"
        );
    }
}

#[corten_tier::t1]
fn the_unified_map_wins() {
    check(
        "memory",
        json!({
            "memory": {"limit": 33_554_432}, "cpu": {"shares": 3333, "quota": 40_000, "period": 100_000},
            "unified": {"memory.max": "41943040", "cpu.max": "5000 50000", "cpu.weight": "42"}
        }),
        &[("memory.max", "41943040"), ("cpu.max", "5000 50000"), ("cpu.weight", "42")],
    );
}

#[corten_tier::t1]
fn a_unified_key_of_no_controller_is_refused() {
    if !cgroup::is_v2() {
        return skip("no cgroup v2");
    }
    let mut container = Container::sleeper();
    container.set("/linux/resources/unified", json!({"nonexistent.max": "1"}));
    container.refused();
}

#[corten_tier::t1]
fn a_unified_key_with_a_path_is_refused() {
    if !cgroup::is_v2() {
        return skip("no cgroup v2");
    }
    let mut container = Container::sleeper();
    container.set("/linux/resources/unified", json!({"../pids.max": "1"}));
    container.refused();
}

#[corten_tier::t1]
fn huge_pages() {
    if !std::fs::exists("/sys/kernel/mm/hugepages/hugepages-2048kB").unwrap() {
        return skip("no pages of 2 MB");
    }
    let resources = json!({"hugepageLimits": [{"pageSize": "2MB", "limit": 209_715_200}]});
    check(
        "hugetlb",
        resources,
        &[("hugetlb.2MB.max", "209715200"), ("hugetlb.2MB.rsvd.max", "209715200")],
    );
}

#[corten_tier::t1]
fn block_io_throttles() {
    let text = std::fs::read_dir("/sys/block").ok().and_then(|mut dir| {
        let first = dir.next()?.ok()?;
        std::fs::read_to_string(first.path().join("dev")).ok()
    });
    let Some(text) = text else { return skip("no block device") };
    let (major, minor) = text.trim().split_once(':').unwrap();
    let (major, minor): (u64, u64) = (major.parse().unwrap(), minor.parse().unwrap());
    let rate = |rate: u64| json!([{"major": major, "minor": minor, "rate": rate}]);
    check(
        "io",
        json!({"blockIO": {
            "throttleReadBpsDevice": rate(102_400), "throttleWriteBpsDevice": rate(204_800),
            "throttleReadIOPSDevice": rate(100), "throttleWriteIOPSDevice": rate(200)
        }}),
        &[("io.max", &format!("{major}:{minor} rbps=102400 wbps=204800 riops=100 wiops=200"))],
    );
}

#[corten_tier::t1]
fn a_memory_hog_is_killed() {
    if !cgroup::is_v2() || !cgroup::has("memory") {
        return skip("no v2 controller memory");
    }
    let mut container = Container::new();
    // It looks for the last line of what has none.
    container.set("/process/args", ["/bin/tail", "/dev/zero"]);
    container.set("/linux/resources/memory", json!({"limit": 20_971_520, "swap": 20_971_520}));
    container.started();
    container.wait_for("stopped");
    assert_eq!(container.written(), "");
}

#[corten_tier::t1]
fn its_own_group_is_the_root_of_its_namespace() {
    if !cgroup::is_v2() {
        return skip("no cgroup v2");
    }
    assert_eq!(Container::script("cat /proc/self/cgroup").output(), "0::/\n");
}

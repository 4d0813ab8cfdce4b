use super::*;
use crate::device::Access;
use crate::limits::{Cpu, CpuShare, Hugetlb, Io, IoWeight, Max, Memory, Network, Throttle};

fn hierarchy(mountinfo: &str, membership: &str, controllers: &str) -> Hierarchy {
    Hierarchy::parse(mountinfo, membership, |_| controllers.to_owned()).unwrap()
}

fn v2() -> Hierarchy {
    let controllers = "cpuset cpu io memory hugetlb pids rdma";
    hierarchy("30 1 0:26 / /cg rw - cgroup2 cgroup2 rw\n", "0::/\n", controllers)
}

fn v1() -> Hierarchy {
    let mut mountinfo = String::new();
    for (at, name) in
        ["cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "net_cls"]
            .iter()
            .enumerate()
    {
        mountinfo += &format!("{at} 1 0:{at} / /cg/{name} rw - cgroup cgroup rw,{name}\n");
    }
    hierarchy(&mountinfo, "", "")
}

/// A memory controller in v1, and beside it a v2 hierarchy with hugetlb.
fn hybrid() -> Hierarchy {
    let mountinfo = "1 1 0:1 / /cg/memory rw - cgroup cgroup rw,memory\n\
        2 1 0:2 / /cg/unified rw - cgroup2 cgroup2 rw\n";
    hierarchy(mountinfo, "3:memory:/deep\n0::/\n", "hugetlb")
}

fn everything() -> Limits {
    let throttle = Throttle { major: 8, minor: 0, rate: 1000 };
    Limits {
        cpu: Cpu {
            share: Some(CpuShare::Shares(512)),
            quota: Some(Max::At(50_000)),
            period: Some(100_000),
            burst: Some(10_000),
            cpus: Some("0-1".into()),
            ..Cpu::default()
        },
        memory: Memory {
            limit: Some(Max::At(1000)),
            swap: Some(Max::At(3000)),
            reservation: Some(Max::At(500)),
            kernel: Some(Max::At(1)),
            swappiness: Some(10),
            ..Memory::default()
        },
        pids: Some(Max::Unlimited),
        io: Io {
            weight: Some(IoWeight::Blkio(500)),
            read_bps: vec![throttle],
            write_iops: vec![Throttle { rate: 0, ..throttle }],
            ..Io::default()
        },
        devices: Some(vec![DeviceRule::char(1, 3, Access::ALL)]),
        ..Limits::default()
    }
}

/// What is written, as `FILE <- VALUE`, without the directories of the groups.
fn writes(hierarchy: &Hierarchy, limits: &Limits) -> Vec<String> {
    let plan = Plan::create(hierarchy, &Placement::Below("box".into()), limits).unwrap();
    let text = plan.to_string();
    let lines = text.lines().filter(|line| line.contains("<-"));
    lines
        .map(|line| line.rsplit_once("/box").unwrap().1.trim_start_matches('/').to_owned())
        .collect()
}

#[test]
fn the_same_limits_in_v2() {
    assert_eq!(
        writes(&v2(), &everything()),
        [
            "cpu.weight <- 59",
            "cpu.max <- 50000 100000",
            "cpu.max.burst <- 10000",
            "cpuset.cpus <- 0-1",
            "memory.swap.max <- 2000",
            "memory.max <- 1000",
            "memory.low <- 500",
            "io.bfq.weight <- 500 (or io.weight <- 4950)",
            "io.max <- 8:0 rbps=1000 wiops=max",
            "pids.max <- max",
            " <- eBPF device program of 1 rules",
        ]
    );
}

#[test]
fn the_same_limits_in_v1() {
    assert_eq!(
        writes(&v1(), &everything()),
        [
            "cpu.shares <- 512",
            "cpu.cfs_period_us <- 100000",
            "cpu.cfs_quota_us <- 50000",
            "cpu.cfs_burst_us <- 10000",
            "cpuset.cpus <- 0-1",
            "memory.limit_in_bytes <- 1000",
            "memory.memsw.limit_in_bytes <- 3000",
            "memory.soft_limit_in_bytes <- 500",
            "memory.swappiness <- 10",
            "blkio.weight <- 500 (or blkio.bfq.weight <- 500)",
            "blkio.throttle.read_bps_device <- 8:0 1000",
            "blkio.throttle.write_iops_device <- 8:0 0",
            "pids.max <- max",
            "devices.deny <- a",
            "devices.allow <- c 1:3 rwm",
        ]
    );
}

#[test]
fn a_hybrid_host_gets_each_limit_where_its_controller_is() {
    let memory = Memory { limit: Some(Max::At(1000)), ..Memory::default() };
    let hugetlb = vec![Hugetlb { page_size: "2MB".into(), limit: Max::At(0) }];
    let limits = Limits { memory, hugetlb, devices: Some(Vec::new()), ..Limits::default() };
    let plan = Plan::create(&hybrid(), &Placement::Below("box".into()), &limits).unwrap();
    let expected = "\
mkdir    /cg/memory/deep/box
mkdir    /cg/unified/box
enable   +hugetlb in cgroup.subtree_control from /cg/unified down to above /cg/unified/box
write    /cg/memory/deep/box/memory.limit_in_bytes <- 1000
write    /cg/unified/box/hugetlb.2MB.max <- 0
write    /cg/unified/box/hugetlb.2MB.rsvd.max <- 0
attach   /cg/unified/box <- eBPF device program of 0 rules
";
    assert_eq!(plan.to_string(), expected);
}

#[test]
fn without_limits_only_directories_are_made() {
    let placement = Placement::At("box".into());
    let plan = Plan::create(&v1(), &placement, &Limits::default()).unwrap();
    let others = plan.steps.iter().filter(|step| !matches!(step, Step::Make(_)));
    assert_eq!(others.collect::<Vec<_>>(), [&Step::InheritCpuset(1)]);
    // v2 counts only what is switched on.
    let plan = Plan::create(&v2(), &placement, &Limits::default()).unwrap();
    assert!(plan.to_string().contains("enable   +cpu +memory +pids +io in"), "{plan}");
}

#[test]
fn an_absent_controller_matters_when_a_limit_needs_it() {
    let limits = Limits { pids: Some(Max::At(1)), ..Limits::default() };
    let error = Plan::create(&hybrid(), &Placement::Below("box".into()), &limits).unwrap_err();
    assert_eq!(
        error.to_string(),
        "pids limit: this machine has no control group controller `pids` mounted"
    );
}

#[test]
fn what_a_version_has_nothing_for_is_passed_over_and_told() {
    let mut limits = everything();
    limits.memory.disable_oom_killer = Some(true);
    limits.network = Network { class_id: Some(1), ..Network::default() };
    let ignored = |hierarchy: &Hierarchy| -> Vec<&'static str> {
        let plan = Plan::create(hierarchy, &Placement::Below("box".into()), &limits).unwrap();
        plan.ignored.iter().map(|ignored| ignored.limit).collect()
    };
    assert_eq!(ignored(&v1()), ["limit on kernel memory"]);
    assert_eq!(
        ignored(&v2()),
        [
            "swappiness",
            "disabling the OOM killer",
            "limit on kernel memory",
            "network class and priorities"
        ]
    );
}

#[test]
fn raw_files_are_for_v2_and_come_last() {
    let mut limits = Limits { pids: Some(Max::At(5)), ..Limits::default() };
    limits.unified.insert("pids.max".into(), "7".into());
    limits.unified.insert("io.max".into(), "8:0 rbps=1\n8:1 rbps=2\n".into());
    assert_eq!(
        writes(&v2(), &limits),
        ["pids.max <- 5", "io.max <- 8:0 rbps=1", "io.max <- 8:1 rbps=2", "pids.max <- 7"]
    );
    let placement = Placement::Below("box".into());
    let error = Plan::create(&v1(), &placement, &limits).unwrap_err();
    assert!(error.to_string().starts_with("unified map: its files are those of v2"), "{error}");
    limits.unified.insert("misc.max".into(), "1".into());
    let error = Plan::create(&v2(), &placement, &limits).unwrap_err();
    assert_eq!(error.to_string(), "unified map: this machine has no controller for misc.max");
}

#[test]
fn only_a_v2_hierarchy_can_be_delegated() {
    let plan = |hierarchy: &Hierarchy| {
        let placement = Placement::Below("box".into());
        let plan = Plan::create(hierarchy, &placement, &Limits::default()).unwrap();
        plan.delegate(Owner { uid: 1000, gid: 1000 })
    };
    assert!(plan(&hybrid()).unwrap().to_string().contains("chown    1000:1000 /cg/unified/box"));
    assert!(plan(&v1()).is_err());
}

#[test]
fn an_idle_group_is_given_no_weight() {
    let share = Some(CpuShare::Shares(512));
    let cpu = Cpu { idle: Some(true), share, ..Cpu::default() };
    let limits = Limits { cpu, ..Limits::default() };
    assert_eq!(writes(&v2(), &limits), ["cpu.idle <- 1"]);
    assert_eq!(writes(&v1(), &limits), ["cpu.idle <- 1"]);
}

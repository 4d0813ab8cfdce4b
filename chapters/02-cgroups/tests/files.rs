//! Where each limit ends up and what the figures say, on whatever this machine has mounted; and what
//! a caller without root's rights gets.
#![allow(clippy::unwrap_used)]

mod lab;

use std::time::Duration;

use corten_cgroups::hierarchy::Version;
use corten_cgroups::launch::Exit;
use corten_cgroups::limits::{Cpu, CpuShare, Hugetlb, Io, IoWeight, Memory, Network};
use corten_cgroups::{Controller, Hierarchy, Layout, Limits, Max, Placement, Plan};
use lab::{Lab, until};

/// The value of the file that the machine's version has: v1's, or v2's.
#[track_caller]
fn expect(lab: &Lab, controller: Controller, v1: (&str, &str), v2: (&str, &str)) {
    let group = lab.group(controller).unwrap();
    let (file, value) = match group.target.version {
        Version::V1 => v1,
        Version::V2 => v2,
    };
    assert_eq!(group.read(file).unwrap().trim(), value, "{file}");
}

#[corten_tier::t1]
fn every_limit_is_in_its_file() {
    let lab = Lab::new(Limits {
        cpu: Cpu {
            share: Some(CpuShare::Shares(2048)),
            quota: Some(Max::At(30_000)),
            period: Some(50_000),
            burst: Some(10_000),
            cpus: Some("0".into()),
            mems: Some("0".into()),
            ..Cpu::default()
        },
        memory: Memory {
            limit: Some(Max::At(64 << 20)),
            reservation: Some(Max::At(32 << 20)),
            ..Memory::default()
        },
        pids: Some(Max::At(10)),
        ..Limits::default()
    });
    expect(&lab, Controller::Cpu, ("cpu.shares", "2048"), ("cpu.weight", "174"));
    expect(&lab, Controller::Cpu, ("cpu.cfs_quota_us", "30000"), ("cpu.max", "30000 50000"));
    expect(&lab, Controller::Cpu, ("cpu.cfs_period_us", "50000"), ("cpu.max", "30000 50000"));
    expect(&lab, Controller::Cpu, ("cpu.cfs_burst_us", "10000"), ("cpu.max.burst", "10000"));
    expect(&lab, Controller::Cpuset, ("cpuset.cpus", "0"), ("cpuset.cpus", "0"));
    expect(&lab, Controller::Cpuset, ("cpuset.mems", "0"), ("cpuset.mems", "0"));
    let limit = "67108864";
    expect(&lab, Controller::Memory, ("memory.limit_in_bytes", limit), ("memory.max", limit));
    let low = "33554432";
    expect(&lab, Controller::Memory, ("memory.soft_limit_in_bytes", low), ("memory.low", low));
    expect(&lab, Controller::Pids, ("pids.max", "10"), ("pids.max", "10"));
    // The program is where the cpuset lets it be.
    assert_eq!(lab.run("grep -q 'Cpus_allowed_list:.0$' /proc/self/status"), Exit::Code(0));
    let idle = Cpu { idle: Some(true), ..Cpu::default() };
    lab.apply(&Limits { cpu: idle, ..Limits::default() }).unwrap();
    expect(&lab, Controller::Cpu, ("cpu.idle", "1"), ("cpu.idle", "1"));
}

/// Controllers that one machine has and the other has not: set where they are, an error that names
/// them where they are not.
#[corten_tier::t1]
fn a_rarer_limit_is_set_or_refused() {
    let hierarchy = Hierarchy::detect().unwrap();
    // On a hybrid host hugetlb may be v2's, and switching it on would change the host's top group.
    let ours = |controller| match hierarchy.of(controller) {
        Some(mount) => mount.version == Version::V1 || hierarchy.layout() == Layout::Unified,
        None => true,
    };
    let hugetlb = vec![Hugetlb { page_size: "2MB".into(), limit: Max::At(4 << 20) }];
    let hugetlb = Limits { hugetlb, ..Limits::default() };
    let network = Network { class_id: Some(0x10_0001), ..Network::default() };
    let network = Limits { network, ..Limits::default() };
    let weight = Limits {
        io: Io { weight: Some(IoWeight::Blkio(500)), ..Io::default() },
        ..Limits::default()
    };
    if ours(Controller::Hugetlb) {
        match Lab::try_new(hugetlb) {
            Ok(lab) => {
                let (v1, v2) = ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max");
                expect(&lab, Controller::Hugetlb, (v1, "4194304"), (v2, "4194304"));
            }
            Err(error) => assert!(error.to_string().starts_with("huge page limit: "), "{error}"),
        }
    }
    match (Lab::try_new(network), hierarchy.layout()) {
        (Ok(_), Layout::Unified) => {}
        (Ok(lab), _) => {
            expect(&lab, Controller::NetCls, ("net_cls.classid", "1048577"), ("", ""));
        }
        (Err(error), _) => assert!(error.to_string().starts_with("network class: "), "{error}"),
    }
    // The file is there with the scheduler BFQ, or with iocost.
    match Lab::try_new(weight) {
        Ok(lab) => assert!(lab.group(Controller::Io).is_some()),
        Err(error) => assert!(error.to_string().contains("weight: ENOENT"), "{error}"),
    }
}

#[corten_tier::t1]
fn figures_agree_with_each_other() {
    let lab = Lab::new(Limits::default());
    let running = lab.start("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; exec sleep 60");
    until("it sleeps", || {
        let comm = format!("/proc/{}/comm", running.pid());
        std::fs::read_to_string(comm)
            .is_ok_and(|name| name.trim() != "sh" && name.trim() != "busybox")
            || lab.stats().unwrap().cpu.unwrap().usage > Duration::from_millis(20)
    });
    lab.freeze().unwrap();
    let stats = lab.stats().unwrap();
    let cpu = stats.cpu.unwrap();
    assert!(!cpu.usage.is_zero());
    if lab.group(Controller::Cpuacct).unwrap().target.version == Version::V1 {
        assert_eq!(cpu.per_cpu.iter().sum::<Duration>(), cpu.usage);
    } else {
        let parts = cpu.user + cpu.system;
        assert!(parts.abs_diff(cpu.usage) < Duration::from_millis(1), "{cpu:?}");
    }
    let memory = stats.memory.unwrap();
    assert!(memory.usage > 0 && memory.working_set <= memory.usage, "{memory:?}");
    assert_eq!((memory.limit, memory.oom_kills), (Some(Max::Unlimited), 0));
    assert!(memory.peak.is_none_or(|peak| peak >= memory.usage));
    assert!(!memory.details.is_empty());
    let pids = stats.pids.unwrap();
    assert_eq!((pids.current, pids.limit, pids.refused), (1, Some(Max::Unlimited), 0));
    // Pressure is v2's, and a kernel may have it switched off.
    assert!(lab.unified().is_some() || stats.pressure.is_empty());
}

const ROLE: &str = "CORTEN_ROOTLESS";

/// Not a test by itself: user 65534, who may make no group anywhere.
#[test]
fn rootless() {
    if std::env::var_os(ROLE).is_none() {
        return;
    }
    let nobody = 65534;
    nix::unistd::setgroups(&[]).unwrap();
    nix::unistd::setresgid(nobody.into(), nobody.into(), nobody.into()).unwrap();
    nix::unistd::setresuid(nobody.into(), nobody.into(), nobody.into()).unwrap();
    let hierarchy = Hierarchy::detect().unwrap();
    let placement = Placement::Below("corten-test-rootless".into());
    let plan = |limits: &Limits, skip_forbidden| {
        let plan = Plan::create(&hierarchy, &placement, limits).unwrap();
        Plan { skip_forbidden, ..plan }.execute()
    };
    let error = plan(&Limits::default(), false).unwrap_err().to_string();
    assert!(
        error.contains("mkdir") && error.contains("needs root, or a group that was"),
        "{error}"
    );
    // Without limits nothing is needed, and there is no group then.
    assert!(plan(&Limits::default(), true).unwrap().groups().is_empty());
    let limits = Limits { pids: Some(Max::At(5)), ..Limits::default() };
    let error = plan(&limits, true).unwrap_err().to_string();
    assert!(error.contains("mkdir"), "{error}");
    println!("the user has finished");
}

#[corten_tier::t1]
fn without_rights_only_limits_fail() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["rootless", "--exact", "--nocapture"])
        .env(ROLE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        text.contains("the user has finished"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

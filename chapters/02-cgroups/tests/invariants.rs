//! The invariants of the chapter, one test each. They run on the host and in the VMs, so on hybrid,
//! v2 and v1.
#![allow(clippy::unwrap_used)]

mod lab;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use corten_cgroups::device::Access;
use corten_cgroups::launch::Exit;
use corten_cgroups::limits::{Cpu, Memory, cpus};
use corten_cgroups::{
    Controller, DeviceRule, Hierarchy, Layout, Limits, Max, OomEvent, OomEvents, Placement, Plan,
    State,
};
use lab::{Lab, cpu, until};

fn memory(mib: u64) -> Limits {
    let limit = Some(Max::At(mib << 20));
    Limits { memory: Memory { limit, swap: limit, ..Memory::default() }, ..Limits::default() }
}

/// A process is in the group before its first instruction, and so is whatever it starts.
#[corten_tier::t1]
fn i1_a_process_is_inside_from_the_start() {
    let lab = Lab::new(Limits::default());
    let file = tempfile::NamedTempFile::new().unwrap();
    let script = format!("sh -c 'cat /proc/self/cgroup' > {}", file.path().display());
    assert_eq!(lab.run(&script), Exit::Code(0));
    let inside = fs::read_to_string(file.path()).unwrap();
    let Placement::Below(name) = &lab.placement else { unreachable!() };
    let name = name.to_str().unwrap();
    // On v1 there may be an empty v2 line for a hierarchy that is not mounted.
    let mounted = lab.hierarchy.layout() != Layout::Legacy;
    let lines: Vec<&str> =
        inside.lines().filter(|line| mounted || !line.starts_with("0::")).collect();
    assert!(lines.len() >= lab.groups().len(), "{inside}");
    for line in lines {
        // Controllers that no mount has are in nobody's group.
        let label = line.split(':').nth(1).unwrap();
        let known = lab.groups().iter().any(|group| group.target.label == label);
        assert!(line.ends_with(name) || !known, "{line}");
    }
}

/// Memory beyond the limit is not given: the process is killed, and the kill is told.
#[corten_tier::t1]
fn i2_memory_has_a_limit_and_the_kill_is_told() {
    let limit = Some(Max::At(16 << 20));
    let memory_only = Memory { limit, ..Memory::default() };
    let lab = Lab::new(Limits { memory: memory_only, ..Limits::default() });
    let mut events = lab.oom_events().unwrap();
    assert_eq!(events.take().unwrap(), OomEvent::Killed(0));
    // An engine watches more groups than a user has instances of inotify (128).
    let many: Vec<_> = (0..200).map(|_| lab.oom_events().unwrap()).collect();
    let exit = lab.run("exec dd if=/dev/zero of=/dev/null bs=100M count=1");
    assert_eq!(exit, Exit::Signal(libc::SIGKILL));
    // The bell rang before the process was gone.
    use nix::poll::{PollFd, poll};
    use std::os::fd::AsFd;
    let rings = |events: &OomEvents, patience: u16| {
        poll(&mut [PollFd::new(events.as_fd(), events.interest())], patience).unwrap() == 1
    };
    assert!(rings(&events, 10_000) && many.iter().all(|events| rings(events, 10_000)));
    assert_eq!(events.take().unwrap(), OomEvent::Killed(1));
    assert_eq!(events.take().unwrap(), OomEvent::Killed(0), "it is told once");
    assert!(!rings(&events, 0), "and quiet then");
    let stats = lab.stats().unwrap().memory.unwrap();
    assert_eq!((stats.oom_kills, stats.limit), (1, Some(Max::At(16 << 20))));
    assert!(stats.limit_hits > 0, "{stats:?}");
    // Within the limit it works, and without the limit it would have.
    assert_eq!(lab.run("exec dd if=/dev/zero of=/dev/null bs=4M count=1"), Exit::Code(0));
    lab.apply(&memory(256)).unwrap();
    assert_eq!(lab.run("exec dd if=/dev/zero of=/dev/null bs=100M count=1"), Exit::Code(0));
}

/// Processor time is what the quota allows, within a tenth.
#[corten_tier::t1]
fn i3_processor_time_keeps_to_the_quota() {
    let measured = |text: &str, burners: usize| {
        let cpu_limit = Cpu { ..cpus(text).unwrap() };
        let lab = Lab::new(Limits { cpu: cpu_limit, ..Limits::default() });
        let running: Vec<_> = (0..burners).map(|_| lab.start("while :; do :; done")).collect();
        // The first period is a partial one.
        std::thread::sleep(Duration::from_millis(300));
        let (begun, before) = (Instant::now(), cpu(&lab));
        std::thread::sleep(Duration::from_secs(3));
        let used = cpu(&lab) - before;
        let part = used.as_secs_f64() / begun.elapsed().as_secs_f64();
        let stats = lab.stats().unwrap().cpu.unwrap();
        assert!(stats.throttled_periods > 0 && !stats.throttled.is_zero(), "{stats:?}");
        lab.kill().unwrap();
        running.iter().for_each(|running| drop(running.wait()));
        part
    };
    // Never more; and no less, unless others keep this machine busy all the time.
    let enough = (0..5).any(|_| {
        let part = measured("0.2", 2);
        assert!(part <= 0.22, "{part} processors of 0.2");
        part >= 0.18
    });
    assert!(enough, "less than 0.18 processors of 0.2, five times");
}

/// There are never more processes than allowed.
#[corten_tier::t1]
fn i4_processes_have_a_limit() {
    let limit = |count| Limits { pids: Some(Max::At(count)), ..Limits::default() };
    let sixty = "i=0; while [ $i -lt 60 ]; do sleep 60 & i=$((i+1)); done; wait";
    let lab = Lab::new(limit(20));
    lab.start(sixty);
    until("a fork is refused", || lab.stats().unwrap().pids.unwrap().refused > 0);
    let pids = lab.stats().unwrap().pids.unwrap();
    assert!(pids.current <= 20 && pids.limit == Some(Max::At(20)), "{pids:?}");
    // Without the limit all sixty run.
    let free = Lab::new(Limits::default());
    free.start(sixty);
    until("all run", || free.stats().unwrap().pids.unwrap().current > 60);
}

/// A frozen group uses no processor time, and goes on where it was.
#[corten_tier::t1]
fn i5_a_frozen_process_does_not_run() {
    let lab = Lab::new(Limits::default());
    lab.start("while :; do :; done");
    until("it runs", || !cpu(&lab).is_zero());
    lab.freeze().unwrap();
    assert_eq!(lab.state().unwrap(), State::Frozen);
    let before = cpu(&lab);
    std::thread::sleep(Duration::from_millis(300));
    // The last one may still have been on its way off the processor.
    assert!(cpu(&lab) - before < Duration::from_millis(1), "{:?}", cpu(&lab) - before);
    lab.thaw().unwrap();
    assert_eq!(lab.state().unwrap(), State::Thawed);
    until("it goes on", || cpu(&lab) > before);
}

/// Killing a group leaves none of its processes, however fast they fork.
#[corten_tier::t1]
fn i6_kill_leaves_none() {
    let lab = Lab::new(Limits::default());
    // A chain: each process starts the next one and ends, so a list of numbers is old at once.
    let chain = tempfile::NamedTempFile::new().unwrap();
    fs::write(chain.path(), "sh $0 &\n").unwrap();
    let script = format!("exec sh {}", chain.path().display());
    (0..4).for_each(|_| drop(lab.start(&script).wait()));
    assert!(!lab.processes().unwrap().is_empty());
    lab.kill().unwrap();
    until("all are gone", || lab.processes().unwrap().is_empty());
    lab.remove(Duration::from_secs(5)).unwrap();
    // A frozen group can be killed, too.
    let lab = Lab::new(Limits::default());
    let running = lab.start("sleep 60");
    lab.freeze().unwrap();
    lab.kill().unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Signal(libc::SIGKILL));
}

/// A device without a rule cannot be opened or made, whatever rights the process has; a change of
/// the rules does not interrupt what both the old and the new ones allow.
#[corten_tier::t1]
fn i7_a_device_without_a_rule_cannot_be_used() {
    let null_only = |access: &str| {
        let null = DeviceRule::char(1, 3, access.parse().unwrap());
        Limits { devices: Some(vec![DeviceRule::everything(false), null]), ..Limits::default() }
    };
    let lab = Lab::new(null_only("rwm"));
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().display();
    let script = format!(
        "cd {dir}; mknod null c 1 3 && echo > null && ! mknod zero c 1 5 && ! head -c 1 /dev/zero"
    );
    assert_eq!(lab.run(&script), Exit::Code(0));

    // For two seconds the rules change all the time, and null stays usable.
    let running =
        lab.start("i=0; while [ $i -lt 20000 ]; do echo > /dev/null || exit 1; i=$((i+1)); done");
    let begun = Instant::now();
    let mut changes = 0;
    while begun.elapsed() < Duration::from_secs(2) {
        lab.apply(&null_only(if changes % 2 == 0 { "rw" } else { "rwm" })).unwrap();
        changes += 1;
    }
    lab.apply(&null_only("w")).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(0), "after {changes} changes");
    assert_eq!(lab.run("head -c 1 /dev/null"), Exit::Code(1), "reading is not allowed any more");
    // Without rules everything is allowed.
    let free = Lab::new(Limits::default());
    assert_eq!(free.run("head -c 1 /dev/zero > /dev/null"), Exit::Code(0));
}

/// What v2 uses for devices, also on a hybrid host, where v1 has the controller.
#[corten_tier::t1]
fn the_kernel_takes_the_device_program() {
    let lab = Lab::new(Limits::default());
    let Some(group) = lab.unified() else { return };
    use std::os::fd::AsFd;
    let rules = |access: &str| [DeviceRule::char(1, 3, access.parse::<Access>().unwrap())];
    for access in ["rwm", "rw", "w"] {
        corten_cgroups::bpf::Program::new(&rules(access)).attach(group.as_fd()).unwrap();
        let attached = corten_cgroups::sys::bpf::attached(group.as_fd()).unwrap();
        assert_eq!(attached.len(), 1, "one takes the place of the other");
    }
    assert_eq!(lab.run("echo > /dev/null"), Exit::Code(0));
    assert_eq!(lab.run("head -c 1 /dev/null"), Exit::Code(1));
}

fn all_groups() -> BTreeSet<PathBuf> {
    fn below(dir: PathBuf, all: &mut BTreeSet<PathBuf>) {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                below(entry.path(), all);
            }
        }
        let ours = dir.to_string_lossy().contains(&format!("corten-test-{}-", std::process::id()));
        all.extend(ours.then_some(dir));
    }
    let mut all = BTreeSet::new();
    for mount in Hierarchy::detect().unwrap().mounts() {
        below(mount.point.clone(), &mut all);
    }
    all
}

/// A plan that fails leaves no directory, and a group that was removed is gone in every hierarchy.
#[corten_tier::t1]
fn i8_nothing_is_left() {
    let hierarchy = Hierarchy::detect().unwrap();
    // A processor that there is not: the kernel refuses it after the directories were made.
    let cpu = Cpu { cpus: Some("9999".into()), ..Cpu::default() };
    let limits = Limits { cpu, ..Limits::default() };
    let placement = lab::placement();
    let Placement::Below(name) = &placement else { unreachable!() };
    let deep = Placement::Below(name.join("a/b"));
    let plan = Plan::create(&hierarchy, &deep, &limits).unwrap();
    let error = plan.execute().unwrap_err().to_string();
    assert!(error.contains("cpuset.cpus"), "{error}");
    let left: Vec<_> = all_groups().into_iter().filter(|dir| dir.ends_with(name)).collect();
    lab::sweep(&left);
    assert_eq!(left, Vec::<PathBuf>::new());

    let lab = Lab::new(Limits::default());
    // In v2 the outer group gives controllers to the inner one, and holds no processes itself.
    let inner = lab.child("inner", Limits::default()).unwrap();
    let running = lab::start(&inner, "sleep 60");
    let busy = lab.remove(Duration::ZERO).unwrap_err();
    assert_eq!(busy.errno(), Some(nix::errno::Errno::EBUSY), "{busy}");
    // The process ends while `remove` waits for it.
    let killer = std::thread::spawn({
        let pid = nix::unistd::Pid::from_raw(running.pid());
        move || {
            std::thread::sleep(Duration::from_millis(100));
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        }
    });
    let begun = Instant::now();
    lab.remove(Duration::from_secs(20)).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "it was told when the process had ended");
    killer.join().unwrap();
    running.wait().unwrap();
    assert!(lab.groups().iter().all(|group| !group.path().exists()));
    lab.remove(Duration::ZERO).unwrap();

    // What was made on the way goes with the last one, and what somebody else has made stays.
    let outer = Lab::new(Limits::default());
    let Placement::Below(name) = &outer.placement else { unreachable!() };
    let of = |name: &str| outer.child(name, Limits::default()).unwrap();
    let [one, two] = [of("x/y/one"), of("x/two")];
    let left = |name: &str| {
        let there = |group: &&corten_cgroups::cgroup::Group| group.path().join(name).exists();
        outer.groups().iter().filter(there).count()
    };
    let all = outer.groups().len();
    one.remove(Duration::ZERO).unwrap();
    assert_eq!((left("x/y"), left("x/two")), (0, all), "of {name:?}");
    two.remove(Duration::ZERO).unwrap();
    assert_eq!(left("x"), 0);
    let own = of("own");
    of("own/z").remove(Duration::ZERO).unwrap();
    assert_eq!(left("own"), all);
    own.remove(Duration::ZERO).unwrap();
    // Also where somebody was killed who had removed the group, and nothing above it.
    let three = of("x/y/three");
    for group in three.groups() {
        fs::remove_dir(group.path()).unwrap();
        corten_cgroups::removal::remove_above(group.path());
    }
    assert_eq!(left("x"), 0);
}

/// Limits that are not named in an update stay; those that are named change in any direction.
#[corten_tier::t1]
fn i9_an_update_changes_what_it_names() {
    let lab = Lab::new(Limits {
        cpu: Cpu { quota: Some(Max::At(50_000)), period: Some(100_000), ..Cpu::default() },
        pids: Some(Max::At(30)),
        ..memory(64)
    });
    let seen = || {
        let stats = lab.stats().unwrap();
        (stats.memory.unwrap().limit, stats.pids.unwrap().limit)
    };
    assert_eq!(seen(), (Some(Max::At(64 << 20)), Some(Max::At(30))));
    // Up and down again: memory alone may never be above memory and swap together.
    for mib in [128, 32, 96] {
        lab.apply(&memory(mib)).unwrap();
        assert_eq!(seen(), (Some(Max::At(mib << 20)), Some(Max::At(30))));
    }
    let quota = |quota, period| Limits {
        cpu: Cpu { quota: Some(Max::At(quota)), period: Some(period), ..Cpu::default() },
        ..Limits::default()
    };
    for (a, b) in [(500_000, 1_000_000), (2_000, 10_000), (90_000, 100_000)] {
        lab.apply(&quota(a, b)).unwrap();
    }
    let none = Memory { limit: Some(Max::Unlimited), ..Memory::default() };
    lab.apply(&Limits { memory: none, ..Limits::default() }).unwrap();
    assert_eq!(seen(), (Some(Max::Unlimited), Some(Max::At(30))));
    // More is in use than the new limit: refused, when it was asked to be checked.
    lab.start("dd if=/dev/zero of=/dev/null bs=20M count=100000");
    until("it has its memory", || lab.stats().unwrap().memory.unwrap().usage > 20 << 20);
    let mut small = memory(8);
    small.memory.check_before_update = true;
    let refused = lab.apply(&small).unwrap_err().to_string();
    assert!(refused.contains("bytes are in use"), "{refused}");
    assert_eq!(seen().0, Some(Max::Unlimited));
}

/// A later process finds the group by its paths.
#[corten_tier::t1]
fn a_group_is_found_again_by_its_paths() {
    let lab = Lab::new(memory(64));
    let paths = lab.paths();
    assert_eq!(paths.len(), lab.groups().len());
    let found = corten_cgroups::Cgroup::from_paths(&paths).unwrap();
    for (ours, theirs) in lab.groups().iter().zip(found.groups()) {
        let found = found.groups().iter().find(|g| g.path() == ours.path()).unwrap();
        let (a, b) = (&ours.target, &found.target);
        assert_eq!((a.version, &a.label, &a.point), (b.version, &b.label, &b.point));
        assert!(theirs.path().exists());
    }
    let limit = found.stats().unwrap().memory.unwrap().limit;
    assert_eq!(limit, Some(Max::At(64 << 20)));
    found.apply(&Limits { pids: Some(Max::At(5)), ..Limits::default() }).unwrap();
    assert_eq!(lab.group(Controller::Pids).unwrap().read("pids.max").unwrap(), "5\n");
}

//! The experiments of the chapter that want a machine of their own, in the VM with v2 and with v1.
#![allow(clippy::unwrap_used)]

mod lab;

use std::time::{Duration, Instant};

use corten_cgroups::launch::Exit;
use corten_cgroups::limits::{Cpu, CpuShare, Io, Memory, Throttle};
use corten_cgroups::stats::Resource;
use corten_cgroups::{Cgroup, Limits, Max};
use lab::{Lab, cpu, until};

/// How much more of one processor the first group gets than the second, when both want all of it.
fn contended(first: Cpu, second: Cpu) -> f64 {
    let lab = Lab::new(Limits::default());
    let one = |name, cpu: Cpu| {
        let cpu = Cpu { cpus: Some("0".into()), ..cpu };
        lab.child(name, Limits { cpu, ..Limits::default() }).unwrap()
    };
    let groups = [one("first", first), one("second", second)];
    let running: Vec<_> =
        groups.iter().map(|group| lab::start(group, "while :; do :; done")).collect();
    groups.iter().for_each(|group| until("it runs", || !cpu(group).is_zero()));
    let before = groups.each_ref().map(cpu);
    std::thread::sleep(Duration::from_secs(4));
    let after = groups.each_ref().map(cpu);
    groups.iter().for_each(|group| group.kill().unwrap());
    running.iter().for_each(|running| drop(running.wait()));
    let used = |at: usize| (after[at] - before[at]).as_secs_f64();
    used(0) / used(1)
}

/// The noisy neighbour gets no more than its part.
fn weights(three: CpuShare, one: CpuShare) {
    let share = |share| Cpu { share: Some(share), ..Cpu::default() };
    let ratio = contended(share(three), share(one));
    println!("{three:?} and {one:?}: {ratio:.2}");
    assert!((2.5..=3.6).contains(&ratio), "{ratio}");
    let idle = contended(Cpu::default(), Cpu { idle: Some(true), ..Cpu::default() });
    println!("beside an idle group: {idle:.0}");
    assert!(idle > 20.0, "{idle}");
}

#[corten_tier::t2]
fn weights_divide_the_processor() {
    weights(CpuShare::Weight(300), CpuShare::Weight(100));
}

#[corten_tier::t2(v1)]
fn shares_divide_the_processor() {
    weights(CpuShare::Shares(3072), CpuShare::Shares(1024));
}

/// 4 MiB are read past the page cache at 2 MiB a second, and without a limit.
fn disk() {
    let number = nix::sys::stat::stat("/dev/vda").unwrap().st_rdev;
    let (major, minor) = (libc::major(number).into(), libc::minor(number).into());
    let read_bps = vec![Throttle { major, minor, rate: 2 << 20 }];
    let lab = Lab::new(Limits { io: Io { read_bps, ..Io::default() }, ..Limits::default() });
    let read = |group: &Cgroup| {
        let begun = Instant::now();
        let script = "exec dd if=/dev/vda of=/dev/null iflag=direct bs=64k count=64 2>/dev/null";
        assert_eq!(lab::start(group, script).wait().unwrap(), Exit::Code(0));
        begun.elapsed().as_secs_f64()
    };
    let limited = read(&lab);
    let stats = lab.stats().unwrap();
    let io = stats.io[&(major as u32, minor as u32)];
    assert!(io.read_bytes >= 4 << 20 && io.reads >= 64, "{io:?}");
    let free = read(&Lab::new(Limits::default()));
    println!("4 MiB in {limited:.2} s at 2 MiB/s, in {free:.2} s without a limit");
    assert!((1.8..=3.0).contains(&limited), "{limited}");
    assert!(free < limited / 2.0, "{free}");
}

#[corten_tier::t2]
fn a_disk_is_read_at_the_rate_allowed() {
    disk();
}

#[corten_tier::t2(v1)]
fn a_disk_is_read_at_the_rate_allowed_on_v1() {
    disk();
}

/// What is lost by waiting is counted: for the processor under a quota, for memory under a limit.
#[corten_tier::t2]
fn pressure_rises_where_processes_wait() {
    let total = |lab: &Lab, resource| lab.stats().unwrap().pressure[&resource].some.total;
    let cpu = Cpu { quota: Some(Max::At(10_000)), period: Some(100_000), ..Cpu::default() };
    let lab = Lab::new(Limits { cpu, ..Limits::default() });
    let before = total(&lab, Resource::Cpu);
    let running = lab.start("while :; do :; done");
    std::thread::sleep(Duration::from_secs(3));
    let waited = total(&lab, Resource::Cpu) - before;
    println!("waited {waited:?} of 3 s for the processor");
    assert!(waited > Duration::from_millis(1500), "{waited:?}");
    lab.kill().unwrap();
    running.wait().unwrap();

    // 24 MiB of a file's contents do not fit 8 MiB: they are read again and again.
    let memory = Memory { limit: Some(Max::At(8 << 20)), ..Memory::default() };
    let lab = Lab::new(Limits { memory, ..Limits::default() });
    let script = "dd if=/dev/zero of=/tmp/big bs=1M count=24 2>/dev/null; sync; i=0; \
        while [ $i -lt 5 ]; do cat /tmp/big >/dev/null; i=$((i+1)); done; rm /tmp/big";
    assert_eq!(lab.run(script), Exit::Code(0));
    let waited = total(&lab, Resource::Memory);
    println!("waited {waited:?} for memory");
    assert!(!waited.is_zero());
}

/// With memory.oom.group one kill is the end of all.
#[corten_tier::t2]
fn a_group_dies_as_a_whole_where_asked() {
    let memory = |oom_group| Memory {
        limit: Some(Max::At(16 << 20)),
        swap: Some(Max::At(16 << 20)),
        oom_group: Some(oom_group),
        ..Memory::default()
    };
    for together in [true, false] {
        let lab = Lab::new(Limits { memory: memory(together), ..Limits::default() });
        let bystander = lab.start("exec sleep 60");
        lab.run("exec dd if=/dev/zero of=/dev/null bs=100M count=1");
        if together {
            assert_eq!(bystander.wait().unwrap(), Exit::Signal(libc::SIGKILL));
        } else {
            assert!(lab.processes().unwrap().contains(&bystander.pid()));
        }
    }
}

/// v1 can let processes wait at the limit instead.
#[corten_tier::t2(v1)]
fn without_the_oom_killer_processes_wait() {
    let memory = Memory {
        limit: Some(Max::At(16 << 20)),
        disable_oom_killer: Some(true),
        ..Memory::default()
    };
    let lab = Lab::new(Limits { memory, ..Limits::default() });
    let running = lab.start("exec dd if=/dev/zero of=/dev/null bs=64M count=1");
    let control =
        || lab.group(corten_cgroups::Controller::Memory).unwrap().read("memory.oom_control");
    until("it waits", || control().unwrap().contains("under_oom 1"));
    let more = Memory { limit: Some(Max::At(256 << 20)), ..Memory::default() };
    lab.apply(&Limits { memory: more, ..Limits::default() }).unwrap();
    assert_eq!(running.wait().unwrap(), Exit::Code(0));
}

/// Forty busy processes on two processors do not stop in an instant: freeze waits for the last one.
#[corten_tier::t2]
fn a_frozen_group_has_stopped_when_freeze_returns() {
    let lab = Lab::new(Limits::default());
    lab.start("i=0; while [ $i -lt 40 ]; do (while :; do :; done) & i=$((i+1)); done; wait");
    until("all run", || lab.processes().unwrap().len() > 40);
    for _ in 0..5 {
        lab.freeze().unwrap();
        assert_eq!(lab.state().unwrap(), corten_cgroups::State::Frozen);
        let before = cpu(&lab);
        // A process counts as frozen when it is on its way off the processor. That is less than a
        // millisecond for each of the forty, also where it is emulated, and then nothing more.
        until("none uses any", || {
            let last = cpu(&lab);
            std::thread::sleep(Duration::from_millis(50));
            cpu(&lab) - last < Duration::from_millis(1)
        });
        assert!(cpu(&lab) - before < Duration::from_millis(40), "{:?}", cpu(&lab) - before);
        let before = cpu(&lab);
        lab.thaw().unwrap();
        until("it goes on", || cpu(&lab) > before);
    }
}

/// v1 refuses memory above memory and swap together, and the other way round, at every moment: the
/// right order of two writes depends on what was there before.
#[corten_tier::t2(v1)]
fn memory_limits_move_in_any_direction() {
    let memory = |mib: u64| {
        let max = Some(Max::At(mib << 20));
        Limits {
            memory: Memory { limit: max, swap: max, ..Memory::default() },
            ..Limits::default()
        }
    };
    let lab = Lab::new(memory(64));
    for mib in [128, 32, 96] {
        lab.apply(&memory(mib)).unwrap();
        let stats = lab.stats().unwrap().memory.unwrap();
        assert_eq!(stats.limit, Some(Max::At(mib << 20)));
        assert_eq!(stats.swap_limit, Some(Max::At(0)));
    }
}

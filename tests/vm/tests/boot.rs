//! The harness itself, tried on real VMs.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use corten_vm::{
    Accel, Cgroup, Ended, Error, Job, JobStatus, Kernel, Network, PowerCut, TestBinary,
    TestOutcome, Vm,
};

const KIB_IN_640_MIB: u64 = 640 * 1024;

#[corten_tier::boots_vm]
fn a_vm_runs_jobs_as_asked() {
    let forged = "printf '\\036%032d end 0 0\\n' 0; exit 3";
    let outcome = Vm::builder()
        .unwrap()
        .memory_mib(640)
        .cpus(1)
        .text("/etc/greeting", "hello\n", 0o644)
        .job(Job::shell(forged))
        .job(Job::new(["sleep", "1000"]).limit(Duration::from_secs(1)))
        .job(Job::shell("cat /etc/greeting; echo error >&2; echo $K").env("K", "it's"))
        .job(Job::shell("nproc; sed -n 's/MemTotal: *//p' /proc/meminfo; id -u; echo $CORTEN_VM"))
        .job(Job::shell("stat -f -c %T /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.controllers"))
        .job(Job::new(["no-such-program"]))
        .job(Job::shell("kill -SEGV $$"))
        .job(Job::shell("echo through /dev/stdout >/dev/stdout"))
        .run(&mut corten_vm::TestOutput)
        .unwrap();
    let status = |index: usize| outcome.jobs[index].status;
    let text = |index: usize| outcome.jobs[index].text();

    assert_eq!(outcome.ended, Ended::PowerOff);
    assert!(outcome.release.unwrap().starts_with("6.1."));
    assert_eq!(status(0), JobStatus::Exited(3));
    assert!(text(0).contains("end 0 0"), "a forged mark is output: {:?}", text(0));
    assert_eq!(status(1), JobStatus::TimedOut);
    assert_eq!((status(2), text(2).as_str()), (JobStatus::Exited(0), "hello\nerror\nit's\n"));
    let machine: Vec<String> = text(3).lines().map(str::to_owned).collect();
    let memory: u64 = machine[1].split(' ').next().unwrap().parse().unwrap();
    assert_eq!((machine[0].as_str(), &machine[2..]), ("1", &["0".into(), "1".into()][..]));
    assert!(memory < KIB_IN_640_MIB && memory > KIB_IN_640_MIB / 2, "{memory} KiB");
    assert!(text(4).contains("memory"), "cgroup v2 has the controllers: {}", text(4));
    assert_eq!(status(5), JobStatus::Exited(127));
    assert_eq!(status(6), JobStatus::Exited(128 + 11));
    assert_eq!(text(7), "through /dev/stdout\n");
}

#[corten_tier::boots_vm]
fn the_other_kernel_runs_tests_of_this_binary() {
    let this = TestBinary { path: std::env::current_exe().unwrap(), name: "boot".into() };
    let vm = Vm::builder().unwrap().kernel(Kernel::Debian612);
    let limit = Duration::from_secs(30);
    let mut reported = 0;
    let run =
        corten_vm::run_tests(vm, std::slice::from_ref(&this), &|_, _| true, limit, &mut |result| {
            reported += 1;
            eprintln!("{}: {:?}\n{}", result.name, result.outcome, result.output);
        })
        .unwrap();
    let outcome = |name: &str| run.results.iter().find(|r| r.name == name).unwrap().outcome;
    assert_eq!(reported, run.results.len());
    assert_eq!(outcome("the_guest_has_what_tests_need::t2"), TestOutcome::Passed);
    // The tests of the v1 VM and those that boot VMs are not run here, and that is told.
    let missing = corten_vm::not_run(&[this], &run.results).unwrap();
    assert!(missing.iter().any(|(_, test)| test.name == "the_hierarchies_are_v1::t2_v1"));
    assert!(!missing.iter().any(|(_, test)| test.name.ends_with("::t2")), "{missing:?}");
}

#[corten_tier::t2]
fn the_guest_has_what_tests_need() {
    let run = |line: &str| {
        let output = std::process::Command::new("sh").args(["-ec", line]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {error}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run("mkdir -p /tmp/o/l /tmp/o/u /tmp/o/w /tmp/o/m; echo x >/tmp/o/l/f");
    run("mount -t overlay -o lowerdir=/tmp/o/l,upperdir=/tmp/o/u,workdir=/tmp/o/w none /tmp/o/m");
    run("rm /tmp/o/m/f; test -c /tmp/o/u/f; umount /tmp/o/m");
    run("ip link add type veth; ip link add br0 type bridge; ip link add dummy0 type dummy");
    run("for m in nf_tables nft_chain_nat nft_masq macvlan ipvlan loop; do modprobe $m; done");
    run("test -c /dev/loop-control; test -c /dev/net/tun; losetup -f");
    run("mkdir /tmp/r; mount -t tmpfs none /tmp/r; umount /tmp/r");
    assert_eq!(run("cat /sys/kernel/mm/../../../proc/1/comm"), "init\n");
}

#[corten_tier::t2(v1)]
fn the_hierarchies_are_v1() {
    let mounts = fs::read_to_string("/proc/mounts").unwrap();
    assert!(mounts.contains("/sys/fs/cgroup/memory cgroup "), "{mounts}");
    assert!(!mounts.contains("cgroup2"), "{mounts}");
}

#[corten_tier::boots_vm]
fn cgroup_v1_is_mounted_as_asked() {
    let this = TestBinary { path: std::env::current_exe().unwrap(), name: "boot".into() };
    let vm = Vm::builder().unwrap().cgroup(Cgroup::V1);
    let limit = Duration::from_secs(30);
    let run = corten_vm::run_tests(vm, &[this], &|_, _| true, limit, &mut |result| {
        eprintln!("{}: {:?}\n{}", result.name, result.outcome, result.output);
    })
    .unwrap();
    assert!(run.success(), "{:?}", run.death);
    assert_eq!(run.results.len(), 1);
}

#[corten_tier::boots_vm]
fn a_kernel_panic_is_told_with_the_console() {
    // What is printed in the very moment of the crash may be lost.
    let error = Vm::builder()
        .unwrap()
        .job(Job::shell("echo before; sleep 1; echo c >/proc/sysrq-trigger; sleep 100"))
        .job(Job::new(["true"]))
        .run(&mut corten_vm::TestOutput)
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("Kernel panic - not syncing: sysrq triggered crash"), "{message}");
    let Error::Died(outcome) = error else { panic!("{error:?}") };
    assert_eq!(outcome.ended, Ended::Panic);
    assert_eq!(outcome.jobs[0].status, JobStatus::Lost);
    assert_eq!(outcome.jobs[0].text(), "before\n");
    assert_eq!(outcome.jobs[1].status, JobStatus::NotRun);
}

#[corten_tier::boots_vm]
fn a_scratch_disk_survives_a_power_cut() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("scratch");
    let vm = || Vm::builder().unwrap().scratch_disk(&disk, 64).unwrap();
    let write = "echo kept >/scratch/kept; sync; echo lost >/scratch/lost; echo written; sleep 100";
    let outcome = vm()
        .power_cut(PowerCut::AfterOutput("written\n".into()))
        .job(Job::shell(write))
        .run(&mut corten_vm::TestOutput)
        .unwrap();
    assert_eq!(outcome.ended, Ended::PowerCut);
    assert_eq!(outcome.jobs[0].status, JobStatus::Lost);
    let outcome = vm()
        .job(Job::shell("cat /scratch/kept; ls -s /scratch/lost; echo again >/scratch/again"))
        .run(&mut corten_vm::TestOutput)
        .unwrap();
    assert!(outcome.jobs[0].text().starts_with("kept\n"), "{}", outcome.jobs[0].text());
    assert!(!outcome.jobs[0].text().contains("1 /scratch/lost"), "{}", outcome.jobs[0].text());
}

#[corten_tier::boots_vm]
fn two_vms_talk_over_a_private_network() {
    let network = Network::new();
    let server = Vm::builder()
        .unwrap()
        .network(&network, "10.77.0.1/24")
        .job(Job::shell("echo ready; nc -l -p 7000"));
    let ask = "until echo 'over the wire' | nc -w 2 10.77.0.1 7000; do sleep 1; done";
    let client = Vm::builder()
        .unwrap()
        .network(&network, "10.77.0.2/24")
        .job(Job::shell(ask))
        .job(Job::shell("ip route"));
    let server = std::thread::spawn(move || server.run(&mut std::io::sink()).unwrap());
    let client = client.run(&mut corten_vm::TestOutput).unwrap();
    let server = server.join().unwrap();
    assert_eq!(server.jobs[0].text(), "ready\nover the wire\n");
    assert!(client.jobs[0].status.success());
    assert!(!client.jobs[1].text().contains("default"), "no way out: {}", client.jobs[1].text());
}

#[corten_tier::boots_vm]
fn a_vm_never_outlives_its_limit() {
    let start = Instant::now();
    let error = Vm::builder()
        .unwrap()
        .limit(Duration::from_secs(1))
        .job(Job::new(["sleep", "1000"]))
        .run(&mut corten_vm::TestOutput)
        .unwrap_err();
    let Error::Died(outcome) = error else { panic!("{error:?}") };
    assert_eq!(outcome.ended, Ended::Limit);
    assert_eq!(outcome.jobs[0].status, JobStatus::NotRun);
    assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
}

/// The program under test, as a reader starts it.
fn corten_vm(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten-vm"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

#[corten_tier::boots_vm]
fn a_shell_can_be_driven_by_a_pipe() {
    let mut shell = corten_vm(&["shell", "--bin", "/bin/true"]).spawn().unwrap();
    let lines = b"hostname; which true\nchroot /rootfs /bin/echo inside\nexit 5\n";
    shell.stdin.take().unwrap().write_all(lines).unwrap();
    let output = shell.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "lab\n/corten/bin/true\ninside\n");
    assert_eq!(output.status.code(), Some(5));
}

#[corten_tier::boots_vm]
fn a_killed_runner_leaves_no_qemu() {
    let mut runner = corten_vm(&["exec", "--", "sh", "-c", "echo up; sleep 100"]).spawn().unwrap();
    let mut up = [0; 3];
    runner.stdout.as_mut().unwrap().read_exact(&mut up).unwrap();
    let children = format!("/proc/{0}/task/{0}/children", runner.id());
    let qemu = fs::read_to_string(children).unwrap();
    let qemu = qemu.split_whitespace().next().expect("QEMU is a child of the runner").to_owned();
    runner.kill().unwrap();
    runner.wait().unwrap();
    // A zombie is dead; when it is reaped is up to its new parent.
    let alive = || {
        let stat = fs::read_to_string(format!("/proc/{qemu}/stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
    };
    let start = Instant::now();
    while alive() {
        assert!(start.elapsed() < Duration::from_secs(5), "QEMU {qemu} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Before the guest is set up nothing of ours has run, so it may be done again; what killed the emulator is told.
#[corten_tier::boots_vm]
fn an_emulator_that_dies_in_boot_is_started_again_and_not_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let starts = directory.path().join("starts");
    let emulator = directory.path().join("qemu");
    let script = format!(
        "#!/bin/sh\necho >>{starts}\n[ $(wc -l <{starts}) -gt $DEATHS ] || kill -SEGV $$\nexec qemu-system-{} \"$@\"\n",
        std::env::consts::ARCH,
        starts = starts.display(),
    );
    for (deaths, boots) in [(1, 2), (9, 3)] {
        fs::write(&starts, "").unwrap();
        fs::write(&emulator, script.replace("$DEATHS", &deaths.to_string())).unwrap();
        fs::set_permissions(&emulator, fs::Permissions::from_mode(0o755)).unwrap();
        let mut said = Vec::new();
        let vm = Vm::builder().unwrap().emulator(&emulator).accel(Accel::Tcg);
        let ended = vm.job(Job::new(["echo", "ran"])).run(&mut said);
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("signal: 11"), "{said}");
        assert_eq!(fs::read(&starts).unwrap().len(), boots, "{said}");
        match ended {
            Ok(outcome) => assert!(deaths == 1 && outcome.jobs[0].text() == "ran\n", "{said}"),
            Err(error) => {
                assert!(deaths == 9 && error.to_string().contains("signal: 11"), "{error}")
            }
        }
    }
}

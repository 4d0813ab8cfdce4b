//! The invariants of chapter 1, by the numbers that the chapter gives them.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Stdio;
use std::sync::{RwLock, RwLockReadGuard};

use corten_namespaces::config::User;
use corten_namespaces::idmap::{IdMap, Range};
use corten_namespaces::mount::{Mount, Target};
use corten_namespaces::plan::Step;
use corten_namespaces::{Error, Exit, Namespace, NamespaceSet, Plan, Root};
use lab::pty::Pty;
use lab::race::racing_renames;
use lab::trace::{Traces, mounts};
use lab::{Lab, Talk, capture, ended, finish, output, run_command, share_mounts};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

/// I8 compares what the whole process has, so no other test may run beside it.
static ALONE: RwLock<()> = RwLock::new(());

fn beside_others() -> RwLockReadGuard<'static, ()> {
    ALONE.read().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The line of mountinfo for each mount point that begins with `path`.
fn below(mountinfo: &str, path: &Path) -> Vec<String> {
    let path = path.to_str().unwrap();
    let point = |line: &str| line.split(' ').nth(4).is_some_and(|p| p.starts_with(path));
    mountinfo.lines().filter(|line| point(line)).map(str::to_owned).collect()
}

#[corten_tier::t1]
fn i1_mounts_do_not_propagate() {
    let _guard = beside_others();
    let lab = Lab::new();
    // The worst case, which systemd makes the normal one: all mounts of the host are shared.
    share_mounts();
    let shared = lab.outside().join("shared");
    fs::create_dir_all(shared.join("late")).unwrap();

    for with_rootfs in [true, false] {
        let place = if with_rootfs { "/mnt".into() } else { shared.display().to_string() };
        let seen = if with_rootfs { "/shared/late".into() } else { format!("{place}/late") };
        let script = format!(
            "mount -t tmpfs inside {place}/inside && echo mounted; read go; cat /proc/self/mountinfo; echo end"
        );
        fs::create_dir_all(lab.rootfs().join("mnt/inside")).unwrap();
        fs::create_dir_all(shared.join("inside")).unwrap();
        let mut config = lab.config(&script);
        if with_rootfs {
            config.mounts.push(Mount::bind(&shared, "/shared", 0).unwrap());
        } else {
            config.rootfs = None;
        }
        let before = mounts();
        let mut talk = Talk::start(config);
        assert_eq!(talk.hear(), "mounted");
        assert_eq!(mounts(), before, "a mount made inside is seen outside");

        let flags = nix::mount::MsFlags::empty();
        let late = shared.join("late");
        nix::mount::mount(Some("outside"), &late, Some("tmpfs"), flags, None::<&str>).unwrap();
        talk.say("go");
        let mut inside = String::new();
        talk.output.read_to_string(&mut inside).unwrap();
        nix::mount::umount(&late).unwrap();
        assert!(inside.ends_with("end\n"), "{inside}");
        assert_eq!(
            below(&inside, Path::new(&seen)),
            [""; 0],
            "a mount made outside is seen inside"
        );
        assert_eq!(talk.container.wait().unwrap(), Exit::Code(0));
    }
}

#[corten_tier::t1]
fn i2_root_cannot_be_left() {
    let _guard = beside_others();
    let lab = Lab::new();
    let secret = lab.secret();
    let root = fs::metadata(lab.rootfs()).unwrap();
    let ways = [
        "/",
        "/..",
        "/../../..",
        "/proc/1/root/",
        "/proc/1/root/..",
        "/proc/1/cwd/",
        "/proc/1/cwd/../..",
        "/proc/self/root/../..",
        "/proc/1/task/1/root/",
        "/dev/..",
        "/proc/..",
        "/sys/..",
        "/dev/fd/..//../../..",
        ".",
        "..",
    ];
    let script = format!(
        "cd / && for way in {}; do stat -c %d:%i $way; done; echo; cat /proc/self/mountinfo; echo; \
         cd ..; cat {} .{0} ../../..{0} /proc/1/root{0} /proc/1/cwd/..{0} 2>/dev/null; \
         for fd in /proc/1/fd/*; do cat $fd/..{0} $fd{0} 2>/dev/null; done; echo searched",
        ways.join(" "),
        secret.display(),
    )
    .replace("{0}", &secret.display().to_string());
    let text = output(lab.config(&script));
    let [roots, mountinfo, found] = text.splitn(3, "\n\n").collect::<Vec<_>>()[..] else {
        panic!("{text}")
    };

    // /dev/fd/.. is in procfs; from there three times upwards is the root again.
    let own = format!("{}:{}", root.dev(), root.ino());
    for (way, seen) in ways.iter().zip(roots.lines()) {
        assert_eq!(seen, own, "{way} is not the root");
    }
    assert_eq!(roots.lines().count(), ways.len());

    let points: Vec<_> = mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).collect();
    let expected = ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"];
    assert_eq!(points, expected, "the old root is still mounted:\n{mountinfo}");

    assert_eq!(found, "searched");
}

#[corten_tier::t1]
fn i3_only_own_processes_are_seen() {
    let _guard = beside_others();
    let lab = Lab::new();
    let own = std::process::id();
    let script = format!(
        "echo /proc/[0-9]*; echo $$; kill -0 {own} 2>&1; cat /proc/{own}/comm 2>&1; readlink /proc/self/ns/pid"
    );
    let mut config = lab.config(&script);
    // Numbers of the host that are in use inside, too, would prove nothing.
    assert!(own > 10);
    config.protect_kernel = true;
    let (_, text) = capture(config, |_| {}).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["/proc/1", "1"], "{text}");
    assert!(lines[2].contains("No such process"), "{text}");
    assert!(lines[3].contains("No such file"), "{text}");
    let host = fs::read_link("/proc/self/ns/pid").unwrap();
    assert_ne!(Path::new(lines[4]), host, "{text}");

    // Without a rootfs as well, where the host's /proc would be in the way.
    let mut config = lab.config("echo /proc/[0-9]*");
    config.rootfs = None;
    assert_eq!(output(config), "/proc/1");
}

#[corten_tier::t1]
fn i4_paths_stay_inside_root() {
    let _guard = beside_others();
    let lab = Lab::new();
    lab.secret();
    fs::create_dir_all(lab.rootfs().join("etc/deep")).unwrap();
    fs::write(lab.rootfs().join("secret"), "inside\n").unwrap();
    let link = |to: &str, name: &str| symlink(to, lab.rootfs().join(name)).unwrap();
    let outside = lab.outside().to_str().unwrap();
    link(outside, "absolute");
    link("../..", "etc/relative");
    link("../../../../../../..", "etc/deep/up");
    link("/etc/deep/up", "etc/middle");
    link("/", "whole");
    let root = Root::open(lab.rootfs()).unwrap();
    let read = |path: &str| {
        let fd = root.open_at(path, OFlag::O_RDONLY, Mode::empty())?;
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text).unwrap();
        Ok::<_, Error>(text)
    };

    for path in [
        "secret",
        "/secret",
        "../secret",
        "/../../secret",
        "etc/../../secret",
        "etc/relative/secret",
        "etc/deep/up/secret",
        "etc/middle/../secret",
        "/whole/whole/../secret",
    ] {
        assert_eq!(read(path).unwrap(), "inside\n", "{path}");
    }
    let error = read("absolute/secret").unwrap_err();
    assert_eq!(error.errno(), Some(Errno::ENOENT), "{error}");

    // What is made lands inside, too.
    let (parent, name) = root.parent("etc/deep/up/../new").unwrap();
    nix::sys::stat::mkdirat(&parent, name.as_os_str(), Mode::S_IRWXU).unwrap();
    assert!(lab.rootfs().join("new").is_dir());
    root.create_dir_all("etc/relative/../../a/b", Mode::S_IRWXU).unwrap();
    assert!(lab.rootfs().join("a/b").is_dir() && !lab.outside().join("a").exists());
    assert!(root.create_dir_all("absolute/c", Mode::S_IRWXU).is_err());
    assert!(!lab.outside().join("c").exists());

    // Magic links of procfs lead out without a path, so they are not followed at all.
    let host = Root::open("/").unwrap();
    let leaked = File::open(outside).unwrap();
    let fd = format!("/proc/self/fd/{}/secret", leaked.as_raw_fd());
    for path in ["/proc/self/root/etc", "/proc/thread-self/cwd", "/proc/self/exe", &fd] {
        let error = host.open_at(path, OFlag::O_PATH, Mode::empty()).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::ELOOP), "{path}: {error}");
    }

    racing_renames(&lab, &root);
}

#[corten_tier::t1]
fn i5_no_descriptor_leaks() {
    let _guard = beside_others();
    let lab = Lab::new();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
    // No O_CLOEXEC: as a library below us may open it.
    let leaked = nix::fcntl::open(lab.outside(), flags, Mode::empty()).unwrap();
    for init in [false, true] {
        let mut config = lab.config("ls /proc/1/fd; echo -; ls /proc/$$/fd; true");
        config.process.init = init;
        let (exit, text) = capture(config, |_| {}).unwrap();
        assert_eq!((exit, &*text), (Exit::Code(0), "0\n1\n2\n-\n0\n1\n2"));
    }
    drop(leaked);
}

#[corten_tier::t1]
fn i6_init_reaps_and_passes_status() {
    let _guard = beside_others();
    let lab = Lab::new();
    let zombies = "for n in 1 2 3 4 5; do (sleep 0.0$n &) ; done; sleep 0.3; \
                   grep -l '^State:.Z' /proc/[0-9]*/status | wc -l; ls -d /proc/[0-9]* | wc -l";
    // Left are init, sh and ls (wc counts it, and is not there yet or is).
    let text = lab.run(&["--init"], zombies).ok();
    assert_eq!(text.lines().next(), Some("0"), "orphans are not collected: {text}");

    let options: [&[&str]; 2] = [&["--init"], &[]];
    for (script, expected) in
        [("exit 7", 7), ("exit 255", 255), ("sh -c 'kill -9 $$'; exit $?", 137)]
    {
        for options in options {
            assert_eq!(lab.run(options, script).status, expected, "{script} {options:?}");
        }
    }
    // As pid 1 a program is spared its own signals; below an init it is not.
    for (signal, expected) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("40", 168)] {
        let ran = lab.run(&["--init"], &format!("kill -{signal} $$; sleep 5"));
        assert_eq!(ran.status, expected, "{signal}: {ran:?}");
        // Ended by a signal without an init: pid 1 gets it from outside only.
        let mut talk = Talk::start(lab.config("echo ready; read forever"));
        assert_eq!(talk.hear(), "ready");
        let number = expected - 128;
        if number == 9 {
            talk.container.signal(number).unwrap();
            assert_eq!(talk.container.wait().unwrap().status(), 137);
        }
    }

    for signal in [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGHUP] {
        for options in options {
            let name = signal.as_str().trim_start_matches("SIG");
            let script = format!("trap 'exit 42' {name}; echo ready; while :; do sleep 0.02; done");
            let mut child = lab.start(options, &script);
            let mut line = String::new();
            BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
            kill(Pid::from_raw(child.id() as i32), signal).unwrap();
            let ran = finish(child);
            assert_eq!(ran.status, 42, "{signal} was not forwarded with {options:?}: {ran:?}");
        }
    }
}

#[corten_tier::t1]
fn i7_user_namespace_gives_no_rights_outside() {
    let _guard = beside_others();
    let lab = Lab::new();
    let secret = lab.secret();
    fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
    let map = || IdMap::new(vec![Range { inside: 0, outside: 100_000, length: 65536 }]).unwrap();
    let given = lab.rootfs().join("tmp/given");
    fs::create_dir(&given).unwrap();
    nix::unistd::chown(&given, Some(100_000.into()), Some(100_000.into())).unwrap();

    let config = |script: &str| {
        let mut config = lab.config(script);
        config.namespaces = config.namespaces.with(Namespace::User);
        config.uid_map = map();
        config.gid_map = map();
        fs::write(lab.rootfs().join("etc/secret"), "").unwrap();
        config.mounts.push(Mount::bind(&secret, "/etc/secret", 0).unwrap());
        config
    };
    // Root inside has all capabilities, and each attempt uses one of them on what is outside.
    let script = "id -u; grep CapEff /proc/self/status; \
         cat /etc/secret; echo x >/etc/secret; chmod 777 /etc/secret; chown 0:0 /etc/secret; \
         mknod /tmp/sda b 8 0; chown 70000 /tmp/given; cp /bin/busybox /tmp/given/mine; \
         chmod 4755 /tmp/given/mine";
    let (_, text) = capture(config(script), |_| {}).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("0"));
    let effective = lines.next().unwrap().trim_start_matches("CapEff:").trim();
    let all = u64::from_str_radix(effective, 16).unwrap();
    assert!(all & (1 << 21) != 0, "root inside has CAP_SYS_ADMIN: {text}");
    let refused: Vec<_> = lines.collect();
    assert_eq!(refused.len(), 6, "{text}");
    for (line, why) in refused.iter().zip([
        "Permission denied",
        "Permission denied",
        "not permitted",
        "not permitted",
        "not permitted",
        "Invalid argument",
    ]) {
        assert!(line.contains(why), "{line}: {why}");
    }
    assert_eq!(fs::read_to_string(&secret).unwrap(), "host-secret\n");
    // A set-user-ID program that root inside makes is that of an ordinary user outside.
    assert_eq!(fs::metadata(given.join("mine")).unwrap().uid(), 100_000);

    // One that belongs to root outside gives nothing inside.
    let libraries = lab::setuid_program(&lab);
    let mut config = config("");
    config.mounts.extend(libraries);
    config.process = lab::attack("/bin/setuid", "secret");
    config.process.env.push("SECRET=/etc/secret".into());
    config.process.user = User { uid: 1000, gid: 1000, groups: vec![1000] };
    let (_, text) = capture(config, |_| {}).unwrap();
    assert!(text.contains("uid 1000 sees Err"), "{text}");
}

/// The set-user-ID program of I7. As a test of its own it does nothing.
#[test]
fn attacker() {
    if std::env::var_os(lab::ROLE).is_some() {
        lab::show_secret();
    }
}

/// setns(2) with no flags on what is no namespace: fails wherever it stands.
fn failing() -> Step {
    Step::Join(NamespaceSet::EMPTY, OwnedFd::from(File::open("/dev/null").unwrap()))
}

#[corten_tier::t1]
fn i8_failure_leaves_nothing() {
    let _guard = ALONE.write().unwrap_or_else(|poisoned| poisoned.into_inner());
    let lab = Lab::new();
    share_mounts();
    let config = |rich: bool| {
        let mut config = lab.config("true");
        config.hostname = Some("h".into());
        config.process.cwd = "/work".into();
        config.read_only = true;
        config.protect_kernel = true;
        if rich {
            config.namespaces = config.namespaces.with(Namespace::User).with(Namespace::Time);
            config.uid_map = IdMap::root_is(0);
            config.gid_map = IdMap::root_is(0);
            config.clocks.boottime = Some(5);
            config.process.init = true;
            config.process.terminal = Some((24, 80));
            config.mounts.push(Mount::bind(lab.outside(), "/mnt", 0).unwrap());
        }
        config
    };
    let root = Mode::S_IRWXU | Mode::S_IRGRP | Mode::S_IXGRP | Mode::S_IROTH | Mode::S_IXOTH;
    Root::open(lab.rootfs()).unwrap().create_dir_all("/work", root).unwrap();
    let before = Traces::now();
    for rich in [false, true] {
        let steps = Plan::new(config(rich)).unwrap().steps.len();
        for number in 0..steps {
            let mut plan = Plan::new(config(rich)).unwrap();
            let name = format!("{:?}", plan.steps[number]);
            plan.steps.insert(number, failing());
            let error = plan.spawn().unwrap_err();
            assert_eq!(error.errno(), Some(Errno::EINVAL), "before {name}: {error}");
            drop(plan);
            assert_eq!(Traces::now(), before, "left by a failure before {name}");
        }
    }
    let text = |change: &dyn Fn(&mut corten_namespaces::Config)| {
        let mut config = config(true);
        change(&mut config);
        let error = Plan::new(config).and_then(|plan| plan.spawn()).unwrap_err().to_string();
        assert_eq!(Traces::now(), before, "left by: {error}");
        error
    };
    // The parent fails while the child waits.
    let taken = text(&|c| {
        c.uid_map = IdMap::new(vec![Range { inside: 0, outside: 0, length: 1 }]).unwrap();
        c.process.args = vec!["/no/such".into()];
    });
    assert!(taken.contains("not found"), "{taken}");
    let target = text(&|c| c.mounts.push(Mount::file_system("tmpfs", "/bin/sh/x", 0, "").unwrap()));
    assert!(target.contains("ENOTDIR"), "{target}");
    let kind = text(&|c| c.mounts.push(Mount::file_system("nofs", "/mnt/x", 0, "").unwrap()));
    assert!(kind.contains("ENODEV"), "{kind}");
    // Dropped while it runs.
    let mut plan = Plan::new(config(true)).unwrap();
    plan.steps.retain(|step| !matches!(step, Step::Execute(_)));
    let mut sleeping = lab.config("sleep 100");
    sleeping.process.init = true;
    drop(Plan::new(sleeping).unwrap().spawn().unwrap());
    assert_eq!(Traces::now(), before, "left by a container that was dropped");
    let gone = Target::new("/x").unwrap();
    let mut plan = Plan::new(lab.config("true")).unwrap();
    plan.steps.insert(0, Step::WriteProtect(gone));
    assert_eq!(plan.spawn().unwrap_err().errno(), Some(Errno::EBADF), "no root yet");
    drop(plan);
    assert_eq!(Traces::now(), before);
}

#[corten_tier::t1]
fn i9_terminal_is_restored() {
    let _guard = beside_others();
    let lab = Lab::new();
    let mut pty = Pty::new(40, 100);
    let before = pty.settings();
    let start = |pty: &Pty, options: &[&str], script: &str| {
        let mut command = lab.command(&[&["-t"], options].concat(), &["sh", "-c", script]);
        command.stdin(pty.stdio()).stdout(pty.stdio()).stderr(Stdio::piped()).spawn().unwrap()
    };

    // The window's size comes through, at the start and when it changes; keys go in raw.
    // The shell may be on its way into read when the signal comes; the trap then waits for its end.
    let script = "trap 'echo changed $(stty size)' WINCH; echo start $(stty size); tty; \
                  until [ \"$line\" = end ]; do read -t 1 line && echo got $line; done; cat; echo eof";
    let mut child = start(&pty, &[], script);
    pty.expect("start 40 100");
    pty.expect("/dev/pts/0");
    assert_ne!(pty.settings(), before, "raw meanwhile");
    pty.resize(50, 120);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGWINCH).unwrap();
    pty.expect("changed 50 120");
    pty.press("hello\rend\r");
    pty.expect("got hello");
    pty.expect("got end");
    pty.press("\x04");
    assert!(ended(&mut child).success());
    pty.expect("eof");
    assert_eq!(pty.settings(), before, "after a normal end");

    // Ctrl-C becomes a signal inside, and does not end us.
    let mut child = start(
        &pty,
        &["--init"],
        "trap 'echo caught; exit 3' INT; echo up; while :; do sleep 0.02; done",
    );
    pty.expect("up");
    pty.press("\x03");
    assert_eq!(ended(&mut child).code(), Some(3));
    pty.expect("caught");
    assert_eq!(pty.settings(), before, "after Ctrl-C");

    // Never started.
    let mut command = lab.command(&["-t"], &["/no/such"]);
    let ran = run_command(command.stdin(pty.stdio()));
    assert_eq!(ran.status, 127, "{ran:?}");
    assert_eq!(pty.settings(), before, "after an error");

    // Started, and then our own output breaks.
    let mut command = lab.command(&["-t"], &["sh", "-c", "while :; do echo noise; done"]);
    command.stdin(pty.stdio()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    drop(child.stdout.take());
    let ran = finish(child);
    assert_eq!(ran.status, 125, "{ran:?}");
    assert!(ran.err.contains("standard output"), "{ran:?}");
    assert_eq!(pty.settings(), before, "after a broken pipe");

    // SIGTERM is for the container; when that ends, the terminal is as before.
    let mut child = start(&pty, &["--init"], "echo waiting; sleep 100");
    pty.expect("waiting");
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(ended(&mut child).code(), Some(143));
    assert_eq!(pty.settings(), before, "after SIGTERM");

    // A program that writes without end leaves room for the keys.
    let mut child = start(&pty, &["--init"], "exec yes");
    pty.expect("y\r\ny\r\n");
    pty.press("\x03");
    let reader = std::thread::spawn(move || (pty.seen().len(), pty));
    assert_eq!(ended(&mut child).code(), Some(130));
    let (_, pty) = reader.join().unwrap();
    assert_eq!(pty.settings(), before, "after a flood");
}

//! `corten-namespaces run`: mounts, devices, rights, limits, and what a program starts with.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use lab::{Lab, ended, finish, run, run_command};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[corten_tier::t1]
fn volumes_are_shown_and_read_only_ones_are_so_all_the_way_down() {
    let lab = Lab::new();
    let data = lab.outside().join("data");
    fs::create_dir_all(data.join("below")).unwrap();
    fs::write(data.join("file"), "of the host\n").unwrap();
    let flags = nix::mount::MsFlags::empty();
    let below = data.join("below");
    nix::mount::mount(Some("below"), &below, Some("tmpfs"), flags, None::<&str>).unwrap();
    fs::write(below.join("file"), "mounted below\n").unwrap();

    let data = data.to_str().unwrap();
    let volume = format!("{data}:/data/here");
    let script = "cat /data/here/file /data/here/below/file; echo new >/data/here/made";
    assert_eq!(lab.run(&["-v", &volume], script).ok(), "of the host\nmounted below");
    assert_eq!(fs::read_to_string(format!("{data}/made")).unwrap(), "new\n");

    let volume = format!("{data}:/data/here:ro");
    for place in ["/data/here/x", "/data/here/below/x"] {
        let ran = lab.run(&["-v", &volume], &format!("echo x >{place}"));
        assert!(ran.err.contains("Read-only file system"), "{place}: {ran:?}");
    }
    // It is not the host's mount that was made read-only.
    fs::write(below.join("still"), "").unwrap();

    let file = format!("{data}/file:/etc/one:ro");
    assert_eq!(lab.run(&["-v", &file], "cat /etc/one").ok(), "of the host");
    let ran = lab.run(&["-v", &file], "echo x >/etc/one");
    assert!(ran.err.contains("Read-only file system"), "{ran:?}");
    nix::mount::umount(&below).unwrap();
}

#[corten_tier::t1]
fn the_root_is_read_only_where_asked_and_tmpfs_is_not() {
    let lab = Lab::new();
    let script = "touch /x; touch /tmp/x && touch /dev/shm/x && grep -c tmpfs /proc/mounts; \
                  stat -c %a /tmp";
    let ran = lab.run(&["--read-only", "--tmpfs", "/tmp"], script);
    assert!(ran.err.contains("touch: /x: Read-only"), "{ran:?}");
    assert!(ran.out.ends_with("\n1777\n"), "{ran:?}");
    assert!(!lab.rootfs().join("tmp/x").exists());
    lab.run(&[], "touch /x").ok();
    assert!(lab.rootfs().join("x").exists());
}

#[corten_tier::t1]
fn what_concerns_the_machine_is_hidden_or_read_only() {
    let lab = Lab::new();
    for options in [&["--caps", "all"][..], &["--caps", "all", "--map-root"]] {
        let ran = lab.run(
            options,
            "cat /proc/interrupts /proc/keys /proc/timer_list 2>/dev/null | wc -c; \
             ls /proc/acpi /sys/firmware /proc/scsi 2>/dev/null | grep -v : | grep -c .; \
             for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/uevent_helper; do \
             echo x 2>/dev/null >$f && echo wrote $f; done; \
             mount -o remount,bind,rw /proc/sys 2>/dev/null && [ $(id -u) = 1 ]; \
             grep -c ' /proc/sys ro' /proc/mounts",
        );
        let lines: Vec<_> = ran.out.lines().collect();
        assert_eq!(lines[..2], ["0", "0"], "{options:?}: {ran:?}");
        assert!(!ran.out.contains("wrote"), "{options:?}: {ran:?}");
    }
}

#[corten_tier::t1]
fn the_devices_are_there_made_or_bound() {
    let lab = Lab::new();
    let script = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done; \
         echo x >/dev/null && head -c 3 /dev/zero | wc -c; head -c 1 /dev/urandom | wc -c; \
         echo x >/dev/full; for l in fd stdin ptmx; do readlink /dev/$l; done; ls /dev/pts; \
         head -c 1 /dev/sda /dev/mem";
    for options in [&[][..], &["--map-root"]] {
        let ran = lab.run(options, script);
        let head: Vec<_> = ran.out.lines().take(6).collect();
        let expected = ["null 1:3", "zero 1:5", "full 1:7", "random 1:8", "urandom 1:9", "tty 5:0"]
            .map(|d| d.split_once(' ').unwrap())
            .map(|(name, number)| format!("/dev/{name} character special file {number} 666"));
        assert_eq!(head, expected, "{options:?}");
        let rest: Vec<_> = ran.out.lines().skip(6).collect();
        assert_eq!(rest, ["3", "1", "/proc/self/fd", "/proc/self/fd/0", "pts/ptmx", "ptmx"]);
        assert!(ran.err.contains("No space left"), "{ran:?}");
        assert!(ran.err.contains("/dev/sda: No such file"), "{ran:?}");
    }
}

#[corten_tier::t1]
fn rights_are_what_was_asked_for() {
    let lab = Lab::new();
    let show = "grep -E 'Cap(Eff|Prm|Bnd|Inh|Amb)|NoNew' /proc/self/status | tr -d '\\t' | sort";
    let sets = |options: &[&str]| {
        let text = lab.run(options, show).ok();
        let value = |name: &str| {
            let line =
                text.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim_start_matches(':');
            u64::from_str_radix(line, 16).unwrap()
        };
        (
            value("CapEff"),
            value("CapPrm"),
            value("CapBnd"),
            value("CapInh") | value("CapAmb"),
            value("NoNewPrivs"),
        )
    };
    let docker = 0xa804_25fb;
    assert_eq!(sets(&[]), (docker, docker, docker, 0, 0));
    assert_eq!(sets(&["--caps", "none", "--no-new-privs"]), (0, 0, 0, 0, 1));
    assert_eq!(sets(&["--caps", "chown,cap_net_raw"]), (0x2001, 0x2001, 0x2001, 0, 0));
    assert_eq!(sets(&["-u", "1000"]), (0, 0, docker, 0, 0));
    assert_eq!(sets(&["--map-root"]), (docker, docker, docker, 0, 0));
    let all = sets(&["--caps", "all"]);
    assert!(all.0 & (1 << 21) != 0 && all.0 == all.2, "{all:?}");

    let ids = lab.run(&["-u", "12:34"], "id; touch /tmp/own; stat -c %u:%g /tmp/own").ok();
    assert_eq!(ids, "uid=12 gid=34\n12:34");
}

#[corten_tier::t1]
fn a_program_starts_with_what_it_was_given_and_nothing_else() {
    let lab = Lab::new();
    let mut command = lab.command(&["-e", "A=b c", "-e", "EMPTY="], &["env"]);
    let text = run_command(command.env("LEAK", "host").stdin(Stdio::null())).ok();
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(lines, ["A=b c", "EMPTY=", path]);
    assert_eq!(lab.run(&["-e", "PATH=/nowhere:/bin"], "echo $PATH").ok(), "/nowhere:/bin");

    assert_eq!(lab.run(&["-w", "/new/deep"], "pwd; stat -c %a .").ok(), "/new/deep\n755");
    assert_eq!(lab.run(&[], "umask; ulimit -n").ok().lines().next(), Some("0022"));
    let limits = lab.run(
        &["--ulimit", "nofile=64:128", "--ulimit", "core=0"],
        "ulimit -Sn; ulimit -Hn; ulimit -c",
    );
    assert_eq!(limits.ok(), "64\n128\n0");
    assert_eq!(
        lab.run(
            &["--hostname", "boxed", "--domainname", "d"],
            "hostname; cat /proc/sys/kernel/domainname"
        )
        .ok(),
        "boxed\nd"
    );
    let net =
        lab.run(&[], "ip -o link | wc -l; ping -c 1 -W 1 127.0.0.1 >/dev/null && echo up").ok();
    assert_eq!(net, "1\nup");

    // No signal is blocked or ignored, whatever we were started with.
    let masks = "grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status | cut -f 2 | sort -u";
    for options in [&[][..], &["--init"]] {
        let mut command = Command::new(lab::busybox());
        command.args(["sh", "-c", "trap '' CHLD TERM PIPE 64; exec \"$@\"", "-"]);
        let run = lab.command(options, &["sh", "-c", masks]);
        command.arg(run.get_program()).args(run.get_args()).stdin(Stdio::null());
        assert_eq!(run_command(&mut command).ok(), "0000000000000000", "{options:?}");
    }
}

/// The kernel collects children itself where SIGCHLD is ignored, as some launchers leave it.
#[corten_tier::t1]
fn the_status_comes_through_although_the_caller_ignores_sigchld() {
    let lab = Lab::new();
    for options in [&[][..], &["--init"]] {
        let ignoring = "trap '' CHLD; exec \"$@\"";
        let mut command = Command::new(lab::busybox());
        command.args(["timeout", "10", "busybox", "sh", "-c", ignoring, "-"]);
        let run = lab.command(options, &["sh", "-c", "exit 5"]);
        command.arg(run.get_program()).args(run.get_args()).stdin(Stdio::null());
        let ran = run_command(&mut command);
        assert_eq!(ran.status, 5, "{options:?}: {ran:?}");
    }
}

#[corten_tier::t1]
fn an_end_by_any_signal_is_told() {
    let lab = Lab::new();
    // Without a pid namespace the program is no pid 1, so signals of its own reach it. The last
    // two are real-time signals, which have no names.
    for (signal, status) in [("TERM", 143), ("ABRT", 134), ("35", 163), ("64", 192)] {
        for options in [&["--net"][..], &["--net", "--init"], &["--init"]] {
            let ran = lab.run(options, &format!("kill -{signal} $$; sleep 5"));
            assert_eq!((ran.status, &*ran.err), (status, ""), "{signal} {options:?}");
        }
    }
}

/// A key of the terminal reaches the whole foreground group; forwarded as well, it would come twice.
#[corten_tier::t1]
fn a_signal_from_the_keyboard_comes_once() {
    let lab = Lab::new();
    let script = "n=0; trap 'n=$((n+1))' INT; trap 'echo count $n; exit 0' TERM; echo ready; \
                  while :; do sleep 0.02; done";
    for (rootfs, options) in [
        (true, &["--init"][..]),
        (true, &[]),
        (false, &["--init"]),
        (false, &[]),
        (false, &["--net"]),
    ] {
        let mut pty = lab::pty::Pty::new(24, 80);
        let mut command = Command::new(lab::busybox());
        command.args(["setsid", "-c"]);
        let argv = ["sh", "-c", script];
        let run = if rootfs {
            lab.command(options, &argv)
        } else {
            let mut command = lab::corten();
            command.arg("run").args(options).arg("--").args(["busybox"]).args(argv);
            command
        };
        command.arg(run.get_program()).args(run.get_args());
        let mut child = command.stdin(pty.stdio()).stdout(pty.stdio()).spawn().unwrap();
        pty.expect("ready");
        pty.press("\x03");
        std::thread::sleep(std::time::Duration::from_millis(150));
        kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
        assert!(ended(&mut child).success());
        pty.expect("count");
        assert!(pty.seen().contains("count 1"), "rootfs {rootfs} {options:?}: {}", pty.seen());
    }
}

#[corten_tier::t1]
fn a_rootfs_is_a_relative_path_or_the_root_itself() {
    let lab = Lab::new();
    let mut command = lab::corten();
    command.current_dir(lab.outside()).args(["run", "--rootfs", "rootfs", "--", "ls", "/bin/sh"]);
    assert_eq!(run_command(&mut command).ok(), "/bin/sh");
    assert_eq!(run(["run", "--rootfs", "/", "--", "/bin/sh", "-c", "echo $$"]).ok(), "1");
    let text = run(["explain", "--rootfs", "/x", "--hostname", "h", "--", "sh"]).ok();
    assert!(
        text.contains("pivot_root(\".\", \".\")") && text.contains("sethostname(\"h\")"),
        "{text}"
    );
}

/// A limit of zero for the user namespaces below one that is made for it: nothing of the machine is
/// changed.
#[corten_tier::t1]
fn forbidden_user_namespaces_are_told() {
    let lab = Lab::new();
    let program = lab::corten();
    let script = format!(
        "echo 0 >/proc/sys/user/max_user_namespaces && {} run --rootfs {} --map-root -- true",
        program.get_program().to_str().unwrap(),
        lab.rootfs().display(),
    );
    let ran = run(["run", "--map-root", "--user", "--", "sh", "-c", &script]);
    assert_eq!(ran.status, 125, "{ran:?}");
    assert!(
        ran.err.contains("clone3 with a user namespace") && ran.err.contains("ENOSPC"),
        "{ran:?}"
    );
    assert!(ran.err.contains("/proc/sys/user/max_*_namespaces"), "{ran:?}");
    assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
}

#[corten_tier::t1]
fn a_pipe_may_close_and_input_may_end() {
    let lab = Lab::new();
    // Without a terminal the program has our pipes themselves.
    let mut child = lab.start(&[], "while echo line; do :; done; echo $? >/tmp/end; exit 4");
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    drop(out);
    let ran = finish(child);
    // SIGPIPE has its default action inside; pid 1 is spared, and sees the error instead.
    assert!(ran.status == 4 || ran.status == 141, "{ran:?}");

    // A terminal inside without one outside: what is piped in is typed.
    let mut command = lab.command(&["-t"], &["sh", "-c", "stty -echo; cat; echo end"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    use std::io::Write;
    child.stdin.take().unwrap().write_all(b"typed\n").unwrap();
    let ran = finish(child);
    assert!(
        ran.status == 0 && ran.out.contains("typed\r\n") && ran.out.contains("end\r\n"),
        "{ran:?}"
    );
}

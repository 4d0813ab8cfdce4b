//! config.json, field by field, as the container sees it.
#![allow(clippy::unwrap_used)]

mod lab;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use lab::{Lab, add_mount, run};
use serde_json::{Value, json};

#[corten_tier::t1]
fn any_version_1_is_accepted_and_no_other() {
    let mut lab = Lab::with_args(&["true"]);
    lab.config["ociVersion"] = json!("1.99.0");
    lab.run().ok();
    lab.config["ociVersion"] = json!("2.0.0");
    assert!(lab.run().failed().contains("ociVersion 2.0.0"));
}

#[corten_tier::t1]
fn the_process_is_as_it_is_described() {
    let mut lab = Lab::shell(
        "id -u; id -g; id -G; pwd; echo $X; umask; cat /proc/self/oom_score_adj; grep NoNewPrivs /proc/self/status | cut -f2; ulimit -c; hostname",
    );
    lab.config["process"]["user"] =
        json!({"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o27});
    lab.config["process"]["cwd"] = json!("/made/here");
    lab.config["process"]["env"] = json!(["PATH=/bin", "X=value"]);
    lab.config["process"]["oomScoreAdj"] = json!(500);
    lab.config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
    lab.config["hostname"] = json!("box");
    let expected = "5\n6\n6 7 8\n/made/here\nvalue\n0027\n500\n1\n0\nbox";
    assert_eq!(lab.run().ok(), expected);
}

#[corten_tier::t1]
fn capabilities_are_the_five_sets() {
    let mut lab = Lab::shell("grep ^Cap /proc/self/status | cut -f2");
    lab.config["process"]["user"] = json!({"uid": 1000, "gid": 1000});
    lab.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_KILL", "CAP_CHOWN"], "permitted": ["CAP_KILL", "CAP_CHOWN"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
    });
    let sets = lab.run().ok();
    let sets: Vec<&str> = sets.lines().collect();
    let (kill, both) = ("0000000000000020", "0000000000000021");
    // Inheritable, permitted, effective, bounding, ambient: after execve a user has what is ambient.
    assert_eq!(sets, [kill, kill, kill, both, kill]);
}

#[corten_tier::t1]
fn unknown_and_unavailable_capabilities_are_ignored_with_a_warning() {
    let mut lab = Lab::with_args(&["true"]);
    lab.config["process"]["capabilities"]["bounding"] = json!(["CAP_KILL", "CAP_FLY"]);
    lab.write();
    let log = lab.base().join("log");
    let mut command = lab.command(&["--log"]);
    run(command.arg(&log).args(["run", lab.id()])).ok();
    let text = fs::read_to_string(log).unwrap();
    let sentence = "ignoring unknown or unavailable capabilities: [CAP_FLY]";
    assert!(text.contains(sentence), "{text}");
}

#[corten_tier::t1]
fn a_limit_above_what_can_be_set_is_cut() {
    let mut lab = Lab::shell("ulimit -n");
    let limit = json!([{"type": "RLIMIT_NOFILE", "soft": 1u64 << 40, "hard": 1u64 << 40}]);
    lab.config["process"]["rlimits"] = limit;
    // With CAP_SYS_RESOURCE the kernel has a limit of its own, and then it is an error.
    let ran = lab.run();
    assert!(
        ran.status == 0 && ran.out.trim().parse::<u64>().is_ok() || ran.err.contains("limit"),
        "{ran:?}"
    );
}

#[corten_tier::t1]
fn mounts_with_their_options() {
    let mut lab = Lab::shell(
        "cat /volume/file; touch /volume/x 2>/dev/null || echo read-only; grep ' /volume ' /proc/self/mounts | cut -d' ' -f4; cat /copied/inside; readlink /link",
    );
    let volume = lab.base().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "content\n").unwrap();
    fs::create_dir(lab.rootfs().join("copied")).unwrap();
    fs::write(lab.rootfs().join("copied/inside"), "copied up\n").unwrap();
    symlink("/some/where", lab.base().join("symlink")).unwrap();
    let source = volume.display().to_string();
    add_mount(
        &mut lab.config,
        json!({"destination": "/volume", "type": "bind", "source": source,
        "options": ["rbind", "rro", "rnosuid", "nodev"]}),
    );
    add_mount(
        &mut lab.config,
        json!({"destination": "/copied", "type": "tmpfs", "source": "tmpfs",
        "options": ["tmpcopyup", "ro"]}),
    );
    let link = lab.base().join("symlink").display().to_string();
    add_mount(
        &mut lab.config,
        json!({"destination": "/link", "type": "bind", "source": link,
        "options": ["bind", "copy-symlink"]}),
    );
    let out = lab.run().ok();
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..2], ["content", "read-only"]);
    assert!(lines[2].starts_with("ro,nosuid,nodev"), "{}", lines[2]);
    assert_eq!(lines[3..], ["copied up", "/some/where"]);
}

#[corten_tier::t1]
fn proc_wants_an_ordinary_directory() {
    let mut lab = Lab::with_args(&["true"]);
    fs::remove_dir(lab.rootfs().join("proc")).unwrap();
    symlink("tmp", lab.rootfs().join("proc")).unwrap();
    let err = lab.run().failed();
    assert!(err.contains("must be mounted on ordinary directory"), "{err}");
    lab.config["mounts"] = json!([]);
    lab.nothing_left();
}

#[corten_tier::t1]
fn ids_of_a_bind_mount_are_mapped() {
    let mut lab = Lab::shell("stat -c %u:%g /volume/file");
    let volume = lab.base().join("volume");
    fs::create_dir(&volume).unwrap();
    fs::write(volume.join("file"), "").unwrap();
    std::os::unix::fs::chown(volume.join("file"), Some(1000), Some(1000)).unwrap();
    let maps = json!([{"containerID": 1000, "hostID": 2000, "size": 1}]);
    add_mount(
        &mut lab.config,
        json!({"destination": "/volume", "type": "bind", "source": volume,
        "options": ["bind"], "uidMappings": maps, "gidMappings": maps}),
    );
    let ran = lab.run();
    // Not every file system can.
    assert!(ran.out.trim() == "2000:2000" || ran.err.contains("cannot have mapped ids"), "{ran:?}");
}

#[corten_tier::t1]
fn masked_and_read_only_paths() {
    let mut lab = Lab::shell(
        "wc -c < /proc/version; ls /sys/kernel | wc -l; echo 1 2>/dev/null > /proc/sys/kernel/domainname || echo read-only; touch /root/x 2>/dev/null || echo read-only",
    );
    lab.config["linux"]["maskedPaths"] = json!(["/proc/version", "/sys/kernel", "/not/there"]);
    lab.config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/root"]);
    assert_eq!(lab.run().ok(), "0\n0\nread-only\nread-only");
}

#[corten_tier::t1]
fn devices_and_links_in_dev() {
    let mut lab = Lab::shell(
        "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done; for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done; stat -c '%F %t:%T %a %u:%g' /dev/own /dev/pipe; echo x > /dev/null && echo writable",
    );
    lab.config["linux"]["devices"] = json!([
        {"path": "/dev/own", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]);
    let expected = "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n/dev/tty 5:0 666\n/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx\ncharacter special file 1:5 640 3:4\nfifo 0:0 600 0:0\nwritable";
    assert_eq!(lab.run().ok(), expected);
}

#[corten_tier::t1]
fn a_user_namespace_with_maps() {
    let mut lab = Lab::shell(
        "id -u; cat /proc/self/uid_map | tr -s ' '; echo x > /dev/null; stat -c %u /etc/passwd",
    );
    fs::set_permissions(lab.base(), fs::Permissions::from_mode(0o755)).unwrap();
    for (path, _) in [("bundle", 0), ("bundle/rootfs", 0), ("bundle/rootfs/etc/passwd", 0)] {
        std::os::unix::fs::chown(lab.base().join(path), Some(100_000), Some(100_000)).unwrap();
    }
    for directory in ["proc", "dev", "sys", "etc", "tmp"] {
        let path = lab.rootfs().join(directory);
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    lab.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
    lab.config["linux"]["uidMappings"] = maps.clone();
    lab.config["linux"]["gidMappings"] = maps;
    assert_eq!(lab.run().ok(), "0\n 0 100000 65536\n0");
}

#[corten_tier::t1]
fn a_namespace_is_joined_by_its_path() {
    let first = Lab::with_args(&["sleep", "1000"]);
    first.create().ok();
    first.verb(&["start"]).ok();
    let pid = first.pid();
    let mut second = Lab::shell("hostname; cat /proc/1/comm; readlink /proc/self/ns/net");
    for namespace in second.config["linux"]["namespaces"].as_array_mut().unwrap() {
        let file = match namespace["type"].as_str().unwrap() {
            "uts" => "uts",
            "pid" => "pid",
            "network" => "net",
            _ => continue,
        };
        namespace["path"] = json!(format!("/proc/{pid}/ns/{file}"));
    }
    second.config["hostname"] = json!("");
    let net = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    assert_eq!(second.run().ok(), format!("corten\nsleep\n{}", net.display()));
}

#[corten_tier::t1]
fn clocks_are_moved() {
    let mut lab = Lab::shell("cut -d. -f1 /proc/uptime");
    lab.config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
    lab.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000, "nanosecs": 0}});
    assert!(lab.run().ok().parse::<u64>().unwrap() >= 1_000_000);
}

#[corten_tier::t1]
fn kernel_parameters_of_own_namespaces() {
    let mut lab = Lab::shell("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni");
    lab.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "777"});
    assert_eq!(lab.run().ok(), "1\n777");
    lab.config["linux"]["sysctl"] = json!({"vm.swappiness": "1"});
    assert!(lab.run().failed().contains("would change the host"));
}

#[corten_tier::t1]
fn a_filter_decides_over_system_calls() {
    let mut lab = Lab::shell("mkdir /tmp/x 2>&1; chmod 700 /tmp 2>&1 && echo allowed");
    lab.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
    });
    for no_new_privileges in [true, false] {
        lab.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        let out = lab.run().ok();
        assert_eq!(out, "mkdir: can't create directory '/tmp/x': No space left on device\nallowed");
    }
}

/// Whatever a runtime does before execve, a profile need not allow it.
#[corten_tier::t1]
fn a_filter_need_allow_the_program_only() {
    let mut lab = Lab::with_args(&["true"]);
    let names = [
        "execve",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "readlinkat",
        "getrandom",
        "mprotect",
        "exit",
        "exit_group",
        "uname",
        "access",
        "fstat",
        "newfstatat",
        "getuid",
        "prctl",
        "mmap",
    ];
    for no_new_privileges in [true, false] {
        lab.config["process"]["noNewPrivileges"] = json!(no_new_privileges);
        lab.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_KILL_PROCESS",
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        });
        lab.run().ok();
    }
}

#[corten_tier::t1]
fn hooks_of_six_kinds_run_in_order_with_the_state() {
    let mut lab = Lab::shell("echo container");
    let log = lab.base().join("hooks");
    let hook = |kind: &str, path: &str| {
        json!({"path": path, "args": ["sh", "-c", format!(
            "state=$(cat); echo {kind} $(echo \"$state\" | grep -o '\"status\":\"[a-z]*\"') >> {}", log.display()
        )], "env": ["PATH=/bin:/usr/bin"]})
    };
    // Two kinds run in the container, where the log is by a bind mount.
    fs::write(&log, "").unwrap();
    add_mount(
        &mut lab.config,
        json!({"destination": log, "type": "bind", "source": log, "options": ["bind"]}),
    );
    let mut hooks = serde_json::Map::new();
    for kind in
        ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    {
        hooks.insert(kind.to_owned(), json!([hook(kind, "/bin/sh")]));
    }
    lab.config["hooks"] = Value::Object(hooks);
    lab.create().ok();
    lab.verb(&["start"]).ok();
    lab.wait_for("stopped");
    lab.verb(&["delete"]).ok();
    let expected = "prestart \"status\":\"created\"\ncreateRuntime \"status\":\"creating\"\ncreateContainer \"status\":\"creating\"\nstartContainer \"status\":\"created\"\npoststart \"status\":\"running\"\npoststop \"status\":\"stopped\"\n";
    assert_eq!(fs::read_to_string(&log).unwrap(), expected);
}

#[corten_tier::t1]
fn a_failing_hook_stops_the_container() {
    for kind in ["prestart", "createRuntime", "createContainer"] {
        let mut lab = Lab::shell("echo ran");
        lab.config["hooks"] =
            json!({kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo no >&2; exit 3"]}]});
        let err = lab.create().failed();
        assert!(err.contains(kind) && err.contains("exit status 3: no"), "{err}");
        lab.nothing_left();
    }
    let mut lab = Lab::shell("echo ran");
    lab.config["hooks"] = json!({"startContainer": [{"path": "/bin/false"}]});
    lab.create().ok();
    assert!(lab.verb(&["start"]).failed().contains("startContainer hook"));
    lab.wait_for("stopped");
    assert_eq!(lab.output(), "");
}

#[corten_tier::t1]
fn a_hook_that_takes_too_long_is_killed() {
    let mut lab = Lab::with_args(&["true"]);
    let pid = std::env::temp_dir().join(format!("corten-hook-{}", std::process::id()));
    // What the hook has started goes with it.
    let script = format!("sleep 100 & echo $! >{}; wait", pid.display());
    lab.config["hooks"] =
        json!({"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 1}]});
    let err = lab.create().failed();
    assert!(err.contains("timeout of 1 s"), "{err}");
    let started = fs::read_to_string(&pid).unwrap();
    fs::remove_file(&pid).unwrap();
    let stat = fs::read_to_string(format!("/proc/{}/stat", started.trim()));
    assert!(stat.is_err() || stat.unwrap().contains(") Z "), "the hook's child runs on");
    lab.nothing_left();
}

#[corten_tier::t1]
fn limits_of_control_groups_are_set() {
    let mut lab = Lab::with_args(&["sleep", "1000"]);
    lab.config["linux"]["resources"] = json!({"memory": {"limit": 32 << 20}, "pids": {"limit": 9}});
    lab.create().ok();
    let event: Value = serde_json::from_str(&lab.verb(&["events", "--stats"]).ok()).unwrap();
    assert_eq!(event["data"]["memory"]["usage"]["limit"], 32 << 20);
    assert_eq!(event["data"]["pids"]["limit"], 9);
}

#[corten_tier::t1]
fn devices_that_are_not_allowed_cannot_be_opened() {
    // mknod is allowed for all; opening is not.
    let mut lab = Lab::shell(
        "mknod /tmp/kmsg c 1 11 && head -c 1 /tmp/kmsg 2>&1; head -c 1 /dev/zero | wc -c",
    );
    for set in ["bounding", "permitted", "effective"] {
        lab.config["process"]["capabilities"][set] = json!(["CAP_MKNOD"]);
    }
    let out = lab.run().ok();
    assert!(out.contains("Operation not permitted") && out.ends_with('1'), "{out}");
}

#[corten_tier::t1]
fn descriptors_are_handed_on_only_as_asked() {
    let lab = Lab::shell("cat <&3; { cat <&4; } 2>/dev/null || echo closed");
    lab.write();
    fs::write(lab.base().join("three"), "three\n").unwrap();
    let script = format!(
        "exec 3<{0}/three 4<{0}/three; exec {1} --root {2} run --preserve-fds 1 {3}",
        lab.base().display(),
        lab.runtime.display(),
        lab.state_root().display(),
        lab.id()
    );
    let mut command = std::process::Command::new("sh");
    let ran = run(command.args(["-c", &script]).current_dir(lab.bundle()));
    assert_eq!((ran.status, ran.out.trim_end()), (0, "three\nclosed"), "{ran:?}");
}

#[corten_tier::t1]
fn the_console_is_a_terminal_of_the_container() {
    let mut lab =
        Lab::shell("tty; stat -c %t:%T /dev/console /dev/pts/0 | uniq | wc -l; stty size");
    lab.config["process"]["terminal"] = json!(true);
    lab.config["process"]["consoleSize"] = json!({"height": 33, "width": 99});
    let ran = lab.run();
    let out: Vec<String> = ran.out.lines().map(|line| line.trim_end().to_owned()).collect();
    assert_eq!(out[..2], ["/dev/pts/0", "1"], "{ran:?}");
    assert_eq!(ran.status, if out.last().unwrap() == "33 99" { 0 } else { ran.status });
}

#[corten_tier::t1]
fn the_state_file_is_the_owner_s() {
    let lab = Lab::with_args(&["sleep", "1000"]);
    lab.create().ok();
    let metadata = fs::metadata(lab.state_root().join(lab.id()).join("state.json")).unwrap();
    assert_eq!((metadata.mode() & 0o777, metadata.uid()), (0o600, 0));
}

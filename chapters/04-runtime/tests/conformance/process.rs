//! `process` of config.json.

use serde_json::json;

use crate::rig::{Container, is, skip};

#[corten_tier::t1]
fn arguments_and_their_quoting() {
    let mut container = Container::new();
    container.set("/process/args", ["/bin/printf", "<%s>", "a b", "", "c\"d"]);
    assert_eq!(container.output(), "<a b><><c\"d>");
}

#[corten_tier::t1]
fn the_working_directory() {
    let mut container = Container::script("pwd");
    container.set("/process/cwd", "/tmp");
    assert_eq!(container.output(), "/tmp\n");
}

#[corten_tier::t1]
fn a_working_directory_that_is_missing_is_made() {
    let mut container = Container::script("pwd");
    container.set("/process/cwd", "/a/new/one");
    assert_eq!(container.output(), "/a/new/one\n");
}

#[corten_tier::t1]
fn a_relative_working_directory_is_refused() {
    let mut container = Container::new();
    container.set("/process/cwd", "tmp");
    container.refused();
}

#[corten_tier::t1]
fn the_environment_is_that_of_the_configuration() {
    let mut container = Container::script("env");
    container.set("/process/env", ["PATH=/bin", "A=1", "B=x=y", "EMPTY="]);
    let output = container.output();
    let has = |line: &str| assert!(output.lines().any(|l| l == line), "{line}: {output}");
    has("PATH=/bin");
    has("A=1");
    has("B=x=y");
    has("EMPTY=");
}

#[corten_tier::t1]
fn a_program_is_searched_for_in_path() {
    let mut container = Container::new();
    container.set("/process/args", ["echo", "found"]);
    container.set("/process/env", ["PATH=/nowhere:/bin"]);
    assert_eq!(container.output(), "found\n");
}

#[corten_tier::t1]
fn user_and_group() {
    let mut container = Container::script("id -u; id -g");
    container.set("/process/user", json!({"uid": 1234, "gid": 5678}));
    assert_eq!(container.output(), "1234\n5678\n");
}

#[corten_tier::t1]
fn additional_groups_are_these_and_no_others() {
    let mut container = Container::script("id -G");
    container.set("/process/user", json!({"uid": 10, "gid": 10, "additionalGids": [5, 20, 300]}));
    let output = container.output();
    let mut groups: Vec<&str> = output.split_whitespace().collect();
    groups.sort_unstable();
    assert_eq!(groups, ["10", "20", "300", "5"]);
}

#[corten_tier::t1]
fn the_umask() {
    let mut container = Container::script("umask");
    container.set("/process/user/umask", 0o027);
    assert_eq!(container.output(), "0027\n");
}

#[corten_tier::t1]
fn the_umask_is_022_by_default() {
    assert_eq!(Container::script("umask").output(), "0022\n");
}

#[corten_tier::t1]
fn resource_limits() {
    let mut container = Container::script("cat /proc/self/limits");
    let limit =
        |kind: &str, soft: u64, hard: u64| json!({"type": kind, "soft": soft, "hard": hard});
    container.set(
        "/process/rlimits",
        [
            limit("RLIMIT_NOFILE", 256, 512),
            limit("RLIMIT_CORE", 0, 4096),
            limit("RLIMIT_CPU", 120, 240),
            limit("RLIMIT_FSIZE", 1 << 20, 1 << 21),
            limit("RLIMIT_STACK", 1 << 20, 1 << 23),
            limit("RLIMIT_NPROC", 100, 200),
        ],
    );
    let output = container.output();
    let values = |name: &str| -> Vec<String> {
        let line = output.lines().find(|line| line.starts_with(name)).unwrap();
        line[name.len()..].split_whitespace().take(2).map(str::to_owned).collect()
    };
    assert_eq!(values("Max open files"), ["256", "512"]);
    assert_eq!(values("Max core file size"), ["0", "4096"]);
    assert_eq!(values("Max cpu time"), ["120", "240"]);
    assert_eq!(values("Max file size"), ["1048576", "2097152"]);
    assert_eq!(values("Max stack size"), ["1048576", "8388608"]);
    assert_eq!(values("Max processes"), ["100", "200"]);
}

#[corten_tier::t1]
fn an_unknown_resource_limit_is_refused() {
    let mut container = Container::new();
    container.set("/process/rlimits", [json!({"type": "RLIMIT_TEST", "soft": 1, "hard": 1})]);
    container.refused();
}

#[corten_tier::t1]
fn a_resource_limit_twice_is_refused() {
    let mut container = Container::new();
    let limit = json!({"type": "RLIMIT_CORE", "soft": 1, "hard": 1});
    container.set("/process/rlimits", [limit.clone(), limit]);
    container.refused();
}

/// Some hosts have a root without CAP_SYS_RESOURCE; a container can be had there all the same.
#[corten_tier::t1]
fn a_limit_that_cannot_be_raised_is_no_failure() {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap();
    let effective = u64::from_str_radix(effective.trim(), 16).unwrap();
    if effective >> 24 & 1 == 1 {
        return skip("root has CAP_SYS_RESOURCE here");
    }
    let limits = std::fs::read_to_string("/proc/thread-self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let hard: u64 = line.split_whitespace().nth(4).unwrap().parse().unwrap();
    let mut container = Container::script("ulimit -Hn");
    let limit = json!({"type": "RLIMIT_NOFILE", "soft": hard + 1, "hard": hard + 1});
    container.set("/process/rlimits", [limit]);
    assert_eq!(container.output(), format!("{hard}\n"));
}

#[corten_tier::t1]
fn the_oom_score() {
    let mut container = Container::script("cat /proc/self/oom_score_adj");
    container.set("/process/oomScoreAdj", 300);
    assert_eq!(container.output(), "300\n");
}

#[corten_tier::t1]
fn the_oom_score_is_inherited_by_default() {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    assert_eq!(Container::script("cat /proc/self/oom_score_adj").output(), own);
}

#[corten_tier::t1]
fn no_new_privileges() {
    for (set, expected) in [(true, "1"), (false, "0")] {
        let mut container = Container::script("grep NoNewPrivs /proc/self/status");
        container.set("/process/noNewPrivileges", set);
        assert_eq!(container.output(), format!("NoNewPrivs:\t{expected}\n"));
    }
}

#[corten_tier::t1]
fn the_io_priority() {
    for (class, level, said) in [
        ("IOPRIO_CLASS_RT", 1, "realtime: prio 1"),
        ("IOPRIO_CLASS_BE", 2, "best-effort: prio 2"),
        ("IOPRIO_CLASS_IDLE", 3, "idle"),
    ] {
        let mut container = Container::script("ionice -p $$");
        container.set("/process/ioPriority", json!({"class": class, "priority": level}));
        assert_eq!(container.output(), format!("{said}\n"));
    }
}

#[corten_tier::t1]
fn an_unknown_io_priority_class_is_refused() {
    let mut container = Container::new();
    container.set("/process/ioPriority", json!({"class": "IOPRIO_CLASS_X", "priority": 1}));
    container.refused();
}

/// policy and nice value from /proc/self/stat: fields 41 and 19.
const STAT: &str = "set -- $(sed 's/.*) //' /proc/$$/stat); shift 16; echo $1; shift 22; echo $1";

#[corten_tier::t1]
fn the_scheduler() {
    for (policy, nice, said) in [("SCHED_OTHER", 7, "7\n0\n"), ("SCHED_BATCH", 5, "5\n3\n")] {
        let mut container = Container::script(STAT);
        container.set("/process/scheduler", json!({"policy": policy, "nice": nice}));
        assert_eq!(container.output(), said, "{policy}");
    }
    let mut container = Container::script(STAT);
    container.set("/process/scheduler", json!({"policy": "SCHED_IDLE"}));
    assert!(container.output().ends_with("\n5\n"));
}

#[corten_tier::t1]
fn an_invalid_scheduler_is_refused() {
    let mut container = Container::new();
    container.set("/process/scheduler", json!({"policy": "SCHED_NOSUCH"}));
    container.refused();
    container.set("/process/scheduler", json!({"policy": "SCHED_OTHER", "nice": 42}));
    container.refused();
}

#[corten_tier::t1]
fn standard_input_output_and_error_are_the_callers() {
    let mut container = Container::script("echo out; echo err >&2");
    container.started();
    container.wait_for("stopped");
    assert_eq!(container.written(), "out\n");
    assert_eq!(crate::rig::read(&container.outside().join("create.err")), "err\n");
}

#[corten_tier::t1]
fn no_descriptor_of_the_runtime_is_left_open() {
    let mut container = Container::script("ls /proc/self/fd");
    assert_eq!(container.output(), "0\n1\n2\n3\n", "3 is the directory that ls reads");
}

/// Runs `create` with descriptor 3 open, by the host's shell.
fn create_with_descriptor_3(container: &mut Container, preserve: &str) {
    container.write();
    let file = container.outside().join("kept");
    std::fs::write(&file, "kept\n").unwrap();
    let mut command = std::process::Command::new("/bin/sh");
    command.arg("-c").arg("exec \"$@\" 3< \"$0\"").arg(&file).arg(crate::rig::runtime());
    command.arg("--root").arg(container.root()).args(["create", "--preserve-fds", preserve]);
    command.arg("--bundle").arg(container.bundle()).arg(&container.id);
    let out = std::fs::File::create(container.outside().join("create.out")).unwrap();
    let done = command.stdin(std::process::Stdio::null()).stdout(out).status().unwrap();
    assert!(done.success());
    container.start();
    container.wait_for("stopped");
}

#[corten_tier::t1]
fn a_descriptor_is_handed_on_with_preserve_fds() {
    let mut container = Container::script("cat <&3");
    create_with_descriptor_3(&mut container, "1");
    assert_eq!(container.written(), "kept\n");
    container.delete();
}

#[corten_tier::t1]
fn a_descriptor_is_closed_without_preserve_fds() {
    let mut container = Container::script("ls /proc/self/fd");
    create_with_descriptor_3(&mut container, "0");
    assert_eq!(container.written(), "0\n1\n2\n3\n");
    container.delete();
}

#[corten_tier::t1]
fn a_number_of_preserved_descriptors_that_are_not_open_is_no_failure() {
    if is("runc") {
        return skip("runc demands that they are open");
    }
    let mut container = Container::script("ls /proc/self/fd");
    container.create_with(&["--preserve-fds", "1000"]).ok();
    container.start();
    container.wait_for("stopped");
    let mut left: Vec<i32> =
        container.written().lines().map(|line| line.parse().unwrap()).collect();
    left.sort_unstable();
    let handed_on = crate::rig::inherited();
    left.retain(|number| !handed_on.contains(number));
    assert_eq!(left, [0, 1, 2, 3]);
}

#[corten_tier::t1]
fn a_process_without_a_terminal_has_none() {
    assert_eq!(Container::script("[ -t 0 ] || echo none").output(), "none\n");
}

#[corten_tier::t1]
fn a_terminal_needs_a_console_socket() {
    let mut container = Container::new();
    container.set("/process/terminal", true);
    container.refused();
}

#[corten_tier::t1]
fn a_console_socket_gets_the_terminal() {
    let mut container = Container::script("stty size; tty");
    container.set("/process/terminal", true);
    container.set("/process/consoleSize", json!({"height": 33, "width": 44}));
    let socket = container.outside().join("console");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    container.write();
    container.create_with(&["--console-socket", socket.to_str().unwrap()]).ok();
    let (stream, _) = listener.accept().unwrap();
    let mut master = crate::rig::sys::receive(&stream);
    container.start();
    container.wait_for("stopped");
    let mut text = Vec::new();
    // The other side is closed, which a terminal tells by EIO.
    let _ = std::io::Read::read_to_end(&mut master.remove(0), &mut text);
    let text = String::from_utf8_lossy(&text).replace('\r', "");
    assert!(text.starts_with("33 44\n/dev/"), "{text}");
}

#[corten_tier::t1]
fn a_console_socket_without_a_terminal_is_refused() {
    let mut container = Container::new();
    let socket = container.outside().join("console");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    container.create_with(&["--console-socket", socket.to_str().unwrap()]).failed();
}

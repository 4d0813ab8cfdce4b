//! Seccomp.

use serde_json::{Value, json};

use crate::rig::{Container, is, skip};

fn filter(syscalls: Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls})
}

fn filtered(script: &str, syscalls: Value) -> Container {
    let mut container = Container::script(script);
    container.set("/linux/seccomp", filter(syscalls));
    container
}

#[corten_tier::t1]
fn errno_refuses_with_eperm() {
    let script = "mkdir /d 2>&1 | grep -o 'Operation not permitted'";
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    assert_eq!(filtered(script, rule).output(), "Operation not permitted\n");
}

#[corten_tier::t1]
fn errno_with_a_number() {
    let script = "mkdir /d 2>&1 | grep -o 'Read-only file system'";
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 30}]);
    assert_eq!(filtered(script, rule).output(), "Read-only file system\n");
}

/// Nothing that the runtime does between loading the filter and execve may be caught by it.
#[corten_tier::t1]
fn getcwd_can_be_refused() {
    let rule = json!([{"names": ["getcwd"], "action": "SCMP_ACT_ERRNO"}]);
    let mut container =
        filtered("unset PWD; cd /tmp; /bin/busybox pwd || echo refused", rule.clone());
    container.set("/process/args", ["/bin/pwd"]);
    container.started();
    container.wait_for("stopped");
    let said = crate::rig::read(&container.outside().join("create.err"));
    assert!(said.contains("getcwd") || said.contains("pwd"), "{said}");
    assert_eq!(container.written(), "");
    let mut container = filtered("echo runs", rule);
    container.set("/process/noNewPrivileges", true);
    assert_eq!(container.output(), "runs\n");
}

#[corten_tier::t1]
fn everything_is_refused_but_what_a_program_needs() {
    let needs = [
        "execve",
        "brk",
        "mmap",
        "mprotect",
        "munmap",
        "arch_prctl",
        "set_tid_address",
        "write",
        "writev",
        "exit_group",
        "exit",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlinkat",
        "readlink",
        "getrandom",
        "getuid",
        "geteuid",
        "getpid",
        "fstat",
        "newfstatat",
        "ioctl",
        "prctl",
        "uname",
        "rt_sigprocmask",
        "rt_sigaction",
        "dup",
        "dup2",
        "dup3",
        "fcntl",
        "close",
        "futex",
        "read",
        "openat",
        "access",
        "sigaltstack",
        "getgid",
        "getegid",
        "poll",
        "set_thread_area",
    ];
    let mut container = Container::new();
    container.set("/process/args", ["/bin/echo", "narrow"]);
    let rule = json!({"names": needs.to_vec(), "action": "SCMP_ACT_ALLOW"});
    container.set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}));
    assert_eq!(container.output(), "narrow\n");
}

/// The status with which a program ends that makes a directory.
fn ended(action: &str) -> Option<i32> {
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": action}]);
    let mut container = filtered("mkdir /d; echo $?", rule);
    container.started();
    container.wait_for("stopped");
    container.written().trim().parse().ok()
}

#[corten_tier::t1]
fn kill_actions_end_the_process() {
    // 128 and SIGSYS, as the shell tells it.
    for action in
        ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"]
    {
        assert_eq!(ended(action), Some(159), "{action}");
    }
}

#[corten_tier::t1]
fn log_and_allow_let_it_pass() {
    for action in ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"] {
        assert_eq!(ended(action), Some(0), "{action}");
    }
}

#[corten_tier::t1]
fn trace_without_a_tracer_is_not_implemented() {
    let script = "mkdir /d 2>&1 | grep -o 'Function not implemented'";
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_TRACE"}]);
    assert_eq!(filtered(script, rule).output(), "Function not implemented\n");
}

/// chmod(2)'s mode is argument 1; fchmodat's is argument 2.
fn chmod_refused(operator: &str, value: u64, value_two: u64, modes: &[u32]) -> Vec<bool> {
    let tries: String = modes
        .iter()
        .map(|mode| format!("chmod {mode:o} /etc 2>/dev/null && echo passes || echo refused; "))
        .collect();
    let argument = |index: u32| json!([{"index": index, "value": value, "valueTwo": value_two, "op": operator}]);
    let rules = json!([
        {"names": ["chmod", "fchmod"], "action": "SCMP_ACT_ERRNO", "args": argument(1)},
        {"names": ["fchmodat"], "action": "SCMP_ACT_ERRNO", "args": argument(2)}
    ]);
    filtered(&tries, rules).output().lines().map(|line| line == "refused").collect()
}

#[corten_tier::t1]
fn arguments_are_compared() {
    let modes = [0o700, 0o711, 0o722];
    for (operator, refused) in [
        ("SCMP_CMP_EQ", [false, true, false]),
        ("SCMP_CMP_NE", [true, false, true]),
        ("SCMP_CMP_LT", [true, false, false]),
        ("SCMP_CMP_LE", [true, true, false]),
        ("SCMP_CMP_GT", [false, false, true]),
        ("SCMP_CMP_GE", [false, true, true]),
    ] {
        assert_eq!(chmod_refused(operator, 0o711, 0, &modes), refused, "{operator}");
    }
}

#[corten_tier::t1]
fn a_masked_argument_is_compared() {
    let modes = [0o700, 0o711, 0o712];
    assert_eq!(chmod_refused("SCMP_CMP_MASKED_EQ", 0o011, 0o011, &modes), [false, true, false]);
}

/// Conditions on two arguments, of which the first is a pointer or a directory: not 0, or 0.
#[corten_tier::t1]
fn conditions_on_two_arguments_must_both_hold() {
    for (operator, refused) in [("SCMP_CMP_NE", "refused\n"), ("SCMP_CMP_EQ", "passes\n")] {
        let arguments = |mode: u32| {
            json!([
                {"index": 0, "value": 0, "op": operator},
                {"index": mode, "value": 0o711, "op": "SCMP_CMP_EQ"}
            ])
        };
        let rules = json!([
            {"names": ["chmod"], "action": "SCMP_ACT_ERRNO", "args": arguments(1)},
            {"names": ["fchmodat"], "action": "SCMP_ACT_ERRNO", "args": arguments(2)}
        ]);
        let script =
            "for m in 700 711; do chmod $m /etc 2>/dev/null && echo passes || echo refused; done";
        assert_eq!(filtered(script, rules).output(), format!("passes\n{refused}"), "{operator}");
    }
}

#[corten_tier::t1]
fn an_unknown_system_call_name_is_ignored() {
    let rule = json!([{"names": ["no_such_call", "mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    assert_eq!(filtered("mkdir /d 2>/dev/null || echo refused", rule).output(), "refused\n");
}

#[corten_tier::t1]
fn unknown_actions_operators_and_architectures_are_refused() {
    filtered("true", json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOSUCH"}])).refused();
    let arguments = json!([{"index": 0, "value": 1, "op": "SCMP_CMP_NOSUCH"}]);
    filtered("true", json!([{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": arguments}]))
        .refused();
    let mut container = filtered("true", json!([]));
    container.set("/linux/seccomp/architectures", ["SCMP_ARCH_NOSUCH"]);
    container.refused();
}

#[corten_tier::t1]
fn architectures_and_flags() {
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    let mut container = filtered("mkdir /d 2>/dev/null || echo refused", rule);
    container.set(
        "/linux/seccomp/architectures",
        ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    );
    container
        .set("/linux/seccomp/flags", ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    assert_eq!(container.output(), "refused\n");
}

#[corten_tier::t1]
fn it_works_for_another_user_without_new_privileges() {
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]);
    let mut container = filtered("grep Seccomp: /proc/self/status", rule);
    container.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    container.set("/process/noNewPrivileges", true);
    container.set("/process/capabilities", json!({}));
    assert_eq!(container.output(), "Seccomp:\t2\n");
}

#[corten_tier::t1]
fn a_listener_gets_the_notifications() {
    if is("runc") {
        return skip("runc of the distribution sends no listener");
    }
    let rule = json!([{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}]);
    let mut container = filtered("mkdir /d 2>&1 | grep -o 'Function not implemented'", rule);
    let path = container.outside().join("agent");
    container.set("/linux/seccomp/listenerPath", &path);
    container.set("/linux/seccomp/listenerMetadata", "some metadata");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let agent = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        crate::rig::sys::receive_with_text(&stream)
    });
    container.create();
    let pid = container.pid();
    container.start();
    let (files, text) = agent.join().unwrap();
    assert_eq!(files.len(), 1, "{text}");
    let state: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(state["fds"], json!(["seccompFd"]));
    assert_eq!(state["pid"], json!(pid));
    assert_eq!(state["metadata"], "some metadata");
    assert_eq!(state["state"]["id"], json!(container.id));
    // With the listener closed, the calls that wait for it fail.
    drop(files);
    container.wait_for("stopped");
    assert_eq!(container.written(), "Function not implemented\n");
}

#[corten_tier::t1]
fn notification_without_a_listener_path_is_refused() {
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
    filtered("true", rule).refused();
}

#[corten_tier::t1]
fn a_listener_that_is_not_there_is_an_error() {
    let rule = json!([{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]);
    let mut container = filtered("true", rule);
    container.set("/linux/seccomp/listenerPath", "/no/such/agent");
    let done = container.create_with(&[]);
    let done = if done.status.success() { container.call(&["start", &container.id]) } else { done };
    done.failed();
}

#[corten_tier::t1]
fn notification_cannot_be_the_default() {
    let mut container = filtered("true", json!([]));
    container.set("/linux/seccomp/defaultAction", "SCMP_ACT_NOTIFY");
    container.set("/linux/seccomp/listenerPath", "/no/such/agent");
    container.refused();
}

//! `exec`: further processes in a running container.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::capability::parse;
use crate::rig::{Container, read, runtime, skip};

fn running() -> Container {
    let mut container = Container::sleeper();
    container.started();
    container
}

#[corten_tier::t1]
fn a_command_runs_in_the_container() {
    let container = running();
    assert_eq!(container.exec(&["cat", "/proc/1/comm"]), "sleep\n");
    assert_eq!(container.exec(&["hostname"]), "conformance\n");
}

#[corten_tier::t1]
fn its_exit_status_is_that_of_exec() {
    let done = running().exec_with(&[], &["sh", "-c", "exit 9"]);
    assert_eq!(done.status.code(), Some(9), "{done:?}");
}

#[corten_tier::t1]
fn a_command_that_is_not_there_is_an_error() {
    let done = running().exec_with(&[], &["no-such-command"]).failed();
    assert!(done.stderr.contains("no-such-command"), "{done:?}");
}

#[corten_tier::t1]
fn exec_in_a_container_that_does_not_run_fails() {
    let mut container = Container::new();
    container.call(&["exec", "nothing", "true"]).failed();
    container.output();
    container.exec_with(&[], &["true"]).failed();
}

#[corten_tier::t1]
fn it_is_in_all_namespaces_and_groups_of_the_container() {
    let container = running();
    for kind in ["pid", "net", "ipc", "uts", "mnt", "cgroup"] {
        let link = format!("/proc/self/ns/{kind}");
        let own = fs::read_link(format!("/proc/{}/ns/{kind}", container.pid())).unwrap();
        assert_eq!(container.exec(&["readlink", &link]).trim(), own.to_str().unwrap());
    }
    assert_eq!(
        container.exec(&["cat", "/proc/self/cgroup"]),
        container.exec(&["cat", "/proc/1/cgroup"])
    );
}

#[corten_tier::t1]
fn options_of_the_command_line() {
    let container = running();
    let exec =
        |options: &[&str], command: &[&str]| container.exec_with(options, command).ok().stdout;
    assert_eq!(exec(&["--cwd", "/tmp"], &["pwd"]), "/tmp\n");
    assert_eq!(exec(&["--env", "A=b"], &["sh", "-c", "echo $A"]), "b\n");
    assert_eq!(exec(&["--user", "12:34"], &["sh", "-c", "id -u; id -g"]), "12\n34\n");
    assert_eq!(exec(&["--additional-gids", "77"], &["id", "-G"]), "0 77\n");
    let nnp = ["grep", "NoNewPrivs", "/proc/self/status"];
    assert_eq!(exec(&["--no-new-privs"], &nnp), "NoNewPrivs:\t1\n");
}

#[corten_tier::t1]
fn the_environment_is_the_containers_and_can_be_overridden() {
    let mut container = Container::sleeper();
    container.push("/process/env", "FIRST=config");
    container.push("/process/env", "SECOND=config");
    container.started();
    let done = container.exec_with(&["--env", "SECOND=exec"], &["sh", "-c", "echo $FIRST $SECOND"]);
    assert_eq!(done.ok().stdout, "config exec\n");
}

/// A process for `--process`.
fn described(container: &Container, process: &Value) -> String {
    let file = container.outside().join("process.json");
    fs::write(&file, process.to_string()).unwrap();
    file.to_str().unwrap().to_owned()
}

#[corten_tier::t1]
fn a_process_can_be_described_by_a_file() {
    let container = running();
    let process = json!({
        "args": ["sh", "-c", "id -u; pwd; echo $V"], "cwd": "/etc", "user": {"uid": 5, "gid": 5},
        "env": ["PATH=/bin", "V=file"]
    });
    let file = described(&container, &process);
    let done = container.call(&["exec", "--process", &file, &container.id]).ok();
    assert_eq!(done.stdout, "5\n/etc\nfile\n");
}

#[corten_tier::t1]
fn detached_with_a_pid_file() {
    let container = running();
    let file = container.outside().join("pid");
    let options = ["--detach", "--pid-file", file.to_str().unwrap()];
    container.exec_with(&options, &["sleep", "1000"]).ok();
    let pid = read(&file);
    assert!(read(format!("/proc/{pid}/cmdline").as_ref()).contains("sleep"), "{pid}");
}

#[corten_tier::t1]
fn without_capabilities_it_has_none() {
    let mut container = Container::sleeper();
    container
        .set("/process/capabilities", json!({"bounding": [], "effective": [], "permitted": []}));
    container.set("/process/noNewPrivileges", true);
    container.started();
    let status = container.exec(&["cat", "/proc/self/status"]);
    assert!(parse(&status).values().all(|set| set == "0000000000000000"), "{status}");
    assert!(status.contains("NoNewPrivs:\t1"));
}

#[corten_tier::t1]
fn capabilities_can_be_added() {
    let mut container = Container::sleeper();
    container.set("/process/capabilities", json!({}));
    container.started();
    let options = ["--cap", "CAP_KILL", "--cap", "CAP_AUDIT_WRITE"];
    let sets = parse(&container.exec_with(&options, &["cat", "/proc/self/status"]).ok().stdout);
    for name in ["Bnd", "Eff", "Prm"] {
        assert_eq!(sets[name], "0000000020000020", "{name}");
    }
    assert_eq!(
        (sets["Inh"].as_str(), sets["Amb"].as_str()),
        ("0000000000000000", "0000000000000000")
    );
}

#[corten_tier::t1]
fn ambient_capabilities_stay_when_others_are_added() {
    let mut container = Container::sleeper();
    container.set(
        "/process/capabilities",
        json!({
            "bounding": ["CAP_KILL", "CAP_CHOWN", "CAP_SYSLOG"], "inheritable": ["CAP_CHOWN"],
            "permitted": ["CAP_KILL", "CAP_CHOWN"], "effective": [], "ambient": ["CAP_CHOWN"]
        }),
    );
    container.started();
    let sets = parse(&container.exec(&["cat", "/proc/self/status"]));
    assert_eq!(sets["Bnd"], "0000000400000021");
    assert_eq!(
        (sets["Inh"].as_str(), sets["Amb"].as_str()),
        ("0000000000000001", "0000000000000001")
    );
    let done = container.exec_with(&["--cap", "CAP_SYSLOG"], &["cat", "/proc/self/status"]);
    let sets = parse(&done.ok().stdout);
    assert_eq!(sets["Bnd"], "0000000400000021");
    assert_eq!(sets["Eff"], "0000000400000021");
}

#[corten_tier::t1]
fn a_paused_container_refuses_unless_told() {
    let container = running();
    container.call(&["pause", &container.id]).ok();
    container.exec_with(&[], &["true"]).failed();
    let mut command =
        container.command(&["exec", "--ignore-paused", &container.id, "echo", "done"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    container.call(&["resume", &container.id]).ok();
    assert_eq!(String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout), "done\n");
}

#[corten_tier::t1]
fn a_group_that_is_not_below_is_refused() {
    let container = running();
    for group in ["..", "notexistspath", "cpu:notexistspath", "waaaaat:/", "/../.."] {
        let done = container.exec_with(&["--cgroup", group], &["true"]);
        assert!(!done.status.success(), "--cgroup {group}: {done:?}");
    }
    container.exec_with(&["--cgroup", "/"], &["true"]).ok();
}

#[corten_tier::t1]
fn in_the_v2_hierarchy_it_is_at_the_root_of_its_namespace() {
    let container = running();
    if !read("/proc/self/cgroup".as_ref()).contains("0::") {
        return skip("no cgroup v2");
    }
    container.exec(&["grep", "^0::/$", "/proc/self/cgroup"]);
}

#[corten_tier::t1]
fn a_descriptor_is_handed_on() {
    let container = running();
    let file = container.outside().join("kept");
    fs::write(&file, "kept\n").unwrap();
    let mut command = std::process::Command::new("/bin/sh");
    command.arg("-c").arg("exec \"$@\" 3< \"$0\"").arg(&file).arg(runtime());
    command.arg("--root").arg(container.root()).args(["exec", "--preserve-fds=1", &container.id]);
    let output = command.args(["cat", "/proc/self/fd/3"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "kept\n", "{output:?}");
}

#[corten_tier::t1]
fn it_has_the_containers_seccomp_filter() {
    for (no_new_privileges, said) in [(Some(true), "1"), (Some(false), "0"), (None, "0")] {
        let mut container = Container::sleeper();
        container.set("/process/capabilities", json!({}));
        container.remove("/process/noNewPrivileges");
        if let Some(value) = no_new_privileges {
            container.set("/process/noNewPrivileges", value);
        }
        let rule = json!({"names": ["syslog"], "action": "SCMP_ACT_ERRNO"});
        container
            .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
        container.started();
        for process in ["self", "1"] {
            let status = container.exec(&["cat", &format!("/proc/{process}/status")]);
            assert!(status.contains("Seccomp:\t2"), "{process}: {status}");
            assert!(status.contains(&format!("NoNewPrivs:\t{said}")), "{process}: {status}");
        }
    }
}

#[corten_tier::t1]
fn it_adds_no_mounts() {
    let mut container = Container::sleeper();
    container.set("/root/readonly", true);
    container.started();
    let before = container.exec(&["cat", "/proc/self/mountinfo"]);
    assert_eq!(container.exec(&["cat", "/proc/self/mountinfo"]), before);
    let count = |path: &str| before.lines().filter(|l| l.split(' ').nth(4) == Some(path)).count();
    assert_eq!(count("/proc/bus"), 1, "{before}");
}

fn affinity(container: &Container, arguments: &[&str]) -> (String, String) {
    let done = container.call(&[&["--debug", "exec"], arguments].concat());
    assert!(done.status.success(), "{done:?}");
    (done.stdout, done.stderr)
}

/// The second processor, where there is one: an emulated machine has one only.
fn other_processor() -> &'static str {
    let number = std::thread::available_parallelism().map_or(1, usize::from);
    if number > 1 { "1" } else { "0" }
}

#[corten_tier::t1]
fn processor_affinity_from_the_configuration() {
    let mut container = Container::sleeper();
    container.set("/process/execCPUAffinity", json!({"initial": "0", "final": other_processor()}));
    container.started();
    let id = container.id.clone();
    let (out, err) = affinity(&container, &[&id, "grep", "Cpus_allowed_list", "/proc/self/status"]);
    assert_eq!(out, format!("Cpus_allowed_list:\t{}\n", other_processor()));
    assert!(err.contains("affinity: 0x1"), "{err}");
}

#[corten_tier::t1]
fn processor_affinity_from_a_file() {
    let container = running();
    let args = ["grep", "Cpus_allowed_list", "/proc/self/status"];
    let process = |affinity: Value| json!({"args": args, "cwd": "/", "env": ["PATH=/bin"], "execCPUAffinity": affinity});
    let file = described(&container, &process(json!({"initial": "0,1"})));
    let (_, err) = affinity(&container, &["--process", &file, &container.id]);
    assert!(err.contains("affinity: 0x3"), "{err}");
    let file = described(&container, &process(json!({"initial": "0", "final": other_processor()})));
    let (out, err) = affinity(&container, &["--process", &file, &container.id]);
    assert_eq!(out, format!("Cpus_allowed_list:\t{}\n", other_processor()));
    assert!(err.contains("affinity: 0x1"), "{err}");
}

#[corten_tier::t1]
fn an_affinity_that_makes_no_sense_is_refused() {
    let container = running();
    for list in ["x", "5-1", "0-"] {
        let process = json!({"args": ["true"], "cwd": "/", "execCPUAffinity": {"initial": list}});
        let file = described(&container, &process);
        container.call(&["exec", "--process", &file, &container.id]).failed();
    }
}

//! What a container may do and use: limits, capabilities, the filter of system calls, namespaces.

use crate::support::{self, Host, text};

/// What `script` prints in a container that is run with `options`.
fn inside(host: &Host, options: &[&str], script: &str) -> String {
    let args = [&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat();
    host.corten(&args).ok()
}

/// The set of capabilities in a process's status.
const CAPABILITIES: &str = "grep CapBnd /proc/self/status | cut -f2";

#[corten_tier::t1]
fn capabilities_are_docker_s_and_can_be_chosen() {
    let host = Host::with_busybox();
    let set = |options: &[&str]| {
        let text = inside(&host, options, CAPABILITIES);
        u64::from_str_radix(text.trim(), 16).unwrap()
    };
    const USUAL: u64 = 0xa804_25fb;
    const NET_ADMIN: u64 = 1 << 12;
    assert_eq!(set(&[]), USUAL);
    assert_eq!(set(&["--cap-add", "NET_ADMIN"]), USUAL | NET_ADMIN);
    assert_eq!(set(&["--cap-drop", "ALL", "--cap-add", "CAP_NET_ADMIN"]), NET_ADMIN);
    assert_eq!(set(&["--privileged"]) & USUAL, USUAL);
    assert_ne!(set(&["--privileged"]) & (1 << 21), 0, "CAP_SYS_ADMIN");
    host.assert_clean();
}

/// CVE-2022-0185, CVE-2023-32233 and many more need a user namespace, in which their attacker has
/// all rights. Docker's filter makes none.
#[corten_tier::t1]
fn the_usual_filter_forbids_a_user_namespace() {
    let host = Host::with_busybox();
    let script = "unshare -U true 2>/dev/null && echo made || echo refused";
    assert_eq!(inside(&host, &[], script), "refused\n");
    assert_eq!(inside(&host, &["--security-opt", "seccomp=unconfined"], script), "made\n");
    // A profile of the user's own, in Docker's format, by a file.
    let profile = host.path("profile.json");
    std::fs::write(
        &profile,
        r#"{"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]}"#,
    )
    .unwrap();
    let own = format!("seccomp={}", text(&profile));
    let script = "mkdir /x 2>/dev/null && echo made || echo refused";
    assert_eq!(inside(&host, &["--security-opt", &own], script), "refused\n");
    assert_eq!(inside(&host, &[], script), "made\n");
    host.assert_clean();
}

#[corten_tier::t1]
fn limits_are_set_and_hold() {
    let host = Host::with_busybox();
    let quota = "cat /sys/fs/cgroup/cpu.max /sys/fs/cgroup/cpu/cpu.cfs_quota_us 2>/dev/null; true";
    assert!(inside(&host, &["--cpus", "0.5"], quota).starts_with("50000"));
    // Those that sleep do not hold grep's pipe, and end with their namespace.
    let fork = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 >/dev/null 2>&1 & done 2>&1 \
                | grep -c fork; true";
    assert_ne!(inside(&host, &["--pids-limit", "8"], fork).trim(), "0", "the ninth is refused");
    let shm = "dd if=/dev/zero of=/dev/shm/x bs=1k count=2000 2>/dev/null; wc -c </dev/shm/x";
    assert_eq!(inside(&host, &["--shm-size", "1m"], shm), "1048576\n");
    host.assert_clean();
}

#[corten_tier::t1]
fn a_container_that_takes_too_much_memory_is_killed_and_the_record_says_so() {
    let host = Host::with_busybox();
    let eat = "tail /dev/zero";
    let args = ["run", "--name", "eater", "-m", "32m", "--memory-swap", "32m", "busybox"];
    let ended = host.corten(&[&args[..], &["sh", "-c", eat]].concat());
    assert_eq!(ended.status, 137, "{ended:?}");
    let directory = host.root().join("containers").join(&host.names("containers")[0]);
    let exit = std::fs::read_to_string(directory.join("exit.json")).unwrap();
    let exit: serde_json::Value = serde_json::from_str(&exit).unwrap();
    assert_eq!(exit["oomKilled"], true, "{exit}");
    host.corten(&["rm", "eater"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn namespaces_are_its_own_the_host_s_or_another_container_s() {
    let host = Host::with_busybox();
    let of_host = |kind: &str| {
        let link = std::fs::read_link(format!("/proc/thread-self/ns/{kind}")).unwrap();
        format!("{}\n", link.display())
    };
    for (kind, option) in [("net", "--network"), ("ipc", "--ipc"), ("uts", "--uts")] {
        let script = format!("readlink /proc/self/ns/{kind}");
        assert_ne!(inside(&host, &[], &script), of_host(kind));
        assert_eq!(inside(&host, &[option, "host"], &script), of_host(kind));
    }
    let donor = ["run", "-d", "--name", "donor", "--ipc", "shareable", "busybox", "sleep", "1000"];
    host.corten(&donor).ok();
    for (kind, option) in [("net", "--network"), ("ipc", "--ipc"), ("pid", "--pid")] {
        let script = format!("readlink /proc/self/ns/{kind}");
        let own = host.corten(&["exec", "donor", "sh", "-c", &script]).ok();
        assert_eq!(inside(&host, &[option, "container:donor"], &script), own);
    }
    // What programs share by shm_open(3) are files of /dev/shm, in both directions.
    let write = "echo one > /dev/shm/a";
    host.corten(&["exec", "donor", "sh", "-c", write]).ok();
    let script = "cat /dev/shm/a && echo two > /dev/shm/b && grep -c ' /dev/shm ' /proc/mounts";
    assert_eq!(inside(&host, &["--ipc", "container:donor"], script), "one\n1\n");
    assert_eq!(host.corten(&["exec", "donor", "cat", "/dev/shm/b"]).ok(), "two\n");
    assert_eq!(inside(&host, &[], "ls /dev/shm"), "", "nobody else has it");
    // Started again it finds it again, and the donor's own end takes it from nobody.
    let joined = ["run", "-d", "--name", "joined", "--ipc", "container:donor"];
    host.corten(&[&joined[..], &["busybox", "sleep", "1000"]].concat()).ok();
    host.corten(&["restart", "-t", "0", "joined"]).ok();
    host.corten(&["stop", "-t", "0", "donor"]).ok();
    let both = ["exec", "joined", "cat", "/dev/shm/a", "/dev/shm/b"];
    assert_eq!(host.corten(&both).ok(), "one\ntwo\n");
    host.corten(&["rm", "-f", "joined", "donor"]).ok();
    // A donor whose root makes a link of it leads whoever joins no farther than its own root: not to this
    // directory of the host.
    let secret = host.path("secret");
    std::fs::create_dir(&secret).unwrap();
    let script = format!(
        "busybox umount /dev/shm; busybox rmdir /dev/shm; ln -s {} /dev/shm; sleep 1000",
        text(&secret)
    );
    let donor = ["run", "-d", "--name", "donor", "--privileged", "--ipc", "shareable", "busybox"];
    host.corten(&[&donor[..], &["sh", "-c", &script]].concat()).ok();
    support::eventually("the link is there", || {
        let link = host.corten(&["exec", "donor", "readlink", "/dev/shm"]);
        (link.status == 0).then_some(())
    });
    host.corten(&["run", "--rm", "--ipc", "container:donor", "busybox", "true"])
        .fails(125, "dev/shm: ENOENT");
    host.corten(&["rm", "-f", "donor"]).ok();
    host.corten(&["run", "-d", "--name", "private", "busybox", "sleep", "1000"]).ok();
    host.corten(&["run", "--rm", "--ipc", "container:private", "busybox", "true"])
        .fails(125, "non-shareable IPC");
    host.corten(&["stop", "-t", "0", "private"]).ok();
    host.corten(&["run", "--rm", "--network", "container:private", "busybox", "true"])
        .fails(125, "cannot join net namespace of a non running container");
    host.corten(&["rm", "private"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn an_exec_has_no_more_rights_than_its_container() {
    let host = Host::with_busybox();
    let options = ["run", "-d", "--name", "box", "--cap-drop", "ALL", "-u", "web", "-e", "A=1"];
    host.corten(&[&options[..], &["busybox", "sleep", "1000"]].concat()).ok();
    let exec = |options: &[&str], script: &str| {
        let args = [&["exec"], options, &["box", "sh", "-c", script]].concat();
        host.corten(&args).ok()
    };
    assert_eq!(exec(&[], CAPABILITIES), "0000000000000000\n");
    assert_eq!(exec(&["-u", "0"], CAPABILITIES), "0000000000000000\n");
    assert_ne!(exec(&["-u", "0", "--privileged"], CAPABILITIES), "0000000000000000\n");
    assert_eq!(exec(&[], "id -u; id -G; echo $A $HOME"), "33\n33 44\n1 /var/www\n");
    assert_eq!(
        exec(&["-u", "root", "-e", "A=2", "-w", "/tmp"], "echo $A $HOME; pwd"),
        "2 /root\n/tmp\n"
    );
    assert_eq!(exec(&[], "grep Seccomp: /proc/self/status | cut -f2"), "2\n");
    host.corten(&["rm", "-f", "box"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn mounts_and_names_are_as_asked_for() {
    let host = Host::with_busybox();
    let outside = host.path("outside");
    let bind = format!("{}:/b:ro", text(&outside));
    let options = ["-v", &bind, "--mount", "type=tmpfs,target=/t,tmpfs-size=64k", "--add-host"];
    let options = [&options[..], &["a:1.2.3.4", "--sysctl", "net.ipv4.ip_forward=1"]].concat();
    let script = "touch /b/x 2>/dev/null || echo read-only; dd if=/dev/zero of=/t/x bs=1k \
                  count=100 2>/dev/null; wc -c </t/x; grep -c '^1.2.3.4.a$' /etc/hosts; \
                  cat /proc/sys/net/ipv4/ip_forward";
    assert_eq!(inside(&host, &options, script), "read-only\n65536\n1\n1\n");
    assert!(outside.is_dir(), "-v makes what is missing");
    let mount = "type=bind,src=/no/such,dst=/x";
    host.corten(&["run", "--rm", "--mount", mount, "busybox", "true"])
        .fails(125, "bind source path does not exist: /no/such");
    let note = host.path("id");
    let args = ["run", "-d", "--rm", "--cidfile", text(&note), "busybox", "sleep", "1000"];
    let id = host.corten(&args).ok();
    assert_eq!(std::fs::read_to_string(&note).unwrap(), id.trim_end());
    host.corten(&args).fails(125, "make the file of --cidfile");
    host.corten(&["rm", "-f", id.trim_end()]).ok();
    host.settle();
    host.assert_clean();
}

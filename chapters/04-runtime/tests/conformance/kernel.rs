//! Names, sysctl, personality, memory policy, intelRdt, network devices.

use std::process::Command;

use serde_json::json;

use crate::rig::{Container, is, skip};

#[corten_tier::t1]
fn the_host_name() {
    let mut container = Container::script("hostname");
    container.set("/hostname", "a-name");
    assert_eq!(container.output(), "a-name\n");
}

#[corten_tier::t1]
fn an_empty_host_name_changes_nothing() {
    let mut container = Container::script("echo fine");
    container.set("/hostname", "");
    assert_eq!(container.output(), "fine\n");
}

#[corten_tier::t1]
fn a_host_name_without_a_uts_namespace_is_refused() {
    let mut container = Container::new();
    container.share("uts");
    container.refused();
}

#[corten_tier::t1]
fn the_domain_name() {
    let mut container = Container::script("cat /proc/sys/kernel/domainname");
    container.set("/domainname", "domain.example");
    assert_eq!(container.output(), "domain.example\n");
}

#[corten_tier::t1]
fn sysctl_values() {
    let mut container = Container::script(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/net/ipv4/conf/all/forwarding",
    );
    container.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4096"}));
    assert_eq!(container.output(), "1\n4096\n1\n");
}

#[corten_tier::t1]
fn a_sysctl_with_slashes() {
    let mut container = Container::script("cat /proc/sys/net/ipv4/ip_forward");
    container.set("/linux/sysctl", json!({"net/ipv4/ip_forward": "1"}));
    assert_eq!(container.output(), "1\n");
}

#[corten_tier::t1]
fn a_sysctl_of_the_whole_machine_is_refused() {
    let before = std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap();
    let mut container = Container::new();
    container.set("/linux/sysctl", json!({"vm.swappiness": "3"}));
    container.refused();
    assert_eq!(std::fs::read_to_string("/proc/sys/vm/swappiness").unwrap(), before);
}

#[corten_tier::t1]
fn a_sysctl_of_a_shared_namespace_is_refused() {
    let mut container = Container::new();
    container.share("network");
    container.set("/linux/sysctl", json!({"net.ipv4.ip_forward": "1"}));
    container.refused();
}

#[corten_tier::t1]
fn personality() {
    if !cfg!(target_arch = "x86_64") {
        return skip("the names are x86's");
    }
    for (domain, machine) in [("LINUX32", "i686"), ("LINUX", "x86_64")] {
        let mut container = Container::script("uname -m");
        container.set("/linux/personality", json!({"domain": domain}));
        assert_eq!(container.output(), format!("{machine}\n"));
        container.delete();
        let mut container = Container::sleeper();
        container.set("/linux/personality", json!({"domain": domain}));
        container.started();
        assert_eq!(container.exec(&["uname", "-m"]), format!("{machine}\n"), "exec");
    }
}

#[corten_tier::t1]
fn an_unknown_personality_is_refused() {
    let mut container = Container::new();
    container.set("/linux/personality", json!({"domain": "NOSUCH"}));
    container.refused();
}

/// The policy of the first mapping that is not the default.
fn policy(mode: &str, nodes: Option<&str>, flags: &[&str]) -> Container {
    let mut container = Container::script("cut -d' ' -f2 /proc/self/numa_maps | sort -u");
    let mut policy = json!({"mode": mode, "flags": flags});
    if let Some(nodes) = nodes {
        policy["nodes"] = json!(nodes);
    }
    container.set("/linux/memoryPolicy", policy);
    container
}

fn can_policy() -> bool {
    if is("runc") || is("crun") {
        skip("the distribution's version does not have it");
        return false;
    }
    if !std::fs::exists("/proc/self/numa_maps").unwrap() {
        skip("this kernel has no memory policies");
        return false;
    }
    true
}

#[corten_tier::t1]
fn memory_policies() {
    if !can_policy() {
        return;
    }
    for (mode, nodes, flags, said) in [
        ("MPOL_INTERLEAVE", Some("0"), &[][..], "interleave:0"),
        ("MPOL_BIND", Some("0"), &["MPOL_F_STATIC_NODES"], "bind=static:0"),
        ("MPOL_PREFERRED", Some("0"), &["MPOL_F_RELATIVE_NODES"], "prefer=relative:0"),
        ("MPOL_PREFERRED", None, &[], "local"),
        ("MPOL_LOCAL", None, &[], "local"),
        ("MPOL_DEFAULT", Some(""), &[], "default"),
    ] {
        let output = policy(mode, nodes, flags).output();
        assert!(output.lines().any(|line| line == said), "{mode} {flags:?}: {output}");
    }
}

#[corten_tier::t1]
fn memory_policies_that_make_no_sense_are_refused() {
    if !can_policy() {
        return;
    }
    policy("INTERLEAVE", Some("0"), &[]).refused();
    policy("MPOL_PREFERRED", Some("0"), &["badflag"]).refused();
    policy("MPOL_BIND", Some("0-9876543210"), &[]).refused();
    let flags = ["MPOL_F_NUMA_BALANCING", "MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"];
    policy("MPOL_DEFAULT", Some("0-7"), &flags).refused();
    let mut container = Container::new();
    container.set("/linux/memoryPolicy", json!({"nodes": "0-7"}));
    container.refused();
}

#[corten_tier::t1]
fn intel_rdt_without_the_hardware_is_refused() {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if mounts.contains(" - resctrl ") {
        return skip("this machine has resctrl");
    }
    let mut container = Container::new();
    container.set("/linux/intelRdt", json!({"l3CacheSchema": "L3:0=fff"}));
    let said = container.refused();
    assert!(said.to_lowercase().contains("rdt") || said.contains("resctrl"), "{said}");
}

/// A network namespace of the test's own, with a dummy interface in it.
fn dummy(name: &str) -> bool {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let ip =
        |arguments: &[&str]| Command::new("ip").args(arguments).status().is_ok_and(|s| s.success());
    let made = ip(&["link", "add", name, "type", "dummy"]);
    if !made {
        skip("no dummy interfaces here");
        return false;
    }
    ip(&["addr", "add", "10.99.0.1/24", "dev", name])
}

fn exists(name: &str) -> bool {
    std::fs::read_to_string("/proc/thread-self/net/dev").unwrap().contains(&format!("{name}:"))
}

fn can_move() -> bool {
    let can = !(is("runc") || is("crun"));
    if !can {
        skip("the distribution's version does not have it");
    }
    can
}

#[corten_tier::t1]
fn a_network_device_is_moved_with_its_address() {
    if !can_move() || !dummy("conf0") {
        return;
    }
    let mut container = Container::script("ip -o addr show dev conf0");
    container.set("/linux/netDevices", json!({"conf0": {}}));
    let output = container.output();
    assert!(output.contains("10.99.0.1/24"), "{output}");
    assert!(!exists("conf0"));
}

#[corten_tier::t1]
fn a_network_device_is_renamed() {
    if !can_move() || !dummy("conf1") {
        return;
    }
    let mut container = Container::script("ip -o addr show dev eth7");
    container.set("/linux/netDevices", json!({"conf1": {"name": "eth7"}}));
    let output = container.output();
    assert!(output.contains("10.99.0.1/24"), "{output}");
}

#[corten_tier::t1]
fn a_network_device_that_is_not_there_is_refused() {
    if !can_move() {
        return;
    }
    let mut container = Container::new();
    container.set("/linux/netDevices", json!({"nosuch0": {}}));
    container.refused();
}

#[corten_tier::t1]
fn a_network_device_without_a_network_namespace_is_refused() {
    if !can_move() || !dummy("conf2") {
        return;
    }
    let mut container = Container::new();
    container.share("network");
    container.set("/linux/netDevices", json!({"conf2": {}}));
    container.refused();
    assert!(exists("conf2"));
}

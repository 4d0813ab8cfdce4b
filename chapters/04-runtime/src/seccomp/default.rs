//! The profile that a container gets where nobody chooses one: equal in effect to Docker's.
//!
//! What it allows is what programs use. What it leaves out either concerns the whole machine (clocks,
//! modules, swap, reboot), or gives a container more of the kernel than it should be able to attack
//! (new namespaces, BPF, keys, tracing of others). A capability brings back the calls that are of no
//! use without it.

use corten_namespaces::capability::CapabilitySet;
use serde_json::{Value, json};

/// What every container may call, by name.
const ALLOWED: &str = include_str!("default.txt");

/// What a capability brings: its number, and the calls.
const WITH: [(u32, &str); 14] = [
    (2, "open_by_handle_at"),
    (16, "delete_module init_module finit_module"),
    (17, "iopl ioperm"),
    (18, "chroot"),
    (19, "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev"),
    (20, "acct"),
    (
        21,
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    (22, "reboot"),
    (23, "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    (25, "settimeofday stime clock_settime clock_settime64"),
    (26, "vhangup"),
    (34, "syslog"),
    (38, "perf_event_open"),
    (39, "bpf"),
];

const SYS_ADMIN: u32 = 21;

// ANCHOR: default
/// The profile for a container with these capabilities.
pub fn profile(capabilities: CapabilitySet) -> Value {
    let mut names: Vec<&str> = ALLOWED.split_whitespace().collect();
    // Since Linux 4.8 a tracer cannot change a call after the filter has seen it.
    names.push("ptrace");
    for (_, calls) in WITH.iter().filter(|(number, _)| capabilities.contains(*number)) {
        names.extend(calls.split_whitespace());
    }
    let mut rules = vec![json!({"names": names, "action": "SCMP_ACT_ALLOW"})];
    // The execution domains that do not switch protections off.
    for domain in [0u32, 0x8, 0x20000, 0x20008, 0xffff_ffff] {
        rules.push(json!({"names": ["personality"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": domain, "op": "SCMP_CMP_EQ"}]}));
    }
    if cfg!(target_arch = "x86_64") {
        rules.push(json!({"names": ["arch_prctl", "modify_ldt"], "action": "SCMP_ACT_ALLOW"}));
    }
    if !capabilities.contains(SYS_ADMIN) {
        // clone without any flag of a new namespace. clone3 has its flags in memory, where a filter
        // cannot look; told that there is none, programs fall back to clone.
        let flags = 0x7e02_0000u32;
        let at = usize::from(cfg!(target_arch = "s390x"));
        rules.push(json!({"names": ["clone"], "action": "SCMP_ACT_ALLOW",
            "args": [{"index": at, "value": flags, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]}));
        rules.push(json!({"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}));
    }
    let architectures = if cfg!(target_arch = "x86_64") {
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"])
    } else if cfg!(target_arch = "aarch64") {
        json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])
    } else {
        json!([])
    };
    json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": rules})
}
// ANCHOR_END: default

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What Docker 20.10 wrote into a container's config.json, with its default capabilities.
    const DOCKER: &str = include_str!("../../tests/rig/docker-seccomp.json");

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn it_compiles_to_the_same_program_as_docker_s() {
        let native = crate::seccomp::Architecture::X86_64;
        let compile = |value: Value| {
            crate::seccomp::compile(&serde_json::from_value(value).unwrap(), native).unwrap()
        };
        let ours = compile(profile(CapabilitySet::CONTAINER));
        let docker = compile(serde_json::from_str(DOCKER).unwrap());
        assert_eq!(ours.program, docker.program);
    }

    #[test]
    fn a_capability_brings_its_calls() {
        let names = |set: CapabilitySet| -> BTreeSet<String> {
            let profile = profile(set);
            let list = profile["syscalls"][0]["names"].as_array().unwrap().clone();
            list.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
        };
        assert!(!names(CapabilitySet::CONTAINER).contains("mount"));
        assert!(names(CapabilitySet::from_names(["SYS_ADMIN"]).unwrap()).contains("mount"));
        assert!(!names(CapabilitySet::NONE).contains("chroot"));
    }
}

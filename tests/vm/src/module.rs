//! Kernel modules: which ones the lab VM has, what they depend on, and the files by which
//! modprobe(8) finds them.
//!
//! A kernel package has no `modules.dep`: depmod(8) makes it on installation. What depmod reads is
//! in each module's section `.modinfo`, a list of NUL-terminated `key=value` strings (modinfo(8)),
//! so the few modules that the VM needs are indexed here.

use std::collections::BTreeMap;

/// What must be loaded before the root disk can be mounted, and before the host can be spoken to.
pub const FOR_BOOT: &[&str] = &["virtio_pci", "virtio_blk", "virtio_console"];

/// What the kernel or modprobe(8) may ask for later. A name that a kernel does not have is passed
/// over, because kernels differ; what a test misses shows in that test.
pub const ON_DEMAND: &[&str] = &[
    // File systems and disks.
    "overlay",
    "erofs",
    "squashfs",
    "btrfs",
    "xfs",
    "fuse",
    "loop",
    "isofs",
    "binfmt_misc",
    "dm_mod",
    "quota_v2",
    // Links.
    "virtio_net",
    "veth",
    "bridge",
    "br_netfilter",
    "dummy",
    "macvlan",
    "macvtap",
    "ipvlan",
    "tun",
    "vxlan",
    "8021q",
    "ifb",
    "nlmon",
    "af_packet",
    // nftables.
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_redir",
    "nft_ct",
    "nft_compat",
    "nft_meta_bridge",
    "nf_tables_bridge",
    "nft_fib",
    "nft_fib_inet",
    "nft_fib_ipv4",
    "nft_fib_ipv6",
    "nft_reject",
    "nft_reject_inet",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_limit",
    "nft_log",
    "nft_numgen",
    "nft_hash",
    "nft_objref",
    "nft_quota",
    "nft_counter",
    "nf_nat",
    "nf_conntrack",
    "nf_conntrack_netlink",
    "nfnetlink",
    "nfnetlink_log",
    "nfnetlink_queue",
    "nf_log_syslog",
    // iptables, which other engines still use.
    "ip_tables",
    "iptable_nat",
    "iptable_filter",
    "iptable_mangle",
    "iptable_raw",
    "ip6_tables",
    "ip6table_nat",
    "ip6table_filter",
    "ip6table_mangle",
    "xt_MASQUERADE",
    "xt_conntrack",
    "xt_addrtype",
    "xt_comment",
    "xt_tcpudp",
    "xt_nat",
    "xt_mark",
    "xt_connmark",
    "xt_multiport",
    "xt_owner",
    "xt_limit",
    "xt_statistic",
    "ip_set",
    "ip_vs",
    "sctp",
    // Traffic control and diagnostics.
    "sch_netem",
    "sch_tbf",
    "sch_htb",
    "sch_ingress",
    "sch_fq_codel",
    "cls_u32",
    "cls_bpf",
    "act_mirred",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "unix_diag",
    "netlink_diag",
];

/// All of them.
pub fn wanted() -> Vec<&'static str> {
    [FOR_BOOT, ON_DEMAND].concat()
}

/// What a module's `.modinfo` says.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ModInfo {
    /// Modules that must be loaded before.
    pub depends: Vec<String>,
    /// Modules that are wanted before, though the kernel does not insist (`softdep=pre:`).
    pub wants: Vec<String>,
    /// Names and patterns by which the kernel asks for this module.
    pub aliases: Vec<String>,
}

impl ModInfo {
    /// Reads the strings of `.modinfo` out of a module file (not compressed). The section is
    /// found by its strings: each begins after a NUL, and nothing else in a module looks like
    /// `depends=` there.
    pub fn parse(module: &[u8]) -> ModInfo {
        let mut info = ModInfo::default();
        for string in module.split(|&byte| byte == 0) {
            let Ok(string) = std::str::from_utf8(string) else { continue };
            if let Some(list) = string.strip_prefix("depends=") {
                info.depends.extend(list.split(',').filter(|name| !name.is_empty()).map(name_of));
            } else if let Some(alias) = string.strip_prefix("alias=") {
                info.aliases.push(alias.to_owned());
            } else if let Some(soft) = string.strip_prefix("softdep=") {
                let pre = soft.split("post:").next().unwrap_or_default();
                let pre = pre.trim().strip_prefix("pre:").unwrap_or_default();
                info.wants.extend(pre.split_whitespace().map(name_of));
            }
        }
        info
    }
}

/// The name of a module from its file name or from another module's list: `nf-nat.ko.xz` and
/// `nf_nat` are the same.
pub fn name_of(file: &str) -> String {
    let stem = file.split(".ko").next().unwrap_or(file);
    stem.replace('-', "_")
}

/// The modules of one kernel that were selected, with what they say about themselves.
#[derive(Debug, Default)]
pub struct ModuleIndex(pub BTreeMap<String, ModInfo>);

impl ModuleIndex {
    /// `names` and all that they depend on, each after its dependencies: the order to load them in.
    /// Names that are not in the index are built into the kernel.
    pub fn load_order(&self, names: &[&str]) -> Vec<String> {
        let mut order = Vec::new();
        for name in names {
            self.visit(name, &mut order, &mut Vec::new());
        }
        order
    }

    fn visit(&self, name: &str, order: &mut Vec<String>, path: &mut Vec<String>) {
        let Some(info) = self.0.get(name) else { return };
        // Soft dependencies may form circles.
        if order.iter().chain(path.iter()).any(|seen| seen == name) {
            return;
        }
        path.push(name.to_owned());
        for needed in info.depends.iter().chain(&info.wants) {
            self.visit(needed, order, path);
        }
        path.pop();
        order.push(name.to_owned());
    }

    /// `modules.dep` (modules.dep(5)): each file, a colon, and the files to load before it, the
    /// last one first.
    pub fn modules_dep(&self) -> String {
        let mut text = String::new();
        for name in self.0.keys() {
            let mut needed = self.load_order(&[name]);
            needed.pop();
            needed.reverse();
            let files: Vec<String> = needed.iter().map(|n| format!(" {n}.ko")).collect();
            text.push_str(&format!("{name}.ko:{}\n", files.concat()));
        }
        text
    }

    /// `modules.alias`: the patterns by which the kernel asks, and the module that answers.
    pub fn modules_alias(&self) -> String {
        let mut text = String::new();
        for (name, info) in &self.0 {
            for alias in &info.aliases {
                text.push_str(&format!("alias {alias} {name}\n"));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(entries: &[(&str, &[&str])]) -> ModuleIndex {
        let info = |needs: &[&str]| ModInfo {
            depends: needs.iter().map(ToString::to_string).collect(),
            ..ModInfo::default()
        };
        ModuleIndex(entries.iter().map(|(n, needs)| (n.to_string(), info(needs))).collect())
    }

    #[test]
    fn modinfo_is_read_from_the_strings_of_a_module() {
        let module = b"\x7fELF\0junk\0license=GPL\0depends=virtio,virtio-ring\0\
            softdep=pre: crc32c post: later\0alias=fs-overlay\0name=x\0";
        let info = ModInfo::parse(module);
        assert_eq!(info.depends, ["virtio", "virtio_ring"]);
        assert_eq!(info.wants, ["crc32c"]);
        assert_eq!(info.aliases, ["fs-overlay"]);
    }

    #[test]
    fn a_module_comes_after_what_it_depends_on() {
        let index = index(&[
            ("virtio_blk", &["virtio", "virtio_ring"]),
            ("virtio", &["virtio_ring"]),
            ("virtio_ring", &[]),
        ]);
        assert_eq!(index.load_order(&["virtio_blk"]), ["virtio_ring", "virtio", "virtio_blk"]);
        assert!(index.modules_dep().contains("virtio_blk.ko: virtio.ko virtio_ring.ko\n"));
        assert!(index.modules_dep().contains("virtio_ring.ko:\n"));
    }

    #[test]
    fn a_circle_of_dependencies_ends() {
        let index = index(&[("a", &["b"]), ("b", &["a"])]);
        assert_eq!(index.load_order(&["a"]), ["b", "a"]);
    }

    #[test]
    fn names_are_equal_whatever_their_spelling() {
        assert_eq!(name_of("crc32c-intel.ko.xz"), "crc32c_intel");
        assert_eq!(name_of("overlay.ko"), "overlay");
    }
}

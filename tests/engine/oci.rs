//! What `engine::oci` writes, run by another engine's runtime on the real kernel: runc, or the one
//! that `CORTEN_TEST_RUNTIME` names.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use corten::engine::machine::Machine;
use corten::engine::oci::files::{self, Addresses};
use corten::engine::oci::{Neighbours, Place, Wanted, generate};
use corten::engine::options::check::check;
use corten::engine::options::{Config, HostConfig};
use corten::engine::user::Accounts;
use corten::engine::volumes::{Volumes, mount_points};
use corten::engine::{Error, Result};
use corten_namespaces::Root;
use serde_json::{Value, json};

use crate::support::unique;

struct Nobody;

impl Neighbours for Nobody {
    fn namespace(&self, container: &str, _: &str) -> Result<PathBuf> {
        Err(Error::NoSuchContainer { name: container.to_owned() })
    }
    fn directory(&self, container: &str) -> Result<PathBuf> {
        Err(Error::NoSuchContainer { name: container.to_owned() })
    }
    fn shm(&self, _: &str) -> Result<Option<PathBuf>> {
        Ok(None)
    }
}

/// A group above those of the test's container, removed with the value.
struct Parent(String);

impl Drop for Parent {
    fn drop(&mut self) {
        let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
        let mut roots: Vec<PathBuf> = hierarchies.flatten().map(|entry| entry.path()).collect();
        roots.push("/sys/fs/cgroup".into());
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for root in roots {
            let _ = std::fs::remove_dir(root.join(&self.0));
            // Below the caller's own group, where that is not the root of its hierarchy.
            for line in own.lines() {
                let below = line.rsplit(':').next().unwrap_or_default().trim_start_matches('/');
                let _ = std::fs::remove_dir(root.join(below).join(&self.0));
            }
        }
    }
}

/// Runs `script` in a container of these options, and gives what it prints.
fn run(script: &str, own: Value, mut host: Value) -> String {
    let directory = tempfile::tempdir().unwrap();
    let rootfs = directory.path().join("rootfs");
    for name in ["bin", "etc", "data", "proc", "sys", "dev", "tmp"] {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(rootfs.join(name)).unwrap();
    }
    corten_tier::copy_program("/bin/busybox", rootfs.join("bin/busybox"));
    std::fs::write(rootfs.join("data/image"), "from the image\n").unwrap();
    std::fs::write(rootfs.join("etc/passwd"), "bob:x:1000:100::/home/bob:\n").unwrap();
    std::fs::write(rootfs.join("etc/group"), "wheel:x:10:bob\nvideo:x:44:\n").unwrap();
    let parent = Parent(unique("oci"));
    host["CgroupParent"] = json!(format!("/{}", parent.0));
    let mut config: Config = serde_json::from_value(own).unwrap();
    let mut host: HostConfig = serde_json::from_value(host).unwrap();
    let command = json!({"Cmd": ["/bin/busybox", "sh", "-c", script]});
    config.merge(&serde_json::from_value(command).unwrap()).unwrap();
    let machine = Machine::probe().unwrap();
    check(&mut config, &mut host, &machine).unwrap();
    let volumes = Volumes::open(directory.path()).unwrap();
    let mut mounts = mount_points(&config, &host, &[]).unwrap();
    let held = volumes.attach(&mut mounts).unwrap();
    let root = Root::open(&rootfs).unwrap();
    volumes.fill(&mounts, &root).unwrap();
    drop(held);
    let place = Place {
        rootfs,
        directory: directory.path().to_path_buf(),
        init: PathBuf::from("/bin/busybox"),
        shm: None,
    };
    let id = unique("oci");
    let accounts = Accounts::read(&root).unwrap();
    let wanted = Wanted {
        id: &id,
        config: &config,
        host: &host,
        accounts: &accounts,
        mounts: &mounts,
        place: &place,
        machine: &machine,
        network: None,
        neighbours: &Nobody,
    };
    files::write(&wanted, &Addresses::default()).unwrap();
    let spec = generate(&wanted).unwrap();
    let text = serde_json::to_string_pretty(&spec).unwrap();
    std::fs::write(directory.path().join("config.json"), text).unwrap();
    let runtime = std::env::var_os("CORTEN_TEST_RUNTIME").unwrap_or_else(|| "runc".into());
    let output = Command::new(runtime)
        .arg("--root")
        .arg(directory.path().join("runtime"))
        .args(["run", "--bundle"])
        .args([directory.path(), Path::new(&id)])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{error}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[corten_tier::t1]
fn a_plain_container_is_protected() {
    let printed = run(
        "set -e; b=/bin/busybox; $b grep -E '^(CapBnd|NoNewPrivs|Seccomp):' /proc/self/status; \
         $b cat /proc/sys/net/ipv4/ip_unprivileged_port_start; $b hostname; \
         $b cat /etc/hostname; $b echo $HOME; $b head -c 1 /proc/keys | $b wc -c; \
         $b touch /proc/sys/kernel/x 2>/dev/null || $b echo kept; \
         $b grep ' /dev/shm ' /proc/mounts | $b grep -o 'size=[0-9a-z]*'",
        json!({"Hostname": "box"}),
        json!({"NetworkMode": "none", "ShmSize": 2 << 20, "SecurityOpt": ["no-new-privileges"]}),
    );
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "CapBnd:",
            "00000000a80425fb",
            "NoNewPrivs:",
            "1",
            "Seccomp:",
            "2",
            "0",
            "box",
            "box",
            "/",
            "0",
            "kept",
            "size=2048k",
        ]
    );
}

#[corten_tier::t1]
fn options_reach_the_kernel_and_volumes_are_filled() {
    let printed = run(
        "set -e; b=/bin/busybox; $b id -u; $b id -G; $b pwd; ulimit -n; $b echo $A; \
         $b touch /x 2>/dev/null || $b echo read-only; $b cat /volume/image 2>/dev/null || $b echo empty; \
         $b cat /data/image; $b touch /scratch/x && $b echo writable; \
         $b cat /proc/sys/net/ipv4/ip_default_ttl; \
         $b cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || true; \
         $b cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null || true",
        json!({"User": "bob", "WorkingDir": "/tmp", "Env": ["A=1"]}),
        json!({"NetworkMode": "none", "ReadonlyRootfs": true, "GroupAdd": ["video"],
            "Ulimits": [{"Name": "nofile", "Soft": 512, "Hard": 512}], "Memory": 64 << 20,
            "MemorySwap": -1, "PidsLimit": 50, "Tmpfs": {"/scratch": "mode=1777"},
            "Binds": ["data:/data", "other:/volume"], "Sysctls": {"net.ipv4.ip_default_ttl": "33"}}),
    );
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(
        lines,
        [
            "1000",
            "100 10 44",
            "/tmp",
            "512",
            "1",
            "read-only",
            "empty",
            "from the image",
            "writable",
            "33",
            "67108864",
            "50",
        ]
    );
}

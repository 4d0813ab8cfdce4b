//! Installs the Debian packages that a task needs, and only those that are missing.

pub mod apt;
pub mod os_release;

use crate::error::{Error, Result};
use crate::say;
use os_release::{OsRelease, Support};

const NPM: &str = "npm";

/// What packages are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `./x run`.
    Run,
    /// `./x test --quick`: tiers T0 and T1.
    Test,
    /// `./x test`: the VMs as well.
    Vm,
    /// `./x clients`.
    Clients,
    /// `./x book check`.
    Book,
    /// `./x bench`.
    Bench,
    /// `./x soak`.
    Soak,
    /// `./x soak project`.
    Project,
}

impl Purpose {
    /// The command that it stands for.
    pub fn command(self) -> &'static str {
        match self {
            Purpose::Run => "./x run",
            Purpose::Test => "./x test --quick",
            Purpose::Vm => "./x test",
            Purpose::Clients => "./x clients",
            Purpose::Book => "./x book check",
            Purpose::Bench => "./x bench",
            Purpose::Soak => "./x soak",
            Purpose::Project => "./x soak project",
        }
    }

    /// Its packages, each with what it is for.
    pub fn packages(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Purpose::Run => &[("busybox-static", "what is in the image that is made on the spot")],
            Purpose::Test => &[
                ("busybox-static", "the root file system of test containers"),
                ("skopeo", "fills the registry with images"),
                ("umoci", "unpacks images, to compare with"),
                ("docker-registry", "a real registry on loopback"),
                ("openssl", "verifies signatures of images"),
                ("uidmap", "newuidmap and newgidmap, for containers without root"),
                ("btrfs-progs", "makes a scratch file system for the driver of chapter 3"),
                ("fuse-overlayfs", "is a driver of chapter 3"),
                ("attr", "writes extended attributes into test images"),
                ("zstd", "compresses layers"),
                ("xz-utils", "compresses layers"),
                ("iproute2", "makes and lists links"),
                ("nftables", "lists the packet filter for the fingerprint"),
                ("git", "applies the chapters' mutants, and fetches a build's repositories"),
                ("buildah", "builds Dockerfiles, to compare with"),
                ("jq", "compares configurations of images"),
                ("chromium", "the tests of what looks at the book"),
                ("containerd", "calls the runtime of chapter 4"),
                (
                    "docker.io",
                    "calls the runtime of chapter 4, also as a swarm; dockerd to compare with",
                ),
                (
                    "docker-compose",
                    "brings projects up with the daemon; brings the Python SDK along",
                ),
                ("curl", "asks the daemon and dockerd by hand"),
                ("procps", "ps, whose lines `docker top` shows"),
                ("podman", "calls the runtime of chapter 4"),
                ("runc", "is attacked as the runtime of chapter 4 is"),
                ("crun", "is attacked as the runtime of chapter 4 is"),
                ("strace", "sees the order of the supervisor's calls"),
                ("passt", "is the network of a container without root"),
                ("slirp4netns", "is the network of a container without root"),
            ],
            Purpose::Vm => &[
                ("qemu-system-x86", "the lab VM"),
                ("busybox-static", "the lab VM's user land"),
                ("e2fsprogs", "makes the lab VM's disks"),
                ("cpio", "reads and makes initial RAM disks"),
                ("criu", "checkpoints containers in the lab VM"),
                ("apparmor", "loads a profile in the lab VM"),
                ("xz-utils", "unpacks kernel modules"),
                ("zstd", "unpacks kernel modules"),
                ("systemd", "is asked for a control group in the lab VM"),
            ],
            Purpose::Clients => &[
                ("nodejs", "runs dockerode"),
                (NPM, "fetches dockerode"),
                ("python3-venv", "fetches testcontainers"),
            ],
            Purpose::Book => &[
                ("chromium", "opens the book and looks at it"),
                ("busybox-static", "the system on which the book's sessions are run"),
                ("strace", "is used in the book's sessions"),
                ("procps", "ps, for the book's sessions"),
                ("iproute2", "ip, for the book's sessions"),
                ("docker-registry", "the registry of the book's sessions"),
                ("skopeo", "a second registry client, for the book's sessions"),
                ("curl", "asks the registry by hand, for the book's sessions"),
                ("jq", "reads JSON, for the book's sessions"),
                ("openssl", "verifies a signature, for the book's sessions"),
                ("iputils-ping", "ping, for the book's sessions"),
                ("tcpdump", "sees packets, for the book's sessions"),
                ("nftables", "nft, for the book's sessions"),
                ("docker.io", "the docker client, for the book's sessions"),
                ("docker-compose", "asks the daemon, for the book's sessions"),
                ("containerd", "calls the runtime, for the book's sessions"),
                ("procps", "ps and pgrep, for the book's sessions"),
            ],
            Purpose::Bench => &[
                ("hyperfine", "measures commands"),
                ("buildah", "builds beside corten"),
                ("podman", "pulls and pushes beside corten"),
                ("containerd", "pulls beside corten"),
                ("time", "measures how much memory a command takes"),
                ("crun", "a runtime to compare with"),
                ("conmon", "a supervisor to compare with"),
                ("docker.io", "writes a container's log beside corten"),
                ("runc", "a runtime to compare with"),
                ("docker-registry", "is pulled from and pushed to"),
                ("skopeo", "a registry client to compare with"),
                ("curl", "downloads without any registry client"),
                ("cmake", "builds a C library that is measured"),
                ("iproute2", "makes a container's network by hand"),
                ("nftables", "makes a container's network by hand"),
                ("iperf3", "measures how fast networks are"),
                ("python3", "measures daemons"),
            ],
            Purpose::Project => &[("debootstrap", "makes the base of the engine's own image")],
            Purpose::Soak => &[
                ("runc", "is measured by the conformance suite"),
                ("crun", "is measured by the conformance suite"),
            ],
        }
    }
}

/// Sees to it that every package of `purposes` is installed, and says what it installs.
///
/// # Errors
/// Where there is no apt, where root's rights cannot be had without a password, or where apt
/// fails. The text then holds the command that the user can run.
pub fn ensure(purposes: &[Purpose]) -> Result<()> {
    let mut wanted: Vec<&'static str> =
        purposes.iter().flat_map(|p| p.packages()).map(|(name, _)| *name).collect();
    wanted.sort_unstable();
    wanted.dedup();
    if !apt::present() {
        let without: Vec<_> = wanted.into_iter().filter(|name| !looks_present(name)).collect();
        return if without.is_empty() { Ok(()) } else { Err(by_hand(&without)) };
    }
    let mut missing = apt::missing(&wanted);
    // It also comes with others' packages of Node, beside which Debian's cannot be.
    missing.retain(|package| *package != NPM || !looks_present(NPM));
    if missing.is_empty() {
        return Ok(());
    }
    say!("installing with apt-get: {}", missing.join(" "));
    apt::install(&missing)
}

/// Where no package list can be asked: the package's program, as far as it is known.
fn looks_present(package: &str) -> bool {
    let program = match package {
        "qemu-system-x86" => "qemu-system-x86_64",
        "busybox-static" => "busybox",
        "e2fsprogs" => "mke2fs",
        "uidmap" => "newuidmap",
        "attr" => "setfattr",
        "xz-utils" => "xz",
        "iproute2" => "ip",
        "docker.io" => "dockerd",
        "apparmor" => "apparmor_parser",
        "nftables" => "nft",
        "passt" => "pasta",
        "nodejs" => "node",
        other => other,
    };
    crate::process::exists(program)
}

fn by_hand(packages: &[&str]) -> Error {
    let release = OsRelease::here();
    let tried = match release.support() {
        Support::Tried => "",
        Support::HasApt | Support::ByHand => {
            " Corten is tried on Debian 12 and later and on Ubuntu 22.04 and later."
        }
    };
    Error::failed(format!(
        "{release} has no apt-get, so install what these Debian packages hold, then run this \
         again: {}.{tried}",
        packages.join(" ")
    ))
}

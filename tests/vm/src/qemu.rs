//! QEMU: its command line, as data, and its process.

use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::error::{Context, Error, Result};

/// How the guest's instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accel {
    /// By the processor.
    Kvm,
    /// By QEMU's translator: some ten times slower, and works everywhere.
    Tcg,
}

/// What the command line is made from. Descriptors are numbers that QEMU inherits.
#[derive(Debug)]
pub(crate) struct Machine {
    pub program: PathBuf,
    pub accel: Accel,
    pub memory_mib: u32,
    pub cpus: u32,
    pub kernel: PathBuf,
    pub initramfs: RawFd,
    pub root: PathBuf,
    pub scratch: Option<PathBuf>,
    pub jobs: RawFd,
    pub stdin: Option<RawFd>,
    pub terminal: Option<RawFd>,
    /// The hub's port: the descriptor, and a number for the address.
    pub network: Option<(RawFd, usize)>,
}

/// What differs between architectures: machine, processor under TCG, serial console.
fn board() -> (&'static str, &'static str, &'static str) {
    match std::env::consts::ARCH {
        "aarch64" => ("virt,gic-version=max", "max", "ttyAMA0"),
        // Without rdrand the kernel would have to gather entropy first; newer vector instructions
        // are slow to emulate and nothing needs them.
        _ => ("q35", "Nehalem,+rdrand", "ttyS0"),
    }
}

/// The program for this machine's architecture.
pub(crate) fn program() -> String {
    format!("qemu-system-{}", std::env::consts::ARCH)
}

/// The package that has [`program`], for a message.
pub(crate) fn remedy() -> String {
    let package = if std::env::consts::ARCH == "aarch64" { "arm" } else { "x86" };
    format!("apt-get install qemu-system-{package}")
}

/// The kernel's command line. `panic=-1` with `-no-reboot` ends QEMU on a panic, and an oops is a
/// panic, because no test can have passed after one.
///
/// A translated guest on a busy host may not see its timer tick at the moment when it looks for that, and gives
/// up: it is told not to look.
fn kernel_command_line(accel: Accel) -> String {
    let console = board().2;
    let translated = match accel {
        Accel::Kvm => "",
        Accel::Tcg => " no_timer_check",
    };
    format!("console={console} quiet panic=-1 oops=panic mitigations=off audit=0{translated}")
}

impl Machine {
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        let (board, processor, _) = board();
        let (accel, processor) = match self.accel {
            Accel::Kvm => ("kvm", "host"),
            Accel::Tcg => ("tcg,thread=multi", processor),
        };
        let mut line = Line::default();
        for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
            line.flag(flag);
        }
        line.pair("-display", "none").pair("-monitor", "none");
        line.pair("-machine", board).pair("-accel", accel).pair("-cpu", processor);
        line.pair("-m", format!("{}M", self.memory_mib)).pair("-smp", self.cpus.to_string());
        line.path("-kernel", "", &self.kernel);
        line.pair("-initrd", format!("/proc/self/fd/{}", self.initramfs));
        line.pair("-append", kernel_command_line(self.accel));
        line.pair("-chardev", "stdio,id=console,signal=off").pair("-serial", "chardev:console");
        line.disk("root", &self.root, ",snapshot=on");
        if let Some(scratch) = &self.scratch {
            line.disk("scratch", scratch, "");
        }
        line.pair("-device", "virtio-serial-pci");
        line.port("jobs", self.jobs);
        if let Some(fd) = self.stdin {
            line.port("stdin", fd);
        }
        if let Some(fd) = self.terminal {
            line.pair("-chardev", format!("socket,id=terminal,fd={fd}"));
            line.pair("-device", "virtconsole,chardev=terminal");
        }
        match self.network {
            Some((fd, number)) => {
                line.pair("-netdev", format!("socket,id=private,fd={fd}"));
                let mac = format!("52:54:00:c0:{:02x}:{:02x}", number >> 8 & 255, number & 255);
                // No boot ROM: the VM never boots from the network.
                line.pair("-device", format!("virtio-net-pci,netdev=private,romfile=,mac={mac}"));
            }
            None => {
                line.pair("-nic", "none");
            }
        }
        line.0
    }

    /// Starts QEMU. It dies with the calling thread. `inherited` are the descriptors that the
    /// command line names.
    pub(crate) fn start(&self, inherited: &[&OwnedFd]) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(self.arguments());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        crate::sys::tie_to_caller(&mut command, inherited.iter().map(|f| f.as_raw_fd()).collect());
        command.spawn().map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                Error::Missing { program: self.program.display().to_string(), remedy: remedy() }
            }
            _ => Error::Io { operation: "start", path: self.program.clone(), source },
        })
    }
}

#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    fn pair(&mut self, name: &str, value: impl Into<OsString>) -> &mut Line {
        self.flag(name);
        self.0.push(value.into());
        self
    }

    fn path(&mut self, name: &str, before: &str, path: &Path) {
        let mut value = OsString::from(before);
        value.push(path);
        self.pair(name, value);
    }

    /// A raw disk. The host's page cache is trusted: what the guest has flushed survives the end
    /// of QEMU, if not that of the host.
    fn disk(&mut self, id: &str, path: &Path, options: &str) {
        let start = format!("if=none,id={id},format=raw,cache=unsafe{options},file=");
        // In an option list QEMU reads two commas as one.
        let path = path.to_string_lossy().replace(',', ",,");
        self.pair("-drive", start + &path);
        self.pair("-device", format!("virtio-blk-pci,drive={id},serial={id}"));
    }

    fn port(&mut self, name: &str, fd: RawFd) {
        self.pair("-chardev", format!("socket,id={name},fd={fd}"));
        self.pair("-device", format!("virtserialport,chardev={name},name=corten.{name}"));
    }
}

/// A file without a name that holds `content`, for a program to read as /proc/self/fd/N.
pub(crate) fn nameless_file(content: &[u8]) -> Result<OwnedFd> {
    let fd = memfd_create("corten-vm", MFdFlags::MFD_CLOEXEC).on("create", "a memfd")?;
    let mut file = File::from(fd);
    file.write_all(content).on("write", "a memfd")?;
    Ok(file.into())
}

/// A socket pair: our end, and the one that QEMU inherits.
pub(crate) fn channel() -> Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair().on("create", "a socket pair")?;
    Ok((ours, theirs.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            program: program().into(),
            accel: Accel::Tcg,
            memory_mib: 512,
            cpus: 2,
            kernel: "/k/vmlinuz".into(),
            initramfs: 10,
            root: "/r/a,b.ext4".into(),
            scratch: None,
            jobs: 11,
            stdin: None,
            terminal: None,
            network: None,
        }
    }

    fn line(machine: &Machine) -> String {
        let words: Vec<String> =
            machine.arguments().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        words.join(" ")
    }

    #[test]
    fn memory_processors_and_disks_are_on_the_command_line() {
        let line = line(&machine());
        assert!(line.contains("-m 512M -smp 2"), "{line}");
        assert!(line.contains("snapshot=on,file=/r/a,,b.ext4"), "{line}");
        assert!(line.contains("-no-reboot") && line.contains("panic=-1"), "{line}");
        assert!(line.contains("-nic none"), "{line}");
    }

    #[test]
    fn a_scratch_disk_keeps_what_is_written() {
        let line = line(&Machine { scratch: Some("/s".into()), ..machine() });
        assert!(line.contains("id=scratch,format=raw,cache=unsafe,file=/s"), "{line}");
    }

    #[test]
    fn each_port_of_a_network_has_an_address_of_its_own() {
        let line = line(&Machine { network: Some((12, 258)), ..machine() });
        assert!(line.contains("socket,id=private,fd=12"), "{line}");
        assert!(line.contains("mac=52:54:00:c0:01:02"), "{line}");
    }
}

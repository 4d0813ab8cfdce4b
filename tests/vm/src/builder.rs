//! A VM as the caller describes it, and what came of it.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::image::{RootImage, mke2fs};
use crate::job::{Job, JobResult};
use crate::kernel::Kernel;
use crate::mark::JobStatus;
use crate::network::Network;
use crate::qemu::Accel;
use crate::run::{self, Event};

/// Which control group hierarchies the guest mounts below /sys/fs/cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cgroup {
    /// The unified hierarchy.
    #[default]
    V2,
    /// One hierarchy for each controller that the kernel has for v1, and `systemd`.
    V1,
    /// As v1, and v2 without controllers at /sys/fs/cgroup/unified.
    Hybrid,
}

impl fmt::Display for Cgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cgroup::V2 => "v2",
            Cgroup::V1 => "v1",
            Cgroup::Hybrid => "hybrid",
        })
    }
}

impl FromStr for Cgroup {
    type Err = Error;

    fn from_str(text: &str) -> Result<Cgroup> {
        match text {
            "v2" => Ok(Cgroup::V2),
            "v1" => Ok(Cgroup::V1),
            "hybrid" => Ok(Cgroup::Hybrid),
            other => Err(Error::invalid(format!("cgroup {other}"), "use v2, v1 or hybrid")),
        }
    }
}

/// When the VM loses its power: QEMU is killed, so what the guest has not written to its disks is
/// gone. What it has written is kept, in whatever order: a disk with a volatile cache could lose
/// more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PowerCut {
    /// So long after the guest is set up.
    After(Duration),
    /// As soon as a job has printed this.
    AfterOutput(String),
}

/// What the kernel writes to its console when it gives up.
pub(crate) const PANIC: &str = "Kernel panic - not syncing";

/// How a VM ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All jobs ended and the guest powered off.
    PowerOff,
    /// The power was cut, as asked.
    PowerCut,
    /// The VM's limit was reached, or a job could not even be killed within its own.
    Limit,
    /// The kernel panicked.
    Panic,
    /// QEMU ended without a word from the guest.
    Lost,
}

/// What a VM left.
#[derive(Debug)]
pub struct Outcome {
    /// One for each job, in order.
    pub jobs: Vec<JobResult>,
    /// How the VM ended.
    pub ended: Ended,
    /// The kernel's release, once the guest was set up.
    pub release: Option<String>,
    /// From the start of the guest's kernel to the first job, by the guest's clock.
    pub boot_guest: Option<Duration>,
    /// From the start of QEMU to the first job, by the host's clock.
    pub boot_wall: Option<Duration>,
    /// From the start of QEMU to its end.
    pub wall: Duration,
    /// What executed the guest.
    pub accel: Accel,
    /// How QEMU ended, where it was not killed here.
    pub emulator: Option<ExitStatus>,
    /// The end of what the kernel wrote to its console, and of QEMU's own messages.
    pub console: String,
}

impl Outcome {
    /// Whether the VM ended by itself before the guest was set up: nothing that was asked for has begun.
    pub(crate) fn died_in_boot(&self) -> bool {
        self.release.is_none() && matches!(self.ended, Ended::Lost | Ended::Panic)
    }

    /// What is said where it is booted again.
    pub(crate) fn boots_again(&self) -> String {
        format!("{}\nIt is booted again.", self.obituary())
    }

    /// How the VM died, with the console's last lines.
    pub(crate) fn obituary(&self) -> String {
        let what = match self.ended {
            Ended::PowerOff => "the VM powered off",
            Ended::PowerCut => "the VM's power was cut",
            Ended::Limit => "the VM reached its limit and was killed",
            Ended::Panic => "the VM's kernel panicked",
            Ended::Lost => "the VM ended without finishing its jobs",
        };
        let emulator = self.emulator.map(|status| format!(" ({status})")).unwrap_or_default();
        let lines: Vec<&str> = self.console.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n  ");
        let cause = self.console.lines().find(|line| line.contains(PANIC));
        let cause = cause.map(|line| format!(": {}", line.trim())).unwrap_or_default();
        let running = self.jobs.iter().position(|job| job.status == JobStatus::Lost);
        let running = running.map(|index| format!(", in job {index}")).unwrap_or_default();
        let when = self.wall.as_secs_f64();
        format!(
            "{what}{emulator} after {when:.1} s{running}{cause}\nits console's last lines:\n  {last}"
        )
    }
}

/// A virtual machine; see [`Vm::builder`].
pub struct Vm;

impl Vm {
    /// A VM with kernel 6.1, cgroup v2, 1 GiB of memory, 2 processors, a limit of ten minutes, and
    /// nothing to run.
    ///
    /// # Errors
    /// Where busybox is missing.
    pub fn builder() -> Result<VmBuilder> {
        Ok(VmBuilder {
            kernel: Kernel::Debian61,
            cgroup: Cgroup::V2,
            memory_mib: 1024,
            cpus: 2,
            image: RootImage::with_busybox()?,
            jobs: Vec::new(),
            scratch: None,
            power_cut: None,
            network: None,
            limit: Duration::from_secs(600),
            accel: None,
            emulator: None,
        })
    }
}

/// The description of a VM, until [`VmBuilder::run`].
#[derive(Debug, Clone)]
pub struct VmBuilder {
    pub(crate) kernel: Kernel,
    pub(crate) cgroup: Cgroup,
    pub(crate) memory_mib: u32,
    pub(crate) cpus: u32,
    pub(crate) image: RootImage,
    pub(crate) jobs: Vec<Job>,
    pub(crate) scratch: Option<PathBuf>,
    pub(crate) power_cut: Option<PowerCut>,
    pub(crate) network: Option<(Network, String)>,
    pub(crate) limit: Duration,
    pub(crate) accel: Option<Accel>,
    pub(crate) emulator: Option<PathBuf>,
}

impl VmBuilder {
    /// Sets the kernel.
    #[must_use]
    pub fn kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// Sets the control group mounts.
    #[must_use]
    pub fn cgroup(mut self, cgroup: Cgroup) -> Self {
        self.cgroup = cgroup;
        self
    }

    /// Sets the memory.
    #[must_use]
    pub fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Sets the number of processors.
    #[must_use]
    pub fn cpus(mut self, cpus: u32) -> Self {
        self.cpus = cpus;
        self
    }

    /// Puts a file or directory of the host at `guest`.
    ///
    /// # Errors
    /// Where it is missing.
    pub fn file(mut self, host: impl AsRef<Path>, guest: impl AsRef<Path>) -> Result<Self> {
        self.image.file(host.as_ref(), guest)?;
        Ok(self)
    }

    /// Puts a file with this text and mode at `guest`.
    #[must_use]
    pub fn text(mut self, guest: &str, text: &str, mode: u32) -> Self {
        self.image.text(guest, text, mode);
        self
    }

    /// Puts an installed program of the host, with its libraries, at the same path.
    ///
    /// # Errors
    /// Where it is missing.
    pub fn tool(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.image.program(path.as_ref())?;
        Ok(self)
    }

    /// Puts a program built here, with its libraries, at the same path, and its name into PATH.
    ///
    /// # Errors
    /// Where it is missing.
    pub fn binary(mut self, path: impl AsRef<Path>) -> Result<Self> {
        self.image.binary(path.as_ref())?;
        Ok(self)
    }

    /// Adds a job. Jobs run one after the other.
    #[must_use]
    pub fn job(mut self, job: Job) -> Self {
        self.jobs.push(job);
        self
    }

    /// Attaches the file `path` as a disk with an ext4 file system, mounted at /scratch. What is
    /// written there is there again when the file is attached to another VM. Where there is no
    /// file, one of `mib` MiB is made.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn scratch_disk(mut self, path: impl AsRef<Path>, mib: u64) -> Result<Self> {
        let path = std::path::absolute(path.as_ref()).on("find", path.as_ref())?;
        if !path.exists() {
            mke2fs(&path, mib << 20, &[], None)?;
        }
        self.scratch = Some(path);
        Ok(self)
    }

    /// Cuts the power at a moment.
    #[must_use]
    pub fn power_cut(mut self, when: PowerCut) -> Self {
        self.power_cut = Some(when);
        self
    }

    /// Connects the VM's eth0 with `network`, under an address like `10.77.0.1/24`. A VM without
    /// this has no network but its loopback.
    #[must_use]
    pub fn network(mut self, network: &Network, address: &str) -> Self {
        self.network = Some((network.clone(), address.to_owned()));
        self
    }

    /// Sets how long the VM may live.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Fixes what executes the guest; without this KVM is used where a probe has shown that it
    /// works.
    #[must_use]
    pub fn accel(mut self, accel: Accel) -> Self {
        self.accel = Some(accel);
        self
    }

    /// Sets QEMU's program; without this it is looked for in PATH.
    #[must_use]
    pub fn emulator(mut self, program: impl Into<PathBuf>) -> Self {
        self.emulator = Some(program.into());
        self
    }

    /// Boots the VM, runs its jobs, writes their output to `sink` as it comes, and waits for the
    /// end. No process is left, whatever happens. One that ends by itself before its guest is set up is
    /// booted again, twice at most, and `sink` is told.
    ///
    /// # Errors
    /// [`Error::Died`] where the VM panicked, was lost or reached its limit; otherwise where it
    /// could not be built or started. A job that fails is no error.
    pub fn run(&self, sink: &mut dyn Write) -> Result<Outcome> {
        self.observe(&mut |event| {
            // Whoever reads the output may have gone; the outcome holds it all the same.
            let _ = match event {
                Event::Output(_, bytes) => sink.write_all(bytes).and_then(|()| sink.flush()),
                Event::BootsAgain(died) => writeln!(sink, "{}", died.boots_again()),
                Event::Booted | Event::Started(_) | Event::Finished(..) => Ok(()),
            };
        })
    }

    /// As [`VmBuilder::run`], and tells `observer` each event.
    ///
    /// # Errors
    /// As [`VmBuilder::run`].
    pub fn observe(&self, observer: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
        run::run(self, observer)
    }
}

//! Boots real Linux kernels in QEMU and runs commands and test binaries in them, as root.
//!
//! ```text
//! kernel    Debian's cloud kernels, fetched as packages ── apt, module
//! image     the root disk (ext4) and the initramfs      ── cache
//! job       what the guest runs                         ── guest/init.sh reads it
//! qemu      the command line and the process            ── accel: KVM or emulation
//! run       one life of a VM                            ── mark: the guest's answers
//! network   a hub between VMs
//! tools     what a guest has beside busybox
//! libtest   Rust test binaries: run_tests, tests_of
//! ```
//!
//! ```no_run
//! use corten_vm::{Cgroup, Job, Kernel, Vm};
//!
//! let outcome = Vm::builder()?
//!     .kernel(Kernel::Debian612)
//!     .cgroup(Cgroup::V2)
//!     .job(Job::shell("uname -r; grep cgroup /proc/mounts"))
//!     .run(&mut std::io::stdout())?;
//! assert!(outcome.jobs[0].status.success());
//! # Ok::<(), corten_vm::Error>(())
//! ```
//!
//! A VM never hangs: it has a limit, and so has each job. QEMU dies with the thread that runs the
//! VM. Nothing is left on the host but the cache in `target/vm`.
#![deny(unsafe_code)]

mod accel;
mod apt;
mod builder;
mod cache;
mod doctor;
mod error;
mod image;
mod job;
mod kernel;
mod libtest;
mod mark;
mod module;
mod network;
mod qemu;
mod run;
mod sys;
mod terminal;
mod tools;

pub use accel::best as best_accel;
pub use apt::unpacked_packages;
pub use builder::{Cgroup, Ended, Outcome, PowerCut, Vm, VmBuilder};
pub use doctor::{Finding, doctor};
pub use error::{Error, Result};
pub use job::{Input, Job, JobResult};
pub use kernel::{Kernel, KernelFiles};
pub use libtest::{Test, TestBinary, TestOutcome, TestOutput, TestResult, TestRun, Tier};
pub use libtest::{not_run, run_tests, tests_of};
pub use mark::JobStatus;
pub use network::Network;
pub use qemu::Accel;
pub use run::Event;
pub use terminal::restore_on_signals as restore_terminal_on_signals;

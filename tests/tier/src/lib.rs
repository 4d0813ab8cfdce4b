//! Which tests need what: the tiers of the test suite.
//!
//! | tier | attribute | needs | `cargo test` alone |
//! |---|---|---|---|
//! | T0 | `#[test]` | nothing | runs it |
//! | T1 | [`#[t1]`](t1) | root on this machine | lists it as ignored, with the reason |
//! | T2 | [`#[t2]`](t2) | the lab VM | lists it as ignored, with the reason |
//! | T2 | [`#[boots_vm]`](boots_vm) | QEMU; boots VMs of its own | lists it as ignored, with the reason |
//!
//! The attribute wraps the function in a module, so that the tier is the last segment of the
//! test's name: `pivot_stops_chroot_escape::t1`. `./x test` selects by it, runs T1 tests on this
//! machine as well as in the VM, and fails when a test of any tier was not run.
#![deny(unsafe_code)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub use corten_tier_macros::{boots_vm, t1, t2};

/// Set to `1` in the lab VM by its init.
pub const IN_VM: &str = "CORTEN_VM";

/// Set to `1` where the code under test is broken on purpose: a mutant.
pub const IN_MUTANT: &str = "CORTEN_MUTANT";

/// How long a test waits for what should happen at once. `usual` leaves room for a machine that is
/// very busy; what a mutant has broken is not waited for so long.
pub fn patience(usual: Duration) -> Duration {
    if std::env::var_os(IN_MUTANT).is_some() { usual / 5 } else { usual }
}

/// Copies a program that is to be run at once.
///
/// Another process does it: a child that a test beside this one makes at that moment would inherit the
/// descriptor that writes, and as long as it has that, nobody can run the file (ETXTBSY, execve(2)).
///
/// # Panics
/// Where it cannot be copied.
pub fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let mut copy = Command::new("cp");
    let copied = copy.arg(from.as_ref()).arg(to.as_ref()).status().expect("start cp");
    assert!(copied.success(), "copy {} to {}", from.as_ref().display(), to.as_ref().display());
}

/// Begins a T1 test: asserts root and gives the calling thread, and every process that it starts,
/// a mount namespace of its own with private propagation, so that no mount can reach the host.
///
/// # Panics
/// Where the caller is not root: a test that cannot run has failed, not passed.
pub fn enter_t1() {
    assert!(nix::unistd::geteuid().is_root(), "a T1 test needs root: run ./x test");
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).expect("unshare the mount namespace");
    nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .expect("make all mounts private");
}

/// Begins a T2 test.
///
/// # Panics
/// Outside the lab VM: what a T2 test does can harm a host.
pub fn enter_t2() {
    assert!(
        std::env::var_os(IN_VM).is_some_and(|v| v == "1"),
        "a T2 test runs only in the lab VM: ./x test"
    );
    enter_t1();
}

/// Begins a test that boots VMs of its own.
pub fn enter_boots_vm() {}

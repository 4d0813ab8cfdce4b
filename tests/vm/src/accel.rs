//! Whether KVM can be used: found out by booting with it.
//!
//! /dev/kvm may be there and open, and a stock kernel still hang under it: inside another VM whose
//! nesting is incomplete, for instance, or where the module is kvm_pvm, which runs kernels made for it. So the only probe that counts is a boot. Its answer is kept
//! until this machine boots again.

use std::fs;
use std::time::Duration;

use crate::builder::Vm;
use crate::cache;
use crate::error::{Context, Result};
use crate::job::Job;
use crate::qemu::Accel;

/// A working KVM boots in about a second.
const PROBE: Duration = Duration::from_secs(6);

/// KVM where it has been shown to work since this machine was booted, otherwise TCG.
///
/// # Errors
/// Where the kernel for the probe can't be had.
pub fn best() -> Result<Accel> {
    let usable = fs::File::options().read(true).write(true).open("/dev/kvm").is_ok();
    if !usable {
        return Ok(Accel::Tcg);
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let boot = fs::read_to_string(path).on("read", path)?;
    let answer = cache::root()?.join(format!("kvm-{}", boot.trim()));
    let _lock = cache::lock(&cache::root()?.join("kvm"))?;
    match fs::read_to_string(&answer).as_deref() {
        Ok("works") => return Ok(Accel::Kvm),
        Ok(_) => return Ok(Accel::Tcg),
        Err(_) => {}
    }
    let vm = Vm::builder()?;
    // Fetched before the clock of the probe starts.
    vm.kernel.fetch()?;
    let works = vm
        .accel(Accel::Kvm)
        .limit(PROBE)
        .job(Job::new(["true"]))
        .run(&mut std::io::sink())
        .is_ok_and(|outcome| outcome.jobs.iter().all(|job| job.status.success()));
    fs::write(&answer, if works { "works" } else { "hangs" }).on("write", &answer)?;
    Ok(if works { Accel::Kvm } else { Accel::Tcg })
}

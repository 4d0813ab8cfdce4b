//! The lab VM, through the crate corten-vm.

use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::test::build::TestBinary;
use crate::test::libtest::Tier;
use crate::test::report::Tally;
use crate::test::runner::{Settings, full_name};

/// The control groups that a VM mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cgroup {
    /// One unified hierarchy.
    V2,
    /// One hierarchy for each controller.
    V1,
}

/// A machine of the test matrix.
#[derive(Debug, Clone, Copy)]
pub struct Machine {
    kernel: &'static str,
    cgroup: Cgroup,
}

/// The machines on which T1 and T2 tests run.
pub const MATRIX: [Machine; 3] = [
    Machine { kernel: "6.1", cgroup: Cgroup::V2 },
    Machine { kernel: "6.12", cgroup: Cgroup::V2 },
    Machine { kernel: "6.12", cgroup: Cgroup::V1 },
];

impl Machine {
    fn label(&self) -> String {
        let cgroup = match self.cgroup {
            Cgroup::V2 => "v2",
            Cgroup::V1 => "v1",
        };
        format!("T1+T2 {} {cgroup}", self.kernel)
    }

    fn takes(&self, tier: Tier) -> bool {
        match tier {
            Tier::T1 => true,
            Tier::T2 => self.cgroup == Cgroup::V2,
            Tier::T2V1 => self.cgroup == Cgroup::V1,
            Tier::T0 | Tier::BootsVm => false,
        }
    }
}

/// Runs the T1 and T2 tests in one machine.
///
/// # Errors
/// Where the VM cannot be started.
pub fn run(machine: &Machine, binaries: &[TestBinary], settings: &Settings) -> Result<Tally> {
    let start = Instant::now();
    let mut expected = Vec::new();
    for binary in binaries {
        for (name, tier) in &binary.tests {
            if machine.takes(*tier) && name.contains(&settings.filter) {
                expected.push(full_name(binary, name));
            }
        }
    }
    let _: Duration = start.elapsed();
    Ok(Tally::compare(machine.label(), expected, Vec::new(), start.elapsed()))
}

/// Whether a VM boots with KVM.
///
/// # Errors
/// Where it cannot be tried.
pub fn kvm_works() -> Result<bool> {
    Err(Error::failed("the VM harness is not there yet"))
}

//! Prints how long both kernels take from QEMU's start to the first job, and to the end.

use corten_vm::{Job, Kernel, Vm};

fn main() -> Result<(), corten_vm::Error> {
    for kernel in Kernel::MATRIX {
        kernel.fetch()?;
        for _ in 0..5 {
            let vm = Vm::builder()?.kernel(kernel.clone()).job(Job::new(["true"]));
            let outcome = vm.run(&mut std::io::sink())?;
            println!(
                "{kernel} {:?}: guest {:.2} s, wall {:.2} s to the first job, {:.2} s to the end",
                outcome.accel,
                outcome.boot_guest.unwrap_or_default().as_secs_f64(),
                outcome.boot_wall.unwrap_or_default().as_secs_f64(),
                outcome.wall.as_secs_f64()
            );
        }
    }
    Ok(())
}

//! `sys::process::clone` forks without an execve right after it, which is sound only in a program
//! with one thread.
#![allow(clippy::unwrap_used)]

mod rig;

use rig::Container;

#[corten_tier::t1]
fn the_program_has_one_thread() {
    let container = Container::sleeper();
    container.write();
    let mut command = container.command(&["run", "--bundle"]);
    command.arg(container.bundle()).arg(&container.id);
    let runtime = command.spawn().unwrap();
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while !container.call(&["state", &container.id]).stdout.contains("running") {
        assert!(std::time::Instant::now() < end, "it does not run");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", runtime.id())).unwrap();
    container.kill("KILL");
    rig::wait(runtime);
    assert!(status.contains("Threads:\t1\n"), "{status}");
}

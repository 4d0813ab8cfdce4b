//! A real systemd in the lab VM, as process 1 of a pid namespace, and a caller beside it. Chapter 4
//! has it, too.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::until;

const ROLE: &str = "CORTEN_CLIENT";
const FINISHED: &str = "the client has finished";

/// Whether this process is the caller.
pub fn is_client() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Says that the caller has come to its end.
pub fn finish() {
    println!("{FINISHED}");
}

/// Runs the test `client` of this test binary beside systemd, to its end.
pub fn run_client() {
    let systemd = "/usr/lib/systemd/systemd";
    assert!(Path::new(systemd).exists(), "the VM has no systemd: install the package systemd");
    let units = Path::new("/etc/systemd/system");
    fs::create_dir_all(units).unwrap();
    fs::write(units.join("corten.target"), "[Unit]\nDefaultDependencies=no\n").unwrap();
    fs::write("/etc/machine-id", "").unwrap();
    let log = tempfile::NamedTempFile::new().unwrap();
    // The shell becomes systemd; what it has started in the background becomes its orphan.
    let script = format!(
        "mount -t tmpfs tmpfs /run; mount -t proc proc /proc; \
         {ROLE}=1 {} client --exact --nocapture >{log} 2>&1 & \
         exec env container=corten {systemd} --system --unit=corten.target --log-target=null",
        std::env::current_exe().unwrap().display(),
        log = log.path().display()
    );
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--mount", "--kill-child", "sh", "-c", &script]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let text = || fs::read_to_string(log.path()).unwrap();
    until("the client ends", || text().contains("test result: "));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(text().contains(FINISHED), "{}", text());
}

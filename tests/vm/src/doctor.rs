//! What this machine needs for booting VMs, and how to get it.

use std::path::Path;

use crate::apt;
use crate::error::Result;
use crate::image;
use crate::qemu;

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked for, and what for.
    pub what: String,
    /// How to get it; `None` where it is there.
    pub remedy: Option<String>,
}

impl Finding {
    fn new(what: impl Into<String>, missing: bool, remedy: impl Into<String>) -> Finding {
        Finding { what: what.into(), remedy: missing.then(|| remedy.into()) }
    }
}

/// Looks for everything that VMs need. KVM is not among it: without it VMs are slower.
pub fn doctor() -> Vec<Finding> {
    let programs: [(String, String); 4] = [
        (qemu::program(), qemu::remedy()),
        ("mke2fs".to_owned(), "apt-get install e2fsprogs".to_owned()),
        ("ldd".to_owned(), "apt-get install libc-bin".to_owned()),
        ("dpkg-deb".to_owned(), "apt-get install dpkg".to_owned()),
    ];
    let mut findings: Vec<Finding> = programs
        .into_iter()
        .map(|(program, remedy)| {
            let missing = !installed(&program);
            Finding::new(program, missing, remedy)
        })
        .collect();
    let busybox = image::static_busybox();
    findings.push(Finding::new(
        "busybox, statically linked",
        busybox.is_err(),
        "apt-get install busybox-static",
    ));
    let source: Result<String> = apt::codename();
    findings.push(match source {
        Ok(name) => Finding::new(format!("Debian's archive (this is {name})"), false, ""),
        Err(error) => Finding::new("Debian's archive for kernels", true, error.to_string()),
    });
    findings
}

fn installed(program: &str) -> bool {
    // mke2fs is in sbin, which an ordinary user's PATH may lack.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<_> = std::env::split_paths(&path).collect();
    directories.extend(["/usr/sbin", "/sbin"].map(|d| Path::new(d).to_path_buf()));
    directories.iter().any(|directory| directory.join(program).is_file())
}

//! What the tests of this chapter share: groups of their own that are gone afterwards, and programs
//! in them.
// Each test target compiles this module, and none uses all of it.
#![allow(dead_code)]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use corten_cgroups::launch::{self, Exit, Running};
use corten_cgroups::{Cgroup, Hierarchy, Limits, Placement, Plan, Result};

/// Nothing here takes a tenth of this.
pub const LIMIT: Duration = Duration::from_secs(30);

/// A group of the test's own, below that of the test's process. Dropped, it is emptied and removed
/// in every hierarchy.
pub struct Lab {
    pub hierarchy: Hierarchy,
    pub placement: Placement,
    cgroup: Cgroup,
}

impl Lab {
    #[track_caller]
    pub fn new(limits: Limits) -> Lab {
        Lab::try_new(limits).unwrap()
    }

    pub fn try_new(limits: Limits) -> Result<Lab> {
        let hierarchy = Hierarchy::detect()?;
        let placement = placement();
        let cgroup = Plan::create(&hierarchy, &placement, &limits)?.execute()?;
        Ok(Lab { hierarchy, placement, cgroup })
    }

    /// A group below this one.
    pub fn child(&self, name: &str, limits: Limits) -> Result<Cgroup> {
        let placement = match &self.placement {
            Placement::Below(path) => Placement::Below(path.join(name)),
            Placement::At(path) => Placement::At(path.join(name)),
        };
        Cgroup::create(&self.hierarchy, &placement, &limits)
    }

    #[track_caller]
    pub fn start(&self, script: &str) -> Running {
        start(&self.cgroup, script)
    }

    #[track_caller]
    pub fn run(&self, script: &str) -> Exit {
        self.start(script).wait().unwrap()
    }
}

impl Deref for Lab {
    type Target = Cgroup;

    fn deref(&self) -> &Cgroup {
        &self.cgroup
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.cgroup.thaw();
        let gone = self.cgroup.kill().and_then(|()| self.cgroup.remove(Duration::from_secs(5)));
        // Also where the engine is broken, as a mutant's is, nothing may stay.
        let left: Vec<PathBuf> =
            self.cgroup.groups().iter().map(|group| group.path().to_path_buf()).collect();
        sweep(&left);
        if !std::thread::panicking() {
            gone.unwrap();
        }
    }
}

/// Removes groups with the simplest means, whatever is in them.
pub fn sweep(groups: &[PathBuf]) {
    fn empty(dir: &Path) {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                empty(&entry.path());
            }
        }
        let processes = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        for pid in processes.lines().filter_map(|line| line.parse().ok()) {
            use nix::sys::signal::{Signal, kill};
            let _ = kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = std::fs::write(dir.join("freezer.state"), "THAWED");
        let _ = std::fs::remove_dir(dir);
    }
    let begun = Instant::now();
    while groups.iter().any(|dir| dir.exists()) && begun.elapsed() < Duration::from_secs(10) {
        groups.iter().for_each(|dir| empty(dir));
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A new name, unlike that of any other test.
pub fn placement() -> Placement {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Placement::Below(format!("corten-test-{}-{number}", std::process::id()).into())
}

/// `sh -c SCRIPT` in the group; its shell is busybox, which the lab VM has, too.
#[track_caller]
pub fn start(cgroup: &Cgroup, script: &str) -> Running {
    let busybox = busybox();
    let words = [busybox.as_os_str(), "sh".as_ref(), "-c".as_ref(), script.as_ref()];
    launch::start(cgroup, &words).unwrap()
}

pub fn busybox() -> PathBuf {
    ["/usr/bin/busybox", "/bin/busybox"]
        .into_iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .expect("the package busybox-static")
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < corten_tier::patience(LIMIT), "{what}: not after {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The processor time that `cgroup` has used so far.
#[track_caller]
pub fn cpu(cgroup: &Cgroup) -> Duration {
    cgroup.stats().unwrap().cpu.unwrap().usage
}

/// The binary under test: beside the tests on the host, in the PATH of the lab VM.
pub fn corten() -> Command {
    let built = Path::new(env!("CARGO_BIN_EXE_corten-cgroups"));
    let mut command =
        if built.exists() { Command::new(built) } else { Command::new("corten-cgroups") };
    command.stdin(Stdio::null());
    command
}

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    pub status: i32,
    pub out: String,
    pub err: String,
}

/// Runs `corten-cgroups` with `arguments`.
pub fn run(arguments: &[&str]) -> Ran {
    let output = corten().args(arguments).output().unwrap();
    use std::os::unix::process::ExitStatusExt;
    let status = output.status.code().unwrap_or_else(|| -output.status.signal().unwrap());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ran { status, out: text(output.stdout), err: text(output.stderr) }
}

impl Lab {
    /// The group of a plan that the test has made itself.
    #[track_caller]
    pub fn adopt(plan: Plan) -> Lab {
        let cgroup = plan.execute().unwrap();
        Lab { hierarchy: Hierarchy::detect().unwrap(), placement: placement(), cgroup }
    }
}

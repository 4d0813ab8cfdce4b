//! A container on which a verb is tried.

use std::fs::File;
use std::process::Command;

use serde_json::json;

use super::leftovers::{self, MARK};
use super::tracer::{self, Deed, Traced};
use crate::rig::{Container, Done, read};

/// How many samples a test takes where `usual` are meant: in an emulated machine all takes longer.
pub fn samples(usual: u64) -> u64 {
    let in_vm = std::env::var_os(corten_tier::IN_VM).is_some();
    if in_vm { usual / 6 } else { usual }
}

/// What is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Create,
    Start,
    Exec,
    Delete,
}

impl Verb {
    pub const ALL: [Verb; 4] = [Verb::Create, Verb::Start, Verb::Exec, Verb::Delete];

    pub fn name(self) -> &'static str {
        match self {
            Verb::Create => "create",
            Verb::Start => "start",
            Verb::Exec => "exec",
            Verb::Delete => "delete",
        }
    }
}

/// A container, and what there was before it.
pub struct Scene {
    pub container: Container,
    pub verb: Verb,
    mounts: usize,
    pid: i32,
}

/// What came of a verb that was traced.
#[derive(Debug)]
pub struct Outcome {
    pub traced: Traced,
    pub stderr: String,
}

impl Scene {
    /// A container that is ready for `verb`: for `start` it is created, for `exec` it runs, for
    /// `delete` it has stopped.
    pub fn new(verb: Verb) -> Scene {
        let mut container = Container::sleeper();
        // Something of everything that has to be undone.
        container
            .set("/linux/resources", json!({"pids": {"limit": 100}, "memory": {"limit": 1 << 28}}));
        let path = format!("/{}", container.id);
        container.set("/linux/cgroupsPath", path);
        let rule = json!({"names": ["syslog"], "action": "SCMP_ACT_ERRNO"});
        container
            .set("/linux/seccomp", json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}));
        container
            .set("/process/rlimits", [json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200})]);
        container.write();
        Scene { mounts: leftovers::mounts(), container, verb, pid: 0 }
    }

    /// Brings the container to where the verb begins.
    pub fn prepare(&mut self) {
        match self.verb {
            Verb::Create => {}
            Verb::Start => drop(self.container.create()),
            // It is left running by the one before.
            Verb::Exec if self.pid != 0 && self.container.status() == "running" => {}
            Verb::Exec => {
                self.container.started();
                self.pid = self.container.pid();
            }
            Verb::Delete => {
                self.container.started();
                self.container.kill("KILL");
                self.container.wait_for("stopped");
            }
        }
        if self.verb == Verb::Start {
            self.pid = self.container.pid();
        }
    }

    fn command(&self) -> Command {
        let (id, bundle) = (self.container.id.as_str(), self.container.bundle());
        let pid_file = self.container.outside().join("pid");
        let arguments: Vec<&std::ffi::OsStr> = match self.verb {
            Verb::Create => vec![
                "create".as_ref(),
                "--bundle".as_ref(),
                bundle.as_ref(),
                "--pid-file".as_ref(),
                pid_file.as_ref(),
                id.as_ref(),
            ],
            Verb::Start => vec!["start".as_ref(), id.as_ref()],
            Verb::Exec => vec!["exec".as_ref(), id.as_ref(), "/bin/true".as_ref()],
            Verb::Delete => vec!["delete".as_ref(), id.as_ref()],
        };
        let mut command = self.container.command(&arguments);
        command.env(MARK, id);
        let file = |name: &str| File::create(self.container.outside().join(name)).unwrap();
        command.stdout(file("traced.out")).stderr(file("traced.err"));
        command
    }

    /// The verb, with a deed done to it.
    pub fn trace(&self, deed: Deed) -> Outcome {
        let also = (self.verb == Verb::Start).then_some(self.pid);
        let traced = tracer::run(self.command(), also, deed);
        Outcome { traced, stderr: read(&self.container.outside().join("traced.err")) }
    }

    /// How many system calls the verb makes.
    pub fn count(verb: Verb) -> u64 {
        let mut scene = Scene::new(verb);
        // What is made once only, the compiled filter, is there then.
        scene.prepare();
        let first = scene.trace(Deed::Count);
        assert_eq!(first.traced.code, Some(0), "{first:?}");
        assert_eq!(scene.clear(), Vec::<String>::new());
        first.traced.calls
    }

    /// What is left, after a moment for what has been killed.
    pub fn left(&self) -> Vec<String> {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
        loop {
            let left = leftovers::of(&self.container, self.mounts);
            if left.is_empty() || std::time::Instant::now() > end {
                return left;
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// `delete --force`.
    pub fn delete(&self) -> Done {
        self.container.call(&["delete", "--force", &self.container.id])
    }

    /// What is left of an `exec` beside the container's own process.
    pub fn strays(&self) -> Vec<String> {
        let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
        loop {
            let mut pids = leftovers::processes(&self.container.id);
            pids.retain(|pid| *pid != self.pid);
            if pids.is_empty() || std::time::Instant::now() > end {
                return pids.into_iter().map(|pid| format!("process {pid}")).collect();
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// Removes everything; what cannot be removed is told.
    pub fn clear(&mut self) -> Vec<String> {
        self.pid = 0;
        let done = self.delete();
        let mut wrong = self.left();
        if !done.status.success() && !done.stderr.contains("does not exist") {
            wrong.push(format!("delete --force: {}", done.stderr.trim()));
        }
        wrong
    }
}

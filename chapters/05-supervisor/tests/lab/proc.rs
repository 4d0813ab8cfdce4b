//! Processes: as /proc shows them, and held for a while.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// All numbers.
pub fn all() -> Vec<i32> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// A file of a process, with spaces for the NUL bytes; empty where it is gone.
pub fn read(pid: i32, name: &str) -> String {
    let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// What stat says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    fields: Vec<String>,
}

pub fn stat(pid: i32) -> Stat {
    let text = read(pid, "stat");
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    Stat { fields: fields.split_whitespace().map(str::to_owned).collect() }
}

impl Stat {
    /// The field with proc(5)'s number.
    fn field(&self, number: usize) -> u64 {
        self.fields.get(number - 3).and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    pub fn is_zombie(&self) -> bool {
        self.fields.first().is_none_or(|state| state == "Z" || state == "X")
    }

    pub fn is_alive(&self) -> bool {
        !self.is_zombie()
    }

    pub fn parent(&self) -> i32 {
        self.field(4) as i32
    }

    /// Ticks of the clock in which it ran, in its own code and in the kernel.
    pub fn ticks(&self) -> u64 {
        self.field(14) + self.field(15)
    }
}

/// Waits until a process spends no time any more. One that turns in circles never comes to that; a
/// slow machine may have something left to do.
#[track_caller]
pub fn comes_to_rest(pid: i32) {
    super::until("it comes to rest instead of turning in circles", || {
        let before = stat(pid).ticks();
        std::thread::sleep(std::time::Duration::from_millis(500));
        stat(pid).ticks() - before <= 1
    });
}

/// The descriptors of a process: number and what they lead to.
pub fn descriptors(pid: i32) -> Vec<(i32, String)> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut found: Vec<(i32, String)> = entries
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, target.to_string_lossy().into_owned()))
        })
        .collect();
    found.sort();
    found
}

/// How often it has given up the processor: it waited for something, or its time was over.
pub fn switches(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let number = |line: &str| line.split_once("ctxt_switches:")?.1.trim().parse::<u64>().ok();
    status.lines().filter_map(number).sum()
}

/// Private memory in KiB. Pages of its file are shared only while another of its kind lives.
pub fn private(pid: i32) -> u64 {
    rollup(pid, "Private_Clean:") + rollup(pid, "Private_Dirty:")
}

/// Memory in KiB that is its own whoever else lives. Not what is private and dirty: a program that
/// has just been built is dirty itself, until the kernel has written it to the disk.
pub fn own(pid: i32) -> u64 {
    rollup(pid, "Anonymous:")
}

fn rollup(pid: i32, name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A process that is stopped as long as this lives: whoever waits for it in a `drop` of a test that failed would
/// wait for ever.
pub struct Stopped(Pid);

impl Stopped {
    pub fn new(pid: i32) -> Stopped {
        let pid = Pid::from_raw(pid);
        kill(pid, Signal::SIGSTOP).unwrap();
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

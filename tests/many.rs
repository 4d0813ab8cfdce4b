//! Many containers: one after the other, which must leave nothing, and at the same time, which must
//! not slow each other down.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use corten::engine::Engine;
use corten::engine::container::Request;
use corten::engine::options::{Config, HostConfig};
use serde_json::{Value, json};
use support::Host;

/// What a process that makes containers has itself, and what it has on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Footprint {
    /// KiB that no other process shares.
    memory: usize,
    descriptors: usize,
    /// Zombies are children too.
    children: usize,
    threads: usize,
    files: usize,
}

impl Footprint {
    fn take(root: &Path) -> Footprint {
        let count = |path: &str| std::fs::read_dir(path).unwrap().count();
        let children = std::fs::read_to_string("/proc/thread-self/children").unwrap();
        Footprint {
            memory: private("/proc/self/smaps_rollup"),
            descriptors: count("/proc/self/fd"),
            children: children.split_whitespace().count(),
            threads: count("/proc/self/task"),
            files: walkdir::WalkDir::new(root).into_iter().filter(Result::is_ok).count(),
        }
    }

    fn json(self) -> Value {
        json!({"private_kib": self.memory, "descriptors": self.descriptors,
            "children": self.children, "files": self.files})
    }
}

fn private(smaps: &str) -> usize {
    let text = std::fs::read_to_string(smaps).unwrap_or_default();
    let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<usize>().ok();
    text.lines().filter(|line| line.starts_with("Private_")).filter_map(kib).sum()
}

/// One that ends at once and is removed.
fn short_lived() -> Request {
    Request {
        image: "busybox".into(),
        config: Config { cmd: ["true"].into(), ..Config::default() },
        host_config: HostConfig {
            auto_remove: true,
            network_mode: "none".into(),
            ..HostConfig::default()
        },
        ..Request::default()
    }
}

/// Makes and removes `number` containers, one after the other, in one engine; gives its footprint
/// after a tenth of them and at the end.
fn one_after_the_other(host: &Host, number: usize) -> (Footprint, Footprint) {
    let engine = Engine::open(&host.root(), &host.root().join("run")).unwrap();
    let supervisor = Path::new(env!("CARGO_BIN_EXE_corten")).with_file_name("corten-supervisor");
    let engine = engine.supervised_by(&supervisor).unwrap();
    let mut early = None;
    for done in 0..number {
        if done == number / 10 {
            early = Some(Footprint::take(&host.root()));
        }
        let started = engine.run_detached(&short_lived(), &mut |_| {}).unwrap();
        let id = started.record.id.clone();
        drop(started);
        assert_eq!(engine.wait(&id).unwrap(), 0, "container {done}");
    }
    // The last supervisors end, and the next container collects them.
    std::thread::sleep(Duration::from_millis(500));
    let id = engine.run_detached(&short_lived(), &mut |_| {}).unwrap().record.id;
    engine.wait(&id).unwrap();
    (early.unwrap(), Footprint::take(&host.root()))
}

fn is_flat((early, late): &(Footprint, Footprint)) {
    // The test beside this one has some too.
    assert!(late.descriptors <= early.descriptors + 8, "{early:?} {late:?}");
    assert!(late.children <= early.children + 2, "{early:?} {late:?}");
    assert!(late.files <= early.files + 3, "{early:?} {late:?}");
    // A page here and there, and what the allocator keeps.
    assert!(late.memory <= early.memory + early.memory / 4 + 256, "{early:?} {late:?}");
}

/// Starts `number` containers that stay; the times of each start, and of `ps` at the end.
struct Crowd {
    starts: Vec<Duration>,
    ps: Vec<Duration>,
    /// Private memory of each supervisor, KiB.
    supervisors: Vec<usize>,
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted[sorted.len() / 2]
}

impl Crowd {
    fn gather(host: &Host, number: usize) -> Crowd {
        let mut starts = Vec::new();
        for at in 0..number {
            let name = format!("one-{at}");
            let args =
                ["run", "-d", "--network", "none", "--name", &name, "busybox", "sleep", "100000"];
            let begun = Instant::now();
            host.corten(&args).ok();
            starts.push(begun.elapsed());
        }
        let ps = (0..9).map(|_| {
            let begun = Instant::now();
            let list = host.corten(&["ps", "-q"]).ok();
            let took = begun.elapsed();
            assert_eq!(list.lines().count(), number);
            took
        });
        let ps = ps.collect();
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let of_ours = |entry: &std::fs::DirEntry| {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.starts_with("corten-shim") && line.contains(support::text(&host.root()))
        };
        let supervisors = processes
            .filter(of_ours)
            .map(|entry| private(support::text(&entry.path().join("smaps_rollup"))))
            .collect();
        let crowd = Crowd { starts, ps, supervisors };
        for _ in 0..10 {
            let alive = host.corten(&["ps", "-q"]).ok();
            let args: Vec<&str> = ["rm", "-f"].into_iter().chain(alive.lines().take(60)).collect();
            if args.len() > 2 {
                host.corten(&args).ok();
            }
        }
        crowd
    }
}

#[corten_tier::t1]
fn containers_come_and_go_and_leave_nothing() {
    let host = Host::with_busybox();
    let number = if std::env::var_os(corten_tier::IN_VM).is_some() { 10 } else { 100 };
    is_flat(&one_after_the_other(&host, number));
    host.assert_clean();
}

#[corten_tier::t1]
fn containers_that_live_are_all_listed_and_all_removed() {
    let host = Host::with_busybox();
    let number = if std::env::var_os(corten_tier::IN_VM).is_some() { 6 } else { 25 };
    let crowd = Crowd::gather(&host, number);
    assert_eq!(crowd.supervisors.len(), number);
    assert!(crowd.supervisors.iter().all(|kib| *kib <= 1000), "{:?}", crowd.supervisors);
    host.assert_clean();
}

mod soak {
    use super::*;

    #[test]
    #[ignore = "takes minutes: ./x soak many"]
    fn many() {
        corten_tier::enter_t1();
        let host = Host::with_busybox();
        let begun = Instant::now();
        let series = one_after_the_other(&host, 10_000);
        let each = begun.elapsed() / 10_000;
        host.assert_clean();
        let crowd = Crowd::gather(&host, 500);
        host.assert_clean();
        let (first, last) = (median(&crowd.starts[..50]), median(&crowd.starts[450..]));
        let mut supervisors = crowd.supervisors.clone();
        supervisors.sort_unstable();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        let document = json!({
            "one_after_the_other": {"containers": 10_000, "each_ms": milliseconds(each),
                "after_a_tenth": series.0.json(), "at_the_end": series.1.json()},
            "alive": {"containers": 500, "first_50_ms": milliseconds(first),
                "last_50_ms": milliseconds(last),
                "ratio": last.as_secs_f64() / first.as_secs_f64(),
                "ps_ms": milliseconds(median(&crowd.ps)),
                "supervisor_private_kib": supervisors[supervisors.len() / 2]},
        });
        println!("{document}");
        if let Some(path) = std::env::var_os("CORTEN_SOAK_RESULT") {
            std::fs::write(path, document.to_string()).unwrap();
        }
        is_flat(&series);
    }
}

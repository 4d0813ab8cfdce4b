//! Two hundred clients at the same time: containers that are run and removed, logs and events that are
//! followed, figures that are read, by clients that leave and come again.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::{Host, eventually};
use serde_json::{Value, json};

/// Clients of each kind: those that run containers, and those that follow.
const RUNNERS: usize = 20;
const FOLLOWERS: usize = 60;

/// What clients follow, and how each line of it begins.
const FOLLOWED: [&str; 3] = [
    "/containers/talks/logs?follow=1&stdout=1&tail=1",
    "/containers/talks/stats",
    "/events?since=0",
];

/// A request whose answer comes without chunks.
fn request(socket: &Path, method: &str, path: &str, body: &str) -> BufReader<UnixStream> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// Reads the headers, and gives the status.
fn status(answer: &mut impl BufRead) -> u16 {
    let mut first = String::new();
    answer.read_line(&mut first).unwrap();
    let mut line = String::new();
    while answer.read_line(&mut line).unwrap() > 2 {
        line.clear();
    }
    first.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// What is behind the headers of an answer with this status.
fn body(mut answer: BufReader<UnixStream>, wanted: u16) -> String {
    let found = status(&mut answer);
    let mut text = String::new();
    answer.read_to_string(&mut text).unwrap();
    assert_eq!(found, wanted, "{text}");
    text
}

/// As `docker run --rm` does it. The exit status must be the program's.
fn run(socket: &Path) {
    let wanted = json!({"Image": "busybox", "Cmd": ["sh", "-c", "exit 3"],
        "HostConfig": {"AutoRemove": true, "NetworkMode": "none"}});
    let made = body(request(socket, "POST", "/containers/create", &wanted.to_string()), 201);
    let made: Value = serde_json::from_str(&made).unwrap();
    let id = made["Id"].as_str().unwrap();
    let wait = format!("/containers/{id}/wait?condition=removed");
    let mut waiting = request(socket, "POST", &wait, "");
    assert_eq!(status(&mut waiting), 200);
    body(request(socket, "POST", &format!("/containers/{id}/start"), ""), 204);
    let mut end = String::new();
    waiting.read_to_string(&mut end).unwrap();
    assert!(end.contains("\"StatusCode\":3"), "{end}");
}

/// Reads on for a while, and leaves in the middle. Gives the bytes that came.
fn follow(socket: &Path, path: &str, until: Instant) -> u64 {
    let mut answer = request(socket, "GET", path, "");
    assert_eq!(status(&mut answer), 200);
    answer.get_ref().set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    let (mut heard, mut buffer) = (0, [0; 4096]);
    while Instant::now() < until {
        match answer.read(&mut buffer) {
            Ok(0) => panic!("{path} has ended by itself"),
            Ok(length) => heard += length as u64,
            Err(why) => assert_eq!(why.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    heard
}

/// What a crowd has done.
#[derive(Debug)]
struct Crowd {
    runs: u64,
    visits: u64,
    /// Bytes that the client heard which heard least, for each thing that is followed.
    least: [u64; 3],
    /// How long somebody who only asks waits, in the middle and at most.
    pings: Vec<Duration>,
    /// Before and after.
    descriptors: (usize, usize),
    threads: usize,
    resident_kib: usize,
    /// The most at any time.
    peak_kib: usize,
}

fn count(pid: u32, what: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count()
}

fn kib(pid: u32, file: &str, field: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap()
}

fn resident(pid: u32) -> usize {
    kib(pid, "smaps_rollup", "Rss:")
}

impl Crowd {
    fn gather(host: &Host, length: Duration) -> Crowd {
        let daemon = Daemon::start(host, &[]);
        let socket = daemon.socket.as_path();
        let talk = "while :; do echo x; sleep 0.05; done";
        let args =
            ["run", "-d", "--name", "talks", "--network", "none", "busybox", "sh", "-c", talk];
        daemon.docker(&args).ok();
        let pid = daemon.child.id();
        let before = count(pid, "fd");
        let (runs, visits) = (AtomicU64::new(0), AtomicU64::new(0));
        let until = Instant::now() + length;
        let (least, pings) = std::thread::scope(|scope| {
            for _ in 0..RUNNERS {
                scope.spawn(|| {
                    while Instant::now() < until {
                        run(socket);
                        runs.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let followers: Vec<Vec<_>> = FOLLOWED
                .iter()
                .map(|path| {
                    let visit = |at: usize| {
                        let visits = &visits;
                        scope.spawn(move || {
                            let mut heard = 0;
                            // Not all at the same moment.
                            let stay = Duration::from_millis(1500 + 17 * at as u64);
                            while Instant::now() < until {
                                let leave = (Instant::now() + stay).min(until);
                                heard += follow(socket, path, leave);
                                visits.fetch_add(1, Ordering::Relaxed);
                            }
                            heard
                        })
                    };
                    (0..FOLLOWERS).map(visit).collect()
                })
                .collect();
            let mut pings = Vec::new();
            while Instant::now() < until {
                let begun = Instant::now();
                assert_eq!(body(request(socket, "GET", "/_ping", ""), 200), "OK");
                pings.push(begun.elapsed());
                std::thread::sleep(Duration::from_millis(100));
            }
            let least = followers
                .into_iter()
                .map(|all| all.into_iter().map(|one| one.join().unwrap()).min().unwrap());
            let least: Vec<u64> = least.collect();
            (<[u64; 3]>::try_from(least).unwrap(), pings)
        });
        eventually("no descriptor is left of them", || (count(pid, "fd") <= before).then_some(()));
        eventually("no thread is left of them", || (count(pid, "task") < 12).then_some(()));
        eventually("memory is given back", || (resident(pid) < 64 << 10).then_some(()));
        let crowd = Crowd {
            runs: runs.into_inner(),
            visits: visits.into_inner(),
            least,
            pings,
            descriptors: (before, count(pid, "fd")),
            threads: count(pid, "task"),
            resident_kib: resident(pid),
            peak_kib: kib(pid, "status", "VmHWM:"),
        };
        daemon.docker(&["rm", "-f", "talks"]).ok();
        assert_eq!(daemon.docker(&["ps", "-aq"]).ok(), "");
        crowd
    }

    fn check(&self) {
        assert!(self.runs > 0, "{self:?}");
        assert!(self.least.iter().all(|heard| *heard > 0), "{self:?}");
        // However busy: who asks is answered.
        assert!(self.pings.iter().all(|ping| *ping < Duration::from_secs(20)), "{self:?}");
    }
}

#[corten_tier::t1]
fn two_hundred_clients_are_served_and_leave_nothing() {
    let host = Host::with_busybox();
    Crowd::gather(&host, Duration::from_secs(4)).check();
    host.assert_clean();
}

mod soak {
    use super::*;

    #[test]
    #[ignore = "takes minutes: ./x soak daemon"]
    fn daemon() {
        corten_tier::enter_t1();
        let host = Host::with_busybox();
        let mut crowd = Crowd::gather(&host, Duration::from_secs(120));
        host.assert_clean();
        crowd.pings.sort();
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
        let at =
            |part: f64| milliseconds(crowd.pings[((crowd.pings.len() - 1) as f64 * part) as usize]);
        let document = json!({
            "seconds": 120, "clients": RUNNERS + FOLLOWED.len() * FOLLOWERS,
            "containers_run": crowd.runs, "visits": crowd.visits,
            "least_bytes_heard": crowd.least,
            "ping_ms": {"n": crowd.pings.len(), "median": at(0.5), "p99": at(0.99), "max": at(1.0)},
            "descriptors": {"before": crowd.descriptors.0, "after": crowd.descriptors.1},
            "threads_after": crowd.threads, "resident_kib_after": crowd.resident_kib,
            "resident_kib_peak": crowd.peak_kib,
        });
        println!("{document}");
        if let Some(path) = std::env::var_os("CORTEN_SOAK_RESULT") {
            std::fs::write(path, document.to_string()).unwrap();
        }
        crowd.check();
        // However much there is to tell sixty of them.
        assert!(crowd.peak_kib < 200 << 10, "{} KiB", crowd.peak_kib);
    }
}

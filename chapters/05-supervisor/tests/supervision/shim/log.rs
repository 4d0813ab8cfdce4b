//! The log: drivers, rotation, failing disks, and shims that are killed while they write.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use corten_supervisor::client::Client;
use corten_supervisor::log::Driver;
use corten_supervisor::protocol::{Event, Operation};
use corten_supervisor::reader::{self, Wanted};
use corten_supervisor::settings::Log;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::lab::{Lab, proc, slack, until};

fn in_vm() -> bool {
    std::env::var_os(corten_tier::IN_VM).is_some()
}

const DRIVERS: [&str; 2] = ["json-file", "local"];

/// A container whose log is written by `driver`.
fn logged(script: &str, driver: &str, options: &[(&str, &str)]) -> Lab {
    let mut lab = Lab::new(script);
    let path = match driver {
        "local" => lab.settings.record.join("local-logs/container.log"),
        _ => lab.settings.record.join("output.log"),
    };
    let options = options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    lab.settings.log = Some(Log { driver: driver.into(), path, options, ..Log::default() });
    lab
}

fn path(lab: &Lab) -> PathBuf {
    lab.settings.log.as_ref().unwrap().path.clone()
}

/// All lines of a log, as a reader finds them.
fn lines(lab: &Lab) -> Vec<String> {
    let log = lab.settings.log.as_ref().unwrap();
    let driver = Driver::named(&log.driver).unwrap();
    let mut text = Vec::new();
    reader::read(driver, &log.path, Wanted::default(), &|| false, &mut |entry| {
        text.extend(entry.log);
        Ok(true)
    })
    .unwrap();
    String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
}

fn numbers(lines: &[String]) -> Vec<u64> {
    lines.iter().map(|line| line.parse().unwrap()).collect()
}

#[track_caller]
fn are_consecutive(numbers: &[u64]) {
    let gap = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1);
    assert_eq!(gap, None, "{} numbers", numbers.len());
}

/// The shim's own children: those that write and compress for it.
fn log_children(lab: &Lab) -> Vec<i32> {
    helpers(lab.shim_pid())
}

fn helpers(shim: i32) -> Vec<i32> {
    let own = proc::read(shim, "cmdline");
    proc::all()
        .into_iter()
        .filter(|pid| proc::stat(*pid).parent() == shim && proc::read(*pid, "cmdline") == own)
        .collect()
}

#[corten_tier::t1]
fn a_follower_reads_all_over_rotation_to_the_end() {
    for driver in DRIVERS {
        let options = [("max-size", "100k"), ("max-file", "60"), ("compress", "true")];
        let script = "n=0; while test $n -lt 40; do seq $((n*1000+1)) $((n*1000+1000)); \
                      n=$((n+1)); usleep 20000; done; printf end";
        let lab = logged(script, driver, &options);
        let mut client = lab.started();
        let ran = lab.verb(&["logs", "--follow"]);
        let expected: String = (1..=40_000).map(|n| format!("{n}\n")).collect();
        assert!(ran.out == format!("{expected}end"), "{driver}: {} bytes", ran.out.len());
        lab.end_of(&mut client);
        let files = std::fs::read_dir(path(&lab).parent().unwrap()).unwrap().count();
        assert!(files > 10, "{files}");
        lab.nothing_left();
    }
}

#[corten_tier::t1]
fn lines_are_chosen_by_number_and_time() {
    for driver in DRIVERS {
        let lab = logged("echo one; sleep 1.2; echo two; echo bad >&2", driver, &[]);
        let mut client = lab.started();
        lab.end_of(&mut client);
        let logs = |options: &[&str]| lab.verb(&[&["logs"], options].concat());
        let ran = logs(&[]);
        assert_eq!((ran.out.as_str(), ran.err.as_str()), ("one\ntwo\n", "bad\n"));
        assert_eq!(logs(&["--tail", "2"]).out, "two\n");
        let stamped = logs(&["--timestamps", "--tail", "2"]).out;
        let (time, text) = stamped.split_once(' ').unwrap();
        assert_eq!((time.len(), text), ("2026-11-25T18:00:00.123456789Z".len(), "two\n"));
        assert_eq!(logs(&["--since", time]).out, "two\n");
        assert_eq!(logs(&["--until", time]).out, "one\ntwo\n");
        assert_eq!(logs(&["--since", "1h"]).out, "one\ntwo\n");
        assert_eq!(logs(&["--since", "0"]).out, "one\ntwo\n");
        assert_eq!(logs(&["--until", "1h"]).out, "");
        assert!(logs(&["--since", "yesterday"]).err.contains("must be a time"));
    }
}

/// How many bytes this thread reads in `body`.
fn bytes_read<T>(body: impl FnOnce() -> T) -> (T, u64) {
    let read = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        text.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse().ok()).unwrap()
    };
    let before = read();
    let found = body();
    (found, read() - before)
}

fn found(path: &Path, wanted: Wanted) -> Vec<u64> {
    let mut all = Vec::new();
    reader::read(Driver::JsonFile, path, wanted, &|| false, &mut |entry| {
        all.push(std::str::from_utf8(&entry.log).unwrap().trim_end().parse().unwrap());
        Ok(true)
    })
    .unwrap();
    all
}

/// The line with this number, so many seconds after 1970.
fn document(number: u64) -> String {
    let time = reader::fixed_time(number * 1_000_000_000);
    format!("{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n")
}

/// 10 GB, most of which is a hole: a line in each of its megabytes, and some more at its end.
#[corten_tier::t1]
fn the_last_lines_of_a_large_log_come_at_once() {
    let lab = Lab::new("");
    let path = lab.base().join("large.log");
    let file = std::fs::File::create(&path).unwrap();
    let megabytes = 10 << 10;
    for number in 0..megabytes {
        file.write_all_at(format!("\n{}", document(number)).as_bytes(), number << 20).unwrap();
    }
    let tail: String = (megabytes..megabytes + 20).map(document).collect();
    file.write_all_at(tail.as_bytes(), megabytes << 20).unwrap();
    assert!(path.metadata().unwrap().len() > 10 << 30);
    let (last, read) = bytes_read(|| found(&path, Wanted { tail: Some(10), ..Wanted::default() }));
    assert_eq!(last, (megabytes + 10..megabytes + 20).collect::<Vec<_>>());
    assert!(read < 300_000, "{read} bytes");
    // The next newline may be a megabyte away here, so each step of the search reads that much.
    let seconds = |number: u64| Some(number * 1_000_000_000);
    let middle = Wanted { since: seconds(5000), until: seconds(5003), ..Wanted::default() };
    let (chosen, read) = bytes_read(|| found(&path, middle));
    assert_eq!(chosen, [5000, 5001, 5002, 5003]);
    assert!(read < 60_000_000, "{read} bytes");
}

/// Without holes: what is read does not depend on the size of the log.
#[corten_tier::t1]
fn a_time_is_found_without_reading_what_is_before() {
    let lab = Lab::new("");
    let path = lab.base().join("large.log");
    let mut file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
    let all = if in_vm() { 50_000 } else { 500_000 };
    for number in 0..all {
        file.write_all(document(number).as_bytes()).unwrap();
    }
    drop(file);
    let seconds = |number: u64| Some(number * 1_000_000_000);
    for first in [0, 1, all / 2, all - 10] {
        let wanted =
            Wanted { since: seconds(first), until: seconds(first + 5), ..Wanted::default() };
        let (chosen, read) = bytes_read(|| found(&path, wanted));
        assert_eq!(chosen, (first..=first + 5).collect::<Vec<_>>());
        assert!(read < 2_000_000, "{first}: {read} bytes");
    }
}

/// In a flood, with files that take turns and are compressed meanwhile.
#[corten_tier::t1]
fn a_shim_that_is_killed_leaves_whole_lines_each_once() {
    let rotated = [("max-size", "300k"), ("max-file", "4"), ("compress", "true")];
    for n in 0..if in_vm() { 8 } else { 16 } {
        let driver = DRIVERS[n % 2];
        let options = if n % 4 < 2 { &rotated[..] } else { &[] };
        let mut lab = logged("seq 1 100000000", driver, options);
        let (mut client, mut shim) = lab.shim();
        client.start().unwrap();
        until("it writes", || path(&lab).metadata().is_ok_and(|metadata| metadata.len() > 0));
        std::thread::sleep(Duration::from_millis(13 * n as u64 % 100));
        kill(Pid::from_raw(shim.id() as i32), Signal::SIGKILL).unwrap();
        shim.wait().unwrap();
        let before = numbers(&lines(&lab));
        assert!(!before.is_empty());
        are_consecutive(&before);
        // And the next shim goes on with it.
        let directory = path(&lab).parent().unwrap().to_owned();
        let kept = lab.base().join("kept");
        copy(&directory, &kept);
        lab.verb(&["rm"]).ok();
        copy(&kept, &directory);
        lab.config["process"]["args"] = serde_json::json!(["echo", "again"]);
        let mut client = lab.started();
        lab.end_of(&mut client);
        let all = lines(&lab);
        let (last, rest) = all.split_last().unwrap();
        assert_eq!(last, "again");
        let rest = numbers(rest);
        are_consecutive(&rest);
        assert!(rest.last() >= before.last(), "{:?} of {:?}", rest.last(), before.last());
        match options {
            [] => assert_eq!(rest.first(), before.first()),
            // It may have been killed when a file was full: as the next begins the oldest goes, one of four.
            _ => assert!(rest.len() * 10 >= before.len() * 7, "{} of {}", rest.len(), before.len()),
        }
        std::fs::remove_dir_all(&kept).unwrap();
        lab.nothing_left();
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// What the shim tells of its log.
fn told(client: &mut Client) -> String {
    loop {
        match client.next_event().unwrap() {
            Some(Event::LogFailed { why, .. }) => return why,
            Some(_) => {}
            None => panic!("it has ended"),
        }
    }
}

/// A container that writes lines, says that it has, and one more when it may go on.
fn writer(driver: &str) -> Lab {
    let script = "while ! test -e /tmp/begin; do usleep 10000; done; seq 1 5000; touch /tmp/full; \
                  while ! test -e /tmp/go; do usleep 10000; done; echo 5001; echo 5002; sleep 1000";
    logged(script, driver, &[])
}

/// Lets it write, `fail`s it, lets it go on after `mend`; gives its lines.
fn through_a_failure(
    lab: &Lab,
    why: &str,
    fail: impl FnOnce(),
    mend: impl FnOnce(),
) -> Vec<String> {
    let mut client = lab.started();
    client.perform(Operation::Events).unwrap();
    fail();
    std::fs::write(lab.rootfs().join("tmp/begin"), "").unwrap();
    let said = told(&mut client);
    assert!(said.contains(why), "{said}");
    // The container goes on.
    until("it has written all", || lab.rootfs().join("tmp/full").exists());
    mend();
    std::fs::write(lab.rootfs().join("tmp/go"), "").unwrap();
    // A few lines may have found room before, more than once.
    while !told(&mut client).contains("it is written again: ") {}
    until("the last line", || lines(lab).last().is_some_and(|line| line == "5002"));
    let lines = lines(lab);
    client.stop(Some(libc::SIGKILL), None).unwrap();
    lines
}

/// Each line is there, or counted where it is missing.
#[track_caller]
fn nothing_is_forgotten(lines: &[String], why: &str) {
    let (mut next, mut losses) = (1, 0);
    for line in lines {
        match line.strip_prefix("corten: ").and_then(|text| text.split_once(' ')) {
            Some((missing, text)) => {
                assert!(text.contains(why), "{text}");
                next += missing.parse::<u64>().unwrap();
                losses += 1;
            }
            None => {
                assert_eq!(line.parse::<u64>().unwrap(), next);
                next += 1;
            }
        }
    }
    assert_eq!(next, 5003);
    assert!(losses > 0);
}

#[corten_tier::t1]
fn a_full_disk_stops_nobody_and_the_loss_is_told() {
    for driver in DRIVERS {
        let lab = writer(driver);
        let directory = path(&lab).parent().unwrap().join("small");
        std::fs::create_dir_all(&directory).unwrap();
        // All of it has room when the ballast is gone, also what is still on its way then.
        let size = Some("size=600k");
        mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::empty(), size).unwrap();
        let mut lab = lab;
        lab.settings.log.as_mut().unwrap().path = directory.join("log");
        std::fs::write(directory.join("ballast"), vec![0; 550 << 10]).unwrap();
        let free = || std::fs::remove_file(directory.join("ballast")).unwrap();
        let lines = through_a_failure(&lab, "No space left", || {}, free);
        nothing_is_forgotten(&lines, "No space left");
        umount2(&directory, MntFlags::MNT_DETACH).unwrap();
    }
}

/// A file that may not grow is an error of its writer, and not the end of it (SIGXFSZ).
#[corten_tier::t1]
fn a_file_that_may_not_grow_stops_nobody() {
    for driver in DRIVERS {
        let lab = writer(driver);
        let limit = |bytes| crate::lab::sys::limit_file_size(lab.shim_pid(), bytes);
        let (small, large) = (|| limit(30_000), || limit(u64::MAX));
        let lines = through_a_failure(&lab, "File too large", small, large);
        nothing_is_forgotten(&lines, "File too large");
    }
}

#[corten_tier::t1]
fn a_log_that_cannot_be_opened_keeps_the_container_from_starting() {
    let mut lab = logged("true", "json-file", &[]);
    let directory = lab.base().join("readonly");
    std::fs::create_dir(&directory).unwrap();
    let none = None::<&str>;
    mount(Some("tmpfs"), &directory, Some("tmpfs"), MsFlags::MS_RDONLY, none).unwrap();
    lab.settings.log.as_mut().unwrap().path = directory.join("log");
    let (mut client, mut shim) = lab.shim();
    assert!(client.start().is_err());
    assert!(!shim.wait().unwrap().success());
    assert!(lab.errors().contains("EROFS"), "{}", lab.errors());
    umount2(&directory, MntFlags::MNT_DETACH).unwrap();
    lab.nothing_left();
}

/// The disk stands still, which here is the process that waits for it.
#[corten_tier::t1]
fn in_non_blocking_mode_a_disk_that_stands_still_holds_up_nobody() {
    for driver in DRIVERS {
        let all = if in_vm() { 40_000 } else { 300_000 };
        let script = format!(
            "echo 0; while ! test -e /tmp/begin; do usleep 10000; done; \
             seq 1 {all}; touch /tmp/full; sleep 1000"
        );
        let options = [("mode", "non-blocking"), ("max-buffer-size", "100k")];
        let lab = logged(&script, driver, &options);
        let mut client = lab.started();
        client.perform(Operation::Events).unwrap();
        until("it writes", || lines(&lab) == ["0"]);
        let [child] = log_children(&lab)[..] else { panic!("{:?}", log_children(&lab)) };
        let stopped = proc::Stopped::new(child);
        std::fs::write(lab.rootfs().join("tmp/begin"), "").unwrap();
        until("the program goes on", || lab.rootfs().join("tmp/full").exists());
        assert!(told(&mut client).contains("the disk is too slow"));
        assert!(lines(&lab).len() < all / 2);
        drop(stopped);
        assert!(told(&mut client).contains("lines are missing"));
        until("the newest", || lines(&lab).last().is_some_and(|line| *line == all.to_string()));
        assert!(numbers(&lines(&lab)).is_sorted_by(|a, b| a < b));
        client.stop(Some(libc::SIGKILL), None).unwrap();
        lab.nothing_left();
    }
}

/// What may take time is done by children; the shim forks, and may do that with one thread only.
#[corten_tier::t1]
fn a_shim_has_one_thread_whatever_its_log_does() {
    let (size, all) = if in_vm() { ("100k", 20_000) } else { ("2m", 300_000) };
    let rotated = [("max-size", size), ("max-file", "3"), ("compress", "true")];
    let apart = [&rotated[..], &[("mode", "non-blocking")]].concat();
    for options in [&rotated[..], &apart] {
        let lab = logged(&format!("seq 1 {all}; sleep 1000"), "json-file", options);
        let mut client = lab.started();
        let (begun, shim) = (Instant::now(), lab.shim_pid());
        let (looks, helped) = (AtomicBool::new(true), AtomicBool::new(false));
        std::thread::scope(|scope| {
            // What compresses a file is there the longer, the larger that is.
            scope.spawn(|| {
                while looks.load(Ordering::SeqCst) && begun.elapsed() < 2 * slack() {
                    helped.fetch_or(!helpers(shim).is_empty(), Ordering::SeqCst);
                }
            });
            while begun.elapsed() < slack() {
                let threads = std::fs::read_dir(format!("/proc/{shim}/task")).unwrap();
                assert_eq!(threads.count(), 1);
                // Which forks, beside what compresses.
                let (exec, _, _) = client.exec(lab.exec(&["true"], None)).unwrap();
                assert_eq!(client.wait_exec(exec).unwrap(), 0);
            }
            looks.store(false, Ordering::SeqCst);
        });
        // An emulated machine is slow to look.
        assert!(helped.into_inner() || in_vm());
        until("it has come to rest", || {
            lines(&lab).last().is_some_and(|line| *line == all.to_string())
        });
        assert!(proc::own(lab.shim_pid()) <= 1000, "{} KiB", proc::own(lab.shim_pid()));
        client.stop(Some(libc::SIGKILL), None).unwrap();
        lab.nothing_left();
    }
}

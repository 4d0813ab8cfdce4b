//! What of a log is read.

use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::log::rotation::{numbered, packed};
use crate::log::{Output, stamp};
use crate::settings::Log;

/// The line with this number, written that many seconds after 1970.
fn line(number: usize) -> String {
    let time = stamp::rfc3339(number as u64 * stamp::SECOND);
    format!("{{\"log\":\"{number}\\n\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n")
}

fn write(path: &Path, numbers: Range<usize>) {
    std::fs::write(path, numbers.map(line).collect::<String>()).unwrap();
}

fn compress(path: &Path, to: &Path, last: usize) {
    compress_as(path, to, last, 0);
}

/// With `inode` for the number that the plain file had.
fn compress_as(path: &Path, to: &Path, last: usize, inode: u64) {
    use std::io::Write;
    let time = stamp::rfc3339(last as u64 * stamp::SECOND);
    let extra = format!("{{\"lastTime\":\"{time}\",\"inode\":{inode}}}");
    let file = std::fs::File::create(to).unwrap();
    let mut encoder = flate2::GzBuilder::new().extra(extra).write(file, Default::default());
    encoder.write_all(&std::fs::read(path).unwrap()).unwrap();
    encoder.finish().unwrap();
    std::fs::remove_file(path).unwrap();
}

fn found(path: &Path, wanted: Wanted) -> Vec<usize> {
    let mut all = Vec::new();
    read(Driver::JsonFile, path, wanted, &|| false, &mut |entry| {
        all.push(std::str::from_utf8(&entry.log).unwrap().trim_end().parse().unwrap());
        Ok(true)
    })
    .unwrap();
    all
}

/// Lines 0 to 3020 in three files, one of them compressed.
fn scene() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write(&numbered(&path, 2), 0..3000);
    compress(&numbered(&path, 2), &packed(&path, 2), 2999);
    write(&numbered(&path, 1), 3000..3010);
    write(&path, 3010..3020);
    (dir, path)
}

#[test]
fn the_tail_is_the_last_of_everything() {
    let (dir, path) = scene();
    let tail = |tail| found(&path, Wanted { tail, ..Wanted::default() });
    assert_eq!(tail(None), (0..3020).collect::<Vec<_>>());
    for count in [1, 2, 9, 10, 11, 19, 20, 21, 500, 3019, 3020, 5000] {
        let first = 3020usize.saturating_sub(count);
        assert_eq!(tail(Some(count)), (first..3020).collect::<Vec<_>>(), "{count}");
    }
    assert_eq!(tail(Some(0)), [0; 0]);
    let none = dir.path().join("none");
    assert_eq!(found(&none, Wanted { tail: Some(3), ..Wanted::default() }), [0; 0]);
}

#[test]
fn what_is_written_meanwhile_is_read_by_who_follows_only() {
    for driver in ["json-file", "local"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log { driver: driver.into(), path: path.clone(), ..Log::default() };
        let mut output = Output::open(Some(&log)).unwrap();
        (0..10).for_each(|_| drop(output.write(false, b"before\n")));
        // Of those there are then: each that is read brings another one.
        for (tail, expected) in [(Some(2), 2), (Some(200), 12), (None, 24)] {
            let (mut count, wanted) = (0, Wanted { tail, ..Wanted::default() });
            read(Driver::named(driver).unwrap(), &path, wanted, &|| true, &mut |_| {
                output.write(false, b"meanwhile\n");
                count += 1;
                Ok(count < 100)
            })
            .unwrap();
            assert_eq!(count, expected, "{driver} {tail:?}");
        }
    }
}

#[test]
fn half_a_line_is_none() {
    let (_dir, path) = scene();
    let half = [std::fs::read(&path).unwrap(), b"{\"log\":\"ha".to_vec()].concat();
    std::fs::write(&path, half).unwrap();
    let two = Wanted { tail: Some(2), ..Wanted::default() };
    assert_eq!(found(&path, two), [3018, 3019]);
}

/// As an ext4 does it, which gives a number to the next file.
#[test]
fn a_file_with_the_number_that_a_compressed_one_had_is_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write(&path, 100..110);
    let number = std::os::unix::fs::MetadataExt::ino(&path.metadata().unwrap());
    write(&numbered(&path, 1), 0..100);
    compress_as(&numbered(&path, 1), &packed(&path, 1), 99, number);
    assert_eq!(found(&path, Wanted::default()), (0..110).collect::<Vec<_>>());
}

#[test]
fn times_choose() {
    let (_dir, path) = scene();
    let time = |number: usize| Some(number as u64 * stamp::SECOND);
    for (since, until) in [
        (0, 3020),
        (1, 3019),
        (2999, 3001),
        (1500, 1501),
        (3005, 3015),
        (3019, 3019),
        (3020, 4000),
        (3010, 3010),
        (10, 5),
    ] {
        let wanted = Wanted { since: time(since), until: time(until), ..Wanted::default() };
        let expected: Vec<_> = (0..3020).filter(|n| (since..=until).contains(n)).collect();
        assert_eq!(found(&path, wanted), expected, "{since} to {until}");
    }
    let wanted = Wanted { since: time(3015), tail: Some(10), ..Wanted::default() };
    assert_eq!(found(&path, wanted), (3015..3020).collect::<Vec<_>>());
    let wanted = Wanted { until: time(3005), tail: Some(18), ..Wanted::default() };
    assert_eq!(found(&path, wanted), [3002, 3003, 3004, 3005]);
}

/// Somewhere in a file of many blocks.
#[test]
fn halving_finds_every_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let all = 20_000;
    write(&path, 0..all);
    for since in (0..all + 5).step_by(997).chain([1, all - 1, all]) {
        let wanted = Wanted { since: Some(since as u64 * stamp::SECOND), ..Wanted::default() };
        assert_eq!(found(&path, wanted), (since.min(all)..all).collect::<Vec<_>>(), "{since}");
    }
}

#[test]
fn what_is_damaged_is_passed_over() {
    for driver in ["json-file", "local"] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = Log { driver: driver.into(), path: path.clone(), ..Log::default() };
        let mut output = Output::open(Some(&log)).unwrap();
        for number in 0..100 {
            output.write(false, format!("{number}\n").as_bytes());
        }
        let whole = std::fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 30] {
            let mut bytes = whole.clone();
            bytes[at..at + 30].fill(0);
            std::fs::write(&path, bytes).unwrap();
            for tail in [None, Some(50)] {
                let (mut all, wanted) = (Vec::new(), Wanted { tail, ..Wanted::default() });
                read(Driver::named(driver).unwrap(), &path, wanted, &|| false, &mut |entry| {
                    all.push(String::from_utf8(entry.log).unwrap().trim().parse::<u32>().unwrap());
                    Ok(true)
                })
                .unwrap();
                let most = tail.unwrap_or(100);
                assert!(all.len() >= most - 3 && all.len() <= most, "{driver} {at}: {all:?}");
                assert!(all.is_sorted_by(|a, b| a < b));
            }
        }
    }
}

#[test]
fn a_follower_sees_each_line_once_across_rotation() {
    for (driver, compress) in [("json-file", "false"), ("json-file", "true"), ("local", "true")] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let options = [("max-size", "2k"), ("max-file", "50"), ("compress", compress)];
        let log = Log {
            driver: driver.into(),
            path: path.clone(),
            options: options.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            ..Log::default()
        };
        let (done, seen) = (AtomicBool::new(false), Mutex::new(vec![]));
        let mut output = Output::open(Some(&log)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let is_written = || !done.load(Ordering::Acquire);
                let wanted = Wanted { follow: true, ..Wanted::default() };
                read(Driver::named(driver).unwrap(), &path, wanted, &is_written, &mut |entry| {
                    seen.lock().unwrap().push(String::from_utf8(entry.log).unwrap());
                    Ok(true)
                })
                .unwrap();
            });
            for number in 0..2000 {
                output.write(false, format!("line {number}\n").as_bytes());
                collect(&mut output);
                // So that the reader may be many files behind, but not behind the oldest.
                while seen.lock().unwrap().len() + 500 < number {
                    std::thread::yield_now();
                }
            }
            output.end();
            done.store(true, Ordering::Release);
        });
        let expected: Vec<String> = (0..2000).map(|number| format!("line {number}\n")).collect();
        let seen = seen.into_inner().unwrap();
        let differ = seen.iter().zip(&expected).find(|(seen, expected)| seen != expected);
        assert_eq!(differ, None, "{driver} {compress}");
        assert_eq!(seen.len(), expected.len());
        output.close();
    }
}

/// Learns of the end of what compresses, where it has ended.
fn collect(output: &mut Output) {
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    let Some(pid) = output.child() else { return };
    let ended = waitpid(nix::unistd::Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).unwrap();
    if let WaitStatus::Exited(_, status) = ended {
        output.child_ended(pid, status);
    }
}

#[test]
fn following_ends_when_its_time_is_over() {
    let (_dir, path) = scene();
    let wanted = Wanted {
        tail: Some(1),
        until: Some(4000 * stamp::SECOND),
        follow: true,
        ..Wanted::default()
    };
    let mut all = 0;
    read(Driver::JsonFile, &path, wanted, &|| true, &mut |_| {
        all += 1;
        Ok(true)
    })
    .unwrap();
    assert_eq!(all, 1);
}

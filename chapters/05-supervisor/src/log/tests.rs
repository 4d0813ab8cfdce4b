//! What is in the files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::rotation::{numbered, packed};
use super::*;
use crate::reader::{self, Entry, Wanted};

/// A log in a directory of its own.
struct Scene {
    dir: tempfile::TempDir,
    log: Log,
}

impl Scene {
    fn new(driver: &str, options: &[(&str, &str)]) -> Scene {
        let dir = tempfile::tempdir().unwrap();
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let path = dir.path().join("log");
        Scene { dir, log: Log { driver: driver.into(), path, options, ..Log::default() } }
    }

    fn open(&self) -> Output {
        Output::open(Some(&self.log)).unwrap()
    }

    fn path(&self) -> &Path {
        &self.log.path
    }

    fn entries(&self) -> Vec<Entry> {
        let driver = Driver::named(&self.log.driver).unwrap();
        let mut found = Vec::new();
        reader::read(driver, self.path(), Wanted::default(), &|| false, &mut |entry| {
            found.push(entry);
            Ok(true)
        })
        .unwrap();
        found
    }

    fn text(&self) -> Vec<String> {
        self.entries().into_iter().map(|e| String::from_utf8(e.log).unwrap()).collect()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

/// Waits for whatever compresses, as the shim does.
fn settle(output: &mut Output) {
    let begun = Instant::now();
    while let Some(Writer { sink: Sink::Here(losing), .. }) = &mut output.log
        && let Some(pid) = losing.file.child()
    {
        assert!(begun.elapsed() < Duration::from_secs(20));
        match nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid), None) {
            Ok(nix::sys::wait::WaitStatus::Exited(_, status)) => {
                losing.file.child_ended(pid, status);
            }
            other => panic!("{other:?}"),
        }
    }
}

const DRIVERS: [&str; 2] = ["json-file", "local"];

#[test]
fn output_becomes_lines_however_it_is_cut() {
    for driver in DRIVERS {
        let scene = Scene::new(driver, &[]);
        let mut output = scene.open();
        let long = "x".repeat(lines::LONGEST + 10);
        let text = format!("one\n\ntwo\n{long}\nrest");
        for piece in text.as_bytes().chunks(7) {
            assert!(output.write(false, piece).is_none());
        }
        output.write(true, b"err");
        output.end();
        let first = "x".repeat(lines::LONGEST);
        let expected = ["one\n", "\n", "two\n", &first, "xxxxxxxxxx\n", "rest", "err"];
        assert_eq!(scene.text(), expected);
    }
}

#[test]
fn half_an_entry_of_a_crash_is_cut_off() {
    for driver in DRIVERS {
        let scene = Scene::new(driver, &[]);
        scene.open().write(false, b"whole\n");
        let whole = std::fs::read(scene.path()).unwrap();
        for cut in 1..whole.len() {
            std::fs::write(scene.path(), [&whole[..], &whole[..cut]].concat()).unwrap();
            scene.open().write(false, b"next\n");
            assert_eq!(scene.text(), ["whole\n", "next\n"], "{driver} {cut}");
        }
        // Of what a power cut may leave.
        std::fs::write(scene.path(), [&whole[..], &[0; 5000]].concat()).unwrap();
        scene.open().write(false, b"next\n");
        assert_eq!(scene.text(), ["whole\n", "next\n"], "{driver}");
    }
}

/// A container writes what an entry looks like; a crash cuts it off anywhere.
#[test]
fn an_entry_within_an_entry_is_none() {
    let scene = Scene::new("local", &[]);
    scene.open().write(false, b"inner\n");
    let inner = std::fs::read(scene.path()).unwrap();
    std::fs::remove_file(scene.path()).unwrap();
    let outer = [&inner.repeat(3)[..], b"\n"].concat();
    scene.open().write(false, &outer);
    let whole = std::fs::read(scene.path()).unwrap();
    let logs = || scene.entries().into_iter().map(|entry| entry.log).collect::<Vec<_>>();
    let expected = logs();
    assert_eq!(expected.concat(), outer);
    for cut in 0..whole.len() {
        std::fs::write(scene.path(), &whole[..cut]).unwrap();
        scene.open().write(false, b"next\n");
        let found = logs();
        let (last, before) = found.split_last().unwrap();
        assert_eq!(last, b"next\n");
        assert!(expected.starts_with(before), "{cut}");
    }
}

#[test]
fn files_change_places_when_they_are_full() {
    for driver in DRIVERS {
        let options = [("max-size", "1k"), ("max-file", "3"), ("compress", "false")];
        let scene = Scene::new(driver, &options);
        let mut output = scene.open();
        for number in 0..100 {
            output.write(false, format!("line {number}\n").as_bytes());
        }
        for file in [numbered(scene.path(), 2), numbered(scene.path(), 1)] {
            // Full with the entry that filled it, as with moby.
            let size = std::fs::metadata(&file).unwrap().len();
            assert!((1000..1100).contains(&size), "{size}");
        }
        assert_eq!(scene.names(), ["log", "log.1", "log.2"]);
        let all = scene.text();
        let expected: Vec<_> =
            (100 - all.len()..100).map(|number| format!("line {number}\n")).collect();
        assert_eq!(all, expected, "the newest, in order, none twice");
    }
}

/// A batch that fills several files falls into the same pieces as line by line.
#[test]
fn a_flood_is_rotated_where_a_trickle_is() {
    for driver in DRIVERS {
        let options = [("max-size", "2k"), ("max-file", "9"), ("compress", "false")];
        let (flood, trickle) = (Scene::new(driver, &options), Scene::new(driver, &options));
        let lines: Vec<_> = (0..100).map(|number| format!("line {number:03}\n")).collect();
        flood.open().write(false, lines.concat().as_bytes());
        let mut output = trickle.open();
        for line in &lines {
            output.write(false, line.as_bytes());
        }
        assert_eq!(flood.text(), lines);
        assert_eq!(trickle.text(), lines);
        assert_eq!(flood.names(), trickle.names());
        let sizes = |scene: &Scene| -> Vec<u64> {
            let path = |name: &String| scene.dir.path().join(name);
            scene.names().iter().map(|name| path(name).metadata().unwrap().len()).collect()
        };
        if driver == "local" {
            assert_eq!(sizes(&flood), sizes(&trickle));
        }
    }
}

#[test]
fn with_one_file_a_full_one_is_begun_anew() {
    let scene = Scene::new("json-file", &[("max-size", "1k")]);
    let mut output = scene.open();
    for number in 0..100 {
        output.write(false, format!("line {number}\n").as_bytes());
    }
    assert_eq!(scene.names(), ["log"]);
    assert_eq!(scene.text().last().unwrap(), "line 99\n");
}

#[test]
fn older_files_are_compressed_and_read() {
    for driver in DRIVERS {
        let options = [("max-size", "10k"), ("max-file", "4"), ("compress", "true")];
        let scene = Scene::new(driver, &options);
        let mut output = scene.open();
        for number in 0..500 {
            output.write(false, format!("line {number} {}\n", "x".repeat(40)).as_bytes());
            settle(&mut output);
        }
        assert_eq!(scene.names(), ["log", "log.1.gz", "log.2.gz", "log.3.gz"]);
        let all = scene.text();
        let first = 500 - all.len();
        for (number, line) in (first..).zip(&all) {
            assert!(line.starts_with(&format!("line {number} ")), "{line}");
        }
        assert!(all.len() > 200, "{}", all.len());
        // As gzip has them, with moby's time in the header.
        let mut decoder =
            flate2::read::GzDecoder::new(std::fs::File::open(packed(scene.path(), 1)).unwrap());
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut decoder, &mut text).unwrap();
        let extra = decoder.header().unwrap().extra().unwrap();
        let header: serde_json::Value = serde_json::from_slice(extra).unwrap();
        let last = stamp::parse(header["lastTime"].as_str().unwrap()).unwrap();
        assert!(last <= now() && last > now() - 60 * stamp::SECOND);
    }
}

/// A flood does not wait for what compresses: files may change places meanwhile, or go.
#[test]
fn what_is_compressed_may_move_or_go() {
    for rotations in [1, 2, 3, 4, 9] {
        let options = [("max-size", "1k"), ("max-file", "4"), ("compress", "true")];
        let scene = Scene::new("json-file", &options);
        let mut output = scene.open();
        for number in 0..12 * rotations {
            output.write(false, format!("line {number} {}\n", "x".repeat(40)).as_bytes());
        }
        let before = scene.text();
        settle(&mut output);
        assert_eq!(scene.text(), before, "{rotations}");
        let names = scene.names();
        let plain = names.iter().filter(|name| *name != "log" && !name.ends_with(".gz"));
        assert_eq!(plain.count(), 0, "{names:?}");
    }
}

/// Whoever is killed before a file is compressed, or after it is and before the plain one is gone.
#[test]
fn what_was_not_compressed_is_compressed_at_the_next_start() {
    let options = [("max-size", "1k"), ("max-file", "4"), ("compress", "true")];
    let scene = Scene::new("json-file", &options);
    let plain = Scene::new("json-file", &[("max-size", "1k"), ("max-file", "4")]);
    for number in 0..30 {
        plain.open().write(false, format!("line {number}\n").as_bytes());
    }
    let names = plain.names();
    for name in &names {
        std::fs::copy(plain.dir.path().join(name), scene.dir.path().join(name)).unwrap();
    }
    std::fs::write(packed(scene.path(), 1), "half").unwrap();
    std::fs::write(rotation::packing(scene.path()), "half").unwrap();
    std::fs::write(rotation::next(scene.path()), "").unwrap();
    assert_eq!(scene.text(), plain.text(), "a reader is not led astray");
    let mut output = scene.open();
    settle(&mut output);
    assert_eq!(scene.text(), plain.text());
    assert!(scene.names().iter().all(|name| name == "log" || name.ends_with(".gz")));
}

/// A file that may not grow: as good as a full disk, and every user can make one.
#[test]
fn what_cannot_be_written_is_told_and_counted() {
    for driver in DRIVERS {
        let scene = Scene::new(driver, &[]);
        let small = scene.dir.path().join("small");
        std::fs::create_dir(&small).unwrap();
        let mut output = scene.open();
        output.write(false, b"before\n");
        // In the place of the file one that takes nothing.
        let full = std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
        let Some(Writer { sink: Sink::Here(losing), .. }) = &mut output.log else { panic!() };
        let file = losing.file.replace(full);
        let told = output.write(false, b"one\ntwo\n");
        let Some(Event::LogFailed { why, .. }) = told else { panic!("{told:?}") };
        assert!(why.contains("No space left"), "{why}");
        assert!(output.write(false, b"three\n").is_none(), "once");
        let Some(Writer { sink: Sink::Here(losing), .. }) = &mut output.log else { panic!() };
        losing.file.replace(file);
        let told = output.write(false, b"after\n");
        let Some(Event::LogFailed { why, .. }) = told else { panic!("{told:?}") };
        assert_eq!(why, "it is written again: 3 lines are missing");
        output.write(false, b"later\n");
        let text = scene.text();
        let line =
            "corten: 3 lines of output are missing here: No space left on device (os error 28)\n";
        assert_eq!(text, ["before\n", line, "after\n", "later\n"]);
    }
}

/// Also where nothing comes any more that could be written after it.
#[test]
fn what_is_missing_at_the_end_is_said() {
    let scene = Scene::new("json-file", &[]);
    let mut output = scene.open();
    let full = std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let Some(Writer { sink: Sink::Here(losing), .. }) = &mut output.log else { panic!() };
    let file = losing.file.replace(full);
    assert!(output.write(false, b"one\n").is_some());
    let Some(Writer { sink: Sink::Here(losing), .. }) = &mut output.log else { panic!() };
    losing.file.replace(file);
    assert!(output.end().is_some());
    assert!(scene.text().concat().starts_with("corten: 1 lines of output are missing here"));
    assert!(output.end().is_none());
}

#[test]
fn none_keeps_nothing() {
    let scene = Scene::new("none", &[]);
    let mut output = scene.open();
    assert!(output.write(false, b"x\n").is_none());
    output.end();
    assert_eq!(scene.names(), [""; 0]);
    let path: PathBuf = scene.path().into();
    assert!(
        reader::read(Driver::None, &path, Wanted::default(), &|| false, &mut |_| Ok(true)).is_err()
    );
}

#[test]
fn in_non_blocking_mode_a_child_writes() {
    for driver in DRIVERS {
        let scene = Scene::new(driver, &[("mode", "non-blocking"), ("max-buffer-size", "10m")]);
        let mut output = scene.open();
        let lines: Vec<_> = (0..10_000).map(|number| format!("line {number}\n")).collect();
        for some in lines.chunks(100) {
            assert!(output.write(false, some.concat().as_bytes()).is_none());
        }
        assert!(output.end().is_none());
        assert_eq!(scene.text(), lines);
        assert!(output.waits().is_none());
    }
}

/// The writer stands still: the newest lines are kept, and the loss is told.
#[test]
fn a_writer_that_is_too_slow_loses_the_oldest() {
    use nix::sys::signal::{Signal, kill};
    let scene = Scene::new("json-file", &[("mode", "non-blocking"), ("max-buffer-size", "100k")]);
    let mut output = scene.open();
    output.write(false, b"line 0\n");
    let Some(Writer { sink: Sink::Apart(apart), .. }) = &output.log else { panic!() };
    let child = nix::unistd::Pid::from_raw(apart.child().unwrap());
    kill(child, Signal::SIGSTOP).unwrap();
    let mut told = Vec::new();
    for number in 1..20_000 {
        told.extend(output.write(false, format!("line {number}\n").as_bytes()));
    }
    assert_eq!(told.len(), 1, "{told:?}");
    kill(child, Signal::SIGCONT).unwrap();
    let last = output.end();
    let Some(Event::LogFailed { why, .. }) = last else { panic!("{last:?}") };
    let text = scene.text();
    assert_eq!(text.first().unwrap(), "line 0\n");
    assert_eq!(text.last().unwrap(), "line 19999\n");
    let numbers: Vec<u32> = text.iter().map(|line| line[5..].trim().parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    let missing = 20_000 - numbers.len();
    assert!(why.contains(&format!("{missing} lines are missing")), "{why} {missing}");
}

/// Whoever writes is killed: the next one does, and what was handed on whole is there.
#[test]
fn a_writer_that_is_killed_has_a_successor() {
    use nix::sys::signal::{Signal, kill};
    for driver in DRIVERS {
        let scene = Scene::new(driver, &[("mode", "non-blocking")]);
        let mut output = scene.open();
        output.write(false, b"line 0\n");
        let begun = Instant::now();
        while scene.text().is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            std::thread::yield_now();
        }
        let Some(Writer { sink: Sink::Apart(apart), .. }) = &output.log else { panic!() };
        kill(nix::unistd::Pid::from_raw(apart.child().unwrap()), Signal::SIGKILL).unwrap();
        std::thread::sleep(Duration::from_millis(100));
        let told = output.write(false, b"line 1\n");
        let Some(Event::LogFailed { why, .. }) = told else { panic!("{told:?}") };
        assert!(why.contains("has ended"), "{why}");
        output.write(false, b"line 2\n");
        output.end();
        assert_eq!(scene.text(), ["line 0\n", "line 1\n", "line 2\n"], "{driver}");
    }
}

/// The oldest file makes room for a new one, also where there is none otherwise.
#[test]
fn a_full_file_is_replaced_on_a_disk_that_is_full() {
    let scene = Scene::new("json-file", &[("max-size", "1k"), ("max-file", "2")]);
    let mut output = scene.open();
    output.write(false, "x".repeat(2000).as_bytes());
    output.write(false, b"\n");
    let full = std::fs::OpenOptions::new().read(true).write(true).open("/dev/full").unwrap();
    let Some(Writer { sink: Sink::Here(losing), .. }) = &mut output.log else { panic!() };
    losing.lost = Some((1, "No space left".into()));
    losing.file.replace(full);
    let told = output.write(false, b"after\n");
    assert!(matches!(told, Some(Event::LogFailed { .. })));
    assert_eq!(scene.text().last().unwrap(), "after\n");
    assert_eq!(scene.names(), ["log", "log.1"]);
}

//! The solutions of the exercises of chapter 5, each put to the test.
// clippy.toml allows it in functions with #[test], not in those that they call.
#![allow(clippy::unwrap_used)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::os::unix::fs::symlink;
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use corten_supervisor::protocol::{Event, Operation};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[path = "../examples/found.rs"]
#[allow(dead_code)]
mod found;
mod lab;
#[path = "../examples/tail.rs"]
#[allow(dead_code)]
mod tail;
#[path = "../examples/watch.rs"]
#[allow(dead_code)]
mod watch;
#[path = "../examples/words.rs"]
#[allow(dead_code)]
mod words;

use found::Found;
use lab::{Lab, until};

/// One directory with the supervisors of all `labs`.
fn gathered(labs: &[&Lab]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for lab in labs {
        symlink(lab.directory(), root.path().join(lab.id())).unwrap();
    }
    root
}

#[corten_tier::t1]
fn exercise_1_all_events_of_all_containers() {
    let wait = "while ! test -e /tmp/go; do sleep 0.05; done";
    let (one, two) = (Lab::new(&format!("{wait}; exit 3")), Lab::new(&format!("{wait}; exit 4")));
    let ended = Lab::new("true");
    ended.run(&[]).ok();
    let mut clients = [one.started(), two.started()];
    let root = gathered(&[&one, &two, &ended]);
    let heard = Mutex::new(BTreeMap::<String, Option<u8>>::new());
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            watch::watch(root.path(), &mut |id, event| {
                let status = if let Event::Exit(exit) = event { Some(exit.status) } else { None };
                heard.lock().unwrap().insert(id.to_owned(), status);
            })
        });
        until("both are watched", || {
            for client in &mut clients {
                client.perform(Operation::Pause).unwrap();
                client.perform(Operation::Resume).unwrap();
            }
            heard.lock().unwrap().len() == 2
        });
        for lab in [&one, &two] {
            std::fs::write(lab.rootfs().join("tmp/go"), "").unwrap();
        }
        watching.join().unwrap().unwrap();
    });
    let expected = [(one.id().to_owned(), Some(3)), (two.id().to_owned(), Some(4))];
    assert_eq!(*heard.lock().unwrap(), expected.into_iter().collect());
}

/// Counts what is read.
struct Counted<'a> {
    file: Cursor<&'a [u8]>,
    read: &'a Cell<usize>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.read.set(self.read.get() + length);
        Ok(length)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}

#[test]
fn exercise_2_the_last_lines_and_not_the_first() {
    let lines: Vec<String> = (0..100_000).map(|number| format!("line {number}\n")).collect();
    let text = lines.concat();
    for wanted in [0, 1, 2, 10, 500] {
        let read = Cell::new(0);
        let mut file = Counted { file: Cursor::new(text.as_bytes()), read: &read };
        let found = tail::tail(&mut file, wanted).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), lines[lines.len() - wanted..].concat());
        assert!(read.get() <= wanted * 16 + 4096, "{} bytes for {wanted} lines", read.get());
    }
}

#[test]
fn exercise_2_every_shape_of_an_end() {
    let long = "x".repeat(10_000);
    for (text, lines, expected) in [
        ("", 3, ""),
        ("\n", 1, "\n"),
        ("a", 1, "a"),
        ("a\nb", 1, "b"),
        ("a\nb\n", 1, "b\n"),
        ("a\n\n", 1, "\n"),
        ("a\nb\n", 9, "a\nb\n"),
        (&format!("a\n{long}\nb"), 2, &format!("{long}\nb")),
    ] {
        let found = tail::tail(&mut Cursor::new(text), lines).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), expected, "{lines} of {text:.20}");
    }
}

#[corten_tier::t1]
fn exercise_3_what_has_become_of_each() {
    let [lives, ended, lost] = ["sleep 1000", "exit 7", "sleep 1000"].map(Lab::new);
    let _client = lives.started();
    assert_eq!(ended.run(&[]).status, 7);
    lost.run(&["--detach"]).ok();
    kill(Pid::from_raw(lost.shim_pid()), Signal::SIGKILL).unwrap();
    let root = gathered(&[&lives, &ended, &lost]);
    let found = || found::look(root.path()).unwrap();
    until("the shim is gone", || found().get(lost.id()) == Some(&Found::Lost));
    assert_eq!(found()[lives.id()], Found::Lives);
    assert_eq!(found()[ended.id()], Found::Ended(7));
}

/// Whoever reads the end first and the lock afterwards takes some that end for lost.
#[corten_tier::t1]
fn exercise_3_one_that_ends_meanwhile_is_not_lost() {
    for _ in 0..10 {
        let lab = Lab::new("exit 7");
        let client = lab.started();
        let (root, id) = (lab.root(), lab.id().to_owned());
        let mut seen = Found::Lives;
        while seen == Found::Lives {
            seen = found::look(&root).unwrap()[&id];
        }
        drop(client);
        assert_eq!(seen, Found::Ended(7));
    }
}

type Run = fn(&mut Command, &mut dyn FnMut(&[u8])) -> std::io::Result<ExitStatus>;

/// Its output, of which the first piece is taken slowly, and its status.
fn heard(run: Run, script: &str) -> (usize, i32) {
    let mut heard = 0;
    let mut take = |bytes: &[u8]| {
        if heard == 0 {
            std::thread::sleep(Duration::from_millis(300));
        }
        heard += bytes.len();
    };
    let status = run(Command::new("sh").args(["-c", script]), &mut take).unwrap();
    (heard, status.code().unwrap())
}

#[test]
fn exercise_4_the_last_words_are_lost_and_are_not() {
    let script = "head -c 60000 /dev/zero; exit 3";
    let (some, status) = heard(words::broken, script);
    assert!(some < 60_000 && status == 3, "{some}");
    assert_eq!(heard(words::mended, script), (60_000, 3));
}

#[test]
fn exercise_4_an_output_that_is_held_open_keeps_nobody() {
    let begun = Instant::now();
    let scene = tempfile::tempdir().unwrap();
    let holder = scene.path().join("pid");
    let held = format!("sleep 20 & echo $! >{}; echo hello", holder.display());
    assert_eq!(heard(words::mended, &held), (6, 0));
    // Who writes for ever is not read for ever.
    let (some, status) = heard(words::mended, "yes & exit 4");
    assert!(status == 4 && some <= 2 << 20, "{some}");
    // And an end of the output is none of the program.
    assert_eq!(heard(words::mended, "echo hello; exec >&-; sleep 0.2; exit 5"), (6, 5));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    let holder = std::fs::read_to_string(holder).unwrap();
    let holder = Pid::from_raw(holder.trim().parse().unwrap());
    kill(holder, Signal::SIGKILL).expect("nobody has held it open");
}

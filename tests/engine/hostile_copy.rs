//! Attacks on `corten cp` by whoever lives in the container, or has made the archive.
//!
//! CVE-2018-15664: a path is checked, then exchanged for a link, then used. CVE-2019-14271 needs a
//! process that enters the container and loads its libraries, which there is none of here.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Host, outcome, text};
use corten::engine::files::Scope;
use corten::engine::{Engine, Error};
use corten_unionfs::Limits;
use corten_unionfs::archive::{Archive, Kind};
use corten_unionfs::extract::Extract;
use corten_unionfs::fixture::LayerBuilder;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

/// How often an attacker may try. An emulated machine is ten times slower, and the host runs the
/// same tests.
fn rounds() -> u32 {
    if std::env::var_os(corten_tier::IN_VM).is_some() { 20 } else { 200 }
}

/// A directory of the host that nobody may read or write, and its content.
fn secret(host: &Host) -> PathBuf {
    let secret = host.path("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("f"), "the host's\n").unwrap();
    secret
}

/// Goes on until `attempt` has seen enough and there were `rounds` of them, or a minute is over: how
/// often either side wins is the scheduler's affair.
fn attempts(rounds: u32, mut attempt: impl FnMut(usize) -> bool) {
    let start = Instant::now();
    for round in 0.. {
        let enough = attempt(round);
        let over = start.elapsed() > Duration::from_secs(60);
        if over || (enough && round + 1 >= rounds as usize) {
            return;
        }
    }
}

fn content(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = walkdir::WalkDir::new(dir).into_iter().map(|entry| entry.unwrap().into_path());
    files.map(|path| (path.clone(), std::fs::read(&path).unwrap_or_default())).collect()
}

/// Does `attack` again and again until the work is done; says how often it did.
fn meanwhile(mut attack: impl FnMut() + Send, work: impl FnOnce()) -> u32 {
    let (done, times) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                attack();
                times.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Also where a test fails the other thread ends.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        worked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    times.into_inner()
}

/// Exchanges two names in the directory `dir` of the container whose first process is `pid`.
fn exchange(pid: i32, dir: &str, a: &str, b: &str) -> impl FnMut() + Send {
    let dir = PathBuf::from(format!("/proc/{pid}/root{dir}"));
    let (a, b) = (dir.join(a), dir.join(b));
    move || renameat2(AT_FDCWD, &a, AT_FDCWD, &b, RenameFlags::RENAME_EXCHANGE).unwrap()
}

/// What is at `path`, packed; `None` where that failed, which an attacker may well achieve.
fn packed(engine: &Engine, path: &str) -> Option<Vec<u8>> {
    let files = engine.files("box", Scope::Whole).unwrap();
    let mut archive = Vec::new();
    files.part(Path::new(path)).and_then(|part| part.write(&mut archive)).ok()?;
    Some(archive)
}

fn holds(archive: &[u8], text: &str) -> bool {
    archive.windows(text.len()).any(|window| window == text.as_bytes())
}

fn start(host: &Host, script: &str) -> (Engine, i32) {
    host.corten(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    host.corten(&["exec", "box", "sh", "-c", script]).ok();
    let engine = Engine::open(&host.root(), &host.root().join("run")).unwrap();
    (engine, host.running().unwrap().0)
}

fn end(host: &Host) {
    host.corten(&["rm", "-f", "box"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn a_directory_that_becomes_a_link_while_it_is_copied_leads_nowhere() {
    let host = Host::with_busybox();
    let secret = secret(&host);
    let script = format!(
        "mkdir -p /w/d/sub; echo inside > /w/d/f; echo inside > /w/d/sub/f; ln -s {0} /w/evil; \
         ln -s ../../../../../../../..{0} /w/up",
        text(&secret)
    );
    let (engine, pid) = start(&host, &script);
    let before = content(&secret);
    let archive = LayerBuilder::new()
        .dir("sub", 0o755)
        .file("sub/new", 0o4755, "from outside")
        .symlink("sub/link", "/etc/passwd")
        .fifo("sub/pipe", 0o666)
        .file("new", 0o644, "from outside")
        .build();
    let (mut read, mut written) = (0, 0);
    for link in ["evil", "up"] {
        let times = meanwhile(exchange(pid, "/w", "d", link), || {
            attempts(rounds() / 2, |round| {
                let path = ["/w/d/f", "/w/d", "/w/d/.", "/w/d/sub/f", "/w"][round % 5];
                if let Some(archive) = packed(&engine, path) {
                    assert!(!holds(&archive, "the host's"), "{path}");
                    read += u32::from(holds(&archive, "inside"));
                }
                let path = Path::new(["/w/d", "/w/d/sub", "/w/evil"][round % 3]);
                let files = engine.files("box", Scope::Whole).unwrap();
                let done = files.extract(path, &archive[..], &Extract::default());
                written += u32::from(done.is_ok());
                assert_eq!(content(&secret), before, "{path:?}");
                read > 0 && written > 0
            });
        });
        assert!(times > rounds(), "the attacker has tried {times} times");
    }
    // Otherwise the attack would show nothing.
    assert!(read > 0 && written > 0, "{read} read, {written} written");
    end(&host);
}

/// The engine is bound by no device group. What it opens to read must be a file when it is open.
#[corten_tier::t1]
fn a_file_that_becomes_a_device_or_a_pipe_is_not_opened() {
    let host = Host::with_busybox();
    let script = "mkdir /w /w/zero /w/pipe /w/link; for d in zero pipe link; do \
                  echo inside > /w/$d/f; done; mknod /w/zero/x c 1 5; mkfifo /w/pipe/x; \
                  ln -s /etc/passwd /w/link/x";
    let (engine, pid) = start(&host, script);
    for other in ["zero", "pipe", "link"] {
        let mut read = 0;
        // It neither waits for a writer nor reads what is no file.
        let dir = format!("/w/{other}");
        meanwhile(exchange(pid, &dir, "f", "x"), || {
            attempts(rounds() / 3, |_| {
                if let Some(archive) = packed(&engine, &format!("{dir}/f")) {
                    let mut entries = Archive::new(&archive[..], Limits::default());
                    let kind = entries.next_entry().unwrap().unwrap().kind;
                    let is_file = kind == Kind::File { size: 7 };
                    assert_eq!(is_file, holds(&archive, "inside\n"), "{other}");
                    read += u32::from(is_file);
                }
                read > 0
            });
        });
        assert!(read > 0, "{other}");
    }
    end(&host);
}

#[corten_tier::t1]
fn an_archive_cannot_lead_out_of_the_place_it_is_unpacked_to() {
    let host = Host::with_busybox();
    let secret = secret(&host);
    let outside = text(&secret).to_owned();
    let layers = |to: &str| {
        let new = || LayerBuilder::new();
        [
            ("..", new().file("../../../../../../../../tmp/corten-out", 0o644, "x"), true),
            ("inner ..", new().dir("a", 0o755).file("a/../../b", 0o644, "x"), true),
            ("absolute", new().file(format!("{to}/new"), 0o644, "x"), false),
            ("link", new().symlink("l", to).file("l/new", 0o644, "x"), false),
            (
                "link up",
                new().symlink("l", "../../../../../..").file("l/tmp/new", 0o644, "x"),
                false,
            ),
            (
                "overwritten link",
                new().symlink("l", format!("{to}/f")).file("l", 0o644, "x"),
                false,
            ),
            ("hard link", new().hard_link("h", format!("{to}/f")), true),
            ("hard link up", new().hard_link("h", "../../../../../../etc/passwd"), true),
            (
                "hard link by a link",
                new().symlink("l", to).hard_link("h", "l/f").file("h", 0o644, "x"),
                true,
            ),
        ]
    };
    host.corten(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let before = content(&secret);
    for (what, layer, refused) in layers(&outside) {
        let archive = layer.build();
        let mut command = host.command(&["cp", "-", "box:/tmp"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(&archive);
        let done = outcome(child.wait_with_output().unwrap());
        assert_eq!(content(&secret), before, "{what}");
        if refused {
            assert_eq!(done.status, 1, "{what}: {done:?}");
        }
        // The same on the host, below the directory that was named.
        let to = host.path("to");
        std::fs::create_dir(&to).unwrap();
        let root = corten_namespaces::Root::open(&to).unwrap();
        let how = Extract { harmless: true, ..Extract::default() };
        let _ = corten_unionfs::extract::extract(&archive[..], &root, Path::new("/"), &how);
        assert_eq!(content(&secret), before, "{what} on the host");
        std::fs::remove_dir_all(&to).unwrap();
    }
    assert!(!Path::new("/tmp/corten-out").exists());
    end(&host);
}

/// A container replaces what is being unpacked by links, so that what follows acts on those.
#[corten_tier::t1]
fn what_is_made_may_be_replaced_at_once_and_nothing_outside_changes() {
    let host = Host::with_busybox();
    let secret = secret(&host);
    let key = secret.join("f");
    let (engine, pid) = start(&host, &format!("mkdir /w; ln -s {} /w/evil", text(&key)));
    let mode = |path: &Path| {
        use std::os::unix::fs::MetadataExt;
        let meta = std::fs::metadata(path).unwrap();
        (meta.mode(), meta.uid(), meta.mtime(), meta.len())
    };
    let before = mode(&key);
    let archive = LayerBuilder::new()
        .owner(1234, 1234)
        .fifo("x", 0o6777)
        .char_device("x", 0o6777, (1, 3))
        .file("x", 0o6777, "x")
        .build();
    let w = PathBuf::from(format!("/proc/{pid}/root/w"));
    let attack = || {
        // Into the place of what is made just now.
        let (evil, x) = (w.join("evil"), w.join("x"));
        if renameat2(AT_FDCWD, &evil, AT_FDCWD, &x, RenameFlags::RENAME_EXCHANGE).is_ok() {
            let _ = std::fs::remove_file(&evil);
            let _ = std::fs::rename(&x, &evil);
        }
    };
    meanwhile(attack, || {
        for _ in 0..rounds() {
            let files = engine.files("box", Scope::Whole).unwrap();
            let _ = files.extract(Path::new("/w"), &archive[..], &Extract::default());
            assert_eq!(mode(&key), before);
        }
    });
    end(&host);
}

#[corten_tier::t1]
fn an_archive_is_never_whole_in_memory() {
    let host = Host::with_busybox();
    let (engine, _) = start(&host, "mkdir /w");
    // A sparse file of 8 GiB comes out as its map, and half a gigabyte goes in as it comes.
    let hole =
        ["exec", "box", "dd", "if=/dev/zero", "of=/w/f", "bs=1", "count=1", "seek=8589934591"];
    host.corten(&hole).ok();
    assert!(packed(&engine, "/w/f").unwrap().len() < 1 << 20);
    let memory = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    };
    let one = LayerBuilder::new().file("big", 0o644, vec![7; 1 << 20]).build();
    let archive = Again { bytes: one[..512 + (1 << 20)].to_vec(), at: 0, left: 512 };
    let before = memory();
    let files = engine.files("box", Scope::Whole).unwrap();
    let done = files.extract(Path::new("/w"), archive, &Extract::default()).unwrap();
    assert_eq!(done.entries, 512);
    assert!(memory() - before < 64 << 10, "in KiB: {}", memory() - before);
    drop(files);
    end(&host);
}

/// The same bytes so many times.
struct Again {
    bytes: Vec<u8>,
    at: usize,
    left: u32,
}

impl Read for Again {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let length = buffer.len().min(self.bytes.len() - self.at);
        buffer[..length].copy_from_slice(&self.bytes[self.at..self.at + length]);
        self.at += length;
        if self.at == self.bytes.len() {
            (self.at, self.left) = (0, self.left - 1);
        }
        Ok(length)
    }
}

#[corten_tier::t1]
fn a_container_that_comes_and_goes_is_copied_from_or_the_error_says_why() {
    let host = Host::with_busybox();
    host.corten(&[
        "run",
        "-d",
        "--name",
        "box",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "true",
    ])
    .ok();
    let engine = Engine::open(&host.root(), &host.root().join("run")).unwrap();
    for _ in 0..rounds() {
        match engine.files("box", Scope::Whole) {
            Ok(files) => assert!(files.stat(Path::new("/etc/passwd")).unwrap().size > 0),
            Err(error) => assert!(matches!(error, Error::Refused { .. }), "{error}"),
        }
    }
    end(&host);
}

//! What the machine has no more of: disk, descriptors, processes, memory, time that goes forward.
//! The engine says what is missing and what can be done, nothing is lost, and nothing is left.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::{self, Host, Outcome, eventually, outcome, text};
use corten_cgroups::cgroup::Cgroup;
use corten_cgroups::hierarchy::{Hierarchy, Placement};
use corten_cgroups::limits::{Limits, Max};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Writes numbered lines until it is told to end.
const WRITER: &str =
    "trap 'exit 9' TERM; i=1; while :; do echo line $i; i=$((i+1)); sleep 0.01; done";

/// A state directory on a small file system of its own, and the image.
fn on_a_small_disk(size: &str) -> Host {
    let host = Host::on_small_disk(size);
    host.import(&support::busybox_layer(), &["import", "-c", "CMD [\"sh\"]", "-", "busybox"]);
    host
}

fn end(mut host: Host) {
    host.settle();
    let left = host.corten(&["ps", "-a", "-q"]).ok();
    assert_eq!(left, "", "{}", host.corten(&["ps", "-a"]).ok());
    let pids = || host.names("run/.runtime");
    eventually("the runtime's state is empty", || pids().is_empty().then_some(()));
    host.unmount();
}

/// Failed for want of it, in one line that says so.
#[track_caller]
fn lacks(outcome: Outcome, errno: &str, remedy: &str) {
    assert!([1, 125].contains(&outcome.status), "{outcome:?}");
    let last = outcome.err.lines().last().unwrap_or_default();
    assert!(last.starts_with("corten: ") && last.contains(errno), "{outcome:?}");
    assert!(last.contains(remedy), "{outcome:?}");
}

#[track_caller]
fn status(host: &Host, name: &str, is: &str) {
    let list = host.corten(&["ps", "-a"]).ok();
    let line = list.lines().find(|line| line.ends_with(name));
    assert!(line.is_some_and(|line| line.contains(is)), "{name} {is}:\n{list}");
}

/// A start that failed has either left the container as it was, or, where it gave room enough back for that,
/// written down that it failed, and why.
#[track_caller]
fn was_not_started(host: &Host, name: &str) {
    let text = host.corten(&["inspect", "-f", "{{json .State}}", name]).ok();
    let state: serde_json::Value = serde_json::from_str(&text).unwrap();
    let error = state["Error"].as_str().unwrap();
    match state["Status"].as_str().unwrap() {
        "created" => assert_eq!((&state["ExitCode"], error), (&0.into(), ""), "{text}"),
        "exited" => {
            assert_eq!(state["ExitCode"], 125, "{text}");
            assert!(error.contains("ENOSPC"), "{text}");
        }
        _ => panic!("{text}"),
    }
}

/// The log has whole lines, from the first on; where the disk had no room for some, it says how many.
/// (What fails for want of room gives room back, so that others may come after those.)
#[track_caller]
fn assert_every_line_is_there_or_known_to_be_missing(host: &Host) {
    // Both streams in their order.
    let both = "exec \"$0\" logs writer 2>&1";
    let mut command = Command::new("sh");
    command.args(["-c", both, env!("CARGO_BIN_EXE_corten")]).env("CORTEN_ROOT", host.root());
    let mut next = 1;
    for line in outcome(command.output().unwrap()).ok().lines() {
        let missing = line.strip_prefix("corten: ").and_then(|rest| {
            rest.strip_suffix(
                " lines of output are missing here: No space left on device (os error 28)",
            )
        });
        match missing {
            Some(missing) => next += missing.parse::<u64>().unwrap(),
            None => {
                assert_eq!(line, format!("line {next}"));
                next += 1;
            }
        }
    }
    assert!(next > 1);
}

#[corten_tier::t1]
fn a_full_disk_refuses_what_is_new_and_loses_nothing() {
    let host = on_a_small_disk("16m");
    host.corten(&["run", "-d", "--name", "writer", "busybox", "sh", "-c", WRITER]).ok();
    host.corten(&["create", "--name", "made", "busybox", "true"]).ok();
    eventually("a line is written", || {
        (!host.corten(&["logs", "writer"]).ok().is_empty()).then_some(())
    });
    // What fails for want of room may give some back.
    let fill = host.root().join("fill");
    let is_full = || {
        let mut dd = Command::new("dd");
        dd.args(["if=/dev/zero", "bs=4k", "oflag=append", "conv=notrunc"]);
        dd.arg(format!("of={}", text(&fill))).stderr(Stdio::null());
        assert!(!dd.status().unwrap().success(), "the disk is full");
    };
    for new in [
        &["run", "--rm", "busybox", "true"][..],
        &["create", "--name", "new", "busybox", "true"],
        &["start", "made"],
        &["rename", "writer", "other"],
        &["update", "-m", "64m", "writer"],
    ] {
        is_full();
        lacks(host.corten(new), "ENOSPC", "df -h");
    }
    is_full();
    // What is there can be looked at, entered, frozen and ended.
    status(&host, "writer", "Up");
    was_not_started(&host, "made");
    assert_eq!(host.corten(&["exec", "writer", "echo", "hello"]).ok(), "hello\n");
    for act in ["pause", "unpause", "stop"] {
        host.corten(&[act, "writer"]).ok();
    }
    status(&host, "writer", "Exited (9)");
    std::fs::remove_file(&fill).unwrap();
    status(&host, "writer", "Exited (9)");
    assert_every_line_is_there_or_known_to_be_missing(&host);
    assert_eq!(host.run(&["echo", "again"]).ok(), "again\n");
    host.corten(&["rm", "writer", "made"]).ok();
    end(host);
}

#[corten_tier::t1]
fn on_a_read_only_disk_what_runs_can_be_looked_at_entered_and_ended() {
    let host = on_a_small_disk("64m");
    host.corten(&["run", "-d", "--name", "writer", "busybox", "sh", "-c", WRITER]).ok();
    host.corten(&["create", "--name", "made", "busybox", "true"]).ok();
    // The engines' sight of the disk is read-only, but for what is in memory on a machine.
    let (run, aside) = (host.root().join("run"), host.path("aside"));
    std::fs::create_dir(&aside).unwrap();
    let bind = |from: &Path, to: &Path, flags| {
        mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | flags, None::<&str>).unwrap();
    };
    bind(&run, &aside, MsFlags::empty());
    bind(&host.root(), &host.root(), MsFlags::empty());
    bind(&host.root(), &host.root(), MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    bind(&aside, &run, MsFlags::empty());
    // As after a boot.
    std::fs::remove_dir_all(run.join(".names")).unwrap();

    for new in [
        &["run", "--rm", "busybox", "true"][..],
        &["create", "--name", "new", "busybox", "true"],
        &["start", "made"],
        &["rename", "writer", "other"],
        &["volume", "create", "data"],
        &["rm", "made"],
    ] {
        lacks(host.corten(new), "EROFS", "read-only");
    }
    for look in [&["images"][..], &["inspect", "writer"], &["logs", "writer"], &["volume", "ls"]] {
        host.corten(look).ok();
    }
    status(&host, "writer", "Up");
    assert_eq!(host.corten(&["exec", "writer", "echo", "hello"]).ok(), "hello\n");
    for act in ["pause", "unpause", "stop"] {
        host.corten(&[act, "writer"]).ok();
    }
    // What could not be written into its state is known all the same, and is said at each look.
    status(&host, "writer", "Exited (9)");
    let looked = host.corten(&["ps"]);
    assert!(looked.err.contains("EROFS"), "{looked:?}");
    assert_eq!(host.corten(&["wait", "writer"]).ok(), "9\n");

    for path in [&run, &host.root(), &aside] {
        umount2(path.as_path(), MntFlags::empty()).unwrap();
    }
    std::fs::remove_dir(&aside).unwrap();
    status(&host, "writer", "Exited (9)");
    host.corten(&["rm", "writer", "made"]).ok();
    end(host);
}

/// Where the supervisor could not write beside the container, the end is beside its socket.
#[corten_tier::t1]
fn an_end_that_could_not_be_written_is_not_lost() {
    let host = Host::with_busybox();
    host.corten(&["run", "-d", "--name", "writer", "busybox", "sh", "-c", WRITER]).ok();
    let (_, supervisor) = host.running().unwrap();
    let directory = host.root().join("containers").join(&host.names("containers")[0]);
    // No file can take the name of a directory.
    let in_the_way = directory.join("exit.json");
    std::fs::create_dir(&in_the_way).unwrap();
    // Which may end before it has said so.
    host.corten(&["exec", "writer", "kill", "1"]);
    eventually("its supervisor has ended", || (!support::is_alive(supervisor)).then_some(()));
    std::fs::remove_dir(&in_the_way).unwrap();
    status(&host, "writer", "Exited (9)");
    host.corten(&["rm", "writer"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn without_descriptors_it_is_said_and_nothing_is_left() {
    let host = Host::with_busybox();
    host.corten(&["run", "-d", "--name", "writer", "busybox", "sh", "-c", WRITER]).ok();
    // With fewer not even the program's libraries can be opened.
    let (mut failed, mut worked) = (0, 0);
    for limit in (8..200).step_by(4) {
        let ulimit = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args([
            "-c",
            &ulimit,
            env!("CARGO_BIN_EXE_corten"),
            "run",
            "--rm",
            "busybox",
            "true",
        ]);
        let ended = outcome(command.env("CORTEN_ROOT", host.root()).output().unwrap());
        if ended.status == 0 {
            worked += 1;
            if worked > 3 {
                break;
            }
            continue;
        }
        failed += 1;
        lacks(ended, "EMFILE", "");
    }
    assert!(failed > 3 && worked > 3, "{failed} failed, {worked} worked");
    status(&host, "writer", "Up");
    host.corten(&["stop", "writer"]).ok();
    host.corten(&["rm", "writer"]).ok();
    host.settle();
    host.assert_clean();
}

/// Runs `corten` in a control group with these limits.
fn limited(host: &Host, limits: &Limits, args: &[&str]) -> Outcome {
    let hierarchy = Hierarchy::detect().unwrap();
    let group =
        Cgroup::create(&hierarchy, &Placement::At(support::unique("limits").into()), limits)
            .unwrap();
    // It waits until it is in the group.
    let mut command = Command::new("sh");
    command.args(["-c", "read -r go; exec \"$0\" \"$@\" </dev/null", env!("CARGO_BIN_EXE_corten")]);
    command.args(args).env("CORTEN_ROOT", host.root());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    group.add(child.id().cast_signed()).unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"go\n").unwrap();
    let ended = outcome(child.wait_with_output().unwrap());
    eventually("its supervisor has ended", || group.processes().unwrap().is_empty().then_some(()));
    group.remove(Duration::from_secs(10)).unwrap();
    ended
}

#[corten_tier::t1]
fn without_processes_it_is_said_and_nothing_is_left() {
    let host = Host::with_busybox();
    let (mut failed, mut worked) = (0, 0);
    for most in 1..12 {
        let limits = Limits { pids: Some(Max::At(most)), ..Limits::default() };
        let ended = limited(&host, &limits, &["run", "--rm", "busybox", "true"]);
        match ended.status {
            0 => worked += 1,
            _ => {
                failed += 1;
                lacks(ended, "EAGAIN", "pids.max");
            }
        }
    }
    assert!(failed > 0 && worked > 0, "{failed} failed, {worked} worked");
    host.settle();
    host.assert_clean();
}

#[corten_tier::t1]
fn an_engine_killed_for_want_of_memory_leaves_nothing() {
    // By a signal: without a status.
    const KILLED: i32 = -1;
    let host = Host::with_busybox();
    host.corten(&["run", "-d", "--name", "writer", "busybox", "sh", "-c", WRITER]).ok();
    let (mut killed, mut worked) = (0, 0);
    for kilobytes in [400, 700, 1000, 1300, 1600, 2000, 2500, 3000, 4000, 8000, 64000] {
        let mut limits = Limits::default();
        limits.memory.limit = Some(Max::At(kilobytes << 10));
        limits.memory.swap = Some(Max::At(kilobytes << 10));
        let ended = limited(&host, &limits, &["run", "--rm", "busybox", "true"]);
        match ended.status {
            0 => worked += 1,
            KILLED => killed += 1,
            // Its supervisor was.
            _ => assert!(ended.err.starts_with("corten: "), "{ended:?}"),
        }
        eventually("there is only the writer", || {
            host.corten(&["images"]).ok();
            (host.names("containers").len() == 1).then_some(())
        });
    }
    assert!(killed > 0 && worked > 0, "{killed} killed, {worked} worked");
    status(&host, "writer", "Up");
    host.corten(&["stop", "writer"]).ok();
    status(&host, "writer", "Exited (9)");
    host.corten(&["rm", "writer"]).ok();
    host.assert_clean();
}

/// Sets the machine's clock.
fn shift_clock(seconds: i64) {
    use nix::time::{ClockId, clock_gettime, clock_settime};
    let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap();
    let then = nix::sys::time::TimeSpec::new(now.tv_sec() + seconds, now.tv_nsec());
    clock_settime(ClockId::CLOCK_REALTIME, then).unwrap();
}

#[corten_tier::t2]
fn a_clock_that_goes_back_a_day_confuses_nobody() {
    const DAY: i64 = 86400;
    let host = Host::with_busybox();
    host.corten(&["run", "-d", "--name", "writer", "busybox", "sh", "-c", WRITER]).ok();
    let again = ["run", "-d", "--name", "again", "--restart", "always", "busybox", "sleep", "0.3"];
    host.corten(&again).ok();
    shift_clock(-DAY);
    // Waits are measured by a clock that nobody sets.
    let restarts = |at_least: u64| {
        let seen = host.corten(&["inspect", "again"]).ok();
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        (seen[0]["RestartCount"].as_u64().unwrap() >= at_least).then_some(())
    };
    eventually("it is started again", || restarts(2));
    status(&host, "writer", "Up");
    let lines = host.corten(&["logs", "writer"]).ok().lines().count();
    eventually("it goes on to write", || {
        (host.corten(&["logs", "writer"]).ok().lines().count() > lines).then_some(())
    });
    host.corten(&["logs", "--since", "10m", "--tail", "3", "writer"]).ok();
    let timed = std::time::Instant::now();
    host.corten(&["stop", "-t", "5", "writer"]).ok();
    assert!(timed.elapsed() < Duration::from_secs(60), "{:?}", timed.elapsed());
    status(&host, "writer", "Exited (9)");
    host.corten(&["stop", "-t", "0", "again"]).ok();
    shift_clock(DAY);
    // Those of the day before are in the history, too.
    let events = host.corten(&["events", "--since", "1", "--until", "0s"]);
    assert!(events.out.contains("die"), "{events:?}");
    host.corten(&["rm", "writer", "again"]).ok();
    host.assert_clean();
}

//! From the start to the end of a container.

use std::time::{Duration, Instant};

use corten_supervisor::protocol::{Code, Event, Operation};
use corten_supervisor::record::Phase;
use corten_supervisor::{Error, client::Client};

use crate::lab::{Lab, proc, slack, until};

/// The program's status is run's; the record says the same.
#[corten_tier::t1]
fn the_status_of_the_program_is_the_status_of_run() {
    for (script, status) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill $$", 143)] {
        let mut lab = Lab::new(script);
        // As pid 1 of its own namespace it would not be killed by its own signals.
        lab.share_processes();
        assert_eq!(lab.run(&[]).status, status, "{script}");
        let exit = lab.exit().unwrap();
        assert_eq!(exit.status, status as u8);
        assert_eq!(exit.signal, (status > 128).then_some(status - 128));
        assert!(exit.started > 0 && exit.finished >= exit.started && !exit.stopped);
        lab.nothing_left();
    }
}

#[corten_tier::t1]
fn a_program_that_cannot_run_has_the_status_that_shells_give_it() {
    for (program, status) in [("/bin/none", 127), ("/etc/passwd", 126)] {
        let mut lab = Lab::new("");
        lab.config["process"]["args"] = serde_json::json!([program]);
        let ran = lab.run(&[]);
        assert_eq!(ran.status, status, "{ran:?}");
        assert!(ran.err.contains(program), "{ran:?}");
        let exit = lab.exit().unwrap();
        assert_eq!(exit.status, status as u8);
        assert!(exit.error.unwrap().contains(program));
        lab.nothing_left();
    }
}

/// It may have ended before anybody could look: that is an end like any other, and no failed start.
#[corten_tier::t1]
fn a_program_that_ends_before_its_start_is_over_was_started() {
    let mut lab = Lab::new("exit 7");
    // The hook is a part of the start, and runs when the program does.
    let (path, args) = ("/bin/sh", ["sh", "-c", "sleep 0.5"]);
    let hook = serde_json::json!({"path": path, "args": args, "env": ["PATH=/bin:/usr/bin"]});
    lab.config["hooks"] = serde_json::json!({"poststart": [hook]});
    let ran = lab.run(&[]);
    assert_eq!(ran.status, 7, "{ran:?}");
    assert_eq!(lab.exit().unwrap().error, None);
    lab.nothing_left();
}

#[corten_tier::t1]
fn what_the_runtime_refuses_has_status_125() {
    let mut lab = Lab::new("true");
    lab.config["linux"]["namespaces"] = serde_json::json!([{"type": "pid", "path": "/none"}]);
    let ran = lab.run(&[]);
    assert_eq!(ran.status, 125, "{ran:?}");
    lab.nothing_left();
}

#[corten_tier::t1]
fn output_goes_where_the_program_sent_it() {
    let lab = Lab::new("echo to out; echo to err >&2");
    let ran = lab.run(&[]);
    assert_eq!((ran.out.as_str(), ran.err.as_str()), ("to out\n", "to err\n"));
}

#[corten_tier::t1]
fn a_detached_container_outlives_its_launcher() {
    let lab = Lab::new("sleep 1000");
    assert_eq!(lab.run(&["--detach"]).ok(), lab.id());
    let status = lab.client().status().unwrap();
    assert_eq!(status.phase, Phase::Running);
    assert!(proc::stat(status.pid).is_alive());
    assert_eq!(proc::stat(status.pid).parent(), status.supervisor);
    lab.verb(&["stop", "--timeout", "0"]).ok();
    assert_eq!(lab.verb(&["wait"]).ok(), "137");
    lab.nothing_left();
}

#[corten_tier::t1]
fn wait_is_answered_with_the_end() {
    let lab = Lab::new("sleep 0.3; exit 5");
    let mut starter = lab.started();
    let mut others: Vec<Client> = (0..3).map(|_| lab.client()).collect();
    let waiting: Vec<_> = others
        .drain(..)
        .enumerate()
        .map(|(n, mut other)| std::thread::spawn(move || other.wait(n == 0).unwrap()))
        .collect();
    let exit = starter.wait(false).unwrap();
    assert_eq!(exit.status, 5);
    for waiter in waiting {
        assert_eq!(waiter.join().unwrap(), exit);
    }
}

/// Who hears of the end can read it from the disk, whatever happens next.
#[corten_tier::t1]
fn an_end_is_written_before_it_is_told() {
    for _ in 0..5 {
        let lab = Lab::new("sleep 1000");
        let mut client = lab.started();
        let mut watcher = lab.client();
        watcher.perform(Operation::Events).unwrap();
        // The write takes a while: the disk may be slow, here it is a pipe that nobody reads yet.
        let slow = lab.settings.record.join("exit.json.new");
        std::fs::remove_file(&slow).unwrap();
        nix::unistd::mkfifo(&slow, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        client.perform(Operation::Signal { number: libc::SIGKILL, all: false }).unwrap();
        let told = std::thread::spawn(move || {
            loop {
                if let Some(Event::Exit(exit)) = watcher.next_event().unwrap() {
                    return (Instant::now(), exit);
                }
            }
        });
        std::thread::sleep(Duration::from_millis(200));
        let early = told.is_finished();
        let read_at = Instant::now();
        std::fs::read(&slow).unwrap();
        let (told_at, exit) = told.join().unwrap();
        assert!(!early && told_at >= read_at, "told before it was written");
        assert_eq!(exit.status, 137);
    }
}

/// fsync(2) of the file, rename(2), fsync(2) of the directory, and only then the answer.
#[corten_tier::t1]
fn an_end_is_durable_before_it_is_told() {
    // The lab VM has no strace; the order of calls is the same there.
    if std::process::Command::new("strace").arg("-V").output().is_err() {
        return;
    }
    let lab = Lab::new("sleep 1000");
    let mut client = lab.started();
    let trace = lab.base().join("trace");
    let mut strace = std::process::Command::new("strace")
        .args(["-qq", "-y", "-e", "trace=fsync,fdatasync,rename,renameat,renameat2,sendmsg", "-o"])
        .arg(&trace)
        .args(["-p", &lab.shim_pid().to_string()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("strace is there", || {
        let status = proc::read(lab.shim_pid(), "status");
        status.contains(&format!("TracerPid:\t{}", strace.id()))
    });
    client.stop(Some(libc::SIGKILL), None).unwrap();
    assert!(strace.wait().unwrap().success());
    let text = std::fs::read_to_string(&trace).unwrap();
    let place = |what: &str| {
        text.lines()
            .position(|line| line.contains(what))
            .unwrap_or_else(|| panic!("{what}: {text}"))
    };
    let sync = text.lines().position(|l| l.contains("sync(") && l.contains("exit.json.new"));
    let directory = text.lines().position(|l| l.starts_with("fsync(") && l.contains("/record>"));
    let answer = place(r#"\"answer\""#);
    let order = [sync.unwrap(), place("rename"), directory.unwrap(), answer];
    assert!(order.is_sorted(), "{order:?} in {text}");
}

#[corten_tier::t1]
fn stop_sends_its_signal_and_kills_when_the_time_is_over() {
    // It says when it is ready: before, the signal would be lost on pid 1.
    let polite = Lab::new("trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done");
    let mut client = polite.started();
    polite.said("ready");
    let exit = client.stop(Some(libc::SIGUSR1), Some(30)).unwrap();
    assert_eq!((exit.status, exit.signal, exit.stopped), (7, None, true));
    assert_eq!(polite.exit().unwrap(), exit);

    let stubborn = Lab::new("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    let mut client = stubborn.started();
    stubborn.said("ready");
    let begun = Instant::now();
    let exit = client.stop(None, Some(1)).unwrap();
    assert_eq!((exit.status, exit.signal), (137, Some(libc::SIGKILL)));
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1) && took < Duration::from_secs(1) + slack(), "{took:?}");
    stubborn.nothing_left();
}

#[corten_tier::t1]
fn stop_of_a_container_that_never_ends_of_its_own_accord_waits() {
    let lab = Lab::new("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    let mut client = lab.started();
    lab.said("ready");
    let stopping = std::thread::spawn(move || client.stop(None, Some(-1)));
    std::thread::sleep(Duration::from_millis(700));
    assert!(!stopping.is_finished());
    lab.verb(&["kill"]).ok();
    assert_eq!(stopping.join().unwrap().unwrap().status, 137);
}

#[corten_tier::t1]
fn a_signal_reaches_the_program() {
    let lab = Lab::new("trap 'echo got it' USR2; echo ready; while :; do sleep 0.05; done");
    let mut client = lab.started();
    lab.said("ready");
    client.perform(Operation::Signal { number: libc::SIGUSR2, all: false }).unwrap();
    lab.said("got it");
    assert_eq!(client.status().unwrap().phase, Phase::Running);
}

#[corten_tier::t1]
fn a_paused_container_stands_still() {
    let lab = Lab::new("while :; do echo x; sleep 0.02; done");
    let mut client = lab.started();
    lab.said("x");
    client.perform(Operation::Pause).unwrap();
    assert_eq!(client.status().unwrap().phase, Phase::Paused);
    // What was written before it stood still.
    std::thread::sleep(Duration::from_millis(100));
    let before = lab.log().len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(lab.log().len(), before);
    refused(client.perform(Operation::Pause), Code::State);
    client.perform(Operation::Resume).unwrap();
    until("it goes on", || lab.log().len() > before);
    refused(client.perform(Operation::Resume), Code::State);
}

/// Docker unpauses it, too: a frozen process takes no signal.
#[corten_tier::t1]
fn a_paused_container_can_be_stopped() {
    let lab = Lab::new("trap 'exit 4' TERM; echo ready; while :; do sleep 0.05; done");
    let mut client = lab.started();
    lab.said("ready");
    client.perform(Operation::Pause).unwrap();
    assert_eq!(client.stop(None, Some(20)).unwrap().status, 4);
    lab.nothing_left();
}

#[corten_tier::t1]
fn limits_can_be_changed_while_it_runs() {
    let mut lab = Lab::new("sleep 1000");
    lab.config["linux"]["resources"]["pids"] = serde_json::json!({"limit": 100});
    let mut client = lab.started();
    assert_eq!(lab.group_file("pids.max"), "100");
    client.perform(Operation::Update(serde_json::json!({"pids": {"limit": 33}}))).unwrap();
    assert_eq!(lab.group_file("pids.max"), "33");
    refused(client.perform(Operation::Update(serde_json::json!({"pids": 7}))), Code::Invalid);
    assert_eq!(lab.group_file("pids.max"), "33");
}

#[corten_tier::t1]
fn who_is_killed_for_want_of_memory_is_told_apart() {
    let mut lab = Lab::new("sleep 0.3; tail /dev/zero");
    lab.config["linux"]["resources"]["memory"] = serde_json::json!({"limit": 8 << 20});
    let (mut client, mut shim) = lab.shim();
    let mut watcher = lab_client(&lab);
    watcher.perform(Operation::Events).unwrap();
    client.start().unwrap();
    let exit = lab.end_of(&mut client);
    assert!(exit.oom_killed, "{exit:?}");
    let mut events = Vec::new();
    while let Some(event) = watcher.next_event().unwrap() {
        events.push(event);
    }
    assert!(events.contains(&Event::Oom), "{events:?}");
    assert!(matches!(events.last(), Some(Event::Exit(exit)) if exit.oom_killed), "{events:?}");
    assert!(shim.wait().unwrap().success());
    assert!(lab.exit().unwrap().oom_killed);
}

#[corten_tier::t1]
fn who_ends_by_itself_was_not_killed_for_want_of_memory() {
    let mut lab = Lab::new("kill -9 $$");
    lab.share_processes();
    lab.config["linux"]["resources"]["memory"] = serde_json::json!({"limit": 64 << 20});
    let ran = lab.run(&[]);
    assert_eq!(ran.status, 137, "{ran:?}");
    assert!(!lab.exit().unwrap().oom_killed);
}

#[corten_tier::t1]
fn what_is_removed_with_its_container_is_not_written() {
    let mut lab = Lab::new("exit 6");
    lab.settings.auto_remove = true;
    let (mut client, mut shim) = lab.shim();
    // Before the start: afterwards it may be gone, and nothing would tell.
    client.perform(Operation::Events).unwrap();
    client.start().unwrap();
    let mut last = None;
    while let Some(event) = client.next_event().unwrap() {
        last = Some(event);
    }
    assert!(matches!(last, Some(Event::Exit(exit)) if exit.status == 6));
    assert!(shim.wait().unwrap().success());
    assert_eq!(lab.exit(), None);
    lab.nothing_left();
}

#[corten_tier::t1]
fn a_container_is_started_once() {
    let lab = Lab::new("sleep 1000");
    let mut client = lab.started();
    match client.start() {
        Err(Error::Refused(failure)) => assert_eq!(failure.code, Code::State),
        other => panic!("{other:?}"),
    }
}

#[corten_tier::t1]
fn what_needs_a_running_container_says_that_there_is_none() {
    let lab = Lab::new("true");
    let (mut client, mut shim) = lab.shim();
    for operation in [
        Operation::Signal { number: libc::SIGTERM, all: false },
        Operation::Stop { signal: None, timeout: None },
        Operation::Pause,
        Operation::Resume,
        Operation::Resize { rows: 1, columns: 1, exec: None },
        Operation::Exec(Box::new(lab.exec(&["true"], None))),
    ] {
        refused(client.perform(operation), Code::State);
    }
    refused(client.perform(Operation::WaitExec { exec: 9 }), Code::NotFound);
    assert_eq!(client.status().unwrap().phase, Phase::Created);
    drop(client);
    assert!(shim.wait().unwrap().success());
    lab.nothing_left();
}

/// A shim's process, not only its main thread.
#[corten_tier::t1]
fn a_shim_has_one_thread() {
    let lab = Lab::new("sleep 1000");
    let mut client = lab.started();
    client.exec(lab.exec(&["true"], Some(crate::lab::output_streams()))).unwrap();
    let tasks = std::fs::read_dir(format!("/proc/{}/task", lab.shim_pid())).unwrap().count();
    assert_eq!(tasks, 1);
}

#[corten_tier::t1]
fn list_and_status_tell_what_runs_and_what_has_ended() {
    let lab = Lab::new("exit 9");
    lab.run(&[]);
    let list = run_list(&lab);
    assert!(list.contains(lab.id()) && list.contains("exited (9)"), "{list}");
    let status: serde_json::Value = serde_json::from_str(&lab.verb(&["status"]).ok()).unwrap();
    assert_eq!(status["exit"]["status"], 9);
    lab.verb(&["rm"]).ok();
    assert!(!run_list(&lab).contains(lab.id()));
    assert_eq!(lab.verb(&["rm"]).status, 125);
}

fn run_list(lab: &Lab) -> String {
    crate::lab::run(&mut lab.command(&["list"])).ok()
}

/// A connection to a shim that has just been started and may not listen yet.
fn lab_client(lab: &Lab) -> Client {
    let mut client = None;
    until("it listens", || {
        client = Client::connect(&lab.directory(), lab.id()).ok();
        client.is_some()
    });
    client.unwrap()
}

#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: corten_supervisor::Result<T>, code: Code) {
    match result {
        Err(Error::Refused(failure)) => assert_eq!(failure.code, code, "{failure:?}"),
        other => panic!("{other:?} instead of {code:?}"),
    }
}

//! `corten daemon` as a service: alone, ready when it says so, and nothing that containers depend on.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::{self, Host, eventually, is_alive};

#[corten_tier::t1]
fn a_daemon_is_alone() {
    let host = Host::with_busybox();
    let _daemon = Daemon::start(&host, &[]);
    let other = host.path("other");
    let at = format!("unix://{}", other.display());
    host.corten(&["daemon", "-H", &at]).fails(1, "another daemon serves");
    assert!(!other.exists());
}

#[corten_tier::t1]
fn its_socket_is_for_one_group_and_goes_with_it() {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let host = Host::with_busybox();
    let mut daemon = Daemon::start(&host, &["--group", "1234"]);
    let found = std::fs::metadata(&daemon.socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!((found.mode() & 0o777, found.uid(), found.gid()), (0o660, 0, 1234));
    assert_eq!(daemon.terminate(), Some(0));
    assert!(!daemon.socket.exists());
}

#[corten_tier::t1]
fn containers_outlive_a_daemon_that_is_killed_and_the_next_takes_them_over() {
    let host = Host::with_busybox();
    let mut daemon = Daemon::start(&host, &[]);
    let script = "trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done";
    daemon
        .docker(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", script])
        .ok();
    daemon
        .docker(&[
            "run",
            "-d",
            "--name",
            "always",
            "--network",
            "none",
            "--restart",
            "always",
            "busybox",
            "sleep",
            "1000",
        ])
        .ok();
    let pid = || daemon.docker(&["inspect", "-f", "{{.State.Pid}}", "box"]).ok();
    let before = pid();
    // A client that waits learns nothing from a daemon that is gone, and does not hang.
    daemon.kill();
    let daemon = Daemon::start(&host, &[]);
    let state = |name: &str| daemon.docker(&["inspect", "-f", "{{.State.Status}}", name]).ok();
    assert_eq!(daemon.docker(&["inspect", "-f", "{{.State.Pid}}", "box"]).ok(), before);
    assert_eq!(daemon.docker(&["logs", "box"]).ok(), "up\n");
    let waiting = daemon.spawn(&["wait", "box"]);
    daemon.docker(&["stop", "box"]).ok();
    let out = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&out.stdout), "7\n");
    assert_eq!(state("box"), "exited\n");
    // Its supervisor dies while no daemon is there: the next starts what shall always run.
    let mut daemon = daemon;
    daemon.kill();
    let (first, supervisor) = host.running().unwrap();
    for pid in [supervisor, first] {
        let _ = nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(pid),
            nix::sys::signal::Signal::SIGKILL,
        );
    }
    eventually("both are gone", || (!is_alive(supervisor) && !is_alive(first)).then_some(()));
    let daemon = Daemon::start(&host, &[]);
    eventually("it is started again", || {
        let state = daemon.docker(&["inspect", "-f", "{{.State.Status}}", "always"]).ok();
        (state == "running\n").then_some(())
    });
    daemon.docker(&["rm", "-f", "box", "always"]).ok();
    drop(daemon);
    host.assert_clean();
}

#[corten_tier::t1]
fn a_service_manager_opens_the_socket_and_is_told_when_it_is_served() {
    let host = Host::with_busybox();
    let path = host.path("activated");
    let listener = UnixListener::bind(&path).unwrap();
    let told = UnixDatagram::bind(host.path("notify")).unwrap();
    told.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    // Somebody is there before the daemon is.
    let mut early = std::os::unix::net::UnixStream::connect(&path).unwrap();
    std::io::Write::write_all(
        &mut early,
        b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n",
    )
    .unwrap();
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" daemon -H fd://";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_corten")]).env("CORTEN_ROOT", host.root());
    command.env("NOTIFY_SOCKET", host.path("notify")).stdin(OwnedFd::from(listener));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut daemon = Daemon { child, socket: path.clone() };
    let mut buffer = [0; 64];
    let length = told.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"READY=1");
    let mut answer = String::new();
    early.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("OK"), "{answer}");
    assert_eq!(daemon.docker(&["ps", "-q"]).ok(), "");
    assert_eq!(daemon.terminate(), Some(0));
    let length = told.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"STOPPING=1");
    assert!(path.exists(), "the socket is the service manager's");
}

#[corten_tier::t1]
fn a_file_configures_it_and_is_read_again() {
    let host = Host::with_busybox();
    let config = host.path("daemon.json");
    let socket = host.path("own");
    let write = |label: &str| {
        let text = serde_json::json!({"hosts": [format!("unix://{}", socket.display())],
            "labels": [label], "live-restore": true});
        std::fs::write(&config, text.to_string()).unwrap();
    };
    write("first");
    let command = host.command(&["daemon", "--config", support::text(&config)]);
    let daemon = Daemon::of(command, socket.clone());
    let labels = || daemon.docker(&["info", "-f", "{{.Labels}}"]).ok();
    assert_eq!(labels(), "[first]\n");
    write("second");
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    eventually("the file is read again", || (labels() == "[second]\n").then_some(()));
    std::fs::write(&config, "{").unwrap();
    daemon.signal(nix::sys::signal::Signal::SIGHUP);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(labels(), "[second]\n", "what was right stays");
}

#[corten_tier::t1]
fn who_leaves_keeps_nothing_open() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let script = "while :; do echo x; sleep 0.1; done";
    daemon
        .docker(&["run", "-d", "--name", "box", "--network", "none", "busybox", "sh", "-c", script])
        .ok();
    let descriptors =
        || std::fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).unwrap().count();
    let threads =
        || std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap().count();
    let before = descriptors();
    let commands: [&[&str]; 5] = [
        &["logs", "-f", "box"],
        &["events"],
        &["stats", "box"],
        &["attach", "--no-stdin", "--sig-proxy=false", "box"],
        &["wait", "box"],
    ];
    for _ in 0..4 {
        let mut clients: Vec<_> =
            (0..20).map(|at| daemon.spawn(commands[at % commands.len()])).collect();
        std::thread::sleep(Duration::from_millis(300));
        for client in &mut clients {
            client.kill().unwrap();
            client.wait().unwrap();
        }
    }
    eventually("no descriptor is left", || (descriptors() <= before).then_some(()));
    eventually("no thread is left", || (threads() < 12).then_some(()));
    daemon.docker(&["rm", "-f", "box"]).ok();
}

//! `corten` of an ordinary user: root inside, itself outside, and nothing that it could not do before.
//!
//! Each test makes such a user: a number that nobody has, with ranges of ids in files of the test's own, which a
//! mount namespace shows in the place of the machine's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod group;
#[path = "../support/mod.rs"]
mod support;
mod user;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use support::{eventually, outcome, text};
use user::{User, sh};

/// Asks a server for the file `f`, and gives what it answers.
fn fetch(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /f HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer).filter(|answer| !answer.is_empty())
}

const SERVE: &str = "echo hello > /tmp/f; exec httpd -f -p 80 -h /tmp";

#[corten_tier::t1]
fn a_user_is_root_inside_and_itself_outside() {
    let user = User::with_busybox();
    assert_eq!(user.run(&["busybox", "id", "-u"]).ok(), "0\n");
    let map = user.run(&["busybox", "cat", "/proc/self/uid_map"]).ok();
    let map: Vec<_> = map.split_whitespace().map(str::to_owned).collect();
    let ids = ["0", &user.uid.to_string(), "1", "1", &(user.uid + 1).to_string(), "65536"];
    assert_eq!(map, ids);
    user.assert_gone();
    // A volume is the user's; what another user in there writes is one of the granted ids'.
    fs::create_dir(user.path("home/data")).unwrap();
    std::os::unix::fs::chown(user.path("home/data"), Some(user.uid), Some(user.uid)).unwrap();
    let volume = format!("{}:/data", user.path("home/data").display());
    user.run(&["-v", &volume, "busybox", "sh", "-c", "touch /data/a /data/b; chown 5:5 /data/b"])
        .ok();
    let owner = |name: &str| fs::metadata(user.path("home/data").join(name)).unwrap().uid();
    assert_eq!((owner("a"), owner("b")), (user.uid, user.uid + 5));
    // Containers find each other by name; more programs can be run in them.
    user.corten(&["network", "create", "net"]).ok();
    let web = ["run", "-d", "--name", "web", "--network", "net", "busybox", "sh", "-c", SERVE];
    user.corten(&web).ok();
    let outside = user.processes();
    assert!(
        outside.contains(&("httpd".to_owned(), user.uid))
            || outside.contains(&("sh".to_owned(), user.uid)),
        "{outside:?}"
    );
    let ask = "until printf 'GET /f HTTP/1.0\\r\\n\\r\\n' | nc web 80; do sleep 0.1; done";
    let answer = user.run(&["--network", "net", "busybox", "sh", "-c", ask]).ok();
    assert!(answer.ends_with("hello\n"), "{answer}");
    assert_eq!(user.corten(&["exec", "web", "id", "-u"]).ok(), "0\n");
    assert!(user.corten(&["top", "web"]).ok().contains("httpd"));
    let limited = user.run(&["--memory", "64m", "--cpus", "1", "busybox", "true"]);
    assert!(limited.err.contains("Limits discarded") && limited.status == 0, "{limited:?}");
    // What only the host's root could mount or make is shown.
    let hosts =
        ["--pid", "host", "--ipc", "host", "--network", "host", "--device", "/dev/null:/dev/x"];
    let script = "test -c /dev/x && grep -c . /proc/1/cmdline && ls /sys/class/net";
    let seen = user.run(&[&hosts[..], &["busybox", "sh", "-c", script]].concat()).ok();
    assert!(seen.contains("out"), "{seen}");
    user.corten(&["commit", "web", "committed"]).ok();
    let explained = user.run(&["--explain", "busybox", "true"]);
    assert!(explained.err.contains("pivot_root") && explained.status == 0, "{explained:?}");
    // An image is built: by another user inside, too.
    let dockerfile =
        "FROM busybox\nRUN id -u > /who && chown web /who\nUSER web\nRUN id -u >> /who\n";
    fs::write(user.path("home/Dockerfile"), dockerfile).unwrap();
    user.corten(&["build", "-q", "-t", "built", "."]).ok();
    assert_eq!(user.run(&["built", "cat", "/who"]).ok(), "0\n33\n");
    user.corten(&["rm", "-f", "web"]).ok();
    user.assert_gone();
}

#[corten_tier::t1]
fn what_a_user_may_not_the_root_of_its_containers_may_not() {
    let user = User::with_busybox();
    let secret = user.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "s3cret").unwrap();
    fs::set_permissions(secret.join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    let volume = format!("{}:/secret", secret.display());
    let attack = |script: &str| {
        user.run(&["--privileged", "-v", &volume, "-v", "/:/host", "busybox", "sh", "-c", script])
    };
    for script in [
        "cat /secret/key",
        "echo x > /secret/key",
        "touch /secret/new",
        "chmod 666 /secret/key",
        "chown 0 /secret/key",
        "mv /secret/key /secret/other",
        "cat /host/etc/shadow",
        "touch /host/usr/corten-was-here",
        "cat /proc/1/environ; echo 0 > /proc/sys/kernel/randomize_va_space",
        "mknod /disk b 8 0 && cat /disk",
    ] {
        let ended = attack(script);
        assert_ne!(ended.status, 0, "{script}: {ended:?}");
        assert!(!ended.out.contains("s3cret") && !ended.out.contains("root:"), "{ended:?}");
    }
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "s3cret");
    // A file of its own that is root's inside and set-user-ID is set-user-ID to the user, for whoever reaches it.
    let store = user.path("home/.local/share/corten");
    let keep = "cp /bin/busybox-su /kept/ && chmod 4755 /kept/busybox-su";
    user.run(&["-v", "kept:/kept", "busybox", "sh", "-c", keep]).ok();
    let find = Command::new("find").arg(&store).args(["-name", "busybox-su"]).output().unwrap();
    let found = String::from_utf8(find.stdout).unwrap();
    // Of the image's layer and of the volume. Opened to everybody, they are closed by the next command.
    assert_eq!(found.lines().count(), 2, "{found}");
    sh(&format!("chmod -R go+x {0}/.local; chmod go+x {0}", user.path("home").display()));
    user.run(&["busybox", "true"]).ok();
    let other = (user.uid + 90_000).to_string();
    let args = [&format!("--reuid={other}"), &format!("--regid={other}"), "--clear-groups"];
    for program in found.lines() {
        let metadata = fs::metadata(program).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o7777), (user.uid, 0o4755), "{program}");
        // setpriv itself has root's capabilities until it executes something.
        let tries = ["sh", "-c", "exec \"$0\" id -u", program];
        let tried = Command::new("setpriv").args(args).args(tries).output().unwrap();
        assert!(!tried.status.success(), "{program}: {tried:?}");
    }
    user.assert_gone();
}

#[corten_tier::t1]
fn first_commands_at_once_share_one_holder() {
    let user = User::with_busybox();
    user.assert_gone();
    for _ in 0..3 {
        let script = "echo up; sleep 0.5; exit 3";
        let start = |_| {
            let args = ["run", "--rm", "--network", "none", "busybox", "sh", "-c", script];
            user.command("corten", &args)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        };
        let children: Vec<Child> = (0..6).map(start).collect();
        let anchors =
            || user.processes().iter().filter(|(name, _)| name == "corten-anchor").count();
        eventually("somebody is in", || (anchors() > 0).then_some(()));
        for child in children {
            assert!(anchors() <= 1);
            let ended = outcome(child.wait_with_output().unwrap());
            assert_eq!((ended.status, &*ended.out), (3, "up\n"), "{ended:?}");
        }
        user.assert_gone();
    }
    // They take turns: who finds the lock taken waits for it.
    let directory = user.path("run/corten");
    fs::create_dir(&directory).unwrap();
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let lock = fs::File::create(directory.join("lock")).unwrap();
    for path in [&directory, &directory.join("lock")] {
        std::os::unix::fs::chown(path, Some(user.uid), Some(user.uid)).unwrap();
    }
    let held = Flock::lock(lock, FlockArg::LockExclusive).unwrap();
    let waits = user.command("corten", &["images"]).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(!user.processes().iter().any(|(name, _)| name == "corten-holder"));
    drop(held);
    assert!(outcome(waits.wait_with_output().unwrap()).ok().contains("busybox"));
    user.assert_gone();
    // Killed at any moment, a first command leaves nothing.
    for delay in [0, 5, 20, 40, 80] {
        let mut child = user.command("corten", &["images"]).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().unwrap();
        eventually("nobody is left", || user.processes().is_empty().then_some(()));
        user.corten(&["images"]).ok();
        user.assert_gone();
    }
}

#[corten_tier::t1]
fn of_a_holder_that_is_killed_the_next_command_tells() {
    let user = User::with_busybox();
    user.corten(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]).ok();
    let holder = user.living().find(|(_, name, _)| name == "corten-holder").unwrap().0;
    nix::sys::signal::kill(Pid::from_raw(holder), Signal::SIGKILL).unwrap();
    let helpers = |name: &str| ["corten-anchor", "pasta", "passt.avx2"].contains(&name);
    eventually("its children end with it", || {
        (!user.processes().iter().any(|(name, _)| helpers(name))).then_some(())
    });
    user.corten(&["ps"]).fails(1, "whose corten-holder was killed (end them: pkill -9");
    for pid in user.pids() {
        let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    // As after a reboot: what has not ended in order is put in order.
    let list = user.corten(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok();
    assert_eq!(list, "box exited\n");
    user.corten(&["start", "box"]).ok();
    user.corten(&["rm", "-f", "box"]).ok();
    user.assert_gone();
}

#[corten_tier::t1]
fn a_user_s_daemon_serves_docker_and_publishes_ports() {
    let user = User::with_busybox();
    let mut command = user.command("corten", &["daemon"]);
    let mut daemon = command.stderr(Stdio::null()).spawn().unwrap();
    eventually("it serves", || (user.docker(&["version"]).status == 0).then_some(()));
    assert!(user.docker(&["info"]).ok().contains("rootless"));
    let web = ["run", "-d", "--name", "web", "-p", "8123:80", "busybox", "sh", "-c", SERVE];
    user.docker(&web).ok();
    let answer = eventually("it answers", || fetch(8123));
    assert!(answer.ends_with("hello\n"), "{answer}");
    // Also of the host's other addresses, and as long as the container is there.
    assert!(TcpStream::connect("192.0.2.1:8123").is_ok());
    assert_eq!(user.docker(&["port", "web", "80/tcp"]).ok().lines().next(), Some("0.0.0.0:8123"));
    let again = ["run", "--rm", "-p", "8123:80", "busybox", "true"];
    let refused = user.docker(&again);
    assert!(refused.err.contains("port is already allocated"), "{refused:?}");
    let low = user.docker(&["run", "--rm", "-p", "99:80", "busybox", "true"]);
    assert!(low.err.contains("ip_unprivileged_port_start=99"), "{low:?}");
    let sctp = user.docker(&["run", "--rm", "-p", "9999:80/sctp", "busybox", "true"]);
    assert!(sctp.err.contains("only ports of TCP and UDP"), "{sctp:?}");
    fs::create_dir(user.path("context")).unwrap();
    fs::write(user.path("context/Dockerfile"), "FROM busybox\nRUN echo built > /f\n").unwrap();
    user.docker(&["build", "-q", "-t", "built", text(&user.path("context"))]).ok();
    assert_eq!(user.docker(&["run", "--rm", "built", "cat", "/f"]).ok(), "built\n");
    assert_eq!(user.docker(&["exec", "web", "cat", "/tmp/f"]).ok(), "hello\n");
    // Without the daemon it goes on, also for others to reach.
    nix::sys::signal::kill(Pid::from_raw(daemon.id() as i32), Signal::SIGTERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    assert!(fetch(8123).is_some());
    user.corten(&["rm", "-f", "web"]).ok();
    eventually("the port is free", || TcpStream::connect("127.0.0.1:8123").is_err().then_some(()));
    user.assert_gone();
}

#[corten_tier::t1]
fn who_lacks_something_is_told_what() {
    let user = User::new();
    let doctor = user.corten(&["doctor"]);
    assert!(doctor.out.contains("in a user namespace you can be"), "{doctor:?}");
    user.assert_gone();
    fs::write(user.path("subuid"), "").unwrap();
    let remedy = "usermod --add-subuids 100000-165535 ada";
    user.corten(&["images"]).fails(1, remedy);
    let doctor = user.corten(&["doctor"]);
    assert!(doctor.status == 1 && doctor.out.contains(remedy), "{doctor:?}");
    user.assert_gone();
}

#[corten_tier::t1]
fn datagrams_come_in_by_a_published_port_and_answers_go_back() {
    let user = User::with_busybox();
    let own = ["--name", "names", "-p", "8153:53/udp", "busybox", "sleep", "1000"];
    user.corten(&[&["run", "-d"], &own[..]].concat()).ok();
    let ports = user.corten(&["port", "names"]).ok();
    assert!(ports.starts_with("53/udp -> 0.0.0.0:8153\n"), "{ports}");
    let pid = user.corten(&["inspect", "--format", "{{.State.Pid}}", "names"]).ok();
    let network = fs::File::open(format!("/proc/{}/ns/net", pid.trim())).unwrap();
    // A server in the container: a thread, which ends with the test.
    std::thread::spawn(move || {
        nix::sched::setns(&network, CloneFlags::CLONE_NEWNET).unwrap();
        let socket = UdpSocket::bind("0.0.0.0:53").unwrap();
        let mut buffer = [0; 2000];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            socket.send_to(&buffer[..length].to_ascii_uppercase(), from).unwrap();
        }
    });
    // By each address of the host's, and so that only an answer from there is heard.
    for (at, size) in [("127.0.0.1", 3), ("127.0.0.1", 1400), ("192.0.2.1", 3)] {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
        socket.connect((at, 8153)).unwrap();
        let mut buffer = [0; 2000];
        let length = eventually("an answer", || {
            socket.send(&vec![b'a'; size]).ok()?;
            socket.recv(&mut buffer).ok()
        });
        assert_eq!(&buffer[..length], vec![b'A'; size]);
    }
    assert!(UdpSocket::bind("0.0.0.0:8153").is_err());
    user.corten(&["rm", "-f", "names"]).ok();
    eventually("the port is free", || UdpSocket::bind("0.0.0.0:8153").ok());
    user.assert_gone();
}

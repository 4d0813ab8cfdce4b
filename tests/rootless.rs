//! `corten` of an ordinary user: root inside, itself outside, and nothing that it could not do before.
//!
//! Each test makes such a user: a number that nobody has, with ranges of ids in files of the test's own, which a
//! mount namespace shows in the place of the machine's.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::fcntl::{Flock, FlockArg};
use nix::sched::CloneFlags;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use support::{Outcome, busybox_layer_with, eventually, outcome, text};

/// How many ids a user is granted.
const GRANTED: u32 = 65536;

/// A user, and a machine that knows it.
struct User {
    dir: tempfile::TempDir,
    uid: u32,
    /// The control group that its programs are started in, where it is another than ours.
    group: Option<PathBuf>,
}

fn sh(script: &str) {
    let status = Command::new("sh").args(["-ec", script]).status().unwrap();
    assert!(status.success(), "{script}");
}

impl User {
    fn new() -> User {
        // No two tests have the same, so that each can look for what is left of its own.
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = (std::process::id() % 1000) * 16 + COUNT.fetch_add(1, Ordering::Relaxed);
        let user = User {
            dir: tempfile::tempdir().unwrap(),
            uid: 4_000_000 + number * 100_000,
            group: None,
        };
        user.furnish();
        user
    }

    fn furnish(&self) {
        let (uid, place) = (self.uid, self.dir.path().display());
        nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_corten")).parent().unwrap().display();
        // The VM has no such files, and no network that leads anywhere.
        let network = std::env::var_os(corten_tier::IN_VM).is_none();
        // udev opens the device of user space's network cards to everybody; not everywhere.
        sh(&format!(
            "mount --make-rprivate /
             chmod 755 {place}; cd {place}; mkdir bin home run
             for name in corten corten-supervisor; do
               touch bin/$name; mount --bind {built}/$name bin/$name
             done
             mkdir -p /dev/net; touch /etc/group /etc/subuid /etc/subgid
             chown {uid}:{uid} home run; chmod 700 home run
             for file in passwd group; do cp /etc/$file $file; done
             echo ada:x:{uid}:{uid}::{place}/home:/bin/sh >> passwd; echo ada:x:{uid}: >> group
             for file in subuid subgid; do echo ada:{}:{GRANTED} > $file; done
             for file in passwd group subuid subgid; do
               test -e /etc/$file && mount --bind $file /etc/$file
             done
             mount -t tmpfs tun /dev/net; mknod -m 666 /dev/net/tun c 10 200
             ip link set lo up; {network} || exit 0; ip link add out type veth peer name other; ip link set other up
             ip address add 192.0.2.1/24 dev out; ip link set out up
             ip route add default via 192.0.2.2",
            uid + 1
        ));
    }

    fn with_busybox() -> User {
        let user = User::new();
        // A program that is set-user-ID to root comes with it.
        let busybox = fs::read("/bin/busybox").unwrap();
        let layer = busybox_layer_with(|layer| layer.file("bin/busybox-su", 0o4755, busybox));
        fs::write(user.path("layer.tar"), layer).unwrap();
        user.corten(&["import", "-c", "CMD [\"sh\"]", text(&user.path("layer.tar")), "busybox"])
            .ok();
        user
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program that the user starts at home.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new("sh");
        // While there are containers, processes of a given group are in a child of it. Not busybox's own setpriv.
        let enter = "for way in corten-callers/cgroup.procs cgroup.procs; do
                       test -e \"$0/$way\" && echo 0 > \"$0/$way\" && break
                     done; exec /usr/bin/setpriv \"$@\"";
        command.args(["-c", enter]).arg(self.group.clone().unwrap_or("/none".into()));
        let id = self.uid;
        command.args([&format!("--reuid={id}"), &format!("--regid={id}"), "--clear-groups"]);
        command.arg(program).args(args).current_dir(self.path("home")).stdin(Stdio::null());
        let path =
            format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", self.path("bin").display());
        command.env_clear().env("PATH", path).env("HOME", self.path("home"));
        command.env("XDG_RUNTIME_DIR", self.path("run"));
        command
    }

    fn corten(&self, args: &[&str]) -> Outcome {
        outcome(self.command("corten", args).output().unwrap())
    }

    fn run(&self, args: &[&str]) -> Outcome {
        self.corten(&[&["run", "--rm"], args].concat())
    }

    fn docker(&self, args: &[&str]) -> Outcome {
        let host = format!("unix://{}", self.path("run/corten.sock").display());
        let mut command = self.command("docker", args);
        outcome(command.env("DOCKER_HOST", host).env("DOCKER_BUILDKIT", "0").output().unwrap())
    }

    /// The living processes of the user and of the ids that it was granted: the name and the user of each.
    fn processes(&self) -> Vec<(String, u32)> {
        self.living().map(|(_, name, uid)| (name, uid)).collect()
    }

    fn pids(&self) -> Vec<i32> {
        self.living().map(|(pid, ..)| pid).collect()
    }

    fn living(&self) -> impl Iterator<Item = (i32, String, u32)> {
        let ours = self.uid..=self.uid + GRANTED;
        fs::read_dir("/proc").unwrap().flatten().filter_map(move |entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let status = fs::read_to_string(entry.path().join("status")).ok()?;
            let line = |name: &str| {
                let line = status.lines().find_map(|line| line.strip_prefix(name))?;
                line.split_whitespace().next().map(str::to_owned)
            };
            let uid = line("Uid:")?.parse().ok()?;
            let is_ours = ours.contains(&uid) && line("State:")? != "Z";
            is_ours.then_some((pid, line("Name:")?, uid))
        })
    }

    /// Whatever was there is gone: processes, and files outside of the state directory.
    #[track_caller]
    fn assert_gone(&self) {
        eventually("no process of the user's is left", || {
            self.processes().is_empty().then_some(())
        });
        let left: Vec<_> = fs::read_dir(self.path("run")).unwrap().flatten().collect();
        assert!(left.is_empty(), "{left:?}");
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
        assert!(!mounts.contains(".local/share"), "{mounts}");
    }
}

impl Drop for User {
    /// A test that has failed leaves nothing running; and what is mounted on cannot be removed.
    fn drop(&mut self) {
        for pid in self.pids() {
            let _ = nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let bin = self.path("bin").display().to_string();
        let _ = Command::new("sh").args(["-c", &format!("umount {bin}/*")]).status();
    }
}

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

/// A control group of the user's, with these controllers.
fn given(uid: u32, controllers: &str) -> PathBuf {
    let group = PathBuf::from(format!("/sys/fs/cgroup/given-{uid}"));
    sh(&format!(
        "cd /sys/fs/cgroup; echo {controllers} > cgroup.subtree_control; mkdir {0}
         cd {0}; chown {uid} . cgroup.procs cgroup.threads cgroup.subtree_control",
        group.display()
    ));
    group
}

#[corten_tier::t2]
fn in_a_group_of_its_own_a_user_s_containers_have_limits() {
    let mut user = User::with_busybox();
    let run = |user: &User, args: &[&str], words: &[&str]| {
        let usual = ["run", "--network", "none"];
        user.corten(&[&usual[..], args, &["busybox"], words].concat())
    };
    let limited = run(&user, &["--rm", "--memory", "64m"], &["true"]);
    assert!(limited.err.contains("Limits discarded") && limited.err.contains("Delegate=yes"));
    let group = given(user.uid, "+memory +pids +cpu");
    user.group = Some(group.clone());
    // Somebody else who is in the group, such as a shell.
    let mut shell = user.command("sleep", &["1000"]).spawn().unwrap();
    let procs = || fs::read_to_string(group.join("cgroup.procs")).unwrap();
    let has_shell = || procs().lines().any(|pid| pid == shell.id().to_string());
    eventually("it is in", || has_shell().then_some(()));
    let box_ =
        ["-d", "--name", "box", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "20"];
    let id = run(&user, &[&box_[..], &["--cpus", "0.5"]].concat(), &["sleep", "1000"]).ok();
    let own = group.join("corten").join(id.trim());
    let file = |name: &str| fs::read_to_string(own.join(name)).unwrap();
    assert_eq!((&*file("memory.max"), &*file("pids.max")), ("67108864\n", "20\n"));
    assert_eq!(file("cpu.max"), "50000 100000\n");
    let figures = ["stats", "--no-stream", "--format", "{{.MemUsage}} {{.PIDs}}", "box"];
    let figures = user.corten(&figures).ok();
    assert!(figures.ends_with("/ 64MiB 1\n"), "{figures}");
    assert!(user.corten(&["top", "box"]).ok().contains("sleep 1000"));
    user.corten(&["update", "--pids-limit", "30", "box"]).ok();
    assert_eq!(file("pids.max"), "30\n");
    user.corten(&["pause", "box"]).ok();
    assert!(file("cgroup.events").contains("frozen 1"));
    // Who is not in the group may do what needs no process to be moved.
    user.group = None;
    user.corten(&["unpause", "box"]).ok();
    assert!(file("cgroup.events").contains("frozen 0"));
    assert_eq!(user.corten(&["exec", "box", "cat", "/proc/self/cgroup"]).ok(), "0::/\n");
    user.corten(&["update", "--pids-limit", "40", "box"]).fails(1, "no control group is yours");
    user.group = Some(group.clone());
    for attack in [
        "echo max > /sys/fs/cgroup/memory.max",
        "echo max > /sys/fs/cgroup/pids.max",
        "echo $$ > /sys/fs/cgroup/cgroup.procs",
        "echo $$ > /sys/fs/cgroup/../cgroup.procs",
        "mkdir /sys/fs/cgroup/new",
        "mount -o remount,rw /sys/fs/cgroup",
        "mkdir /tmp/c && mount -t cgroup2 c /tmp/c",
        "unshare -C true",
    ] {
        let tried = user.corten(&["exec", "box", "sh", "-c", attack]);
        assert_ne!(tried.status, 0, "{attack}: {tried:?}");
    }
    let forks = "i=0; while [ $i -lt 50 ]; do sleep 1000 & i=$((i + 1)); done";
    let forked = user.corten(&["exec", "box", "sh", "-c", forks]);
    assert!(forked.err.contains("can't fork"), "{forked:?}");
    let killed = run(
        &user,
        &["--name", "greedy", "--memory", "32m", "--memory-swap", "32m"],
        &["dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1"],
    );
    assert_eq!(killed.status, 137, "{killed:?}");
    let state = ["inspect", "--format", "{{.State.OOMKilled}} {{.State.ExitCode}}", "greedy"];
    assert_eq!(user.corten(&state).ok(), "true 137\n");
    // What the group has not been given is asked for.
    let lacking = run(&user, &["--rm", "--cpuset-cpus", "0"], &["true"]);
    let why = format!("controller cpuset, which is not in {}/cgroup.controllers", group.display());
    assert!(lacking.status == 125 && lacking.err.contains(&why), "{lacking:?}");
    // All processes end with the container.
    user.corten(&["rm", "-f", "box", "greedy"]).ok();
    eventually("the group is as it was", || {
        (fs::read_dir(&group).unwrap().flatten().all(|entry| entry.file_type().unwrap().is_file()))
            .then_some(())
    });
    assert!(fs::read_to_string(group.join("cgroup.subtree_control")).unwrap().trim().is_empty());
    assert!(has_shell(), "{}", procs());
    // It makes room again for each start.
    let again = ["-d", "--name", "again", "--restart", "on-failure:2", "--memory", "64m"];
    run(&user, &again, &["sh", "-c", "exit 3"]).ok();
    let state =
        ["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}", "again"];
    eventually("it has ended for good", || {
        (user.corten(&state).ok() == "exited 3 2\n").then_some(())
    });
    user.group = None;
    user.corten(&["start", "again"]).fails(1, "it has limits, and here no control group is yours");
    user.corten(&["rm", "again"]).ok();
    shell.kill().unwrap();
    shell.wait().unwrap();
    user.assert_gone();
    eventually("the group is empty", || fs::remove_dir(&group).ok());
}

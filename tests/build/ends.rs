//! How builds end before their time, and what they are given and do not keep: `corten build`.

use std::io::Read;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{self, Host, building, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// A context with a Dockerfile and nothing else.
fn context(host: &Host, dockerfile: &str) -> PathBuf {
    building::context(host, &[("Dockerfile", dockerfile)])
}

/// Starts a build, ends it when it is `ready`, and gives what it has said and how long that took.
fn interrupt(mut build: Command, ready: impl FnOnce()) -> (String, Duration) {
    let mut build = build.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    ready();
    // One that is only starting would end by the signal itself.
    let status = format!("/proc/{}/status", build.id());
    support::eventually("it listens for the signal", || {
        let text = std::fs::read_to_string(&status).unwrap();
        let masks =
            text.lines().filter(|line| line.starts_with("SigCgt") || line.starts_with("SigBlk"));
        let mut masks = masks.map(|line| u64::from_str_radix(line[7..].trim(), 16).unwrap());
        masks.any(|mask| mask & (1 << (Signal::SIGINT as u64 - 1)) != 0).then_some(())
    });
    let begin = Instant::now();
    kill(Pid::from_raw(build.id().cast_signed()), Signal::SIGINT).unwrap();
    let mut said = String::new();
    build.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(!build.wait().unwrap().success(), "{said}");
    (said, begin.elapsed())
}

/// A server that takes connections and says nothing, and a place that is told of each.
fn silence() -> (String, std::sync::mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            all.push(stream);
            let _ = tell.send(());
        }
    });
    (address, told)
}

#[corten_tier::t1]
fn nothing_silent_keeps_a_build_from_its_end() {
    let host = Host::with_busybox();
    let (address, asked) = silence();
    let build = |dockerfile: &str, args: &[&str]| {
        // An earlier build may have asked several times.
        while asked.recv_timeout(Duration::from_millis(100)).is_ok() {}
        let path = context(&host, dockerfile);
        let usual = ["build", "-q", "--network", "none"];
        host.command(&[&usual[..], args, &[text(&path)]].concat())
    };
    let over = |(said, took): (String, Duration), within: u64| {
        assert!(took < corten_tier::patience(Duration::from_secs(within)), "{took:?}: {said}");
        host.settle();
        host.assert_clean();
        said
    };
    let is_asked = || asked.recv().unwrap();
    let interrupted = "the build was interrupted";
    let file = build(&format!("FROM busybox\nADD http://{address}/x /\n"), &[]);
    assert!(over(interrupt(file, is_asked), 5).contains(interrupted));
    // The context is one's own standard input.
    let mut own = host.command(&["build", "-q", "-"]);
    let (read, _write) = std::io::pipe().unwrap();
    own.stdin(read);
    let said = interrupt(own, || std::thread::sleep(Duration::from_millis(300)));
    assert!(over(said, 5).contains(interrupted));
    // A cache that another build has.
    let lock = "RUN --mount=type=cache,target=/c,sharing=locked";
    let mut other = build(&format!("FROM busybox\n{lock} sleep 1000\n"), &[]);
    let mut other = other.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    support::eventually("it has the cache", || host.running());
    let waits = build(&format!("FROM busybox\n{lock} true\n"), &[]);
    let (said, took) = interrupt(waits, || std::thread::sleep(Duration::from_millis(300)));
    assert!(said.contains(interrupted) && took < corten_tier::patience(Duration::from_secs(5)));
    kill(Pid::from_raw(other.id().cast_signed()), Signal::SIGINT).unwrap();
    assert!(!other.wait().unwrap().success());
    // A file that is being read, and packed.
    let path = context(&host, "FROM busybox\nCOPY big /\n");
    let big = std::fs::File::create(path.join("big")).unwrap();
    big.set_len(200 << 30).unwrap();
    let copies = host.command(&["build", "-q", text(&path)]);
    let said = interrupt(copies, || std::thread::sleep(Duration::from_millis(500)));
    assert!(over(said, 5).contains(interrupted));
    std::fs::remove_file(path.join("big")).unwrap();
    // A registry hears of nothing: the second time counts.
    let pulls = build(&format!("FROM {address}/x\n"), &[]);
    let pull = || {
        is_asked();
        std::thread::sleep(Duration::from_millis(300));
    };
    let over_soon = over(interrupt(pulls, pull), 20);
    assert!(over_soon.contains("ended before all was in order"), "{over_soon}");
    host.corten(&["build", "-q", text(&context(&host, "FROM busybox\nENV A=1\n"))]).ok();
    let left: Vec<_> = std::fs::read_dir(host.root().join("build/work"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    assert!(left.is_empty(), "nothing half-made is left: {left:?}");
    if std::env::var_os(corten_tier::IN_VM).is_none() {
        let clones = build(&format!("FROM busybox\nADD http://{address}/r.git /\n"), &[]);
        let said = over(interrupt(clones, is_asked), 5);
        assert!(said.contains(interrupted), "{said}");
    }
}

#[corten_tier::t1]
fn containers_of_steps_stay_where_that_is_wanted() {
    let host = Host::with_busybox();
    std::fs::write(host.path("secret"), "geheim-4711").unwrap();
    let secret = format!("id=s,src={}", text(&host.path("secret")));
    let dockerfile = "FROM busybox\nENV A=1\nRUN --mount=type=secret,id=s,env=S \
        --mount=type=secret,id=s --mount=type=cache,target=/c touch /made /c/x\n\
        RUN --mount=type=secret,id=s,env=S echo out; touch /failed; exit 7\n";
    let path = context(&host, dockerfile);
    let build = |args: &[&str]| {
        let usual = ["build", "--network", "none", "--no-cache", "--secret", &secret];
        let built = host.corten(&[&usual[..], args, &[text(&path)]].concat());
        assert!(built.status == 1 && built.err.contains("ended with 7"), "{built:?}");
    };
    let all = || host.corten(&["ps", "-a", "--no-trunc", "--format", "{{.Command}}"]).ok();
    let last = || host.corten(&["ps", "-lq"]).ok().trim().to_owned();
    build(&[]);
    build(&["--rm=false", "--force-rm"]);
    assert_eq!(all(), "");
    build(&["--force-rm=false"]);
    assert_eq!(all(), "\"/bin/sh -c echo out; touch /failed; exit 7\"\n");
    let failed = last();
    assert_eq!(host.corten(&["diff", &failed]).ok(), "A /failed\n");
    assert_eq!(host.corten(&["logs", &failed]).ok(), "out\n");
    let again = host.corten(&["start", "-a", &failed]);
    assert_eq!((again.status, again.out.as_str()), (7, "out\n"));
    host.corten(&["commit", &failed, "made"]).ok();
    assert_eq!(building::run(&host, "ls /failed /made; echo [$S]"), "/failed\n/made\n[]\n");
    host.corten(&["rm", &failed]).ok();
    build(&["--rm=false"]);
    assert_eq!(all().lines().count(), 3, "{}", all());
    assert!(all().ends_with("\"/bin/sh -c #(nop)  ENV A=1\"\n"), "{}", all());
    let ids = host.corten(&["ps", "-aq"]).ok();
    let succeeded = ids.lines().nth(1).unwrap();
    let changed = host.corten(&["diff", succeeded]).ok();
    assert_eq!(changed, "A /made\n", "a layer was made of it, and it has it still");
    let found = support::wire::sh(&format!("grep -rl geheim-4711 {} || true", text(&host.root())));
    assert_eq!(found, "", "the secret is in no file of the state");
    let ids = host.corten(&["ps", "-aq"]).ok();
    host.corten(&[&["rm"], &ids.split_whitespace().collect::<Vec<_>>()[..]].concat()).ok();
    host.assert_clean();
}

/// A real key agent with one key; it ends with the value.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn new(host: &Host) -> Agent {
        let socket = host.path("agent");
        let mut child = Command::new("ssh-agent");
        child.args(["-D", "-a", text(&socket)]).stdout(Stdio::null());
        let agent = Agent { child: child.spawn().unwrap(), socket };
        support::eventually("the agent listens", || agent.socket.exists().then_some(()));
        let key = host.path("key");
        support::wire::sh(&format!(
            "ssh-keygen -q -t ed25519 -N '' -C test -f {0}; SSH_AUTH_SOCK={1} ssh-add -q {0}",
            text(&key),
            text(&agent.socket)
        ));
        agent
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The host's ssh-add with its libraries.
fn add_program(context: &Path) {
    support::wire::sh(&format!(
        "mkdir -p {0}/tree; for file in /usr/bin/ssh-add $(ldd /usr/bin/ssh-add | grep -o '/[^ ]*'); do \
         cp --parents -L $file {0}/tree; done",
        text(context)
    ));
}

#[corten_tier::t1]
fn a_step_asks_a_key_agent_and_nothing_of_it_stays() {
    if std::env::var_os(corten_tier::IN_VM).is_some() {
        println!("the lab VM has no ssh: this is tested on the host");
        return;
    }
    let host = Host::with_busybox();
    let agent = Agent::new(&host);
    let dockerfile = "FROM busybox\nCOPY tree /\nRUN --mount=type=ssh ssh-add -l >/keys\n\
                      RUN --mount=type=ssh,id=other,required true\n";
    let path = context(&host, dockerfile);
    add_program(&path);
    let build = |args: &[&str]| {
        let usual = ["build", "-q", "-t", "made", "--network", "none"];
        host.corten(&[&usual[..], args, &[text(&path)]].concat())
    };
    let default = format!("default={}", text(&agent.socket));
    let missing = build(&["--ssh", &default]);
    assert!(missing.err.contains("ssh other: not found"), "{missing:?}");
    build(&["--ssh", &default, "--ssh", &format!("other={}", text(&agent.socket))]).ok();
    let run = |script: &str| {
        host.corten(&["run", "--rm", "--network", "none", "made", "sh", "-c", script]).ok()
    };
    let own = format!("SSH_AUTH_SOCK={} ssh-add -l", text(&agent.socket));
    assert_eq!(run("cat /keys"), support::wire::sh(&own));
    assert_eq!(run("echo \"[$SSH_AUTH_SOCK]\"; ls -d /run 2>/dev/null; true"), "[]\n");
    host.assert_clean();
}

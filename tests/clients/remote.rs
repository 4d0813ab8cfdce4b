//! The command line with daemons elsewhere: Corten's and dockerd, by sockets, TLS and ssh.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::mask::masked;
use crate::peers::{Kind, Outcome, Peer};
use crate::support::certificates;
use crate::support::daemon::Daemon;
use crate::support::registry::Registry;
use crate::support::{self, Host, outcome, text};
use crate::terminal;
use serde_json::{Map, Value};

/// A line of the list.
#[derive(Debug, Clone)]
struct Line {
    command: String,
    /// Whether all three print the same, only the daemons do, or nobody.
    alike: Alike,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alike {
    All,
    Daemons,
    Nobody,
}

fn lines() -> Vec<Line> {
    let mut alike = Alike::All;
    let mut lines = Vec::new();
    for text in include_str!("commands.txt").lines() {
        match text.split(' ').next() {
            Some("" | "#") => {}
            Some("differs") => alike = Alike::Nobody,
            Some("alike") => alike = Alike::Daemons,
            _ => {
                lines.push(Line { command: text.to_owned(), alike });
                alike = Alike::All;
            }
        }
    }
    lines
}

/// `corten` is the one that was built.
fn with_path(line: &str) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_corten"));
    format!("PATH={}:$PATH; export PATH; {line}", program.parent().unwrap().display())
}

/// With the engine in the process.
fn all_local(root: &Path, lines: &[Line]) -> Vec<Outcome> {
    support::own_network();
    std::fs::create_dir_all(root.join("w")).unwrap();
    std::fs::write(root.join("image.tar"), support::busybox_layer()).unwrap();
    let run = |line: &str| {
        let mut command = Command::new("timeout");
        command.args(["60", "sh", "-c", &with_path(line)]).current_dir(root).stdin(Stdio::null());
        command.env("CORTEN_ROOT", root.join("root")).env("CORTEN_STATE", root.join("run"));
        command.env("W", root.join("w")).env("HOME", root.join("w"));
        let support::Outcome { status, out, err } = outcome(command.output().unwrap());
        Outcome { status, out, err }
    };
    assert_eq!(run("corten import -c 'CMD [\"sh\"]' image.tar busybox").status, 0);
    let outcomes = lines.iter().map(|line| run(&line.command)).collect();
    run("corten ps -aq | xargs -r corten rm -f -v; corten network prune -f");
    outcomes
}

fn all(kind: Kind, root: &Path, lines: &[Line]) -> Vec<Outcome> {
    let peer = Peer::start(kind, root, &support::busybox_layer());
    lines.iter().map(|line| peer.run(&with_path(&line.command))).collect()
}

/// What is wrong with `other`'s outcome beside `one`'s.
fn difference(
    line: &Line,
    (one, other): (&Outcome, &Outcome),
    roots: [&Path; 2],
    who: &str,
) -> Option<String> {
    let shown = |what: &str, one: &str, other: &str| {
        Some(format!("$ {}\n  {what}:\n{one}\n  {what}, {who}:\n{other}", line.command))
    };
    if one.status != other.status {
        let text = |outcome: &Outcome| format!("{} {}{}", outcome.status, outcome.out, outcome.err);
        return shown("status", &text(one), &text(other));
    }
    let said = other.err.lines().filter(|line| line.starts_with("corten: ")).count();
    if other.status == 1 && !line.command.contains('|') && said == 0 {
        return shown("no reason", &one.err, &other.err);
    }
    let (own, others) = (masked(&one.out, roots[0]), masked(&other.out, roots[1]));
    if line.alike != Alike::Nobody && own != others {
        return shown("output", &own, &others);
    }
    None
}

#[corten_tier::t1]
fn corten_does_the_same_here_and_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let roots = [at("local"), at("corten"), at("dockerd")];
    let lines = lines();
    let [local, corten, dockerd] = std::thread::scope(|scope| {
        let local = scope.spawn(|| all_local(&roots[0], &lines));
        let corten = scope.spawn(|| all(Kind::Corten, &roots[1], &lines));
        let dockerd = scope.spawn(|| all(Kind::Dockerd, &roots[2], &lines));
        [local.join().unwrap(), corten.join().unwrap(), dockerd.join().unwrap()]
    });
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if line.alike != Alike::Daemons {
            let pair = (&local[at], &corten[at]);
            found.extend(difference(line, pair, [&roots[0], &roots[1]], "corten daemon"));
        }
        let pair = (&corten[at], &dockerd[at]);
        found.extend(difference(line, pair, [&roots[1], &roots[2]], "dockerd"));
    }
    let (count, all) = (found.len(), lines.len());
    assert!(found.is_empty(), "{count} of {all} differ:\n\n{}", found.join("\n\n"));
}

/// `corten` as somebody whose home is empty, and whose environment names no daemon.
fn bare(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_corten"));
    for name in ["CORTEN_ROOT", "CORTEN_STATE", "CORTEN_HOST", "DOCKER_HOST", "DOCKER_CONTEXT"] {
        command.env_remove(name);
    }
    command.env("HOME", home).args(args).stdin(Stdio::null());
    command
}

fn run(home: &Path, args: &[&str]) -> support::Outcome {
    outcome(bare(home, args).output().unwrap())
}

pub fn at(daemon: &Daemon) -> String {
    format!("unix://{}", daemon.socket.display())
}

#[corten_tier::t1]
fn a_daemon_that_is_not_there_is_named_with_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let nowhere = format!("unix://{}/none", home.path().display());
    let asked = run(home.path(), &["-H", &nowhere, "ps"]);
    let why = format!("corten: cannot connect to the daemon at {nowhere}: ENOENT (is it running?");
    asked.fails(1, &why);
    run(home.path(), &["-H", &nowhere, "run", "busybox"]).fails(125, "ENOENT");
    run(home.path(), &["-H", "tcp://127.0.0.1:1", "ps"]).fails(1, "ECONNREFUSED");
    run(home.path(), &["-H", "box", "ps"]).fails(1, "is none of unix://PATH");
    // Each says that nobody is there before the next is asked.
    let mut command = bare(home.path(), &["ps"]);
    let asked = outcome(command.env("DOCKER_HOST", &nowhere).output().unwrap());
    asked.fails(1, &nowhere);
    let mut command = bare(home.path(), &["ps"]);
    command.env("DOCKER_HOST", "unix:///other").env("CORTEN_HOST", &nowhere);
    outcome(command.output().unwrap()).fails(1, &nowhere);
}

#[corten_tier::t1]
fn what_is_of_this_machine_says_so() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = ["-H", "unix:///nowhere"];
    for (args, command) in [(&["doctor"][..], "doctor"), (&["explain", "busybox"], "explain")] {
        let why = format!("{command} works on this machine's engine only; leave out -H");
        run(home.path(), &[&elsewhere, args].concat()).fails(125, &why);
    }
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let place = at(&daemon);
    for (args, command) in [
        (&["run", "--explain", "busybox"][..], "run --explain"),
        (&["system", "restore"], "system restore"),
        (&["network", "unload"], "network unload"),
    ] {
        let why = format!("{command} works on this machine's engine only; leave out -H");
        run(home.path(), &[&["-H", &place], args].concat()).fails(125, &why);
    }
    run(home.path(), &["-H", &place, "daemon"]).fails(1, "behind `daemon`");
    run(home.path(), &["-H", &place, "build", "--ssh", "a=/x", "."]).fails(1, "--ssh: is for");
}

/// What is inspected is the same thing, whoever asks.
#[corten_tier::t1]
fn inspect_shows_the_same_here_and_elsewhere() {
    let home = tempfile::tempdir().unwrap();
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let place = at(&daemon);
    for line in [
        "run -d --name one busybox sleep 1000",
        "run -dv kept:/v --tmpfs /t --label a=b --link one:friend --name two busybox sleep 1000",
    ] {
        host.corten(&line.split(' ').collect::<Vec<_>>()).ok();
    }
    for name in ["one", "two", "busybox", "kept", "bridge", "none"] {
        let asked = ["inspect", name];
        let mut own: Value = serde_json::from_str(&host.corten(&asked).ok()).unwrap();
        let far = run(home.path(), &[&["-H", &place], &asked[..]].concat());
        let mut far: Value = serde_json::from_str(&far.ok()).unwrap();
        let [own, far] = [&mut own, &mut far].map(|list| list[0].as_object_mut().unwrap());
        if name == "busybox" {
            assert!(own["Size"].as_u64().unwrap() > 100_000, "{own:?}");
            // What an OCI layout has of it, and what old programs look for.
            for name in ["Manifest", "Layers"] {
                assert!(own.remove(name).is_some());
            }
            far.remove("ContainerConfig");
        }
        if let Some(config) = own.get_mut("Config").and_then(Value::as_object_mut) {
            config.retain(|name, _| far["Config"].get(name).is_some());
        }
        let differs = |name: &&String| own.get(*name) != far.get(*name);
        let other: Vec<_> = own.keys().chain(far.keys()).filter(differs).collect();
        let of = |it: &Map<String, Value>| {
            other.iter().map(|name| it.get(*name).cloned()).collect::<Vec<_>>()
        };
        assert!(other.is_empty(), "{name}: {other:?}: {:?} {:?}", of(own), of(far));
    }
    host.corten(&["rm", "-f", "one", "two"]).ok();
}

#[corten_tier::t1]
fn the_version_of_the_api_may_be_pinned() {
    let home = tempfile::tempdir().unwrap();
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let place = at(&daemon);
    let ask = |version: &str, args: &[&str]| {
        let mut command = bare(home.path(), &[&["-H", &place], args].concat());
        outcome(command.env("DOCKER_API_VERSION", version).output().unwrap())
    };
    let shown = ["version", "--format", "{{.Client.ApiVersion}}"];
    assert_eq!(ask("v1.41", &shown).ok(), "1.41\n");
    assert!(ask("1.30", &["images"]).ok().contains("busybox"));
    let newest = corten_daemon::version::NEWEST;
    let too = format!("client version 1.99 is too new. Maximum supported API version is {newest}");
    ask("1.99", &["ps"]).fails(1, &too);
    ask("1.10", &["ps"]).fails(1, "client version 1.10 is too old. Minimum supported API version");
    ask("new", &["ps"]).fails(1, "DOCKER_API_VERSION=new: is no version of the Docker Engine API");
}

#[corten_tier::t1]
fn contexts_are_docker_s_own() {
    let home = tempfile::tempdir().unwrap();
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let place = at(&daemon);
    let corten = |args: &[&str]| run(home.path(), args);
    let docker = |args: &[&str]| {
        let mut command = Command::new("docker");
        command.env("HOME", home.path()).env_remove("DOCKER_HOST").args(args);
        outcome(command.output().unwrap())
    };
    assert_eq!(corten(&["context", "show"]).ok(), "default\n");
    let endpoint = format!("host={place}");
    let made = corten(&["context", "create", "ours", "--docker", &endpoint]);
    assert_eq!(made.ok(), "ours\n");
    corten(&["context", "create", "ours", "--docker", &endpoint]).fails(1, "already exists");
    corten(&["context", "create", "default", "--docker", &endpoint]).fails(1, "reserved");
    docker(&["context", "create", "theirs", "--description", "x", "--docker", &endpoint]).ok();
    // Each sees and uses what the other has made.
    assert_eq!(corten(&["context", "ls", "-q"]).ok(), "default\nours\ntheirs\n");
    assert!(docker(&["--context", "ours", "images"]).ok().contains("busybox"));
    assert!(corten(&["--context", "theirs", "images"]).ok().contains("busybox"));
    assert_eq!(corten(&["context", "use", "theirs"]).ok(), "theirs\n");
    assert_eq!(docker(&["context", "show"]).ok(), "theirs\n");
    assert!(corten(&["images"]).ok().contains("busybox"), "by the one that was chosen");
    docker(&["context", "use", "ours"]).ok();
    assert_eq!(corten(&["context", "show"]).ok(), "ours\n");
    let shown =
        corten(&["context", "ls", "--format", "{{.Name}} {{.Current}} {{.DockerEndpoint}}"]);
    assert!(shown.ok().contains(&format!("ours true {place}\n")));
    let inspected = ["context", "inspect", "theirs", "-f", "{{.Metadata.Description}}"];
    assert_eq!(corten(&inspected).ok(), "x\n");
    // Whoever names a state directory means this machine.
    assert!(host.command(&["images"]).env("HOME", home.path()).status().unwrap().success());
    let mut command = bare(home.path(), &["images"]);
    let other = command.env("DOCKER_CONTEXT", "none").output().unwrap();
    outcome(other).fails(1, "context not found");
    corten(&["context", "rm", "ours"]).fails(1, "in use");
    corten(&["context", "rm", "-f", "ours", "theirs"]).ok();
    assert_eq!(docker(&["context", "ls", "-q"]).ok(), "default\n");
    assert_eq!(corten(&["context", "show"]).ok(), "default\n");
}

#[corten_tier::t1]
fn a_daemon_without_the_right_certificate_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let host = Host::with_busybox();
    let (known, stranger) = certificates::make(directory.path());
    let address = "127.0.0.1:23760";
    let options = ["-H", &format!("tcp://{address}"), "--tlsverify"].map(str::to_owned).into_iter();
    let files = certificates::options(&known).into_iter();
    let options: Vec<String> = options.chain(files).collect();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let _daemon = Daemon::start(&host, &options);
    let place = format!("tcp://{address}");
    let ask = |files: &certificates::Files, args: &[&str]| {
        let options = certificates::options(files);
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        run(directory.path(), &[&["-H", &place, "--tlsverify"], &options[..], args].concat())
    };
    assert!(ask(&known, &["images"]).ok().contains("busybox"));
    // Streams in both directions, over the same kind of connection.
    let command = ["run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo out; exit 3"];
    let ran = ask(&known, &command);
    assert_eq!((ran.status, ran.out.as_str()), (3, "out\n"), "{}", ran.err);
    let saved = directory.path().join("saved.tar");
    ask(&known, &["save", "-o", text(&saved), "busybox"]).ok();
    ask(&known, &["load", "-i", text(&saved)]).ok();
    // The server is another's, as far as this client knows.
    let other = certificates::Files { ca: stranger.ca.clone(), ..known.clone() };
    ask(&other, &["images"]).fails(1, "invalid peer certificate");
    // This client is a stranger to the server.
    let other = certificates::Files { ca: known.ca.clone(), ..stranger.clone() };
    ask(&other, &["images"]).fails(1, "cannot connect to the daemon at tcp://127.0.0.1:23760");
    // Without TLS there is no talk.
    run(directory.path(), &["-H", &place, "images"]).fails(1, "cannot connect");
    // By the environment, as docker has it.
    let path = certificates::as_docker_has_them(&known, directory.path());
    let mut command = bare(directory.path(), &["images", "-q"]);
    command.env("DOCKER_HOST", &place).env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", path);
    assert_eq!(outcome(command.output().unwrap()).ok().lines().count(), 1);
}

/// An ssh(1) that executes the command here.
const SSH: &str = r#"#!/bin/sh
printf '%s\n' "$*" >> "$SSH_LOG"
while [ "$1" != -- ]; do shift; done
shift 2
exec sh -c "$*"
"#;

#[corten_tier::t1]
fn ssh_leads_to_the_daemon_over_there() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let home = tempfile::tempdir().unwrap();
    let fake = home.path().join("ssh");
    std::fs::write(&fake, SSH).unwrap();
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_corten")).parent().unwrap();
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{}:{path}", home.path().display(), program.display());
    let log = home.path().join("log");
    let place = format!("ssh://me@box:2222{}", daemon.socket.display());
    let corten = |args: &[&str]| {
        let mut command = bare(home.path(), &[&["-H", &place], args].concat());
        command.env("PATH", &path).env("SSH_LOG", &log);
        outcome(command.output().unwrap())
    };
    assert!(corten(&["images"]).ok().contains("busybox"));
    let said = std::fs::read_to_string(&log).unwrap();
    assert!(said.contains("-l me -p 2222 -- box"), "{said}");
    let run =
        corten(&["run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo x; exit 9"]);
    assert_eq!((run.status, run.out.as_str()), (9, "x\n"), "{}", run.err);
    // docker's client finds the daemon by the same command, which is called docker for it.
    let script = format!("#!/bin/sh\nexec corten -H {} \"$@\"\n", at(&daemon));
    let docker = home.path().join("bin/docker");
    std::fs::create_dir(docker.parent().unwrap()).unwrap();
    std::fs::write(&docker, script).unwrap();
    std::fs::set_permissions(&docker, std::fs::Permissions::from_mode(0o755)).unwrap();
    let real = outcome(Command::new("sh").args(["-c", "command -v docker"]).output().unwrap());
    let mut command = Command::new(real.ok().trim());
    let path = format!("{}:{path}", docker.parent().unwrap().display());
    command.args(["-H", "ssh://me@box", "images"]).env("PATH", path).env("SSH_LOG", &log);
    command.env("HOME", home.path()).env_remove("DOCKER_HOST");
    assert!(outcome(command.output().unwrap()).ok().contains("busybox"));
    // A machine that cannot be reached says so itself.
    std::fs::write(&fake, "#!/bin/sh\necho 'no route' >&2; exit 255\n").unwrap();
    let failed = corten(&["images"]);
    assert!(failed.err.contains("no route\n"), "{}", failed.err);
    failed.fails(1, "the connection was closed before there was an answer");
}

#[corten_tier::t1]
fn a_terminal_elsewhere_is_like_one_here() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let place = at(&daemon);
    let home = tempfile::tempdir().unwrap();
    let person = |args: &[&str]| {
        let args = [&["-H", &place], args].concat();
        terminal::Person::start(bare(home.path(), &args), (30, 100))
    };
    let mut shell = person(&["run", "--rm", "-it", "--network", "none", "busybox", "sh"]);
    shell.waits_for("# ");
    shell.types("stty size; echo a''b\n");
    shell.waits_for("30 100");
    shell.waits_for("ab");
    // The size follows, and Ctrl-C is the container's.
    shell.resize((31, 101));
    shell.types("until stty size | grep -q '^31'; do sleep 0.1; done; stty size\n");
    shell.waits_for("31 101");
    // A signal before the shell has made a child of its last command would reach the shell only, which waits
    // for the child before it acts.
    let script = "trap \"echo ca\"\"ught; exit\" INT; echo wai\"\"ts; while sleep 0.1; do :; done";
    shell.types(&format!("sh -c '{script}'\n"));
    shell.waits_for("waits");
    shell.types("\x03");
    shell.waits_for("caught");
    shell.types("echo still''here; exit 6\n");
    shell.waits_for("stillhere");
    assert_eq!(shell.ends(), Some(6));
    assert!(shell.is_cooked(), "the terminal is as it was");
    // One is left by its keys, and goes on.
    let mut shell = person(&["run", "-it", "--name", "left", "--network", "none", "busybox", "sh"]);
    shell.waits_for("# ");
    shell.types("\x10\x11");
    assert_eq!(shell.ends(), Some(0));
    assert!(shell.is_cooked());
    let ps = || run(home.path(), &["-H", &place, "ps", "--format", "{{.Names}}"]).ok();
    assert_eq!(ps(), "left\n");
    let mut exec = person(&["exec", "-it", "left", "sh"]);
    exec.waits_for("# ");
    exec.types("stty size; exit 5\n");
    exec.waits_for("30 100");
    assert_eq!(exec.ends(), Some(5));
    // So is a program in it, from here and from elsewhere.
    let stays = ["exec", "-it", "--detach-keys", "ctrl-x", "left"];
    let stays = [&stays[..], &["sh", "-c", "echo he''re; exec sleep 1234"]].concat();
    for mut exec in [person(&stays), terminal::Person::start(host.command(&stays), (30, 100))] {
        exec.waits_for("here");
        exec.types("\x18");
        assert_eq!(exec.ends(), Some(0));
    }
    let top = run(home.path(), &["-H", &place, "top", "left"]).ok();
    assert_eq!(top.matches("sleep 1234").count(), 2, "{top}");
    let mut again = person(&["attach", "left"]);
    again.types("echo back''again; exit 4\n");
    again.waits_for("backagain");
    assert_eq!(again.ends(), Some(4));
    run(home.path(), &["-H", &place, "rm", "left"]).ok();
    drop(daemon);
    host.assert_no_trace();
}

#[corten_tier::t1]
fn images_go_to_a_registry_and_come_from_it_by_the_daemon() {
    let host = Host::with_busybox();
    let registry = Registry::start();
    let daemon = Daemon::start(&host, &[]);
    let place = at(&daemon);
    let home = tempfile::tempdir().unwrap();
    let corten = |args: &[&str]| run(home.path(), &[&["-H", &place], args].concat());
    let name = registry.name("team/box:v1");
    corten(&["tag", "busybox", &name]).ok();
    let pushed = corten(&["push", &name]).ok();
    assert!(pushed.contains("v1: digest: sha256:"), "{pushed}");
    assert_eq!(corten(&["push", "-q", &name]).ok(), format!("{name}\n"));
    corten(&["rmi", &name]).ok();
    let pulled = corten(&["pull", &name]).ok();
    assert!(pulled.contains(&format!("Status: Downloaded newer image for {name}\n")), "{pulled}");
    assert!(pulled.ends_with(&format!("{name}\n")), "{pulled}");
    corten(&["rmi", &name]).ok();
    let (two, repository) = (registry.name("team/box:v2"), registry.name("team/box"));
    corten(&["tag", "busybox", &two]).ok();
    assert!(corten(&["push", "-a", &repository]).ok().contains("v2: digest: sha256:"));
    corten(&["rmi", &two]).ok();
    let pulled = corten(&["pull", "-a", &repository]).ok();
    let status = format!("Status: Downloaded newer image for {repository}\n{repository}\n");
    assert!(pulled.ends_with(&status), "{pulled}");
    let tags = ["images", "--format", "{{.Tag}}", &repository];
    assert_eq!(corten(&tags).ok().lines().count(), 2);
    corten(&["rmi", &name, &two]).ok();
    // An image that is not there is fetched first, and told of on standard error.
    let ran = corten(&["run", "--rm", "--network", "none", &name, "echo", "fetched"]);
    assert!(ran.err.contains(&format!("Unable to find image '{name}' locally")), "{}", ran.err);
    assert_eq!(ran.ok(), "fetched\n");
    corten(&["pull", &registry.name("none:v1")]).fails(1, "not found");
    // Credentials are the client's: the daemon is sent what is known here.
    let config = home.path().join(".docker/config.json");
    std::fs::create_dir_all(config.parent().unwrap()).unwrap();
    let domain = registry.name("").trim_end_matches('/').to_owned();
    let helper = format!("{{\"credHelpers\": {{\"{domain}\": \"nosuch\"}}}}");
    std::fs::write(&config, helper).unwrap();
    corten(&["pull", &name]).fails(1, "docker-credential-nosuch");
}

#[corten_tier::t1]
fn names_of_a_daemon_elsewhere_are_completed() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let place = at(&daemon);
    let home = tempfile::tempdir().unwrap();
    run(home.path(), &["-H", &place, "create", "--name", "far-away", "busybox"]).ok();
    let words = ["--", "corten", "-H", &place, "start", "far"];
    let mut command = bare(home.path(), &words);
    command.env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", "4").env("_CLAP_IFS", "\n");
    command.env("_CLAP_COMPLETE_COMP_TYPE", "9").env("_CLAP_COMPLETE_SPACE", "false");
    assert_eq!(outcome(command.output().unwrap()).ok().trim(), "far-away");
}

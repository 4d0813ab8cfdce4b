//! docker-compose 1.29 and the Python SDK, as Debian has them, against the daemon.

use crate::support::daemon::Daemon;
use crate::support::{Host, Outcome, eventually, outcome, text};

const PROJECT: &str = include_str!("docker-compose.yml");
const SDK: &str = include_str!("sdk.py");
const TERMINAL: &str = include_str!("terminal.py");

#[corten_tier::t1]
fn a_compose_project_comes_up_scales_and_goes_down() {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let directory = host.path("project");
    std::fs::create_dir_all(directory.join("conf")).unwrap();
    std::fs::write(directory.join("conf/key"), "value\n").unwrap();
    std::fs::write(directory.join("docker-compose.yml"), PROJECT).unwrap();
    let compose = |args: &[&str]| -> Outcome {
        let mut command = daemon.program("docker-compose", args);
        outcome(command.current_dir(&directory).output().unwrap())
    };
    compose(&["up", "-d"]).ok();
    // The client finds the server by its name, over a network that leads nowhere else.
    eventually("the client has been served", || {
        compose(&["logs", "--no-color", "client"]).ok().contains("served").then_some(())
    });
    let exec =
        |service: &str, command: &[&str]| compose(&[&["exec", "-T", service], command].concat());
    assert_eq!(exec("web", &["cat", "/conf/key"]).ok(), "value\n");
    assert_eq!(exec("web", &["sh", "-c", "exit 4"]).status, 4);
    assert_ne!(exec("web", &["touch", "/conf/new"]).status, 0, "it is read-only");
    // It is published on the host.
    let port = compose(&["port", "web", "80"]).ok();
    let get =
        format!("busybox wget -qO- http://127.0.0.1:{}/", port.trim().rsplit(':').next().unwrap());
    let served = std::process::Command::new("sh").args(["-c", &get]).output().unwrap();
    assert_eq!(outcome(served).ok(), "served\n");
    eventually("it is well", || compose(&["ps"]).ok().contains("Up (healthy)").then_some(()));
    compose(&["up", "-d", "--scale", "client=3"]).ok();
    assert_eq!(compose(&["ps", "-q"]).ok().lines().count(), 4);
    compose(&["restart", "-t", "0", "client"]).ok();
    compose(&["stop", "-t", "0"]).ok();
    compose(&["start"]).ok();
    assert!(compose(&["run", "--rm", "client", "echo", "once"]).ok().contains("once"));
    compose(&["down", "-v", "-t", "0"]).ok();
    assert_eq!(daemon.docker(&["ps", "-aq"]).ok(), "");
    assert_eq!(daemon.docker(&["volume", "ls", "-q"]).ok(), "");
    let networks = daemon.docker(&["network", "ls", "--format", "{{.Name}}"]).ok();
    assert_eq!(networks, "bridge\nhost\nnone\n");
    drop(daemon);
    host.assert_no_trace();
}

#[corten_tier::t1]
fn the_python_sdk_works() {
    python(SDK);
}

#[corten_tier::t1]
fn a_person_leaves_a_terminal_and_comes_back() {
    python(TERMINAL);
}

fn python(program: &str) {
    let host = Host::with_busybox();
    let daemon = Daemon::start(&host, &[]);
    let script = host.path("script.py");
    std::fs::write(&script, program).unwrap();
    // Debian's, which has the SDK as a package: docker-compose needs it.
    let done = daemon.program("/usr/bin/python3", &[text(&script)]).output().unwrap();
    let done = outcome(done);
    assert_eq!((done.status, done.out.as_str()), (0, "all is well\n"), "{done:?}");
    drop(daemon);
    let _ = host.corten(&["rm", "-f", "box"]);
    host.assert_no_trace();
}

//! `corten run --explain`: what a container was made of, as it was made.

use crate::support::{Host, text};
use corten::timeline::{Kind, Role, Timeline};

fn recorded(host: &Host, options: &[&str], command: &[&str]) -> (Timeline, u8) {
    let file = host.path("timeline.json");
    let args = [&["run", "--explain-to", text(&file)], options, &["busybox"], command].concat();
    let out = host.corten(&args);
    let timeline = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    (timeline, u8::try_from(out.status).unwrap())
}

#[corten_tier::t1]
fn a_start_is_told_step_by_step() {
    let host = Host::with_busybox();
    let options = ["--name", "box", "-m", "64m", "-v", "data:/d", "-p", "127.0.0.1::80"];
    let (timeline, status) = recorded(&host, &options, &["sh", "-c", "exit 7"]);
    assert_eq!(status, 7);
    let of = |role: Role| timeline.processes.iter().filter(|process| process.role == role).count();
    assert_eq!([of(Role::Supervisor), of(Role::Container)], [1, 1], "{:?}", timeline.processes);
    // A second one takes the container off its network, where the first has not done it already.
    assert!((1..=2).contains(&of(Role::Engine)), "{:?}", timeline.processes);
    let id = timeline.container.clone().unwrap();
    let by = |role: Role, call: &str| {
        let is = |pid: i32| timeline.process(pid).is_some_and(|process| process.role == role);
        timeline.steps.iter().filter(|step| step.call == call && is(step.pid)).collect::<Vec<_>>()
    };
    // Each part does what the book says that it does.
    let clone = by(Role::Supervisor, "clone3");
    let namespaces: Vec<&str> =
        clone[0].events.iter().map(|event| event.name.split(' ').next().unwrap()).collect();
    assert!(
        ["mnt", "uts", "ipc", "pid"].iter().all(|kind| namespaces.contains(kind)),
        "{namespaces:?}"
    );
    assert!(
        by(Role::Supervisor, "setsid").len() == 1 && by(Role::Container, "pivot_root").len() == 1
    );
    assert_eq!(by(Role::Container, "seccomp").len(), 1);
    assert!(by(Role::Container, "move_mount").len() > 5);
    let last = timeline
        .steps
        .iter()
        .rfind(|step| timeline.process(step.pid).unwrap().role == Role::Container);
    let last = last.unwrap();
    assert_eq!((last.call.as_str(), last.result.as_str()), ("execve", "0"));
    assert!(last.says.contains("user's program") && last.arguments.contains("/bin/sh"), "{last:?}");
    let limits = timeline.steps.iter().filter(|step| step.says.contains("67108864"));
    assert!(limits.count() >= 1, "the limit of memory");
    for said in ["rtnetlink: ", "nftables: elements of a set"] {
        let steps = timeline.steps.iter().filter(|step| step.says.starts_with(said));
        assert!(
            steps.clone().count() >= 1 && steps.into_iter().all(|step| step.chapter == 7),
            "{said}"
        );
    }
    // What is made is taken away again.
    let events = timeline.steps.iter().flat_map(|step| &step.events);
    let groups = events.filter(|event| event.kind == Kind::Cgroup && event.name.ends_with(&id));
    let (made, gone): (Vec<_>, Vec<_>) = groups.partition(|event| event.there);
    assert!(!made.is_empty() && made.len() == gone.len(), "{} {}", made.len(), gone.len());
    assert!(
        timeline.steps.iter().all(|step| (1..=7).contains(&step.chapter) && !step.says.is_empty())
    );
    // It is kept with the container.
    let told = host.corten(&["explain", "box"]).ok();
    assert!(told.contains("supervisor  1  a process, in ") && told.contains(&id[..12]), "{told}");
    let page = host.path("page.html");
    host.corten(&["explain", "--to", text(&page), "box"]).ok();
    assert!(std::fs::read_to_string(&page).unwrap().contains(&id));
    host.corten(&["rm", "box"]).ok();
    host.corten(&["volume", "rm", "data"]).ok();
    host.corten(&["create", "--name", "other", "busybox"]).ok();
    host.corten(&["explain", "other"]).fails(125, "was not recorded");
    host.corten(&["rm", "other"]).ok();
    host.assert_clean();
}

/// Nobody is traced any more when the command has ended, and nothing of it is seen inside.
#[corten_tier::t1]
fn what_goes_on_is_left_alone() {
    let host = Host::with_busybox();
    let (timeline, status) =
        recorded(&host, &["-d", "--name", "box", "--network", "none"], &["sleep", "1000"]);
    assert_eq!(status, 0);
    let (pid, supervisor) = host.running().unwrap();
    for process in [pid, supervisor] {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        assert!(status.contains("TracerPid:\t0\n") && !status.contains("State:\tt"), "{status}");
    }
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("CORTEN_TRACED"));
    assert!(timeline.steps.len() > 50);
    assert_eq!(host.corten(&["exec", "box", "echo", "hi"]).ok(), "hi\n");
    host.corten(&["stop", "-t", "0", "box"]).ok();
    host.corten(&["rm", "box"]).ok();
    // Text goes to standard error, the plan before it; the container's output is its own.
    let out = host.corten(&["run", "--rm", "--explain", "busybox", "echo", "hi"]);
    assert_eq!((out.status, out.out.as_str()), (0, "hi\n"));
    assert!(
        out.err.starts_with("the plan:\n  1 engine") && out.err.contains("what happened: "),
        "{}",
        out.err
    );
    host.assert_clean();
}

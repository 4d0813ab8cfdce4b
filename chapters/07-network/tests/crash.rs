//! What killed processes leave: nothing, after the next command.
#![allow(clippy::unwrap_used)]

mod lab;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use corten_network::network::Request;
use corten_tier::t1;
use lab::{Container, Lab, program, sh, tree};

/// The system calls that change something, or after which something is different.
const CALLS: &str =
    "sendto,openat,rename,unlink,mkdir,rmdir,write,flock,umount2,move_mount,unshare,setns,ioctl";

/// All that a connection changes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    links: Vec<String>,
    /// The words of the packet filter: the elements of a set have no order.
    filter: BTreeMap<String, usize>,
    files: Vec<String>,
}

impl State {
    fn of(lab: &Lab) -> State {
        let mut filter = BTreeMap::new();
        for word in sh("nft -s list ruleset").split_whitespace() {
            *filter.entry(word.trim_end_matches(',').to_owned()).or_default() += 1;
        }
        let mut links = lab.links();
        links.sort();
        // Where the search for the next address goes on is no trace.
        let lasting = |file: &String| !file.contains("/next") && !file.ends_with("lock");
        let files = tree(lab.dir()).into_iter().filter(lasting).collect();
        State { links, filter, files }
    }
}

impl State {
    #[track_caller]
    fn compare(&self, before: &State, when: &str) {
        assert_eq!(self.files, before.files, "{when}");
        assert_eq!(self.links, before.links, "{when}");
        let mut words = self.filter.clone();
        words.retain(|word, count| before.filter.get(word) != Some(count));
        assert!(words.is_empty() && self.filter.len() == before.filter.len(), "{when}: {words:?}");
    }
}

fn command(lab: &Lab, arguments: &str) -> Command {
    let mut command = Command::new(program());
    command.arg("--root").arg(lab.dir().join("root")).arg("--state").arg(lab.dir().join("state"));
    command.args(arguments.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// How often `arguments` makes each of the calls.
fn calls(lab: &Lab, arguments: &str) -> BTreeMap<String, usize> {
    let log = lab.dir().join("trace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-e", &format!("trace={CALLS}"), "-e", "signal=none", "-o"])
        .arg(&log);
    let plain = command(lab, arguments);
    strace.arg(plain.get_program()).args(plain.get_args()).stdout(Stdio::null());
    assert!(strace.status().unwrap().success(), "{arguments}");
    let mut counts = BTreeMap::new();
    for line in std::fs::read_to_string(&log).unwrap().lines() {
        let call = line.split_whitespace().nth(1).unwrap().split('(').next().unwrap();
        *counts.entry(call.to_owned()).or_default() += 1;
    }
    std::fs::remove_file(log).unwrap();
    counts.retain(|call: &String, _| CALLS.split(',').any(|known| known == call));
    counts
}

/// Runs `arguments`, killed when it is about to make `call` for the `number`th time.
fn killed(lab: &Lab, arguments: &str, call: &str, number: usize) {
    let plain = command(lab, arguments);
    let inject = format!("inject={call}:signal=SIGKILL:when={number}");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}"), "-e", &inject]);
    strace.arg(plain.get_program()).args(plain.get_args());
    strace.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
}

/// Kills `arguments` at each of its calls. `ready` sets the stage and `clear` ends what may be there,
/// as an engine would; then all is as it was before.
fn at_every_call(lab: &Lab, arguments: &str, ready: impl Fn(), clear: impl Fn()) {
    ready();
    let counts = calls(lab, arguments);
    lab.open();
    clear();
    let before = State::of(lab);
    let mut moments = 0;
    for (call, count) in &counts {
        // The lab VM is ten times slower.
        let step = if std::env::var_os("CORTEN_VM").is_some() { 5 } else { 1 };
        for number in (1..=*count).step_by(step) {
            ready();
            killed(lab, arguments, call, number);
            // The next command of anybody.
            lab.open();
            clear();
            State::of(lab).compare(&before, &format!("killed at {call} {number} of `{arguments}`"));
            moments += 1;
        }
    }
    println!("killed at {moments} moments: {counts:?}");
    assert!(moments > 5, "{counts:?}");
}

fn dual(request: &mut Request) {
    request.enable_ipv6 = true;
}

fn attach(container: &Container, options: &str) -> String {
    // A server of names lives on, and strace waits for all that it traces.
    format!("attach app {} --no-names {options}", container.path.display())
}

#[t1]
fn a_connection_that_was_killed_leaves_nothing() {
    let lab = Lab::new();
    lab.network_with("app", dual);
    let (web, other) = (lab.container("web"), lab.container("other"));
    // Somebody else's is not touched.
    lab.networks.connect("app", &other.request(&["9090:90"])).unwrap();
    let release = || {
        let container = format!("path{}", web.path.display().to_string().replace('/', "%2f"));
        if !lab.networks.of_container(&container).unwrap().is_empty() {
            lab.networks.disconnect("app", &container).unwrap();
        }
    };
    at_every_call(&lab, &attach(&web, "-p 8080:80 -p 8081:81/udp"), || {}, release);
}

#[t1]
fn a_disconnection_that_was_killed_is_finished() {
    let lab = Lab::new();
    lab.network_with("app", dual);
    let web = lab.container("web");
    let connect = || {
        assert!(command(&lab, &attach(&web, "-p 8080:80")).status().unwrap().success());
    };
    let detach = format!("detach app {}", web.path.display());
    let finish = || {
        // Where it was killed before it had begun.
        command(&lab, &detach).stderr(Stdio::null()).status().unwrap();
    };
    at_every_call(&lab, &detach, connect, finish);
}

#[t1]
fn a_release_that_was_killed_is_finished_by_repair() {
    let lab = Lab::new();
    lab.network("app");
    let path = lab.dir().join("netns").join("web");
    let connect = || {
        corten_network::Namespace::create(&path).unwrap();
        let attach = format!("attach app {} --no-names -p 8080:80", path.display());
        assert!(command(&lab, &attach).status().unwrap().success());
    };
    let release = format!("release {}", path.display());
    let finish = || {
        lab.networks.repair(|_| false).unwrap();
        corten_network::Namespace::release(&path).unwrap();
        lab.until_links("the devices have gone", |l| !l.iter().any(|l| l.starts_with("veth")));
    };
    at_every_call(&lab, &release, connect, finish);
}

#[t1]
fn a_network_that_was_being_made_or_removed_is_there_or_not() {
    let lab = Lab::new();
    // What the first network makes for all.
    lab.network("first");
    let remove = || {
        if lab.networks.find("app").is_ok() {
            lab.networks.remove("app").unwrap();
        }
        // Below STATE its directory may be there without it.
        lab.networks.repair(|_| true).unwrap();
    };
    at_every_call(&lab, "create app", || {}, remove);
    let create = || drop(lab.network("app"));
    at_every_call(&lab, "rm app", create, remove);
}

/// Starts commands that connect and disconnect, and kills them at random.
fn riot(lab: &Lab, containers: &[Container], during: Duration) -> usize {
    let mut running: Vec<(Child, Instant)> = Vec::new();
    let (begun, mut kills, mut seed) = (Instant::now(), 0, 0x2545_f491_u32);
    let mut random = |below: u32| {
        seed ^= seed << 13;
        seed ^= seed >> 17;
        seed ^= seed << 5;
        seed % below
    };
    while begun.elapsed() < during {
        let container = &containers[random(containers.len() as u32) as usize];
        let line = match random(3) {
            0 => format!("detach app {}", container.path.display()),
            _ => attach(container, "-p 8000-8999:80"),
        };
        let child = command(lab, &line).stderr(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + Duration::from_micros(u64::from(random(30_000)));
        running.push((child, end));
        for (child, end) in &mut running {
            if Instant::now() > *end && child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                kills += 1;
            }
        }
        running.retain_mut(|(child, _)| child.try_wait().unwrap().is_none());
        if running.len() > 6 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    for (mut child, _) in running {
        child.wait().unwrap();
    }
    kills
}

#[t1]
fn no_address_and_no_port_is_ever_given_twice_whoever_is_killed() {
    let lab = Lab::new();
    // Few addresses, so that they are given again and again.
    lab.network_with("app", |request| {
        let pool = corten_network::network::PoolRequest {
            subnet: "10.9.0.0/28".into(),
            ..Default::default()
        };
        request.ipam.config.push(pool);
    });
    let before = State::of(&lab);
    let names: Vec<String> = (0..8).map(|n| format!("c{n}")).collect();
    let containers: Vec<Container> = names.iter().map(|name| lab.container(name)).collect();
    let id = lab.networks.find("app").unwrap().id;
    let mut kills = 0;
    for _ in 0..4 {
        kills += riot(&lab, &containers, Duration::from_millis(1500));
        let networks = lab.open();
        networks.repair(|_| true).unwrap();
        let endpoints = networks.endpoints(&id).unwrap();
        let addresses: BTreeSet<_> = endpoints.iter().map(lab::v4).collect();
        let ports: BTreeSet<_> =
            endpoints.iter().flat_map(|e| e.ports.iter().map(|p| p.host_port)).collect();
        assert_eq!(addresses.len(), endpoints.len(), "an address was given twice: {endpoints:#?}");
        assert_eq!(ports.len(), endpoints.len(), "a port was given twice: {endpoints:#?}");
        // Each is what its container really has.
        for endpoint in &endpoints {
            let container = containers.iter().find(|c| c.path == endpoint.namespace).unwrap();
            let shown = container.ip("-4 -o address show");
            assert!(shown.contains(&lab::v4(endpoint).to_string()), "{shown}");
        }
        for container in &containers {
            let has = endpoints.iter().any(|endpoint| endpoint.namespace == container.path);
            assert_eq!(container.ip("-o link").contains("eth0"), has, "{}", container.name);
        }
    }
    assert!(kills > 10, "only {kills} were killed in the middle");
    lab.networks.repair(|_| false).unwrap();
    drop(containers);
    lab.until_links("the devices have gone", |l| !l.iter().any(|l| l.starts_with("veth")));
    let mut after = State::of(&lab);
    after.files.retain(|file| !file.ends_with("router4"));
    assert_eq!(after.links, before.links);
    assert_eq!(after.filter, before.filter);
}

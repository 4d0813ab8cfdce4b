//! What needs machines of its own. The docker client in one drives the daemon in the other, over TLS; two of
//! them make the same image of the same files; figures of version 2 of control groups; and systemd, which the host has
//! not.

use std::path::{Path, PathBuf};

use crate::support::certificates::{self, Files};
use crate::support::{self, Host};
use corten_vm::{Cgroup, Job, Kernel, Network, Vm, VmBuilder};
use serde_json::Value;

/// The daemon's machine.
const SERVER: &str = "
set -e
corten import - busybox </busybox.tar >/dev/null
corten daemon -H tcp://10.78.0.1:2376 --tlsverify --tlscacert /known/ca.pem --tlscert /known/cert.pem \\
    --tlskey /known/key.pem &
# The other machine says when it has seen all.
nc -l -p 7000
corten ps -a --format '{{.Names}} {{.Status}}' | sed 's/ [0-9].*//'
kill $!
wait $!
";

/// The client's machine, which has no engine's directory.
const CLIENT: &str = "
export DOCKER_HOST=tcp://10.78.0.1:2376 DOCKER_TLS_VERIFY=1 HOME=/tmp
export DOCKER_CERT_PATH=/known
until corten images >/dev/null 2>&1; do sleep 1; done
docker run --rm --network none busybox echo by docker
echo typed | docker run -i --rm --network none busybox cat
docker run -d --name left --network none busybox sleep 1000 >/dev/null
corten run --rm --network none busybox sh -c 'echo by corten; exit 5'; echo $?
corten exec left hostname | wc -c
corten cp left:/etc/hostname - | tar -t
export DOCKER_CERT_PATH=/stranger
docker ps >/dev/null 2>&1 && echo 'docker was let in'
corten ps >/dev/null 2>&1 && echo 'corten was let in'
# Who knows the authority and has no certificate of it.
corten --tlsverify --tlscacert /known/ca.pem ps >/dev/null 2>&1 && echo 'no certificate was asked for'
unset DOCKER_TLS_VERIFY
docker ps >/dev/null 2>&1 && echo 'plain docker was let in'
corten ps >/dev/null 2>&1 && echo 'plain corten was let in'
ls /var/lib/corten 2>/dev/null
until echo done | nc -w 2 10.78.0.1 7000; do sleep 1; done
";

fn with_files(mut vm: VmBuilder, directory: &str, files: &Files) -> VmBuilder {
    for (file, name) in [(&files.ca, "ca"), (&files.cert, "cert"), (&files.key, "key")] {
        vm = vm.file(file, format!("{directory}/{name}.pem")).unwrap();
    }
    vm
}

/// Where a program is.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file());
    found.unwrap_or_else(|| panic!("./x test installs {name}"))
}

#[corten_tier::boots_vm]
fn a_client_on_another_machine_is_let_in_by_its_certificate() {
    let host = Host::new();
    let directory = tempfile::tempdir().unwrap();
    let (known, stranger) = certificates::make(directory.path());
    std::fs::write(host.path("busybox.tar"), support::busybox_layer()).unwrap();
    let engine = Path::new(env!("CARGO_BIN_EXE_corten"));
    let vm = || Vm::builder().unwrap().binary(engine).unwrap();
    let network = Network::new();
    let server = with_files(vm(), "/known", &known)
        .usual_tools()
        .unwrap()
        .binary(engine.with_file_name("corten-supervisor"))
        .unwrap()
        .file(host.path("busybox.tar"), "/busybox.tar")
        .unwrap()
        .network(&network, "10.78.0.1/24")
        .job(Job::shell(SERVER));
    let client = with_files(with_files(vm(), "/known", &known), "/stranger", &stranger)
        .tool(program("docker"))
        .unwrap()
        .network(&network, "10.78.0.2/24")
        .job(Job::shell(CLIENT));
    let server = std::thread::spawn(move || server.run(&mut corten_vm::TestOutput).unwrap());
    let client = client.run(&mut corten_vm::TestOutput).unwrap();
    let server = server.join().unwrap();
    let seen = client.jobs[0].text();
    assert_eq!(seen, "by docker\ntyped\nby corten\n5\n13\nhostname\n", "{}", server.jobs[0].text());
    let served = server.jobs[0].text();
    assert!(server.jobs[0].status.success() && served.contains("left Up\n"), "{served}");
}

/// Builds twice: with a date that counts, and with the machine's own clock.
const BUILD: &str = "
set -e
date -s \"$CLOCK\" >/dev/null
hostname $NAME
# Files of a copy have other times, and other numbers on the disk.
cp -r /context /copy
build() { corten build -q --no-cache --network none --metadata-file /metadata \"$@\" /copy; }
SOURCE_DATE_EPOCH=1700000000 build
grep digest /metadata
corten inspect $(SOURCE_DATE_EPOCH=1700000000 build --jobs 1) | grep -i '\"created\"'
echo its own: $(build)
";

/// What touches all that may differ: names in an order, links, times of files, directories that are made
/// on the way, what is mounted for a step, stages at the same time.
const DOCKERFILE: &str = "FROM scratch AS base
ADD busybox.tar /
FROM base AS one
RUN mkdir -p /made/deep; for i in 9 3 7 1; do echo $i >/made/$i; done; ln /made/9 /made/hard; ln -s 9 /made/soft
FROM base
ARG WHO=nobody
COPY d /d
COPY --from=one /made /made
WORKDIR /w/v
RUN --mount=type=cache,target=/cache cp -a /d/f . && rm /d/g && touch /cache/x && chown 7:8 f && echo $WHO >who
LABEL a=b
CMD [\"sh\"]
";

#[corten_tier::boots_vm]
fn two_machines_make_the_same_image_by_a_date() {
    // The test has a network of its own then, which leads nowhere.
    Kernel::Debian612.fetch().unwrap();
    let host = Host::new();
    let context = host.path("context");
    std::fs::create_dir_all(context.join("d")).unwrap();
    for (name, content) in [("Dockerfile", DOCKERFILE), ("d/f", "f"), ("d/g", "g")] {
        std::fs::write(context.join(name), content).unwrap();
    }
    std::fs::write(context.join("busybox.tar"), support::busybox_layer()).unwrap();
    let engine = Path::new(env!("CARGO_BIN_EXE_corten"));
    let machine = |kernel, cgroup, clock: &str, name: &str| {
        let vm = Vm::builder().unwrap().kernel(kernel).cgroup(cgroup);
        let vm = vm.binary(engine).unwrap().binary(engine.with_file_name("corten-supervisor"));
        let vm = vm.unwrap().file(&context, "/context").unwrap();
        let job = Job::shell(BUILD).env("CLOCK", clock).env("NAME", name);
        let outcome = vm.job(job).run(&mut corten_vm::TestOutput).unwrap();
        let text = outcome.jobs[0].text();
        assert!(outcome.jobs[0].status.success(), "{text}\n{}", outcome.console);
        let (same, own) = text.split_once("its own: ").unwrap();
        (same.to_owned(), own.to_owned())
    };
    let one = machine(Kernel::Debian61, Cgroup::V2, "2027-01-02 03:04:05", "one");
    let two = machine(Kernel::Debian612, Cgroup::V1, "2031-10-11 12:13:14", "another-name");
    assert_eq!(one.0, two.0);
    assert!(one.0.contains("sha256:") && one.0.contains("2023-11-14T22:13:20Z"), "{}", one.0);
    // Without the date they are not: the test would see it.
    assert_ne!(one.1, two.1);
}

/// A container that uses memory, a disk and a processor, and what the daemon, both clients and the kernel say
/// of it.
const FIGURES: &str = r#"
set -e
corten import - busybox </busybox.tar >/dev/null
corten daemon -l error -H unix:///run/corten.sock &
export DOCKER_HOST=unix:///run/corten.sock HOME=/tmp
until docker version >/dev/null 2>&1; do sleep 0.5; done
docker run -d --name busy --network none --memory 96m --pids-limit 20 busybox sh -c '
    head -c 20000000 /dev/zero >/file; sync; cat /file >/dev/null
    x=$(head -c 8000000 /dev/zero | tr "\\0" x); echo ready; while :; do :; done' >/tmp/id
until docker logs busy | grep -q ready; do sleep 0.5; done
# The kernel's own numbers before and after each.
used() {
    echo "$1 $(cut -d ' ' -f 1 /proc/uptime) $(grep usage_usec /sys/fs/cgroup/corten/$(cat /tmp/id)/cpu.stat)" \
        "$(head -n 1 /proc/stat)"
}
used first
echo "api $(curl -s --unix-socket /run/corten.sock 'http://d/containers/busy/stats?stream=0')"
used second
echo "later $(curl -s --unix-socket /run/corten.sock 'http://d/containers/busy/stats?stream=0&one-shot=1')"
used third
echo "docker $(docker stats --no-stream --format '{{json .}}' busy)"
echo "corten $(corten stats --no-stream --format json busy)"
used fourth
cd /sys/fs/cgroup/corten/$(cat /tmp/id)
echo "kernel $(cat memory.current) $(grep '^inactive_file ' memory.stat | cut -d ' ' -f 2)"
echo "io $(cat io.stat)"
docker rm -f busy >/dev/null
kill $!
wait $!
"#;

/// The number at the beginning of what a client shows, as in `12.5MiB / 96MiB` or `99.1%`.
fn shown(value: &Value) -> f64 {
    let text = value.as_str().unwrap();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().unwrap_or_else(|_| panic!("{text}"));
    match &text[end..] {
        rest if rest.starts_with("KiB") => number / 1024.0,
        _ => number,
    }
}

/// What the kernel says of the time that was used: seconds since the boot, nanoseconds of the container and of
/// the machine, the latter as moby adds them up, from seven columns of /proc/stat.
#[derive(Debug)]
struct Used {
    uptime: f64,
    container: f64,
    machine: f64,
}

impl Used {
    fn read(line: &str) -> Used {
        let words: Vec<f64> = line.split(' ').filter_map(|word| word.parse().ok()).collect();
        let machine = words[2..9].iter().sum::<f64>() * 1e7;
        Used { uptime: words[0], container: words[1] * 1e3, machine }
    }
}

/// How much of the time of both processors the machine's clock ticked: an emulated one loses ticks where
/// others want the processors, and percentages are of ticks.
fn ticked(from: &Used, to: &Used) -> f64 {
    (to.machine - from.machine) / ((to.uptime - from.uptime) * 2e9)
}

#[corten_tier::boots_vm]
fn figures_of_a_container_are_the_kernel_s() {
    // The test has a network of its own then, which leads nowhere.
    Kernel::Debian612.fetch().unwrap();
    let host = Host::new();
    std::fs::write(host.path("busybox.tar"), support::busybox_layer()).unwrap();
    let engine = Path::new(env!("CARGO_BIN_EXE_corten"));
    let vm = Vm::builder().unwrap().kernel(Kernel::Debian612).cgroup(Cgroup::V2).cpus(2);
    let vm = vm.binary(engine).unwrap().binary(engine.with_file_name("corten-supervisor")).unwrap();
    let vm = vm.tool(program("docker")).unwrap().tool(program("curl")).unwrap();
    let vm = vm.file(host.path("busybox.tar"), "/busybox.tar").unwrap();
    let outcome = vm.job(Job::shell(FIGURES)).run(&mut corten_vm::TestOutput).unwrap();
    let text = outcome.jobs[0].text();
    assert!(outcome.jobs[0].status.success(), "{text}\n{}", outcome.console);
    let line = |word: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(word));
        found.unwrap_or_else(|| panic!("no {word}: {text}")).trim()
    };
    let json = |word: &str| serde_json::from_str::<Value>(line(word)).unwrap();
    let (api, later, docker, corten) =
        (json("api "), json("later "), json("docker "), json("corten "));
    let number = |value: &Value| value.as_u64().unwrap_or_else(|| panic!("{value}: {text}")) as f64;
    let near = |one: f64, other: f64, what: &str| {
        assert!((one - other).abs() <= 0.1 * one.max(other), "{what}: {one} and {other}: {text}");
    };
    let used = |word: &str| Used::read(line(word));
    let (first, second) = (used("first "), used("second "));
    let (third, fourth) = (used("third "), used("fourth "));
    let memory = &api["memory_stats"];
    let (usage, inactive) = (number(&memory["usage"]), number(&memory["stats"]["inactive_file"]));
    let kernel: Vec<f64> = line("kernel ").split(' ').map(|n| n.parse().unwrap()).collect();
    near(usage, kernel[0], "memory.current");
    near(inactive, kernel[1], "inactive_file");
    assert_eq!(number(&memory["limit"]), f64::from(96 << 20));
    // What docker counts: without the files that the kernel can forget at any time.
    let counted = usage - inactive;
    assert!(counted > 7e6 && usage > 24e6 && inactive > 15e6, "{memory}");
    for client in [&docker, &corten] {
        near(shown(&client["MemUsage"]), counted / f64::from(1 << 20), "MemUsage");
        assert!(client["MemUsage"].as_str().unwrap().ends_with("MiB / 96MiB"), "{client}");
        near(shown(&client["MemPerc"]), 100.0 * counted / f64::from(96 << 20), "MemPerc");
        let busy = shown(&client["CPUPerc"]) * ticked(&third, &fourth);
        assert!((50.0..150.0).contains(&busy), "one of two processors: {busy} {client}");
        assert!(shown(&client["PIDs"]) >= 1.0, "{client}");
    }
    let total = |value: &Value| number(&value["cpu_usage"]["total_usage"]);
    let (cpu, before) = (&api["cpu_stats"], &api["precpu_stats"]);
    assert!(total(cpu) > total(before) && total(&later["cpu_stats"]) > total(cpu), "{text}");
    assert_eq!(number(&cpu["online_cpus"]), 2.0);
    // Each figure lies between what the kernel said before and after.
    let system = |value: &Value| number(&value["system_cpu_usage"]);
    for (from, value, to) in
        [(&first, before, &second), (&first, cpu, &second), (&second, &later["cpu_stats"], &third)]
    {
        let is_within = (from.container..=to.container).contains(&total(value))
            && (from.machine..=to.machine).contains(&system(value));
        assert!(is_within, "{from:?} {value} {to:?}: {text}");
    }
    let share = (total(cpu) - total(before)) / (system(cpu) - system(before));
    let share = share * ticked(&first, &second);
    assert!((0.25..0.75).contains(&share), "half of the machine: {share}: {text}");
    assert_eq!(number(&api["pids_stats"]["limit"]), 20.0);
    assert!(number(&api["pids_stats"]["current"]) >= 1.0);
    let rows = api["blkio_stats"]["io_service_bytes_recursive"].as_array().unwrap();
    let written: f64 =
        rows.iter().filter(|row| row["op"] == "write").map(|row| number(&row["value"])).sum();
    let kernel: f64 = line("io ")
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("wbytes="))
        .map(|bytes| bytes.parse::<f64>().unwrap())
        .sum();
    near(written, kernel, "wbytes");
    assert!(written >= 20e6, "{text}");
}

/// systemd as the first process of a process namespace in the machine, with its own /run: it is the real one,
/// and the machine's own init need not be another one for it.
const SYSTEMD: &str = r#"
set -e
ln -s /corten/bin/corten /usr/bin/corten
echo 'corten:x:990:' >>/etc/group
: >/etc/machine-id
mkdir -p /etc/systemd/system
printf '[Unit]\nRequires=basic.target %s\nAfter=basic.target %s\n' \
    systemd-journald.service systemd-journald.service >/etc/systemd/system/lab.target
corten import - busybox </busybox.tar >/dev/null
unshare --pid --mount --fork sh -c '
    mount --make-rprivate /; mount -t proc proc /proc; mount -t tmpfs -o mode=755 tmpfs /run
    container=lab exec /lib/systemd/systemd --unit=lab.target' >/tmp/log 2>&1 &
up=$! pid=
trap 'cat /tmp/log; kill -KILL $pid' EXIT
within() { nsenter -t $pid -m -p "$@"; }
until within test -S /run/systemd/private 2>/dev/null; do
    sleep 0.5
    read -r pid _ </proc/$up/task/$up/children || true
done
within systemctl is-system-running --wait
state() { echo "$1: $(within systemctl is-active corten.socket corten.service | tr '\n' ' ')"; }
main() { within systemctl show -P MainPID corten.service; }
export DOCKER_HOST=unix:///run/corten.sock HOME=/tmp
containers() { echo "$1: $(within docker ps --format '{{.Names}} {{.State}}')"; }
within systemctl start corten.socket
state socket
echo "rights: $(within stat -c '%a %U %G' /run/corten.sock)"
echo "ping: $(within curl -s --unix-socket /run/corten.sock http://d/_ping)"
state activated
before=$(main)
within systemctl reload corten.service
[ "$(main)" = "$before" ] && state reloaded
within docker run -d --name left --network none busybox sleep 1000 >/dev/null
within systemctl stop corten.service 2>/dev/null
state stopped
echo "without: $(within corten ps --format '{{.Names}} {{.State}}')"
containers again
within systemctl kill --kill-whom=main -s KILL corten.service
containers killed
echo "restarts: $(within systemctl show -P NRestarts corten.service)"
within docker rm -f left >/dev/null
echo "journal: $(within journalctl --no-pager -t corten -o cat | sed 's/.*INFO //' | tr '\n' ',')"
"#;

#[corten_tier::boots_vm]
fn the_units_work_under_systemd() {
    let host = Host::new();
    std::fs::write(host.path("busybox.tar"), support::busybox_layer()).unwrap();
    let engine = Path::new(env!("CARGO_BIN_EXE_corten"));
    let vm = Vm::builder().unwrap().kernel(Kernel::Debian612).cgroup(Cgroup::V2);
    let vm = vm.binary(engine).unwrap().binary(engine.with_file_name("corten-supervisor")).unwrap();
    let mut vm = vm.file(host.path("busybox.tar"), "/busybox.tar").unwrap();
    let own = Path::new("/lib/systemd");
    for name in ["systemctl", "journalctl", "docker", "curl"] {
        vm = vm.tool(program(name)).unwrap();
    }
    for name in ["systemd", "systemd-journald"] {
        vm = vm.tool(own.join(name)).unwrap();
    }
    // What a machine has beside these is not what this is about, and takes its time.
    let units = "sysinit.target basic.target sockets.target slices.target paths.target timers.target \
                 local-fs.target network.target network-online.target shutdown.target umount.target \
                 systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket";
    let theirs = units.split_whitespace().map(|unit| own.join("system").join(unit));
    let ours = ["corten.service", "corten.socket"]
        .map(|unit| Path::new(env!("CARGO_MANIFEST_DIR")).join("dist").join(unit));
    for unit in theirs.chain(ours) {
        let to = Path::new("/lib/systemd/system").join(unit.file_name().unwrap());
        vm = vm.file(unit, to).unwrap();
    }
    let outcome = vm.job(Job::shell(SYSTEMD)).run(&mut corten_vm::TestOutput).unwrap();
    let text = outcome.jobs[0].text();
    assert!(outcome.jobs[0].status.success(), "{text}\n{}", outcome.console);
    let expected = "running\nsocket: active inactive \nrights: 660 root corten\nping: OK\n\
        activated: active active \nreloaded: active active \nstopped: active inactive \n\
        without: left running\nagain: left running\nkilled: left running\nrestarts: 1\n\
        journal: ready,ending; containers go on,ready,ready,\n";
    assert_eq!(text, expected);
}

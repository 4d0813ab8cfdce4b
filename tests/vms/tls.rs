//! Two machines: the docker client in one drives the daemon in the other, over TLS.

use std::path::{Path, PathBuf};

use crate::support::certificates::{self, Files};
use crate::support::{self, Host};
use corten_vm::{Job, Network, Vm, VmBuilder};

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

/// Where the client is.
fn docker() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap();
    let found = std::env::split_paths(&path).map(|dir| dir.join("docker")).find(|p| p.is_file());
    found.expect("./x test installs docker")
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
        .tool(docker())
        .unwrap()
        .network(&network, "10.78.0.2/24")
        .job(Job::shell(CLIENT));
    let server = std::thread::spawn(move || server.run(&mut std::io::stderr()).unwrap());
    let client = client.run(&mut std::io::stderr()).unwrap();
    let server = server.join().unwrap();
    let seen = client.jobs[0].text();
    assert_eq!(seen, "by docker\ntyped\nby corten\n5\n13\nhostname\n", "{}", server.jobs[0].text());
    let served = server.jobs[0].text();
    assert!(server.jobs[0].status.success() && served.contains("left Up\n"), "{served}");
}

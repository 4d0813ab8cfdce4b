//! Two machines on one wire: one publishes a container's port, the other one asks.
#![allow(clippy::unwrap_used)]

use corten_vm::{Job, Kernel, Network, Outcome, Vm, VmBuilder};

/// The container's machine. Its wire lets shorter packets pass than the container's link does.
const SERVER: &str = r#"
set -e
ip -6 address add fd77::1/64 dev eth0 2>/dev/null
mkdir -p /www/cgi-bin
printf '#!/bin/sh\necho; echo "$REMOTE_ADDR"\n' >/www/cgi-bin/who
chmod 755 /www/cgi-bin/who
dd if=/dev/urandom of=/www/large bs=1M count=3 2>/dev/null
md5sum </www/large
corten-network create app --ipv6 >/dev/null
corten-network namespace /run/box
corten-network attach app /run/box --name web -p 8080:80 -p 127.0.0.1:9090:80 >/dev/null
nsenter --net=/run/box httpd -f -p 80 -h /www &
# The other machine says when it has seen all.
nc -l -p 7000
kill $!
wait $! || true
corten-network release /run/box
corten-network rm app
until ! ip link | grep -q veth; do usleep 10000; done
ip -o link | wc -l
"#;

/// The other machine.
const CLIENT: &str = r#"
ip -6 address add fd77::2/64 dev eth0
ip link set eth0 mtu 1300
until wget -q -O /dev/null http://10.77.0.1:8080/large 2>/dev/null; do sleep 1; done
wget -q -O - http://10.77.0.1:8080/large | md5sum
until wget -q -O - 'http://[fd77::1]:8080/large' >/tmp/six; do sleep 1; done
md5sum </tmp/six
wget -q -O - http://10.77.0.1:8080/cgi-bin/who
wget -q -O - 'http://[fd77::1]:8080/cgi-bin/who'
# What is published on its loopback is not for us, whatever we call it.
ip route add 127.0.0.1/32 via 10.77.0.1 2>/dev/null
nc -w 2 10.77.0.1 9090 </dev/null >/dev/null 2>&1 && echo 'reached 9090'
# Nor is the container itself: only what is published.
ip route add 172.16.0.0/12 via 10.77.0.1
for last in 17 18 19; do
    nc -w 1 172.$last.0.2 80 </dev/null >/dev/null 2>&1 && echo "reached 172.$last.0.2"
done
until echo done | nc -w 2 10.77.0.1 7000; do sleep 1; done
"#;

fn vm(kernel: &Kernel) -> VmBuilder {
    let vm = Vm::builder().unwrap().kernel(kernel.clone());
    vm.binary(env!("CARGO_BIN_EXE_corten-network")).unwrap()
}

fn lines(outcome: &Outcome) -> Vec<String> {
    outcome.jobs[0].text().lines().map(str::to_owned).collect()
}

fn over_the_wire(kernel: &Kernel) {
    let network = Network::new();
    let server = vm(kernel).network(&network, "10.77.0.1/24").job(Job::shell(SERVER));
    let client = vm(kernel).network(&network, "10.77.0.2/24").job(Job::shell(CLIENT));
    let server = std::thread::spawn(move || server.run(&mut corten_vm::TestOutput).unwrap());
    let client = client.run(&mut corten_vm::TestOutput).unwrap();
    let server = server.join().unwrap();
    let (served, seen) = (lines(&server), lines(&client));
    assert!(server.jobs[0].status.success(), "{served:?}");
    let digest = &served[0];
    assert_eq!(seen[..2], [digest.clone(), digest.clone()], "three megabytes by both families");
    // The container sees the other machine's addresses, as its server writes them.
    assert_eq!(seen[2..], ["[::ffff:10.77.0.2]", "[fd77::2]"], "and nothing else was reached");
    // The loopback and the wire are left.
    assert_eq!(served.last().map(|line| line.trim()), Some("2"), "{served:?}");
}

#[corten_tier::boots_vm]
fn a_published_port_is_reached_from_another_machine_on_6_1() {
    over_the_wire(&Kernel::Debian61);
}

#[corten_tier::boots_vm]
fn a_published_port_is_reached_from_another_machine_on_6_12() {
    over_the_wire(&Kernel::Debian612);
}

//! Attacks of containers on other networks, on the host's neighbours, and on each other's addresses,
//! in short: chapter 7's tests have them in full. Each is also tried where it must succeed.

use std::io::Write;
use std::net::TcpListener;

use crate::support::wire::{MACHINE, Machine, sh, within};
use crate::support::{self, Host, eventually};

/// Where clouds tell virtual machines their secrets.
const METADATA: &str = "169.254.169.254";

/// Says a word to whoever connects, from now on until the test ends.
fn serve(machine: &Machine) {
    let listener = within(&machine.namespace(), || TcpListener::bind("0.0.0.0:80").unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let _ = stream.and_then(|mut stream| stream.write_all(b"secret\n"));
        }
    });
}

fn run(host: &Host, options: &[&str], script: &str) -> support::Outcome {
    host.corten(&[&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat())
}

/// What somebody on this network hears from there.
fn heard(host: &Host, network: &str, address: &str) -> String {
    run(host, &["--network", network], &format!("nc -w 1 {address} 80 </dev/null")).out
}

fn address(host: &Host, name: &str, network: &str) -> String {
    let text = host.corten(&["inspect", name]).ok();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let networks = &value[0]["NetworkSettings"]["Networks"];
    networks[network]["IPAddress"].as_str().unwrap().to_owned()
}

/// A container that says a word to whoever connects.
fn victim(host: &Host, name: &str, network: &str) -> String {
    let serve = "exec nc -ll -p 80 -e echo secret";
    let options = ["run", "-d", "--name", name, "--network", network];
    host.corten(&[&options[..], &["busybox", "sh", "-c", serve]].concat()).ok();
    let address = address(host, name, network);
    eventually("it serves", || (heard(host, network, &address) == "secret\n").then_some(()));
    address
}

#[corten_tier::t1]
fn an_internal_network_has_no_way_out() {
    let host = Host::with_busybox();
    let machine = Machine::new();
    serve(&machine);
    let namespace = machine.namespace();
    within(&namespace, || sh(&format!("ip address add {METADATA}/32 dev lo")));
    sh(&format!("ip route add {METADATA} via {MACHINE}"));
    host.corten(&["network", "create", "--internal", "inside"]).ok();
    for place in [MACHINE, METADATA] {
        assert_eq!(heard(&host, "bridge", place), "secret\n", "{place}: the attack itself works");
        assert_eq!(heard(&host, "inside", place), "", "{place}");
    }
    // Not by a way of its own making, either.
    let gateway = "ip route add default dev eth0; ip route; nc -w 1 169.254.169.254 80 </dev/null";
    let out = run(&host, &["--network", "inside", "--cap-add", "NET_ADMIN"], gateway);
    assert!(out.out.contains("default dev eth0") && !out.out.contains("secret"), "{out:?}");
    // Its own containers talk to each other.
    victim(&host, "web", "inside");
    assert_eq!(heard(&host, "inside", "web"), "secret\n");
    host.corten(&["rm", "-f", "web"]).ok();
    host.corten(&["network", "rm", "inside"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn networks_do_not_reach_one_another() {
    let host = Host::with_busybox();
    for network in ["one", "two"] {
        host.corten(&["network", "create", network]).ok();
    }
    let address = victim(&host, "web", "one");
    for network in ["two", "bridge"] {
        assert_eq!(heard(&host, network, &address), "", "from {network}");
        assert_eq!(heard(&host, network, "web"), "", "by name from {network}");
    }
    sh("nft flush map inet corten to");
    assert_eq!(heard(&host, "two", &address), "secret\n", "the attack itself works");
    host.corten(&["rm", "-f", "web"]).ok();
    host.corten(&["network", "rm", "one", "two"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn nobody_speaks_under_another_address() {
    let host = Host::with_busybox();
    for (network, guard) in [("guarded", "true"), ("open", "false")] {
        let option = format!("corten.network.guard={guard}");
        let create = ["network", "create", "--subnet"];
        let subnet = if guard == "true" { "10.96.0.0/24" } else { "10.98.0.0/24" };
        host.corten(&[&create[..], &[subnet, "-o", &option, network]].concat()).ok();
        let address = victim(&host, network, network);
        let other = address.replace(".0.2", ".0.99");
        let spoof = format!(
            "ip address flush dev eth0 && ip address add {other}/24 dev eth0 && \
             nc -w 1 {address} 80 </dev/null"
        );
        // Without CAP_NET_ADMIN it keeps its address.
        let usual = run(&host, &["--network", network], &spoof);
        assert!(usual.status != 0 && usual.err.contains("not permitted"), "{usual:?}");
        // With it, nobody hears what it says under another one.
        let admin = run(&host, &["--network", network, "--cap-add", "NET_ADMIN"], &spoof);
        let expected = if guard == "true" { "" } else { "secret\n" };
        assert_eq!(admin.out, expected, "{network}: {admin:?}");
        // Without CAP_NET_RAW it makes no frames of its own.
        let raw = ["--network", network, "--cap-drop", "NET_RAW"];
        let frames = run(&host, &raw, &format!("busybox arping -c 1 -w 1 -I eth0 {address}"));
        assert!(frames.status != 0 && frames.err.contains("not permitted"), "{frames:?}");
    }
    host.corten(&["rm", "-f", "guarded", "open"]).ok();
    host.corten(&["network", "rm", "guarded", "open"]).ok();
    host.assert_no_trace();
}

//! The way from 127.0.0.11:53 to the server.

use std::net::{TcpListener, UdpSocket};
use std::process::Command;
use std::time::Duration;

use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::lab::{Lab, addresses, exchange_stream, question, until};

#[corten_tier::t1]
fn names_are_asked_for_at_the_usual_place() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, _) = lab.single(&app);
    let client = Lab::usual_client(&web);
    // The client's socket is connected: an answer from another port would not reach it.
    assert_eq!(client.addresses("web"), ["10.0.0.2"]);
    let answer = exchange_stream(&mut client.connect(), &question(1, "web", RecordType::A));
    assert_eq!(addresses(&answer), ["10.0.0.2"]);
}

/// A container may be a name server itself.
#[corten_tier::t1]
fn port_53_is_the_container_s_own() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, _) = lab.single(&app);
    let (udp, _tcp) = web.inside(|| {
        (UdpSocket::bind("0.0.0.0:53").unwrap(), TcpListener::bind("0.0.0.0:53").unwrap())
    });
    udp.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(Lab::usual_client(&web).addresses("web"), ["10.0.0.2"]);
    web.inside(|| {
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        own.send_to(b"to itself", "127.0.0.1:53").unwrap();
    });
    assert_eq!(udp.recv(&mut [0; 16]).unwrap(), 9);
}

/// What nft makes of it: one rule, one map of two.
#[corten_tier::t1]
fn the_table_is_what_nft_would_write() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, _) = lab.single(&app);
    let (udp, tcp) = lab.ports(&app, &web);
    let listed = web.inside(|| Command::new("nft").args(["list", "ruleset"]).output().unwrap());
    let listed = String::from_utf8(listed.stdout).unwrap();
    let lines: Vec<String> =
        listed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let has = |line: &str| assert!(lines.iter().any(|other| other == line), "{line} in:\n{listed}");
    has("table inet corten {");
    has("type nat hook output priority -101; policy accept;");
    has("dnat ip to ip daddr . meta l4proto . th dport map @resolver");
    // Without /etc/protocols, as in the lab VM, nft prints the protocols' numbers.
    let named = listed.replace(" . 6 . ", " . tcp . ").replace(" . 17 . ", " . udp . ");
    assert!(named.contains(&format!("127.0.0.11 . udp . 53 : 127.0.0.11 . {udp}")), "{listed}");
    assert!(named.contains(&format!("127.0.0.11 . tcp . 53 : 127.0.0.11 . {tcp}")), "{listed}");
}

#[corten_tier::t1]
fn a_server_that_was_started_again_is_led_to() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, _) = lab.single(&app);
    kill(Pid::from_raw(lab.status(&app).pid), Signal::SIGKILL).unwrap();
    lab.names.announce(&app).unwrap();
    assert_eq!(Lab::usual_client(&web).addresses("web"), ["10.0.0.2"]);
}

/// Two servers could answer for it: the one of the network with the smallest id does, and the other
/// one does as soon as that network is left.
#[corten_tier::t1]
fn a_container_of_two_networks_is_served_by_one_and_then_by_the_other() {
    let lab = Lab::new();
    let (back, front) = (lab.network("back", false), lab.network("front", false));
    let (proxy, db) = (lab.container("proxy"), lab.container("db"));
    lab.attach(&back, &db, "10.1.0.2", json!({}));
    lab.attach(&front, &proxy, "10.0.0.3", json!({}));
    let client = Lab::usual_client(&proxy);
    let counts = || [&back, &front].map(|network| lab.status(network).answered);
    assert_eq!(client.addresses("proxy"), ["10.0.0.3"]);
    assert_eq!(counts(), [0, 1]);
    lab.attach(&back, &proxy, "10.1.0.3", json!({}));
    let client = Lab::usual_client(&proxy);
    assert_eq!(client.addresses("db"), ["10.1.0.2"]);
    assert_eq!(counts(), [1, 1]);
    lab.detach(&back, &proxy);
    until("the other one has taken over", || {
        let client = Lab::usual_client(&proxy);
        client.socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        client.socket.send(&question(1, "proxy", RecordType::A)).is_ok()
            && client.receive().is_some()
    });
    assert!(counts()[1] > 1);
    // And where the first one was killed, telling the second one starts it again.
    lab.attach(&back, &proxy, "10.1.0.3", json!({}));
    kill(Pid::from_raw(lab.status(&back).pid), Signal::SIGKILL).unwrap();
    until("it is gone", || lab.names.status(&back).unwrap().is_none());
    assert_eq!(lab.names.announce(&front).unwrap().elsewhere, [back]);
    assert_eq!(Lab::usual_client(&proxy).addresses("db"), ["10.1.0.2"]);
}

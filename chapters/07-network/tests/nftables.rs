//! The packet filter as `nft` lists it.
#![allow(clippy::unwrap_used)]

mod lab;

use corten_tier::t1;
use lab::{Lab, ask, at, sh};
use serde_json::Value;

/// What `nft` lists of our tables, without numbers that differ each time, elements and comments: rules
/// in order, the rest by name.
fn listing() -> Vec<Value> {
    let text = sh("nft -j list ruleset");
    let document: Value = serde_json::from_str(&text).unwrap();
    let mut all = Vec::new();
    for entry in document["nftables"].as_array().unwrap() {
        let mut entry = entry.clone();
        if entry.get("metainfo").is_some() {
            continue;
        }
        for body in entry.as_object_mut().unwrap().values_mut() {
            let body = body.as_object_mut().unwrap();
            for name in ["handle", "elem", "comment"] {
                body.remove(name);
            }
        }
        all.push(entry);
    }
    // Stable: the rules of a chain keep their order.
    all.sort_by_key(|entry| {
        let (kind, body) = entry.as_object().unwrap().iter().next().unwrap();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        (kind.clone(), text("family"), text("name"), text("chain"))
    });
    all
}

/// The rule for which nft 1.0.6 has no words in its own language, though it lists it.
fn about_advertisements(entry: &Value) -> bool {
    entry["rule"]["chain"] == "port6" && entry.to_string().contains("\"base\":\"th\"")
}

#[t1]
fn the_tables_are_those_of_the_golden_file() {
    let lab = Lab::new();
    lab.network("app");
    let mut ours = listing();
    assert_eq!(ours.iter().filter(|entry| about_advertisements(entry)).count(), 1);
    ours.retain(|entry| !about_advertisements(entry));
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/corten.nft");
    // The lab VM does not have the file, but the test has.
    let copy = lab.dir().join("corten.nft");
    std::fs::write(&copy, include_str!("golden/corten.nft")).unwrap();
    sh(&format!("nft flush ruleset && nft -f {}", copy.display()));
    let theirs = listing();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{golden}");
    }
    assert_eq!(ours.len(), theirs.len());
}

#[t1]
fn a_network_and_a_container_are_elements_and_no_rules() {
    let lab = Lab::new();
    let app = lab.network_with("app", |request| request.enable_ipv6 = true);
    let before = listing();
    let (_web, endpoint) = lab.on("app", "web", &["8080:80", "127.0.0.1:53:53/udp"]);
    assert_eq!(listing(), before, "no rule, chain or set is made for a container");
    // The lab VM has no /etc/protocols.
    let text = sh("nft -p list ruleset");
    let (bridge, link) = (format!("br-{}", &app.id[..12]), &endpoint.link);
    let (mac, v4, v6) = (endpoint.mac_address.unwrap(), lab::v4(&endpoint), lab::v6(&endpoint));
    for expected in [
        format!("elements = {{ \"{bridge}\" }}"),
        format!("\"{bridge}\" . \"{bridge}\""),
        format!("\"{bridge}\" . {}", app.subnets()[0]),
        format!("\"{bridge}\" . {}", app.subnets()[1]),
        format!("\"{bridge}\" . fe80::/10"),
        format!("\"{bridge}\" : jump from_open"),
        format!("6 . 8080 : {v4} . 80"),
        format!("6 . 8080 : {v6} . 80"),
        format!("127.0.0.1 . 17 . 53 : {v4} . 53"),
        format!("elements = {{ \"{link}\" }}"),
        format!("\"{link}\" . {mac} . {v4}"),
        format!("\"{link}\" . {mac} . {v6}"),
        format!("\"{link}\" . {mac} . ::"),
    ] {
        assert!(text.contains(&expected), "{expected} in {text}");
    }
}

#[t1]
fn a_flushed_packet_filter_is_loaded_again_with_all_that_runs() {
    let lab = Lab::new();
    let (web, _) = lab.on("bridge", "web", &["8080:80"]);
    lab.network("app");
    let _server = web.serve("tcp:0.0.0.0:80");
    let before = sh("nft -s list ruleset");
    sh("nft flush ruleset");
    assert!(ask(at("127.0.0.1", 8080)).is_none());
    lab.networks.repair(|_| true).unwrap();
    assert_eq!(sh("nft -s list ruleset").len(), before.len());
    assert!(ask(at("127.0.0.1", 8080)).is_some());
    // Rules of another program, or of an older version, under our name.
    sh("nft flush ruleset; nft add table inet corten; nft add chain inet corten x");
    lab.on("app", "other", &[]);
    assert!(!sh("nft list ruleset").contains("chain x"));
    assert!(ask(at("127.0.0.1", 8080)).is_some());
}

/// Debian's kernels have it by a module, which may not be there.
#[t1]
fn a_kernel_without_a_packet_filter_for_frames_will_do() {
    let lab = Lab::new();
    lab.network("app");
    lab.on("app", "first", &[]);
    sh("nft delete table bridge corten");
    std::fs::write(lab.dir().join("state/networks/without-frames"), "true").unwrap();
    let (web, _) = lab.on("app", "web", &["8080:80"]);
    let _server = web.serve("tcp:0.0.0.0:80");
    assert!(ask(at("127.0.0.1", 8080)).is_some());
    assert!(!sh("nft list tables").contains("bridge"), "nothing was loaded anew");
    let obstacles = lab.networks.obstacles().unwrap();
    assert!(obstacles.iter().any(|text| text.contains("nft_meta_bridge")), "{obstacles:?}");
    lab.networks.repair(|_| true).unwrap();
    lab.networks.release(&web.id()).unwrap();
    assert!(ask(at("127.0.0.1", 8080)).is_none());
    // When the tables are loaded anew it is tried again.
    sh("nft flush ruleset");
    lab.networks.repair(|_| true).unwrap();
    assert!(sh("nft list tables").contains("bridge corten"));
}

#[t1]
fn tables_of_others_stay_as_they_are() {
    let lab = Lab::new();
    let others = "table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; \
        counter; }; }; table inet firewalld { set x { type ipv4_addr; }; }";
    sh(&format!("nft '{others}'"));
    let before = sh("nft list table ip filter; nft list table inet firewalld");
    let app = lab.network("app");
    let (web, _) = lab.on("app", "web", &["8080:80"]);
    lab.networks.repair(|_| true).unwrap();
    let obstacles = lab.networks.obstacles().unwrap();
    assert!(obstacles[0].contains("chain ip filter FORWARD drops"), "{obstacles:?}");
    lab.networks.release(&web.id()).unwrap();
    lab.networks.remove(&app.id).unwrap();
    assert_eq!(sh("nft list table ip filter; nft list table inet firewalld"), before);
}

#[t1]
fn a_host_that_was_no_router_does_not_become_one() {
    let lab = Lab::new();
    // A namespace begins as the host's own is, which may be a router.
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "0").unwrap();
    let machine = lab.machine();
    // A second wire, to another machine.
    let other = lab.container("second");
    sh(&format!(
        "ip link add eth1 type veth peer name tmp1 && ip address add 198.51.100.1/24 dev eth1 && \
         ip link set eth1 up && exec 3<{} && ip link set tmp1 netns /proc/self/fd/3",
        other.path.display()
    ));
    other.sh("ip address add 198.51.100.2/24 dev tmp1 && ip link set tmp1 up && \
         ip route add default via 198.51.100.1");
    let _server = other.serve("tcp:0.0.0.0:80");
    assert!(machine.ask(at("198.51.100.2", 80)).is_none());
    lab.network("app");
    assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_forward").unwrap().trim(), "1");
    assert!(machine.ask(at("198.51.100.2", 80)).is_none(), "it would pass packets of others");
    sh("nft flush map inet corten others");
    assert!(machine.ask(at("198.51.100.2", 80)).is_some(), "the attack itself works");
}

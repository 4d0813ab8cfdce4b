//! The three files of a container, compared with what dockerd has written for the same requests
//! (`tests/dockerd/capture.sh`).
#![deny(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use corten_network::files::resolv::{ResolvConf, Wishes};
use corten_network::files::{Hosts, LOOPBACK};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct Case {
    name: String,
    host: String,
    network: String,
    address: IpAddr,
    #[serde(default)]
    dns: Vec<String>,
    #[serde(default)]
    search: Vec<String>,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default)]
    extra: Vec<String>,
    hostname: Option<String>,
    #[serde(default)]
    domainname: String,
    hosts: String,
    hostname_file: String,
    resolv_conf: String,
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> = serde_json::from_str(include_str!("dockerd/files.json")).unwrap();
    assert!(cases.len() >= 34);
    cases
}

#[test]
fn resolv_conf_is_dockerd_s() {
    for case in cases() {
        let conf = ResolvConf::parse(case.host.as_bytes());
        let wishes = Wishes { dns: case.dns, search: case.search, options: case.options };
        let text = match case.network.as_str() {
            "bridge" => conf.for_bridge(&wishes, false),
            _ => conf.for_network(&wishes),
        };
        assert_eq!(text, case.resolv_conf, "{} in {}", case.name, case.network);
    }
}

#[test]
fn hosts_and_hostname_are_dockerd_s() {
    let gateway = IpAddr::from([172, 31, 0, 1]);
    for case in cases() {
        // What the grammar of --add-host makes of them is the engine's to say.
        let extra = case.extra.iter().map(|entry| match entry.split_once(':').unwrap() {
            (name, "host-gateway") => (name.to_owned(), gateway),
            (name, address) => (name.to_owned(), address.trim_matches(['[', ']']).parse().unwrap()),
        });
        let hosts = Hosts {
            base: LOOPBACK.to_owned(),
            extra: extra.collect(),
            own: vec![case.address],
            hostname: case.hostname.unwrap_or("box".to_owned()),
            domain: case.domainname,
        };
        assert_eq!(hosts.text(), case.hosts, "{} in {}", case.name, case.network);
        assert_eq!(hosts.hostname_text(), case.hostname_file, "{}", case.name);
    }
}

/// What Docker does where its version here does not: a container that has IPv6 keeps the host's
/// IPv6 resolvers, and gets two more where there is none.
#[test]
fn a_bridge_with_ipv6_has_resolvers_with_ipv6() {
    let none = Wishes::default();
    let conf = ResolvConf::parse(b"nameserver 2001:db8::53\nnameserver ::1\n");
    assert_eq!(conf.for_bridge(&none, true), "nameserver 2001:db8::53\n");
    let fallback = ResolvConf::default().for_bridge(&none, true);
    assert_eq!(fallback.matches("nameserver").count(), 4);
}

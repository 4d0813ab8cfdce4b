//! Attacks, each also against a network without the defence, so that it is known to work.
#![allow(clippy::unwrap_used)]

mod lab;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use corten_network::{Endpoint, Mac, Network};
use corten_tier::t1;
use lab::frame::{BROADCAST, advertisement, arp_reply, icmp6, ipv4, router_advertisement, udp4};
use lab::sys::send_frame;
use lab::{Container, HOST, Lab, MACHINE, SILENCE, ask, ask_udp, at, serve, sh, until, v4, v6};

/// A network whose containers are not held to their addresses.
fn unguarded(lab: &Lab, name: &str) -> Network {
    lab.network_with(name, |request| {
        request.enable_ipv6 = true;
        request.options.insert("corten.network.guard".into(), "false".into());
    })
}

fn guarded(lab: &Lab, name: &str) -> Network {
    lab.network_with(name, |request| request.enable_ipv6 = true)
}

fn index(container: &Container) -> u32 {
    container.within(|| nix::net::if_::if_nametoindex("eth0").unwrap())
}

fn mac(endpoint: &Endpoint) -> Mac {
    endpoint.mac_address.unwrap()
}

/// The link layer address of a network's gateway.
fn gateway_mac(network: &Network) -> Mac {
    let shown = sh(&format!("ip -o link show br-{}", &network.id[..12]));
    let words: Vec<&str> = shown.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "link/ether").unwrap();
    words[at + 1].parse().unwrap()
}

#[t1]
fn i1_containers_on_different_networks_do_not_reach_one_another() {
    let lab = Lab::new();
    guarded(&lab, "one");
    guarded(&lab, "two");
    let (attacker, _) = lab.on("one", "attacker", &[]);
    let (victim, endpoint) = lab.on("two", "victim", &["8080:80"]);
    let _servers = [victim.serve("tcp:[::]:80"), victim.serve("udp:[::]:81")];
    for address in [v4(&endpoint), v6(&endpoint)] {
        assert!(attacker.ask(SocketAddr::new(address, 80)).is_none(), "{address}");
        assert!(attacker.ask_udp(SocketAddr::new(address, 81)).is_none(), "{address}");
    }
    // What is published is for everybody.
    let gateway = endpoint.gateway.unwrap().to_string();
    assert!(attacker.ask(at(&gateway, 8080)).is_some());
    sh("nft flush map inet corten to");
    assert!(attacker.ask(SocketAddr::new(v4(&endpoint), 80)).is_some(), "the attack itself works");
}

#[t1]
fn i2_other_machines_reach_what_is_published_and_nothing_else() {
    let lab = Lab::new();
    let machine = lab.machine();
    guarded(&lab, "app");
    let (victim, endpoint) = lab.on("app", "victim", &["8080:80"]);
    let _servers = [victim.serve("tcp:[::]:80"), victim.serve("tcp:[::]:81")];
    assert!(machine.ask(at(HOST, 8080)).is_some());
    // The machine has a route to the container's network: a default route by this host.
    for address in [v4(&endpoint), v6(&endpoint)] {
        assert!(machine.ask(SocketAddr::new(address, 81)).is_none(), "{address}");
    }
    sh("nft flush map inet corten to");
    assert!(machine.ask(SocketAddr::new(v4(&endpoint), 81)).is_some(), "the attack itself works");
}

#[t1]
fn i3_the_hosts_loopback_services_are_the_hosts_alone() {
    // CVE-2020-8558: whoever shares a wire with a host that routes 127.0.0.0/8 reaches what listens there.
    let lab = Lab::new();
    let app = unguarded(&lab, "app");
    let (attacker, endpoint) = lab.on("app", "attacker", &[]);
    let _service = serve("udp:127.0.0.1:7777");
    let knock = || {
        let addresses = (ipv4([127, 0, 0, 1]), v4(&endpoint));
        let frame =
            udp4((gateway_mac(&app), mac(&endpoint)), addresses, (7777, 4444), b"knock knock");
        let socket = attacker.within(|| UdpSocket::bind("0.0.0.0:4444").unwrap());
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        attacker.within(|| send_frame(index(&attacker), &frame));
        // The answer comes from 127.0.0.1, which the attacker's own kernel would not believe.
        seen(&app, "src 127.0.0.1", || {
            attacker.within(|| send_frame(index(&attacker), &frame));
        })
    };
    assert!(!knock(), "the host's service heard a container");
    sh("nft flush chain inet corten loopback");
    assert!(knock(), "the attack itself works");
}

/// Whether the kernel tracks a connection after `body` that the filter of its list shows: a packet was
/// let in, and answered.
fn seen(_network: &Network, what: &str, body: impl FnOnce()) -> bool {
    sh(
        "nft add table inet probe; nft add chain inet probe in '{ type filter hook output priority 0; }'; \
        nft flush table inet probe; nft add rule inet probe in ip saddr 127.0.0.1 udp sport 7777 \
        counter",
    );
    let _ = what;
    body();
    std::thread::sleep(SILENCE);
    let text = sh("nft list chain inet probe in");
    !text.contains("packets 0 ")
}

#[t1]
fn i4_a_container_has_no_other_source_address_than_its_own() {
    let lab = Lab::new();
    for guard in [true, false] {
        let name = if guard { "guarded" } else { "open" };
        let network = if guard { guarded(&lab, name) } else { unguarded(&lab, name) };
        let (attacker, own) = lab.on(name, &format!("attacker-{name}"), &[]);
        let (victim, target) = lab.on(name, &format!("victim-{name}"), &[]);
        let (_third, third) = lab.on(name, &format!("third-{name}"), &[]);
        let socket = victim.within(|| UdpSocket::bind("0.0.0.0:5353").unwrap());
        socket.set_read_timeout(Some(SILENCE)).unwrap();
        let heard = |from: Mac, source: IpAddr| {
            let frame = udp4((mac(&target), from), (v4(&target), source), (5353, 53), b"an answer");
            attacker.within(|| send_frame(index(&attacker), &frame));
            let mut buffer = [0; 64];
            socket.recv_from(&mut buffer).ok().map(|(_, peer)| peer.ip())
        };
        // Its own are right.
        assert_eq!(heard(mac(&own), v4(&own)), Some(v4(&own)));
        // Its neighbour's address, its neighbour's frame, the gateway's address.
        let gateway = own.gateway.unwrap();
        for (from, source) in
            [(mac(&own), v4(&third)), (mac(&third), v4(&third)), (mac(&own), gateway)]
        {
            let expected = (!guard).then_some(source);
            assert_eq!(heard(from, source), expected, "{source} on the network {name}");
        }
        let _ = network;
    }
}

#[t1]
fn i5_sources_from_elsewhere_do_not_pass_the_bridge_even_without_the_guard_of_frames() {
    let lab = Lab::new();
    let machine = lab.machine();
    let app = unguarded(&lab, "app");
    let (attacker, own) = lab.on("app", "attacker", &[]);
    let world = machine.within(|| UdpSocket::bind("0.0.0.0:53").unwrap());
    world.set_read_timeout(Some(SILENCE)).unwrap();
    let host = UdpSocket::bind("0.0.0.0:5300").unwrap();
    host.set_read_timeout(Some(SILENCE)).unwrap();
    let forged = ipv4([198, 51, 100, 7]);
    let send = |target: IpAddr, port: u16, source| {
        let frame = udp4((gateway_mac(&app), mac(&own)), (target, source), (port, 4444), b"forged");
        attacker.within(|| send_frame(index(&attacker), &frame));
    };
    let heard = |socket: &UdpSocket| {
        let mut buffer = [0; 64];
        socket.recv_from(&mut buffer).is_ok()
    };
    // A route for the answers, so that the kernel's own check of sources has nothing against it.
    sh("ip route add 198.51.100.0/24 dev $(ip -o link | grep -o 'br-[0-9a-f]*' | head -1)");
    send(MACHINE.parse().unwrap(), 53, forged);
    assert!(!heard(&world), "the world heard a forged source");
    send(HOST.parse().unwrap(), 5300, forged);
    assert!(!heard(&host), "the host heard a forged source");
    sh("nft flush chain inet corten spoofed");
    send(HOST.parse().unwrap(), 5300, forged);
    assert!(heard(&host), "the attack itself works");
}

/// What a container believes about the link layer address of a neighbour.
fn believes(container: &Container, neighbour: IpAddr) -> Option<Mac> {
    let shown = container.ip(&format!("neigh show {neighbour}"));
    let words: Vec<&str> = shown.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "lladdr")?;
    words.get(at + 1)?.parse().ok()
}

#[t1]
fn i6_arp_and_neighbour_discovery_tell_the_truth() {
    let lab = Lab::new();
    for guard in [true, false] {
        let name = if guard { "guarded" } else { "open" };
        let network = if guard { guarded(&lab, name) } else { unguarded(&lab, name) };
        let (attacker, own) = lab.on(name, &format!("attacker-{name}"), &[]);
        let (victim, target) = lab.on(name, &format!("victim-{name}"), &[]);
        let gateways = [own.gateway.unwrap(), own.ipv6_gateway.unwrap()];
        let truth = gateway_mac(&network);
        // The victim has learnt where its gateways are.
        let _service = serve("udp:[::]:5300");
        for gateway in gateways {
            assert!(victim.ask_udp(SocketAddr::new(gateway, 5300)).is_some());
            assert_eq!(believes(&victim, gateway), Some(truth));
        }
        let lie = arp_reply(
            (mac(&target), mac(&own)),
            (gateways[0], mac(&own)),
            (v4(&target), mac(&target)),
        );
        // The same with the gateway's own address around it: what is inside counts for ARP.
        let disguised =
            arp_reply((mac(&target), truth), (gateways[0], mac(&own)), (v4(&target), mac(&target)));
        let (IpAddr::V6(claimed), IpAddr::V6(to)) = (gateways[1], v6(&target)) else { panic!() };
        let IpAddr::V6(from) = v6(&own) else { panic!() };
        let neighbour =
            icmp6((mac(&target), mac(&own)), from, to, &advertisement(claimed, mac(&own)));
        // Whether the victim is taken in by the frame, at some moment after one of several tries: the
        // truth comes back when the gateway itself asks for the victim.
        let taken_in = |frame: &[u8], gateway: IpAddr| {
            (0..if guard { 2 } else { 8 }).any(|_| {
                // The kernel believes no change within a second of the last (locktime).
                std::thread::sleep(std::time::Duration::from_millis(1100));
                attacker.within(|| send_frame(index(&attacker), frame));
                (0..10).any(|_| {
                    std::thread::sleep(std::time::Duration::from_millis(10));
                    believes(&victim, gateway) == Some(mac(&own))
                })
            })
        };
        for (frame, gateway) in [(&lie, 0), (&disguised, 0), (&neighbour, 1)] {
            assert_eq!(taken_in(frame, gateways[gateway]), !guard, "on the network {name}");
        }
    }
}

#[t1]
fn i7_no_container_is_a_router_for_its_neighbours() {
    let lab = Lab::new();
    for guard in [true, false] {
        let name = if guard { "guarded" } else { "open" };
        let _network = if guard { guarded(&lab, name) } else { unguarded(&lab, name) };
        let (attacker, own) = lab.on(name, &format!("attacker-{name}"), &[]);
        let (victim, _) = lab.on(name, &format!("victim-{name}"), &[]);
        let all: Ipv6Addr = "ff02::1".parse().unwrap();
        let group = Mac([0x33, 0x33, 0, 0, 0, 1]);
        let message = router_advertisement(mac(&own));
        let frame = icmp6((group, mac(&own)), mac(&own).link_local(), all, &message);
        attacker.within(|| send_frame(index(&attacker), &frame));
        let learnt = || victim.ip("-6 route").contains(&mac(&own).link_local().to_string());
        if guard {
            std::thread::sleep(SILENCE);
            assert!(!learnt(), "{}", victim.ip("-6 route"));
        } else {
            until("the attack itself works", learnt);
        }
    }
}

#[t1]
fn i8_an_internal_network_reaches_no_metadata_service_and_no_service_of_the_host() {
    let lab = Lab::new();
    let machine = lab.machine();
    // The address at which clouds tell a machine its secrets, as a host on the wire has it.
    machine.ip("address add 169.254.169.254/32 dev eth0");
    sh("ip route add 169.254.169.254/32 dev eth0");
    let _secrets = machine.serve("tcp:0.0.0.0:80");
    let _service = serve("tcp:0.0.0.0:22");
    lab.network("open");
    let inside = lab.network_with("inside", |request| request.internal = true);
    let (free, _) = lab.on("open", "free", &[]);
    let (attacker, own) = lab.on("inside", "attacker", &[]);
    let metadata = at("169.254.169.254", 80);
    assert!(free.ask(metadata).is_some(), "the attack itself works");
    let gateway = inside.pool(false).unwrap().gateway.unwrap();
    // It has no route; an attacker with CAP_NET_ADMIN makes one.
    attacker.ip(&format!("route add default via {gateway}"));
    assert!(attacker.ask(metadata).is_none());
    assert!(attacker.ask(SocketAddr::new(gateway, 22)).is_none(), "the host's own services");
    assert!(attacker.ask(at(HOST, 22)).is_none());
    // Nor what another container publishes.
    let (web, _) = lab.on("open", "web", &["8080:80"]);
    let _server = web.serve("tcp:0.0.0.0:80");
    assert!(ask(at(HOST, 8080)).is_some());
    assert!(attacker.ask(at(HOST, 8080)).is_none());
    let _ = own;
}

#[t1]
fn i9_a_released_container_is_silent_before_its_address_is_anothers() {
    let lab = Lab::new();
    lab.network("app");
    let (dead, endpoint) = lab.on("app", "dead", &[]);
    let _server = dead.serve("udp:0.0.0.0:80");
    let address = SocketAddr::new(v4(&endpoint), 80);
    assert!(ask_udp(address).is_some());
    // Its namespace lives on: this test has it open, as a process might.
    lab.networks.release(&dead.id()).unwrap();
    assert!(ask_udp(address).is_none(), "it still answers at an address that is free");
    let heir = lab.container("heir");
    let IpAddr::V4(same) = v4(&endpoint) else { panic!() };
    let request = corten_network::EndpointRequest { ipv4: Some(same), ..heir.request(&[]) };
    lab.networks.connect("app", &request).unwrap();
    let _server = heir.serve("udp:0.0.0.0:80");
    assert!(ask_udp(address).is_some());
}

#[t1]
fn frames_of_other_kinds_and_other_targets_do_no_harm() {
    let lab = Lab::new();
    guarded(&lab, "app");
    let (attacker, own) = lab.on("app", "attacker", &[]);
    let (victim, endpoint) = lab.on("app", "victim", &[]);
    let device = index(&attacker);
    attacker.within(|| {
        // A VLAN's tag around a forged address, an unknown type, nothing at all.
        for kind in [0x8100u16, 0x88a8, 0x88cc, 0x0000, 0xffff] {
            let mut frame = [&BROADCAST.0[..], &mac(&own).0[..], &kind.to_be_bytes()[..]].concat();
            frame.extend([0; 60]);
            send_frame(device, &frame);
        }
    });
    let _server = victim.serve("tcp:0.0.0.0:80");
    assert!(attacker.ask(SocketAddr::new(v4(&endpoint), 80)).is_some());
}

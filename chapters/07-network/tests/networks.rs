//! What networks do, seen by packets: containers reach one another, the world, and are reached.
#![allow(clippy::unwrap_used)]

mod lab;

use std::net::{IpAddr, Ipv4Addr};

use corten_network::network::{PoolRequest, Request};
use corten_network::{EndpointRequest, Error};
use corten_tier::{t1, t2};
use lab::{
    HOST, HOST6, Lab, MACHINE, MACHINE6, ask, ask_sctp, ask_udp, at, host_of, publish, serve, sh,
    until, v4, v6,
};

fn dual(request: &mut Request) {
    request.enable_ipv6 = true;
}

fn subnet(request: &mut Request, subnet: &str) {
    request.ipam.config.push(PoolRequest { subnet: subnet.into(), ..PoolRequest::default() });
}

#[t1]
fn containers_of_a_network_reach_one_another_by_both_families() {
    let lab = Lab::new();
    lab.network_with("app", dual);
    let (web, endpoint) = lab.on("app", "web", &[]);
    let (other, neighbour) = lab.on("app", "other", &[]);
    let (_four, _six) = (web.serve("tcp:0.0.0.0:80"), web.serve("tcp:[::]:81"));
    let seen = other.ask(std::net::SocketAddr::new(v4(&endpoint), 80));
    assert_eq!(host_of(seen), Some(v4(&neighbour)));
    let seen = other.ask(std::net::SocketAddr::new(v6(&endpoint), 81));
    assert_eq!(host_of(seen), Some(v6(&neighbour)));
    // And the host reaches them.
    assert!(ask(std::net::SocketAddr::new(v4(&endpoint), 80)).is_some());
    assert!(ask(std::net::SocketAddr::new(v6(&endpoint), 81)).is_some());
}

#[t1]
fn what_leaves_has_the_hosts_address() {
    let lab = Lab::new();
    let machine = lab.machine();
    lab.network_with("app", dual);
    let (web, _) = lab.on("app", "web", &[]);
    let (_four, _six) = (machine.serve("tcp:0.0.0.0:80"), machine.serve("udp:[::]:80"));
    assert_eq!(host_of(web.ask(at(MACHINE, 80))), Some(HOST.parse().unwrap()));
    assert_eq!(host_of(web.ask_udp(at(MACHINE6, 80))), Some(HOST6.parse().unwrap()));
}

#[t1]
fn a_published_port_is_reached_by_everybody_and_sources_are_kept() {
    let lab = Lab::new();
    let machine = lab.machine();
    lab.network_with("app", dual);
    let (web, endpoint) = lab.on("app", "web", &["8080:80", "8081:81/udp"]);
    let (other, _) = lab.on("app", "other", &[]);
    let _tcp = [web.serve("tcp:[::]:80")];
    let _udp = [web.serve("udp:[::]:81")];
    let mapped = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_ipv6_mapped().into();
    // Another machine, whose address the container sees.
    let expected: [(_, IpAddr); 2] = [(HOST, mapped(MACHINE)), (HOST6, MACHINE6.parse().unwrap())];
    for (host, source) in expected {
        assert_eq!(host_of(machine.ask(at(host, 8080))), Some(source), "{host} by TCP");
        assert_eq!(host_of(machine.ask_udp(at(host, 8081))), Some(source), "{host} by UDP");
    }
    // The host, by its own address and by the loopback one.
    lab::bridged_ipv6(false);
    for host in [HOST, HOST6, "127.0.0.1", "127.1.2.3", "::1"] {
        assert!(ask(at(host, 8080)).is_some(), "{host} by TCP");
        assert!(ask_udp(at(host, 8081)).is_some(), "{host} by UDP");
    }
    // A neighbour, and the container itself: hairpin.
    let gateways = [endpoint.gateway.unwrap(), endpoint.ipv6_gateway.unwrap()];
    let addresses = gateways.map(|gateway| gateway.to_string());
    for host in addresses.iter().map(String::as_str).chain([HOST, HOST6]) {
        assert!(other.ask(at(host, 8080)).is_some(), "a neighbour by {host}");
        assert!(web.ask(at(host, 8080)).is_some(), "itself by {host}");
        assert!(web.ask_udp(at(host, 8081)).is_some(), "itself by UDP and {host}");
    }
}

#[t1]
fn the_hosts_other_loopback_reaches_what_is_published_there_and_its_own_services() {
    let lab = Lab::new();
    let machine = lab.machine();
    lab.network_with("app", dual);
    let (web, endpoint) = lab.on("app", "web", &["[::1]:8080:80", "[::1]:8081:81/udp"]);
    let (_tcp, _udp) = (web.serve("tcp:[::]:80"), web.serve("udp:[::]:81"));
    let _own = serve("tcp:[::1]:8082");
    lab.network_with("second", dual);
    let (second, _) = lab.on("second", "second", &["[::1]:8083:80"]);
    let _second = second.serve("tcp:[::]:80");
    if lab::bridged_ipv6(true) {
        assert!(ask(at("::1", 8080)).is_none(), "br_netfilter spoils it");
        let said = lab.networks.obstacles().unwrap().concat();
        assert!(said.contains("does not reach published ports at [::1]"), "{said}");
        lab::bridged_ipv6(false);
    }
    assert!(!lab.networks.obstacles().unwrap().concat().contains("::1"));
    let gateway = endpoint.ipv6_gateway;
    assert_eq!(host_of(ask(at("::1", 8080))), gateway, "the container sees the bridge's address");
    assert_eq!(host_of(ask_udp(at("::1", 8081))), gateway);
    assert!(ask(at("::1", 8083)).is_some(), "by another bridge");
    assert_eq!(host_of(ask(at("::1", 8082))), Some("::1".parse().unwrap()), "the host's own");
    assert!(machine.ask(at(HOST6, 8080)).is_none() && machine.ask(at(HOST6, 8082)).is_none());
    // Its end takes all of it back.
    lab.networks.release(&web.id()).unwrap();
    assert!(ask(at("::1", 8080)).is_none());
}

#[t1]
fn a_port_is_published_at_one_address_of_the_host_and_no_other() {
    let lab = Lab::new();
    let machine = lab.machine();
    let (web, _) = lab.on("bridge", "web", &["127.0.0.1:8080:80", "192.0.2.1:8081:80"]);
    let _server = web.serve("tcp:0.0.0.0:80");
    assert!(ask(at("127.0.0.1", 8080)).is_some());
    assert!(machine.ask(at(HOST, 8080)).is_none());
    assert!(machine.ask(at(HOST, 8081)).is_some());
    assert!(ask(at("127.0.0.1", 8081)).is_none());
}

#[t1]
fn ranges_and_random_ports_are_published() {
    let lab = Lab::new();
    let (web, endpoint) = lab.on("bridge", "web", &["9000-9009:80-89", "70", "9100-9200:71/udp"]);
    assert_eq!(endpoint.ports.len(), 12);
    let servers =
        [web.serve("tcp:0.0.0.0:80"), web.serve("tcp:0.0.0.0:89"), web.serve("tcp:0.0.0.0:70")];
    assert!(ask(at("127.0.0.1", 9000)).is_some() && ask(at("127.0.0.1", 9009)).is_some());
    let random = endpoint.ports.iter().find(|port| port.container_port == 70).unwrap().host_port;
    assert!(ask(at("127.0.0.1", random)).is_some());
    drop(servers);
    // The first of a range that is free.
    let (_, second) = lab.on("bridge", "second", &["9100-9200:71/udp"]);
    assert_eq!(second.ports[0].host_port, 9101);
    let bindings = serde_json::to_value(endpoint.bindings()).unwrap();
    assert_eq!(bindings["71/udp"][0]["HostPort"], "9100");
}

#[t1]
fn a_thousand_ports_are_published_at_once_and_given_back() {
    let lab = Lab::new();
    let (web, endpoint) = lab.on("bridge", "web", &["20000-20999:1000-1999"]);
    assert_eq!(endpoint.ports.len(), 1000);
    let _server = web.serve("tcp:0.0.0.0:1999");
    assert!(ask(at("127.0.0.1", 20999)).is_some());
    lab.networks.disconnect("bridge", &web.id()).unwrap();
    assert!(!sh("nft list map inet corten every4").contains("elements"));
    assert!(lab::tree(&lab.dir().join("state/networks/ports")).is_empty());
}

#[t1]
fn a_flow_of_udp_goes_where_its_port_leads_now() {
    let lab = Lab::new();
    let machine = lab.machine();
    let client = machine.within(|| std::net::UdpSocket::bind("0.0.0.0:4444").unwrap());
    client.set_read_timeout(Some(lab::SILENCE)).unwrap();
    client.connect(at(HOST, 8080)).unwrap();
    let answered = || {
        let mut buffer = [0; 64];
        client.send(b"who am I").is_ok() && client.recv(&mut buffer).is_ok()
    };
    let mut servers = Vec::new();
    assert!(!answered(), "nobody has the port yet");
    for name in ["first", "second", "third"] {
        let (container, endpoint) = lab.on("bridge", name, &["8080:80/udp"]);
        let server = container.serve("udp:0.0.0.0:80");
        until(name, answered);
        servers.push((container, server, endpoint));
        lab.networks.release(&servers.last().unwrap().0.id()).unwrap();
        // The last one's address is another's now, who has published nothing.
        assert!(!answered());
    }
}

#[t1]
fn sctp_is_published_where_the_kernel_has_it() {
    let lab = Lab::new();
    let (_web, endpoint) = lab.on("bridge", "web", &["8080:80/sctp"]);
    assert_eq!(endpoint.ports[0].protocol.number(), 132);
    assert!(sh("nft -p list map inet corten every4").contains("132 . 8080"));
}

#[t2]
fn sctp_reaches_a_container_by_its_published_port() {
    let lab = Lab::new();
    assert!(lab::sys::sctp(false).is_some(), "this VM's kernel has the module sctp");
    let machine = lab.machine();
    lab.network_with("app", dual);
    let (web, endpoint) = lab.on("app", "web", &["8080:80/sctp"]);
    let (other, _) = lab.on("app", "other", &[]);
    let _server = web.serve("sctp:[::]:80");
    // Another machine, whose address the container sees.
    let mapped = MACHINE.parse::<Ipv4Addr>().unwrap().to_ipv6_mapped().into();
    let source = |host: IpAddr| if host.is_ipv4() { mapped } else { MACHINE6.parse().unwrap() };
    for host in [HOST, HOST6] {
        let seen = host_of(machine.ask_sctp(at(host, 8080)));
        assert_eq!(seen, Some(source(host.parse().unwrap())), "{host}");
    }
    // The host by its own address and its loopback, a neighbour, and the container itself.
    for host in [HOST, HOST6, "127.0.0.1", "::1"] {
        assert!(ask_sctp(at(host, 8080)).is_some(), "{host}");
    }
    for host in [HOST, HOST6] {
        assert!(other.ask_sctp(at(host, 8080)).is_some(), "a neighbour by {host}");
        assert!(web.ask_sctp(at(host, 8080)).is_some(), "itself by {host}");
    }
    // By its own port it is nobody's, and at its end the published one is nobody's either.
    let own = std::net::SocketAddr::new(v4(&endpoint), 80);
    assert!(machine.ask_sctp(own).is_none(), "what is not published");
    lab.networks.disconnect("app", &web.id()).unwrap();
    assert!(machine.ask_sctp(at(HOST, 8080)).is_none());
    // Nor is a port that a program of the host has published a second time.
    let _host = serve("sctp:0.0.0.0:8080");
    let error = lab.connect("app", &web, &["8080:80/sctp"]).unwrap_err();
    assert!(matches!(&error, Error::PortInUse { .. }), "{error}");
}

#[t1]
fn a_port_in_use_names_its_owner_and_leaves_nothing() {
    let lab = Lab::new();
    let _host = serve("tcp:127.0.0.1:8080");
    let web = lab.container("web");
    let before = (lab.links(), sh("nft list ruleset"), lab::tree(lab.dir()));
    let error = lab.connect("bridge", &web, &["8080:80"]).unwrap_err();
    let own = std::process::id();
    assert!(
        matches!(&error, Error::PortInUse { place, owner }
            if place == "0.0.0.0:8080/tcp" && owner.ends_with(&format!("process {own}"))),
        "{error}"
    );
    lab.connect("bridge", &web, &["8081:80"]).unwrap();
    let other = lab.container("other");
    let error = lab.connect("bridge", &other, &["127.0.0.1:8081:80"]).unwrap_err();
    let expected = "Bind for 127.0.0.1:8081/tcp failed: port is already allocated (published by container web)";
    assert_eq!(error.to_string(), expected);
    lab.networks.disconnect("bridge", &web.id()).unwrap();
    // What the first connection has made for all stays: the bridge, and the tables.
    let bridge = |links: &[String]| links.iter().filter(|link| !link.starts_with("br-")).count();
    assert_eq!(bridge(&lab.links()), bridge(&before.0));
    let kept: Vec<String> = lab::tree(&lab.dir().join("state/networks"));
    assert!(
        kept.iter().all(|file| ["lock", "next4", "router4"].iter().any(|end| file.ends_with(end))),
        "{kept:?}"
    );
}

#[t1]
fn an_internal_network_has_no_way_out_and_no_way_in() {
    let lab = Lab::new();
    let machine = lab.machine();
    lab.network_with("inside", |request| {
        request.internal = true;
        dual(request);
    });
    let (web, endpoint) = lab.on("inside", "web", &["8080:80"]);
    let (other, _) = lab.on("inside", "other", &[]);
    assert!(endpoint.ports.is_empty() && endpoint.gateway.is_none());
    let (_web, _world) = (web.serve("tcp:[::]:80"), machine.serve("tcp:[::]:80"));
    assert!(other.ask(std::net::SocketAddr::new(v4(&endpoint), 80)).is_some());
    assert!(other.ask(std::net::SocketAddr::new(v6(&endpoint), 80)).is_some());
    assert!(web.ask(at(MACHINE, 80)).is_none());
    assert!(machine.ask(at(HOST, 8080)).is_none());
    // The host itself reaches it.
    assert!(ask(std::net::SocketAddr::new(v4(&endpoint), 80)).is_some());
}

#[t1]
fn a_container_is_on_several_networks_and_its_way_out_moves() {
    let lab = Lab::new();
    let machine = lab.machine();
    for name in ["one", "two", "three"] {
        lab.network(name);
    }
    let (web, first) = lab.on("one", "web", &[]);
    let second = lab.connect("two", &web, &[]).unwrap();
    let third = lab.connect("three", &web, &[]).unwrap();
    assert_eq!(
        [&first, &second, &third].map(|endpoint| endpoint.interface.as_str()),
        ["eth0", "eth1", "eth2"]
    );
    let _world = machine.serve("tcp:0.0.0.0:80");
    assert!(web.ip("route get 192.0.2.2").contains(&format!("via {}", first.gateway.unwrap())));
    assert!(web.ask(at(MACHINE, 80)).is_some());
    lab.networks.disconnect("one", &web.id()).unwrap();
    assert!(web.ip("route get 192.0.2.2").contains(&format!("via {}", second.gateway.unwrap())));
    assert!(web.ask(at(MACHINE, 80)).is_some());
    // The name that has become free is used again.
    assert_eq!(lab.connect("one", &web, &[]).unwrap().interface, "eth0");
    let error = lab.connect("two", &web, &[]).unwrap_err().to_string();
    assert_eq!(error, "endpoint with name web already exists in network two");
    let released = lab.networks.release(&web.id()).unwrap();
    assert_eq!(released.len(), 3);
    assert!(!web.path.exists());
    drop(web);
    lab.until_links("the devices have gone", |links| !links.iter().any(|l| l.starts_with("veth")));
}

#[t1]
fn addresses_mac_and_names_are_those_that_were_asked_for() {
    let lab = Lab::new();
    lab.network_with("app", |request| {
        dual(request);
        request.ipam.config.push(PoolRequest {
            subnet: "10.66.0.0/16".into(),
            ip_range: "10.66.5.0/24".into(),
            gateway: "10.66.0.254".into(),
            auxiliary_addresses: [("printer".to_owned(), "10.66.5.1".to_owned())].into(),
        });
        subnet(request, "fd66::/64");
    });
    let web = lab.container("web");
    let endpoint = lab
        .networks
        .connect(
            "app",
            &EndpointRequest {
                ipv4: Some("10.66.7.7".parse().unwrap()),
                ipv6: Some("fd66::77".parse().unwrap()),
                mac: Some("02:00:00:00:00:77".parse().unwrap()),
                aliases: vec!["db".into()],
                dns: vec!["9.9.9.9".parse().unwrap()],
                dns_options: vec!["ndots:2".into()],
                ..web.request(&[])
            },
        )
        .unwrap();
    assert_eq!(endpoint.gateway, Some("10.66.0.254".parse().unwrap()));
    // What the name server reads.
    let written = &lab.networks.endpoints(&endpoint.network).unwrap()[0];
    assert_eq!(written, &endpoint);
    assert_eq!((written.dns.len(), written.dns_options.len()), (1, 1));
    let shown = web.ip("address show eth0");
    for part in ["10.66.7.7/16", "fd66::77/64", "02:00:00:00:00:77"] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    // The first of the range is the printer's, the range's network address no one's.
    let (_, next) = lab.on("app", "next", &[]);
    assert_eq!(v4(&next).to_string(), "10.66.5.2");
    let other = lab.container("other");
    let again = EndpointRequest { ipv4: Some("10.66.7.7".parse().unwrap()), ..other.request(&[]) };
    assert!(matches!(lab.networks.connect("app", &again), Err(Error::AddressInUse { .. })));
    let inspection = serde_json::to_value(lab.networks.inspect("app").unwrap()).unwrap();
    let member = &inspection["Containers"][web.id()];
    assert_eq!(member["IPv4Address"], "10.66.7.7/16");
    assert_eq!(inspection["IPAM"]["Config"][0]["AuxiliaryAddresses"]["printer"], "10.66.5.1");
}

#[t1]
fn subnets_collide_with_no_route_and_no_other_network() {
    let lab = Lab::new();
    let _machine = lab.machine();
    sh("ip route add 172.18.0.0/15 via 192.0.2.2");
    assert_eq!(lab.network("app").subnets()[0].to_string(), "172.20.0.0/16");
    let refuse = |net: &str| {
        let mut request = Request { name: "other".into(), ..Request::default() };
        subnet(&mut request, net);
        lab.networks.create(&request).unwrap_err()
    };
    for net in ["172.20.5.0/24", "172.16.0.0/12", "192.0.2.0/25", "172.19.1.0/24"] {
        assert!(matches!(refuse(net), Error::Overlap { .. }), "{net}");
    }
    assert!(!matches!(refuse("172.21.0.1/16"), Error::Overlap { .. }));
    // Nothing of what was refused is left.
    assert_eq!(lab.networks.all().unwrap().len(), 4);
}

#[t1]
fn networks_are_found_listed_and_removed_as_with_docker() {
    let lab = Lab::new();
    let app = lab.network("app");
    assert_eq!(lab.networks.find(&app.id[..6]).unwrap(), app);
    assert!(matches!(lab.networks.find("ap"), Err(Error::NoSuchNetwork { .. })));
    let again = lab.networks.create(&Request { name: "app".into(), ..Request::default() });
    assert_eq!(again.unwrap_err().to_string(), "network with name app already exists");
    for name in ["bridge", "host", "none"] {
        let error = lab.networks.remove(name).unwrap_err().to_string();
        assert_eq!(error, format!("{name} is a pre-defined network and cannot be removed"));
    }
    let (web, _) = lab.on("app", "web", &[]);
    assert!(matches!(lab.networks.remove("app"), Err(Error::ActiveEndpoints { .. })));
    assert!(lab.networks.prune(|_| false).unwrap().is_empty());
    lab.networks.disconnect("app", &web.id()).unwrap();
    assert_eq!(lab.networks.prune(|_| false).unwrap().len(), 1);
    assert!(!lab.links().iter().any(|link| link.starts_with("br-")));
    assert!(!sh("nft list ruleset").contains("br-"));
    let names: Vec<_> = lab.networks.all().unwrap().into_iter().map(|n| n.name).collect();
    assert_eq!(names, ["bridge", "host", "none"]);
    assert!(matches!(
        lab.networks.disconnect("bridge", &web.id()),
        Err(Error::NotConnected { .. })
    ));
    assert!(lab.connect("host", &web, &[]).is_err() && lab.connect("none", &web, &[]).is_err());
}

#[t1]
fn neighbours_are_kept_apart_where_that_is_asked_for() {
    let lab = Lab::new();
    lab.network_with("app", |request| {
        let option = "com.docker.network.bridge.enable_icc".to_owned();
        request.options.insert(option, "false".into());
    });
    let (web, endpoint) = lab.on("app", "web", &["8080:80"]);
    let (other, _) = lab.on("app", "other", &[]);
    let _server = web.serve("tcp:0.0.0.0:80");
    assert!(ask(std::net::SocketAddr::new(v4(&endpoint), 80)).is_some());
    assert!(other.ask(std::net::SocketAddr::new(v4(&endpoint), 80)).is_none());
    assert!(ask(at("127.0.0.1", 8080)).is_some());
}

#[t1]
fn packets_are_as_long_as_the_way_out_allows() {
    let lab = Lab::new();
    let machine = lab.machine();
    sh("ip link set eth0 mtu 1400 && ip route add default via 192.0.2.2");
    machine.ip("link set eth0 mtu 1400");
    lab.network("app");
    let (web, _) = lab.on("app", "web", &[]);
    assert!(web.ip("link show eth0").contains("mtu 1400"));
    lab.network_with("short", |request| {
        request.options.insert("com.docker.network.driver.mtu".into(), "1300".into());
    });
    let (short, _) = lab.on("short", "short", &[]);
    assert!(short.ip("link show eth0").contains("mtu 1300"));
}

/// Whether the kernel makes links of this kind.
fn has(kind: &str) -> bool {
    let made = lab::run(&format!("ip link add probe0 link eth0 type {kind} && ip link del probe0"));
    made.status.success()
}

#[t1]
fn macvlan_and_ipvlan_put_containers_on_the_hosts_wire() {
    let lab = Lab::new();
    let machine = lab.machine();
    for (driver, last) in [("macvlan", 10), ("ipvlan", 20)] {
        if !has(driver) {
            println!("this kernel has no {driver}");
            continue;
        }
        lab.network_with(driver, |request| {
            request.driver = driver.into();
            request.options.insert("parent".into(), "eth0".into());
            request.ipam.config.push(PoolRequest {
                // Addresses of the wire itself, part of them for us.
                subnet: "192.0.2.0/24".into(),
                gateway: MACHINE.into(),
                ip_range: format!("192.0.2.{last}/32"),
                ..PoolRequest::default()
            });
        });
        let (web, endpoint) = lab.on(driver, driver, &[]);
        assert_eq!(v4(&endpoint).to_string(), format!("192.0.2.{last}"));
        let _server = web.serve("tcp:0.0.0.0:80");
        let seen = machine.ask(std::net::SocketAddr::new(v4(&endpoint), 80));
        assert_eq!(host_of(seen), Some(MACHINE.parse().unwrap()), "{driver}");
        lab.networks.disconnect(driver, &web.id()).unwrap();
        assert!(!web.ip("-o link").contains("eth0"));
        lab.networks.remove(driver).unwrap();
    }
}

#[t1]
fn what_networks_have_in_the_kernel_goes_where_no_container_is_on_any() {
    let lab = Lab::new();
    let look = || (lab.links(), sh("nft list ruleset"), sh("cat /proc/sys/net/ipv4/ip_forward"));
    let before = look();
    lab.network("app");
    let (web, _) = lab.on("app", "web", &["8080:80"]);
    assert!(!lab.networks.unload().unwrap(), "somebody is on it");
    assert!(sh("nft list ruleset").contains("table inet corten"));
    lab.networks.check_ports("app", &publish(&["8081:80"])).unwrap();
    let taken = lab.networks.check_ports("app", &publish(&["8080:80"])).unwrap_err();
    assert!(taken.to_string().contains("published by container web"), "{taken}");
    lab.networks.release(&web.id()).unwrap();
    drop(web);
    until("its devices have gone", || !sh("ip -o link").contains("veth"));
    assert!(lab.networks.unload().unwrap());
    assert_eq!(look(), before);
    let (_again, _) = lab.on("app", "again", &["8080:80"]);
    assert!(sh("nft list ruleset").contains("8080"), "all of it comes back");
    assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward").trim(), "1");
}

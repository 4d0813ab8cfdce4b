//! What is said of networks and of places on them: a configuration, priority, names and settings of devices, what it costs others.
#![allow(clippy::unwrap_used)]

mod lab;

use std::net::Ipv4Addr;

use corten_network::network::{PoolRequest, Request};
use corten_network::option::EndpointOptions;
use corten_network::{Endpoint, EndpointRequest, Error};
use corten_tier::t1;
use lab::{Lab, MACHINE, MACHINE6, at, sh, v4};

fn dual(request: &mut Request) {
    request.enable_ipv6 = true;
}

#[t1]
fn a_network_with_a_priority_leads_everywhere_else() {
    let lab = Lab::new();
    let machine = lab.machine();
    for name in ["one", "two", "three", "four"] {
        lab.network_with(name, dual);
    }
    let web = lab.container("web");
    let on = |network, gateway_priority| {
        let request = EndpointRequest { gateway_priority, ..web.request(&[]) };
        lab.networks.connect(network, &request).unwrap()
    };
    let leads = |by: &Endpoint| {
        let (four, six) = (by.gateway.unwrap(), by.ipv6_gateway.unwrap());
        assert!(web.ip(&format!("route get {MACHINE}")).contains(&format!("via {four} ")));
        assert!(web.ip(&format!("-6 route get {MACHINE6}")).contains(&format!("via {six} ")));
    };
    let one = on("one", 0);
    leads(&one);
    // As it is where somebody was killed who gave it a higher metric.
    let gateway = one.gateway.unwrap();
    web.ip(&format!("route add default via {gateway} dev eth0 proto static metric 7"));
    let two = on("two", 5);
    let left = web.ip("route show default dev eth0");
    assert_eq!(left.lines().count(), 1, "{left}");
    leads(&two);
    let three = on("three", 3);
    leads(&two);
    let four = on("four", -1);
    leads(&two);
    let _world = machine.serve("tcp:0.0.0.0:80");
    assert!(web.ask(at(MACHINE, 80)).is_some());
    // One after the other, by priority, and none is there twice.
    for (gone, next) in [("two", &three), ("three", &one), ("one", &four)] {
        let defaults = web.ip("route show default").lines().count();
        lab.networks.disconnect(gone, &web.id()).unwrap();
        leads(next);
        assert_eq!(web.ip("route show default").lines().count(), defaults - 1);
    }
    // Without a priority who comes later comes after those that are there.
    let one = on("one", 0);
    on("two", 0);
    leads(&one);
}

#[t1]
fn devices_have_the_names_and_settings_that_are_asked_for() {
    let lab = Lab::new();
    lab.network_with("app", |request| {
        dual(request);
        request.options.insert("com.docker.network.container_iface_prefix".into(), "lan".into());
    });
    lab.network("other");
    let on = |container: &lab::Container, network, options: &[(&str, &str)]| {
        let name = |name: &str| format!("com.docker.network.endpoint.{name}");
        let options = options.iter().map(|(key, value)| (name(key), (*value).to_owned()));
        let EndpointOptions { interface, sysctls } = EndpointOptions::parse(&options.collect())?;
        lab.networks
            .connect(network, &EndpointRequest { interface, sysctls, ..container.request(&[]) })
    };
    let web = lab.container("web");
    let settings = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.conf.IFNAME.hop_limit=33";
    let endpoint = on(&web, "app", &[("sysctls", settings)]).unwrap();
    assert_eq!(endpoint.interface, "lan0");
    let read = |path: &str| web.sh(&format!("cat /proc/sys/net/{path}")).trim().to_owned();
    assert_eq!(read("ipv4/conf/lan0/log_martians"), "1");
    assert_eq!(read("ipv6/conf/lan0/hop_limit"), "33");
    let taken = on(&web, "other", &[("ifname", "lan0")]).unwrap_err().to_string();
    assert!(taken.contains("the container has already"), "{taken}");
    let before = lab.links();
    let wrong = on(&web, "other", &[("sysctls", "net.ipv4.conf.IFNAME.nonsense=1")]).unwrap_err();
    assert!(wrong.to_string().contains("/ipv4/conf/eth1/nonsense"), "{wrong}");
    assert_eq!(lab.links(), before, "nothing is left of it");
    assert_eq!(on(&web, "other", &[("ifname", "wan.1")]).unwrap().interface, "wan.1");
    assert!(web.ip("-br link show wan.1").contains("UP"));
    let refused = lab.networks.create(&Request {
        name: "third".into(),
        options: [("com.docker.network.bridge.gateway_mode_ipv4".into(), "routed".into())].into(),
        ..Request::default()
    });
    assert!(refused.unwrap_err().to_string().contains("gateway_mode_ipv4: is not supported"));
}

#[t1]
fn who_comes_is_no_work_for_each_that_is_there() {
    let lab = Lab::new();
    let network = lab.network_with("app", dual);
    let (web, endpoint) = lab.on("app", "web", &[]);
    let (other, neighbour) = lab.on("app", "other", &[]);
    // With either, the kernel looks at all ports of a bridge when one comes up.
    let bridge = sh(&format!("ip -d link show br-{}", &network.id[..12]));
    assert!(bridge.contains("mcast_snooping 0"), "{bridge}");
    for link in [&endpoint.link, &neighbour.link] {
        assert_eq!(sh(&format!("cat /proc/sys/net/ipv6/conf/{link}/disable_ipv6")), "1\n");
    }
    // Multicast reaches everybody all the same.
    let group = Ipv4Addr::new(239, 1, 2, 3);
    let listener = web.within(|| {
        let socket = std::net::UdpSocket::bind((group, 5000)).unwrap();
        socket.join_multicast_v4(&group, &Ipv4Addr::UNSPECIFIED).unwrap();
        socket.set_read_timeout(Some(lab::LIMIT)).unwrap();
        socket
    });
    let hello = || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.send_to(b"hello", (group, 5000)).unwrap();
    };
    other.within(hello);
    let mut buffer = [0; 16];
    assert_eq!(listener.recv_from(&mut buffer).unwrap().1.ip(), v4(&neighbour));
}

#[t1]
fn networks_are_made_by_a_configuration_that_nobody_is_on() {
    let lab = Lab::new();
    let before = lab.links();
    let conf = lab.network_with("conf", |request| {
        request.config_only = true;
        let subnet = "10.77.0.0/24".into();
        request.ipam.config.push(PoolRequest { subnet, ..PoolRequest::default() });
        request.options.insert("com.docker.network.driver.mtu".into(), "1300".into());
        request.labels.insert("of".into(), "conf".into());
    });
    assert_eq!((conf.config_only, conf.ipam.config[0].gateway), (true, None));
    assert_eq!(lab.links(), before);
    let by_conf = |request: &mut Request| request.config_from.network = "conf".into();
    let app = lab.network_with("app", |request| {
        by_conf(request);
        request.internal = true;
    });
    assert_eq!(app.subnets(), conf.subnets());
    assert_eq!((&app.options, &app.labels), (&conf.options, &conf.labels));
    assert_eq!((app.config_from.network.as_str(), app.internal), ("conf", true));
    assert_eq!(app.ipam.config[0].gateway, Some("10.77.0.1".parse().unwrap()));
    let (web, endpoint) = lab.on("app", "web", &[]);
    assert_eq!(v4(&endpoint).to_string(), "10.77.0.2");
    assert!(web.ip("link show eth0").contains("mtu 1300"));

    let refused = |change: &dyn Fn(&mut Request)| {
        let mut request = Request { name: "other".into(), ..Request::default() };
        change(&mut request);
        lab.networks.create(&request).unwrap_err().to_string()
    };
    let says = |text: &str, words: &str| assert!(text.contains(words), "{text}");
    says(&refused(&by_conf), "Pool overlaps");
    says(&refused(&|it| it.config_from.network = "app".into()), "\"app\" does not exist");
    let both = |it: &mut Request| {
        by_conf(it);
        it.labels.insert("a".into(), "b".into());
    };
    says(&refused(&both), "user specified configurations");
    let options = |it: &mut Request| {
        by_conf(it);
        it.options.insert("a".into(), "b".into());
    };
    says(&refused(&options), "driver options are not supported");
    let chain = |it: &mut Request| {
        by_conf(it);
        it.config_only = true;
    };
    says(&refused(&chain), "cannot depend on another");
    let internal = |it: &mut Request| (it.config_only, it.internal) = (true, true);
    says(&refused(&internal), "network specific fields");

    let other = lab.container("other");
    let why = lab.networks.connect("conf", &other.request(&[])).unwrap_err();
    says(&why.to_string(), "configuration-only");
    let why = lab.networks.remove("conf").unwrap_err();
    assert!(matches!(why, Error::ConfigurationInUse { .. }), "{why}");
    lab.networks.disconnect("app", &web.id()).unwrap();
    let gone = lab.networks.prune(|_| false).unwrap();
    assert_eq!(gone.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["app"]);
    lab.networks.remove("conf").unwrap();
}

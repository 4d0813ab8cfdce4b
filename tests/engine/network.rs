//! Containers on networks: by name, by address, by published port, and gone without a trace.

use std::net::UdpSocket;
use std::time::Duration;

use crate::support::wire::{Answerer, HOST, HOST6, MACHINE, Machine, get, is_answered, sh, within};
use crate::support::{self, Host, Outcome, eventually};
use serde_json::Value;

/// Serves its own host name.
const SERVER: &str = "mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www";

fn serve(host: &Host, name: &str, options: &[&str]) {
    let args = [&["run", "-d", "--name", name, "--hostname", name][..], options].concat();
    host.corten(&[&args[..], &["busybox", "sh", "-c", SERVER]].concat()).ok();
}

/// What a container of these options gets from a web server. Debian's wget, linked statically, crashes
/// in a root without the C library's files.
fn get_in(host: &Host, options: &[&str], address: &str) -> Outcome {
    let script = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {address} 80 | tail -n 1");
    host.corten(&[&["run", "--rm"][..], options, &["busybox", "sh", "-c", &script]].concat())
}

fn inspect(host: &Host, name: &str) -> Value {
    let text = host.corten(&["inspect", name]).ok();
    serde_json::from_str::<Value>(&text).unwrap()[0]["NetworkSettings"].clone()
}

/// The line of `ps` of a container.
fn line(host: &Host, name: &str) -> String {
    let list = host.corten(&["ps"]).ok();
    list.lines().find(|line| line.ends_with(name)).unwrap().to_owned()
}

#[corten_tier::t1]
fn containers_find_each_other_by_name() {
    let host = Host::with_busybox();
    host.corten(&["network", "create", "app"]).ok();
    serve(&host, "web", &["--network", "app", "--network-alias", "site"]);
    let listens = || get_in(&host, &["--network", "app"], "web").out.contains("web").then_some(());
    eventually("the server listens", listens);
    let settings = &inspect(&host, "web")["Networks"]["app"];
    let short = settings["DNSNames"][2].as_str().unwrap().to_owned();
    assert_eq!(settings["DNSNames"][1], "site");
    for name in ["site", short.as_str()] {
        assert_eq!(get_in(&host, &["--network", "app"], name).ok(), "web\n", "{name}");
    }
    // Not from another network, neither by name nor by address.
    let address = settings["IPAddress"].as_str().unwrap().to_owned();
    host.corten(&["network", "create", "other"]).ok();
    for place in ["web".to_owned(), address] {
        assert_eq!(get_in(&host, &["--network", "other"], &place).out, "", "{place}");
        assert_eq!(get_in(&host, &[], &place).out, "", "{place} from the default network");
    }
    // From both networks where it is on both.
    let both = ["--network", "other", "--network", "name=app,alias=x"];
    assert_eq!(get_in(&host, &both, "web").ok(), "web\n");
    host.corten(&["network", "rm", "app"]).fails(1, "has active endpoints (name:\"web\" id:");
    host.corten(&["rm", "-f", "web"]).ok();
    host.corten(&["network", "rm", "app", "other"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn a_container_that_runs_is_connected_and_disconnected() {
    let host = Host::with_busybox();
    host.corten(&["network", "create", "app"]).ok();
    serve(&host, "web", &[]);
    let files = || host.corten(&["exec", "web", "cat", "/etc/resolv.conf", "/etc/hosts"]).ok();
    let before = files();
    assert!(!before.contains("127.0.0.11"), "the default network has no names: {before}");
    host.corten(&["network", "connect", "--alias", "site", "app", "web"]).ok();
    let address =
        inspect(&host, "web")["Networks"]["app"]["IPAddress"].as_str().unwrap().to_owned();
    assert!(files().contains(&format!("{address}\tweb\n")), "{}", files());
    assert!(files().starts_with("nameserver 127.0.0.11\n"), "{}", files());
    for name in ["web", "site"] {
        assert_eq!(get_in(&host, &["--network", "app"], name).ok(), "web\n", "{name}");
    }
    host.corten(&["rename", "web", "store"]).ok();
    assert_eq!(get_in(&host, &["--network", "app"], "store").ok(), "web\n");
    assert_eq!(get_in(&host, &["--network", "app"], "web").out, "");
    host.corten(&["rename", "store", "web"]).ok();
    host.corten(&["network", "connect", "app", "web"])
        .fails(1, "endpoint with name web already exists in network app");
    host.corten(&["network", "disconnect", "app", "web"]).ok();
    assert_eq!(get_in(&host, &["--network", "app"], "web").out, "");
    assert!(!files().contains(&address), "{}", files());
    host.corten(&["network", "disconnect", "app", "web"])
        .fails(1, "is not connected to network app");
    // One that does not run is on it at its next start.
    host.corten(&["stop", "-t", "0", "web"]).ok();
    host.corten(&["network", "connect", "app", "web"]).ok();
    host.corten(&["start", "web"]).ok();
    eventually("it is found", || {
        get_in(&host, &["--network", "app"], "web").out.contains("web").then_some(())
    });
    host.corten(&["network", "connect", "host", "web"]).fails(1, "connected to host network");
    let events =
        host.corten(&["events", "--since", "1", "--until", "0s", "--filter", "network=app"]);
    for action in ["network create", "network connect", "network disconnect"] {
        assert!(events.out.contains(action), "{action}: {events:?}");
    }
    host.corten(&["rm", "-f", "web"]).ok();
    host.corten(&["network", "rm", "app"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn the_network_with_the_highest_priority_leads_everywhere_and_devices_have_names() {
    let host = Host::with_busybox();
    for name in ["app", "other", "third"] {
        host.corten(&["network", "create", name]).ok();
    }
    let other = "name=other,gw-priority=1,driver-opt=com.docker.network.endpoint.ifname=lan";
    serve(&host, "web", &["--network", "app", "--network", other, "-p", "8080:80"]);
    let leads = |network: &str| {
        let network = &inspect(&host, "web")["Networks"][network];
        let way = host.corten(&["exec", "web", "ip", "route", "get", "192.0.2.2"]).ok();
        let gateway = network["Gateway"].as_str().unwrap();
        assert!(way.contains(&format!("via {gateway} ")), "{way}: {network}");
        network.clone()
    };
    let shown = leads("other");
    assert_eq!(shown["GwPriority"], 1);
    assert_eq!(shown["DriverOpts"]["com.docker.network.endpoint.ifname"], "lan");
    // Its published port is there, too.
    let lan = shown["IPAddress"].as_str().unwrap();
    assert!(host.corten(&["exec", "web", "ip", "address", "show", "lan"]).ok().contains(lan));
    assert!(host.corten(&["network", "inspect", "other"]).ok().contains(lan));
    eventually("the port is reached", || get("127.0.0.1:8080"));
    host.corten(&["network", "disconnect", "other", "web"]).ok();
    leads("app");
    assert_eq!(get("127.0.0.1:8080"), None, "it went with that network");
    let settings = "com.docker.network.endpoint.sysctls=net.ipv4.conf.IFNAME.log_martians=1";
    let connect = ["network", "connect", "--gw-priority", "7", "--driver-opt"];
    host.corten(&[&connect[..], &[settings, "third", "web"]].concat()).ok();
    leads("third");
    let read = ["exec", "web", "cat", "/proc/sys/net/ipv4/conf/eth1/log_martians"];
    assert_eq!(host.corten(&read).ok(), "1\n");
    let wrong = [&connect[..], &["com.docker.network.speed=1", "other", "web"]].concat();
    host.corten(&wrong).fails(1, "driver option com.docker.network.speed: is not supported");
    // A start finds it all again.
    host.corten(&["restart", "-t", "0", "web"]).ok();
    leads("third");
    host.corten(&["rm", "-f", "web"]).ok();
    host.corten(&["network", "rm", "app", "other", "third"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn whoever_starts_a_container_is_told_that_the_host_drops_what_passes_it() {
    let host = Host::with_busybox();
    host.corten(&["network", "create", "--internal", "inside"]).ok();
    sh(
        "nft 'table ip filter { chain FORWARD { type filter hook forward priority 0; policy drop; }; }'",
    );
    let told = |outcome: &Outcome| outcome.err.matches("chain ip filter FORWARD drops").count();
    let say = |words: &[&str], times: usize| {
        let outcome = host.corten(words);
        assert_eq!((outcome.status, told(&outcome)), (0, times), "{words:?}: {outcome:?}");
    };
    say(&["run", "-d", "--name", "web", "busybox", "sleep", "1000"], 1);
    say(&["restart", "-t", "0", "web"], 1);
    say(&["stop", "-t", "0", "web"], 0);
    say(&["start", "web"], 1);
    say(&["network", "create", "app"], 1);
    say(&["network", "connect", "app", "web"], 1);
    // What has no way out is kept from nothing.
    say(&["network", "connect", "inside", "web"], 0);
    for network in ["inside", "none", "host"] {
        say(&["run", "--rm", "--network", network, "busybox", "true"], 0);
    }
    assert!(host.corten(&["doctor"]).out.contains("chain ip filter FORWARD drops"));
    host.corten(&["rm", "-f", "web"]).ok();
    sh("nft delete table ip filter");
    say(&["run", "--rm", "busybox", "true"], 0);
    host.corten(&["network", "rm", "app", "inside"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn a_published_port_is_reached_from_everywhere() {
    let host = Host::with_busybox();
    let machine = Machine::new();
    host.corten(&["network", "create", "--ipv6", "six"]).ok();
    serve(&host, "web", &["-p", "8080:80"]);
    serve(&host, "both", &["--network", "six", "-p", "8081:80"]);
    for (port, name) in [(8080, "web"), (8081, "both")] {
        let local = format!("127.0.0.1:{port}");
        eventually("the host reaches it", || get(&local)).contains(name).then_some(()).unwrap();
        let wire = format!("{HOST}:{port}");
        assert_eq!(get(&wire).as_deref(), Some(name), "the host, by its own address");
        assert_eq!(within(&machine.namespace(), || get(&wire)).as_deref(), Some(name));
    }
    let six = format!("[{HOST6}]:8081");
    assert_eq!(get(&six).as_deref(), Some("both"), "by the host's IPv6 address");
    assert_eq!(within(&machine.namespace(), || get(&six)).as_deref(), Some("both"));
    // With br_netfilter the kernel has no way for the answer.
    let _ = std::fs::write("/proc/sys/net/bridge/bridge-nf-call-ip6tables", "0");
    assert_eq!(get("[::1]:8081").as_deref(), Some("both"), "the host, by its other loopback");
    assert!(line(&host, "web").contains(" 0.0.0.0:8080->80/tcp "), "{}", line(&host, "web"));
    let both = "0.0.0.0:8081->80/tcp, [::]:8081->80/tcp";
    assert!(line(&host, "both").contains(both), "{}", line(&host, "both"));
    // A neighbour, and the container itself.
    let gateway = inspect(&host, "web")["Gateway"].as_str().unwrap().to_owned();
    let script =
        format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 2 {gateway} 8080 | tail -n 1");
    assert_eq!(host.run(&["sh", "-c", &script]).ok(), "web\n");
    assert_eq!(host.corten(&["exec", "web", "sh", "-c", &script]).ok(), "web\n");
    host.corten(&["rm", "-f", "web", "both"]).ok();
    assert_eq!(get("127.0.0.1:8080"), None);
    host.assert_no_trace();
}

#[corten_tier::t1]
fn ports_are_chosen_in_every_form_of_docker_s() {
    let host = Host::with_busybox();
    let _machine = Machine::new();
    let image =
        ["import", "-c", "EXPOSE 80 53/udp", "-c", "CMD [\"sleep\", \"1000\"]", "-", "exposes"];
    host.import(&support::busybox_layer(), &image);
    let ports = |name: &str| inspect(&host, name)["Ports"].clone();
    host.corten(&["run", "-d", "--name", "all", "-P", "exposes"]).ok();
    let shown = ports("all");
    for port in ["80/tcp", "53/udp"] {
        let number: u16 = shown[port][0]["HostPort"].as_str().unwrap().parse().unwrap();
        assert!(number >= 1024, "{shown}");
    }
    let udp: u16 = shown["53/udp"][0]["HostPort"].as_str().unwrap().parse().unwrap();
    let namespace = inspect(&host, "all")["SandboxKey"].as_str().unwrap().to_owned();
    let answerer = Answerer::new(namespace.as_ref(), "0.0.0.0:53");
    assert!(is_answered(&format!("127.0.0.1:{udp}")) && is_answered(&format!("{HOST}:{udp}")));
    drop(answerer);
    host.corten(&["run", "-d", "--name", "none", "exposes"]).ok();
    assert_eq!(ports("none").to_string(), r#"{"53/udp":null,"80/tcp":null}"#);
    assert!(line(&host, "none").contains(" 53/udp, 80/tcp "), "{}", line(&host, "none"));
    let run = |name: &str, ports: &[&str]| {
        let mut args = vec!["run", "-d", "--name", name];
        ports.iter().for_each(|port| args.extend(["-p", port]));
        host.corten(&[&args[..], &["busybox", "sleep", "1000"]].concat()).ok();
        line(&host, name)
    };
    for (name, published, expected) in [
        ("range", &["9000-9002:9000-9002"][..], " 0.0.0.0:9000-9002->9000-9002/tcp "),
        ("first", &["8000-8010:80"], " 0.0.0.0:8000->80/tcp "),
        ("next", &["8000-8010:80"], " 0.0.0.0:8001->80/tcp "),
        ("local", &["127.0.0.1:8080:80/udp"], " 127.0.0.1:8080->80/udp "),
        ("sctp", &["7777:7777/sctp"], " 0.0.0.0:7777->7777/sctp "),
        ("long", &["target=80,published=8090,protocol=udp"], " 0.0.0.0:8090->80/udp "),
        ("wire", &["192.0.2.1:8080:80"], " 192.0.2.1:8080->80/tcp "),
    ] {
        let line = run(name, published);
        assert!(line.contains(expected), "{expected}:\n{line}");
    }
    for (port, why) in [
        ("9.9.9.9:1:1", "does not have that address"),
        ("90-80", "port `90-80`"),
        ("80/icmp", "icmp"),
    ] {
        host.corten(&["run", "--rm", "-p", port, "busybox", "true"]).fails(125, why);
    }
    let ids = host.corten(&["ps", "-q"]).ok();
    let remove: Vec<&str> = ["rm", "-f"].into_iter().chain(ids.lines()).collect();
    host.corten(&remove).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn a_port_that_is_taken_has_an_owner_and_nothing_is_made() {
    let host = Host::with_busybox();
    serve(&host, "web", &["-p", "8080:80"]);
    let second = ["run", "-d", "-p", "8080:80", "busybox", "sleep", "100"];
    host.corten(&second).fails(125, "port is already allocated (published by container web)");
    let listener = std::net::TcpListener::bind("0.0.0.0:8090").unwrap();
    let own = format!("process {}", std::process::id());
    host.corten(&["run", "-d", "-p", "8090:80", "busybox", "true"]).fails(125, &own);
    drop(listener);
    assert_eq!(host.names("containers").len(), 1, "nothing was made");
    // One that is made may have a port that another has; it may not start.
    let create = ["create", "--name", "later", "-p", "8080:80", "busybox", "sleep", "100"];
    host.corten(&create).ok();
    host.corten(&["start", "later"]).fails(1, "published by container web");
    host.corten(&["rm", "-f", "web"]).ok();
    host.corten(&["start", "later"]).ok();
    host.corten(&["rm", "-f", "later"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn what_has_ended_is_off_its_networks_though_no_command_comes() {
    let host = Host::with_busybox();
    host.corten(&["run", "-d", "--rm", "-p", "8081:80", "busybox", "sleep", "0.3"]).ok();
    host.corten(&["run", "-d", "--name", "kept", "-p", "8082:80", "busybox", "true"]).ok();
    eventually("their supervisors have had all put in order", || {
        let one = std::fs::read_dir(host.root().join("containers")).unwrap().count() == 1;
        let endpoints = std::fs::read_dir(host.root().join("run/networks/containers")).unwrap();
        (one && endpoints.count() == 0).then_some(())
    });
    host.corten(&["rm", "kept"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn a_container_that_is_started_again_keeps_its_address() {
    let host = Host::with_busybox();
    host.corten(&["network", "create", "--subnet", "10.97.0.0/24", "app"]).ok();
    let fixed = ["--network", "app", "--ip", "10.97.0.77", "--mac-address", "02:42:00:00:00:77"];
    serve(&host, "web", &[&fixed[..], &["--restart", "always"]].concat());
    let reaches =
        || get_in(&host, &["--network", "app"], "10.97.0.77").out.contains("web").then_some(());
    eventually("it is reached", reaches);
    let settings = inspect(&host, "web");
    assert_eq!(settings["Networks"]["app"]["MacAddress"], "02:42:00:00:00:77");
    assert_eq!(settings["Networks"]["app"]["IPAMConfig"]["IPv4Address"], "10.97.0.77");
    let (pid, _) = host.running().unwrap();
    sh(&format!("kill -9 {pid}"));
    eventually("it is reached again", || {
        let restarted = host.corten(&["inspect", "web"]).ok().contains("\"RestartCount\": 1");
        restarted.then(reaches)?
    });
    assert_eq!(inspect(&host, "web")["Networks"], settings["Networks"], "by its supervisor alone");
    host.corten(&["restart", "-t", "0", "web"]).ok();
    eventually("and again", reaches);
    let taken = ["run", "--rm", "--network", "app", "--ip", "10.97.0.77", "busybox", "true"];
    host.corten(&taken).fails(125, "10.97.0.77");
    host.corten(&["rm", "-f", "web"]).ok();
    host.corten(&["network", "rm", "app"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn after_a_boot_networks_addresses_and_what_shall_run_are_there_again() {
    let host = Host::with_busybox();
    host.corten(&["network", "create", "--subnet", "10.97.0.0/24", "app"]).ok();
    let fixed = ["--network", "app", "--ip", "10.97.0.77", "-p", "8080:80", "--restart", "always"];
    serve(&host, "web", &fixed);
    eventually("it is reached", || get("127.0.0.1:8080"));
    let (pid, supervisor) = host.running().unwrap();
    let namespace = inspect(&host, "web")["SandboxKey"].as_str().unwrap().to_owned();
    // All processes, what was in the kernel, and what was in memory.
    sh(&format!("kill -9 {supervisor} {pid}; umount -l {namespace}"));
    eventually("they have ended", || (!support::is_alive(pid)).then_some(()));
    std::fs::remove_dir_all(host.root().join("run")).unwrap();
    sh("nft flush ruleset; echo 0 >/proc/sys/net/ipv4/ip_forward
        for link in $(ip -o link | grep -o 'br-[0-9a-f]*' | sort -u); do ip link del $link; done
        for link in $(ip -o link | grep -o 'veth[0-9a-f]*' | sort -u); do ip link del $link || true; done");
    assert_eq!(
        host.corten(&["network", "ls", "-q", "--filter", "name=app"]).ok().lines().count(),
        1
    );
    host.corten(&["system", "restore"]).ok();
    assert_eq!(eventually("it is reached again", || get("127.0.0.1:8080")), "web");
    assert_eq!(get_in(&host, &["--network", "app"], "web").ok(), "web\n");
    assert_eq!(inspect(&host, "web")["Networks"]["app"]["IPAddress"], "10.97.0.77");
    host.corten(&["rm", "-f", "web"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn the_networks_that_are_none() {
    let host = Host::with_busybox();
    let links = |options: &[&str]| {
        let script = "ip -o link | wc -l";
        host.corten(&[&["run", "--rm"], options, &["busybox", "sh", "-c", script]].concat()).ok()
    };
    assert_eq!(links(&["--network", "none"]).trim(), "1");
    assert_eq!(links(&[]).trim(), "2");
    serve(&host, "web", &[]);
    let share = ["--network", "container:web"];
    eventually("its loopback interface is shared", || {
        get_in(&host, &share, "127.0.0.1").out.contains("web").then_some(())
    });
    let hosts =
        host.corten(&["run", "--rm", "--network", "container:web", "busybox", "cat", "/etc/hosts"]);
    assert!(hosts.ok().contains("\tweb\n"), "and its files are");
    let own = sh("ip -o link | wc -l");
    assert_eq!(links(&["--network", "host"]), own);
    let gateway = inspect(&host, "web")["Gateway"].as_str().unwrap().to_owned();
    let add = ["--add-host", "outside:host-gateway", "busybox", "grep", "outside", "/etc/hosts"];
    let shown = host.corten(&[&["run", "--rm"], &add[..]].concat()).ok();
    assert_eq!(shown, format!("{gateway}\toutside\n"));
    for (options, why) in [
        (&["--ip", "10.97.0.78"][..], "user defined networks only"),
        (&["--network", "nowhere"], "network nowhere not found"),
        (&["--network", "container:nobody"], "nobody"),
        (&["--network", "host", "--network", "none"], "non-user-defined network-modes"),
        (&["--link", "nobody:web"], "could not get container for nobody"),
        (&["--network", "container:web", "-p", "80:80"], "port publishing"),
    ] {
        let args = [&["run", "--rm"], options, &["busybox", "true"]].concat();
        host.corten(&args).fails(125, why);
    }
    host.corten(&["rm", "-f", "web"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn a_container_s_own_resolver_is_asked_for_it() {
    let host = Host::with_busybox();
    let machine = Machine::new();
    let resolver = within(&machine.namespace(), || UdpSocket::bind("0.0.0.0:53").unwrap());
    resolver.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    host.corten(&["network", "create", "app"]).ok();
    let options = ["--network", "app", "--dns", MACHINE, "--dns-search", "x.test"];
    let options = [&options[..], &["--dns-option", "ndots:2"]].concat();
    let conf = ["busybox", "cat", "/etc/resolv.conf"];
    let shown = host.corten(&[&["run", "--rm"], &options[..], &conf].concat()).ok();
    assert_eq!(shown, "search x.test\nnameserver 127.0.0.11\noptions ndots:2\n");
    let ask = ["busybox", "nslookup", "-type=a", "asked.example.", "127.0.0.11"];
    host.corten(&[&["run", "-d", "--name", "asks"], &options[..], &ask].concat()).ok();
    let mut question = [0; 512];
    let (length, _) = resolver.recv_from(&mut question).unwrap();
    let question = String::from_utf8_lossy(&question[..length]);
    assert!(question.contains("asked") && question.contains("example"), "{question:?}");
    // In the default network, which has no names, it asks them itself.
    let options = ["--dns", MACHINE, "busybox", "cat", "/etc/resolv.conf"];
    let shown = host.corten(&[&["run", "--rm"], &options[..]].concat()).ok();
    assert!(shown.contains(&format!("nameserver {MACHINE}\n")), "{shown}");
    host.corten(&["rm", "-f", "asks"]).ok();
    host.corten(&["network", "rm", "app"]).ok();
    host.assert_no_trace();
}

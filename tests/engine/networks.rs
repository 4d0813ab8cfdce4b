//! `corten network`: made, shown, listed, chosen, removed, taken off the host.

use crate::support::wire::{MACHINE, Machine, get, sh, within};
use crate::support::{Host, eventually};
use serde_json::Value;

fn inspect(host: &Host, names: &[&str]) -> Value {
    serde_json::from_str(&host.corten(&[&["network", "inspect"], names].concat()).ok()).unwrap()
}

#[corten_tier::t1]
fn networks_are_made_shown_and_removed() {
    let host = Host::with_busybox();
    let create = ["network", "create", "--subnet", "10.97.0.0/24", "--gateway", "10.97.0.9"];
    let options = ["--ip-range", "10.97.0.128/25", "--label", "a=b", "--internal", "app"];
    let id = host.corten(&[&create[..], &options].concat()).ok();
    let id = id.trim();
    assert_eq!(id.len(), 64);
    let shown = &inspect(&host, &["app", &id[..6]])[1];
    assert_eq!(shown["IPAM"]["Config"][0]["IPRange"], "10.97.0.128/25");
    assert_eq!((&shown["Internal"], &shown["Labels"]["a"]), (&true.into(), &"b".into()));
    let list = host.corten(&["network", "ls"]).ok();
    let header = list.lines().next().unwrap().split("  ").filter(|word| !word.is_empty());
    assert_eq!(
        header.map(str::trim).collect::<Vec<_>>(),
        ["NETWORK ID", "NAME", "DRIVER", "SCOPE"]
    );
    let names = |filter: &str| {
        let lines = host.corten(&["network", "ls", "--filter", filter, "--format", "json"]).ok();
        let name = |line: &str| serde_json::from_str::<Value>(line).unwrap()["Name"].to_string();
        lines.lines().map(name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names("type=builtin"), r#""bridge" "host" "none""#);
    for filter in ["type=custom", "name=ap", "label=a", "label=a=b", "dangling=true"] {
        assert_eq!(names(filter), r#""app""#, "{filter}");
    }
    assert_eq!(names("driver=macvlan"), "");
    host.corten(&["network", "ls", "--filter", "colour=red"]).fails(1, "invalid filter");
    host.corten(&["network", "create", "app"]).fails(1, "network with name app already exists");
    host.corten(&["network", "create", "--subnet", "10.97.0.0/16", "more"]).fails(1, "overlaps");
    host.corten(&["network", "rm", "bridge"]).fails(1, "pre-defined network");
    host.corten(&["network", "rm", "nowhere"]).fails(1, "network nowhere not found");
    host.corten(&["network", "rm", "--force", "nowhere"]).ok();
    // Its containers are shown, with their addresses, and keep it.
    let run = ["run", "-d", "--name", "web", "--network", "app", "busybox", "sleep", "1000"];
    host.corten(&run).ok();
    let web = host.corten(&["ps", "-q", "--no-trunc", "--filter", "network=app"]).ok();
    let member = &inspect(&host, &["app"])[0]["Containers"][web.trim()];
    assert_eq!(
        (&member["Name"], &member["IPv4Address"]),
        (&"web".into(), &"10.97.0.129/24".into())
    );
    let used = format!("has active endpoints (name:\"web\" id:\"{}\")", &web[..12]);
    host.corten(&["network", "rm", "app"]).fails(1, &used);
    host.corten(&["stop", "-t", "0", "web"]).ok();
    host.corten(&["network", "create", "free"]).ok();
    // One that a container names is not pruned, whether that runs or not.
    assert_eq!(host.corten(&["network", "prune", "-f"]).ok(), "Deleted Networks:\nfree\n\n");
    host.corten(&["rm", "web"]).ok();
    assert_eq!(host.corten(&["network", "prune", "-f"]).ok(), "Deleted Networks:\napp\n\n");
    host.assert_no_trace();
}

#[corten_tier::t1]
fn a_host_without_containers_can_be_as_it_was() {
    let host = Host::with_busybox();
    let look = || sh("ip -br link; nft list ruleset; cat /proc/sys/net/ipv4/ip_forward");
    let before = look();
    let run = ["run", "-d", "--name", "web", "-p", "8080:80", "busybox", "sleep", "1000"];
    host.corten(&run).ok();
    let refused = host.corten(&["network", "unload"]);
    assert!(refused.err.contains("containers are on networks"), "{refused:?}");
    assert_ne!(look(), before);
    host.corten(&["rm", "-f", "web"]).ok();
    eventually("its devices have gone", || (!look().contains("veth")).then_some(()));
    host.corten(&["network", "unload"]).ok();
    assert_eq!(look(), before);
    host.corten(&run).ok();
    host.corten(&["rm", "-f", "web"]).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn who_is_not_named_has_a_name_of_two_words() {
    let host = Host::with_busybox();
    host.corten(&["run", "-d", "busybox", "sleep", "1000"]).ok();
    host.corten(&["run", "-d", "busybox", "sleep", "1000"]).ok();
    let list = host.corten(&["ps"]).ok();
    let names: Vec<&str> =
        list.lines().skip(1).map(|line| line.rsplit(' ').next().unwrap()).collect();
    assert!(names.iter().all(|name| name.split('_').count() == 2), "{list}");
    assert_ne!(names[0], names[1]);
    host.corten(&["exec", names[0], "true"]).ok();
    host.corten(&[&["rm", "-f"], &names[..]].concat()).ok();
    host.assert_no_trace();
}

#[corten_tier::t1]
fn a_container_on_a_macvlan_network_is_on_the_host_s_wire() {
    let host = Host::with_busybox();
    let machine = Machine::new();
    let create = ["network", "create", "-d", "macvlan", "-o", "parent=wire", "--subnet"];
    let range = ["192.0.2.0/24", "--ip-range", "192.0.2.128/25", "--gateway", MACHINE, "lan"];
    host.corten(&[&create[..], &range].concat()).ok();
    let serve = ["busybox", "nc", "-ll", "-p", "80", "-e", "echo", "hello"];
    let run = ["run", "-d", "--name", "web", "--network", "lan", "--ip", "192.0.2.200"];
    host.corten(&[&run[..], &serve].concat()).ok();
    let from_machine = || within(&machine.namespace(), || get("192.0.2.200:80"));
    assert_eq!(eventually("it is reached", from_machine), "hello");
    let ask = ["busybox", "sh", "-c", "nc -w 1 web 80 </dev/null"];
    assert_eq!(
        host.corten(&[&["run", "--rm", "--network", "lan"], &ask[..]].concat()).ok(),
        "hello\n"
    );
    host.corten(&["rm", "-f", "web"]).ok();
    host.corten(&["network", "rm", "lan"]).ok();
    drop(machine);
    host.assert_no_trace();
}

//! Capability sets.

use serde_json::json;

use crate::rig::Container;
use crate::rig::config::CAPABILITIES;

/// The sets of a process that prints its status, by name.
fn sets(container: &mut Container) -> std::collections::BTreeMap<String, String> {
    parse(&container.output())
}

pub fn parse(status: &str) -> std::collections::BTreeMap<String, String> {
    let sets = status.lines().filter_map(|line| line.strip_prefix("Cap")?.split_once(":\t"));
    sets.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn status() -> Container {
    Container::script("exec cat /proc/self/status")
}

#[corten_tier::t1]
fn the_sets_are_those_of_the_configuration() {
    let mut container = status();
    container.set("/process/capabilities/ambient", ["CAP_CHOWN"]);
    container.set("/process/capabilities/inheritable", ["CAP_CHOWN"]);
    let sets = sets(&mut container);
    for name in ["Bnd", "Prm", "Eff"] {
        assert_eq!(sets[name], "00000000a80425fb", "{name}");
    }
    assert_eq!(sets["Inh"], "0000000000000001");
    assert_eq!(sets["Amb"], "0000000000000001");
}

#[corten_tier::t1]
fn another_user_has_the_ambient_set_only() {
    let mut container = status();
    container.set("/process/user", json!({"uid": 1000, "gid": 1000}));
    let all = ["CAP_KILL", "CAP_CHOWN"];
    for set in ["bounding", "permitted", "effective", "inheritable"] {
        container.set(&format!("/process/capabilities/{set}"), all);
    }
    container.set("/process/capabilities/ambient", ["CAP_KILL"]);
    let sets = sets(&mut container);
    assert_eq!(sets["Eff"], "0000000000000020");
    assert_eq!(sets["Prm"], "0000000000000020");
    assert_eq!(sets["Bnd"], "0000000000000021");
    assert_eq!(sets["Inh"], "0000000000000021");
}

#[corten_tier::t1]
fn no_capabilities_at_all() {
    let mut container = status();
    container.set("/process/capabilities", json!({}));
    assert!(sets(&mut container).values().all(|set| set == "0000000000000000"));
}

#[corten_tier::t1]
fn capabilities_left_out_are_none() {
    let mut container = status();
    container.remove("/process/capabilities");
    let sets = sets(&mut container);
    for name in ["Eff", "Prm", "Bnd", "Inh", "Amb"] {
        assert_eq!(sets[name], "0000000000000000", "{name}");
    }
}

#[corten_tier::t1]
fn capabilities_limit_what_root_may() {
    let mut container = Container::script("chown 1:1 /tmp 2>/dev/null || echo refused");
    let without: Vec<&str> = CAPABILITIES.into_iter().filter(|name| *name != "CAP_CHOWN").collect();
    for set in ["bounding", "permitted", "effective"] {
        container.set(&format!("/process/capabilities/{set}"), &without);
    }
    assert_eq!(container.output(), "refused\n");
}

/// With `--debug`, where standard error is the log.
#[corten_tier::t1]
fn an_unknown_capability_is_ignored_with_a_warning() {
    let mut container = status();
    container.push("/process/capabilities/bounding", "CAP_TEST");
    container.push("/process/capabilities/effective", "CAP_TEST");
    container.write();
    let log = container.outside().join("log");
    let arguments = [
        "--debug",
        "--log",
        log.to_str().unwrap(),
        "create",
        "--bundle",
        &container.bundle().display().to_string(),
        &container.id.clone(),
    ]
    .map(str::to_owned);
    let done = container.call(&arguments);
    assert!(done.status.success(), "{done:?}");
    let text = crate::rig::read(&log);
    let said = "ignoring unknown or unavailable capabilities: [CAP_TEST]";
    assert!(text.contains(said), "{text}");
    container.delete();
}

/// This host's root lacks CAP_SYS_RESOURCE; a configuration may name it all the same.
#[corten_tier::t1]
fn a_capability_that_the_runtime_lacks_is_left_out() {
    let mut container = status();
    for set in ["bounding", "permitted", "effective"] {
        container.push(&format!("/process/capabilities/{set}"), "CAP_SYS_RESOURCE");
    }
    let own = parse(&std::fs::read_to_string("/proc/thread-self/status").unwrap());
    let own = u64::from_str_radix(&own["Bnd"], 16).unwrap();
    let expected = (0xa804_25fb_u64 | 1 << 24) & own;
    assert_eq!(sets(&mut container)["Eff"], format!("{expected:016x}"));
}

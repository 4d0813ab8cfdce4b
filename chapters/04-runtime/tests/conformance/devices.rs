//! Devices: those that every container has, and those of the configuration.

use serde_json::json;

use crate::rig::Container;

#[corten_tier::t1]
fn every_container_has_the_default_devices() {
    let script =
        "for d in null zero full random urandom tty; do stat -c '%n %t:%T %F %a' /dev/$d; done";
    let expected = "\
/dev/null 1:3 character special file 666
/dev/zero 1:5 character special file 666
/dev/full 1:7 character special file 666
/dev/random 1:8 character special file 666
/dev/urandom 1:9 character special file 666
/dev/tty 5:0 character special file 666
";
    assert_eq!(Container::script(script).output(), expected);
}

#[corten_tier::t1]
fn the_default_devices_work() {
    let script = "echo x > /dev/null; head -c 3 /dev/zero | wc -c; head -c 3 /dev/urandom | wc -c; (echo > /dev/full) 2>/dev/null || echo full";
    assert_eq!(Container::script(script).output(), "3\n3\nfull\n");
}

#[corten_tier::t1]
fn dev_ptmx_and_the_links() {
    let script =
        "for l in fd stdin stdout stderr; do readlink /dev/$l; done; [ -c /dev/ptmx ] && echo ptmx";
    let expected = "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\nptmx\n";
    assert_eq!(Container::script(script).output(), expected);
}

fn with(device: serde_json::Value, script: &str) -> String {
    let mut container = Container::script(script);
    container.set("/linux/devices", [device]);
    container.output()
}

const STAT: &str = "stat -c '%t:%T %F %a %u:%g' /dev/test";

#[corten_tier::t1]
fn a_character_device() {
    let device = json!({
        "path": "/dev/test", "type": "c", "major": 10, "minor": 666, "fileMode": 0o432, "uid": 1, "gid": 2
    });
    assert_eq!(with(device, STAT), "a:29a character special file 432 1:2\n");
}

#[corten_tier::t1]
fn an_unbuffered_device_is_a_character_device() {
    let device = json!({"path": "/dev/test", "type": "u", "major": 10, "minor": 666});
    assert_eq!(with(device, STAT), "a:29a character special file 666 0:0\n");
}

#[corten_tier::t1]
fn a_block_device() {
    let device = json!({
        "path": "/dev/test", "type": "b", "major": 8, "minor": 666, "fileMode": 0o432, "uid": 0, "gid": 0
    });
    assert_eq!(with(device, STAT), "8:29a block special file 432 0:0\n");
}

#[corten_tier::t1]
fn a_pipe() {
    let device = json!({"path": "/dev/test", "type": "p", "fileMode": 0o640});
    assert_eq!(with(device, "stat -c '%F %a' /dev/test"), "fifo 640\n");
}

#[corten_tier::t1]
fn a_device_outside_of_dev() {
    let device =
        json!({"path": "/deep/test", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600});
    assert_eq!(with(device, "stat -c '%t:%T %a' /deep/test"), "1:3 600\n");
}

#[corten_tier::t1]
fn an_unknown_type_is_refused() {
    let mut container = Container::new();
    container
        .set("/linux/devices", [json!({"path": "/dev/test", "type": "x", "major": 1, "minor": 3})]);
    container.refused();
}

#[corten_tier::t1]
fn a_device_that_is_not_allowed_cannot_be_opened() {
    let mut container = Container::script("(cat < /dev/test) 2>&1 | grep -o 'not permitted'");
    // /dev/kmsg, which needs no hardware.
    container.set(
        "/linux/devices",
        [json!({"path": "/dev/test", "type": "c", "major": 1, "minor": 11})],
    );
    container.set("/linux/resources/devices", [json!({"allow": false, "access": "rwm"})]);
    assert_eq!(container.output(), "not permitted\n");
}

#[corten_tier::t1]
fn a_device_that_is_allowed_can_be_opened() {
    let mut container = Container::script("exec 3< /dev/test && echo opened");
    container.set(
        "/linux/devices",
        [json!({"path": "/dev/test", "type": "c", "major": 1, "minor": 11})],
    );
    container.set(
        "/linux/resources/devices",
        [
            json!({"allow": false, "access": "rwm"}),
            json!({"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rwm"}),
        ],
    );
    for set in ["bounding", "permitted", "effective"] {
        container.push(&format!("/process/capabilities/{set}"), "CAP_SYSLOG");
    }
    assert_eq!(container.output(), "opened\n");
}

#[corten_tier::t1]
fn in_a_user_namespace_devices_are_the_hosts() {
    let mut container = Container::script("echo x > /dev/null; stat -c %t:%T /dev/null");
    container.push("/linux/namespaces", json!({"type": "user"}));
    let maps = json!([{"containerID": 0, "hostID": 1000, "size": 2000}]);
    container.set("/linux/uidMappings", maps.clone()).set("/linux/gidMappings", maps);
    assert_eq!(container.output(), "1:3\n");
}

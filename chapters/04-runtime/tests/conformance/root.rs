//! The root file system.

use std::fs;

use crate::rig::{Container, is, skip};

#[corten_tier::t1]
fn a_read_only_root() {
    let mut container = Container::script(
        "touch /new 2>/dev/null || echo refused; ls /bin/sh; touch /tmp/x 2>/dev/null; touch /dev/shm/x && echo writable",
    );
    container.set("/root/readonly", true);
    assert_eq!(container.output(), "refused\n/bin/sh\nwritable\n");
}

#[corten_tier::t1]
fn a_writable_root() {
    let mut container = Container::script("touch /new && echo made");
    assert_eq!(container.output(), "made\n");
    assert!(container.rootfs().join("new").exists());
}

#[corten_tier::t1]
fn an_absolute_path() {
    let mut container = Container::script("echo here");
    let rootfs = container.rootfs();
    container.set("/root/path", rootfs);
    assert_eq!(container.output(), "here\n");
}

#[corten_tier::t1]
fn the_bundle_itself_may_be_the_root() {
    let mut container = Container::script("ls /config.json");
    let rootfs = container.rootfs();
    for entry in fs::read_dir(&rootfs).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), container.bundle().join(entry.file_name())).unwrap();
    }
    container.set("/root/path", ".");
    assert_eq!(container.output(), "/config.json\n");
}

#[corten_tier::t1]
fn a_root_that_is_not_there_is_refused() {
    let mut container = Container::new();
    container.set("/root/path", "missing");
    container.refused();
}

#[corten_tier::t1]
fn nothing_of_the_host_is_left_in_sight() {
    let script = "grep -c ' / / ' /proc/self/mountinfo; ls / | grep -v -E '^(bin|dev|etc|mnt|proc|root|sys|tmp)$'; true";
    let output = Container::script(script).output();
    assert!(!output.contains("rootfs") && output.lines().count() <= 1, "{output}");
}

#[corten_tier::t1]
fn without_pivot_root() {
    let mut container = Container::script("ls / | tr '\\n' ' '");
    container.create_with(&["--no-pivot"]).ok();
    container.start();
    container.wait_for("stopped");
    assert_eq!(container.written(), "bin dev etc mnt proc root sys tmp ");
}

fn propagation(name: &str) -> String {
    let script = "awk '$5 == \"/\"' /proc/self/mountinfo | cut -d' ' -f7-";
    let mut container = Container::script(script);
    container.set("/linux/rootfsPropagation", name);
    container.output()
}

#[corten_tier::t1]
fn a_private_root() {
    for name in ["private", "rprivate"] {
        let output = propagation(name);
        assert!(!output.contains("shared:") && !output.contains("master:"), "{name}: {output}");
    }
}

#[corten_tier::t1]
fn a_slave_root_is_not_shared() {
    for name in ["slave", "rslave"] {
        assert!(!propagation(name).contains("shared:"), "{name}");
    }
}

#[corten_tier::t1]
fn a_shared_root() {
    assert!(propagation("shared").contains("shared:"));
}

#[corten_tier::t1]
fn an_unbindable_root() {
    assert!(propagation("unbindable").contains("unbindable"));
}

#[corten_tier::t1]
fn mounts_in_a_shared_root_appear_in_copies_of_it() {
    for (name, expected) in [("shared", "seen\n"), ("private", "hidden\n"), ("slave", "hidden\n")] {
        let script = "mkdir -p /t /m /s; mount --rbind / /t && touch /s/f && mount --bind /s /m; [ -e /t/m/f ] && echo seen || echo hidden";
        let mut container = Container::script(script);
        for set in ["bounding", "permitted", "effective"] {
            container.push(&format!("/process/capabilities/{set}"), "CAP_SYS_ADMIN");
        }
        container.set("/linux/rootfsPropagation", name);
        assert_eq!(container.output(), expected, "{name}");
    }
}

#[corten_tier::t1]
fn an_unknown_propagation_is_refused() {
    if is("crun") || is("runc") {
        return skip("the distribution's version ignores it");
    }
    let mut container = Container::new();
    container.set("/linux/rootfsPropagation", "nosuch");
    container.refused();
}

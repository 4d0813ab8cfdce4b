//! Idmapped mounts: `uidMappings` and `gidMappings` of a mount, `idmap` and `ridmap`.

use std::fs;
use std::os::unix::fs::{chown, symlink};
use std::path::Path;

use serde_json::{Value, json};

use crate::rig::{Container, is, skip};

type Maps = &'static [(u32, u32, u32)];

fn maps(list: &[(u32, u32, u32)]) -> Value {
    list.iter().map(|(c, h, s)| json!({"containerID": c, "hostID": h, "size": s})).collect()
}

/// Old runtimes ignore the maps, or refuse; what they show then is no use.
fn can() -> bool {
    let can = is("corten-runtime");
    if !can {
        skip("the distribution's version does not have all of this");
    }
    can
}

fn owned(dir: &Path, owners: &[(u32, u32)]) {
    fs::create_dir_all(dir).unwrap();
    for (n, (uid, gid)) in owners.iter().enumerate() {
        let file = dir.join(format!("f{n}"));
        fs::write(&file, "").unwrap();
        chown(&file, Some(*uid), Some(*gid)).unwrap();
    }
}

/// A container that prints owners of files below /mnt*, in a user namespace where `userns`.
fn container(script: &str, userns: bool) -> Container {
    let mut container = Container::script(script);
    // In a user namespace, the host's directories must be open to it.
    if userns {
        container.push("/linux/namespaces", json!({"type": "user"}));
        container.set("/linux/uidMappings", maps(&[(0, 100_000, 65_536)]));
        container.set("/linux/gidMappings", maps(&[(0, 100_000, 65_536)]));
    }
    container
}

fn mount(source: &Path, destination: &str, options: &[&str], uids: Maps, gids: Maps) -> Value {
    let mut mount = json!({
        "source": source, "destination": destination, "type": "bind", "options": options
    });
    if !uids.is_empty() {
        mount["uidMappings"] = maps(uids);
        mount["gidMappings"] = maps(gids);
    }
    mount
}

const WHOLE: Maps = &[(0, 100_000, 65_536)];
const OWNERS: &str = "stat -c %u:%g /mnt/f*";

#[corten_tier::t1]
fn one_map_with_a_user_namespace() {
    if !can() {
        return;
    }
    let mut container = container(OWNERS, true);
    let source = container.outside().join("source");
    owned(&source, &[(0, 0), (7, 8)]);
    container.push("/mounts", mount(&source, "/mnt", &["bind"], WHOLE, WHOLE));
    assert_eq!(container.output(), "0:0\n7:8\n");
}

#[corten_tier::t1]
fn one_map_without_a_user_namespace() {
    if !can() {
        return;
    }
    let mut container = container(OWNERS, false);
    let source = container.outside().join("source");
    owned(&source, &[(0, 0), (7, 8)]);
    container.push("/mounts", mount(&source, "/mnt", &["bind"], WHOLE, WHOLE));
    assert_eq!(container.output(), "100000:100000\n100007:100008\n");
}

#[corten_tier::t1]
fn what_is_written_belongs_to_the_mapped_user() {
    if !can() {
        return;
    }
    let mut container = container("touch /mnt/new; stat -c %u:%g /mnt/new", true);
    let source = container.outside().join("source");
    owned(&source, &[]);
    fs::set_permissions(&source, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    container.push("/mounts", mount(&source, "/mnt", &["bind"], WHOLE, WHOLE));
    assert_eq!(container.output(), "0:0\n");
    use std::os::unix::fs::MetadataExt;
    assert_eq!(fs::metadata(source.join("new")).unwrap().uid(), 0);
}

#[corten_tier::t1]
fn with_propagation() {
    if !can() {
        return;
    }
    let script = "stat -c %u:%g /mnt/f0; grep ' /mnt ' /proc/self/mountinfo | grep -c shared:";
    let mut container = container(script, true);
    let source = container.outside().join("source");
    owned(&source, &[(0, 0)]);
    container.push("/mounts", mount(&source, "/mnt", &["bind", "shared"], WHOLE, WHOLE));
    assert_eq!(container.output(), "0:0\n1\n");
}

#[corten_tier::t1]
fn at_a_relative_destination() {
    if !can() {
        return;
    }
    let mut container = container(OWNERS, true);
    let source = container.outside().join("source");
    owned(&source, &[(0, 0)]);
    container.push("/mounts", mount(&source, "mnt", &["bind"], WHOLE, WHOLE));
    assert_eq!(container.output(), "0:0\n");
}

#[corten_tier::t1]
fn beside_a_plain_mount_of_the_same_source() {
    if !can() {
        return;
    }
    for (userns, expected) in [(true, "0:0\n65534:65534\n"), (false, "100000:100000\n0:0\n")] {
        let mut container = container("stat -c %u:%g /mnt/f0 /tmp/f0", userns);
        let source = container.outside().join("source");
        owned(&source, &[(0, 0)]);
        container.push("/mounts", mount(&source, "/mnt", &["bind"], WHOLE, WHOLE));
        container.push("/mounts", mount(&source, "/tmp", &["bind"], &[], &[]));
        assert_eq!(container.output(), expected, "userns {userns}");
    }
}

#[corten_tier::t1]
fn one_source_with_several_maps_and_through_a_link() {
    if !can() {
        return;
    }
    let mut container = container("stat -c %u:%g /m1/f0 /m2/f0 /m3/f0", false);
    let source = container.outside().join("source");
    owned(&source, &[(100, 211)]);
    let link = container.outside().join("link");
    symlink(&source, &link).unwrap();
    container.push(
        "/mounts",
        mount(&source, "/m1", &["bind"], &[(100, 100_000, 100)], &[(200, 100_000, 100)]),
    );
    container.push(
        "/mounts",
        mount(&source, "/m2", &["bind"], &[(100, 101_000, 100)], &[(200, 102_000, 100)]),
    );
    container.push(
        "/mounts",
        mount(&link, "/m3", &["bind"], &[(100, 102_000, 100)], &[(200, 103_000, 100)]),
    );
    assert_eq!(container.output(), "100000:100011\n101000:102011\n102000:103011\n");
}

#[corten_tier::t1]
fn several_maps_of_one_mount() {
    if !can() {
        return;
    }
    let mut container = container(OWNERS, false);
    let source = container.outside().join("source");
    owned(&source, &[(100, 211), (101, 222), (102, 233)]);
    let uids: Maps = &[(100, 1000, 1), (101, 2000, 1), (102, 3000, 1)];
    let gids: Maps = &[(210, 1100, 10), (220, 2200, 10), (230, 3300, 10)];
    container.push("/mounts", mount(&source, "/mnt", &["bind"], uids, gids));
    assert_eq!(container.output(), "1000:1101\n2000:2202\n3000:3303\n");
}

/// A tree of two mounts: owners of a file in each.
fn tree(option: &str, uids: Maps, userns: bool) -> String {
    let mut container = container("stat -c %u /mnt/f0 /mnt/sub/f0", userns);
    let source = container.outside().join("source");
    let below = container.outside().join("below");
    owned(&source, &[(100, 100)]);
    owned(&below, &[(100, 100)]);
    fs::create_dir(source.join("sub")).unwrap();
    let flags = nix::mount::MsFlags::MS_BIND;
    nix::mount::mount(Some(&below), &source.join("sub"), None::<&str>, flags, None::<&str>)
        .unwrap();
    let options: &[&str] = if option.is_empty() { &["rbind"] } else { &["rbind", option] };
    container.push("/mounts", mount(&source, "/mnt", options, uids, uids));
    let output = container.output();
    nix::mount::umount(&source.join("sub")).unwrap();
    output
}

const TREE: Maps = &[(100, 101_000, 3)];

#[corten_tier::t1]
fn maps_count_for_the_top_only() {
    if !can() {
        return;
    }
    assert_eq!(tree("", TREE, false), "101000\n100\n");
    assert_eq!(tree("idmap", TREE, false), "101000\n100\n");
}

#[corten_tier::t1]
fn ridmap_counts_for_all() {
    if !can() {
        return;
    }
    assert_eq!(tree("ridmap", TREE, false), "101000\n101000\n");
}

#[corten_tier::t1]
fn without_maps_those_of_the_user_namespace_are_meant() {
    if !can() {
        return;
    }
    assert_eq!(tree("idmap", &[], true), "100\n65534\n");
    assert_eq!(tree("ridmap", &[], true), "100\n100\n");
}

#[corten_tier::t1]
fn without_maps_and_user_namespace_it_is_refused() {
    if !can() {
        return;
    }
    let mut container = container("true", false);
    let source = container.outside().join("source");
    owned(&source, &[]);
    container.push("/mounts", mount(&source, "/mnt", &["bind", "idmap"], &[], &[]));
    container.refused();
}

#[corten_tier::t1]
fn maps_of_a_user_namespace_that_is_joined() {
    if !can() {
        return;
    }
    let mut holder = container("exec sleep 1000", true);
    holder.started();
    let mut container = Container::script(OWNERS);
    let path = format!("/proc/{}/ns/user", holder.pid());
    container.push("/linux/namespaces", json!({"type": "user", "path": path}));
    let source = container.outside().join("source");
    owned(&source, &[(0, 0), (7, 8)]);
    container.push("/mounts", mount(&source, "/mnt", &["bind", "idmap"], &[], &[]));
    assert_eq!(container.output(), "0:0\n7:8\n");
}

//! `corten volume`: what it prints and leaves behind.

use crate::support::{self, Host};
use serde_json::Value;

#[corten_tier::t1]
fn a_volume_is_made_listed_inspected_and_removed() {
    let host = Host::new();
    assert_eq!(host.corten(&["volume", "create", "--label", "a=b", "data"]).ok(), "data\n");
    assert_eq!(host.corten(&["volume", "create", "data"]).ok(), "data\n");
    let random = host.corten(&["volume", "create"]).ok();
    assert_eq!(random.trim_end().len(), 64);
    let listed = host.corten(&["volume", "ls"]).ok();
    assert!(listed.starts_with("DRIVER   VOLUME NAME\n"), "{listed}");
    assert_eq!(host.corten(&["volume", "ls", "-q", "-f", "label=a"]).ok(), "data\n");
    let line = host.corten(&["volume", "ls", "--format", "json", "-f", "name=data"]).ok();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&line["Name"], &line["Labels"]), (&"data".into(), &"a=b".into()));

    let inspected = host.corten(&["volume", "inspect", "data", "nope"]);
    assert_eq!(
        (inspected.status, inspected.err.as_str()),
        (1, "corten: get nope: no such volume\n")
    );
    let inspected: Value = serde_json::from_str(&inspected.out).unwrap();
    let mountpoint = inspected[0]["Mountpoint"].as_str().unwrap();
    assert!(std::path::Path::new(mountpoint).is_dir(), "{mountpoint}");

    // Only what has no name of the user's.
    let pruned = host.corten(&["volume", "prune", "-f"]).ok();
    assert_eq!(pruned, format!("Deleted Volumes:\n{random}\nTotal reclaimed space: 0B\n"));
    let removed = host.corten(&["volume", "rm", "data", "nope"]);
    assert_eq!((removed.status, removed.out.as_str()), (1, "data\n"));
    assert_eq!(host.corten(&["volume", "rm", "-f", "nope"]).ok(), "nope\n");
    assert!(host.names("volumes").is_empty());
    host.assert_clean();
}

#[corten_tier::t1]
fn what_is_no_volume_gets_one_line() {
    let host = Host::new();
    for (args, status, why) in [
        (
            &["volume", "create", "./x"][..],
            1,
            "includes invalid characters for a local volume name",
        ),
        (&["volume", "create", "x"], 1, "volume name is too short"),
        (&["volume", "create", "-d", "nfs", "data"], 1, "plugin \"nfs\" not found"),
        (&["volume", "create", "-o", "size=1m", "data"], 1, "no quota support"),
        (&["volume", "ls", "-f", "x=y"], 1, "invalid filter 'x'"),
        (&["volume", "prune"], 1, "there is no terminal to ask on"),
        (&["volume", "rm", "../data"], 1, "get ../data: no such volume"),
    ] {
        host.corten(args).fails(status, why);
    }
    assert!(host.names("volumes").is_empty());
}

/// An image whose /data is a volume with something in it.
fn with_data(host: &Host) {
    let change = ["import", "-c", "VOLUME /data", "-c", "CMD [\"sh\"]", "-", "data"];
    let layer = support::busybox_layer_with(|layer| {
        layer.dir("data", 0o755).file("data/from-image", 0o644, "image\n")
    });
    host.import(&layer, &change);
}

#[corten_tier::t1]
fn a_volume_gets_the_image_s_content_once_and_outlives_its_container() {
    let host = Host::new();
    with_data(&host);
    let run = |command: &str| {
        host.corten(&["run", "--rm", "-v", "mine:/data", "data", "sh", "-c", command]).ok()
    };
    assert_eq!(run("cat /data/from-image; echo own > /data/own"), "image\n");
    assert_eq!(run("rm /data/from-image; cat /data/own"), "own\n");
    assert_eq!(run("ls /data"), "own\n", "filled once, when it was empty");
    host.corten(&["volume", "rm", "mine"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn a_volume_without_a_name_goes_with_its_container() {
    let host = Host::new();
    with_data(&host);
    // With --rm, with rm -v, with a container that could not be started; not with rm alone.
    assert_eq!(host.corten(&["run", "--rm", "data", "cat", "/data/from-image"]).ok(), "image\n");
    assert_eq!(host.corten(&["run", "--rm", "data", "/nope"]).status, 127);
    assert!(host.names("volumes").is_empty(), "{:?}", host.names("volumes"));
    for (remove, left) in [(&["rm", "-v", "box"][..], 0), (&["rm", "box"], 1)] {
        host.corten(&["run", "--name", "box", "data", "true"]).ok();
        assert_eq!(host.names("volumes").len(), 1);
        host.corten(remove).ok();
        assert_eq!(host.names("volumes").len(), left, "{remove:?}");
    }
    host.corten(&["volume", "prune", "-f"]).ok();
    host.assert_clean();
}

#[corten_tier::t1]
fn a_container_mounts_what_another_mounts() {
    let host = Host::new();
    with_data(&host);
    host.corten(&["run", "--name", "first", "data", "sh", "-c", "echo 1 > /data/one"]).ok();
    let from = |mode: &str, command: &str| {
        let from = format!("first{mode}");
        host.corten(&["run", "--rm", "--volumes-from", &from, "data", "sh", "-c", command])
    };
    assert_eq!(from("", "cat /data/one; echo 2 > /data/two").ok(), "1\n");
    assert_ne!(from(":ro", "echo 3 > /data/three").status, 0);
    assert_eq!(from(":ro", "ls /data").ok(), "from-image\none\ntwo\n");
    host.corten(&["rm", "-v", "first"]).ok();
    assert!(host.names("volumes").is_empty());
    host.assert_clean();
}

/// CVE-2021-25741 and its like: who may write to a volume makes a link of the part that another
/// container mounts.
#[corten_tier::t1]
fn a_part_of_a_volume_cannot_lead_out_of_it() {
    let host = Host::with_busybox();
    let secret = host.path("secret");
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("key"), "host's\n").unwrap();
    let make = format!(
        "mkdir /v/part; echo mine > /v/part/key; ln -s {} /v/out; ln -s ../../../../../.. /v/up; \
         ln -s part /v/in",
        secret.display()
    );
    host.corten(&["run", "--rm", "-v", "shared:/v", "busybox", "sh", "-c", &make]).ok();
    let mounts = |part: &str, command: &str| {
        let mount = format!("source=shared,target=/m,volume-subpath={part}");
        host.corten(&["run", "--rm", "--mount", &mount, "busybox", "sh", "-c", command])
    };
    assert_eq!(mounts("part", "cat /m/key").ok(), "mine\n");
    assert_eq!(mounts("in", "cat /m/key").ok(), "mine\n");
    assert_ne!(mounts("out", "cat /m/key").status, 0, "the host's file is out of reach");
    // A link upwards ends at the volume itself.
    assert_eq!(mounts("up", "cat /m/part/key").ok(), "mine\n");
    let two = mounts("../part", "true");
    assert!(two.err.contains("subpath must be a relative path within the volume"), "{two:?}");
    host.corten(&["volume", "rm", "shared"]).ok();
    host.assert_clean();
}

//! `corten volume`: what it prints and leaves behind.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::Value;
use support::Host;

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

//! `mounts` of config.json.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::rig::config::bind;
use crate::rig::{Container, is, skip};

/// A container whose program prints mountinfo.
fn printing() -> Container {
    Container::script("exec cat /proc/self/mountinfo")
}

/// The last mount at `point`: options of the mount, optional fields, type, source, super options.
#[track_caller]
fn at<'a>(mountinfo: &'a str, point: &str) -> [&'a str; 5] {
    let find = |line: &'a str| {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(4);
        if before.next()? != point {
            return None;
        }
        let options = before.next()?;
        let optional = before.next().unwrap_or_default();
        let mut after = after.split(' ');
        Some([options, optional, after.next()?, after.next()?, after.next()?])
    };
    mountinfo.lines().rev().find_map(find).unwrap_or_else(|| panic!("no {point} in {mountinfo}"))
}

fn tmpfs(options: &[&str]) -> Value {
    json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options})
}

#[corten_tier::t1]
fn the_usual_mounts_are_there() {
    let output = printing().output();
    for (point, kind) in [
        ("/proc", "proc"),
        ("/dev", "tmpfs"),
        ("/dev/pts", "devpts"),
        ("/dev/shm", "tmpfs"),
        ("/dev/mqueue", "mqueue"),
        ("/sys", "sysfs"),
    ] {
        assert_eq!(at(&output, point)[2], kind, "{point}");
    }
    assert!(at(&output, "/dev")[4].contains("size=65536k"));
    assert!(at(&output, "/sys")[0].starts_with("ro,nosuid,nodev,noexec"));
}

#[corten_tier::t1]
fn each_option_has_its_flag() {
    for (option, flag) in [
        ("ro", "ro"),
        ("nosuid", "nosuid"),
        ("nodev", "nodev"),
        ("noexec", "noexec"),
        ("noatime", "noatime"),
        ("nodiratime", "nodiratime"),
        ("relatime", "relatime"),
    ] {
        let mut container = printing();
        container.push("/mounts", tmpfs(&[option]));
        let output = container.output();
        assert!(at(&output, "/mnt")[0].split(',').any(|o| o == flag), "{option}: {output}");
    }
}

#[corten_tier::t1]
fn a_later_option_wins() {
    let mut container = printing();
    let pairs = ["ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec"];
    container.push("/mounts", tmpfs(&pairs));
    let output = container.output();
    let options = at(&output, "/mnt")[0];
    assert!(options.starts_with("rw"), "{options}");
    assert!(!options.contains("no"), "{options}");
}

#[corten_tier::t1]
fn strictatime_is_no_relatime() {
    let mut container = printing();
    container.push("/mounts", tmpfs(&["strictatime"]));
    assert_eq!(at(&container.output(), "/mnt")[0], "rw");
}

#[corten_tier::t1]
fn nosymfollow() {
    let mut container =
        Container::script("ln -s /etc /mnt/l; ls /mnt/l/ 2>/dev/null || echo refused");
    container.push("/mounts", tmpfs(&["nosymfollow"]));
    assert_eq!(container.output(), "refused\n");
}

#[corten_tier::t1]
fn data_of_the_file_system() {
    let mut container = Container::script("stat -c %a /mnt; exec cat /proc/self/mountinfo");
    container.push("/mounts", tmpfs(&["size=128k", "mode=700"]));
    let output = container.output();
    assert!(output.starts_with("700\n"), "{output}");
    assert!(at(&output, "/mnt")[4].contains("size=128k"), "{output}");
}

#[corten_tier::t1]
fn an_option_that_no_file_system_knows_is_refused() {
    let mut container = Container::new();
    container.push("/mounts", tmpfs(&["nosuchoption"]));
    container.refused();
}

#[corten_tier::t1]
fn an_unknown_file_system_is_refused() {
    let mut container = Container::new();
    container.push("/mounts", json!({"destination": "/mnt", "type": "nosuchfs", "source": "x"}));
    container.refused();
}

/// A container that runs `script`, and a directory of the host with a file.
fn with_source(script: &str) -> (Container, std::path::PathBuf) {
    let container = Container::script(script);
    let source = container.outside().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "content\n").unwrap();
    (container, source)
}

#[corten_tier::t1]
fn a_bind_mount() {
    let (mut container, source) = with_source("cat /mnt/file; echo changed > /mnt/file");
    container.push("/mounts", bind(&source, "/mnt", &["bind"]));
    assert_eq!(container.output(), "content\n");
    assert_eq!(fs::read_to_string(source.join("file")).unwrap(), "changed\n");
}

#[corten_tier::t1]
fn a_bind_mount_by_its_type_alone() {
    let (mut container, source) = with_source("cat /mnt/file");
    container.push("/mounts", json!({"source": source, "destination": "/mnt", "type": "bind"}));
    assert_eq!(container.output(), "content\n");
}

#[corten_tier::t1]
fn a_bind_mount_of_a_file_makes_its_destination() {
    let (mut container, source) = with_source("cat /new/place");
    container.push("/mounts", bind(&source.join("file"), "/new/place", &["bind"]));
    assert_eq!(container.output(), "content\n");
}

#[corten_tier::t1]
fn a_bind_mount_of_a_directory_makes_its_destination() {
    let (mut container, source) = with_source("cat /new/place/file");
    container.push("/mounts", bind(&source, "/new/place", &["bind"]));
    assert_eq!(container.output(), "content\n");
}

#[corten_tier::t1]
fn a_relative_source_is_in_the_bundle() {
    let mut container = Container::script("cat /mnt/file");
    let source = container.bundle().join("volume");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "here\n").unwrap();
    container.push("/mounts", bind("volume".as_ref(), "/mnt", &["bind"]));
    assert_eq!(container.output(), "here\n");
}

#[corten_tier::t1]
fn a_bind_mount_of_what_is_not_there_is_refused() {
    let mut container = Container::new();
    container.push("/mounts", bind("/no/such/source".as_ref(), "/mnt", &["bind"]));
    let said = container.refused();
    assert!(said.contains("/no/such/source"), "{said}");
}

#[corten_tier::t1]
fn a_read_only_bind_mount() {
    let (mut container, source) = with_source("echo x > /mnt/file || echo refused");
    container.set(
        "/process/args",
        ["/bin/sh", "-c", "(echo x > /mnt/file) 2>/dev/null || echo refused"],
    );
    container.push("/mounts", bind(&source, "/mnt", &["bind", "ro"]));
    assert_eq!(container.output(), "refused\n");
    fs::write(source.join("file"), "the host may\n").unwrap();
}

#[corten_tier::t1]
fn options_of_a_bind_mount() {
    let (mut container, source) = with_source("exec cat /proc/self/mountinfo");
    container
        .push("/mounts", bind(&source, "/mnt", &["bind", "nosuid", "nodev", "noexec", "noatime"]));
    assert!(at(&container.output(), "/mnt")[0].contains("nosuid,nodev,noexec,noatime"));
}

#[corten_tier::t1]
fn rbind_takes_mounts_below_and_bind_does_not() {
    for (option, expected) in [("rbind", "below\n"), ("bind", "nothing\n")] {
        let (mut container, source) = with_source("cat /mnt/sub/file 2>/dev/null || echo nothing");
        let sub = source.join("sub");
        fs::create_dir(&sub).unwrap();
        let tmpfs = nix::mount::mount(
            Some("tmpfs"),
            &sub,
            Some("tmpfs"),
            nix::mount::MsFlags::empty(),
            None::<&str>,
        );
        tmpfs.unwrap();
        fs::write(sub.join("file"), "below\n").unwrap();
        container.push("/mounts", bind(&source, "/mnt", &[option]));
        assert_eq!(container.output(), expected, "{option}");
        nix::mount::umount(&sub).unwrap();
    }
}

#[corten_tier::t1]
fn propagation_of_a_mount() {
    for (option, shared, slave) in [
        ("shared", true, false),
        ("rshared", true, false),
        ("slave", false, true),
        ("rslave", false, true),
        ("private", false, false),
        ("rprivate", false, false),
        ("unbindable", false, false),
        ("runbindable", false, false),
    ] {
        let (mut container, source) = with_source("exec cat /proc/self/mountinfo");
        let flags =
            |flags| nix::mount::mount(None::<&str>, &source, None::<&str>, flags, None::<&str>);
        nix::mount::mount(
            Some(&source),
            &source,
            None::<&str>,
            nix::mount::MsFlags::MS_BIND,
            None::<&str>,
        )
        .unwrap();
        flags(nix::mount::MsFlags::MS_SHARED).unwrap();
        container.push("/mounts", bind(&source, "/mnt", &["rbind", option]));
        let output = container.output();
        let optional = at(&output, "/mnt")[1];
        assert_eq!(optional.contains("shared:"), shared, "{option}: {output}");
        assert_eq!(optional.contains("master:"), slave, "{option}: {output}");
        assert_eq!(
            optional.contains("unbindable"),
            option.contains("unbindable"),
            "{option}: {output}"
        );
        nix::mount::umount(&source).unwrap();
    }
}

#[corten_tier::t1]
fn a_destination_through_a_link_stays_in_the_root() {
    let (mut container, source) = with_source("cat /etc/file");
    let target = container.rootfs().join("link");
    symlink("/etc", target).unwrap();
    container.push("/mounts", bind(&source, "/link", &["bind"]));
    assert_eq!(container.output(), "content\n");
    assert!(!fs::exists("/etc/file").unwrap());
}

#[corten_tier::t1]
fn a_relative_destination_is_below_the_root() {
    let (mut container, source) = with_source("cat /mnt/file");
    container.push("/mounts", bind(&source, "mnt", &["bind"]));
    assert_eq!(container.output(), "content\n");
}

#[corten_tier::t1]
fn proc_and_sys_must_not_be_links() {
    for name in ["proc", "sys"] {
        let mut container = Container::new();
        let directory = container.rootfs().join(name);
        fs::remove_dir(&directory).unwrap();
        symlink(&directory, &directory).unwrap();
        let said = container.refused();
        assert!(said.contains("must be mounted on ordinary directory"), "{said}");
    }
}

#[corten_tier::t1]
fn tmpcopyup_keeps_what_was_there() {
    let mut container = Container::script("cat /mnt/kept; stat -c %a /mnt/kept; touch /mnt/new");
    let kept = container.rootfs().join("mnt/kept");
    fs::write(&kept, "kept\n").unwrap();
    let options = ["tmpcopyup"];
    container.push(
        "/mounts",
        json!({"destination": "/mnt", "type": "tmpfs", "source": "tmpfs", "options": options}),
    );
    assert_eq!(container.output(), "kept\n644\n");
    assert!(!container.rootfs().join("mnt/new").exists());
}

/// What only crun has.
fn link_options() -> bool {
    let has = !is("runc");
    if !has {
        skip("an option that runc does not have");
    }
    has
}

#[corten_tier::t1]
fn src_nofollow_binds_the_link_itself() {
    if !link_options() {
        return;
    }
    let (mut container, source) = with_source("readlink /place");
    symlink("file", source.join("link")).unwrap();
    container.push("/mounts", bind(&source.join("link"), "/place", &["bind", "src-nofollow"]));
    assert_eq!(container.output(), "file\n");
}

#[corten_tier::t1]
fn dest_nofollow_covers_the_link_itself() {
    if !link_options() {
        return;
    }
    let (mut container, source) = with_source("readlink /place");
    symlink("file", source.join("link")).unwrap();
    symlink("/etc", container.rootfs().join("place")).unwrap();
    let options = ["bind", "src-nofollow", "dest-nofollow"];
    container.push("/mounts", bind(&source.join("link"), "/place", &options));
    assert_eq!(container.output(), "file\n");
}

#[corten_tier::t1]
fn copy_symlink_makes_the_link_anew() {
    if !link_options() {
        return;
    }
    let (mut container, source) =
        with_source("readlink /place; grep -c ' /place ' /proc/self/mountinfo");
    symlink("file", source.join("link")).unwrap();
    container.push("/mounts", bind(&source.join("link"), "/place", &["bind", "copy-symlink"]));
    assert_eq!(container.output(), "file\n0\n");
}

#[corten_tier::t1]
fn a_cgroup_mount_shows_the_containers_groups() {
    let mut container =
        Container::script("ls /sys/fs/cgroup; find /sys/fs/cgroup -name cgroup.procs | head -n 1");
    let options = ["ro", "nosuid", "noexec", "nodev"];
    container.push(
        "/mounts",
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": options}),
    );
    let output = container.output();
    let expected = if crate::rig::cgroup::is_v2() { "cgroup.controllers" } else { "memory" };
    assert!(output.lines().any(|line| line == expected), "{output}");
    assert!(output.contains("/cgroup.procs"), "{output}");
}

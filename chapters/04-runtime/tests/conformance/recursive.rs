//! Mount options that count for mounts below, too: `rro`, `rnosuid`, …

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use nix::mount::{MsFlags, mount};

use crate::rig::Container;
use crate::rig::config::bind;

fn tmpfs(at: &Path, flags: MsFlags) {
    fs::create_dir_all(at).unwrap();
    mount(Some("tmpfs"), at, Some("tmpfs"), flags, None::<&str>).unwrap();
}

/// Runs `script` with a tmpfs on a tmpfs, both mounted with `flags`, below /mnt by `option`; `fill`
/// gets both directories.
fn with(option: &str, flags: MsFlags, fill: impl Fn(&Path), script: &str) -> String {
    let mut container = Container::script(script);
    let top = container.outside().join("top");
    tmpfs(&top, flags);
    tmpfs(&top.join("sub"), flags);
    fill(&top);
    fill(&top.join("sub"));
    container.push("/mounts", bind(&top, "/mnt", &["rbind", option]));
    let output = container.output();
    nix::mount::umount(&top.join("sub")).unwrap();
    nix::mount::umount(&top).unwrap();
    output
}

/// The options of both mounts, as the container sees them.
fn flags_of(option: &str, before: MsFlags) -> Vec<String> {
    let script = "grep ' /mnt' /proc/self/mountinfo | cut -d' ' -f6";
    let output = with(option, before, |_| {}, script);
    output.lines().map(str::to_owned).collect()
}

fn has(lines: &[String], flag: &str) -> Vec<bool> {
    lines.iter().map(|line| line.split(',').any(|option| option == flag)).collect()
}

#[track_caller]
fn sets(option: &str, flag: &str) {
    let lines = flags_of(option, MsFlags::empty());
    assert_eq!(has(&lines, flag), [true, true], "{option}: {lines:?}");
}

#[track_caller]
fn clears(option: &str, flag: &str, before: MsFlags) {
    let lines = flags_of(option, before);
    assert_eq!(has(&lines, flag), [false, false], "{option}: {lines:?}");
}

#[corten_tier::t1]
fn rro() {
    sets("rro", "ro");
    let script = "for f in /mnt/f /mnt/sub/f; do (echo x > $f) 2>/dev/null || echo refused; done";
    let output = with("rro", MsFlags::empty(), |dir| fs::write(dir.join("f"), "").unwrap(), script);
    assert_eq!(output, "refused\nrefused\n");
}

#[corten_tier::t1]
fn ro_counts_for_the_top_only() {
    let lines = flags_of("ro", MsFlags::empty());
    assert_eq!(has(&lines, "ro"), [true, false], "{lines:?}");
}

#[corten_tier::t1]
fn rrw() {
    clears("rrw", "ro", MsFlags::empty());
}

#[corten_tier::t1]
fn rnosuid() {
    sets("rnosuid", "nosuid");
}

/// A program that belongs to user 1200 and has the set-user-id bit.
fn set_user_id(dir: &Path) {
    let file = dir.join("id");
    corten_tier::copy_program(crate::rig::busybox(), &file);
    std::os::unix::fs::chown(&file, Some(1200), None).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o4755)).unwrap();
}

#[corten_tier::t1]
fn set_user_id_programs_with_rsuid_and_rnosuid() {
    let script = "grep -c . /dev/null; /mnt/sub/id; ";
    let _ = script;
    let script =
        "/mnt/id cat /proc/self/status | grep Uid; /mnt/sub/id cat /proc/self/status | grep Uid";
    let uids = |output: String| -> Vec<String> {
        output.lines().map(|line| line.split_whitespace().nth(2).unwrap().to_owned()).collect()
    };
    let copy = |dir: &Path| {
        set_user_id(dir);
        fs::rename(dir.join("id"), dir.join("busybox")).unwrap();
        symlink("busybox", dir.join("id")).unwrap();
    };
    let script = script.replace("/id ", "/busybox ");
    assert_eq!(uids(with("rsuid", MsFlags::MS_NOSUID, copy, &script)), ["1200", "1200"]);
    assert_eq!(uids(with("rnosuid", MsFlags::empty(), copy, &script)), ["0", "0"]);
}

#[corten_tier::t1]
fn rsuid() {
    clears("rsuid", "nosuid", MsFlags::MS_NOSUID);
}

#[corten_tier::t1]
fn rnoexec() {
    sets("rnoexec", "noexec");
}

#[corten_tier::t1]
fn rexec() {
    clears("rexec", "noexec", MsFlags::MS_NOEXEC);
}

#[corten_tier::t1]
fn rnodev() {
    sets("rnodev", "nodev");
}

#[corten_tier::t1]
fn rdev() {
    clears("rdev", "nodev", MsFlags::MS_NODEV);
}

#[corten_tier::t1]
fn rnodiratime() {
    sets("rnodiratime", "nodiratime");
}

#[corten_tier::t1]
fn rdiratime() {
    clears("rdiratime", "nodiratime", MsFlags::MS_NODIRATIME);
}

#[corten_tier::t1]
fn rnoatime() {
    sets("rnoatime", "noatime");
}

#[corten_tier::t1]
fn ratime() {
    clears("ratime", "noatime", MsFlags::MS_NOATIME);
}

#[corten_tier::t1]
fn rrelatime() {
    let lines = flags_of("rrelatime", MsFlags::MS_STRICTATIME);
    assert_eq!(has(&lines, "relatime"), [true, true], "{lines:?}");
}

/// The other of the two ways to keep access times, as the public suites expect: back to relatime.
#[corten_tier::t1]
fn rnorelatime_and_rnostrictatime_are_the_kernels_default() {
    for option in ["rnorelatime", "rnostrictatime"] {
        let lines = flags_of(option, MsFlags::MS_STRICTATIME);
        assert_eq!(has(&lines, "relatime"), [true, true], "{option}: {lines:?}");
    }
}

#[corten_tier::t1]
fn rstrictatime() {
    clears("rstrictatime", "relatime", MsFlags::empty());
}

fn link(dir: &Path) {
    fs::write(dir.join("file"), "followed\n").unwrap();
    symlink("file", dir.join("link")).unwrap();
}

const FOLLOW: &str = "cat /mnt/link /mnt/sub/link 2>/dev/null; true";

#[corten_tier::t1]
fn rnosymfollow() {
    assert_eq!(with("rnosymfollow", MsFlags::empty(), link, FOLLOW), "");
}

#[corten_tier::t1]
fn rsymfollow() {
    assert_eq!(with("rsymfollow", MsFlags::empty(), link, FOLLOW), "followed\nfollowed\n");
}

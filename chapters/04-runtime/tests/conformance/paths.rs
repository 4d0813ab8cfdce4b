//! Masked and read-only paths.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use crate::rig::Container;

/// A tree with a file at every level.
fn tree(root: &Path) {
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    for file in ["file", "dir/file", "dir/sub/file"] {
        fs::write(root.join(file), "secret\n").unwrap();
    }
}

#[corten_tier::t1]
fn a_masked_file_is_empty() {
    let mut container = Container::script("cat /file; wc -c < /file");
    tree(&container.rootfs());
    container.set("/linux/maskedPaths", ["/file"]);
    assert_eq!(container.output(), "0\n");
}

#[corten_tier::t1]
fn a_masked_directory_is_empty_and_read_only() {
    let mut container = Container::script("ls /dir; touch /dir/new 2>/dev/null || echo refused");
    tree(&container.rootfs());
    container.set("/linux/maskedPaths", ["/dir"]);
    assert_eq!(container.output(), "refused\n");
}

#[corten_tier::t1]
fn masked_paths_below_each_other() {
    let script = "for f in /file /dir/file /dir/sub/file; do [ -s $f ] && echo $f; done; true";
    let mut container = Container::script(script);
    tree(&container.rootfs());
    container
        .set("/linux/maskedPaths", ["/dir", "/file", "/dir/sub", "/dir/file", "/dir/sub/file"]);
    assert_eq!(container.output(), "");
}

#[corten_tier::t1]
fn masked_from_below_upwards() {
    let script = "for f in /file /dir/file /dir/sub/file; do [ -s $f ] && echo $f; done; true";
    let mut container = Container::script(script);
    tree(&container.rootfs());
    container.set("/linux/maskedPaths", ["/dir/sub/file", "/dir/file", "/dir/sub"]);
    assert_eq!(container.output(), "/file\n");
}

#[corten_tier::t1]
fn a_masked_path_that_is_not_there_is_no_failure() {
    let mut container = Container::script("ls /nothing 2>/dev/null || echo none");
    container.set("/linux/maskedPaths", ["/nothing"]);
    assert_eq!(container.output(), "none\n");
}

#[corten_tier::t1]
fn a_relative_masked_path_is_refused() {
    let mut container = Container::new();
    tree(&container.rootfs());
    container.set("/linux/maskedPaths", ["file"]);
    container.refused();
}

#[corten_tier::t1]
fn a_masked_link_does_not_reach_the_host() {
    let mut container = Container::script("cat /link");
    let secret = container.outside().join("secret");
    fs::write(&secret, "host\n").unwrap();
    let inside = container.rootfs().join(secret.strip_prefix("/").unwrap());
    fs::create_dir_all(inside.parent().unwrap()).unwrap();
    fs::write(&inside, "inside\n").unwrap();
    symlink(&secret, container.rootfs().join("link")).unwrap();
    container.set("/linux/maskedPaths", ["/link"]);
    container.output();
    assert_eq!(fs::read_to_string(&secret).unwrap(), "host\n");
}

#[corten_tier::t1]
fn masked_device_nodes_and_pipes() {
    for (mode, numbers) in [("c", "1 3"), ("b", "7 250"), ("p", "")] {
        let mut container = Container::script("[ -p /node ] && echo pipe; wc -c < /node");
        let node = container.rootfs().join("node");
        let mut command = std::process::Command::new("mknod");
        command.arg(&node).arg(mode).args(numbers.split_whitespace());
        assert!(command.status().unwrap().success());
        container.set("/linux/maskedPaths", ["/node"]);
        assert_eq!(container.output(), "0\n", "{mode}");
    }
}

const WRITABLE: &str = "for f in /file /dir/file /dir/sub/file; do (echo x > $f) 2>/dev/null && echo $f; done; cat /dir/sub/file";

#[corten_tier::t1]
fn a_read_only_file() {
    let mut container = Container::script(WRITABLE);
    tree(&container.rootfs());
    container.set("/linux/readonlyPaths", ["/file"]);
    assert_eq!(container.output(), "/dir/file\n/dir/sub/file\nx\n");
}

#[corten_tier::t1]
fn read_only_directories_below_each_other() {
    let mut container = Container::script(WRITABLE);
    tree(&container.rootfs());
    container
        .set("/linux/readonlyPaths", ["/dir", "/file", "/dir/sub", "/dir/file", "/dir/sub/file"]);
    assert_eq!(container.output(), "secret\n");
}

#[corten_tier::t1]
fn a_read_only_path_that_is_not_there_is_no_failure() {
    let mut container = Container::script("echo fine");
    container.set("/linux/readonlyPaths", ["/nothing"]);
    assert_eq!(container.output(), "fine\n");
}

#[corten_tier::t1]
fn a_relative_read_only_path_is_refused() {
    let mut container = Container::new();
    tree(&container.rootfs());
    container.set("/linux/readonlyPaths", ["file"]);
    container.refused();
}

#[corten_tier::t1]
fn read_only_device_nodes_and_pipes() {
    for (mode, numbers) in [("c", "1 3"), ("b", "7 250"), ("p", "")] {
        let mut container = Container::script("grep -c ' /node ro' /proc/self/mountinfo");
        let node = container.rootfs().join("node");
        let mut command = std::process::Command::new("mknod");
        command.arg(&node).arg(mode).args(numbers.split_whitespace());
        assert!(command.status().unwrap().success());
        container.set("/linux/readonlyPaths", ["/node"]);
        assert_eq!(container.output(), "1\n", "{mode}");
    }
}

#[corten_tier::t1]
fn the_usual_paths_of_proc_are_protected() {
    let script =
        "(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null || echo refused; wc -c < /proc/keys";
    assert_eq!(Container::script(script).output(), "refused\n0\n");
}

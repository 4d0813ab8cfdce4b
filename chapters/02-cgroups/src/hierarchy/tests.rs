use super::*;

const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:4 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
36 31 0:32 / /mnt/memory\\040again rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
const MEMBERSHIP: &str = "\
9:name=systemd:/init.scope
4:memory:/deep/down
1:cpu,cpuacct:/
0::/
";

fn hybrid() -> Hierarchy {
    Hierarchy::parse(HYBRID, MEMBERSHIP, |_| "hugetlb memory".into()).unwrap()
}

#[test]
fn a_hybrid_host_has_each_controller_once() {
    let hierarchy = hybrid();
    assert_eq!(hierarchy.layout(), Layout::Hybrid);
    let labels: Vec<String> = hierarchy.mounts().iter().map(Mount::label).collect();
    assert_eq!(labels, ["cpu,cpuacct", "memory", "name=systemd", ""]);
    assert_eq!(hierarchy.of(Controller::Memory).unwrap().version, Version::V1);
    assert_eq!(hierarchy.of(Controller::Hugetlb).unwrap().version, Version::V2);
    // v1's freezer is not mounted: v2 freezes by itself.
    assert_eq!(hierarchy.of(Controller::Freezer).unwrap().version, Version::V2);
    assert_eq!(hierarchy.of(Controller::NetCls), None);
}

#[test]
fn the_caller_s_group_differs_from_hierarchy_to_hierarchy() {
    let hierarchy = hybrid();
    let below = Placement::parse(None, "box").unwrap();
    let at = Placement::parse(Some(Path::new("/pods/box")), "name").unwrap();
    let directories = |placement: &Placement| -> Vec<String> {
        let all = hierarchy.mounts().iter();
        all.map(|m| hierarchy.directory(m, placement).display().to_string()).collect()
    };
    assert_eq!(
        directories(&below),
        [
            "/sys/fs/cgroup/cpu,cpuacct/box",
            "/sys/fs/cgroup/memory/deep/down/box",
            "/sys/fs/cgroup/systemd/init.scope/box",
            "/sys/fs/cgroup/unified/box",
        ]
    );
    assert_eq!(directories(&at)[1], "/sys/fs/cgroup/memory/pods/box");
}

#[test]
fn in_pure_v2_a_group_is_made_beside_the_caller_s() {
    let mountinfo = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
    let at = |own: &str| {
        let membership = format!("0::{own}\n");
        let hierarchy = Hierarchy::parse(mountinfo, &membership, |_| "cpu memory".into()).unwrap();
        assert_eq!(hierarchy.layout(), Layout::Unified);
        hierarchy.directory(&hierarchy.mounts()[0], &Placement::Below("box".into()))
    };
    assert_eq!(at("/user.slice/session-1.scope"), Path::new("/sys/fs/cgroup/user.slice/box"));
    assert_eq!(at("/"), Path::new("/sys/fs/cgroup/box"));
}

#[test]
fn inside_a_container_the_mount_shows_a_part_of_the_hierarchy() {
    let mountinfo = "90 80 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let own = |membership: &str| {
        let hierarchy = Hierarchy::parse(mountinfo, membership, |_| String::new()).unwrap();
        hierarchy.mounts()[0].own.clone()
    };
    assert_eq!(own("4:memory:/docker/abc/x\n"), Path::new("/sys/fs/cgroup/memory/x"));
    assert_eq!(own("4:memory:/docker/abc\n"), Path::new("/sys/fs/cgroup/memory"));
}

#[test]
fn a_path_never_leads_above_the_top() {
    let parse = |path: &str| Placement::parse(Some(Path::new(path)), "name");
    assert_eq!(parse("/../../a/./b/../c").unwrap(), Placement::At("a/c".into()));
    assert_eq!(parse("../a").unwrap(), Placement::Below("a".into()));
    assert_eq!(parse("").unwrap(), Placement::Below("name".into()));
    assert!(parse("/").is_err());
    assert!(parse("/a/..").is_err());
}

#[test]
fn a_machine_without_control_groups_is_told_what_to_do() {
    let error = Hierarchy::parse("1 2 0:1 / / rw - ext4 /dev/vda rw\n", "", |_| String::new());
    assert!(error.unwrap_err().to_string().contains("mount -t cgroup2"));
}

#[test]
fn a_mount_of_the_whole_hierarchy_is_taken_before_one_of_a_part() {
    let mountinfo = "\
29 23 0:26 /box /mnt/part rw - cgroup2 cgroup2 rw
30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw
";
    let hierarchy = Hierarchy::parse(mountinfo, "0::/me\n", |_| "cpu".into()).unwrap();
    let [mount] = hierarchy.mounts() else { panic!("{hierarchy:?}") };
    assert_eq!(mount.point, Path::new("/sys/fs/cgroup"));
}

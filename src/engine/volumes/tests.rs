use std::collections::BTreeSet;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

use corten_namespaces::Root;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fill::Moment;
use super::filter::For;
use super::point::{bind, from_mount, from_tmpfs, mount_points, volumes_from};
use super::*;
use crate::engine::options::{Config, HostConfig, MountType};

fn points(config: Value, host: Value) -> Result<Vec<MountPoint>> {
    let config: Config = serde_json::from_value(config).unwrap();
    let host: HostConfig = serde_json::from_value(host).unwrap();
    mount_points(&config, &host, &[])
}

#[test]
fn a_bind_is_a_path_a_volume_or_neither() {
    let read = |text: &str| bind(text, "").unwrap();
    let point = read("/a/../b:/c/./d:ro,rslave,z");
    assert_eq!((point.kind, point.source.as_str()), (MountType::Bind, "/b"));
    assert_eq!((point.destination.as_str(), point.writable), ("/c/d", false));
    assert_eq!((point.propagation.as_str(), point.create_source), ("rslave", true));
    let point = read("data:/c:nocopy");
    assert_eq!((point.kind, point.name.as_str(), point.no_copy), (MountType::Volume, "data", true));
    let point = read("/c");
    assert!(point.anonymous && point.name.is_empty() && point.writable);
}

#[test]
fn what_is_no_bind_is_refused_in_dockerd_s_words() {
    let invalid = |text: &str| format!("invalid volume specification: '{text}'");
    for (text, why) in [
        ("", invalid("")),
        (":/a", invalid(":/a")),
        ("/a:ro", invalid("/a:ro")),
        ("/a:/b:ro:z", invalid("/a:/b:ro:z")),
        ("/a:/b:rx", "invalid mode: rx".to_owned()),
        ("/a:/b:ro,rw", "invalid mode: ro,rw".to_owned()),
        (
            "/a:/b:nocopy",
            format!(
                "{}: invalid mount config for type \"bind\": field VolumeOptions must not be \
                 specified",
                invalid("/a:/b:nocopy")
            ),
        ),
        (
            "/a:/x/..",
            format!(
                "{}: invalid mount config for type \"bind\": invalid specification: destination \
                 can't be '/'",
                invalid("/a:/x/..")
            ),
        ),
        (
            "/a:b",
            format!(
                "{}: invalid mount config for type \"bind\": invalid mount path: 'b' mount path \
                 must be absolute",
                invalid("/a:b")
            ),
        ),
        (
            "./a:/b",
            "create ./a: \"./a\" includes invalid characters for a local volume name, only \
             \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, \
             use absolute path"
                .to_owned(),
        ),
        (
            "a:/b",
            "create a: volume name is too short, names should be at least two alphanumeric characters"
                .to_owned(),
        ),
    ] {
        assert_eq!(bind(text, "").unwrap_err().to_string(), why, "{text}");
    }
}

#[test]
fn a_mount_by_names_is_checked_in_dockerd_s_words() {
    let read = |value: Value| from_mount(&serde_json::from_value(value).unwrap());
    for (value, why) in [
        (
            json!({"Type": "npipe", "Target": "/a"}),
            "invalid mount config for type \"npipe\": mount type unknown",
        ),
        (
            json!({"Type": "bind", "Source": "/a"}),
            "invalid mount config for type \"bind\": field Target must not be empty",
        ),
        (
            json!({"Type": "bind", "Target": "/a"}),
            "invalid mount config for type \"bind\": field Source must not be empty",
        ),
        (
            json!({"Type": "tmpfs", "Target": "/a", "Source": "/b"}),
            "invalid mount config for type \"tmpfs\": field Source must not be specified",
        ),
        (
            json!({"Type": "volume", "Target": "/a", "BindOptions": {}}),
            "invalid mount config for type \"volume\": field BindOptions must not be specified",
        ),
        (
            json!({"Type": "volume", "Source": "ab", "Target": "/a",
                "VolumeOptions": {"Subpath": "../x"}}),
            "invalid mount config for type \"volume\": subpath must be a relative path within the \
             volume",
        ),
        (
            json!({"Type": "volume", "Target": "/a", "ReadOnly": true}),
            "invalid mount config for type \"volume\": must not set ReadOnly mode when using \
             anonymous volumes",
        ),
    ] {
        assert_eq!(read(value).unwrap_err().to_string(), why);
    }
    let tmpfs = json!({"Type": "tmpfs", "Target": "/a", "ReadOnly": true,
        "TmpfsOptions": {"SizeBytes": 3 << 10, "Mode": 0o1770, "Options": [["exec"]]}});
    assert_eq!(read(tmpfs).unwrap().tmpfs, "ro,mode=1770,size=3k,exec");
    assert!(from_tmpfs("/a", "size=1m,bogus").unwrap_err().to_string().contains("\"bogus\""));
}

#[test]
fn two_mounts_on_one_path_are_a_mistake_and_outer_ones_come_first() {
    let twice = json!({"Binds": ["/x:/a"], "Tmpfs": {"/a/": ""}});
    assert_eq!(points(json!({}), twice).unwrap_err().to_string(), "Duplicate mount point: /a");
    let all =
        points(json!({"Volumes": {"/a": {}, "/c": {}}}), json!({"Binds": ["/x:/a/b/c", "/y:/a"]}))
            .unwrap();
    let shown: Vec<_> = all.iter().map(|p| (p.destination.as_str(), p.anonymous)).collect();
    assert_eq!(shown, [("/a", false), ("/c", true), ("/a/b/c", false)]);
}

#[test]
fn mounts_of_another_container_are_taken_over() {
    let theirs = points(json!({"Volumes": {"/v": {}}}), json!({"Binds": ["/x:/a"]})).unwrap();
    assert_eq!(volumes_from("c:ro").unwrap(), ("c", "ro"));
    assert_eq!(volumes_from("c").unwrap(), ("c", "rw"));
    assert!(volumes_from("c:nocopy").is_err() && volumes_from("").is_err());
    let host: HostConfig = serde_json::from_value(json!({"Binds": ["/y:/a"]})).unwrap();
    let all = mount_points(&Config::default(), &host, &[("ro".to_owned(), theirs)]).unwrap();
    assert_eq!((all[0].source.as_str(), all[0].writable), ("/y", true));
    assert_eq!((all[1].destination.as_str(), all[1].writable), ("/v", false));
    assert!(!all[1].anonymous, "it goes with the container that it was made for");
}

proptest! {
    #[test]
    fn no_text_is_a_bind_that_leads_out(text in "[a-c/.:,rowz ]{0,24}") {
        if let Ok(point) = bind(&text, "") {
            let target = Path::new(&point.destination);
            prop_assert!(target.is_absolute() && target != Path::new("/"));
            prop_assert!(!point.destination.split('/').any(|part| part == ".."));
            prop_assert!(!point.name.contains('/') && !point.name.starts_with('.'));
        }
    }

    #[test]
    fn a_name_is_never_a_path(text in "\\PC{0,12}") {
        if name::check(&text).is_ok() {
            prop_assert!(!text.contains('/') && !text.starts_with('.') && !text.is_empty());
        }
    }
}

#[test]
fn options_of_the_driver_say_what_is_mounted() {
    let options =
        |value: Value| -> BTreeMap<String, String> { serde_json::from_value(value).unwrap() };
    let nfs = options(json!({"type": "nfs", "device": ":/x", "o": "addr=10.0.0.1,ro"}));
    let device = driver::device(&nfs, true).unwrap().unwrap();
    assert_eq!(
        (device.kind.as_str(), device.options),
        ("nfs", vec!["addr=10.0.0.1".into(), "ro".into()])
    );
    let bound = options(json!({"type": "none", "device": "/x", "o": "bind"}));
    assert_eq!(driver::device(&bound, true).unwrap().unwrap().kind, "bind");
    let memory = options(json!({"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}));
    let filled = |options| {
        let device = driver::device(options, true).unwrap().unwrap();
        device.options.contains(&"tmpcopyup".to_owned())
    };
    assert!(filled(&memory));
    let owned = [("o", "size=1m,uid=33")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let owned = memory.clone().into_iter().chain(owned).collect();
    assert!(!filled(&owned), "whose it is, is said");
    assert_eq!(driver::device(&BTreeMap::new(), true).unwrap(), None);
    for (value, why) in [
        (json!({"bogus": "1"}), "create v1: invalid option: \"bogus\""),
        (json!({"type": "nfs"}), "create v1: missing required option: \"device\""),
        (json!({"size": "1m"}), "create v1: quota size requested but no quota support"),
    ] {
        let error = driver::check("v1", "", &options(value)).unwrap_err();
        assert_eq!(error.to_string(), why);
    }
    assert!(driver::check("v1", "rexray", &BTreeMap::new()).is_err());
}

#[test]
fn filters_choose_by_name_label_and_use() {
    let volume = Volume {
        name: "data".into(),
        driver: "local".into(),
        labels: BTreeMap::from([("a".into(), "1".into())]),
        ..Volume::default()
    };
    let chosen = |texts: &[&str], purpose, used| {
        let texts: Vec<_> = texts.iter().map(|&text| text.to_owned()).collect();
        Filters::parse(&texts, purpose).unwrap().choose(&volume, used)
    };
    assert!(chosen(&["name=at", "label=a", "label=a=1", "driver=local"], For::List, true));
    assert!(chosen(&["name=x", "name=da"], For::List, true));
    assert!(!chosen(&["label=a", "label=b"], For::List, true));
    assert!(chosen(&["dangling=true"], For::List, false));
    assert!(!chosen(&["dangling=1"], For::List, true));
    assert!(!chosen(&["label!=a"], For::Prune, false));
    let refused = |text: &str| Filters::parse(&[text.to_owned()], For::List).is_err();
    assert!(refused("x=y") && refused("dangling=maybe") && refused("name"));
}

fn volumes() -> (tempfile::TempDir, Volumes) {
    let directory = tempfile::tempdir().unwrap();
    let volumes = Volumes::open(directory.path()).unwrap();
    (directory, volumes)
}

fn wish(name: &str) -> Wish {
    Wish { name: name.to_owned(), ..Wish::default() }
}

fn names(volumes: &Volumes) -> Vec<String> {
    volumes.list(&Filters::default()).unwrap().into_iter().map(|volume| volume.name).collect()
}

/// A container's config.json, with no more than matters here.
fn container(state: &Path, id: &str, points: &[MountPoint]) {
    let directory = state.join("containers").join(id);
    std::fs::create_dir_all(&directory).unwrap();
    let record = json!({"Id": id, "MountPoints": points});
    std::fs::write(directory.join("config.json"), record.to_string()).unwrap();
}

#[test]
fn a_volume_is_made_once_and_found_again() {
    let (directory, volumes) = volumes();
    let made = volumes.create(&wish("data")).unwrap();
    assert_eq!(volumes.create(&wish("data")).unwrap(), made);
    let anonymous = volumes.create(&wish("")).unwrap();
    assert!(anonymous.is_anonymous() && anonymous.name.len() == 64);
    let again = Volumes::open(directory.path()).unwrap();
    assert_eq!(again.get("data").unwrap(), made);
    assert_eq!(names(&again).len(), 2);
    let error = again.get("../data").unwrap_err().to_string();
    assert_eq!(error, "get ../data: no such volume");
    let entries = std::fs::read_dir(directory.path().join("volumes")).unwrap();
    assert_eq!(entries.count(), 2, "nothing else is left");
}

#[test]
fn a_volume_in_use_stays_and_its_users_are_named() {
    let (directory, volumes) = volumes();
    let host: HostConfig =
        serde_json::from_value(json!({"Binds": ["data:/a"], "Tmpfs": {"/t": ""}})).unwrap();
    let mut points = mount_points(&Config::default(), &host, &[]).unwrap();
    let held = volumes.attach(&mut points).unwrap();
    assert!(points.iter().any(|p| p.source == volumes.data("data").to_str().unwrap()));
    container(directory.path(), "c1", &points);
    container(directory.path(), "c2", &points);
    drop(held);
    let error = volumes.remove("data", true).unwrap_err();
    let Error::VolumeInUse { users, .. } = &error else { panic!("{error}") };
    assert_eq!(users.iter().collect::<BTreeSet<_>>().len(), 2);
    let text = error.to_string();
    assert!(text.starts_with("remove data: volume is in use - [c"), "{text}");
    let all = Filters::parse(&["all=true".to_owned()], For::Prune).unwrap();
    assert_eq!(volumes.prune(&all).unwrap().0, Vec::<String>::new());
    for id in ["c1", "c2"] {
        std::fs::remove_dir_all(directory.path().join("containers").join(id)).unwrap();
    }
    assert_eq!(volumes.prune(&Filters::default()).unwrap().0, Vec::<String>::new());
    assert_eq!(volumes.prune(&all).unwrap().0, ["data"]);
    assert!(matches!(volumes.remove("data", false), Err(Error::NoSuchVolume { .. })));
    volumes.remove("data", true).unwrap();
}

#[test]
fn a_volume_without_a_name_goes_with_its_container() {
    let (directory, volumes) = volumes();
    let mut points = points(json!({"Volumes": {"/a": {}}}), json!({"Binds": ["data:/b"]})).unwrap();
    drop(volumes.attach(&mut points).unwrap());
    container(directory.path(), "other", &points[..1]);
    volumes.discard(&points).unwrap();
    assert_eq!(names(&volumes).len(), 2, "another container uses it");
    std::fs::remove_dir_all(directory.path().join("containers/other")).unwrap();
    volumes.discard(&points).unwrap();
    volumes.discard(&points).unwrap();
    assert_eq!(names(&volumes), ["data"]);
}

#[test]
fn a_damaged_container_makes_no_volume_look_unused() {
    let (directory, volumes) = volumes();
    volumes.create(&wish("data")).unwrap();
    container(directory.path(), "c1", &[]);
    std::fs::write(directory.path().join("containers/c1/config.json"), "{").unwrap();
    assert!(volumes.remove("data", false).is_err());
    assert_eq!(names(&volumes), ["data"]);
}

#[test]
fn what_was_being_made_or_removed_is_swept_but_not_from_under_others() {
    let (directory, volumes) = volumes();
    let left = directory.path().join("volumes/.new-x/_data");
    std::fs::create_dir_all(&left).unwrap();
    let held = volumes.hold().unwrap();
    Volumes::open(directory.path()).unwrap();
    assert!(left.exists(), "somebody may be making it");
    drop(held);
    Volumes::open(directory.path()).unwrap();
    assert!(!left.exists());
}

#[test]
fn a_source_that_is_missing_is_made_for_v_and_refused_for_mount() {
    let (directory, volumes) = volumes();
    let missing = directory.path().join("missing");
    let mount = json!([{"Type": "bind", "Source": missing, "Target": "/a"}]);
    let mut refused = points(json!({}), json!({ "Mounts": mount })).unwrap();
    let error = volumes.attach(&mut refused).unwrap_err().to_string();
    assert!(error.contains("bind source path does not exist"), "{error}");
    let text = format!("{}:/a", missing.display());
    let mut made = points(json!({}), json!({"Binds": [text]})).unwrap();
    volumes.attach(&mut made).unwrap();
    assert!(missing.is_dir());
}

#[corten_tier::t1]
fn an_empty_volume_gets_what_the_image_has_with_owners_and_modes() {
    let (directory, volumes) = volumes();
    let root = directory.path().join("root");
    let image = root.join("srv/data");
    std::fs::create_dir_all(image.join("deep")).unwrap();
    std::fs::write(image.join("deep/file"), "x").unwrap();
    symlink("/etc/shadow", image.join("link")).unwrap();
    chown(image.join("deep/file"), Some(12), Some(34)).unwrap();
    chown(&image, Some(56), Some(78)).unwrap();
    std::fs::set_permissions(&image, std::fs::Permissions::from_mode(0o2750)).unwrap();
    let root = Root::open(&root).unwrap();
    volumes.create(&wish("data")).unwrap();
    let fill = || volumes.fill_one("data", "/srv/data", &root, &mut |_| Ok(()));
    fill().unwrap();
    let data = volumes.data("data");
    let (top, file) = (data.metadata().unwrap(), data.join("deep/file").metadata().unwrap());
    assert_eq!((top.uid(), top.gid(), top.mode() & 0o7777), (56, 78, 0o2750));
    assert_eq!((file.uid(), file.gid()), (12, 34));
    assert_eq!(std::fs::read_link(data.join("link")).unwrap(), Path::new("/etc/shadow"));
    // What is in a volume stays.
    std::fs::write(data.join("deep/file"), "changed").unwrap();
    fill().unwrap();
    assert_eq!(std::fs::read(data.join("deep/file")).unwrap(), b"changed");
}

#[corten_tier::t1]
fn a_link_in_the_image_fills_no_volume_with_the_host_s_files() {
    let (directory, volumes) = volumes();
    let (root, secret) = (directory.path().join("root"), directory.path().join("secret"));
    std::fs::create_dir_all(root.join("srv")).unwrap();
    std::fs::create_dir(&secret).unwrap();
    std::fs::write(secret.join("key"), "k").unwrap();
    symlink(&secret, root.join("srv/absolute")).unwrap();
    symlink("../../secret", root.join("srv/relative")).unwrap();
    symlink("/srv/loop", root.join("srv/loop")).unwrap();
    std::fs::write(root.join("srv/file"), "").unwrap();
    nix::unistd::mkfifo(&root.join("srv/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let root = Root::open(&root).unwrap();
    volumes.create(&wish("data")).unwrap();
    for name in ["absolute", "relative", "file", "fifo", "none", "file/below"] {
        let path = format!("/srv/{name}");
        volumes.fill_one("data", &path, &root, &mut |_| Ok(())).unwrap();
        assert_eq!(std::fs::read_dir(volumes.data("data")).unwrap().count(), 0, "{name}");
    }
    assert!(volumes.fill_one("data", "/srv/loop", &root, &mut |_| Ok(())).is_err());
}

#[corten_tier::t1]
fn a_filling_that_is_cut_off_anywhere_is_nothing_or_becomes_the_whole() {
    let moments = [Moment::Copied, Moment::Ready, Moment::Moved, Moment::Dressed];
    for (at, cut) in moments.iter().enumerate() {
        let (directory, volumes) = volumes();
        let root = directory.path().join("root");
        std::fs::create_dir_all(root.join("srv/sub")).unwrap();
        for name in ["a", "b", "sub/c"] {
            std::fs::write(root.join("srv").join(name), name).unwrap();
        }
        let root = Root::open(&root).unwrap();
        volumes.create(&wish("data")).unwrap();
        let mut pull = |moment| match moment == *cut {
            true => Err(Error::refused("power cut")),
            false => Ok(()),
        };
        volumes.fill_one("data", "/srv", &root, &mut pull).unwrap_err();
        let list = |path: &Path| std::fs::read_dir(path).unwrap().count();
        let data = volumes.data("data");
        if at < 2 {
            assert_eq!(list(&data), 0, "{cut:?}");
        }
        // The next container starts, from an image that has nothing there any more where the copy
        // was whole.
        let path = if at == 0 { "/srv" } else { "/none" };
        volumes.fill_one("data", path, &root, &mut |_| Ok(())).unwrap();
        assert_eq!(list(&data), 3, "{cut:?}");
        assert_eq!(std::fs::read(data.join("sub/c")).unwrap(), b"sub/c");
        assert_eq!(list(data.parent().unwrap()), 2, "{cut:?}: volume.json and _data");
    }
}

/// Kills processes that make and remove volumes, at moments that the clock chooses.
#[corten_tier::t1]
fn a_kill_leaves_a_volume_whole_or_absent() {
    let (directory, _) = volumes();
    let program = std::env::current_exe().unwrap();
    for round in 0..12u64 {
        let mut child = std::process::Command::new(&program)
            .args(["--exact", "engine::volumes::tests::makes_and_removes_for_ever"])
            .env("CORTEN_TEST_VOLUMES", directory.path())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(40 + 17 * round));
        assert!(child.try_wait().unwrap().is_none(), "it was to be killed at work");
        child.kill().unwrap();
        child.wait().unwrap();
        let volumes = Volumes::open(directory.path()).unwrap();
        for entry in std::fs::read_dir(directory.path().join("volumes")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with('.'), "{name} was not swept");
            assert!(volumes.find(&name).unwrap().is_some() && volumes.data(&name).is_dir());
        }
    }
}

/// The process that the test above kills; in any other run it has nothing to do.
#[test]
fn makes_and_removes_for_ever() {
    let Some(state) = std::env::var_os("CORTEN_TEST_VOLUMES") else { return };
    let volumes = Volumes::open(Path::new(&state)).unwrap();
    for number in 0.. {
        let name = format!("v{:02}", number % 7 + 10);
        volumes.create(&wish(&name)).unwrap();
        volumes.remove(&name, false).unwrap();
    }
}

use super::super::clock;
use super::super::options::{Config, HostConfig};
use super::*;

fn open(dir: &tempfile::TempDir) -> Containers {
    let shims = Shims::open(dir.path().join("run")).unwrap();
    Containers::open(dir.path(), shims, Volumes::open(dir.path()).unwrap()).unwrap()
}

fn record(name: Option<&str>, auto_remove: bool) -> Record {
    Record {
        id: new_id().unwrap(),
        name: name.map(str::to_owned),
        created: clock::now(),
        image_id: "sha256:0".into(),
        layers: Vec::new(),
        config: Config { image: "i".into(), ..Config::default() },
        host_config: HostConfig { auto_remove, ..HostConfig::default() },
        mount_points: Vec::new(),
        networks: Default::default(),
    }
}

/// What a killed process leaves: the files, without the lock.
fn crash(owned: Owned) {
    drop(owned);
}

#[test]
fn a_container_is_found_by_name_id_and_prefix() {
    let dir = tempfile::tempdir().unwrap();
    let containers = open(&dir);
    let record = record(Some("web"), false);
    let owned = containers.create(record.clone()).unwrap();
    for key in ["web", &record.id, &record.id[..4]] {
        assert_eq!(containers.find(key).unwrap(), (record.clone(), State::Created), "{key}");
    }
    for key in ["", "we", "zz"] {
        assert!(matches!(containers.find(key), Err(Error::NoSuchContainer { .. })), "{key}");
    }
    owned.release().unwrap();
}

#[test]
fn a_name_is_taken_until_its_container_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let containers = open(&dir);
    let owned = containers.create(record(Some("web"), false)).unwrap();
    let error = containers.create(record(Some("web"), false)).unwrap_err().to_string();
    assert!(error.contains("the name web is in use by container"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path().join("running")).unwrap().count(), 1);
    owned.remove().unwrap();
    containers.create(record(Some("web"), false)).unwrap().remove().unwrap();
}

#[test]
fn an_index_that_is_wrong_or_missing_means_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let index = dir.path().join("run/.names");
    let containers = open(&dir);
    let web = containers.create(record(Some("web"), false)).unwrap();
    std::os::unix::fs::symlink(&web.record.id, index.join("other")).unwrap();
    assert!(matches!(containers.find("other"), Err(Error::NoSuchContainer { .. })));
    containers.create(record(Some("other"), false)).unwrap().remove().unwrap();
    let id = web.record.id.clone();
    web.release().unwrap();
    std::fs::remove_dir_all(&index).unwrap();
    assert_eq!(open(&dir).find("web").unwrap().0.id, id);
}

#[test]
fn the_living_keep_theirs_and_the_dead_s_are_finished() {
    let dir = tempfile::tempdir().unwrap();
    let containers = open(&dir);
    let alive = containers.create(record(None, true)).unwrap();
    let removed = containers.create(record(None, true)).unwrap();
    let kept = containers.create(record(None, false)).unwrap();
    let running = State::Running { pid: 1, supervisor: 1, started: clock::now(), ended: None };
    kept.set_state(&running).unwrap();
    let (removed_dir, kept_id) = (removed.directory().to_owned(), kept.record.id.clone());
    crash(removed);
    crash(kept);
    // Half-made: locked, and killed before it was described.
    std::fs::write(dir.path().join("running/half"), "").unwrap();
    std::fs::create_dir_all(dir.path().join("containers/half/upper")).unwrap();

    let containers = open(&dir);
    assert!(alive.directory().exists() && !removed_dir.exists());
    assert!(!dir.path().join("containers/half").exists());
    let State::Exited { exit_code, error, .. } = containers.find(&kept_id).unwrap().1 else {
        panic!("it has ended")
    };
    assert_eq!((exit_code, error.is_some()), (137, true));
    assert_eq!(std::fs::read_dir(dir.path().join("running")).unwrap().count(), 1);
    assert!(containers.own(&alive.record).unwrap().is_none());
    alive.remove().unwrap();
}

#[test]
fn names_are_docker_s() {
    for good in ["web", "a1", "9.x-y_z"] {
        check_name(good).unwrap();
    }
    for bad in ["", "a", "-a", "a b", "../x", "é1", &"x".repeat(129)] {
        assert!(check_name(bad).is_err(), "{bad}");
    }
}

#[test]
fn whoever_waits_for_a_container_that_is_there_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let containers = open(&dir);
    let record = record(Some("web"), false);
    containers.create(record.clone()).unwrap().release().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    let owned = containers.wait_and_own(&record).unwrap();
                    owned.expect("it is there").release().unwrap();
                }
            });
        }
    });
    containers.wait_and_own(&record).unwrap().unwrap().remove().unwrap();
    assert!(containers.wait_and_own(&record).unwrap().is_none());
}

/// As between the moment when a name is chosen and the one when the container is described.
#[test]
fn the_name_of_one_that_is_being_made_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let containers = open(&dir);
    let made = record(None, false);
    assert!(containers.names.claim("web", &made.id).unwrap());
    let being_made = Flock::lock(
        File::create_new(containers.running(&made)).unwrap(),
        FlockArg::LockExclusiveNonblock,
    );
    let error = containers.create(record(Some("web"), false)).unwrap_err();
    assert!(matches!(error, Error::NameTaken { .. }), "{error}");
    // Whoever made it was killed.
    drop(being_made);
    open(&dir).create(record(Some("web"), false)).unwrap().remove().unwrap();
}

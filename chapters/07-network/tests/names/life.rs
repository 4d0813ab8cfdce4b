//! How a server begins and ends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use corten_network::names::Names;
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::lab::{Lab, addresses, question, until};

/// The files of all servers.
fn left(lab: &Lab) -> usize {
    fs::read_dir(lab.path("state/names")).unwrap().count()
}

fn runs(pid: i32) -> bool {
    // One that has ended and was not collected yet has no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[corten_tier::t1]
fn it_ends_with_the_last_endpoint_and_leaves_nothing() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, _client) = lab.single(&app);
    let db = lab.container("db");
    lab.attach(&app, &db, "10.0.0.3", json!({}));
    let pid = lab.status(&app).pid;
    assert_eq!(lab.detach(&app, &web).pid, pid);
    assert!(runs(pid));
    lab.detach(&app, &db);
    until("it has ended", || !runs(pid) && left(&lab) == 0);
    assert_eq!(lab.names.status(&app).unwrap(), None);
    // Where nobody is attached, nobody stays.
    let pid = lab.names.announce(&app).unwrap().pid;
    until("it has ended again", || !runs(pid) && left(&lab) == 0);
}

/// The engine was killed between the file and the word.
#[corten_tier::t1]
fn it_needs_nobody_to_be_told() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, client) = lab.single(&app);
    let db = lab.container("db");
    lab.write(&app, &db, "10.0.0.3", json!({}));
    assert_eq!(client.addresses("db"), ["10.0.0.3"]);
    until("it is served", || lab.status(&app).served.contains_key(&db.id));
    assert_eq!(lab.client(&app, &db).addresses("web"), ["10.0.0.2"]);
    let pid = lab.status(&app).pid;
    lab.remove(&app, &web);
    lab.remove(&app, &db);
    until("it has ended", || !runs(pid) && left(&lab) == 0);
}

/// By a link, as a file that had no name before; by a plain write; by an engine that is killed in the
/// middle of one.
#[corten_tier::t1]
fn it_sees_files_however_they_come() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let db = lab.container("db");
    lab.write(&app, &db, "10.0.0.3", json!({}));
    let file = lab.path(&format!("state/networks/{app}/endpoints/{}.json", db.id));
    let text = fs::read(&file).unwrap();
    let elsewhere = lab.path("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    assert_eq!(client.code("db"), ResponseCode::ServFail);
    fs::hard_link(&elsewhere, &file).unwrap();
    assert_eq!(client.addresses("db"), ["10.0.0.3"]);
    fs::write(&file, &text[..text.len() / 2]).unwrap();
    assert_eq!(client.code("db"), ResponseCode::ServFail);
    fs::write(&file, &text).unwrap();
    assert_eq!(client.addresses("db"), ["10.0.0.3"]);
}

/// The server is late, for whatever reason, and finds the file and the question at the same time.
#[corten_tier::t1]
fn no_answer_is_older_than_the_files() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, client) = lab.single(&app);
    let pid = Pid::from_raw(lab.status(&app).pid);
    let db = lab.container("db");
    // Two questions, and the file between them: they are read together.
    let around = |change: &dyn Fn()| {
        kill(pid, Signal::SIGSTOP).unwrap();
        client.socket.send(&question(1, "web", RecordType::A)).unwrap();
        change();
        client.socket.send(&question(2, "store", RecordType::A)).unwrap();
        kill(pid, Signal::SIGCONT).unwrap();
        assert_eq!(client.receive().unwrap().metadata.id, 1);
        client.receive().unwrap()
    };
    for _ in 0..50 {
        let comes = || lab.write(&app, &db, "10.0.0.3", json!({"Aliases": ["store"]}));
        assert_eq!(addresses(&around(&comes)), ["10.0.0.3"]);
        let gone = around(&|| lab.remove(&app, &db));
        assert_eq!(gone.metadata.response_code, ResponseCode::ServFail);
    }
    drop(web);
}

#[corten_tier::t1]
fn one_that_was_killed_is_started_again() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, client) = lab.single(&app);
    let pid = lab.status(&app).pid;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    until("it has ended", || !runs(pid));
    assert!(client.socket.send(b"").is_err() || client.receive().is_none());
    let report = lab.names.announce(&app).unwrap();
    assert!(report.pid != pid && report.failed.is_empty());
    assert_eq!(lab.client(&app, &web).addresses("web"), ["10.0.0.2"]);
}

/// Whoever comes first starts it, and all others find it.
#[corten_tier::t1]
fn many_engines_start_one_server() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let web = lab.container("web");
    for _ in 0..5 {
        lab.write(&app, &web, "10.0.0.2", json!({}));
        let pids: Vec<i32> = std::thread::scope(|scope| {
            let engines: Vec<_> =
                (0..8).map(|_| scope.spawn(|| lab.names.announce(&app).unwrap().pid)).collect();
            engines.into_iter().map(|engine| engine.join().unwrap()).collect()
        });
        assert!(pids.iter().all(|pid| *pid == pids[0]), "{pids:?}");
        lab.detach(&app, &web);
        // It may be on its way out while the next ones come.
    }
}

/// Sockets in a namespace keep it alive: they must go with the endpoint.
#[corten_tier::t1]
fn nothing_is_kept_of_a_container_that_has_left() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, _client) = lab.single(&app);
    let db = lab.container("db");
    lab.attach(&app, &db, "10.0.0.3", json!({}));
    let pid = lab.status(&app).pid;
    let descriptors = || fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let mut before = descriptors();
    until("we are forgotten", || {
        std::thread::sleep(Duration::from_millis(100));
        std::mem::replace(&mut before, descriptors()) == before
    });
    for _ in 0..3 {
        lab.detach(&app, &web);
        // Two sockets and a namespace; and it has to notice that we are gone.
        until("they are closed", || descriptors() == before - 3);
        lab.attach(&app, &web, "10.0.0.2", json!({}));
        until("there is no more than before", || descriptors() == before);
    }
}

/// The namespace is another one, at the same place: the container was started again.
#[corten_tier::t1]
fn a_new_namespace_is_entered() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (web, client) = lab.single(&app);
    nix::mount::umount2(&web.pinned, nix::mount::MntFlags::MNT_DETACH).unwrap();
    let again = lab.container("web");
    lab.attach(&app, &again, "10.0.0.7", json!({}));
    assert_eq!(lab.client(&app, &again).addresses("web"), ["10.0.0.7"]);
    assert!(client.socket.send(b"").is_err() || client.receive().is_none());
}

#[corten_tier::t1]
fn a_container_that_cannot_be_served_is_named() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let lost = lab.container("lost");
    lab.write(&app, &lost, "10.0.0.3", json!({"Namespace": "/nowhere"}));
    let report = lab.names.announce(&app).unwrap();
    let why = &report.failed[&lost.id];
    assert!(why.starts_with("open /nowhere: "), "{why}");
    // A file that is no namespace is none.
    lab.write(&app, &lost, "10.0.0.3", json!({"Namespace": "/etc/passwd"}));
    let report = lab.names.announce(&app).unwrap();
    assert_eq!(report.failed[&lost.id], "enter a network namespace: EINVAL");
    assert_eq!(client.addresses("lost"), ["10.0.0.3"], "its name is known all the same");
    lab.attach(&app, &lost, "10.0.0.3", json!({}));
}

/// What could not be said to anybody is said to whoever asks next.
#[corten_tier::t1]
fn a_server_that_cannot_start_says_why() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let web = lab.container("web");
    lab.write(&app, &web, "10.0.0.2", json!({}));
    fs::create_dir_all(lab.path("state/names").join(format!("{}.sock/x", &app[..12]))).unwrap();
    let error = lab.names.announce(&app).unwrap_err().to_string();
    assert!(error.starts_with(&format!("the name server of network {app}: remove ")), "{error}");
    fs::remove_dir_all(lab.path("state/names")).unwrap();
}

#[corten_tier::t1]
fn an_idle_server_sleeps() {
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (_web, client) = lab.single(&app);
    let _open = client.connect();
    assert_eq!(client.addresses("web"), ["10.0.0.2"]);
    let pid = lab.status(&app).pid;
    let switches = || {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let lines = status.lines().filter(|line| line.contains("ctxt_switches"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    until("the connection that says nothing was closed", || lab.status(&app).streams == 0);
    until("it has come to rest", || {
        let before = switches();
        std::thread::sleep(Duration::from_millis(500));
        switches() == before
    });
    let before = switches();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(switches(), before, "it was woken");
}

/// Without the rights of the directory nobody reaches the socket.
#[corten_tier::t1]
fn only_root_reaches_the_control_socket() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    let app = lab.network("app", false);
    let (_web, _client) = lab.single(&app);
    let mode = fs::metadata(lab.path("state/names")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let names = Names::new(Path::new("/nowhere"), Path::new("/nowhere"));
    assert_eq!(names.status(&app).unwrap(), None);
}

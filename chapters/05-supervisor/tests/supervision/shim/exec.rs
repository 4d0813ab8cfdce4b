//! Further programs in a running container.

use corten_supervisor::protocol::{Attach, Code, Exec, Operation};
use corten_supervisor::settings::Restart;

use super::life::refused;
use crate::lab::{
    Lab, all_streams, end_input, frames, output, output_streams, proc, read_all, run, run_with,
    until, write,
};

fn running() -> (Lab, corten_supervisor::client::Client) {
    let lab = Lab::new("sleep 1000");
    let client = lab.started();
    (lab, client)
}

#[corten_tier::t1]
fn the_status_of_the_program_is_the_status_of_exec() {
    let (lab, _client) = running();
    for (script, status) in [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137)] {
        let ran = run(&mut lab.command(&["exec", lab.id(), "sh", "-c", script]));
        assert_eq!(ran.status, status, "{script}: {ran:?}");
    }
    for (program, status) in [("/bin/none", 127), ("/etc/passwd", 126)] {
        let ran = run(&mut lab.command(&["exec", lab.id(), program]));
        assert_eq!(ran.status, status, "{program}: {ran:?}");
    }
}

#[corten_tier::t1]
fn output_and_input_of_an_exec_are_its_own() {
    let (lab, mut client) = running();
    let exec = lab.exec(&["sh", "-c", "cat; echo err >&2"], Some(all_streams()));
    let (number, pid, streams) = client.exec(exec).unwrap();
    assert!(proc::stat(pid).is_alive());
    let streams = streams.unwrap();
    write(&streams, b"in and out\n");
    end_input(&streams);
    let (out, err) = frames(&read_all(streams));
    assert_eq!((&out[..], &err[..]), (&b"in and out\n"[..], &b"err\n"[..]));
    assert_eq!(client.wait_exec(number).unwrap(), 0);
    assert_eq!(lab.log(), "");
    let mut cat = lab.command(&["exec", "-i", lab.id(), "cat"]);
    assert_eq!(run_with(&mut cat, b"hello").out, "hello");
}

#[corten_tier::t1]
fn an_exec_with_a_terminal() {
    let (lab, mut client) = running();
    let mut exec = lab.exec(&["sh", "-c", "read x; stty size; test -t 1"], Some(all_streams()));
    exec.process["terminal"] = serde_json::json!(true);
    let (number, _, streams) = client.exec(exec).unwrap();
    let streams = streams.unwrap();
    let resize = Operation::Resize { rows: 21, columns: 42, exec: Some(number) };
    client.perform(resize).unwrap();
    write(&streams, b"\n");
    assert_eq!(String::from_utf8(read_all(streams)).unwrap(), "\r\n21 42\r\n");
    assert_eq!(client.wait_exec(number).unwrap(), 0);
    refused(
        client.perform(Operation::Resize { rows: 1, columns: 1, exec: Some(number) }),
        Code::NotFound,
    );
}

#[corten_tier::t1]
fn a_detached_exec_is_forgotten_when_it_has_ended() {
    let (lab, mut client) = running();
    client.perform(Operation::Events).unwrap();
    let exec = Exec { detach: true, ..lab.exec(&["sh", "-c", "echo x > /tmp/done"], None) };
    let (number, _, streams) = client.exec(exec).unwrap();
    assert!(streams.is_none());
    until("it is forgotten", || client.status().unwrap().execs.is_empty());
    assert!(lab.rootfs().join("tmp/done").exists());
    refused(client.wait_exec(number).map(drop), Code::NotFound);
}

#[corten_tier::t1]
fn two_run_at_once() {
    let (lab, mut client) = running();
    let wait = "while ! test -e /tmp/go; do sleep 0.02; done; cat /tmp/go; exit ";
    let mut begun = Vec::new();
    for status in [4, 5] {
        let script = format!("{wait}{status}");
        let exec = lab.exec(&["sh", "-c", &script], Some(output_streams()));
        begun.push((status, client.exec(exec).unwrap()));
    }
    assert_eq!(client.status().unwrap().execs.len(), 2);
    std::fs::write(lab.rootfs().join("tmp/go"), "went\n").unwrap();
    for (status, (number, _, streams)) in begun {
        assert_eq!(output(streams.unwrap()), "went\n");
        assert_eq!(client.wait_exec(number).unwrap(), status);
    }
    assert!(client.status().unwrap().execs.is_empty());
}

#[corten_tier::t1]
fn an_exec_in_a_paused_container_is_refused() {
    let (lab, mut client) = running();
    client.perform(Operation::Pause).unwrap();
    refused(client.exec(lab.exec(&["true"], None)), Code::State);
    client.perform(Operation::Resume).unwrap();
    let (number, ..) = client.exec(lab.exec(&["true"], None)).unwrap();
    assert_eq!(client.wait_exec(number).unwrap(), 0);
}

#[corten_tier::t1]
fn an_exec_ends_with_its_container() {
    for shared in [false, true] {
        let mut lab = Lab::new("sleep 1000");
        if shared {
            lab.share_processes();
        }
        let mut client = lab.started();
        let (number, pid, streams) =
            client.exec(lab.exec(&["sleep", "1000"], Some(output_streams()))).unwrap();
        let mut other = lab.client();
        let waiting = std::thread::spawn(move || other.wait_exec(number).unwrap());
        until("it waits", || proc::read(lab.shim_pid(), "stat").contains(") S "));
        std::thread::sleep(std::time::Duration::from_millis(50));
        client.stop(Some(libc::SIGKILL), None).unwrap();
        assert_eq!(waiting.join().unwrap(), 137);
        assert_eq!(read_all(streams.unwrap()), b"");
        lab.nothing_left();
        assert!(proc::stat(pid).is_zombie());
    }
}

/// One that has the container's restart before it is no part of the container's next life.
#[corten_tier::t1]
fn an_exec_ends_before_its_container_begins_again() {
    let mut lab = Lab::new("test -e /tmp/x || sleep 0.5; touch /tmp/x; sleep 1000");
    lab.settings.restart = Restart::Always;
    lab.share_processes();
    let mut client = lab.started();
    let (number, pid, _) = client.exec(lab.exec(&["sleep", "1000"], None)).unwrap();
    // Its program is killed, not the container stopped: it begins again.
    let container = client.status().unwrap().pid;
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(container),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    assert_eq!(client.wait_exec(number).unwrap(), 137);
    until("it runs again", || client.status().is_ok_and(|s| s.pid > 0 && s.pid != container));
    assert!(proc::stat(pid).is_zombie());
    client.stop(Some(libc::SIGKILL), None).unwrap();
    lab.nothing_left();
}

#[corten_tier::t1]
fn an_end_is_told_to_all_who_wait_and_to_one_who_asks_later() {
    let (lab, mut client) = running();
    let (number, ..) = client.exec(lab.exec(&["sh", "-c", "sleep 0.5; exit 6"], None)).unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let mut other = lab.client();
            std::thread::spawn(move || other.wait_exec(number).unwrap())
        })
        .collect();
    for waiter in waiting {
        assert_eq!(waiter.join().unwrap(), 6);
    }
    refused(client.wait_exec(number).map(drop), Code::NotFound);
    let (number, ..) = client.exec(lab.exec(&["sh", "-c", "exit 7"], None)).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(client.wait_exec(number).unwrap(), 7);
    refused(client.wait_exec(number).map(drop), Code::NotFound);
}

#[corten_tier::t1]
fn the_process_is_as_it_was_asked_for() {
    let (lab, mut client) = running();
    let mut exec = lab.exec(&["sh", "-c", "id -u; id -g; pwd; echo $X"], Some(output_streams()));
    exec.process["user"] = serde_json::json!({"uid": 33, "gid": 44});
    exec.process["cwd"] = serde_json::json!("/tmp");
    exec.process["env"] = serde_json::json!(["PATH=/bin", "X=y"]);
    let (number, _, streams) = client.exec(exec).unwrap();
    assert_eq!(output(streams.unwrap()), "33\n44\n/tmp\ny\n");
    assert_eq!(client.wait_exec(number).unwrap(), 0);
}

/// A flood of one exec, and of what nobody asks for, is bounded.
#[corten_tier::t1]
fn ends_that_nobody_asks_for_do_not_gather() {
    let (lab, mut client) = running();
    let descriptors = proc::descriptors(lab.shim_pid()).len();
    let many = if std::env::var_os(corten_tier::IN_VM).is_some() { 60 } else { 300 };
    for _ in 0..many {
        client.exec(lab.exec(&["true"], None)).unwrap();
    }
    until("they have ended", || proc::descriptors(lab.shim_pid()).len() <= descriptors);
    assert!(client.status().unwrap().execs.len() <= 257);
    // Standard input of an attached one, too.
    let attach = Attach { stdin: false, ..all_streams() };
    let (_, _, streams) = client.exec(lab.exec(&["true"], Some(attach))).unwrap();
    drop(streams);
    until("they have ended", || proc::descriptors(lab.shim_pid()).len() <= descriptors);
}

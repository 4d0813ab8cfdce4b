//! Containers with a terminal.

use std::io::Read;
use std::os::fd::OwnedFd;

use corten_supervisor::protocol::{Attach, Code, Operation};

use super::life::refused;
use crate::lab::{Lab, all_streams, end_input, read_all, until, write};

fn lab(script: &str) -> Lab {
    let mut lab = Lab::with_input(script);
    lab.config["process"]["terminal"] = serde_json::json!(true);
    lab
}

fn keys() -> Attach {
    Attach { detach_keys: corten_supervisor::detach::DEFAULT.to_vec(), ..all_streams() }
}

/// Reads until `end` has come.
#[track_caller]
fn read_until(streams: &OwnedFd, end: &str) -> String {
    let mut file = std::fs::File::from(streams.try_clone().unwrap());
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(end.as_bytes()) {
        assert_eq!(file.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    String::from_utf8(text).unwrap()
}

/// No frames: a terminal has one direction out.
#[corten_tier::t1]
fn a_terminal_is_raw_and_has_both_streams() {
    let lab = lab("echo out; echo err >&2; test -t 0 && test -t 1 && echo tty");
    let (mut client, mut child) = lab.shim();
    let streams = client.attach(all_streams()).unwrap();
    client.start().unwrap();
    assert!(client.status().map_or(true, |status| status.terminal));
    assert_eq!(String::from_utf8(read_all(streams)).unwrap(), "out\r\nerr\r\ntty\r\n");
    assert!(child.wait().unwrap().success());
    lab.nothing_left();
}

#[corten_tier::t1]
fn a_terminal_has_the_size_that_is_set() {
    let lab = lab("read line; stty size; read line; stty size");
    let mut client = lab.started();
    let streams = client.attach(all_streams()).unwrap();
    client.perform(Operation::Resize { rows: 33, columns: 99, exec: None }).unwrap();
    write(&streams, b"\n");
    read_until(&streams, "33 99\r\n");
    client.perform(Operation::Resize { rows: 12, columns: 200, exec: None }).unwrap();
    write(&streams, b"\n");
    read_until(&streams, "12 200\r\n");
}

#[corten_tier::t1]
fn a_container_without_terminal_has_no_size() {
    let lab = Lab::new("sleep 1000");
    let mut client = lab.started();
    refused(client.perform(Operation::Resize { rows: 1, columns: 1, exec: None }), Code::State);
}

#[corten_tier::t1]
fn bytes_pass_as_they_are_typed() {
    let lab = lab("stty raw -echo; echo ready; head -c 256 | md5sum");
    let mut client = lab.started();
    let streams = client.attach(all_streams()).unwrap();
    until("it is ready", || lab.log().contains("ready"));
    let all: Vec<u8> = (0..=255).collect();
    write(&streams, &all);
    // Of the 256 bytes 0 to 255.
    read_until(&streams, "e2c865db4162bed963bfaa9ef6ac18f0");
}

#[corten_tier::t1]
fn who_types_the_keys_leaves_and_can_come_back() {
    let lab = lab("while read line; do echo \"<$line>\"; done");
    let mut client = lab.started();
    let streams = client.attach(keys()).unwrap();
    write(&streams, b"one\n");
    read_until(&streams, "<one>\r\n");
    // A sequence that is only begun is typed.
    write(&streams, b"a\x10b\n");
    read_until(&streams, "b>\r\n");
    write(&streams, b"\x10");
    write(&streams, b"\x11");
    assert_eq!(read_all(streams), b"");
    assert!(client.status().unwrap().exit.is_none());
    let again = client.attach(keys()).unwrap();
    write(&again, b"two\n");
    read_until(&again, "<two>\r\n");
}

/// A terminal's input does not end: it has a key for that.
#[corten_tier::t1]
fn a_client_that_leaves_does_not_end_a_terminal() {
    let mut lab = lab("while read line; do echo \"<$line>\"; done; echo over");
    lab.settings.stdin_once = true;
    let mut client = lab.started();
    let streams = client.attach(all_streams()).unwrap();
    write(&streams, b"one\n");
    read_until(&streams, "<one>\r\n");
    end_input(&streams);
    drop(streams);
    let again = client.attach(all_streams()).unwrap();
    write(&again, b"\x04");
    read_until(&again, "over\r\n");
}

/// Control-c, as a terminal has it.
#[corten_tier::t1]
fn control_c_interrupts_the_program() {
    let lab = lab("trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done");
    let mut client = lab.started();
    let streams = client.attach(all_streams()).unwrap();
    lab.said("ready");
    write(&streams, b"\x03");
    assert_eq!(lab.end_of(&mut client).status, 5);
}

/// `script` gives our command line a terminal of its own.
#[corten_tier::t1]
fn run_hangs_our_terminal_on_the_containers() {
    if std::process::Command::new("script").arg("--version").output().is_err() {
        return; // not in the lab VM
    }
    let lab = lab("stty size; test -t 0 && echo tty; exit 6");
    lab.write_config();
    let supervisor = crate::lab::supervisor();
    let line = format!(
        "stty rows 31 cols 77; {} --root {} run --interactive {}",
        supervisor.display(),
        lab.root().display(),
        lab.id()
    );
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).current_dir(&lab.settings.bundle);
    let ran = crate::lab::run(&mut command);
    assert_eq!(ran.status, 6, "{ran:?}");
    assert!(ran.out.contains("tty"), "{ran:?}");
}

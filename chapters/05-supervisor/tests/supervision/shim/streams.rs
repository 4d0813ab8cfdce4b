//! Output to clients and input from them.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use corten_supervisor::protocol::Attach;

use crate::lab::{
    Lab, all_streams, end_input, frames, output, output_streams, proc, read_all, run_with, slack,
    until, write,
};

/// The numbers from 1, one per line.
fn numbers(to: u64) -> String {
    (1..=to).map(|n| format!("{n}\n")).collect()
}

/// So many bytes are a flood; in an emulated machine, fewer.
fn flood() -> usize {
    if std::env::var_os(corten_tier::IN_VM).is_some() { 20_000_000 } else { 100_000_000 }
}

/// A shim with a client that is attached before the start, and its container.
fn attached(lab: &Lab, attach: Attach) -> (corten_supervisor::client::Client, OwnedFd) {
    let (mut client, mut child) = lab.shim();
    std::thread::spawn(move || child.wait());
    let streams = client.attach(attach).unwrap();
    client.start().unwrap();
    (client, streams)
}

/// A container that writes lines of 16 characters, so that each byte tells its place.
fn counted(bytes: usize) -> Lab {
    let lab = Lab::new("cat /tmp/lines");
    let lines: String = (FIRST..FIRST + bytes / 16).map(|n| format!("{n}\n")).collect();
    std::fs::write(lab.rootfs().join("tmp/lines"), lines).unwrap();
    lab
}

const FIRST: usize = 100_000_000_000_001;

#[track_caller]
fn is_counted(text: &[u8], bytes: usize) {
    assert_eq!(text.len(), bytes / 16 * 16);
    for (n, line) in (FIRST..).zip(text.chunks(16)) {
        let expected = format!("{n}\n");
        assert!(line == expected.as_bytes(), "line {n}: {:?}", String::from_utf8_lossy(line));
    }
}

#[corten_tier::t1]
fn every_byte_arrives_in_order() {
    let mut lab = counted(flood());
    lab.settings.log = None;
    let (_client, streams) = attached(&lab, output_streams());
    is_counted(&frames(&read_all(streams)).0, flood());
}

#[corten_tier::t1]
fn a_slow_client_that_is_waited_for_loses_nothing() {
    let bytes = 40_000_000;
    let mut lab = counted(bytes);
    lab.settings.log = None;
    let (mut client, streams) = attached(&lab, output_streams());
    // Longer than it takes the program to fill all buffers: it waits for us, and has not ended.
    std::thread::sleep(slack());
    assert!(client.status().unwrap().exit.is_none());
    let mut streams = std::fs::File::from(streams);
    let (mut all, mut buffer) = (Vec::new(), vec![0; 1 << 20]);
    loop {
        let length = streams.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        all.extend_from_slice(&buffer[..length]);
        std::thread::sleep(Duration::from_millis(2));
    }
    is_counted(&frames(&all).0, bytes);
}

/// The program has ended, and the client has not read a byte: it finds all of it all the same.
#[corten_tier::t1]
fn a_client_that_reads_after_the_end_finds_all() {
    let bytes = 1_600_000;
    let lab = counted(bytes);
    let (mut client, streams) = attached(&lab, output_streams());
    lab.end_of(&mut client);
    until("the shim ends", || proc::stat(lab.shim_pid()).is_zombie());
    is_counted(&frames(&read_all(streams)).0, bytes);
}

/// As much as the buffers hold and more is on the way when the program ends.
#[corten_tier::t1]
fn the_end_of_a_program_does_not_wait_for_a_slow_client() {
    // What its socket holds, by a little less and a little more.
    let in_vm = std::env::var_os(corten_tier::IN_VM).is_some();
    for bytes in (30..36).step_by(if in_vm { 4 } else { 1 }).map(|n| n << 20) {
        let mut lab = counted(bytes);
        lab.settings.log = None;
        let (mut client, streams) = attached(&lab, output_streams());
        let begun = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lab.end_of(&mut client));
            while begun.elapsed() < slack() && !waiting.is_finished() {
                std::thread::sleep(Duration::from_millis(5));
            }
            let held = !waiting.is_finished();
            let all = read_all(streams);
            assert_eq!(frames(&all).0.len(), bytes, "held: {held}");
            assert_eq!(waiting.join().unwrap().status, 0);
        });
    }
}

#[corten_tier::t1]
fn a_slow_client_that_is_not_waited_for_is_dropped() {
    // More than its socket holds.
    let bytes = 50_000_000;
    let mut lab = counted(bytes);
    lab.settings.log = None;
    let slow = Attach { wait: false, ..output_streams() };
    let (mut client, slow) = attached(&lab, slow);
    let fast = client.attach(output_streams()).unwrap();
    let begun = Instant::now();
    let reading = std::thread::spawn(move || frames(&read_all(fast)).0);
    let limit = corten_tier::patience(Duration::from_secs(20) + 10 * slack());
    while !reading.is_finished() {
        assert!(begun.elapsed() < limit, "the slow one holds up the fast one");
        std::thread::sleep(Duration::from_millis(5));
    }
    let fast = reading.join().unwrap();
    // The fast one came a moment later: what it has is a tail of all, and whole.
    let first = fast.split(|byte| *byte == b'\n').nth(1).unwrap().to_vec();
    let last = format!("{}\n", FIRST + bytes / 16 - 1);
    assert!(fast.ends_with(last.as_bytes()), "{first:?}");
    until("it ends", || lab.exit().is_some());
    drop(client);
    // What it was sent before it was dropped is in order, and less than all.
    let text = read_all(slow);
    assert!(text.len() < bytes && text.len() > 1_000_000, "{}", text.len());
    assert_eq!(&text[8..24], format!("{FIRST}\n").as_bytes());
}

#[corten_tier::t1]
fn input_goes_in_and_its_end_with_it() {
    let mut lab = Lab::with_input("cat; echo over");
    lab.settings.stdin_once = true;
    let (_client, streams) = attached(&lab, all_streams());
    write(&streams, b"one\ntwo\n");
    end_input(&streams);
    assert_eq!(output(streams), "one\ntwo\nover\n");
}

/// As `echo x | corten run -i …` has it: the client's input is there before the program.
#[corten_tier::t1]
fn input_before_the_start_waits_for_the_program() {
    for bytes in [10, 200_000] {
        let mut lab = Lab::with_input("cat");
        lab.settings.stdin_once = true;
        let (mut client, mut child) = lab.shim();
        std::thread::spawn(move || child.wait());
        let streams = client.attach(all_streams()).unwrap();
        let text = counted_text(bytes);
        let (feeding, all) = (streams.try_clone().unwrap(), text.clone());
        let feeding = std::thread::spawn(move || {
            write(&feeding, &all);
            end_input(&feeding);
        });
        std::thread::sleep(Duration::from_millis(100));
        client.status().unwrap();
        client.start().unwrap();
        feeding.join().unwrap();
        assert_eq!(output(streams).as_bytes(), text);
    }
}

/// Also of one that is gone by then.
#[corten_tier::t1]
fn input_of_a_client_that_left_before_the_start_is_kept() {
    let mut lab = Lab::with_input("cat");
    lab.settings.stdin_once = true;
    let (mut client, mut child) = lab.shim();
    std::thread::spawn(move || child.wait());
    let streams = client.attach(all_streams()).unwrap();
    write(&streams, b"a last word\n");
    drop(streams);
    std::thread::sleep(Duration::from_millis(100));
    client.start().unwrap();
    until("it ends", || lab.exit().is_some());
    assert_eq!(lab.log(), "a last word\n");
}

fn counted_text(bytes: usize) -> Vec<u8> {
    (0..bytes / 10).flat_map(|n| format!("{n:09}\n").into_bytes()).collect()
}

/// Without `stdin_once`, the next client can go on.
#[corten_tier::t1]
fn input_outlives_its_clients() {
    let lab = Lab::with_input("while read line; do echo \"<$line>\"; done");
    let (mut client, first) = attached(&lab, all_streams());
    write(&first, b"one\n");
    lab.said("<one>");
    end_input(&first);
    drop(first);
    let second = client.attach(all_streams()).unwrap();
    write(&second, b"two\n");
    lab.said("<two>");
    assert!(client.status().unwrap().exit.is_none());
}

#[corten_tier::t1]
fn a_program_without_input_reads_an_empty_one() {
    let lab = Lab::new("cat; echo over");
    let (_client, streams) = attached(&lab, all_streams());
    // Nobody reads it, and the program may have ended before.
    let mut file = std::fs::File::from(streams.try_clone().unwrap());
    let _ = std::io::Write::write_all(&mut file, b"nobody reads this\n");
    assert_eq!(output(streams), "over\n");
}

/// A program that reads nothing makes its client wait, and nobody else.
#[corten_tier::t1]
fn input_that_is_not_read_blocks_nobody() {
    let lab = Lab::with_input("echo up; sleep 1000");
    let (mut client, streams) = attached(&lab, all_streams());
    let feeding = streams.try_clone().unwrap();
    let feeding = std::thread::spawn(move || {
        let mut file = std::fs::File::from(feeding);
        std::io::Write::write_all(&mut file, &vec![b'x'; 4 << 20])
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!feeding.is_finished());
    // One more who would like to write.
    let other = client.attach(all_streams()).unwrap();
    write(&other, b"y");
    proc::comes_to_rest(lab.shim_pid());
    client.status().unwrap();
    client.stop(Some(libc::SIGKILL), None).unwrap();
    assert!(feeding.join().unwrap().is_err());
}

#[corten_tier::t1]
fn several_clients_see_the_same() {
    let mut lab = Lab::new("seq 1 20000");
    lab.settings.log = None;
    let (mut client, mut child) = lab.shim();
    std::thread::spawn(move || child.wait());
    let all: Vec<OwnedFd> = (0..5).map(|_| client.attach(output_streams()).unwrap()).collect();
    let only_err = client.attach(Attach { stdout: false, ..output_streams() }).unwrap();
    client.start().unwrap();
    let expected = numbers(20000);
    let readers: Vec<_> =
        all.into_iter().map(|one| std::thread::spawn(move || output(one))).collect();
    for reader in readers {
        assert!(reader.join().unwrap() == expected);
    }
    assert_eq!(read_all(only_err), b"");
}

/// A thousand come and go, by both of their connections; nothing of them stays.
#[corten_tier::t1]
fn clients_that_come_and_go_leave_nothing() {
    let lab = Lab::with_input("while :; do echo x; sleep 0.01; done");
    let mut client = lab.started();
    let alone = proc::descriptors(lab.shim_pid()).len();
    let count = |client: &mut corten_supervisor::client::Client| {
        client.status().unwrap();
        (proc::descriptors(lab.shim_pid()).len(), proc::own(lab.shim_pid()))
    };
    // What is made once is there then.
    for _ in 0..50 {
        come_and_go(&lab, &mut client, 0);
    }
    until("they are gone", || count(&mut client).0 <= alone);
    let (descriptors, memory) = count(&mut client);
    for n in 0..1000 {
        come_and_go(&lab, &mut client, n);
    }
    until("they are gone", || count(&mut client).0 <= descriptors);
    let (_, later) = count(&mut client);
    assert!(later <= memory + 64, "{memory} KiB, then {later} KiB");
}

fn come_and_go(lab: &Lab, client: &mut corten_supervisor::client::Client, n: usize) {
    match n % 4 {
        0 => drop(lab.client()),
        1 => drop(lab.client().attach(all_streams()).unwrap()),
        2 => {
            let streams = client.attach(all_streams()).unwrap();
            write(&streams, b"x");
            end_input(&streams);
        }
        _ => {
            let streams = client.attach(output_streams()).unwrap();
            let mut byte = [0];
            std::fs::File::from(streams).read_exact(&mut byte).unwrap();
        }
    }
}

#[corten_tier::t1]
fn output_after_which_the_program_ends_at_once_is_whole() {
    for _ in 0..20 {
        let lab = Lab::new("seq 1 3000");
        let ran = lab.run(&[]);
        assert!(ran.out == numbers(3000), "{} bytes", ran.out.len());
        assert!(lab.log() == numbers(3000));
    }
}

/// The shim comes late, as on a machine that has other things to do: the program has written and
/// ended, and what it wrote takes several reads of a terminal, which give 4095 bytes at most. Of more
/// than 8 KiB a terminal may hold up its writer until somebody reads (`pty_common_install()` of the kernel).
#[corten_tier::t1]
fn what_a_program_leaves_in_its_streams_is_read() {
    for terminal in [false, true] {
        let script = "echo up; until test -e /tmp/go; do sleep 0.05; done; seq 1 1200";
        let mut lab = Lab::new(script);
        lab.config["process"]["terminal"] = serde_json::json!(terminal);
        let mut client = lab.started();
        lab.said("up");
        let container = client.status().unwrap().pid;
        let stopped = proc::Stopped::new(lab.shim_pid());
        std::fs::write(lab.rootfs().join("tmp/go"), "").unwrap();
        until("the program has ended", || proc::stat(container).is_zombie());
        drop(stopped);
        lab.end_of(&mut client);
        let text = lab.log().replace("\r\n", "\n");
        assert!(text == format!("up\n{}", numbers(1200)), "{} bytes", text.len());
    }
}

/// Both directions full: whoever waits for one of them while the other is not served waits for ever.
#[corten_tier::t1]
fn a_front_passes_on_both_directions_at_once() {
    let mut lab = Lab::with_input("cat");
    lab.settings.log = None;
    lab.write_config();
    let text = counted_text(flood() / 2);
    let mut command = lab.command(&["run", "--interactive", "--log-driver", "none", lab.id()]);
    let ran = run_with(&mut command, &text);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.as_bytes() == text, "{} bytes of {}", ran.out.len(), text.len());
}

/// A process that outlives the container, where it can, may keep the stream for as long as it likes.
#[corten_tier::t1]
fn a_stream_that_is_kept_open_does_not_keep_the_end() {
    let mut lab = Lab::new("setsid sleep 1000 & echo up; exit 3");
    lab.share_processes();
    let begun = Instant::now();
    let ran = lab.run(&[]);
    let took = begun.elapsed();
    assert_eq!((ran.status, ran.out.as_str()), (3, "up\n"));
    assert!(took >= Duration::from_secs(4) && took < Duration::from_secs(5) + slack(), "{took:?}");
    lab.nothing_left();
}

/// Nor does one that never stops writing.
#[corten_tier::t1]
fn a_stream_that_is_written_for_ever_does_not_keep_the_end() {
    let mut lab = Lab::new("setsid yes & exit 3");
    lab.share_processes();
    lab.settings.log = None;
    let mut client = lab.started();
    let begun = Instant::now();
    let waiting = std::thread::spawn(move || client.wait(false).unwrap());
    until("it ends", || waiting.is_finished());
    assert_eq!(waiting.join().unwrap().status, 3);
    assert!(begun.elapsed() < Duration::from_secs(5) + slack(), "{:?}", begun.elapsed());
    lab.nothing_left();
}

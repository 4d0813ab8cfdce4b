//! The solutions of the exercises of chapter 9, each put to the test.
#![deny(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use proptest::prelude::*;

#[path = "../examples/asker.rs"]
#[allow(dead_code)]
mod asker;
#[path = "../examples/chunked.rs"]
#[allow(dead_code)]
mod chunked;
#[path = "../examples/hub.rs"]
#[allow(dead_code)]
mod hub;
#[path = "../examples/relay.rs"]
#[allow(dead_code)]
mod relay;

use asker::Asker;
use chunked::{Chunked, Wrong};
use hub::{Heard, Hub};

fn read(text: &[u8], most: usize) -> Result<(Vec<u8>, usize, bool), Wrong> {
    let (mut chunked, mut body) = (Chunked::new(most), Vec::new());
    let read = chunked.read(text, &mut body)?;
    Ok((body, read, chunked.is_done()))
}

#[test]
fn exercise_1_chunks_and_what_are_none() {
    let whole = b"4;x=y\r\nWiki\r\nA\r\npedia in\r\n\r\n0\r\nTrailer: z\r\n\r\nGET /";
    let (body, length, done) = read(whole, 100).unwrap();
    assert_eq!((&body[..], done), (&b"Wikipedia in\r\n"[..], true));
    assert_eq!(&whole[length..], b"GET /", "the next request's");
    assert!(!read(b"4\r\nWi", 100).unwrap().2);
    let long = [b"1;".to_vec(), vec![b'x'; 1000]].concat();
    for (bad, why) in [
        (&b"x\r\n"[..], Wrong::Malformed),
        (b"\r\n", Wrong::Malformed),
        // What parse::<i64> would take.
        (b"+4\r\nWiki\r\n", Wrong::Malformed),
        (b"-1\r\n", Wrong::Malformed),
        // A line's end that only some take for one: they would see another request here.
        (b"4\nWiki\n", Wrong::Malformed),
        (b"4\r\nWikipedia", Wrong::Malformed),
        (b"65\r\n", Wrong::TooLarge),
        (b"ffffffffffffffffffff\r\n", Wrong::TooLarge),
        (&long, Wrong::Malformed),
    ] {
        let bad_end = [bad, b"\r\n"].concat();
        assert_eq!(read(&bad_end, 100).unwrap_err(), why, "{}", String::from_utf8_lossy(bad));
    }
}

proptest! {
    #[test]
    fn exercise_1_a_body_is_the_same_wherever_it_is_cut(
        pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
        cuts in prop::collection::vec(1..30_usize, 1..40),
    ) {
        let mut text = Vec::new();
        for piece in &pieces {
            write!(text, "{:x}\r\n", piece.len()).unwrap();
            text.extend_from_slice(piece);
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(b"0\r\n\r\n");
        let (mut chunked, mut body, mut rest) = (Chunked::new(1 << 20), Vec::new(), &text[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            prop_assert_eq!(chunked.read(now, &mut body), Ok(now.len()));
            rest = later;
        }
        prop_assert!(chunked.is_done());
        prop_assert_eq!(body, pieces.concat());
    }
}

#[test]
fn exercise_2_who_is_slow_is_told_what_it_has_missed() {
    let hub = Hub::new(4);
    hub.tell(0);
    let (mut slow, mut other) = (hub.listen(), hub.listen());
    (1..=3).for_each(|entry| hub.tell(entry));
    assert_eq!(other.hear(), Heard::Entry(1), "and nothing from before it listened");
    (4..=9).for_each(|entry| hub.tell(entry));
    assert_eq!(slow.hear(), Heard::Missed(5));
    assert_eq!(slow.hear(), Heard::Entry(6));
    assert_eq!(other.hear(), Heard::Missed(4));
    drop(hub);
    let rest: Vec<_> = (0..4).map(|_| slow.hear()).collect();
    assert_eq!(rest, [Heard::Entry(7), Heard::Entry(8), Heard::Entry(9), Heard::End]);
}

#[test]
fn exercise_2_who_waits_is_woken() {
    let hub = Hub::new(4);
    let mut listeners: Vec<_> = (0..20).map(|_| hub.listen()).collect();
    std::thread::scope(|scope| {
        let waiting: Vec<_> =
            listeners.iter_mut().map(|own| scope.spawn(|| (own.hear(), own.hear()))).collect();
        std::thread::sleep(Duration::from_millis(20));
        hub.tell("now");
        drop(hub);
        for one in waiting {
            assert_eq!(one.join().unwrap(), (Heard::Entry("now"), Heard::End));
        }
    });
}

#[test]
fn exercise_3_the_kernel_says_who_has_connected() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let asker = Asker::of(&ours).unwrap();
    let own = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
    assert_eq!((asker.uid, asker.gid), own);
    assert_eq!(u32::try_from(asker.pid), Ok(std::process::id()));
}

#[test]
fn exercise_3_looking_is_not_reading() {
    let asker = Asker { pid: 1, uid: 1000, gid: 1000 };
    for (method, path, may) in [
        ("GET", "/containers/json?all=1", true),
        ("GET", "/_ping", true),
        ("HEAD", "/_ping", true),
        ("GET", "/events", true),
        ("POST", "/containers/create", false),
        ("DELETE", "/containers/a", false),
        ("GET", "/containers/a/archive?path=/etc/shadow", false),
        ("HEAD", "/containers/a/archive?path=/", false),
        // A password is often in the environment.
        ("GET", "/containers/a/json", false),
        ("GET", "/images/a/b/get", false),
        ("GET", "/images/get?names=a", false),
        ("GET", "/images/json", true),
        ("GET", "/exec/e/json", false),
    ] {
        assert_eq!(asker.may(1, method, path), may, "{method} {path}");
        assert!(Asker { uid: 0, ..asker }.may(1, method, path));
        assert!(asker.may(1000, method, path));
    }
}

/// What a client hears through a relay of a program that speaks when its input has ended.
fn heard(relay: fn(UnixStream, UnixStream) -> std::io::Result<()>) -> String {
    let (mut client, theirs) = UnixStream::pair().unwrap();
    let (ours, mut program) = UnixStream::pair().unwrap();
    let running = std::thread::spawn(move || relay(theirs, ours));
    let sorting = std::thread::spawn(move || {
        let mut lines = String::new();
        program.read_to_string(&mut lines).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let _ = program.write_all(format!("sorted {lines}").as_bytes());
    });
    client.write_all(b"b a").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = client.read_to_string(&mut text);
    drop(client);
    sorting.join().unwrap();
    running.join().unwrap().unwrap();
    text
}

#[test]
fn exercise_4_the_end_of_the_input_is_not_that_of_the_output() {
    assert_eq!(heard(relay::relay), "");
    assert_eq!(heard(relay::mended::relay), "sorted b a");
}

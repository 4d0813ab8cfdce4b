//! The solutions of the exercises of chapter 7, each put to the test.
#![deny(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
use ipnet::Ipv4Net;
use proptest::prelude::*;

#[path = "../examples/guess.rs"]
#[allow(dead_code)]
mod guess;
#[path = "../examples/label.rs"]
#[allow(dead_code)]
mod label;
#[path = "../examples/nat.rs"]
#[allow(dead_code)]
mod nat;
#[path = "../examples/pool.rs"]
#[allow(dead_code)]
mod pool;

fn net(text: &str) -> Ipv4Net {
    text.parse().unwrap()
}

fn nets(list: &[&str]) -> Vec<Ipv4Net> {
    list.iter().map(|text| net(text)).collect()
}

#[test]
fn exercise_1_a_subnet_that_nobody_has() {
    let pool = net("172.16.0.0/12");
    for (length, taken, wanted) in [
        (16, vec![], Some("172.16.0.0/16")),
        (16, vec!["172.16.0.0/16"], Some("172.17.0.0/16")),
        // One address is enough.
        (16, vec!["172.16.200.7/32", "172.17.0.0/16"], Some("172.18.0.0/16")),
        // A larger one, of which only the end reaches in; and everything.
        (16, vec!["172.0.0.0/11", "0.0.0.0/0"], None),
        (16, vec!["0.0.0.0/0", "10.0.0.0/8"], Some("172.16.0.0/16")),
        // In any order, one within another.
        (20, vec!["172.16.16.0/20", "172.16.0.0/24", "172.16.0.0/22"], Some("172.16.32.0/20")),
        (12, vec!["172.31.255.255/32"], None),
        (8, vec![], None),
        (32, vec!["172.16.0.0/32"], Some("172.16.0.1/32")),
    ] {
        let found = pool::free_subnet(pool, length, &nets(&taken));
        assert_eq!(found, wanted.map(net), "{length} beside {taken:?}");
    }
    let end = pool::free_subnet(net("255.255.0.0/16"), 17, &nets(&["255.255.128.0/17"]));
    assert_eq!(end, Some(net("255.255.0.0/17")));
    assert_eq!(
        pool::free_subnet(net("255.255.255.255/32"), 32, &nets(&["255.255.255.255/32"])),
        None
    );
}

/// The sum of RFC 1071.
fn sum(bytes: impl IntoIterator<Item = u8>) -> u16 {
    let bytes: Vec<u8> = bytes.into_iter().collect();
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])));
    let mut total: u32 = words.sum();
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !(total as u16)
}

/// A packet with right checksums.
fn packet(protocol: u8, options: usize, payload: &[u8]) -> Vec<u8> {
    let header = 20 + 4 * options;
    let upper = if protocol == 6 { 20 } else { 8 };
    let mut packet = vec![0; header + upper];
    packet[0] = 0x40 | (header / 4) as u8;
    packet[8..10].copy_from_slice(&[64, protocol]);
    packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
    packet[header..header + 4].copy_from_slice(&[0x9c, 0x40, 0x1f, 0x90]);
    packet.extend(payload);
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    let of_ip = sum(packet[..header].to_vec());
    packet[10..12].copy_from_slice(&of_ip.to_be_bytes());
    let at = header + if protocol == 6 { 16 } else { 6 };
    let of_upper = match upper_sum(&packet, header, protocol) {
        0 if protocol == 17 => 0xffff,
        sum => sum,
    };
    packet[at..at + 2].copy_from_slice(&of_upper.to_be_bytes());
    packet
}

/// The sum of TCP or UDP, over the addresses as well.
fn upper_sum(packet: &[u8], header: usize, protocol: u8) -> u16 {
    let length = ((packet.len() - header) as u16).to_be_bytes();
    let pseudo = [&packet[12..20], &[0, protocol], &length].concat();
    sum([&pseudo[..], &packet[header..]].concat())
}

#[test]
fn exercise_2_a_sum_of_udp_may_be_zero_on_the_way_and_is_never_sent_so() {
    let sum_of = |packet: &[u8]| u16::from_be_bytes([packet[26], packet[27]]);
    let before = packet(17, 0, &[]);
    // One value of 65536 makes the sum 0: that of the address's first half, and that of the port.
    for word in 0..=u16::MAX {
        let [high, low] = word.to_be_bytes();
        for (address, port) in [([high, low, 0, 9], 77), ([10, 0, 0, 2], word)] {
            let mut packet = before.clone();
            assert!(nat::redirect(&mut packet, address.into(), port));
            assert_eq!(upper_sum(&packet, 20, 17), 0, "{address:?}:{port}");
            assert_ne!(sum_of(&packet), 0, "{address:?}:{port}: that is none");
        }
    }
    let mut without = before;
    without[26..28].copy_from_slice(&[0, 0]);
    assert!(nat::redirect(&mut without, Ipv4Addr::LOCALHOST, 80));
    assert_eq!(sum_of(&without), 0, "a packet without a sum has one");
}

proptest! {
    #[test]
    fn exercise_2_both_checksums_are_right_afterwards(
        protocol in prop_oneof![Just(6_u8), Just(17)],
        options in 0_usize..10,
        payload in proptest::collection::vec(any::<u8>(), 0..50),
        address in any::<[u8; 4]>(),
        port in any::<u16>(),
    ) {
        let mut packet = packet(protocol, options, &payload);
        let header = 20 + 4 * options;
        prop_assert!(nat::redirect(&mut packet, address.into(), port));
        prop_assert_eq!(&packet[16..20], &address);
        prop_assert_eq!(&packet[header + 2..header + 4], &port.to_be_bytes());
        // A sum over what has a right sum in it is 0.
        prop_assert_eq!(sum(packet[..header].to_vec()), 0);
        prop_assert_eq!(upper_sum(&packet, header, protocol), 0);
        prop_assert_eq!(&packet[packet.len() - payload.len()..], &payload);
    }

    #[test]
    fn exercise_2_whatever_comes_nothing_breaks(mut packet in proptest::collection::vec(any::<u8>(), 0..60)) {
        let before = packet.clone();
        if !nat::redirect(&mut packet, Ipv4Addr::LOCALHOST, 80) {
            prop_assert_eq!(packet, before);
        }
    }

    /// As hickory-proto reads it, where both find a name.
    #[test]
    fn exercise_3_a_name_is_what_others_read(
        message in proptest::collection::vec(prop_oneof![0_u8..8, Just(0xc0), any::<u8>()], 0..40),
        at in 0_usize..40,
    ) {
        let ours = label::read_name(&message, at);
        let mut decoder = BinDecoder::new(&message).clone(at.min(message.len()) as u16);
        if let (Some((_, after)), Ok(theirs)) = (&ours, Name::read(&mut decoder)) {
            prop_assert_eq!(decoder.index(), *after);
            let labels: usize = theirs.iter().map(|label| label.len() + 1).sum();
            prop_assert!(labels <= 254);
        }
    }
}

#[test]
fn exercise_2_fragments_and_other_protocols_are_left_alone() {
    for (at, value) in [(9, 1), (7, 1), (0, 0x65), (0, 0x44)] {
        let mut packet = packet(17, 0, b"data");
        packet[at] = value;
        let before = packet.clone();
        assert!(!nat::redirect(&mut packet, Ipv4Addr::LOCALHOST, 80));
        assert_eq!(packet, before);
    }
    // Without a checksum there is none to mend.
    let mut bare = packet(17, 0, b"data");
    bare[26..28].copy_from_slice(&[0, 0]);
    assert!(nat::redirect(&mut bare, Ipv4Addr::LOCALHOST, 80));
    assert_eq!(bare[26..28], [0, 0]);
}

#[test]
fn exercise_3_names_and_what_is_none() {
    let message = b"\x03web\x03app\x00\x02db\xc0\x04!";
    assert_eq!(label::read_name(message, 0), Some(("web.app.".into(), 9)));
    assert_eq!(label::read_name(message, 9), Some(("db.app.".into(), 14)));
    assert_eq!(label::read_name(b"\x00", 0), Some((String::new(), 1)));
    assert_eq!(label::read_name(b"\x04a.\\\x07\x00", 0).unwrap().0, r"a\.\\\007.");
    let long = [&[63; 64][..]; 4].concat();
    let loops = [&b"\xc0\x00"[..], b"\xc0\x02\xc0\x00", b"\x01a\xc0\x00", b"\x01a\xc0\x01"];
    for bad in [&b""[..], b"\x03we", b"\xc0", b"\x40", &long].iter().chain(&loops) {
        assert_eq!(label::read_name(bad, 0), None, "{bad:?}");
    }
}

const QUESTION: &[u8] =
    b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01";

/// An answer that says who has written it.
fn answer(question: &[u8], who: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer.extend(who);
    answer
}

/// A resolver that takes a moment, and the client itself, which has asked and knows its number.
fn who_is_believed(ask: impl FnOnce(SocketAddr) -> std::io::Result<Vec<u8>>) -> Vec<u8> {
    let over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let resolver = UdpSocket::bind("127.0.0.9:0").unwrap();
        let place = resolver.local_addr().unwrap();
        scope.spawn(move || {
            let mut buffer = [0; 512];
            let (length, peer) = resolver.recv_from(&mut buffer).unwrap();
            std::thread::sleep(Duration::from_millis(200));
            resolver.send_to(&answer(&buffer[..length], b"resolver"), peer).unwrap();
        });
        scope.spawn(move || {
            let stranger = UdpSocket::bind("127.0.0.8:0").unwrap();
            while !over.load(Ordering::SeqCst) {
                let _ = stranger.send_to(&answer(QUESTION, b"stranger"), "127.0.0.1:5353");
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let believed = ask(place).unwrap();
        over.store(true, Ordering::SeqCst);
        assert_eq!(believed[..2], QUESTION[..2], "the client's number");
        believed[QUESTION.len()..].to_vec()
    })
}

/// In a network namespace of its own: the broken one has a port that others may have.
#[corten_tier::t1]
fn exercise_4_a_stranger_is_believed_and_is_not() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    corten_namespaces::sys::loopback_up().unwrap();
    let broken = guess::Forwarder::new().unwrap();
    assert_eq!(who_is_believed(|resolver| broken.ask(QUESTION, resolver)), b"stranger");
    assert_eq!(who_is_believed(|resolver| guess::ask(QUESTION, resolver)), b"resolver");
}

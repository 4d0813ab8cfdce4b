//! Frames of an attacker.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_network::Mac;

pub const BROADCAST: Mac = Mac([0xff; 6]);

fn ether(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    [&to.0[..], &from.0[..], &kind.to_be_bytes()[..]].concat()
}

/// The checksum of IP (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A datagram in IPv4 in a frame.
pub fn udp4(
    (to, from): (Mac, Mac),
    (target, source): (IpAddr, IpAddr),
    (port, own): (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let (IpAddr::V4(target), IpAddr::V4(source)) = (target, source) else { panic!("IPv4 only") };
    let length = 8 + payload.len() as u16;
    let mut header = vec![0x45, 0];
    header.extend((20 + length).to_be_bytes());
    header.extend([0, 1, 0, 0, 64, 17, 0, 0]);
    header.extend(source.octets());
    header.extend(target.octets());
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ether(to, from, 0x0800);
    frame.extend(header);
    frame.extend(own.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend(length.to_be_bytes());
    // No checksum, as UDP over IPv4 may.
    frame.extend([0, 0]);
    frame.extend(payload);
    frame
}

/// An ARP answer: `claimed` is at `mac`.
pub fn arp_reply(
    frame: (Mac, Mac),
    (claimed, mac): (IpAddr, Mac),
    asked: (IpAddr, Mac),
) -> Vec<u8> {
    let octets = |address| match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("IPv4 only"),
    };
    let mut bytes = ether(frame.0, frame.1, 0x0806);
    bytes.extend([0, 1, 8, 0, 6, 4, 0, 2]);
    bytes.extend(mac.0);
    bytes.extend(octets(claimed));
    bytes.extend(asked.1.0);
    bytes.extend(octets(asked.0));
    bytes
}

/// A message of ICMPv6 in a frame.
pub fn icmp6(frame: (Mac, Mac), source: Ipv6Addr, target: Ipv6Addr, message: &[u8]) -> Vec<u8> {
    let mut sum = [&source.octets()[..], &target.octets()[..]].concat();
    sum.extend((message.len() as u32).to_be_bytes());
    sum.extend([0, 0, 0, 58]);
    sum.extend(message);
    let sum = checksum(&sum);
    let mut bytes = ether(frame.0, frame.1, 0x86dd);
    bytes.extend([0x60, 0, 0, 0]);
    bytes.extend((message.len() as u16).to_be_bytes());
    bytes.extend([58, 255]);
    bytes.extend(source.octets());
    bytes.extend(target.octets());
    let start = bytes.len();
    bytes.extend(message);
    bytes[start + 2..start + 4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A neighbour advertisement: `claimed` is at `mac`, and what was known before is wrong.
pub fn advertisement(claimed: Ipv6Addr, mac: Mac) -> Vec<u8> {
    let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend(claimed.octets());
    message.extend([2, 1]);
    message.extend(mac.0);
    message
}

/// A router advertisement: the sender is the way to everywhere.
pub fn router_advertisement(mac: Mac) -> Vec<u8> {
    let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08];
    message.extend([0; 8]);
    message.extend([1, 1]);
    message.extend(mac.0);
    message
}

/// An IPv4 address from its four numbers.
pub fn ipv4(octets: [u8; 4]) -> IpAddr {
    Ipv4Addr::from(octets).into()
}

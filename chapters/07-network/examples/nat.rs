//! Exercise 7.2: what address translation does to a packet.
#![deny(unsafe_code)]

use std::net::Ipv4Addr;

/// The protocols whose checksum covers the addresses, and where in their header it stands.
const TCP: (u8, usize) = (6, 16);
const UDP: (u8, usize) = (17, 6);

// ANCHOR: nat
/// Replaces the target of an IPv4 packet, and mends the checksums. `false` where it is no packet of
/// TCP or UDP with all of its headers; it is as it was then.
pub fn redirect(packet: &mut [u8], address: Ipv4Addr, port: u16) -> bool {
    let Some(&first) = packet.first() else { return false };
    let header = usize::from(first & 0xf) * 4;
    let (version, protocol) = (first >> 4, packet.get(9).copied());
    let checksum = match [TCP, UDP].into_iter().find(|(number, _)| protocol == Some(*number)) {
        Some((_, offset)) => header + offset,
        None => return false,
    };
    // A later fragment has no header of TCP or UDP: what stands there is data.
    let fragment = packet.get(6..8).is_none_or(|field| field[0] & 0x1f != 0 || field[1] != 0);
    if version != 4 || header < 20 || fragment || packet.len() < checksum + 2 {
        return false;
    }
    // 0 is "none" in UDP (RFC 768), and stays.
    let udp = protocol == Some(UDP.0);
    let none = udp && packet[checksum..checksum + 2] == [0, 0];
    let mut replace = |at: usize, new: [u8; 2], sums: &[usize]| {
        let old = [packet[at], packet[at + 1]];
        packet[at..at + 2].copy_from_slice(&new);
        for sum in sums.iter().filter(|sum| !(none && **sum == checksum)) {
            let before = [packet[*sum], packet[sum + 1]];
            packet[*sum..sum + 2].copy_from_slice(&mended(before, old, new));
        }
    };
    let [a, b, c, d] = address.octets();
    // The address is in two sums: its own header's, and that of TCP or UDP, which covers it as well.
    replace(16, [a, b], &[10, checksum]);
    replace(18, [c, d], &[10, checksum]);
    replace(header + 2, port.to_be_bytes(), &[checksum]);
    // A sum that is 0 is sent as its other zero: it is not "none".
    if udp && !none && packet[checksum..checksum + 2] == [0, 0] {
        packet[checksum..checksum + 2].copy_from_slice(&[0xff, 0xff]);
    }
    true
}

/// The checksum after one word of what it covers has changed (RFC 1624): the rest need not be read.
fn mended(sum: [u8; 2], old: [u8; 2], new: [u8; 2]) -> [u8; 2] {
    let word = |bytes| u32::from(u16::from_be_bytes(bytes));
    let mut total = (!word(sum) & 0xffff) + (!word(old) & 0xffff) + word(new);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    (!(total as u16)).to_be_bytes()
}
// ANCHOR_END: nat

fn main() {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    packet.extend([0x9c, 0x40, 0x1f, 0x90, 0, 8, 0, 0]);
    println!("{packet:02x?}");
    redirect(&mut packet, Ipv4Addr::new(172, 18, 0, 2), 80);
    println!("{packet:02x?}");
}

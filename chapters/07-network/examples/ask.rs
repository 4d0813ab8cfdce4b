//! How long a name takes: `ask NAME TIMES` asks 127.0.0.11 for its address, one question after the
//! other, and prints the milliseconds of each.
#![deny(unsafe_code)]

use std::io;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

/// Questions before those that are measured.
const WARMUP: usize = 200;

/// A question for the address of `name` (RFC 1035, 4.1).
fn question(id: u16, name: &str) -> Vec<u8> {
    let mut packet = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packet.push(label.len() as u8);
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    packet
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, times] = &words[..] else {
        return Err(io::Error::other("usage: ask NAME TIMES"));
    };
    let times: usize = times.parse().map_err(io::Error::other)?;
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect("127.0.0.11:53")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut buffer = [0; 512];
    for number in 0..WARMUP + times {
        let packet = question(number as u16, name);
        let begun = Instant::now();
        socket.send(&packet)?;
        let length = socket.recv(&mut buffer)?;
        let took = begun.elapsed();
        let answers = u16::from_be_bytes([buffer[6], buffer[7]]);
        if length < packet.len() || buffer[..2] != packet[..2] || answers != 1 {
            return Err(io::Error::other(format!("no address: {:02x?}", &buffer[..length])));
        }
        if number >= WARMUP {
            println!("{:.4}", took.as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

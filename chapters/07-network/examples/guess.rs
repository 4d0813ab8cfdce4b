//! Exercise 7.4: a forwarder that believes whoever answers first.
#![deny(unsafe_code)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// For how long an answer is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

// ANCHOR: broken
/// Asks a resolver, for a client: the number is the client's, and has to come back.
pub struct Forwarder {
    socket: UdpSocket,
}

impl Forwarder {
    /// One socket for all questions.
    ///
    /// # Errors
    /// Where the port is another one's.
    pub fn new() -> io::Result<Forwarder> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5353))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Forwarder { socket })
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Where none comes in time.
    pub fn ask(&self, question: &[u8], resolver: SocketAddr) -> io::Result<Vec<u8>> {
        self.socket.send_to(question, resolver)?;
        let mut buffer = [0; 4096];
        loop {
            let (length, _) = self.socket.recv_from(&mut buffer)?;
            // The number of the question, and it is an answer.
            if length >= 12 && buffer[..2] == question[..2] && buffer[2] & 0x80 != 0 {
                return Ok(buffer[..length].to_vec());
            }
        }
    }
}
// ANCHOR_END: broken

// ANCHOR: mended
/// The same, for a world with strangers in it.
///
/// # Errors
/// Where no answer comes in time.
pub fn ask(question: &[u8], resolver: SocketAddr) -> io::Result<Vec<u8>> {
    // A socket for this question: its port is the kernel's choice, and what comes from another
    // address than the resolver's does not reach it.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(resolver)?;
    // A number that the client does not know either: it may be the one who attacks.
    let mut id = [0; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let mut ours = question.to_vec();
    ours[..2].copy_from_slice(&id);
    socket.send(&ours)?;
    let begun = Instant::now();
    let mut buffer = [0; 4096];
    loop {
        // Not for ever, because somebody sends and sends.
        let left = PATIENCE.checked_sub(begun.elapsed()).filter(|left| !left.is_zero());
        socket.set_read_timeout(Some(left.ok_or(io::ErrorKind::TimedOut)?))?;
        let length = socket.recv(&mut buffer)?;
        let answer = &mut buffer[..length];
        let asked = question.len();
        let fits = length >= asked
            && answer[..2] == id
            && answer[2] & 0x80 != 0
            && answer[12..asked].eq_ignore_ascii_case(&question[12..]);
        if fits {
            answer[..2].copy_from_slice(&question[..2]);
            return Ok(answer.to_vec());
        }
    }
}
// ANCHOR_END: mended

fn main() -> io::Result<()> {
    let question = b"\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x00\x00\x01\x00\x01";
    let resolver = SocketAddr::from(([127, 0, 0, 53], 53));
    println!("{:02x?}", ask(question, resolver));
    println!("{:02x?}", Forwarder::new()?.ask(question, resolver));
    Ok(())
}

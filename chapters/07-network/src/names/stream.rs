//! TCP connections of containers: a container that opens them and says nothing costs little, and
//! not for long.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use corten_supervisor::poller::Registered;
use nix::sys::epoll::EpollFlags;

use super::source::{Poller, Source};
use super::wire::LONGEST_QUESTION;
use crate::error::Result;

/// How many connections a container may have. For another one, the one that has been silent for
/// longest is closed: so no number of half-open ones keeps anybody out.
const MOST_OF_ONE: usize = 16;

/// For how long a connection may be silent, or not take its answers.
const PATIENCE: Duration = Duration::from_secs(8);

/// With so much that a client has not taken, no more of its questions are read.
const ENOUGH: usize = 64 << 10;

#[derive(Debug)]
struct Stream {
    station: u32,
    socket: Registered<TcpStream>,
    read: Vec<u8>,
    out: Vec<u8>,
    /// Questions whose answers have not been written yet.
    open: usize,
    /// The client has said that there is nothing more to come.
    ended: bool,
    deadline: Instant,
}

impl Stream {
    fn interest(&self) -> EpollFlags {
        let mut interest = EpollFlags::empty();
        if self.out.len() < ENOUGH && !self.ended {
            interest |= EpollFlags::EPOLLIN;
        }
        if !self.out.is_empty() {
            interest |= EpollFlags::EPOLLOUT;
        }
        interest
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: BTreeMap<u32, Stream>,
    next: u32,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.streams.len()
    }

    /// When the next one has been silent for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.streams.values().map(|stream| stream.deadline).min()
    }

    pub(super) fn station(&self, number: u32) -> Option<u32> {
        self.streams.get(&number).map(|stream| stream.station)
    }

    // ANCHOR: accept
    /// Takes in a new connection; the number of the one that had to go for it.
    pub(super) fn accept(
        &mut self,
        poller: &mut Poller,
        station: u32,
        socket: TcpStream,
    ) -> Result<Option<u32>> {
        let of_one = self.streams.iter().filter(|(_, stream)| stream.station == station);
        let (count, oldest) = of_one.fold((0, None), |(count, oldest), (number, stream)| {
            let candidate = (stream.deadline, *number);
            (count + 1, Some(oldest.map_or(candidate, |other| candidate.min(other))))
        });
        let gone = oldest.map(|(_, number)| number).filter(|_| count >= MOST_OF_ONE);
        if let Some(number) = gone {
            self.close(poller, number);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let socket = Registered::new(poller, socket, Source::Stream(number), EpollFlags::EPOLLIN)?;
        let deadline = Instant::now() + PATIENCE;
        let (read, out) = (Vec::new(), Vec::new());
        let stream = Stream { station, socket, read, out, open: 0, ended: false, deadline };
        self.streams.insert(number, stream);
        Ok(gone)
    }
    // ANCHOR_END: accept

    /// Reads and writes what can be. `Err` when it is at its end.
    pub(super) fn ready(&mut self, number: u32, flags: EpollFlags) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(()) };
        // The client is gone, not only done.
        if flags.intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR) {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        stream.write()?;
        if !flags.contains(EpollFlags::EPOLLIN) || stream.out.len() >= ENOUGH {
            return Ok(());
        }
        let mut buffer = [0; LONGEST_QUESTION];
        match stream.socket.fd.read(&mut buffer) {
            Ok(0) => stream.ended = true,
            Ok(length) => stream.read.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The next question that was read, unless the client is behind with its answers.
    pub(super) fn next_question(&mut self, number: u32) -> io::Result<Option<Vec<u8>>> {
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(None) };
        if stream.out.len() >= ENOUGH {
            return Ok(None);
        }
        let question = first_question(&mut stream.read)?;
        if question.is_some() {
            stream.open += 1;
            stream.deadline = Instant::now() + PATIENCE;
        }
        Ok(question)
    }

    /// Sends an answer, or nothing where there is none. `Err` when the connection is at its end.
    pub(super) fn send(&mut self, number: u32, answer: &[u8]) -> io::Result<()> {
        let Some(stream) = self.streams.get_mut(&number) else { return Ok(()) };
        stream.open = stream.open.saturating_sub(1);
        if let (Ok(length), false) = (u16::try_from(answer.len()), answer.is_empty()) {
            stream.out.extend(length.to_be_bytes());
            stream.out.extend_from_slice(answer);
        }
        stream.write()
    }

    /// Waits for what comes next, after all the above. `Err` when there is nothing to wait for.
    pub(super) fn rest(&self, poller: &Poller, number: u32) -> io::Result<()> {
        let Some(stream) = self.streams.get(&number) else { return Ok(()) };
        if stream.ended && stream.open == 0 && stream.out.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        stream.socket.interest(poller, stream.interest()).map_err(io::Error::other)
    }

    pub(super) fn close(&mut self, poller: &mut Poller, number: u32) {
        if let Some(stream) = self.streams.remove(&number) {
            stream.socket.end(poller);
        }
    }

    /// Those that have been silent for too long.
    pub(super) fn expired(&self, now: Instant) -> Vec<u32> {
        let late = self.streams.iter().filter(|(_, stream)| stream.deadline <= now);
        late.map(|(number, _)| *number).collect()
    }

    /// The one that has been silent for longest.
    pub(super) fn oldest(&self) -> Option<u32> {
        let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.deadline);
        oldest.map(|(number, _)| *number)
    }

    /// Those of a station.
    pub(super) fn of(&self, station: u32) -> Vec<u32> {
        let own = self.streams.iter().filter(|(_, stream)| stream.station == station);
        own.map(|(number, _)| *number).collect()
    }
}

impl Stream {
    fn write(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.socket.fd.write(&self.out) {
                Ok(written) => drop(self.out.drain(..written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Takes the first whole question out of what was read.
fn first_question(read: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let [high, low, rest @ ..] = read.as_slice() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if length > LONGEST_QUESTION {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let Some(question) = rest.get(..length).map(<[u8]>::to_vec) else { return Ok(None) };
    read.drain(..2 + length);
    Ok(Some(question))
}

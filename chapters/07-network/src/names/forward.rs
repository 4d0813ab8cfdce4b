//! Questions that somebody else has to answer.
//!
//! Each goes out under a random number from a socket of its own, whose port the kernel chooses at
//! random and which is connected: the kernel drops what comes from any other address. Whoever wants
//! to answer in a resolver's place has to guess about 31 bits before it answers (RFC 5452).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use corten_supervisor::poller::Registered;
use nix::errno::Errno;
use nix::sys::epoll::EpollFlags;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};

use super::resolvers::Resolvers;
use super::source::{Poller, Source};
use super::wire::{Question, Returned};

/// For how long one resolver is waited for. The C library gives up after 5 s: with three tries we
/// are done before.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How often a question is asked, of one resolver or of several.
const TRIES: usize = 3;

/// How many questions of one container may be on their way. One that asks more gets failures, and
/// no other notices.
const MOST_OF_ONE: usize = 64;

const PORT: u16 = 53;

/// Who waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    /// Somebody at a station's UDP socket.
    Datagram { station: u32, peer: SocketAddr },
    /// The TCP connection with this number, which is of a station.
    Stream { station: u32, stream: u32 },
}

impl Asker {
    pub(super) fn station(self) -> u32 {
        match self {
            Asker::Datagram { station, .. } | Asker::Stream { station, .. } => station,
        }
    }
}

/// What has become of a question; `None` for a failure.
pub(super) type Outcome = (Asker, Box<Question>, Option<Vec<u8>>);

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Tcp { stream: TcpStream, out: Vec<u8>, back: Vec<u8> },
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Tcp { stream, .. } => stream.as_fd(),
        }
    }
}

/// One question on its way.
#[derive(Debug)]
struct Flight {
    asker: Asker,
    question: Box<Question>,
    servers: Vec<IpAddr>,
    tried: usize,
    /// The number that this try has.
    id: u16,
    socket: Option<Registered<Socket>>,
    deadline: Instant,
}

impl Flight {
    /// The one that is asked now.
    fn server(&self) -> IpAddr {
        self.servers[(self.tried - 1) % self.servers.len()]
    }
}

/// All questions that are on their way.
#[derive(Debug, Default)]
pub(super) struct Forwards {
    flights: BTreeMap<u32, Flight>,
    deadlines: BTreeSet<(Instant, u32)>,
    /// So that a client that asks again gets one answer, and its question is asked once.
    asked: BTreeSet<(Asker, u16)>,
    /// How many each station has on their way.
    of_station: HashMap<u32, usize>,
    next: u32,
}

/// What a look at a flight's socket has brought.
enum Look {
    Nothing,
    Answer(Vec<u8>),
    /// Another resolver should be asked.
    Failed,
}

impl Forwards {
    /// How many are on their way.
    pub(super) fn len(&self) -> usize {
        self.flights.len()
    }

    /// When something has to be given up.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    // ANCHOR: send
    /// Asks `servers`, one after the other. The outcome comes at once where nobody can be asked.
    pub(super) fn send(
        &mut self,
        poller: &mut Poller,
        resolvers: &mut Resolvers,
        asker: Asker,
        question: Box<Question>,
        servers: Vec<IpAddr>,
    ) -> Option<Outcome> {
        if self.asked.contains(&(asker, question.id())) {
            return None; // It is on its way: this one was sent again.
        }
        let of_one = self.of_station.entry(asker.station()).or_default();
        if servers.is_empty() || *of_one >= MOST_OF_ONE {
            return Some((asker, question, None));
        }
        *of_one += 1;
        self.asked.insert((asker, question.id()));
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let flight = Flight {
            asker,
            question,
            servers,
            tried: 0,
            id: 0,
            socket: None,
            deadline: Instant::now(),
        };
        self.next_try(poller, resolvers, number, flight)
    }
    // ANCHOR_END: send

    /// Asks the next resolver, until there is one that can be asked.
    fn next_try(
        &mut self,
        poller: &mut Poller,
        resolvers: &mut Resolvers,
        number: u32,
        mut flight: Flight,
    ) -> Option<Outcome> {
        // One that there is only one of is asked twice: packets get lost.
        let tries = TRIES.min(flight.servers.len().max(2));
        while flight.tried < tries {
            flight.tried += 1;
            let Ok(socket) = flight.depart() else {
                resolvers.was_silent(flight.server());
                continue;
            };
            let interest = match socket {
                Socket::Udp(_) => EpollFlags::EPOLLIN,
                Socket::Tcp { .. } => EpollFlags::EPOLLOUT,
            };
            let Ok(socket) = Registered::new(poller, socket, Source::Flight(number), interest)
            else {
                break;
            };
            flight.socket = Some(socket);
            flight.deadline = Instant::now() + PATIENCE;
            self.deadlines.insert((flight.deadline, number));
            self.flights.insert(number, flight);
            return None;
        }
        Some(self.ended(flight, None))
    }

    fn ended(&mut self, flight: Flight, answer: Option<Vec<u8>>) -> Outcome {
        self.asked.remove(&(flight.asker, flight.question.id()));
        let station = flight.asker.station();
        if let Some(of_one) = self.of_station.get_mut(&station) {
            *of_one -= 1;
            if *of_one == 0 {
                self.of_station.remove(&station);
            }
        }
        (flight.asker, flight.question, answer)
    }

    /// Takes a flight out, with its socket closed.
    fn land(&mut self, poller: &mut Poller, number: u32) -> Option<Flight> {
        let mut flight = self.flights.remove(&number)?;
        self.deadlines.remove(&(flight.deadline, number));
        if let Some(socket) = flight.socket.take() {
            socket.end(poller);
        }
        Some(flight)
    }

    /// Something has happened on the socket of a flight.
    pub(super) fn ready(
        &mut self,
        poller: &mut Poller,
        resolvers: &mut Resolvers,
        number: u32,
    ) -> Option<Outcome> {
        let look = self.flights.get_mut(&number)?.look(poller);
        match look {
            Look::Nothing => None,
            Look::Answer(answer) => {
                let flight = self.land(poller, number)?;
                resolvers.has_answered(flight.server());
                Some(self.ended(flight, Some(answer)))
            }
            Look::Failed => {
                let flight = self.land(poller, number)?;
                self.next_try(poller, resolvers, number, flight)
            }
        }
    }

    /// Gives up what has waited for long enough.
    pub(super) fn expire(
        &mut self,
        poller: &mut Poller,
        resolvers: &mut Resolvers,
        now: Instant,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while let Some((deadline, number)) = self.deadlines.first().copied() {
            if deadline > now {
                break;
            }
            let Some(flight) = self.land(poller, number) else {
                self.deadlines.remove(&(deadline, number));
                continue;
            };
            resolvers.was_silent(flight.server());
            outcomes.extend(self.next_try(poller, resolvers, number, flight));
        }
        outcomes
    }

    /// Forgets what nobody waits for any more.
    pub(super) fn forget(&mut self, poller: &mut Poller, gone: impl Fn(Asker) -> bool) {
        let numbers: Vec<u32> = self
            .flights
            .iter()
            .filter(|(_, flight)| gone(flight.asker))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            if let Some(flight) = self.land(poller, number) {
                self.ended(flight, None);
            }
        }
    }
}

impl Flight {
    /// Sends the question off.
    fn depart(&mut self) -> io::Result<Socket> {
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(|_| io::Error::from(io::ErrorKind::Other))?;
        self.id = u16::from_be_bytes(id);
        let packet = self.question.forwarded(self.id);
        let server = SocketAddr::new(self.server(), PORT);
        match self.asker {
            Asker::Datagram { .. } => {
                let any = match server {
                    SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                    SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                };
                let socket = UdpSocket::bind((any, 0))?;
                socket.set_nonblocking(true)?;
                socket.connect(server)?;
                socket.send(&packet)?;
                Ok(Socket::Udp(socket))
            }
            // Who asks by TCP has been told that the answer is long.
            Asker::Stream { .. } => {
                let stream = begin_to_connect(server)?;
                let mut out = (packet.len() as u16).to_be_bytes().to_vec();
                out.extend(packet);
                Ok(Socket::Tcp { stream, out, back: Vec::new() })
            }
        }
    }

    fn look(&mut self, poller: &Poller) -> Look {
        let Some(registered) = &mut self.socket else { return Look::Nothing };
        let packet = match &mut registered.fd {
            Socket::Udp(socket) => receive(socket),
            Socket::Tcp { stream, out, .. } if !out.is_empty() => {
                match stream.write(out) {
                    Ok(written) => drop(out.drain(..written)),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return Look::Failed,
                }
                if out.is_empty() && registered.interest(poller, EpollFlags::EPOLLIN).is_err() {
                    return Look::Failed;
                }
                return Look::Nothing;
            }
            Socket::Tcp { stream, back, .. } => receive_stream(stream, back),
        };
        let packet = match packet {
            Ok(Some(packet)) => packet,
            Ok(None) => return Look::Nothing,
            Err(_) => return Look::Failed,
        };
        let limit = match self.asker {
            Asker::Datagram { .. } => self.question.limit(),
            Asker::Stream { .. } => usize::from(u16::MAX),
        };
        match self.question.returned(self.id, &packet, limit) {
            Some(Returned::Answer(answer)) => Look::Answer(answer),
            Some(Returned::Failed) => Look::Failed,
            // Not from the one that was asked, or from one that has lost its mind. The right answer
            // may still come.
            None => Look::Nothing,
        }
    }
}

fn receive(socket: &UdpSocket) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; 4096];
    match socket.recv(&mut buffer) {
        Ok(length) => Ok(Some(buffer[..length].to_vec())),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// A whole message, when it is there: two bytes of length, and the rest.
fn receive_stream(stream: &mut TcpStream, back: &mut Vec<u8>) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = [0; 16 << 10];
    match stream.read(&mut buffer) {
        Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(length) => back.extend_from_slice(&buffer[..length]),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error),
    }
    let [high, low, rest @ ..] = back.as_slice() else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    Ok(rest.get(..length).map(<[u8]>::to_vec))
}

/// Connects without waiting for the other side.
fn begin_to_connect(server: SocketAddr) -> io::Result<TcpStream> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let made: OwnedFd = socket(family, SockType::Stream, flags, None)?;
    match connect(made.as_raw_fd(), &SockaddrStorage::from(server)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(made.into()),
        Err(errno) => Err(errno.into()),
    }
}

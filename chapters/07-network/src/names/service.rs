//! From a question to its answer.

use std::net::IpAddr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;

use super::forward::{Asker, Outcome};
use super::server::Server;
use super::station::is_client;
use super::table::{Family, Found};
use super::wire::{self, Answer, LONGEST_QUESTION, Question, Received};
use crate::error::Result;
use crate::files::resolv::searches;

/// How many datagrams of one container are answered before others have their turn.
const TURN: usize = 16;

/// What a question leads to at once.
enum Reply {
    /// This.
    Now(Vec<u8>),
    /// Nothing yet: it was sent to a resolver.
    Later,
    /// Nothing ever.
    Never,
}

impl Server {
    // ANCHOR: read_datagrams
    /// Answers what a container has sent by UDP.
    pub(super) fn read_datagrams(&mut self, station: u32) -> Result<()> {
        let Some(post) = self.posts.get(&station) else { return Ok(()) };
        // One byte more than is allowed, to see what is too long.
        let mut buffer = [0; LONGEST_QUESTION + 1];
        let mut questions = Vec::new();
        while questions.len() < TURN {
            let Ok((length, peer)) = post.datagrams.fd.recv_from(&mut buffer) else { break };
            if is_client(peer) {
                questions.push((Asker::Datagram { station, peer }, buffer[..length].to_vec()));
            }
        }
        self.catch_up()?;
        for (asker, question) in questions {
            if let Reply::Now(answer) = self.reply(asker, &question) {
                self.deliver(asker, &answer);
            }
        }
        Ok(())
    }
    // ANCHOR_END: read_datagrams

    /// Answers what has been read of a TCP connection.
    pub(super) fn advance(&mut self, stream: u32) {
        let Some(station) = self.streams.station(stream) else { return };
        let asker = Asker::Stream { station, stream };
        loop {
            let question = match self.streams.next_question(stream) {
                Ok(Some(question)) => question,
                Ok(None) => break,
                Err(_) => return self.close_stream(stream),
            };
            let sent = match self.reply(asker, &question) {
                Reply::Now(answer) => self.streams.send(stream, &answer),
                Reply::Later => Ok(()),
                Reply::Never => return self.close_stream(stream),
            };
            if sent.is_err() {
                return self.close_stream(stream);
            }
        }
        if self.streams.rest(&self.poller, stream).is_err() {
            self.close_stream(stream);
        }
    }

    // ANCHOR: reply
    fn reply(&mut self, asker: Asker, packet: &[u8]) -> Reply {
        let question = match wire::read(packet) {
            Received::Question(question) => question,
            Received::Refused(answer) => return Reply::Now(answer),
            Received::Nothing => return Reply::Never,
        };
        self.answered += 1;
        let Some(post) = self.posts.get(&asker.station()) else { return Reply::Never };
        let container = post.container.clone();
        let limit = limit(asker, &question);
        if let Some(answer) = self.own_answer(&container, &question) {
            return Reply::Now(question.answer(&answer, limit));
        }
        // From an internal network nothing leaves, and no name does either: names can carry
        // whatever somebody wants to get out (CVE-2024-29018).
        if !self.table.may_ask_outside(&container) {
            return Reply::Now(question.failed(limit));
        }
        self.forwarded += 1;
        let servers = self.resolvers_of(&container);
        let (poller, resolvers) = (&mut self.poller, &mut self.resolvers);
        match self.forwards.send(poller, resolvers, asker, question, servers) {
            Some((_, question, _)) => Reply::Now(question.failed(limit)),
            None => Reply::Later,
        }
    }
    // ANCHOR_END: reply

    // ANCHOR: own_answer
    /// What the table says; `None` where it says nothing, and somebody else may.
    fn own_answer(&mut self, container: &str, question: &Question) -> Option<Answer> {
        if question.is_of_the_future() {
            return Some(Answer::Failure(ResponseCode::BADVERS));
        }
        if !question.is_internet() {
            return None;
        }
        let kind = question.kind();
        if kind == RecordType::PTR {
            let name = self.table.reverse(container, question.address()?)?;
            return Some(Answer::Name(name));
        }
        let name = question.name()?;
        let found = match kind {
            RecordType::AAAA => self.table.lookup(container, &name, Family::V6),
            _ => self.table.lookup(container, &name, Family::V4),
        };
        match found {
            Found::Addresses(addresses) if matches!(kind, RecordType::A | RecordType::AAAA) => {
                Some(Answer::Addresses(addresses))
            }
            // Known, but not for what was asked.
            Found::Addresses(_) | Found::Empty => Some(Answer::Empty),
            // With a search list the client comes again, with another dot in the name.
            Found::Unknown if !name.contains('.') && self.searches(container) => {
                matches!(kind, RecordType::A | RecordType::AAAA).then_some(Answer::Empty)
            }
            Found::Unknown => None,
        }
    }
    // ANCHOR_END: own_answer

    /// Whether this container looks through a search list: somebody has set `ndots`.
    fn searches(&mut self, container: &str) -> bool {
        let mut endpoints = self.table.endpoints(&self.settings.network).map(|(_, it)| it);
        let own = endpoints.find(|it| it.container == container);
        let own = own.map(|it| &it.dns_options).filter(|options| !options.is_empty());
        own.map_or_else(|| self.resolvers.host_searches(), |options| searches(options))
    }

    /// Whom to ask for this container.
    fn resolvers_of(&mut self, container: &str) -> Vec<IpAddr> {
        let mut endpoints = self.table.endpoints(&self.settings.network).map(|(_, it)| it);
        let own = endpoints.find(|it| it.container == container).map_or(&[][..], |it| &it.dns);
        self.resolvers.in_order(own)
    }

    /// An answer has come, or will not.
    pub(super) fn land(&mut self, (asker, question, answer): Outcome) {
        let answer = answer.unwrap_or_else(|| question.failed(limit(asker, &question)));
        self.deliver(asker, &answer);
    }

    fn deliver(&mut self, asker: Asker, answer: &[u8]) {
        match asker {
            Asker::Datagram { station, peer } => {
                if let Some(post) = self.posts.get(&station) {
                    // A client that does not take it will ask again.
                    let _ = post.datagrams.fd.send_to(answer, peer);
                }
            }
            Asker::Stream { stream, .. } => match self.streams.send(stream, answer) {
                Ok(()) => self.advance(stream),
                Err(_) => self.close_stream(stream),
            },
        }
    }
}

fn limit(asker: Asker, question: &Question) -> usize {
    match asker {
        Asker::Datagram { .. } => question.limit(),
        Asker::Stream { .. } => usize::from(u16::MAX),
    }
}

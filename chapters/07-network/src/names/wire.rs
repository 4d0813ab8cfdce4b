//! Messages of DNS, in and out (RFC 1035, RFC 6891).
//!
//! hickory-proto reads and writes them. What is here decides which of them get an answer at all: a
//! packet that is none of a client's questions gets an error of twelve bytes or nothing, so nobody
//! can make this server send more than it was sent, but by asking.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, PTR};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinEncodable;

/// The longest question that is read. A name has 255 bytes at most.
pub(super) const LONGEST_QUESTION: usize = 4096;

/// What a client may be sent over UDP when it says nothing of sizes.
const PLAIN_LIMIT: usize = 512;

/// What we say that we can take over UDP: what fits into one packet of any link.
const OWN_LIMIT: u16 = 1232;

/// For how long an answer may be kept, in seconds. A container that is started again has another
/// address, and Docker's 600 s keep clients with a cache of their own away from it for so long.
const TTL: u32 = 5;

/// The length of a message's header.
const HEADER: usize = 12;

/// A question that will get an answer.
#[derive(Debug, Clone)]
pub(super) struct Question {
    metadata: Metadata,
    query: Query,
    edns: Option<Edns>,
    /// The question as it was asked, byte for byte.
    section: Vec<u8>,
}

/// What came in.
#[derive(Debug)]
pub(super) enum Received {
    Question(Box<Question>),
    /// To be answered with this.
    Refused(Vec<u8>),
    /// To be forgotten.
    Nothing,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Addresses(Vec<IpAddr>),
    Name(String),
    Empty,
    Failure(ResponseCode),
}

// ANCHOR: read
/// Reads what a client has sent.
pub(super) fn read(packet: &[u8]) -> Received {
    let (Some(id), Some(flags)) = (number(packet, 0), number(packet, 2)) else {
        return Received::Nothing;
    };
    // An answer is never answered: two servers would talk for ever.
    if packet.len() < HEADER || flags & 0x8000 != 0 {
        return Received::Nothing;
    }
    let opcode = OpCode::from_u8((flags >> 11 & 0xf) as u8);
    let refused = |code| Received::Refused(failure(id, opcode, code));
    if opcode != OpCode::Query {
        return refused(ResponseCode::NotImp);
    }
    // Exactly one: nobody has ever agreed on what two questions mean. Sections that only answers
    // have are a way to make a reader work.
    if packet.len() > LONGEST_QUESTION || number(packet, 4) != Some(1) || packet[6..10] != [0; 4] {
        return refused(ResponseCode::FormErr);
    }
    let Ok(message) = Message::from_vec(packet) else { return refused(ResponseCode::FormErr) };
    let Some(query) = message.queries.first() else { return refused(ResponseCode::FormErr) };
    let Ok(section) = query.to_bytes() else { return refused(ResponseCode::FormErr) };
    if matches!(query.query_type(), RecordType::AXFR | RecordType::IXFR) {
        return refused(ResponseCode::Refused);
    }
    Received::Question(Box::new(Question {
        metadata: message.metadata,
        query: query.clone(),
        edns: message.edns.clone(),
        section,
    }))
}
// ANCHOR_END: read

/// The 16 bits at `at`.
fn number(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}

/// An answer that says no more than what is wrong.
fn failure(id: u16, opcode: OpCode, code: ResponseCode) -> Vec<u8> {
    Message::error_msg(id, opcode, code).to_vec().unwrap_or_default()
}

impl Question {
    /// The number that the client has given it.
    pub(super) fn id(&self) -> u16 {
        self.metadata.id
    }

    pub(super) fn kind(&self) -> RecordType {
        self.query.query_type()
    }

    /// Whether it is about the Internet's names, and not those of another class.
    pub(super) fn is_internet(&self) -> bool {
        self.query.query_class() == DNSClass::IN
    }

    /// A later version of EDNS than there is (RFC 6891, 6.1.3).
    pub(super) fn is_of_the_future(&self) -> bool {
        self.edns.as_ref().is_some_and(|edns| edns.version() > 0)
    }

    /// The name, in small letters and without the dot at its end. `None` where no container can be
    /// called so.
    pub(super) fn name(&self) -> Option<String> {
        let labels = self.query.name().iter().map(|label| {
            let text = std::str::from_utf8(label).ok()?;
            (!text.contains('.')).then(|| text.to_ascii_lowercase())
        });
        let name = labels.collect::<Option<Vec<String>>>()?.join(".");
        (!name.is_empty()).then_some(name)
    }

    /// The address that a question for a name is about (`2.0.19.172.in-addr.arpa`).
    pub(super) fn address(&self) -> Option<IpAddr> {
        let network = self.query.name().parse_arpa_name().ok()?;
        let whole = network.prefix_len() == network.max_prefix_len();
        whole.then(|| network.addr())
    }

    /// How much may be sent to the client over UDP.
    pub(super) fn limit(&self) -> usize {
        self.edns.as_ref().map_or(PLAIN_LIMIT, |edns| PLAIN_LIMIT.max(edns.max_payload().into()))
    }

    // ANCHOR: answer
    /// Our own answer, of at most `limit` bytes: what does not fit is left out, and said to be.
    pub(super) fn answer(&self, answer: &Answer, limit: usize) -> Vec<u8> {
        let mut message = Message::response(self.id(), OpCode::Query);
        message.metadata.recursion_desired = self.metadata.recursion_desired;
        message.metadata.checking_disabled = self.metadata.checking_disabled;
        message.metadata.recursion_available = true;
        message.add_query(self.query.clone());
        if let Some(asked) = &self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(OWN_LIMIT).set_dnssec_ok(asked.flags().dnssec_ok);
            message.set_edns(edns);
        }
        match answer {
            Answer::Failure(code) => message.metadata.response_code = *code,
            answer => {
                message.metadata.authoritative = true;
                message.add_answers(self.records(answer));
            }
        }
        loop {
            let bytes = message.to_vec().unwrap_or_default();
            if bytes.len() <= limit {
                return bytes;
            }
            // Most of a message is its records, all of a size.
            let fit = message.answers.len() * limit / bytes.len();
            message.answers.truncate(fit.min(message.answers.len().saturating_sub(1)));
            message.metadata.truncation = true;
        }
    }
    // ANCHOR_END: answer

    /// That nobody could be asked, or nobody has answered.
    pub(super) fn failed(&self, limit: usize) -> Vec<u8> {
        self.answer(&Answer::Failure(ResponseCode::ServFail), limit)
    }

    fn records(&self, answer: &Answer) -> Vec<Record> {
        let data: Vec<RData> = match answer {
            Answer::Addresses(addresses) => addresses
                .iter()
                .map(|address| match address {
                    IpAddr::V4(address) => RData::A(A(*address)),
                    IpAddr::V6(address) => RData::AAAA(AAAA(*address)),
                })
                .collect(),
            Answer::Name(name) => {
                // A container's name may have characters that a host's may not; DNS has no rule.
                let labels = name.split('.').map(str::as_bytes);
                Name::from_labels(labels).map(|name| RData::PTR(PTR(name))).into_iter().collect()
            }
            Answer::Empty | Answer::Failure(_) => Vec::new(),
        };
        let name = self.query.name();
        data.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data)).collect()
    }

    // ANCHOR: forwarded
    /// The question as it is asked of a resolver: under another number, and with nothing in it but
    /// the question. What else a client has written goes no further.
    pub(super) fn forwarded(&self, id: u16) -> Vec<u8> {
        let mut message = Message::new(id, MessageType::Query, OpCode::Query);
        message.metadata.recursion_desired = self.metadata.recursion_desired;
        message.metadata.checking_disabled = self.metadata.checking_disabled;
        message.metadata.authentic_data = self.metadata.authentic_data;
        message.add_query(self.query.clone());
        if let Some(asked) = &self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, OWN_LIMIT));
            edns.set_dnssec_ok(asked.flags().dnssec_ok);
            message.set_edns(edns);
        }
        message.to_vec().unwrap_or_default()
    }
    // ANCHOR_END: forwarded

    // ANCHOR: returned
    /// What a resolver has sent in answer to [`Question::forwarded`], for the client. `None` where
    /// it is no answer to this question: another number, another name, nonsense. Somebody may be
    /// guessing.
    pub(super) fn returned(&self, id: u16, packet: &[u8], limit: usize) -> Option<Returned> {
        let message = Message::from_vec(packet).ok()?;
        let [asked] = message.queries.as_slice() else { return None };
        let fits = message.metadata.id == id
            && message.metadata.message_type == MessageType::Response
            && message.metadata.op_code == OpCode::Query
            && asked.name() == self.query.name()
            && asked.query_type() == self.query.query_type()
            && asked.query_class() == self.query.query_class();
        let end = HEADER + self.section.len();
        // Compressed to something else: nobody compresses a question.
        if !fits || !packet.get(HEADER..end)?.eq_ignore_ascii_case(&self.section) {
            return None;
        }
        let code = message.metadata.response_code;
        if matches!(code, ResponseCode::ServFail | ResponseCode::Refused) {
            return Some(Returned::Failed);
        }
        let mut bytes = packet.to_vec();
        bytes[..2].copy_from_slice(&self.id().to_be_bytes());
        // With the client's own capital letters, by which some recognise their answers.
        bytes[HEADER..end].copy_from_slice(&self.section);
        if bytes.len() > limit {
            bytes = message.truncate().to_vec().ok()?;
            bytes[..2].copy_from_slice(&self.id().to_be_bytes());
        }
        Some(Returned::Answer(bytes))
    }
    // ANCHOR_END: returned
}

/// What a resolver has sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// An answer, as the client gets it.
    Answer(Vec<u8>),
    /// That it cannot answer: another one may.
    Failed,
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;

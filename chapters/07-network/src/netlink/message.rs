//! The bytes of netlink: a header of 16 bytes, a fixed part that depends on the kind, and attributes,
//! which may hold attributes (netlink(7)). All numbers are in the machine's own order, except where a
//! subsystem says otherwise (nf_tables does).

/// The length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;

/// Marks an attribute that holds attributes.
const NESTED: u16 = 1 << 15;

// ANCHOR: message
/// A message as it is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A message of this kind; the length is filled in as it grows, the sequence number when it is
    /// sent.
    pub fn new(kind: u16, flags: u16) -> Message {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        let mut message = Message { bytes };
        message.set_length(0);
        message
    }

    /// Adds bytes as they are, and zeroes up to a multiple of four.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Message {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self.set_length(0);
        self
    }

    /// Adds an attribute: its length, its kind, its value.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Message {
        // No value of ours is longer; `Batch` divides lists before they are.
        let length = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value)
    }

    /// Adds an attribute that holds what `inside` adds.
    pub fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Message)) -> &mut Message {
        let start = self.bytes.len();
        self.attribute(kind | NESTED, &[]);
        inside(self);
        let length = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.set_length(0);
        self
    }

    /// An attribute that is a number.
    pub fn number(&mut self, kind: u16, value: u32) -> &mut Message {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// An attribute that is a C string.
    pub fn text(&mut self, kind: u16, value: &str) -> &mut Message {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    fn set_length(&mut self, at: usize) {
        let length = (self.bytes.len() - at) as u32;
        self.bytes[at..at + 4].copy_from_slice(&length.to_ne_bytes());
    }
}
// ANCHOR_END: message

impl Message {
    /// How long it is.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// With its sequence number, to be sent.
    pub fn numbered(&self, sequence: u32, into: &mut Vec<u8>) {
        let start = into.len();
        into.extend_from_slice(&self.bytes);
        into[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
    }

    /// Adds to its flags.
    pub fn add_flags(&mut self, flags: u16) {
        let old = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]);
        self.bytes[6..8].copy_from_slice(&(old | flags).to_ne_bytes());
    }
}

/// A message that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub kind: u16,
    pub flags: u16,
    pub sequence: u32,
    /// What follows the header.
    pub body: &'a [u8],
}

/// The messages of one packet. What is cut off is not given.
pub(crate) fn messages(mut packet: &[u8]) -> Vec<Received<'_>> {
    let mut found = Vec::new();
    while let Some(length) = word(packet, 0) {
        let length = length as usize;
        let (true, Some(message)) = (length >= HEADER, packet.get(..length)) else { break };
        found.push(Received {
            kind: half(message, 4).unwrap_or_default(),
            flags: half(message, 6).unwrap_or_default(),
            sequence: word(message, 8).unwrap_or_default(),
            body: &message[HEADER..],
        });
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The attributes in `bytes`: kinds and values.
pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (half(bytes, 0), half(bytes, 2)) {
        let Some(value) = bytes.get(4..length.into()) else { break };
        found.push((kind & !NESTED, value));
        bytes = bytes.get(usize::from(length).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// The value of the first attribute of this kind.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).into_iter().find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// A string without its NUL.
pub(crate) fn string(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// The number of four bytes at `at`.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The number of two bytes at `at`.
pub(crate) fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_is_read_again() {
        let mut message = Message::new(16, 5);
        message.raw(&[1, 2, 3, 4]).text(3, "eth0").nested(18, |inside| {
            inside.text(1, "veth").number(2, 7);
        });
        let mut bytes = Vec::new();
        message.numbered(9, &mut bytes);
        message.numbered(10, &mut bytes);
        let found = messages(&bytes);
        assert_eq!(found.len(), 2);
        assert_eq!((found[1].kind, found[1].flags, found[1].sequence), (16, 5, 10));
        let inside = &found[0].body[4..];
        assert_eq!(string(attribute(inside, 3).unwrap()), "eth0");
        let nested = attribute(inside, 18).unwrap();
        assert_eq!(attributes(nested), [(1, &b"veth\0"[..]), (2, &7u32.to_ne_bytes()[..])]);
    }

    #[test]
    fn what_is_cut_off_is_no_message_and_no_attribute() {
        let mut bytes = Vec::new();
        Message::new(1, 0).text(1, "abcdefgh").numbered(1, &mut bytes);
        assert!(messages(&bytes[..bytes.len() - 1]).is_empty());
        assert!(messages(&[0; 64]).is_empty(), "a length of zero ends it");
        assert!(attributes(&[0; 8]).is_empty());
        assert!(attributes(&[200, 0, 1, 0]).is_empty());
    }
}

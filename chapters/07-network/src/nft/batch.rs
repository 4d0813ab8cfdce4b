//! Several changes that happen at once or not at all.
//!
//! nfnetlink takes changes between a message that begins a batch and one that ends it, in one packet.
//! The kernel checks each, and makes all of them visible to packets in one moment.

use std::path::PathBuf;

use corten_supervisor::durable::{self, Worth};
use nix::errno::Errno;

use super::element::{Element, Value};
use super::expression::{DROP, JUMP, Verdict, number, value, verdict};
use super::table::{self, Chain, Leads, NAME, Set, Table, Type};
use super::{Family, LIST_ELEMENT, SUBSYSTEM, kind};
use crate::error::{Error, KernelError, Result};
use crate::netlink::{
    APPEND, CREATE, Message, Request, Socket, attribute, once_loaded, string, word,
};
use crate::store;

/// nfnetlink's own messages around a batch.
const BEGIN: u16 = 0x10;
const END: u16 = 0x11;

/// Elements in one message: their attribute's length has 16 bits.
const AT_ONCE: usize = 400;

/// The bits of a type's number in the number of a row of types.
const TYPE_BITS: u32 = 6;

/// linux/netfilter/nf_tables.h.
const SET_INTERVAL: u32 = 4;
const SET_MAP: u32 = 8;
const SET_CONCAT: u32 = 0x80;
const DATA_VERDICT: u32 = 0xffff_ff00;
const POLICY_ACCEPT: u32 = 1;

/// A message of nf_tables.
fn message(kind: u16, flags: u16, family: Family) -> Message {
    let mut message = Message::new(SUBSYSTEM << 8 | kind, flags);
    message.raw(&[family as u8, 0, 0, 0]);
    message
}

fn edge(kind: u16) -> Message {
    let [high, low] = SUBSYSTEM.to_be_bytes();
    let mut message = Message::new(kind, 1);
    message.raw(&[0, 0, high, low]);
    message
}

fn send(socket: &mut Socket, requests: &[Request]) -> Result<()> {
    socket.batch(&edge(BEGIN), requests, &edge(END))
}

/// The version of a table's rules, which the table carries as its comment: another program's, or an
/// older one of ours, is replaced.
fn version(table: &Table) -> String {
    let mut bytes = Vec::new();
    for request in contents(table) {
        request.message.numbered(0, &mut bytes);
    }
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("of Corten's networks; rules {sum:016x}")
}

/// As userdata that nft shows: kind 0, length, text.
fn comment(text: &str) -> Vec<u8> {
    let mut bytes = vec![0, text.len() as u8 + 1];
    bytes.extend_from_slice(text.as_bytes());
    bytes.push(0);
    bytes
}

/// Whether the kernel has this table, with these rules.
///
/// # Errors
/// Where it cannot be asked.
pub(crate) fn is_loaded(socket: &mut Socket, table: &Table, version: &str) -> Result<bool> {
    let mut message = message(kind::GET_TABLE, 0, table.family);
    message.text(1, NAME);
    let request = Request::new(message, "look for table", NAME).unless(Errno::ENOENT);
    let answer =
        match once_loaded(|error| error.errno() == Some(Errno::EINVAL), || socket.ask(&request)) {
            Err(error) if error.errno() == Some(Errno::EINVAL) => {
                return Err(
                    KernelError::new("speak to", "nf_tables", Errno::EPROTONOSUPPORT).into()
                );
            }
            other => other?,
        };
    let userdata = answer.as_deref().and_then(|body| attribute(body.get(4..)?, 6));
    Ok(userdata.is_some_and(|found| found == comment(version)))
}

/// Our tables: packets', and frames' where the kernel has such.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tables {
    inet: Table,
    bridge: Table,
    versions: [String; 2],
    /// The file that says that the kernel has no tables for frames.
    without_frames: PathBuf,
}

impl Tables {
    /// The tables of this program; the file `without_frames` is there where they are without frames'.
    pub fn new(without_frames: PathBuf) -> Tables {
        let (inet, bridge) = (table::inet(), table::bridge());
        let versions = [version(&inet), version(&bridge)];
        Tables { inet, bridge, versions, without_frames }
    }

    /// Whether frames are looked at, as it was found when the tables were loaded.
    pub fn have_frames(&self) -> bool {
        !self.without_frames.exists()
    }

    /// Whether they are loaded.
    ///
    /// # Errors
    /// Where the kernel cannot be asked.
    pub fn are_loaded(&self, socket: &mut Socket) -> Result<bool> {
        let [inet, bridge] = &self.versions;
        Ok(is_loaded(socket, &self.inet, inet)?
            && (is_loaded(socket, &self.bridge, bridge)? || !self.have_frames()))
    }

    /// Loads them, empty; what was there under their names is replaced in the same moment.
    ///
    /// # Errors
    /// Where the kernel lacks nf_tables, or one of the expressions.
    pub fn load(&self, socket: &mut Socket) -> Result<()> {
        let inet = replace(&self.inet, &self.versions[0]);
        let is_missing = |error: &Error| error.errno() == Some(Errno::ENOENT);
        once_loaded(is_missing, || send(socket, &inet))?;
        let bridge = replace(&self.bridge, &self.versions[1]);
        match once_loaded(is_missing, || send(socket, &bridge)) {
            Ok(()) => store::remove(&self.without_frames),
            // No such tables, or a module of theirs is missing (nft_meta_bridge).
            Err(error) if matches!(error.errno(), Some(Errno::EOPNOTSUPP | Errno::ENOENT)) => {
                Ok(durable::write_json(&self.without_frames, &true, Worth::Volatile)?)
            }
            Err(error) => Err(error),
        }
    }

    /// Removes both, whether they are there or not.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn unload(&self, socket: &mut Socket) -> Result<()> {
        send(socket, &removal(&self.inet))?;
        match send(socket, &removal(&self.bridge)) {
            Err(error) if matches!(error.errno(), Some(Errno::EOPNOTSUPP | Errno::ENOENT)) => {
                Ok(())
            }
            other => other,
        }
    }

    /// The set that an element belongs into.
    fn set(&self, element: &Element) -> Option<&'static Set> {
        let table = if element.family == Family::Inet { &self.inet } else { &self.bridge };
        table.set(element.set)
    }

    /// Adds and removes elements, all or none. Those of a table that the kernel does not have are left
    /// out.
    ///
    /// # Errors
    /// `EEXIST` where a map leads elsewhere already, `ENOENT` where what is to be removed is not there.
    pub fn change(&self, socket: &mut Socket, add: &[Element], remove: &[Element]) -> Result<()> {
        let mut requests = Vec::new();
        let frames = self.have_frames();
        for (elements, kind, flags, operation) in [
            (remove, kind::DELETE_ELEMENTS, 0, "remove an element of"),
            (add, kind::NEW_ELEMENTS, CREATE, "add an element to"),
        ] {
            for group in elements.chunk_by(|a, b| (a.family, a.set) == (b.family, b.set)) {
                for part in group.chunks(AT_ONCE) {
                    let [first, ..] = part else { continue };
                    if first.family == Family::Bridge && !frames {
                        continue;
                    }
                    let Some(set) = self.set(first) else { continue };
                    let mut message = message(kind, flags, first.family);
                    let adding = kind == kind::NEW_ELEMENTS;
                    message.text(1, NAME).text(2, set.name);
                    message.nested(3, |list| part.iter().for_each(|e| one(list, e, adding)));
                    let object = format!("{} {NAME} {}", first.family.name(), set.name);
                    requests.push(Request::new(message, operation, &object));
                }
            }
        }
        if requests.is_empty() { Ok(()) } else { send(socket, &requests) }
    }

    /// Removes elements one by one, whether they are there or not.
    ///
    /// # Errors
    /// Where the kernel refuses for another reason.
    pub fn clear(&self, socket: &mut Socket, elements: &[Element]) -> Result<()> {
        let missing = |result: Result<()>| match result {
            Err(error) if error.errno() == Some(Errno::ENOENT) => Ok(true),
            other => other.map(|()| false),
        };
        if missing(self.change(socket, &[], elements))? {
            for element in elements {
                missing(self.change(socket, &[], std::slice::from_ref(element)))?;
            }
        }
        Ok(())
    }
}

/// An element, in a list.
fn one(list: &mut Message, element: &Element, with_value: bool) {
    list.nested(LIST_ELEMENT, |entry| {
        value(entry, 1, &element.key);
        if let Some(end) = &element.end {
            value(entry, 10, end);
        }
        match (&element.value, with_value) {
            (Value::Verdict(Verdict::Drop), true) => verdict(entry, 2, DROP, None),
            (Value::Verdict(Verdict::Jump(chain)), true) => verdict(entry, 2, JUMP, Some(chain)),
            (Value::Bytes(bytes), true) => value(entry, 2, bytes),
            _ => {}
        }
    });
}

/// Makes a table anew with these elements in its first map, in one batch.
///
/// # Errors
/// Where the kernel lacks nf_tables, or one of the expressions.
pub(crate) fn replace_with(
    socket: &mut Socket,
    table: &Table,
    elements: &[Element],
    version: &str,
) -> Result<()> {
    let mut requests = replace(table, version);
    for element in elements {
        let mut message = message(kind::NEW_ELEMENTS, CREATE, table.family);
        message.text(1, NAME).text(2, element.set).nested(3, |list| one(list, element, true));
        requests.push(Request::new(message, "add an element to", element.set));
    }
    send(socket, &requests)
}

/// Makes the table anew.
fn replace(table: &Table, version: &str) -> Vec<Request> {
    let mut new = named(table, kind::NEW_TABLE, CREATE);
    new.attribute(6, &comment(version));
    let mut requests = removal(table);
    requests.push(Request::new(new, "create table", NAME));
    requests.extend(contents(table));
    requests
}

/// The first message makes the table where it is missing, so that the second cannot fail.
fn removal(table: &Table) -> Vec<Request> {
    vec![
        Request::new(named(table, kind::NEW_TABLE, CREATE), "create table", NAME),
        Request::new(named(table, kind::DELETE_TABLE, 0), "remove table", NAME),
    ]
}

fn named(table: &Table, kind: u16, flags: u16) -> Message {
    let mut message = message(kind, flags, table.family);
    message.text(1, NAME);
    message
}

/// The sets, chains and rules: sets before the rules that look in them, chains before those that
/// jump to them.
fn contents(table: &Table) -> Vec<Request> {
    let mut requests = Vec::new();
    for (id, set) in (1..).zip(table.sets) {
        requests.push(Request::new(new_set(table.family, set, id), "create set", set.name));
    }
    for chain in &table.chains {
        requests.push(Request::new(new_chain(table.family, chain), "create chain", chain.name));
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            let mut message = message(kind::NEW_RULE, CREATE | APPEND, table.family);
            message.text(1, NAME).text(2, chain.name).nested(4, |list| rule.encode(list));
            requests.push(Request::new(message, "add a rule to chain", chain.name));
        }
    }
    requests
}

/// The number and length of a row of types.
fn row(types: &[Type]) -> (u32, u32) {
    types.iter().fold((0, 0), |(number, length), part| {
        let width = if types.len() == 1 { part.length } else { part.length.next_multiple_of(4) };
        (number << TYPE_BITS | part.number, length + width)
    })
}

fn new_set(family: Family, set: &Set, id: u32) -> Message {
    let mut message = message(kind::NEW_SET, CREATE, family);
    let (key_type, key_length) = row(set.key);
    let mut flags = if set.ranges { SET_INTERVAL | SET_CONCAT } else { 0 };
    if set.leads != Leads::No {
        flags |= SET_MAP;
    }
    message.text(1, NAME).text(2, set.name);
    for (kind, value) in [(3, flags), (4, key_type), (5, key_length), (10, id)] {
        number(&mut message, kind, value);
    }
    match set.leads {
        Leads::No => {}
        Leads::Verdict => {
            number(&mut message, 6, DATA_VERDICT);
            number(&mut message, 7, 0);
        }
        Leads::Value(types) => {
            let (data_type, data_length) = row(types);
            number(&mut message, 6, data_type);
            number(&mut message, 7, data_length);
        }
    }
    if let [_] = set.key {
        // For nft alone: in which order the bytes of a key are to be shown. Ours are names and numbers of
        // one byte, in the machine's.
        let mut order = vec![0, 4];
        order.extend_from_slice(&1u32.to_ne_bytes());
        message.attribute(13, &order);
    }
    if set.ranges {
        message.nested(9, |description| {
            description.nested(2, |fields| {
                for part in set.key {
                    fields.nested(LIST_ELEMENT, |field| number(field, 1, part.length));
                }
            });
        });
    }
    message
}

fn new_chain(family: Family, chain: &Chain) -> Message {
    let mut message = message(kind::NEW_CHAIN, CREATE, family);
    message.text(1, NAME).text(3, chain.name);
    if let Some((kind, hook, priority)) = chain.hook {
        message.nested(4, |place| {
            number(place, 1, hook);
            place.attribute(2, &priority.to_be_bytes());
        });
        number(&mut message, 5, POLICY_ACCEPT);
        message.text(7, kind);
    }
    message
}

/// Chains of others that drop what passes the host and no rule of theirs accepts: `table chain`. One
/// question for the chains of all families, since this is asked whenever a container is made.
///
/// # Errors
/// Where the kernel cannot be asked.
pub(crate) fn droppers(socket: &mut Socket) -> Result<Vec<String>> {
    const FORWARD: u32 = 2;
    let mut found = Vec::new();
    let mut message = Message::new(SUBSYSTEM << 8 | kind::GET_CHAIN, 0);
    message.raw(&[libc::AF_UNSPEC as u8, 0, 0, 0]);
    for (_, body) in socket.dump(&Request::new(message, "list", "chains"))? {
        let (Some(of), Some(inside)) = (body.first(), body.get(4..)) else { continue };
        let families = [Family::Ipv4, Family::Ipv6, Family::Inet];
        let Some(family) = families.into_iter().find(|family| *family as u8 == *of) else {
            continue;
        };
        let big = |bytes: &[u8]| word(bytes, 0).map(u32::from_be);
        let hook = attribute(inside, 4).and_then(|hook| attribute(hook, 1)).and_then(big);
        let policy = attribute(inside, 5).and_then(big);
        let name = |kind| attribute(inside, kind).map(string).unwrap_or_default();
        if hook == Some(FORWARD) && policy == Some(0) {
            found.push(format!("{} {} {}", family.name(), name(1), name(3)));
        }
    }
    Ok(found)
}

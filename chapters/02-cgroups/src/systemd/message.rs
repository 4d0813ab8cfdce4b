//! The two kinds of D-Bus message that are needed: a call with texts and properties, and whatever
//! comes back, of which the first text matters (D-Bus Specification, "Marshaling").
//!
//! Every value begins at a multiple of its size, counted from the start of the message.

use std::io::{Error, ErrorKind, Result};

use super::Property;

/// No message of systemd's is longer by far; D-Bus allows 128 MiB.
const LONGEST: usize = 1 << 20;

/// The order of bytes, as the first byte of a message tells it.
const ORDER: u8 = if cfg!(target_endian = "big") { b'B' } else { b'l' };

/// The value of a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `b`
    Bool(bool),
    /// `i`
    Int32(i32),
    /// `u`
    Uint32(u32),
    /// `x`
    Int64(i64),
    /// `t`
    Uint64(u64),
    /// `s`
    Text(String),
    /// `as`
    Texts(Vec<String>),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::Int32(_) => "i",
            Value::Uint32(_) => "u",
            Value::Int64(_) => "x",
            Value::Uint64(_) => "t",
            Value::Text(_) => "s",
            Value::Texts(_) => "as",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
        }
    }
}

/// Bytes of a message in the making.
#[derive(Debug, Default)]
struct Encoder(Vec<u8>);

impl Encoder {
    fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    fn u32(&mut self, value: u32) {
        self.align(4);
        self.0.extend(value.to_ne_bytes());
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len() as u32);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.as_bytes());
        self.0.push(0);
    }

    /// An array: its length in bytes, which is counted from its first element.
    fn array(&mut self, align: usize, fill: impl FnOnce(&mut Encoder)) {
        self.u32(0);
        let length_at = self.0.len() - 4;
        self.align(align);
        let start = self.0.len();
        fill(self);
        let length = (self.0.len() - start) as u32;
        self.0[length_at..length_at + 4].copy_from_slice(&length.to_ne_bytes());
    }

    fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        match value {
            Value::Bool(value) => self.u32((*value).into()),
            Value::Int32(value) => self.u32(value.cast_unsigned()),
            Value::Uint32(value) => self.u32(*value),
            Value::Int64(value) => {
                self.align(8);
                self.0.extend(value.to_ne_bytes());
            }
            Value::Uint64(value) => {
                self.align(8);
                self.0.extend(value.to_ne_bytes());
            }
            Value::Text(text) => self.text(text),
            Value::Texts(texts) => self.array(4, |e| texts.iter().for_each(|text| e.text(text))),
            Value::Numbers(numbers) => {
                self.array(4, |e| numbers.iter().for_each(|number| e.u32(*number)));
            }
            Value::Bytes(bytes) => self.array(1, |e| e.0.extend(bytes)),
        }
    }
}

/// A call of a method.
#[derive(Debug)]
pub struct Call {
    path: String,
    interface: &'static str,
    member: &'static str,
    signature: &'static str,
    body: Encoder,
}

impl Call {
    /// A call without its arguments, which follow in the order of `signature`.
    pub fn new(
        path: &str,
        interface: &'static str,
        member: &'static str,
        signature: &'static str,
    ) -> Call {
        let (path, body) = (path.to_owned(), Encoder::default());
        Call { path, interface, member, signature, body }
    }

    /// `s`
    #[must_use]
    pub fn text(mut self, text: &str) -> Call {
        self.body.text(text);
        self
    }

    /// `b`
    #[must_use]
    pub fn bool(mut self, value: bool) -> Call {
        self.body.u32(value.into());
        self
    }

    /// `a(sv)`
    #[must_use]
    pub fn properties(mut self, properties: &[Property]) -> Call {
        self.body.array(8, |body| {
            for property in properties {
                body.align(8);
                body.text(&property.name);
                body.variant(&property.value);
            }
        });
        self
    }

    /// `a(sa(sv))`, without any.
    #[must_use]
    pub fn empty_units(mut self) -> Call {
        self.body.array(8, |_| {});
        self
    }

    /// The whole message.
    pub fn encode(&self, serial: u32) -> Vec<u8> {
        const METHOD_CALL: u8 = 1;
        let mut message = Encoder(vec![ORDER, METHOD_CALL, 0, 1]);
        message.u32(self.body.0.len() as u32);
        message.u32(serial);
        let fields = [
            (1, "o", self.path.as_str()),
            (2, "s", self.interface),
            (3, "s", self.member),
            (6, "s", "org.freedesktop.systemd1"),
        ];
        message.array(8, |header| {
            for (code, signature, text) in fields {
                header.align(8);
                header.0.push(code);
                header.signature(signature);
                header.text(text);
            }
            header.align(8);
            header.0.push(8);
            header.signature("g");
            header.signature(self.signature);
        });
        message.align(8);
        message.0.extend(&self.body.0);
        message.0
    }
}

/// A message that came.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// The serial number of the call that this answers.
    pub reply_to: Option<u32>,
    /// The name of an error.
    pub error: Option<String>,
    /// The name of a signal or method.
    pub member: Option<String>,
    body: Vec<u8>,
}

impl Message {
    /// How long the message is that begins with `bytes`; `None` where that is not known yet.
    ///
    /// # Errors
    /// Where it is no message, or too long a one.
    pub fn length(bytes: &[u8]) -> Result<Option<usize>> {
        let Some(header) = bytes.get(..16) else { return Ok(None) };
        if header[0] != ORDER || header[3] != 1 {
            return Err(malformed("it is of another order or version"));
        }
        let mut reader = Reader { bytes: header, at: 4 };
        let (body, _serial, fields) = (reader.u32()?, reader.u32()?, reader.u32()?);
        let length = (16 + fields as usize).next_multiple_of(8) + body as usize;
        if length > LONGEST { Err(malformed("it is too long")) } else { Ok(Some(length)) }
    }

    /// Takes a whole message apart.
    ///
    /// # Errors
    /// Where it is malformed.
    pub fn decode(bytes: &[u8]) -> Result<Message> {
        let mut reader = Reader { bytes, at: 12 };
        let end = 16 + reader.u32()? as usize;
        let mut message = Message::default();
        while reader.at < end {
            reader.align(8);
            let code = reader.take(1)?[0];
            match reader.signature()?.as_str() {
                "s" | "o" => {
                    let text = reader.text()?;
                    match code {
                        3 => message.member = Some(text),
                        4 => message.error = Some(text),
                        _ => {}
                    }
                }
                "g" => drop(reader.signature()?),
                "u" => {
                    let number = reader.u32()?;
                    message.reply_to = (code == 5).then_some(number).or(message.reply_to);
                }
                _ => return Err(malformed("a field of its header is of an unknown kind")),
            }
        }
        reader.at = end;
        reader.align(8);
        message.body = bytes.get(reader.at..).unwrap_or_default().to_vec();
        Ok(message)
    }

    /// The text that the body begins with; empty where it begins with something else.
    pub fn first_text(&self) -> String {
        Reader { bytes: &self.body, at: 0 }.text().unwrap_or_default()
    }

    /// The text of the variant that the body begins with.
    pub fn variant_text(&self) -> String {
        let mut reader = Reader { bytes: &self.body, at: 0 };
        reader.signature().and_then(|_| reader.text()).unwrap_or_default()
    }

    /// Of the signal that `job` is done: its result.
    pub fn removed_job(&self, job: &str) -> Option<String> {
        if self.member.as_deref() != Some("JobRemoved") {
            return None;
        }
        let mut reader = Reader { bytes: &self.body, at: 0 };
        let (_number, path) = (reader.u32().ok()?, reader.text().ok()?);
        let (_unit, result) = (reader.text().ok()?, reader.text().ok()?);
        (path == job).then_some(result)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or_else(|| malformed("it ends too early"))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| malformed("it ends too early"))?;
        self.at = end;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32> {
        self.align(4);
        let bytes = self.take(4)?.try_into().unwrap_or_default();
        Ok(u32::from_ne_bytes(bytes))
    }

    fn text(&mut self) -> Result<String> {
        let length = self.u32()? as usize;
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }

    fn signature(&mut self) -> Result<String> {
        let length = self.take(1)?[0].into();
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

fn malformed(why: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("a malformed message: {why}"))
}

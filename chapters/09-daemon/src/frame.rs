//! Docker's frames: which stream a piece of output is of, and how long it is.

use bytes::{BufMut, Bytes, BytesMut};

/// A stream of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

// ANCHOR: frame
/// A piece of output as it goes over the wire: `[stream, 0, 0, 0, length]`, the length as four bytes,
/// big endian, and the piece. With a terminal there is no frame.
pub fn frame(tty: bool, stream: Stream, piece: &[u8]) -> Bytes {
    if tty {
        return Bytes::copy_from_slice(piece);
    }
    let mut bytes = BytesMut::with_capacity(8 + piece.len());
    bytes.put_slice(&[stream as u8, 0, 0, 0]);
    bytes.put_u32(u32::try_from(piece.len()).unwrap_or(u32::MAX));
    bytes.put_slice(piece);
    bytes.freeze()
}
// ANCHOR_END: frame

/// What is done with output between a program and a client. Whether a program has a terminal was said
/// when it was made, whether a client wants frames when it came.
#[derive(Debug)]
pub enum Wrapping {
    /// It is as the client wants it.
    Same,
    /// All of it is standard output in frames.
    Framed,
    /// The frames are taken off.
    Bare(Unframed),
}

impl Wrapping {
    /// For a program with a terminal or without, and a client that takes it for one.
    pub fn of(program_tty: bool, client_tty: bool) -> Wrapping {
        match (program_tty, client_tty) {
            (true, false) => Wrapping::Framed,
            (false, true) => Wrapping::Bare(Unframed::default()),
            _ => Wrapping::Same,
        }
    }

    /// A piece of output, as the client wants it.
    pub fn pass(&mut self, piece: &[u8]) -> Bytes {
        match self {
            Wrapping::Same => Bytes::copy_from_slice(piece),
            Wrapping::Framed => frame(false, Stream::Stdout, piece),
            Wrapping::Bare(frames) => frames.take(piece),
        }
    }
}

/// Takes frames off, wherever they are cut.
#[derive(Debug, Default)]
pub struct Unframed(Apart);

impl Unframed {
    /// What is in them of this piece.
    pub fn take(&mut self, bytes: &[u8]) -> Bytes {
        let mut out = Vec::with_capacity(bytes.len());
        // Nothing that is kept in memory fails.
        let _ = self.0.take(bytes, &mut |_, piece| {
            out.extend_from_slice(piece);
            Ok(())
        });
        out.into()
    }
}

/// Takes frames apart, wherever they are cut: of which stream each piece is.
#[derive(Debug, Default)]
pub struct Apart {
    header: Vec<u8>,
    stream: u8,
    left: usize,
}

// ANCHOR: unframed
impl Apart {
    /// Gives what is in them of this piece to `each`, with the number of its stream.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn take(
        &mut self,
        mut bytes: &[u8],
        each: &mut dyn FnMut(u8, &[u8]) -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        while !bytes.is_empty() {
            let room = if self.left > 0 { self.left } else { 8 - self.header.len() };
            let (now, rest) = bytes.split_at(room.min(bytes.len()));
            bytes = rest;
            if self.left > 0 {
                each(self.stream, now)?;
                self.left -= now.len();
                continue;
            }
            self.header.extend_from_slice(now);
            if let [stream, _, _, _, a, b, c, d] = self.header[..] {
                self.stream = stream;
                self.left = u32::from_be_bytes([a, b, c, d]) as usize;
                self.header.clear();
            }
        }
        Ok(())
    }
}
// ANCHOR_END: unframed

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_apart_wherever_frames_are_cut() {
        let whole = [frame(false, Stream::Stdout, b"abc"), frame(false, Stream::Stderr, b"d")];
        let whole = whole.concat();
        for cut in 0..whole.len() {
            let (mut frames, mut out) = (Apart::default(), [Vec::new(), Vec::new()]);
            let mut each = |stream: u8, bytes: &[u8]| {
                out[usize::from(stream) - 1].extend_from_slice(bytes);
                Ok(())
            };
            frames.take(&whole[..cut], &mut each).unwrap();
            frames.take(&whole[cut..], &mut each).unwrap();
            assert_eq!(out, [&b"abc"[..], b"d"], "{cut}");
        }
    }

    #[test]
    fn a_frame_says_which_stream_and_how_long() {
        assert_eq!(frame(false, Stream::Stderr, b"ab")[..], [2, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
        assert_eq!(frame(true, Stream::Stdout, b"ab")[..], *b"ab");
    }

    #[test]
    fn frames_are_taken_off_wherever_they_are_cut() {
        let whole =
            [&frame(false, Stream::Stdout, b"abc")[..], &frame(false, Stream::Stderr, b"d")];
        let whole = whole.concat();
        for cut in 0..whole.len() {
            let mut frames = Unframed::default();
            let mut out = frames.take(&whole[..cut]).to_vec();
            out.extend_from_slice(&frames.take(&whole[cut..]));
            assert_eq!(out, b"abcd", "{cut}");
        }
    }

    #[test]
    fn a_client_gets_frames_where_it_wants_them() {
        let framed = frame(false, Stream::Stdout, b"x");
        assert_eq!(Wrapping::of(true, false).pass(b"x"), framed);
        assert_eq!(Wrapping::of(false, true).pass(&framed), &b"x"[..]);
        assert_eq!(Wrapping::of(true, true).pass(b"x"), &b"x"[..]);
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_says_which_stream_and_how_long() {
        assert_eq!(frame(false, Stream::Stderr, b"ab")[..], [2, 0, 0, 0, 0, 0, 0, 2, b'a', b'b']);
        assert_eq!(frame(true, Stream::Stdout, b"ab")[..], *b"ab");
    }
}

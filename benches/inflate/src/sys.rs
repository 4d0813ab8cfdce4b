//! Cloudflare's zlib, for which flate2 has no feature any more.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::mem::MaybeUninit;

use cloudflare_zlib_sys as zlib;

pub fn decoder(file: BufReader<File>) -> Inflate {
    // SAFETY: zlib's documentation has the structure begin as all zeros: no input, and its own
    // allocator.
    let mut stream: Box<zlib::z_stream> = Box::new(unsafe { MaybeUninit::zeroed().assume_init() });
    // SAFETY: the structure is initialized, and stays where it is, in its box: the library keeps
    // a pointer to it. 15 bits of window, and 16 more for gzip.
    assert_eq!(unsafe { zlib::inflateInit2(&mut *stream, 15 + 16) }, zlib::Z_OK);
    Inflate { file, stream }
}

pub struct Inflate {
    file: BufReader<File>,
    stream: Box<zlib::z_stream>,
}

impl Read for Inflate {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            let from = self.file.fill_buf()?;
            let (given, ended) = (from.len(), from.is_empty());
            self.stream.next_in = from.as_ptr().cast_mut();
            self.stream.avail_in = given as _;
            self.stream.next_out = to.as_mut_ptr();
            self.stream.avail_out = to.len() as _;
            // SAFETY: both buffers are as long as is said, and live until the call returns; the
            // library does not write to what it reads.
            let status = unsafe { zlib::inflate(&mut *self.stream, zlib::Z_NO_FLUSH) };
            let (left, room) = (self.stream.avail_in as usize, self.stream.avail_out as usize);
            self.file.consume(given - left);
            match status {
                zlib::Z_STREAM_END => return Ok(to.len() - room),
                zlib::Z_OK | zlib::Z_BUF_ERROR if room < to.len() => return Ok(to.len() - room),
                zlib::Z_OK | zlib::Z_BUF_ERROR if !ended => {}
                _ => return Err(io::Error::other(format!("inflate says {status}"))),
            }
        }
    }
}

//! Exercise 9.4: a relay between a client and a program, which loses the end.
#![deny(unsafe_code)]

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

// ANCHOR: broken
/// Copies in both directions until either side is done.
pub fn relay(client: UnixStream, program: UnixStream) -> io::Result<()> {
    let (mut from_client, mut to_program) = (client.try_clone()?, program.try_clone()?);
    let input = thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_program);
        let _ = to_program.shutdown(Shutdown::Both);
        let _ = from_client.shutdown(Shutdown::Both);
    });
    let (mut from_program, mut to_client) = (program, client);
    let _ = io::copy(&mut from_program, &mut to_client);
    let _ = to_client.shutdown(Shutdown::Both);
    let _ = input.join();
    Ok(())
}
// ANCHOR_END: broken

/// The same without its two mistakes.
pub mod mended {
    use super::*;

    // ANCHOR: mended
    /// Copies in both directions until the program has nothing more to say.
    pub fn relay(client: UnixStream, program: UnixStream) -> io::Result<()> {
        let (mut from_client, mut to_program) = (client.try_clone()?, program.try_clone()?);
        let input = thread::spawn(move || {
            let _ = io::copy(&mut from_client, &mut to_program);
            // The input's end, and not the output's.
            let _ = to_program.shutdown(Shutdown::Write);
            // What comes now nobody wants. Unread, it would make the kernel tell the client of an error
            // in place of the last output.
            let _ = io::copy(&mut from_client, &mut io::sink());
        });
        let (mut from_program, mut to_client) = (program, client);
        let copied = io::copy(&mut from_program, &mut to_client);
        // The output's end, for a client that waits for it; it closes then, and the input ends, too.
        let _ = to_client.shutdown(Shutdown::Write);
        drop(from_program);
        let _ = input.join();
        copied.map(drop)
    }
    // ANCHOR_END: mended
}

fn main() -> io::Result<()> {
    for (name, relay) in [("broken", relay as fn(_, _) -> _), ("mended", mended::relay)] {
        let (mut client, theirs) = UnixStream::pair()?;
        let (ours, mut program) = UnixStream::pair()?;
        let running = thread::spawn(move || relay(theirs, ours));
        client.write_all(b"b\na\n")?;
        client.shutdown(Shutdown::Write)?;
        // As sort(1): it says nothing before its input has ended.
        let mut lines = String::new();
        program.read_to_string(&mut lines)?;
        let mut sorted: Vec<&str> = lines.lines().collect();
        sorted.sort_unstable();
        let _ = writeln!(program, "{}", sorted.join(" "));
        drop(program);
        let mut heard = String::new();
        client.read_to_string(&mut heard)?;
        drop(client);
        println!("{name}: {heard:?}");
        running.join().unwrap_or(Ok(()))?;
    }
    Ok(())
}

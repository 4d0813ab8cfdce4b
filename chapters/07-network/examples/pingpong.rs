//! How long a byte takes there and back over TCP: `pingpong serve PORT`, and `pingpong ADDRESS:PORT
//! ROUNDS`, which prints the microseconds of the middle one of all rounds.
#![deny(unsafe_code)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let usage = || std::io::Error::other("usage: pingpong serve PORT | pingpong ADDRESS ROUNDS");
    let [first, second] = &words[..] else { return Err(usage()) };
    let number = second.parse::<u32>().map_err(|_| usage())?;
    let mut byte = [0];
    if first == "serve" {
        let listener = TcpListener::bind(("::", number as u16))?;
        for stream in listener.incoming() {
            let mut stream = stream?;
            stream.set_nodelay(true)?;
            while stream.read(&mut byte)? == 1 {
                stream.write_all(&byte)?;
            }
        }
        return Ok(());
    }
    let mut stream = TcpStream::connect(first)?;
    stream.set_nodelay(true)?;
    let mut times = Vec::new();
    for _ in 0..number {
        let start = Instant::now();
        stream.write_all(&byte)?;
        stream.read_exact(&mut byte)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    println!("{:.2}", times[times.len() / 2].as_secs_f64() * 1e6);
    Ok(())
}

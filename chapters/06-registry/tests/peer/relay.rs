//! A relay in front of a registry, which cuts connections on purpose.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

pub struct Relay {
    port: u16,
    cuts: Arc<AtomicU64>,
}

impl Relay {
    /// Cuts so many connections, each after `after` bytes that went `way`.
    pub fn cutting(to: &str, way: Way, after: u64, times: u64) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (to, left) = (to.to_owned(), Arc::new(AtomicU64::new(times)));
        let cuts = Arc::clone(&left);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(&to) else { return };
                for (one, from, into) in [
                    (Way::Up, client.try_clone().unwrap(), server.try_clone().unwrap()),
                    (Way::Down, server, client),
                ] {
                    let left = Arc::clone(&left);
                    let limit = if one == way { after } else { u64::MAX };
                    thread::spawn(move || carry(from, into, limit, &left));
                }
            }
        });
        Relay { port, cuts }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Cuts that have not been made.
    pub fn left(&self) -> u64 {
        self.cuts.load(Ordering::SeqCst)
    }
}

fn carry(mut from: TcpStream, mut into: TcpStream, limit: u64, left: &AtomicU64) {
    let (mut buffer, mut seen) = ([0; 16 << 10], 0);
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        seen += n as u64;
        let cut = |left: u64| left.checked_sub(1);
        if seen > limit && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, cut).is_ok() {
            let keep = n - (seen - limit).min(n as u64) as usize;
            let _ = into.write_all(&buffer[..keep]);
            let _ = from.shutdown(Shutdown::Both);
            break;
        }
        if into.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = into.shutdown(Shutdown::Both);
}

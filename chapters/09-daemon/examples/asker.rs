//! Exercise 9.3: who is at the other end of a Unix socket.
//!
//! `cargo run -p corten-daemon --example asker -- /tmp/asker.sock`, and `curl --unix-socket` from elsewhere
#![deny(unsafe_code)]

use std::io::{self, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

// ANCHOR: asker
/// Who has connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// The process that called connect(2), as this PID namespace numbers it; 0 where it is not in it.
    pub pid: i32,
    /// Its user then.
    pub uid: u32,
    /// Its group then.
    pub gid: u32,
}

impl Asker {
    /// Asks the kernel, which has noted it when the connection was made (unix(7), SO_PEERCRED).
    ///
    /// # Errors
    /// Where the descriptor is no Unix socket that is connected.
    pub fn of(stream: &UnixStream) -> io::Result<Asker> {
        let found = getsockopt(stream, PeerCredentials)?;
        Ok(Asker { pid: found.pid(), uid: found.uid(), gid: found.gid() })
    }

    /// Whether it may do what `method` and `path` say: root and `owner` everything, others look only. The
    /// path is without its version.
    pub fn may(&self, owner: u32, method: &str, path: &str) -> bool {
        if self.uid == 0 || self.uid == owner {
            return true;
        }
        let reads = matches!(method, "GET" | "HEAD");
        // Reading is more than looking: a container's files are everybody's secrets.
        let mut parts = path.split('?').next().unwrap_or_default().trim_matches('/').split('/');
        let files = match (parts.next(), parts.next(), parts.next()) {
            (Some("containers"), Some(_), Some(last)) => {
                matches!(last, "archive" | "export" | "attach" | "logs" | "json" | "top")
            }
            (Some("images"), _, Some(_)) | (Some("images"), Some("get"), None) => true,
            (Some("exec"), ..) => true,
            _ => false,
        };
        reads && !files
    }
}
// ANCHOR_END: asker

fn main() -> io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "/tmp/asker.sock".to_owned());
    let listener = UnixListener::bind(&path)?;
    let (mut stream, _) = listener.accept()?;
    let asker = Asker::of(&stream)?;
    std::fs::remove_file(&path)?;
    let text = format!("{asker:?}\n");
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len())
}

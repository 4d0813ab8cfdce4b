//! The process that has a port: the kernel lists sockets with their inodes, and /proc/PID/fd says whose
//! they are (proc(5)).

use std::fs;
use std::path::Path;

use super::Protocol;

/// TCP_LISTEN in /proc/net/tcp.
const LISTENING: &str = "0A";

/// The inodes of the sockets that hold `port`.
fn inodes(protocol: Protocol, port: u16) -> Vec<String> {
    // Of the namespace that the calling thread is in.
    let files = [protocol.name().to_owned(), format!("{}6", protocol.name())];
    let tables = files
        .iter()
        .filter_map(|file| fs::read_to_string(Path::new("/proc/thread-self/net").join(file)).ok());
    tables.flat_map(|table| holders(&table, protocol, port)).collect()
}

/// The inodes in a file like /proc/net/tcp.
fn holders(table: &str, protocol: Protocol, port: u16) -> Vec<String> {
    let ending = format!(":{port:04X}");
    let mut found = Vec::new();
    for line in table.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (Some(local), Some(state), Some(inode)) = (words.get(1), words.get(3), words.get(9))
        else {
            continue;
        };
        if local.ends_with(&ending) && (protocol == Protocol::Udp || *state == LISTENING) {
            found.push((*inode).to_owned());
        }
    }
    found
}

/// Who has the port, in words.
pub(super) fn describe(protocol: Protocol, port: u16) -> String {
    let inodes = inodes(protocol, port);
    let links: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    match process(&links) {
        Some((pid, name)) => format!("held by {name}, process {pid}"),
        None => "held by a program of the host".to_owned(),
    }
}

/// The first process that has one of these open.
fn process(links: &[String]) -> Option<(u32, String)> {
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(entry.path().join("fd")) else { continue };
        let has =
            |link: std::path::PathBuf| links.iter().any(|wanted| link.as_os_str() == &**wanted);
        if descriptors.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).any(has) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some((pid, name.trim_end().to_owned()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
       0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n\
       1: 0100007F:1F90 0100007F:C000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x\n";

    #[test]
    fn a_listener_has_the_port_and_a_connection_has_not() {
        assert_eq!(holders(TABLE, Protocol::Tcp, 8080), ["4711"]);
        assert!(holders(TABLE, Protocol::Tcp, 80).is_empty());
    }

    #[test]
    fn a_socket_of_this_process_is_found() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let text = describe(Protocol::Udp, port);
        assert!(text.ends_with(&format!("process {}", std::process::id())), "{text}");
    }
}

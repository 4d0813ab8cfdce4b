//! Who is let in without a certificate: by a Unix socket its group, by TCP no web page.
#![allow(clippy::unwrap_used)]

mod memory;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};

use corten_daemon::listener::Listener;
use memory::Server;

/// A daemon at TCP without TLS, and its address.
fn plain() -> (Server, SocketAddr) {
    let mut address = None;
    let server = Server::start_with(|_| {
        let listener = Listener::tcp(([127, 0, 0, 1], 0).into(), None).unwrap();
        address = listener.address();
        vec![listener]
    });
    (server, address.unwrap())
}

/// The status of a request with these headers.
fn status(address: SocketAddr, method: &str, headers: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let path = "/containers/up/stop";
    let head = format!(
        "{method} {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_socket_is_its_group_s_and_nobody_else_s() {
    let server = Server::start();
    let found = std::fs::metadata(&server.socket).unwrap();
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
}

/// A form on a page is sent to any address, without a question and without reading the answer.
#[test]
fn a_web_page_s_form_stops_no_container() {
    let (_server, address) = plain();
    let host = format!("Host: {address}\r\n");
    for page in
        ["Origin: https://evil.example\r\n", "Origin: null\r\n", "Sec-Fetch-Site: cross-site\r\n"]
    {
        assert_eq!(status(address, "POST", &format!("{host}{page}")), "403", "{page}");
    }
    assert_eq!(status(address, "POST", &host), "204", "a client that is no browser");
}

/// A page of evil.example whose name is changed to 127.0.0.1 after it was loaded is of the same origin as
/// the daemon, to a browser. What stays is the name in its requests.
#[test]
fn a_name_that_leads_here_is_not_this_machine_s() {
    let (_server, address) = plain();
    let port = address.port();
    let asked = |host: &str| status(address, "POST", &format!("Host: {host}\r\n"));
    assert_eq!(asked(&format!("evil.example:{port}")), "403");
    assert_eq!(asked(&format!("localhost:{port}")), "204");
    assert_eq!(asked(&address.to_string()), "304");
}

/// Clients of a Unix socket write what they like there: docker its path, curl what was typed.
#[test]
fn by_a_unix_socket_any_host_is_asked() {
    let server = Server::start();
    let (status, _) = server.send("GET", "/_ping", "Origin: https://evil.example\r\n", "");
    assert_eq!(status, 200);
}

//! TCP with certificates of both sides.
#![allow(clippy::unwrap_used)]

mod certificates;
mod memory;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use certificates::issue;
use corten_daemon::listener::Listener;
use corten_daemon::tls::Files;
use memory::Server;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// Asks over TLS; with `own`, as somebody.
fn ask(
    address: std::net::SocketAddr,
    server: &Files,
    own: Option<&Files>,
) -> std::io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&server.ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        Some(own) => config
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(&own.cert).unwrap()],
                PrivateKeyDer::from_pem_file(&own.key).unwrap(),
            )
            .unwrap(),
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("localhost").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
    stream.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[test]
fn who_has_a_certificate_of_the_authority_is_let_in_and_nobody_else() {
    let directory = tempfile::tempdir().unwrap();
    let known = issue(directory.path(), "known");
    let stranger = issue(directory.path(), "stranger");
    let mut address = None;
    let _server = Server::start_with(|_| {
        let tls = known.read().unwrap();
        let listener = Listener::tcp(([127, 0, 0, 1], 0).into(), Some(tls)).unwrap();
        address = listener.address();
        vec![listener]
    });
    let address = address.unwrap();
    assert!(ask(address, &known, Some(&known)).unwrap().ends_with("OK"));
    assert!(ask(address, &known, None).is_err(), "without a certificate");
    assert!(ask(address, &known, Some(&stranger)).is_err(), "with one of another authority");
    // Nobody without TLS is answered.
    let mut plain = TcpStream::connect(address).unwrap();
    plain.write_all(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP/1.1"));
}

#[test]
fn a_file_that_holds_no_key_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = issue(directory.path(), "a");
    files.key = files.cert.clone();
    let why = files.read().unwrap_err().to_string();
    assert!(why.contains("a-cert.pem"), "{why}");
}

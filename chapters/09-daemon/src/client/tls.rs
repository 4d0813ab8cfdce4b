//! TLS from the client's side.
//!
//! A thread speaks it and has a socket to whoever wants to speak to the daemon: so a connection with TLS is
//! read by one thread and written by another like one without, which rustls's own stream does not allow.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use super::wire::Fate;
use crate::error::{Error, Result};
use crate::tls::certificates;

/// A client's files, named as docker's options name them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientFiles {
    /// Who signs the server's certificate; nobody is asked where `verify` is false.
    pub ca: Option<PathBuf>,
    /// The client's own certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Whether the server must show a certificate of `ca`, for its name.
    pub verify: bool,
}

/// What rustls needs to know.
#[derive(Debug, Clone)]
pub(super) struct Client(Arc<ClientConfig>);

impl ClientFiles {
    // ANCHOR: client
    /// Reads the files.
    pub(super) fn read(&self) -> Result<Client> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let config = if self.verify {
            let Some(ca) = &self.ca else {
                let why = "needs --tlscacert FILE, or ca.pem in DOCKER_CERT_PATH";
                return Err(Error::invalid("--tlsverify", why));
            };
            let mut roots = RootCertStore::empty();
            for certificate in certificates(ca)? {
                roots.add(certificate)?;
            }
            config.with_root_certificates(roots)
        } else {
            config.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        };
        let config = match (&self.cert, &self.key) {
            (Some(cert), Some(key)) => {
                let read = PrivateKeyDer::from_pem_file(key)
                    .map_err(|why| Error::invalid(key.display().to_string(), why.to_string()))?;
                config.with_client_auth_cert(certificates(cert)?, read)?
            }
            _ => config.with_no_client_auth(),
        };
        Ok(Client(Arc::new(config)))
    }
    // ANCHOR_END: client
}

impl Client {
    /// Says hello to the server `host`; what is written into the socket that comes back goes to it.
    pub(super) fn wrap(
        &self,
        mut stream: TcpStream,
        host: &str,
        fate: Fate,
    ) -> io::Result<UnixStream> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut stream)?;
        }
        let (own, theirs) = UnixStream::pair()?;
        stream.set_nonblocking(true)?;
        own.set_nonblocking(true)?;
        let carry = move || {
            let mut carrier =
                Carrier { tls, stream, own, decoded: Vec::new(), ends: Ends::default() };
            if let Err(why) = carrier.run() {
                *fate.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.to_string());
            }
        };
        std::thread::Builder::new().name("tls".into()).spawn(carry)?;
        Ok(theirs)
    }
}

/// Between the socket of our own side and the server's.
struct Carrier {
    tls: ClientConnection,
    stream: TcpStream,
    own: UnixStream,
    /// What has come and is not taken yet.
    decoded: Vec<u8>,
    ends: Ends,
}

/// Who has said that no more will come.
#[derive(Default)]
struct Ends {
    own: bool,
    server: bool,
}

/// How much is held for a reader that is slow.
const HELD: usize = 256 << 10;

impl Carrier {
    // ANCHOR: carry
    /// Until the server has ended and all is taken, or nobody is left on our own side.
    fn run(&mut self) -> io::Result<()> {
        loop {
            if self.ends.server && self.decoded.is_empty() {
                return Ok(());
            }
            let (server, own) = self.wait()?;
            if own.contains(PollFlags::POLLHUP) && !own.contains(PollFlags::POLLIN) {
                self.tls.send_close_notify();
                let _ = self.tls.write_tls(&mut self.stream);
                return Ok(());
            }
            if own.intersects(PollFlags::POLLIN | PollFlags::POLLHUP) && !self.ends.own {
                self.take_own()?;
            }
            if !server.is_empty() {
                self.take_server()?;
            }
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.stream) {
                    Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                    other => other?,
                };
            }
            self.give()?;
        }
    }
    // ANCHOR_END: carry

    fn wait(&self) -> io::Result<(PollFlags, PollFlags)> {
        let (mut server, mut own) = (PollFlags::empty(), PollFlags::empty());
        server.set(PollFlags::POLLIN, !self.ends.server && self.decoded.len() < HELD);
        server.set(PollFlags::POLLOUT, self.tls.wants_write());
        // What is not sent yet is sent first.
        own.set(PollFlags::POLLIN, !self.ends.own && !self.tls.wants_write());
        own.set(PollFlags::POLLOUT, !self.decoded.is_empty());
        let mut fds =
            [PollFd::new(self.stream.as_fd(), server), PollFd::new(self.own.as_fd(), own)];
        match poll(&mut fds, PollTimeout::NONE) {
            Err(nix::errno::Errno::EINTR) => return Ok((PollFlags::empty(), PollFlags::empty())),
            other => other?,
        };
        Ok(fds.map(|fd| fd.revents().unwrap_or(PollFlags::empty())).into())
    }

    fn take_own(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 << 10];
        match self.own.read(&mut piece) {
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Ok(0) => {
                self.ends.own = true;
                self.tls.send_close_notify();
                Ok(())
            }
            other => self.tls.writer().write_all(piece.get(..other?).unwrap_or_default()),
        }
    }

    fn take_server(&mut self) -> io::Result<()> {
        match self.tls.read_tls(&mut self.stream) {
            Err(why) if why.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) => self.ends.server = true,
            other => drop(other?),
        }
        let state = self.tls.process_new_packets().map_err(|why| {
            // What the server thinks of us is still to be sent.
            let _ = self.tls.write_tls(&mut self.stream);
            io::Error::other(why)
        })?;
        let mut plain = vec![0; state.plaintext_bytes_to_read()];
        self.tls.reader().read_exact(&mut plain)?;
        self.decoded.extend_from_slice(&plain);
        self.ends.server |= state.peer_has_closed();
        Ok(())
    }

    fn give(&mut self) -> io::Result<()> {
        while !self.decoded.is_empty() {
            match self.own.write(&self.decoded) {
                Ok(length) => drop(self.decoded.drain(..length)),
                Err(why) if why.kind() == io::ErrorKind::WouldBlock => break,
                Err(why) => return Err(why),
            }
        }
        Ok(())
    }
}

/// `--tls` without `--tlsverify`: what is said cannot be overheard, but by whom it is heard is not known.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

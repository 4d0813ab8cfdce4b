//! The server of one network: one thread that waits in one place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use corten_supervisor::poller::Registered;
use nix::sys::epoll::EpollFlags;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::census::Census;
use super::control::{Control, Report, Request};
use super::forward::{Asker, Forwards};
use super::launch::Settings;
use super::resolvers::Resolvers;
use super::source::{Poller, Source};
use super::stream::Streams;
use super::table::Table;
use crate::error::{Error, Result};

/// A container that is served.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) container: String,
    pub(super) namespace: File,
    pub(super) ports: (u16, u16),
    pub(super) datagrams: Registered<UdpSocket>,
    pub(super) listener: Registered<TcpListener>,
    /// Whether the table in the namespace leads to these sockets.
    pub(super) is_home: bool,
}

// ANCHOR: server
/// Everything that the server knows.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) settings: Settings,
    /// Our own network namespace, to come back to.
    pub(super) home: File,
    pub(super) poller: Poller,
    control: Control,
    /// The files, and what they say.
    census: Registered<Census>,
    pub(super) table: Table,
    /// The containers that are served, by the numbers of their stations.
    pub(super) posts: BTreeMap<u32, Post>,
    pub(super) failed: BTreeMap<String, String>,
    pub(super) streams: Streams,
    pub(super) forwards: Forwards,
    pub(super) resolvers: Resolvers,
    pub(super) next: u32,
    pub(super) answered: u64,
    pub(super) forwarded: u64,
}
// ANCHOR_END: server

impl Server {
    /// Everything in place, before the first question.
    pub(super) fn new(settings: Settings, engine: UnixStream) -> Result<Server> {
        allow_many_sockets();
        let own = Path::new("/proc/thread-self/ns/net");
        let home = File::open(own).map_err(|error| Error::path("open", own, error))?;
        let mut poller = Poller::new()?;
        let mut table = Table::default();
        let census = Census::new(&settings.root, &settings.state, &mut table)?;
        let census = Registered::new(&mut poller, census, Source::Changes, EpollFlags::EPOLLIN)?;
        let mut control = Control::listen(&mut poller, &settings.socket())?;
        control.add(&mut poller, engine)?;
        let resolvers = Resolvers::new(&settings.resolv_conf);
        let mut server = Server {
            settings,
            home,
            poller,
            control,
            census,
            table,
            posts: BTreeMap::new(),
            failed: BTreeMap::new(),
            streams: Streams::default(),
            forwards: Forwards::default(),
            resolvers,
            next: 0,
            answered: 0,
            forwarded: 0,
        };
        let network = server.settings.network.clone();
        let all = server.table.endpoints(&network).map(|(_, e)| e.container.clone());
        server.settle(all.collect());
        Ok(server)
    }

    // ANCHOR: run
    /// Serves until the last endpoint of the network has gone.
    pub(super) fn run(&mut self) -> Result<()> {
        loop {
            let deadlines = [self.forwards.deadline(), self.streams.deadline()];
            let ready = self.poller.wait(deadlines.into_iter().flatten().min())?;
            for (key, flags) in ready {
                // What came before it in this round may have closed it.
                if let Some(source) = self.poller.source(key) {
                    self.serve(source, flags)?;
                }
            }
            self.expire(Instant::now());
            if self.table.endpoints(&self.settings.network).next().is_none() {
                return Ok(());
            }
        }
    }
    // ANCHOR_END: run

    // ANCHOR: catch_up
    /// Takes in what has changed. To be called when questions have been read and before they are
    /// answered: whatever was changed before one of them was asked is in the queue by then, so no
    /// answer is older than the files.
    pub(super) fn catch_up(&mut self) -> Result<()> {
        let touched = self.census.fd.refresh(&mut self.table)?;
        self.settle(touched);
        Ok(())
    }
    // ANCHOR_END: catch_up

    fn serve(&mut self, source: Source, flags: EpollFlags) -> Result<()> {
        match source {
            Source::Control => self.control.accept(&mut self.poller)?,
            Source::Engine(number) => {
                if let Some(request) = self.control.request(&mut self.poller, number) {
                    self.catch_up()?;
                    let report = self.report(request);
                    self.control.answer(&mut self.poller, number, &report);
                }
            }
            Source::Changes => self.catch_up()?,
            Source::Datagrams(station) => self.read_datagrams(station)?,
            Source::Listener(station) => self.accept(station),
            Source::Stream(stream) => {
                match self.streams.ready(stream, flags) {
                    Ok(()) => {
                        self.catch_up()?;
                        self.advance(stream);
                    }
                    Err(_) => self.close_stream(stream),
                };
            }
            Source::Flight(number) => {
                let outcome = self.forwards.ready(&mut self.poller, &mut self.resolvers, number);
                if let Some(outcome) = outcome {
                    self.land(outcome);
                }
            }
        }
        Ok(())
    }

    fn expire(&mut self, now: Instant) {
        for outcome in self.forwards.expire(&mut self.poller, &mut self.resolvers, now) {
            self.land(outcome);
        }
        for stream in self.streams.expired(now) {
            self.close_stream(stream);
        }
    }

    /// A container wants to speak TCP.
    fn accept(&mut self, station: u32) {
        let Some(post) = self.posts.get(&station) else { return };
        let accepted = post.listener.fd.accept().and_then(|(socket, _)| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        match accepted {
            Ok(socket) => {
                let gone = self.streams.accept(&mut self.poller, station, socket);
                if let Ok(Some(gone)) = gone {
                    self.forget_stream(gone);
                }
            }
            // Out of descriptors. The connection stays in the queue, so without room for it we
            // would turn in circles.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                if let Some(stream) = self.streams.oldest() {
                    self.close_stream(stream);
                }
            }
            Err(_) => {}
        }
    }

    pub(super) fn close_stream(&mut self, stream: u32) {
        self.streams.close(&mut self.poller, stream);
        self.forget_stream(stream);
    }

    fn forget_stream(&mut self, gone: u32) {
        self.forwards.forget(
            &mut self.poller,
            |asker| matches!(asker, Asker::Stream { stream, .. } if stream == gone),
        );
    }

    fn report(&mut self, request: Request) -> Report {
        let mut report = Report {
            pid: nix::unistd::getpid().as_raw(),
            answered: self.answered,
            forwarded: self.forwarded,
            waiting: self.forwards.len(),
            streams: self.streams.len(),
            ..Report::default()
        };
        match request {
            Request::Changed => {
                let network = &self.settings.network;
                let mut touched = self.census.fd.compare(network, &mut self.table);
                // And those once more that could not be served.
                touched.extend(self.failed.keys().cloned());
                self.settle(touched);
                report.elsewhere = self.elsewhere();
            }
            Request::Status => {
                let posts = self.posts.values();
                report.served = posts.map(|post| (post.container.clone(), post.ports)).collect();
            }
        }
        report.failed.clone_from(&self.failed);
        report
    }
}

/// As many descriptors as root may give us: each container takes two, and each question on its way
/// one.
fn allow_many_sockets() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

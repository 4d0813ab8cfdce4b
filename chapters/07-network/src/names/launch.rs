//! Starting the server of a network, and telling it what to look at.
//!
//! As in chapter 5, whoever starts one carries the program in itself: [`as_server`] is the first
//! thing that its `main` calls. The process is executed out of a clone of that program that nobody
//! can write to, since it goes into containers' network namespaces with the rights of root.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use corten_runtime::shield;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Deserialize, Serialize};

use super::control::{self, Report, Request};
use super::server::Server;
use crate::error::{Context, Error, Result};

/// The name under which a program is a server of names.
pub const NAME: &str = "corten-names";

/// For how long a server may take to start, or to answer an engine.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a server is told when it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    /// Where the networks are described.
    pub(super) root: PathBuf,
    /// Where their endpoints are, and the servers' sockets.
    pub(super) state: PathBuf,
    /// The network that is served.
    pub(super) network: String,
    /// Where the host's resolvers are named.
    pub(super) resolv_conf: PathBuf,
}

impl Settings {
    fn file(&self, extension: &str) -> PathBuf {
        // A Unix socket's path has 107 bytes at most, and an id has 64.
        let short = self.network.get(..12).unwrap_or(&self.network);
        self.state.join("names").join(format!("{short}.{extension}"))
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.file("sock")
    }

    /// Held for as long as the server lives; what it says that it can say to nobody stands in it.
    fn lock(&self) -> PathBuf {
        self.file("lock")
    }
}

/// The servers of this machine's networks, for engines.
#[derive(Debug, Clone)]
pub struct Names {
    root: PathBuf,
    state: PathBuf,
    resolv_conf: PathBuf,
    program: PathBuf,
}

impl Names {
    /// The networks are described in `root/networks`, their endpoints in `state/networks`. This
    /// very program is the server.
    pub fn new(root: &Path, state: &Path) -> Names {
        Names {
            root: root.to_owned(),
            state: state.to_owned(),
            resolv_conf: "/etc/resolv.conf".into(),
            program: "/proc/self/exe".into(),
        }
    }

    /// Another program that begins with [`as_server`].
    #[must_use]
    pub fn with_program(mut self, program: &Path) -> Names {
        self.program = program.to_owned();
        self
    }

    /// Another file that names the host's resolvers.
    #[must_use]
    pub fn with_resolv_conf(mut self, file: &Path) -> Names {
        self.resolv_conf = file.to_owned();
        self
    }

    // ANCHOR: announce
    /// To be called when endpoints of `network` have come or gone, with their files in place. When
    /// this returns, everybody who is attached is served, or the report says who is not.
    ///
    /// # Errors
    /// Where a server cannot be started, or does not answer.
    pub fn announce(&self, network: &str) -> Result<Report> {
        let report = self.ask(network, Request::Changed)?;
        for other in &report.elsewhere {
            // It knows already what it has to do, if it is there: so this is for one that was
            // killed.
            self.ask(other, Request::Changed)?;
        }
        Ok(report)
    }
    // ANCHOR_END: announce

    /// What the server of a network does; `None` where there is none.
    ///
    /// # Errors
    /// Where it does not answer.
    pub fn status(&self, network: &str) -> Result<Option<Report>> {
        match control::connect(&self.settings(network).socket())? {
            None => Ok(None),
            Some(connection) => answer(&connection, network, Request::Status),
        }
    }

    fn settings(&self, network: &str) -> Settings {
        Settings {
            root: self.root.clone(),
            state: self.state.clone(),
            network: network.to_owned(),
            resolv_conf: self.resolv_conf.clone(),
        }
    }

    /// Asks the server, which is started where there is none.
    fn ask(&self, network: &str, request: Request) -> Result<Report> {
        let settings = self.settings(network);
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let connection = self.connected(&settings)?;
            // It may be about to end, since its last endpoint has gone: then it is another one's
            // turn.
            if let Some(report) = answer(&connection, network, request)? {
                return Ok(report);
            }
            let said = std::fs::read_to_string(settings.lock()).unwrap_or_default();
            if !said.is_empty() {
                return Err(failure(network, said.trim()));
            }
        }
        Err(failure(network, "it ends as soon as it is started"))
    }

    // ANCHOR: connected
    /// A connection to the server, which is started where there is none. Whoever holds the lock
    /// either is the server or starts it.
    fn connected(&self, settings: &Settings) -> Result<UnixStream> {
        let begun = Instant::now();
        loop {
            if let Some(connection) = control::connect(&settings.socket())? {
                return Ok(connection);
            }
            if let Some(lock) = lock(&settings.lock())? {
                return self.start(settings, lock);
            }
            if begun.elapsed() > PATIENCE {
                return Err(failure(&settings.network, "it is there and does not listen"));
            }
            // Somebody else is starting it just now.
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn start(&self, settings: &Settings, lock: File) -> Result<UnixStream> {
        let (kind, flags) = (SockType::SeqPacket, SockFlag::SOCK_CLOEXEC);
        let (ours, theirs) =
            socketpair(AddressFamily::Unix, kind, None, flags).during("make a socket pair")?;
        let program = shield::program(&self.program)?;
        // The lock belongs to the open file (fcntl_locking(2)), so the server has it from its first
        // moment on, and until its last, whatever becomes of us.
        let held = || lock.try_clone().during("hand on a lock");
        let mut child = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0(NAME)
            .arg(
                serde_json::to_string(settings)
                    .map_err(io::Error::from)
                    .during("write settings")?,
            )
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(held()?))
            .stderr(Stdio::from(held()?))
            .spawn()
            .map_err(|error| Error::path("start a name server from", &self.program, error))?;
        // Whoever lives longer than it collects it.
        std::thread::spawn(move || child.wait());
        Ok(ours.into())
    }
    // ANCHOR_END: connected
}

pub(super) fn failure(network: &str, why: &str) -> Error {
    Error::NameServer { network: network.to_owned(), why: why.to_owned() }
}

fn answer(connection: &UnixStream, network: &str, request: Request) -> Result<Option<Report>> {
    connection.set_read_timeout(Some(PATIENCE)).during("set a timeout")?;
    control::ask(connection, request).map_err(|error| failure(network, &error.to_string()))
}

/// Takes the lock, where nobody has it.
fn lock(path: &Path) -> Result<Option<File>> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.and_then(|()| std::fs::set_permissions(directory, PermissionsExt::from_mode(0o700)))
        .map_err(|error| Error::path("make", directory, error))?;
    let file = OpenOptions::new().append(true).create(true).open(path);
    let file = file.map_err(|error| Error::path("open", path, error))?;
    let whole = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    if fcntl(&file, FcntlArg::F_OFD_SETLK(&whole)).is_err() {
        return Ok(None);
    }
    let lock = file;
    // A server that ends removes the file. Who has opened it before holds a lock on nothing.
    let inode = |metadata: io::Result<std::fs::Metadata>| metadata.map(|it| it.ino()).ok();
    if inode(lock.metadata()) != inode(std::fs::metadata(path)) {
        return Ok(None);
    }
    lock.set_len(0).map_err(|error| Error::path("empty", path, error))?;
    Ok(Some(lock))
}

// ANCHOR: as_server
/// Whether this process was started as a name server: then it is one, and its end is the process's.
pub fn as_server() -> Option<ExitCode> {
    let mut arguments = std::env::args_os();
    if arguments.next()? != OsStr::new(NAME) {
        return None;
    }
    let mut connection = None;
    match serve(arguments.next()?.as_encoded_bytes(), &mut connection) {
        Ok(()) => Some(ExitCode::SUCCESS),
        Err(error) => {
            // To the file that is its lock: whoever asked reads it when the connection is closed, and
            // whoever asks next finds it there.
            let _ = io::stderr().write_all(format!("{error}\n").as_bytes());
            drop(connection);
            Some(ExitCode::FAILURE)
        }
    }
}
// ANCHOR_END: as_server

/// Serves; `connection` is open until a server has started.
fn serve(settings: &[u8], connection: &mut Option<OwnedFd>) -> Result<()> {
    let settings: Settings =
        serde_json::from_slice(settings).map_err(io::Error::from).during("read settings")?;
    let engine = io::stdin().as_fd().try_clone_to_owned().during("take the connection")?;
    // Out of the terminal's session: its end is not ours.
    let _ = nix::unistd::setsid();
    // In lists of processes: it is executed by the number of a descriptor.
    let _ = std::fs::write("/proc/self/comm", NAME);
    close_input()?;
    let (socket, lock) = (settings.socket(), settings.lock());
    *connection = Some(engine.try_clone().during("keep the connection")?);
    let mut server = Server::new(settings, engine.into())?;
    *connection = None;
    server.run()?;
    // The name first, and only then the socket: who finds neither can be sure that we touch
    // nothing any more.
    let _ = std::fs::remove_file(&socket);
    drop(server);
    let _ = std::fs::remove_file(&lock);
    Ok(())
}

/// The first descriptor is the engine's connection, and must be closed when that is.
fn close_input() -> Result<()> {
    let null = OwnedFd::from(File::open("/dev/null").during("open /dev/null")?);
    nix::unistd::dup2_stdin(&null).during("close the connection's first descriptor")
}

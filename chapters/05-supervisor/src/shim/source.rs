//! What the shim waits for.

use crate::poller;

// ANCHOR: source
/// What a descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// The control socket, where clients come in.
    Listener,
    /// SIGCHLD.
    Signals,
    /// The kernel's word of killed processes.
    Oom,
    /// The process that writes the log.
    Log,
    /// A client's connection.
    Client(u32),
    /// Output of the program behind a set of streams.
    Output(Streams, Channel),
    /// Its input, when it takes more.
    Input(Streams),
    /// The streams of one attached client.
    Attached(Streams, u32),
}
// ANCHOR_END: source

/// Whose streams: the container's, or an exec's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Streams {
    /// The container's first process.
    Container,
    /// The exec with this number.
    Exec(u32),
}

/// Standard output, or error; a terminal has one for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    /// Standard output, or the terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

/// The shim's descriptors that are waited for.
pub(super) type Poller = poller::Poller<Source>;

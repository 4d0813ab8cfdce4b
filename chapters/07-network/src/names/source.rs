//! What the server waits for.

use corten_supervisor::poller;

/// What a descriptor belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The control socket, where engines come in.
    Control,
    /// The connection of one engine.
    Engine(u32),
    /// The kernel's word of files that changed.
    Changes,
    /// Datagrams of the station with this number.
    Datagrams(u32),
    /// Its listening TCP socket.
    Listener(u32),
    /// A TCP connection of a container.
    Stream(u32),
    /// A question on its way to a resolver.
    Flight(u32),
}

/// The server's descriptors that are waited for.
pub(super) type Poller = poller::Poller<Source>;

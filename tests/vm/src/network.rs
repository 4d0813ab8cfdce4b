//! A private network between VMs: an Ethernet hub in this process.
//!
//! QEMU's `-netdev socket` sends each frame over a stream socket, after its length as four bytes in
//! network order. The hub hands every frame to all other ports. It needs no rights, no link on the
//! host and no free port number, and nothing outside the connected VMs can reach it.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crate::error::{Context, Result};

/// Frames that wait for a slow VM; further ones are lost, as on a real wire.
const QUEUE: usize = 1024;

/// Longer than any frame that virtio-net sends, segmentation offload included.
const LONGEST: usize = 1 << 17;

type Ports = Arc<Mutex<Vec<(usize, SyncSender<Arc<[u8]>>)>>>;

/// A network that VMs are connected to with [`VmBuilder::network`](crate::VmBuilder::network).
/// Clones are the same network; it ends with the last VM on it.
#[derive(Debug, Clone, Default)]
pub struct Network {
    ports: Ports,
}

impl Network {
    /// A network without any VM yet.
    pub fn new() -> Network {
        Network::default()
    }

    /// A new port: the end for QEMU, and a number that is different for each port.
    pub(crate) fn connect(&self) -> Result<(OwnedFd, usize)> {
        let (ours, theirs) = UnixStream::pair().on("create", "a socket pair")?;
        let writer = ours.try_clone().on("duplicate", "a socket")?;
        let (sender, receiver) = sync_channel(QUEUE);
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let number = ports.last().map_or(1, |(last, _)| last + 1);
        ports.push((number, sender));
        drop(ports);
        thread::spawn(move || deliver(writer, &receiver));
        let ports = Arc::clone(&self.ports);
        thread::spawn(move || repeat(ours, number, &ports));
        Ok((theirs.into(), number))
    }
}

/// Writes the frames for one VM until it is gone.
fn deliver(mut socket: UnixStream, frames: &Receiver<Arc<[u8]>>) {
    for frame in frames {
        if socket.write_all(&frame).is_err() {
            return;
        }
    }
}

/// Reads the frames of one VM and queues them for all others, until the VM is gone.
fn repeat(mut socket: UnixStream, from: usize, ports: &Ports) {
    let mut length = [0; 4];
    while socket.read_exact(&mut length).is_ok() {
        let size = u32::from_be_bytes(length) as usize;
        let mut frame = vec![0; 4 + size.min(LONGEST)];
        frame[..4].copy_from_slice(&length);
        if size > LONGEST || socket.read_exact(&mut frame[4..]).is_err() {
            break;
        }
        let frame: Arc<[u8]> = frame.into();
        let ports = ports.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, port) in ports.iter().filter(|(number, _)| *number != from) {
            // A full queue loses the frame.
            let _ = port.try_send(Arc::clone(&frame));
        }
    }
    ports.lock().unwrap_or_else(PoisonError::into_inner).retain(|(number, _)| *number != from);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reaches_all_other_ports_and_not_its_sender() {
        let network = Network::new();
        let mut ports: Vec<UnixStream> =
            (0..3).map(|_| network.connect().unwrap().0.into()).collect();
        ports[0].write_all(b"\0\0\0\x05hello").unwrap();
        for port in &mut ports[1..] {
            let mut frame = [0; 9];
            port.read_exact(&mut frame).unwrap();
            assert_eq!(&frame, b"\0\0\0\x05hello");
        }
        ports[0].set_nonblocking(true).unwrap();
        assert!(ports[0].read(&mut [0; 9]).is_err());
    }
}

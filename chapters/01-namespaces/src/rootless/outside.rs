//! A thread that has stayed in the host's network: what is listened at there can be reached from outside.
//!
//! Network namespaces are joined thread by thread (setns(2)), and a socket belongs for ever to the one that its
//! maker was in. So one thread is left behind, with the rights of the user that it has there anyway, and makes
//! sockets for the others.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};

type Work = Box<dyn FnOnce() + Send>;

static OUTSIDE: OnceLock<Mutex<mpsc::Sender<Work>>> = OnceLock::new();

/// Whether this process has such a thread.
pub fn is_there() -> bool {
    OUTSIDE.get().is_some()
}

/// Leaves a thread in the network namespace of the caller, which is about to join another one.
pub(super) fn leave_behind() -> io::Result<()> {
    let (sender, works) = mpsc::channel::<Work>();
    std::thread::Builder::new()
        .name("outside".to_owned())
        .spawn(move || works.into_iter().for_each(|work| work()))?;
    let _ = OUTSIDE.set(Mutex::new(sender));
    Ok(())
}

// ANCHOR: outside
/// Has work done in the host's network, or where the caller is, if that is there.
///
/// # Errors
/// Those of the work.
pub fn outside<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let Some(sender) = OUTSIDE.get() else { return work() };
    let (tell, hear) = mpsc::channel();
    let sent = sender.lock().unwrap_or_else(PoisonError::into_inner).send(Box::new(move || {
        // Who has asked waits for it.
        let _ = tell.send(work());
    }));
    let gone = |_| io::Error::other("the thread in the host's network has ended");
    sent.map_err(|_| gone(mpsc::RecvError))?;
    hear.recv().map_err(gone)?
}
// ANCHOR_END: outside

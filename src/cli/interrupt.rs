//! Ctrl-C while something is being made that must be put in order.

use corten_builder::run::Cancel;
use corten_namespaces::error::Context;
use nix::sys::signal::{SigSet, Signal};

use crate::engine::Result;

/// From now on SIGINT, SIGTERM and SIGHUP tell `cancel`, and do not end this process. Must be called
/// before there are other threads, for they inherit it.
pub(super) fn on_signal(cancel: &Cancel) -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().during("block signals")?;
    let cancel = cancel.clone();
    let wait = move || {
        while signals.wait().is_ok() {
            cancel.cancel();
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).during("start a thread")?;
    Ok(())
}

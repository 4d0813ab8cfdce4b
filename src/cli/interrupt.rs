//! Ctrl-C while something is being made that must be put in order.

use std::time::Duration;

use corten_builder::run::Cancel;
use corten_namespaces::error::Context;
use nix::sys::signal::{SigSet, Signal};

use crate::engine::Result;

/// So long is waited until what was told to end has ended. A thread may be where it hears of nothing, as in
/// a pull from a registry that is silent. What is left then is what a kill leaves, and the next start
/// removes it.
const GRACE: Duration = Duration::from_secs(10);

/// From now on SIGINT, SIGTERM and SIGHUP tell `cancel`, and do not end this process but the second time,
/// or after [`GRACE`]. Must be called before there are other threads, for they inherit it.
pub(super) fn on_signal(cancel: &Cancel) -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().during("block signals")?;
    let cancel = cancel.clone();
    let wait = move || {
        if signals.wait().is_err() {
            return;
        }
        cancel.cancel();
        let hasten = move || {
            if signals.wait().is_ok() {
                end();
            }
        };
        // Without it there is only the other way.
        let _ = std::thread::Builder::new().name("signals".into()).spawn(hasten);
        std::thread::sleep(GRACE);
        end();
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).during("start a thread")?;
    Ok(())
}

/// Ends this process as a signal would.
fn end() {
    super::warn("ended before all was in order; the next start removes what is left");
    std::process::exit(130);
}

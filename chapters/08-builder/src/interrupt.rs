//! Ctrl-C while something is being made that must be put in order.

use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};

use crate::error::{At, Result};
use crate::run::Cancel;

/// So long is waited until what was told to end has ended. A thread may be where it hears of nothing, as in
/// a pull from a registry that is silent. What is left then is what a kill leaves, and the next start
/// removes it.
const GRACE: Duration = Duration::from_secs(10);

/// From now on SIGINT, SIGTERM and SIGHUP tell `cancel`, and do not end this process but the second time,
/// or after ten seconds, when `warn` is told so. Must be called before there are other threads, for they
/// inherit it.
///
/// # Errors
/// Where there is no thread to be had.
pub fn on_signal(cancel: &Cancel, warn: fn(&str)) -> Result<()> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    signals.thread_block().at("block", "signals")?;
    let cancel = cancel.clone();
    let wait = move || {
        if signals.wait().is_err() {
            return;
        }
        cancel.cancel();
        let hasten = move || {
            if signals.wait().is_ok() {
                end(warn);
            }
        };
        // Without it there is only the other way.
        let _ = std::thread::Builder::new().name("signals".into()).spawn(hasten);
        std::thread::sleep(GRACE);
        end(warn);
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map(drop).at("start", "a thread")
}

/// Ends this process as a signal would.
fn end(warn: fn(&str)) {
    warn("ended before all was in order; the next start removes what is left");
    std::process::exit(130);
}

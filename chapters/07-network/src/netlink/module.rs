//! Modules of the kernel that are loaded when somebody needs them for the first time.

use std::time::Duration;

use crate::error::{Error, Result};

/// How often, and how far apart, it is tried whether a module is there that may be being loaded.
const TRIES: u32 = 50;
const APART: Duration = Duration::from_millis(20);

/// Asks again while the answer is what the kernel tells whoever needs a module that another one's
/// request is having loaded (modprobe may end before that is done), and all where there is none.
pub(crate) fn once_loaded<T>(
    is_missing: impl Fn(&Error) -> bool,
    mut ask: impl FnMut() -> Result<T>,
) -> Result<T> {
    for _ in 0..TRIES {
        match ask() {
            Err(error) if is_missing(&error) => std::thread::sleep(APART),
            other => return other,
        }
    }
    ask()
}

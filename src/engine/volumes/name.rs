//! Names of volumes, which are names of directories.

use crate::engine::error::{Error, Result};

/// Checks a name by Docker's rule: a letter or digit, then letters, digits, `_`, `.` or `-`.
///
/// # Errors
/// [`Error::Refused`].
pub fn check(name: &str) -> Result<()> {
    if name.len() == 1 {
        return Err(Error::refused(format!(
            "create {name}: volume name is too short, names should be at least two alphanumeric \
             characters"
        )));
    }
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    // The kernel's limit is 255, and what is being made has a few characters more.
    let rest = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if first && name.len() <= 240 && bytes.all(rest) {
        return Ok(());
    }
    Err(Error::refused(format!(
        "create {name}: {name:?} includes invalid characters for a local volume name, only \
         \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use \
         absolute path"
    )))
}

//! Lock files: what processes of one state directory take turns by.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Opens the file to be locked, and makes it where it is not there. flock(2) asks for no right to
/// write, so this does not either: on a file system that has become read-only, what only reads goes on.
///
/// # Errors
/// The kernel's.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_CREAT).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_not_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        drop(open(&path).unwrap());
        let file = open(&path).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        assert!(open(&dir.path().join("missing/lock")).is_err());
    }
}

//! The one system call that an attack needs and no crate wraps.
#![allow(unsafe_code)]

/// TIOCSTI (ioctl_tty(2)): puts `byte` into the input of standard input's terminal, as if it had
/// been typed.
pub fn type_into_stdin(byte: u8) -> nix::Result<()> {
    // SAFETY: TIOCSTI reads one byte, which lives across the call; standard input is only named.
    let result = unsafe { libc::ioctl(0, libc::TIOCSTI, &raw const byte) };
    nix::errno::Errno::result(result).map(drop)
}

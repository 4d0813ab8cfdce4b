//! The system calls that no crate has: all `unsafe` of this crate.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

// ANCHOR: unread
/// Bytes in a Unix stream socket that its other end has not read (unix(7), SIOCOUTQ); 0 where the
/// kernel does not say.
pub(crate) fn unread(socket: BorrowedFd<'_>) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: SIOCOUTQ, which has TIOCOUTQ's number, writes one int to the pointer, which is to one that
    // lives across the call; the descriptor is borrowed, so it is open.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if done == 0 { usize::try_from(count).unwrap_or(0) } else { 0 }
}
// ANCHOR_END: unread

/// Lets threads share few heaps. The C library gives each thread that comes at a bad moment another one,
/// and keeps what they once needed (mallopt(3)).
pub(crate) fn few_heaps() {
    // SAFETY: mallopt takes two numbers and touches no memory of ours. That it is heard only for heaps
    // that come later does no harm.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 2) };
}

/// Gives pages of the heap back on which nothing is (malloc_trim(3)).
pub(crate) fn trim() {
    // SAFETY: malloc_trim takes a number. It takes the heap's own locks, moves nothing, and gives back
    // whole pages only on which no allocation is.
    unsafe { libc::malloc_trim(0) };
}

// ANCHOR: give_back
/// Gives back the pages of code between two addresses; what is needed again comes from the page cache.
pub(crate) fn give_back(begin: usize, end: usize) {
    let length = end.saturating_sub(begin);
    // SAFETY: the caller names a mapping of this program's file that can be executed and not written: no
    // page of it differs from the file, from which MADV_DONTNEED (madvise(2)) lets it come again.
    unsafe { libc::madvise(begin as *mut libc::c_void, length, libc::MADV_DONTNEED) };
}
// ANCHOR_END: give_back

// ANCHOR: inherited
/// A descriptor that another program has left open for this one, by its number.
pub(crate) fn inherited(number: i32) -> OwnedFd {
    // SAFETY: only called for the numbers that LISTEN_FDS names in the process that LISTEN_PID names:
    // whoever started us has opened them for us, and nothing else here has them. One that is not open
    // makes each call fail with EBADF.
    unsafe { OwnedFd::from_raw_fd(number) }
}
// ANCHOR_END: inherited

// ANCHOR: readable
/// A descriptor on which tasks wait until it can be read.
pub(crate) fn readable(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd names the same open descriptor for as long as it lives, and AsyncFd takes it
    // off the poller before it drops it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.map_err(Into::into)
}
// ANCHOR_END: readable

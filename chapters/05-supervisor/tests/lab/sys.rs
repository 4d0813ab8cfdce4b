//! System calls that tests alone need.
#![allow(unsafe_code)]

/// Makes the calling thread, and no other, one of another user.
pub fn become_user(uid: u32) {
    // SAFETY: takes integers. Not by the library's function, which changes all threads.
    let done = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
    assert_eq!(done, 0);
}

/// Sets how many descriptors the process `pid` may have.
pub fn limit_files(pid: i32, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
    // SAFETY: `limit` lives across the call, which writes nothing.
    let done =
        unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

/// Sets how large the files of the process `pid` may become; whoever has no privilege can raise that
/// again.
pub fn limit_file_size(pid: i32, most: u64) {
    let limit = libc::rlimit { rlim_cur: most, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: `limit` lives across the call, which writes nothing.
    let done =
        unsafe { libc::prlimit(pid, libc::RLIMIT_FSIZE, &raw const limit, std::ptr::null_mut()) };
    assert_eq!(done, 0);
}

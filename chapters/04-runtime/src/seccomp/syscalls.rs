//! The numbers of system calls on each architecture, out of `syscalls.tbl`.
//!
//! libc knows those of the machine that it is built for. A filter needs others as well: a 64-bit
//! kernel runs 32-bit programs, whose calls have other numbers.

use std::collections::BTreeMap;

/// Name, then a number for each column, `-` where the architecture lacks the call.
const TABLE: &str = include_str!("syscalls.tbl");

/// The numbers of all calls in one column of the table.
pub fn column(name: &str) -> BTreeMap<&'static str, u32> {
    let mut lines = TABLE.lines();
    let heading = lines.next().unwrap_or_default();
    let Some(at) = heading.split(' ').position(|column| column == name) else {
        return BTreeMap::new();
    };
    lines
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let call = fields.next()?;
            let number = fields.nth(at - 1)?.parse().ok()?;
            Some((call, number))
        })
        .collect()
}

/// Calls that 32-bit architectures also have as a number of one call for many (socketcall(2),
/// ipc(2)), and the number that selects them.
pub const MULTIPLEXED: [(&str, &str, u64); 30] = [
    ("socket", "socketcall", 1),
    ("bind", "socketcall", 2),
    ("connect", "socketcall", 3),
    ("listen", "socketcall", 4),
    ("accept", "socketcall", 5),
    ("getsockname", "socketcall", 6),
    ("getpeername", "socketcall", 7),
    ("socketpair", "socketcall", 8),
    ("send", "socketcall", 9),
    ("recv", "socketcall", 10),
    ("sendto", "socketcall", 11),
    ("recvfrom", "socketcall", 12),
    ("shutdown", "socketcall", 13),
    ("setsockopt", "socketcall", 14),
    ("getsockopt", "socketcall", 15),
    ("sendmsg", "socketcall", 16),
    ("recvmsg", "socketcall", 17),
    ("accept4", "socketcall", 18),
    ("recvmmsg", "socketcall", 19),
    ("semop", "ipc", 1),
    ("semget", "ipc", 2),
    ("semctl", "ipc", 3),
    ("semtimedop", "ipc", 4),
    ("msgsnd", "ipc", 11),
    ("msgrcv", "ipc", 12),
    ("msgget", "ipc", 13),
    ("msgctl", "ipc", 14),
    ("shmat", "ipc", 21),
    ("shmdt", "ipc", 22),
    ("shmget", "ipc", 23),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_table_agrees_with_libc() {
        let numbers = column("x86_64");
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("openat2", libc::SYS_openat2),
            ("keyctl", libc::SYS_keyctl),
            ("mount_setattr", libc::SYS_mount_setattr),
            ("fchmodat2", libc::SYS_fchmodat2),
        ] {
            assert_eq!(i64::from(numbers[name]), number, "{name}");
        }
        assert!(!numbers.contains_key("socketcall"));
        assert_eq!(column("x86")["socketcall"], 102);
        assert!(column("vax").is_empty());
    }
}

//! Which locks are held: all of them in one reading of /proc/locks (proc_locks(5)), where asking for
//! each would take three system calls for each container that runs.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{major, minor};

/// The files that somebody holds a flock(2) on, as far as this process can see: not those of
/// processes in other pid namespaces, nor where stat(2) names another device than the kernel does
/// inside (btrfs). So "held" is certain, and "not held" a reason to ask.
#[derive(Debug, Default)]
pub struct Locks(BTreeSet<(u64, u64, u64)>);

impl Locks {
    /// Those of this moment; none where /proc is not mounted.
    pub fn read() -> Locks {
        std::fs::read_to_string("/proc/locks").map(|text| Locks::parse(&text)).unwrap_or_default()
    }

    /// `1: FLOCK  ADVISORY  WRITE 1234 00:1a:5678 0 EOF`; who waits has `->` after the number.
    fn parse(text: &str) -> Locks {
        let held = |line: &str| {
            let mut words = line.split_whitespace().skip(1);
            if words.next()? != "FLOCK" {
                return None;
            }
            let mut parts = words.nth(3)?.split(':');
            let major = u64::from_str_radix(parts.next()?, 16).ok()?;
            let minor = u64::from_str_radix(parts.next()?, 16).ok()?;
            Some((major, minor, parts.next()?.parse().ok()?))
        };
        Locks(text.lines().filter_map(held).collect())
    }

    /// Whether the file at `path` is certainly locked.
    pub fn hold(&self, path: &Path) -> bool {
        let Ok(file) = std::fs::metadata(path) else { return false };
        self.0.contains(&(major(file.dev()), minor(file.dev()), file.ino()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{Flock, FlockArg};

    #[test]
    fn lines_of_the_manual_page_are_understood() {
        let text = "1: POSIX  ADVISORY  READ  5433 08:01:7864448 128 128\n\
                    2: FLOCK  ADVISORY  WRITE 2001 08:0a:7864554 0 EOF\n\
                    2: -> FLOCK  ADVISORY  WRITE 2002 08:0a:7864555 0 EOF\n\
                    3: FLOCK\n";
        assert_eq!(Locks::parse(text).0, BTreeSet::from([(8, 10, 7_864_554)]));
    }

    #[test]
    fn a_lock_is_seen_while_it_is_held() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(!Locks::read().hold(file.path()));
        let lock = Flock::lock(file.reopen().unwrap(), FlockArg::LockExclusive).unwrap();
        assert!(Locks::read().hold(file.path()));
        drop(lock);
        assert!(!Locks::read().hold(file.path()));
        assert!(!Locks::read().hold(Path::new("/nowhere")));
    }
}

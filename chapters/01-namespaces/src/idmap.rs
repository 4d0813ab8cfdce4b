//! User and group id maps of a user namespace: user_namespaces(7).
//!
//! A map says which ids inside stand for which ids outside. An unprivileged user may map exactly
//! one id, the own one. For more there are newuidmap(1) and newgidmap(1), setuid programs that
//! grant the ranges of /etc/subuid and /etc/subgid.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::str::FromStr;

use crate::error::{Context, Error, Result};

/// One line of a map: `length` ids from `inside` on stand for those from `outside` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first id as it is seen in the namespace.
    pub inside: u32,
    /// The first id as it is seen by the parent namespace.
    pub outside: u32,
    /// How many ids.
    pub length: u32,
}

impl FromStr for Range {
    type Err = Error;

    /// `INSIDE:OUTSIDE:LENGTH`, as in `0:100000:65536`.
    fn from_str(text: &str) -> Result<Range> {
        let bad = |why: &str| Error::invalid(format!("id map `{text}`"), why);
        let numbers: Vec<u32> =
            text.split(':').map(str::parse).collect::<std::result::Result<_, _>>().map_err(
                |_| bad("is not INSIDE:OUTSIDE:LENGTH in numbers, as in 0:100000:65536"),
            )?;
        let [inside, outside, length] = numbers[..] else {
            return Err(bad("is not INSIDE:OUTSIDE:LENGTH, as in 0:100000:65536"));
        };
        Ok(Range { inside, outside, length })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.length)
    }
}

/// A whole map, checked: not too many lines, no empty range, no id twice on either side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdMap(Vec<Range>);

impl IdMap {
    /// The kernel takes at most 340 lines (since Linux 4.15).
    pub const MAX_RANGES: usize = 340;

    // ANCHOR: checked
    /// Checks what the kernel would answer with a bare `EINVAL`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an empty map, an empty range, one beyond 2^32 - 2, or two that
    /// overlap.
    pub fn new(ranges: Vec<Range>) -> Result<IdMap> {
        if ranges.is_empty() || ranges.len() > Self::MAX_RANGES {
            let why = format!("has {} ranges; 1 to {} are allowed", ranges.len(), Self::MAX_RANGES);
            return Err(Error::invalid("id map", why));
        }
        for (n, range) in ranges.iter().enumerate() {
            let ends = [range.inside, range.outside].map(|first| first.checked_add(range.length));
            if range.length == 0 || ends.contains(&None) {
                let what = format!("id map `{range}`");
                return Err(Error::invalid(
                    what,
                    "is empty or goes beyond the last id, 4294967294",
                ));
            }
            for other in &ranges[..n] {
                let overlap = |a: u32, b: u32| {
                    u64::from(a) < u64::from(b) + u64::from(other.length)
                        && u64::from(b) < u64::from(a) + u64::from(range.length)
                };
                if overlap(range.inside, other.inside) || overlap(range.outside, other.outside) {
                    let what = format!("id map `{range}`");
                    return Err(Error::invalid(what, format!("overlaps with `{other}`")));
                }
            }
        }
        Ok(IdMap(ranges))
    }
    // ANCHOR_END: checked

    /// The one map that needs no privilege: root inside is the id `outside`.
    pub fn root_is(outside: u32) -> IdMap {
        IdMap(vec![Range { inside: 0, outside, length: 1 }])
    }

    /// The ranges.
    pub fn ranges(&self) -> &[Range] {
        &self.0
    }

    /// Whether nothing is mapped, as in a namespace that is not a new one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the id `inside` has a counterpart outside.
    pub fn maps(&self, inside: u32) -> bool {
        self.0.iter().any(|r| r.inside <= inside && inside - r.inside < r.length)
    }

    /// What /proc/PID/uid_map takes.
    fn to_kernel(&self) -> String {
        let mut text = String::new();
        for Range { inside, outside, length } in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{inside} {outside} {length}");
        }
        text
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ranges: Vec<_> = self.0.iter().map(Range::to_string).collect();
        f.write_str(&ranges.join(","))
    }
}

// ANCHOR: write_maps
/// Writes both maps of the user namespace of `pid`, which waits for it: directly where the kernel
/// lets the caller do so, else through newuidmap(1) and newgidmap(1).
///
/// A caller without CAP_SETGID must give up setgroups(2) first (CVE-2014-8989: dropping a group
/// can *grant* access to a file whose mode denies that group).
///
/// # Errors
/// [`Error::Helper`] with what newuidmap printed, where /etc/subuid does not grant the range.
pub fn write_maps(pid: libc::pid_t, uids: &IdMap, gids: &IdMap) -> Result<()> {
    let euid = nix::unistd::geteuid();
    let egid = nix::unistd::getegid();
    let alone = |map: &IdMap, id: u32| matches!(map.0[..], [r] if r.length == 1 && r.outside == id);

    if euid.is_root() || alone(uids, euid.as_raw()) {
        write_map(pid, "uid_map", &uids.to_kernel())?;
    } else {
        helper("newuidmap", pid, uids)?;
    }
    if euid.is_root() {
        write_map(pid, "gid_map", &gids.to_kernel())
    } else if alone(gids, egid.as_raw()) {
        write_map(pid, "setgroups", "deny")?;
        write_map(pid, "gid_map", &gids.to_kernel())
    } else {
        helper("newgidmap", pid, gids)
    }
}
// ANCHOR_END: write_maps

fn write_map(pid: libc::pid_t, file: &str, content: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    // One write(2): the kernel takes a map once and whole.
    std::fs::write(&path, content).on("write", &path)
}

fn helper(program: &'static str, pid: libc::pid_t, map: &IdMap) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for Range { inside, outside, length } in &map.0 {
        command.args([inside, outside, length].map(u32::to_string));
    }
    let output = command.output().map_err(|error| Error::Helper {
        program,
        message: format!("cannot be started: {error} (install the package uidmap)"),
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Helper {
        program,
        message: format!(
            "{} (is the range {map} granted to you in /etc/subuid and /etc/subgid?)",
            said.trim().trim_start_matches(program).trim_start_matches(": "),
        ),
    })
}

/// The ranges that `file` (/etc/subuid or /etc/subgid, subuid(5)) grants to a user, by name or id.
///
/// # Errors
/// Where the file is there and cannot be read; a missing one grants nothing.
pub fn granted(file: &Path, user: &str, id: u32) -> Result<Vec<(u32, u32)>> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.on("read", file)?,
    };
    Ok(parse_granted(&text, user, id))
}

fn parse_granted(text: &str, user: &str, id: u32) -> Vec<(u32, u32)> {
    let mut ranges = Vec::new();
    for line in text.lines() {
        let mut fields = line.trim().split(':');
        let (Some(name), Some(first), Some(count)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if name != user && name.parse() != Ok(id) {
            continue;
        }
        if let (Ok(first), Ok(count)) = (first.parse(), count.parse()) {
            ranges.push((first, count));
        }
    }
    ranges
}

/// The map of a rootless container: root is the calling user, the ids from 1 on are the granted
/// ones.
pub fn rootless(own: u32, granted: &[(u32, u32)]) -> IdMap {
    let mut ranges = vec![Range { inside: 0, outside: own, length: 1 }];
    let mut next = 1u32;
    for (first, count) in granted {
        let Some(after) = next.checked_add(*count).filter(|_| *count > 0) else { continue };
        ranges.push(Range { inside: next, outside: *first, length: *count });
        next = after;
    }
    // Overlapping grants are an administrator's mistake; then only the own id is mapped.
    IdMap::new(ranges).unwrap_or_else(|_| IdMap::root_is(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> Result<IdMap> {
        IdMap::new(text.split(',').map(str::parse).collect::<Result<_>>()?)
    }

    #[test]
    fn a_map_reads_as_the_kernel_wants_it() {
        let map = map("0:1000:1,1:100000:65536").unwrap();
        assert_eq!(map.to_kernel(), "0 1000 1\n1 100000 65536\n");
        assert!(map.maps(0) && map.maps(65536) && !map.maps(65537));
    }

    #[test]
    fn bad_maps_say_what_is_wrong() {
        for (text, why) in [
            ("0", "INSIDE:OUTSIDE:LENGTH"),
            ("a:b:c", "in numbers"),
            ("0:0:0", "is empty"),
            ("0:4294967295:1", "beyond the last id"),
            ("0:1000:10,5:2000:10", "overlaps with `0:1000:10`"),
            ("0:1000:10,50:1009:10", "overlaps with `0:1000:10`"),
        ] {
            let error = map(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn grants_are_found_by_name_and_by_number() {
        let text = "alice:100000:65536\n# no\n1000:200000:10\nbob:1:2\nbroken\n";
        assert_eq!(parse_granted(text, "alice", 1000), [(100_000, 65536), (200_000, 10)]);
        let map = rootless(1000, &[(100_000, 65536)]);
        assert_eq!(map.to_string(), "0:1000:1,1:100000:65536");
        assert_eq!(rootless(1000, &[(5, 10), (7, 10)]), IdMap::root_is(1000));
    }
}

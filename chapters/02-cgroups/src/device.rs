//! Which devices a group may use: rules, as the OCI runtime specification has them.
//!
//! The last rule that matches decides, for each kind of access by itself; what no rule matches is
//! denied. v1 keeps a list in the kernel ([`crate::v1`]), v2 asks a program ([`crate::bpf`]).

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// The two kinds of device node, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceKind {
    /// Both.
    All,
    /// Character devices: terminals, /dev/null.
    Char,
    /// Block devices: disks.
    Block,
}

impl DeviceKind {
    /// `a`, `c` or `b`, as v1's files have it.
    pub const fn letter(self) -> char {
        match self {
            DeviceKind::All => 'a',
            DeviceKind::Char => 'c',
            DeviceKind::Block => 'b',
        }
    }
}

/// What may be done with a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Access(u8);

impl Access {
    // The values of linux/bpf.h, BPF_DEVCG_ACC_*.
    /// Making a node with mknod(2).
    pub const MKNOD: Access = Access(1);
    /// Opening for reading.
    pub const READ: Access = Access(2);
    /// Opening for writing.
    pub const WRITE: Access = Access(4);
    /// All three.
    pub const ALL: Access = Access(7);

    /// As the kernel's bits.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Both.
    #[must_use]
    pub const fn union(self, other: Access) -> Access {
        Access(self.0 | other.0)
    }

    /// What is left without `other`.
    #[must_use]
    pub const fn without(self, other: Access) -> Access {
        Access(self.0 & !other.0)
    }

    /// Whether all of `other` is in it.
    pub const fn covers(self, other: Access) -> bool {
        other.0 & !self.0 == 0
    }

    /// Whether nothing is in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Access {
    type Err = Error;

    fn from_str(text: &str) -> Result<Access> {
        let bit = |letter| match letter {
            'm' => Ok(Access::MKNOD),
            'r' => Ok(Access::READ),
            'w' => Ok(Access::WRITE),
            _ => {
                Err(Error::invalid(format!("device access `{text}`"), "is not made of r, w and m"))
            }
        };
        text.chars().try_fold(Access(0), |all, letter| Ok(all.union(bit(letter)?)))
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [(Access::READ, 'r'), (Access::WRITE, 'w'), (Access::MKNOD, 'm')];
        letters.iter().filter(|(bit, _)| self.covers(*bit)).try_for_each(|(_, l)| write!(f, "{l}"))
    }
}

// ANCHOR: rule
/// Allows or denies access to devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeviceRule {
    /// Allows, or denies.
    pub allow: bool,
    /// Which kind of device.
    pub kind: DeviceKind,
    /// The driver's number; `None` for all.
    pub major: Option<u32>,
    /// The device's number with its driver; `None` for all.
    pub minor: Option<u32>,
    /// What may, or may not, be done with it.
    pub access: Access,
}
// ANCHOR_END: rule

impl DeviceRule {
    /// Allows or denies everything.
    pub const fn everything(allow: bool) -> DeviceRule {
        let (kind, access) = (DeviceKind::All, Access::ALL);
        DeviceRule { allow, kind, major: None, minor: None, access }
    }

    /// Allows `access` to one character device.
    pub const fn char(major: u32, minor: u32, access: Access) -> DeviceRule {
        let (kind, major, minor) = (DeviceKind::Char, Some(major), Some(minor));
        DeviceRule { allow: true, kind, major, minor, access }
    }

    /// What every container may use, as runc and crun have it: making any node (it cannot be opened
    /// for that), and opening null, zero, full, random, urandom, tty, ptmx and terminals.
    pub const CONTAINER: [DeviceRule; 11] = [
        DeviceRule::everything(false),
        DeviceRule {
            allow: true,
            kind: DeviceKind::Char,
            major: None,
            minor: None,
            access: Access::MKNOD,
        },
        DeviceRule {
            allow: true,
            kind: DeviceKind::Block,
            major: None,
            minor: None,
            access: Access::MKNOD,
        },
        DeviceRule::char(1, 3, Access::ALL),
        DeviceRule::char(1, 5, Access::ALL),
        DeviceRule::char(1, 7, Access::ALL),
        DeviceRule::char(1, 8, Access::ALL),
        DeviceRule::char(1, 9, Access::ALL),
        DeviceRule::char(5, 0, Access::ALL),
        DeviceRule::char(5, 2, Access::ALL),
        DeviceRule {
            allow: true,
            kind: DeviceKind::Char,
            major: Some(136),
            minor: None,
            access: Access::ALL,
        },
    ];

    /// Whether every device that `other` is about is one that this rule is about.
    pub fn includes(&self, other: &DeviceRule) -> bool {
        let number = |ours: Option<u32>, theirs| ours.is_none() || ours == theirs;
        (self.kind == DeviceKind::All || self.kind == other.kind)
            && number(self.major, other.major)
            && number(self.minor, other.minor)
    }

    /// Whether there is a device that both rules are about.
    pub fn meets(&self, other: &DeviceRule) -> bool {
        let number = |ours: Option<u32>, theirs: Option<u32>| {
            ours.is_none() || theirs.is_none() || ours == theirs
        };
        let all = DeviceKind::All;
        (self.kind == other.kind || self.kind == all || other.kind == all)
            && number(self.major, other.major)
            && number(self.minor, other.minor)
    }

    /// `c 1:3 rwm`, as v1's files have it.
    pub fn v1_line(&self) -> String {
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        let (major, minor) = (number(self.major), number(self.minor));
        format!("{} {major}:{minor} {}", self.kind.letter(), self.access)
    }

    /// A line of v1's `devices.list`, which allows.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is not `TYPE MAJOR:MINOR ACCESS`.
    pub fn from_v1_line(line: &str) -> Result<DeviceRule> {
        let bad = || {
            let why = "is not TYPE MAJOR:MINOR ACCESS, for example `c 1:3 rwm`";
            Error::invalid(format!("device rule `{line}`"), why)
        };
        let words: Vec<&str> = line.split_whitespace().collect();
        let [kind, numbers, access] = words[..] else { return Err(bad()) };
        let kind = match kind {
            "a" => DeviceKind::All,
            "c" | "u" => DeviceKind::Char,
            "b" => DeviceKind::Block,
            _ => return Err(bad()),
        };
        let number = |text: &str| match text {
            "*" => Ok(None),
            digits => digits.parse().map(Some).map_err(|_| bad()),
        };
        let (major, minor) = numbers.split_once(':').ok_or_else(bad)?;
        let (major, minor) = (number(major)?, number(minor)?);
        Ok(DeviceRule { allow: true, kind, major, minor, access: access.parse()? })
    }
}

impl FromStr for DeviceRule {
    type Err = Error;

    /// `+c 1:3 rwm` allows, `-c 1:3 rwm` denies.
    fn from_str(text: &str) -> Result<DeviceRule> {
        let (allow, rest) = match text.split_at_checked(1) {
            Some(("+", rest)) => (true, rest),
            Some(("-", rest)) => (false, rest),
            _ => (true, text),
        };
        Ok(DeviceRule { allow, ..DeviceRule::from_v1_line(rest)? })
    }
}

impl fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.allow { '+' } else { '-' }, self.v1_line())
    }
}

/// What the rules say of one access to one device: the specification that the drivers are tested
/// against.
pub fn allowed(
    rules: &[DeviceRule],
    kind: DeviceKind,
    major: u32,
    minor: u32,
    ask: Access,
) -> bool {
    let one =
        |allow| DeviceRule { allow, kind, major: Some(major), minor: Some(minor), access: ask };
    [Access::READ, Access::WRITE, Access::MKNOD].into_iter().filter(|bit| ask.covers(*bit)).all(
        |bit| {
            let matching =
                |rule: &&DeviceRule| rule.includes(&one(true)) && rule.access.covers(bit);
            rules.iter().rev().find(matching).is_some_and(|rule| rule.allow)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_as_they_are_written() {
        for text in ["+c 1:3 rwm", "-a *:* rwm", "+b 8:* r", "-c *:* m"] {
            assert_eq!(text.parse::<DeviceRule>().unwrap().to_string(), text);
        }
        for bad in ["", "x 1:3 r", "c 1 r", "c 1:3 x", "c 1:3", "c a:3 r"] {
            assert!(bad.parse::<DeviceRule>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_last_rule_decides_for_each_access_by_itself() {
        let rules: Vec<DeviceRule> =
            ["-a *:* rwm", "+c 1:3 r", "+c 1:* w", "-c 1:3 m"].map(|t| t.parse().unwrap()).into();
        let may = |access: &str| allowed(&rules, DeviceKind::Char, 1, 3, access.parse().unwrap());
        assert!(may("r") && may("w") && may("rw"));
        assert!(!may("m") && !may("rwm"));
        assert!(!allowed(&rules, DeviceKind::Block, 1, 3, Access::READ));
        assert!(!allowed(&[], DeviceKind::Char, 1, 3, Access::READ), "what no rule matches");
    }
}

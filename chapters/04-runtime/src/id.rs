//! The name of a container.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A checked name: it becomes a directory below `--root` and a control group, so it must be one
/// component of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    /// runc's rule: letters, digits and `_ + - .`, at most 255 bytes; and none that begins with a dot,
    /// which directories do that are ours.
    fn from_str(text: &str) -> Result<ContainerId> {
        let bad = |why: &str| Error::invalid(format!("container id `{text}`"), why);
        if text.is_empty() || text.len() > 255 {
            return Err(bad("must have 1 to 255 bytes"));
        }
        if text.starts_with('.') {
            return Err(bad("must not begin with a dot"));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
        if !text.chars().all(allowed) {
            return Err(bad("invalid: may hold letters, digits and _ + - . only"));
        }
        Ok(ContainerId(text.to_owned()))
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_component_of_a_path() {
        for good in ["a", "web-1", "x_y+z.w", &"a".repeat(255), "a..."] {
            assert_eq!(good.parse::<ContainerId>().unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", ".seccomp", "a/b", "../x", "a b", "ä", "a\0", &"a".repeat(256)]
        {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad}");
        }
    }
}

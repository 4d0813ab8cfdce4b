//! Versions of the API: which are served, and what a path says.

use std::fmt;
use std::str::FromStr;

use crate::failure::{Failure, Outcome};

/// A version of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u16, pub u16);

/// The newest that is served.
pub const NEWEST: Version = Version(1, 53);

/// What a path without a version means. 1.52 begins to leave out what scripts have read for ten years,
/// and whoever writes no version has not asked for that.
pub const UNVERSIONED: Version = Version(1, 51);

/// From which version on the fields come that 1.52 adds. One that nobody knows hurts nobody, and bollard,
/// which reads them, writes no version: it joins its paths so that the prefix is lost.
pub const ADDITIONS: Version = UNVERSIONED;

/// The oldest that is served. docker-compose 1.29 asks for 1.38 whatever it is told; versions below
/// 1.40 are answered as 1.40 is.
pub const OLDEST: Version = Version(1, 24);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

impl FromStr for Version {
    type Err = ();

    fn from_str(text: &str) -> Result<Version, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        let number = |text: &str| match text.bytes().all(|byte| byte.is_ascii_digit()) {
            true => text.parse().map_err(drop),
            false => Err(()),
        };
        Ok(Version(number(major)?, number(minor)?))
    }
}

impl Version {
    // ANCHOR: split
    /// Splits `/v1.41/containers/json` into the version and the rest. Without a version, or with
    /// something else in its place, the path is as it was.
    ///
    /// # Errors
    /// For a version that is not served, in dockerd's words.
    pub fn split(path: &str) -> Outcome<(Version, &str)> {
        let found = path.strip_prefix("/v").and_then(|rest| {
            let end = rest.find('/')?;
            Some((rest[..end].parse::<Version>().ok()?, &rest[end..]))
        });
        let Some((version, rest)) = found else { return Ok((UNVERSIONED, path)) };
        if version > NEWEST {
            return Err(Failure::invalid(format!(
                "client version {version} is too new. Maximum supported API version is {NEWEST}"
            )));
        }
        if version < OLDEST {
            return Err(Failure::invalid(format!(
                "client version {version} is too old. Minimum supported API version is {OLDEST}, \
                 please upgrade your client to a newer version"
            )));
        }
        Ok((version, rest))
    }
    // ANCHOR_END: split
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_may_begin_with_a_version() {
        assert_eq!(Version::split("/v1.41/info"), Ok((Version(1, 41), "/info")));
        assert_eq!(Version::split("/v1.53/info"), Ok((NEWEST, "/info")));
        assert_eq!(Version::split("/info"), Ok((UNVERSIONED, "/info")));
        assert_eq!(Version::split("/volumes"), Ok((UNVERSIONED, "/volumes")));
        assert_eq!(Version::split("/v1.x/info"), Ok((UNVERSIONED, "/v1.x/info")));
        assert!(Version::split("/v1.99/info").unwrap_err().message.contains("too new"));
        assert!(Version::split("/v1.10/info").unwrap_err().message.contains("too old"));
        assert!(Version(1, 9) < Version(1, 10));
    }
}

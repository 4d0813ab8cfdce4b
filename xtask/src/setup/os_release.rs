//! Which distribution this is (os-release(5)).

use std::fmt;

/// What /etc/os-release says, as far as it matters here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `debian`, `ubuntu`, …
    pub id: String,
    /// The distributions that it derives from.
    pub like: Vec<String>,
    /// `12`, `24.04`; empty on Debian's testing.
    pub version: String,
    /// For people: `Debian GNU/Linux 12 (bookworm)`.
    pub pretty: String,
}

/// How far this distribution carries Corten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// Debian 12 or later, Ubuntu 22.04 or later: tried.
    Tried,
    /// It has apt, so it may work.
    HasApt,
    /// Packages are to be installed by hand.
    ByHand,
}

impl OsRelease {
    /// Reads the file of this machine; all fields are empty where it has none.
    pub fn here() -> OsRelease {
        let text = std::fs::read_to_string("/etc/os-release")
            .or_else(|_| std::fs::read_to_string("/usr/lib/os-release"))
            .unwrap_or_default();
        OsRelease::parse(&text)
    }

    /// Parses the shell-like assignments of os-release(5).
    pub fn parse(text: &str) -> OsRelease {
        let mut release = OsRelease::default();
        for line in text.lines() {
            let Some((name, value)) = line.trim().split_once('=') else { continue };
            let value = unquote(value);
            match name {
                "ID" => release.id = value,
                "ID_LIKE" => release.like = value.split_whitespace().map(str::to_owned).collect(),
                "VERSION_ID" => release.version = value,
                "PRETTY_NAME" => release.pretty = value,
                _ => {}
            }
        }
        release
    }

    /// Whether Corten was tried on it.
    pub fn support(&self) -> Support {
        let mut numbers = self.version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        match self.id.as_str() {
            "debian" if self.version.is_empty() || version >= (12, 0) => Support::Tried,
            "ubuntu" if version >= (22, 4) => Support::Tried,
            "debian" | "ubuntu" => Support::HasApt,
            _ if self.like.iter().any(|like| like == "debian" || like == "ubuntu") => {
                Support::HasApt
            }
            _ => Support::ByHand,
        }
    }
}

impl fmt::Display for OsRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.pretty.as_str(), self.id.as_str()) {
            ("", "") => f.write_str("an unknown distribution"),
            ("", id) => write!(f, "{id} {}", self.version),
            (pretty, _) => f.write_str(pretty),
        }
    }
}

fn unquote(value: &str) -> String {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote).and_then(|v| v.strip_suffix(quote)) {
            return inner.replace("\\\"", "\"").replace("\\$", "$").replace("\\\\", "\\");
        }
    }
    value.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn support(text: &str) -> Support {
        OsRelease::parse(text).support()
    }

    #[test]
    fn quoted_and_bare_values_are_read() {
        let release = OsRelease::parse(
            "PRETTY_NAME=\"Ubuntu 24.04.1 LTS\"\nVERSION_ID='24.04'\nID=ubuntu\n# no\nID_LIKE=debian\n",
        );
        assert_eq!(release.to_string(), "Ubuntu 24.04.1 LTS");
        assert_eq!((release.id.as_str(), release.version.as_str()), ("ubuntu", "24.04"));
        assert_eq!(release.like, ["debian"]);
    }

    #[test]
    fn the_oldest_supported_releases_are_debian_12_and_ubuntu_22_04() {
        assert_eq!(support("ID=debian\nVERSION_ID=\"12\""), Support::Tried);
        assert_eq!(support("ID=debian\nVERSION_ID=\"11\""), Support::HasApt);
        assert_eq!(support("ID=debian"), Support::Tried, "testing has no version");
        assert_eq!(support("ID=ubuntu\nVERSION_ID=\"22.04\""), Support::Tried);
        assert_eq!(support("ID=ubuntu\nVERSION_ID=\"20.04\""), Support::HasApt);
        assert_eq!(support("ID=linuxmint\nID_LIKE=\"ubuntu debian\""), Support::HasApt);
        assert_eq!(support("ID=fedora\nVERSION_ID=41"), Support::ByHand);
        assert_eq!(support(""), Support::ByHand);
    }
}

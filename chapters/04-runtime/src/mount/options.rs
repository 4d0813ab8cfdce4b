//! The options of a mount in config.json: those of mount(8), the recursive ones, and extensions.

use corten_namespaces::mount::attribute;

/// How a mount shall be, out of its list of options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Options {
    /// `MOUNT_ATTR_*` to be set on the mount itself.
    pub set: u64,
    /// `MOUNT_ATTR_*` to be cleared on it.
    pub clear: u64,
    /// `MOUNT_ATTR_*` to be set on it and all below.
    pub set_recursive: u64,
    /// `MOUNT_ATTR_*` to be cleared on it and all below.
    pub clear_recursive: u64,
    /// `MS_SHARED` …, each with whether it counts for the mounts below, too; in this order.
    pub propagation: Vec<(u64, bool)>,
    /// `bind`, or `rbind` with true.
    pub bind: Option<bool>,
    /// The contents of the directory are copied into a new tmpfs.
    pub copy_up: bool,
    /// A symbolic link as the source is itself copied, not followed.
    pub copy_symlink: bool,
    /// A symbolic link as the source is itself mounted.
    pub source_nofollow: bool,
    /// A symbolic link at the destination is itself covered.
    pub destination_nofollow: bool,
    /// `idmap`, or `ridmap` with true: the ids of the container's user namespace, or of the mount's
    /// own mappings.
    pub id_map: Option<bool>,
    /// What is left is for the file system: names with or without a value.
    pub data: Vec<(String, Option<String>)>,
}

const NOATIME: u64 = libc::MOUNT_ATTR_NOATIME;
const STRICTATIME: u64 = libc::MOUNT_ATTR_STRICTATIME;
const NODIRATIME: u64 = libc::MOUNT_ATTR_NODIRATIME;
const NOSYMFOLLOW: u64 = libc::MOUNT_ATTR_NOSYMFOLLOW;
/// The mask of the three values of atime: to set one, all must be cleared.
const ATIME: u64 = libc::MOUNT_ATTR__ATIME;

// ANCHOR: attributes
/// Name, what it sets, what it clears. With `r` before the name, on all mounts below as well.
const ATTRIBUTES: [(&str, u64, u64); 18] = [
    ("ro", attribute::RDONLY, 0),
    ("rw", 0, attribute::RDONLY),
    ("nosuid", attribute::NOSUID, 0),
    ("suid", 0, attribute::NOSUID),
    ("nodev", attribute::NODEV, 0),
    ("dev", 0, attribute::NODEV),
    ("noexec", attribute::NOEXEC, 0),
    ("exec", 0, attribute::NOEXEC),
    ("noatime", NOATIME, ATIME),
    ("atime", 0, ATIME),
    ("strictatime", STRICTATIME, ATIME),
    ("nostrictatime", 0, ATIME),
    ("relatime", 0, ATIME),
    // What the kernel does where nothing is said, which is relatime again.
    ("norelatime", 0, ATIME),
    ("nodiratime", NODIRATIME, 0),
    ("diratime", 0, NODIRATIME),
    ("nosymfollow", NOSYMFOLLOW, 0),
    ("symfollow", 0, NOSYMFOLLOW),
];
// ANCHOR_END: attributes

const PROPAGATION: [(&str, u64); 4] = [
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("private", libc::MS_PRIVATE),
    ("unbindable", libc::MS_UNBINDABLE),
];

impl Options {
    /// Sorts a list of options. None is refused here: what this module does not know is the file
    /// system's, and the kernel says what it thinks of it.
    pub fn parse<'a>(list: impl IntoIterator<Item = &'a str>) -> Options {
        let mut options = Options::default();
        for option in list.into_iter().flat_map(|option| option.split(',')) {
            options.add(option);
        }
        options
    }

    // ANCHOR: add
    fn add(&mut self, option: &str) {
        let find = |name: &str| ATTRIBUTES.iter().find(|(known, ..)| *known == name);
        if let Some((_, set, clear)) = find(option) {
            self.set = self.set & !clear | set;
            self.clear = self.clear & !set | clear;
            return;
        }
        let below = option.strip_prefix('r');
        if let Some((_, set, clear)) = below.and_then(find) {
            self.set_recursive = self.set_recursive & !clear | set;
            self.clear_recursive = self.clear_recursive & !set | clear;
            return;
        }
        if let Some(propagation) = propagation(option) {
            self.propagation.push(propagation);
            return;
        }
        match option {
            "" | "defaults" | "loud" | "async" | "nomand" | "nolazytime" | "noiversion"
            | "silent" => {}
            "bind" => self.bind = Some(self.bind.unwrap_or(false)),
            "rbind" => self.bind = Some(true),
            "tmpcopyup" => self.copy_up = true,
            "copy-symlink" => self.copy_symlink = true,
            "src-nofollow" => self.source_nofollow = true,
            "dest-nofollow" => self.destination_nofollow = true,
            "idmap" => self.id_map = Some(false),
            "ridmap" => self.id_map = Some(true),
            other => self.data.push(match other.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (other.to_owned(), None),
            }),
        }
    }
    // ANCHOR_END: add
}

/// A propagation by its name: the flag, and whether it counts for all mounts below.
pub fn propagation(name: &str) -> Option<(u64, bool)> {
    let find = |name: &str| PROPAGATION.iter().find(|(known, _)| *known == name);
    match find(name) {
        Some((_, flag)) => Some((*flag, false)),
        None => name.strip_prefix('r').and_then(find).map(|(_, flag)| (*flag, true)),
    }
}

/// The names that this runtime understands, for `features`.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for (name, ..) in ATTRIBUTES {
        names.extend([name.to_owned(), format!("r{name}")]);
    }
    for (name, _) in PROPAGATION {
        names.extend([name.to_owned(), format!("r{name}")]);
    }
    let others = [
        "async",
        "bind",
        "copy-symlink",
        "defaults",
        "dest-nofollow",
        "dirsync",
        "idmap",
        "lazytime",
        "mand",
        "rbind",
        "ridmap",
        "src-nofollow",
        "sync",
        "tmpcopyup",
    ];
    names.extend(others.map(str::to_owned));
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_opposites_counts() {
        let options = Options::parse(["ro", "rw", "noatime", "relatime"]);
        assert_eq!(options.set, 0);
        assert_eq!(options.clear, attribute::RDONLY | ATIME);
    }

    #[test]
    fn an_r_before_a_name_means_all_mounts_below() {
        let options = Options::parse(["rbind", "rro", "rnosuid", "rslave", "ro"]);
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.set_recursive, attribute::RDONLY | attribute::NOSUID);
        assert_eq!(options.set, attribute::RDONLY);
        assert_eq!(options.propagation, [(libc::MS_SLAVE, true)]);
        // `relatime` is no recursive `elatime`.
        assert_eq!(Options::parse(["relatime"]).clear, ATIME);
    }

    #[test]
    fn the_rest_is_the_file_system_s() {
        let options = Options::parse(["size=64k", "mode=1777", "noswap"]);
        let expected = [("size", Some("64k")), ("mode", Some("1777")), ("noswap", None)];
        let expected = expected.map(|(n, v)| (n.to_owned(), v.map(str::to_owned)));
        assert_eq!(options.data, expected);
    }
}

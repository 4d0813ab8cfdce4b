//! Names in a layer, checked before anything is done with them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The longest name of one directory entry (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// The path of an entry: relative, without `.` and `..`, without NUL; empty for the layer's root.
/// It need not be UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct EntryPath(PathBuf);

impl EntryPath {
    /// Checks the name of an entry. `./a//b/` is `a/b`; `.` and `./` are the root.
    ///
    /// # Errors
    /// The reason, where the name is empty, absolute, has a `..` or a NUL, or is too long.
    pub fn of_entry(name: &[u8], max: usize) -> Result<EntryPath, String> {
        if name.first() == Some(&b'/') {
            return Err("its path is absolute".into());
        }
        EntryPath::relative(name, max)
    }

    /// As [`EntryPath::of_entry`], but a name that is absolute counts from the root of the archive,
    /// as tar(1) and Docker take it.
    ///
    /// # Errors
    /// As [`EntryPath::of_entry`], except for absolute paths.
    pub fn of_any(name: &[u8], max: usize) -> Result<EntryPath, String> {
        let slashes = name.iter().take_while(|&&byte| byte == b'/').count();
        match &name[slashes..] {
            [] if slashes > 0 => Ok(EntryPath::default()),
            rest => EntryPath::relative(rest, max),
        }
    }

    /// Checks the target of a hard link: another entry's name, for which some builders write an
    /// absolute path. It means the layer's root all the same.
    ///
    /// # Errors
    /// As [`EntryPath::of_entry`], except for absolute paths.
    pub fn of_link(target: &[u8], max: usize) -> Result<EntryPath, String> {
        let slashes = target.iter().take_while(|&&byte| byte == b'/').count();
        EntryPath::relative(&target[slashes..], max)
            .map_err(|why| format!("the target of the hard link: {why}"))
    }

    /// A path that this program has made itself, by walking a tree.
    pub(crate) fn trusted(path: &Path) -> EntryPath {
        EntryPath(path.to_path_buf())
    }

    fn relative(name: &[u8], max: usize) -> Result<EntryPath, String> {
        if name.is_empty() {
            return Err("its path is empty".into());
        }
        if name.len() > max {
            return Err(format!("its path has {} bytes, more than {max}", name.len()));
        }
        if name.contains(&0) {
            return Err("its path has a NUL byte".into());
        }
        let mut path = Vec::with_capacity(name.len());
        for component in name.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err("its path has a `..` component".into()),
                long if long.len() > NAME_MAX => {
                    return Err(format!("a name in its path has {} bytes", long.len()));
                }
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        Ok(EntryPath(PathBuf::from(OsString::from_vec(path))))
    }

    /// Whether this is the layer's root directory.
    pub fn is_root(&self) -> bool {
        self.0.as_os_str().is_empty()
    }

    /// The path, relative to the layer's root; empty for the root.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// The last component; none for the root.
    pub fn name(&self) -> Option<&OsStr> {
        self.0.file_name()
    }

    /// The path of the directory that holds this entry; the root's is the root.
    pub fn parent(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new(""))
    }

    /// The path in a form that can be printed on a terminal: what is not UTF-8 or a control
    /// character is escaped.
    pub fn shown(&self) -> String {
        show(self.0.as_os_str().as_bytes())
    }
}

/// Any name in printable form, for messages: a hostile name must not reach the terminal as it is.
pub fn show(name: &[u8]) -> String {
    const LONGEST: usize = 200;
    let mut text = name[..name.len().min(LONGEST)].escape_ascii().to_string();
    if name.len() > LONGEST {
        text.push_str("[…]");
    }
    if text.is_empty() { "(the root)".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &[u8]) -> Result<String, String> {
        EntryPath::of_entry(name, 4096).map(|path| path.as_path().display().to_string())
    }

    #[test]
    fn a_name_is_made_relative_and_plain() {
        assert_eq!(path(b"./usr//bin/./sh").unwrap(), "usr/bin/sh");
        assert_eq!(path(b"usr/").unwrap(), "usr");
        assert_eq!(path(b"./").unwrap(), "");
        assert_eq!(path(b"...").unwrap(), "...");
    }

    #[test]
    fn a_name_that_leads_out_is_refused() {
        for bad in [&b""[..], b"/", b"/etc", b"..", b"a/../b", b"a/..", b"./../b", b"a\0b"] {
            assert!(path(bad).is_err(), "{}", show(bad));
        }
        assert!(path(&[b'a'; 256]).is_err());
        assert!(path(&b"ab/".repeat(2000)).is_err());
    }

    #[test]
    fn an_absolute_name_counts_from_the_root_where_it_may() {
        let path = |name: &[u8]| EntryPath::of_any(name, 4096).map(|p| p.as_path().to_path_buf());
        assert_eq!(path(b"//etc/x").unwrap(), Path::new("etc/x"));
        assert_eq!(path(b"/").unwrap(), Path::new(""));
        assert!(path(b"/../x").is_err() && path(b"").is_err());
    }

    #[test]
    fn the_target_of_a_hard_link_may_be_written_absolute_but_stays_inside() {
        let target = EntryPath::of_link(b"//usr/bin/sh", 4096).unwrap();
        assert_eq!(target.as_path(), Path::new("usr/bin/sh"));
        assert!(EntryPath::of_link(b"/../etc/shadow", 4096).is_err());
    }

    #[test]
    fn a_name_is_shown_without_control_characters() {
        assert_eq!(show(b"a\x1b[2J\xff"), "a\\x1b[2J\\xff");
    }
}

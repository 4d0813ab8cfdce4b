//! `--chown` and `--chmod`.

use corten_namespaces::Root;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use crate::error::{At, Error, Result};

/// No honest passwd file is larger.
const MAX_FILE: u64 = 4 << 20;

/// The ids that `text` means in the tree `root`: `USER[:GROUP]`, by name or number. Without a group it is
/// the user's.
///
/// # Errors
/// For a name that the image does not know.
pub fn chown(root: &Root, text: &str) -> Result<(u32, u32)> {
    ids(root, "--chown=", text)
}

/// The same for what else names a user, as `option` says.
///
/// # Errors
/// As [`chown`].
pub fn ids(root: &Root, option: &str, text: &str) -> Result<(u32, u32)> {
    let bad = |why: String| Error::invalid(format!("{option}{text}"), why);
    let (user, group) = text.split_once(':').unwrap_or((text, ""));
    if user.is_empty() && group.is_empty() {
        return Err(bad("names nobody: write USER, USER:GROUP or numbers".into()));
    }
    let passwd = read(root, "/etc/passwd")?;
    let line = |name: &str| {
        passwd
            .lines()
            .map(|line| line.split(':').collect::<Vec<_>>())
            .find(|line| line.first() == Some(&name))
    };
    let field = |line: &[&str], at: usize| line.get(at).and_then(|id| id.parse::<u32>().ok());
    let (uid, own) = match (user.is_empty(), user.parse::<u32>()) {
        (true, _) => (0, Some(0)),
        (false, Ok(uid)) => (uid, Some(uid)),
        (false, Err(_)) => {
            let line = line(user).ok_or_else(|| unknown("uid", "user", user))?;
            let uid = field(&line, 2)
                .ok_or_else(|| bad(format!("user {user} has no number in /etc/passwd")))?;
            (uid, field(&line, 3))
        }
    };
    let gid = match (group.is_empty(), group.parse::<u32>()) {
        (true, _) => own.unwrap_or(uid),
        (false, Ok(gid)) => gid,
        (false, Err(_)) => {
            let groups = read(root, "/etc/group")?;
            let known = groups.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let mut known = known.filter(|line| line.first() == Some(&group));
            known.find_map(|line| field(&line, 2)).ok_or_else(|| unknown("gid", "group", group))?
        }
    };
    Ok((uid, gid))
}

/// In Docker's words.
fn unknown(id: &str, what: &str, name: &str) -> Error {
    Error::refused(format!(
        "unable to convert uid/gid chown string to host mapping: can't find {id} for {what} {name}: \
         no such {what}: {name}"
    ))
}

/// The text of a file of an image; empty where it is missing.
fn read(root: &Root, path: &str) -> Result<String> {
    use std::io::Read;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let handle = match root.resolve(path) {
        Ok(handle) => handle,
        Err(error) if error.errno().is_some() => return Ok(String::new()),
        Err(error) => return Err(error.into()),
    };
    // A device or a pipe must not be opened to find out that it is one.
    let stat = nix::sys::stat::fstat(&handle).at("stat", path)?;
    if stat.st_mode & nix::libc::S_IFMT != nix::libc::S_IFREG {
        return Err(Error::invalid(path, "is not a regular file in this image"));
    }
    let file = std::fs::File::from(root.open_at(path, flags, Mode::empty())?);
    let mut bytes = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut bytes).at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What `--chmod` makes of a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// As it is.
    Keep,
    /// This one.
    Octal(u32),
    /// Changes, as chmod(1) has them.
    Symbolic(Vec<Clause>),
}

/// One change: for whom, how, what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clause {
    /// The bits of those that it is about.
    who: u32,
    operator: char,
    /// Rights, as `rwx` of one class: 0 to 7.
    rights: u32,
    /// `X`: the right to execute where it is a directory or somebody has it.
    conditional: bool,
    /// `s` and `t`.
    special: u32,
}

impl Chmod {
    /// Reads `755` or `u=rwX,go=rX`.
    ///
    /// # Errors
    /// For what is neither.
    pub fn parse(text: &str) -> Result<Chmod> {
        let bad = || {
            Error::invalid(format!("--chmod={text}"), "is no mode: write it as 755 or u=rwX,go=rX")
        };
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let mode = u32::from_str_radix(text, 8).map_err(|_| bad())?;
            return if mode <= 0o7777 { Ok(Chmod::Octal(mode)) } else { Err(bad()) };
        }
        let clauses: Option<Vec<_>> = text.split(',').map(clauses).collect();
        Ok(Chmod::Symbolic(clauses.ok_or_else(bad)?.concat()))
    }

    /// The mode that a file or directory with this one gets.
    pub fn apply(&self, mode: u32, directory: bool) -> u32 {
        match self {
            Chmod::Keep => mode,
            Chmod::Octal(new) => *new,
            Chmod::Symbolic(clauses) => clauses.iter().fold(mode, |mode, clause| {
                let mut rights = clause.rights;
                if clause.conditional && (directory || mode & 0o111 != 0) {
                    rights |= 1;
                }
                let bits = (rights * 0o111) & clause.who | clause.special;
                match clause.operator {
                    '+' => mode | bits,
                    '-' => mode & !bits,
                    _ => mode & !clause.who | bits,
                }
            }),
        }
    }
}

fn clauses(text: &str) -> Option<Vec<Clause>> {
    let at = text.find(['+', '-', '='])?;
    let (who, mut rest) = text.split_at(at);
    let mut bits = 0;
    for c in who.chars() {
        bits |= match c {
            'u' => 0o700,
            'g' => 0o070,
            'o' => 0o007,
            'a' => 0o777,
            _ => return None,
        };
    }
    let who = if bits == 0 { 0o777 } else { bits };
    let mut clauses = Vec::new();
    while let Some(operator) = rest.chars().next() {
        let after = rest.get(1..)?;
        let end = after.find(['+', '-', '=']).unwrap_or(after.len());
        let (letters, next) = after.split_at(end);
        let mut clause = Clause { who, operator, rights: 0, conditional: false, special: 0 };
        for c in letters.chars() {
            match c {
                'r' => clause.rights |= 4,
                'w' => clause.rights |= 2,
                'x' => clause.rights |= 1,
                'X' => clause.conditional = true,
                's' => clause.special |= (who & 0o100) << 5 | (who & 0o010) << 7,
                't' => clause.special |= 0o1000,
                _ => return None,
            }
        }
        clauses.push(clause);
        rest = next;
    }
    Some(clauses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_in_both_forms() {
        for (text, mode, directory, expected) in [
            ("755", 0o600, false, 0o755),
            ("0644", 0o4755, false, 0o644),
            ("u=rwX,go=rX", 0o640, false, 0o644),
            ("u=rwX,go=rX", 0o750, false, 0o755),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, false, 0o2755),
            ("+t", 0o777, true, 0o1777),
        ] {
            assert_eq!(Chmod::parse(text).unwrap().apply(mode, directory), expected, "{text}");
        }
        for bad in ["", "8", "99999", "u", "z+x", "u+q"] {
            assert!(Chmod::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn owners_by_name_and_number() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/passwd"), "bob:x:1000:100::/:\n").unwrap();
        std::fs::write(dir.path().join("etc/group"), "staff:x:50:\n").unwrap();
        let root = Root::open(dir.path()).unwrap();
        let ids = |text: &str| chown(&root, text).unwrap();
        assert_eq!(ids("bob"), (1000, 100));
        assert_eq!(ids("bob:staff"), (1000, 50));
        assert_eq!(ids("7"), (7, 7));
        assert_eq!(ids("7:8"), (7, 8));
        for (text, why) in
            [("eve", "no such user: eve"), ("7:none", "no such group: none"), (":", "nobody")]
        {
            let error = chown(&root, text).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}

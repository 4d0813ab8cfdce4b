//! Who a container's program runs as: the image's own /etc/passwd and /etc/group.
//!
//! Both files come from the image, so nothing about them is trusted: the path is resolved inside
//! the container's root, and what it leads to is looked at before it is opened. Opening a named
//! pipe would wait for ever, and opening a device can have effects.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::Path;

use corten_namespaces::Root;
use corten_namespaces::config::User;
use nix::errno::Errno;
use nix::sys::stat::SFlag;

use super::error::{At, Error, Result};

/// No honest passwd file is larger; a hostile one could fill the memory.
const MAX_FILE: u64 = 4 << 20;
/// The largest user or group id, as Docker has it: what fits a signed 32-bit number.
const MAX_ID: u32 = i32::MAX as u32;

/// A line of passwd(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
    home: String,
}

/// A line of group(5).
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    name: String,
    gid: u32,
    members: Vec<String>,
}

/// The users and groups that an image knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts {
    users: Vec<Account>,
    groups: Vec<Group>,
}

/// A user specification, resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The ids.
    pub user: User,
    /// The home directory, `/` where the image does not say.
    pub home: String,
}

impl Accounts {
    /// Reads /etc/passwd and /etc/group in `root`. An image need not have them.
    ///
    /// # Errors
    /// [`Error::Invalid`] where one of them is no regular file, or larger than 4 MiB.
    pub fn read(root: &Root) -> Result<Accounts> {
        Ok(Accounts::parse(&read_file(root, "/etc/passwd")?, &read_file(root, "/etc/group")?))
    }

    /// Parses both files. Lines that make no sense are passed over, as the C library does.
    pub fn parse(passwd: &str, group: &str) -> Accounts {
        let users = passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(Account { name, uid, gid, home: fields.nth(1).unwrap_or("").to_owned() })
        });
        let groups = group.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
            let gid = fields.nth(1)?.parse().ok()?;
            let members = fields.next().unwrap_or("").split(',').map(str::trim);
            let members = members.filter(|m| !m.is_empty()).map(str::to_owned).collect();
            Some(Group { name, gid, members })
        });
        Accounts { users: users.collect(), groups: groups.collect() }
    }

    /// Resolves `USER`, `USER:GROUP` or nothing (root), each by name or number. A number need not
    /// be known. Without a group, the supplementary groups are all that list the user.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that the image does not know, or a number out of range.
    pub fn resolve(&self, spec: &str) -> Result<Identity> {
        let bad = |why: String| Error::invalid(format!("user `{spec}`"), why);
        // As runc reads a line of /etc/passwd: of more fields nobody takes notice.
        let mut fields = spec.split(':');
        let (user, group) = (fields.next().unwrap_or(""), fields.next().unwrap_or(""));
        let wanted = if user.is_empty() { "0" } else { user };
        // What is all digits is a number, even where a user has that name.
        let account = match number(wanted) {
            Some(uid) => self.users.iter().find(|a| u64::from(a.uid) == uid),
            None => self.users.iter().find(|a| a.name == wanted),
        };
        let uid = match (account, number(wanted)) {
            (Some(account), _) => account.uid,
            (None, Some(uid)) => in_range(uid).ok_or_else(|| bad(range("user")))?,
            (None, None) => {
                return Err(bad(format!("no user {user} in the image's /etc/passwd")));
            }
        };
        let mut gid = account.map_or(0, |account| account.gid);
        let mut groups = Vec::new();
        if !group.is_empty() {
            gid = match (self.group(group), number(group)) {
                (Some(known), _) => known.gid,
                (None, Some(gid)) => in_range(gid).ok_or_else(|| bad(range("group")))?,
                (None, None) => {
                    return Err(bad(format!("no group {group} in the image's /etc/group")));
                }
            };
        } else if let Some(account) = account {
            let lists = |g: &&Group| g.members.contains(&account.name);
            groups.extend(self.groups.iter().filter(lists).map(|g| g.gid));
        }
        // A process whose supplementary groups lack its primary one could shed rights that a group
        // denies by dropping the primary: CVE-2022-36109.
        groups.retain(|other| *other != gid);
        groups.insert(0, gid);
        let home = account.map(|a| a.home.as_str()).filter(|home| !home.is_empty()).unwrap_or("/");
        Ok(Identity { user: User { uid, gid, groups }, home: home.to_owned() })
    }

    /// The ids of further groups, each by name or number. A number need not be known.
    ///
    /// # Errors
    /// [`Error::Refused`] for a name that the image does not know, or a number out of range.
    pub fn further_groups(&self, names: &[String]) -> Result<Vec<u32>> {
        let id = |name: &String| match (self.group(name), number(name)) {
            (Some(known), _) => Ok(known.gid),
            (None, Some(gid)) => {
                in_range(gid).ok_or_else(|| Error::refused("gids must be in range 0-2147483647"))
            }
            (None, None) => Err(Error::refused(format!(
                "Unable to find group {name}: no matching entries in group file"
            ))),
        };
        names.iter().map(id).collect()
    }

    fn group(&self, wanted: &str) -> Option<&Group> {
        match number(wanted) {
            Some(gid) => self.groups.iter().find(|g| u64::from(g.gid) == gid),
            None => self.groups.iter().find(|g| g.name == wanted),
        }
    }
}

/// The number that `text` is; beyond 64 bits, one that is out of every range.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().unwrap_or(u64::MAX))
}

fn in_range(id: u64) -> Option<u32> {
    u32::try_from(id).ok().filter(|id| *id <= MAX_ID)
}

fn range(what: &str) -> String {
    format!("a {what} id must be between 0 and {MAX_ID}")
}

/// The text of a file in an image; empty where it is missing.
fn read_file(root: &Root, path: &str) -> Result<String> {
    let handle = match root.resolve(path) {
        Ok(handle) => handle,
        Err(error) if matches!(error.errno(), Some(Errno::ENOENT | Errno::ENOTDIR)) => {
            return Ok(String::new());
        }
        Err(error) => return Err(error.into()),
    };
    let shown = Path::new(path);
    let refused = |why: &str| Err(Error::invalid(format!("{path} in the image"), why));
    let stat = nix::sys::stat::fstat(&handle).at("stat", shown)?;
    if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
        return refused("is not a regular file: refused");
    }
    // The handle is of this very file, so the magic link opens no other.
    let file = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd())).at("open", shown)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).at("read", shown)?;
    if bytes.len() as u64 > MAX_FILE {
        return refused("is larger than 4 MiB, which no honest one is: refused");
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::parse(
            "root:x:0:0:root:/root:/bin/sh\nbroken\n:x:1:1::/:\nbob:x:1000:100::/home/bob:/bin/sh\n\
             1000:x:7:7::/odd:/bin/sh\nnohome:x:5:5",
            "root:x:0:\nusers:x:100:\nwheel:x:10:root, bob\nstaff:x:50:bob,alice\n",
        )
    }

    fn resolve(spec: &str) -> (u32, u32, Vec<u32>, String) {
        let Identity { user, home } = accounts().resolve(spec).unwrap();
        (user.uid, user.gid, user.groups, home)
    }

    #[test]
    fn users_and_groups_resolve_by_name_and_number() {
        assert_eq!(resolve(""), (0, 0, vec![0, 10], "/root".into()));
        assert_eq!(resolve("bob"), (1000, 100, vec![100, 10, 50], "/home/bob".into()));
        assert_eq!(resolve("1000"), (1000, 100, vec![100, 10, 50], "/home/bob".into()));
        assert_eq!(resolve("bob:wheel"), (1000, 10, vec![10], "/home/bob".into()));
        assert_eq!(resolve("bob:wheel:x"), resolve("bob:wheel"));
        assert_eq!(resolve("bob:77"), (1000, 77, vec![77], "/home/bob".into()));
        assert_eq!(resolve("4242"), (4242, 0, vec![0], "/".into()));
        assert_eq!(resolve("4242:4343"), (4242, 4343, vec![4343], "/".into()));
        assert_eq!(resolve("nohome"), (5, 5, vec![5], "/".into()));
        assert_eq!(resolve(":staff"), (0, 50, vec![50], "/root".into()));
    }

    #[test]
    fn further_groups_are_names_or_numbers() {
        let groups = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            accounts().further_groups(&names).map_err(|error| error.to_string())
        };
        assert_eq!(groups(&["wheel", "77", "50"]).unwrap(), [10, 77, 50]);
        assert_eq!(
            groups(&["nope"]).unwrap_err(),
            "Unable to find group nope: no matching entries in group file"
        );
        assert!(groups(&["4294967295"]).unwrap_err().contains("must be in range"));
    }

    #[test]
    fn unknown_names_and_numbers_out_of_range_are_refused() {
        for (spec, why) in [
            ("alice", "no user alice in the image's /etc/passwd"),
            ("bob:nope", "no group nope in the image's /etc/group"),
            ("4294967295", "between 0 and 2147483647"),
            ("0:99999999999999999999999", "between 0 and 2147483647"),
            ("-1", "no user -1"),
        ] {
            let error = accounts().resolve(spec).unwrap_err().to_string();
            assert!(error.contains(why), "{spec}: {error}");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_never_opened() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(Accounts::read(&root).unwrap(), Accounts::default());
        let fifo = dir.path().join("etc/passwd");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = Accounts::read(&root).unwrap_err().to_string();
        assert!(error.contains("/etc/passwd in the image: is not a regular file"), "{error}");
    }

    #[test]
    fn a_link_in_the_image_cannot_lead_to_the_host_s_users() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("root"), dir.path().join("secret"));
        std::fs::create_dir_all(inside.join("etc")).unwrap();
        std::fs::write(&outside, "spy:x:1:1::/:\n").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("etc/passwd")).unwrap();
        let accounts = Accounts::read(&Root::open(&inside).unwrap()).unwrap();
        assert_eq!(accounts, Accounts::default());
    }

    #[test]
    fn a_file_that_never_ends_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let file = File::create(dir.path().join("etc/group")).unwrap();
        file.set_len(MAX_FILE + 1).unwrap();
        let error = Accounts::read(&Root::open(dir.path()).unwrap()).unwrap_err().to_string();
        assert!(error.contains("larger than 4 MiB"), "{error}");
    }
}

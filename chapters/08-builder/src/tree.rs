//! Where `COPY` reads from: a context, or the tree of a stage or image. And what its words mean there.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use corten_namespaces::Root;
use corten_unionfs::archive::Kind;
use corten_unionfs::diff::{self, Packing};
use corten_unionfs::graft::{self, Seen};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, SFlag};
use sha2::{Digest as _, Sha256};

use crate::error::{At, Error, Result};
use crate::glob::{Glob, is_pattern, unescape};
use crate::ignore::{Ignore, clean};
use crate::run::Cancel;
use crate::sums::Sums;

/// A tree that is only read.
#[derive(Debug)]
pub struct Tree {
    root: Root,
    ignore: Ignore,
    /// Whether it is the context: its files are the user's, and a device among them is a mistake.
    is_context: bool,
    /// What is known of its files' content.
    sums: Option<Sums>,
}

/// Whether `path` is somewhere below `directory`.
fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// One source of a `COPY`, found.
#[derive(Debug)]
pub struct Selected {
    /// Its path in the tree, as it was named.
    pub path: String,
    /// What it is called at its destination.
    pub name: OsString,
    what: What,
}

#[derive(Debug)]
enum What {
    /// A directory, open.
    Directory(Root),
    /// The path of something else, links followed.
    File(PathBuf),
}

/// What a build does not see of a folder.
const IGNORE: &str = ".dockerignore";

/// No honest one is larger.
const LARGEST_IGNORE: u64 = 16 << 20;

/// Links that are followed one after the other; Linux's own limit.
const MAX_LINKS: usize = 40;

impl Tree {
    /// A context in the directory `path`, without what `ignore` excludes.
    ///
    /// # Errors
    /// Where it is no directory.
    pub fn context(path: &Path, ignore: Ignore) -> Result<Tree> {
        Ok(Tree { root: Root::open(path)?, ignore, is_context: true, sums: None })
    }

    /// The same, without what its own `.dockerignore` excludes. That is read inside it: a link leads nowhere
    /// else.
    ///
    /// # Errors
    /// Where it is no directory, or a pattern is none.
    pub fn folder(path: &Path) -> Result<Tree> {
        let tree = Tree::context(path, Ignore::default())?;
        let ignore = match tree.read(IGNORE, LARGEST_IGNORE)? {
            Some(text) => Ignore::parse(IGNORE, &String::from_utf8_lossy(&text))?,
            None => Ignore::default(),
        };
        Ok(tree.without(ignore))
    }

    /// The same tree, without what `ignore` excludes.
    #[must_use]
    pub fn without(self, ignore: Ignore) -> Tree {
        Tree { ignore, ..self }
    }

    /// The same tree, whose files' digests are kept in `sums`.
    #[must_use]
    pub fn knowing(self, sums: Sums) -> Tree {
        Tree { sums: Some(sums), ..self }
    }

    /// Writes what is known of its files; a tree that keeps nothing writes nothing.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn save_sums(&self) -> Result<()> {
        self.sums.as_ref().map_or(Ok(()), Sums::save)
    }

    /// The digest of a file's content.
    fn content(&self, node: &graft::Node<'_>, cancel: &Cancel) -> corten_unionfs::Result<[u8; 32]> {
        let Some(sums) = &self.sums else { return content(node, cancel) };
        if let Some(sum) = sums.get(node.stat()) {
            return Ok(sum);
        }
        let sum = content(node, cancel)?;
        sums.put(node.stat(), sum);
        Ok(sum)
    }

    /// Whether it is a context, whose files become root's.
    pub fn is_context(&self) -> bool {
        self.is_context
    }

    /// The tree of an image or stage, mounted.
    pub fn mounted(fd: OwnedFd, label: &str) -> Tree {
        Tree {
            root: Root::from_fd(fd, label),
            ignore: Ignore::default(),
            is_context: false,
            sums: None,
        }
    }

    /// Its root.
    pub fn root(&self) -> &Root {
        &self.root
    }

    // ANCHOR: select
    /// What the words of a `COPY` name, each with its files in the order of their names.
    ///
    /// # Errors
    /// In the words of Docker's classic builder where something is not there.
    pub fn select(&self, word: &str) -> Result<Vec<Selected>> {
        let path = self.inside(word)?;
        if !is_pattern(&path) {
            return Ok(vec![self.exact(&unescape(&path))?]);
        }
        let glob = Glob::parse(&path, false).map_err(Error::refused)?;
        let mut paths = Vec::new();
        let seen = |path: &Path, directory: bool| {
            let text = path.to_string_lossy();
            match self.seen(&text, directory) {
                Seen::No => Seen::No,
                _ if glob.matches(&text) || (directory && glob.may_match_below(&text)) => Seen::Yes,
                _ => Seen::No,
            }
        };
        graft::look(&self.root, Path::new(""), &seen, &mut |node| {
            let text = node.path().to_string_lossy().into_owned();
            if glob.matches(&text) && !self.ignore.excludes(&text) {
                paths.push(text);
            }
            Ok(())
        })?;
        // A name that matches may hold the characters of a pattern itself.
        paths.iter().map(|path| self.exact(path)).collect()
    }
    // ANCHOR_END: select

    /// What the path `word` names, which is no pattern: every character of it stands for itself.
    ///
    /// # Errors
    /// As [`Tree::select`].
    pub fn named(&self, word: &str) -> Result<Selected> {
        self.exact(&self.inside(word)?)
    }

    // ANCHOR: inside
    /// The path that a word means in the tree. One that climbs out of a context is refused; in an
    /// image there is nothing above `/`.
    fn inside(&self, word: &str) -> Result<String> {
        let mut depth = 0i32;
        for part in word.trim_start_matches('/').split('/') {
            depth += match part {
                "" | "." => 0,
                ".." => -1,
                _ => 1,
            };
            if depth < 0 && self.is_context && !word.starts_with('/') {
                return Err(Error::refused(format!(
                    "forbidden path outside the build context: {word} ()"
                )));
            }
        }
        Ok(clean(word))
    }
    // ANCHOR_END: inside

    // ANCHOR: exact
    fn exact(&self, path: &str) -> Result<Selected> {
        let missing = |why: &str| {
            let place = match self.is_context {
                true => "file not found in build context or excluded by .dockerignore: ",
                false => "",
            };
            Error::refused(format!("{place}stat {path}: {why}"))
        };
        let name = Path::new(path).file_name().unwrap_or_default().to_owned();
        let mut here = PathBuf::from("/").join(path);
        for _ in 0..MAX_LINKS {
            let text = clean(&here.to_string_lossy());
            if self.seen(&text, true) == Seen::No {
                return Err(missing("file does not exist"));
            }
            if text.is_empty() {
                return self.directory(path, name, "/");
            }
            let (parent, last) = match self.root.parent(&here) {
                Ok(found) => found,
                Err(error) if is_missing(error.errno()) => {
                    return Err(missing("file does not exist"));
                }
                // It ends in `..`: a directory, by way of a link.
                Err(_) => return self.directory(path, name, &here.to_string_lossy()),
            };
            let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
            let stat = match nix::sys::stat::fstatat(parent.as_fd(), last.as_os_str(), flags) {
                Err(errno) if is_missing(Some(errno)) => {
                    return Err(missing("file does not exist"));
                }
                other => other.at("stat", &here)?,
            };
            match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
                SFlag::S_IFDIR => return self.directory(path, name, &here.to_string_lossy()),
                SFlag::S_IFLNK => {
                    let target = nix::fcntl::readlinkat(&parent, last.as_os_str());
                    let target = target.at("read the link", &here)?;
                    // The kernel resolves what comes of it, inside the root.
                    here = here.parent().unwrap_or(Path::new("/")).join(target);
                }
                _ if self.ignore.excludes(&text) => return Err(missing("file does not exist")),
                _ => {
                    let what = What::File(here.strip_prefix("/").unwrap_or(&here).to_path_buf());
                    return Ok(Selected { path: path.to_owned(), name, what });
                }
            }
        }
        Err(missing("too many levels of symbolic links"))
    }
    // ANCHOR_END: exact

    fn directory(&self, path: &str, name: OsString, at: &str) -> Result<Selected> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
        let fd = self.root.open_at(at, flags, Mode::empty())?;
        let what = What::Directory(Root::from_fd(fd, path));
        Ok(Selected { path: path.to_owned(), name, what })
    }

    /// Whether a build sees `path`.
    fn seen(&self, path: &str, directory: bool) -> Seen {
        match self.ignore.excludes(path) {
            false => Seen::Yes,
            true if directory && self.ignore.may_see_below(path) => Seen::Inside,
            true => Seen::No,
        }
    }

    /// Writes the tree as a builder elsewhere is sent it: without what is ignored but `always`, as root's,
    /// with `further` trees, each in its own directory, and with `more` files, by name and content.
    ///
    /// # Errors
    /// What the kernel or `to` answers.
    pub fn pack(
        &self,
        always: &[&str],
        further: &[(PathBuf, Tree)],
        more: &[(&Path, &[u8])],
        to: impl std::io::Write,
    ) -> Result<()> {
        let seen = |path: &Path, directory: bool| {
            let path = path.to_string_lossy();
            match self.seen(&path, directory) {
                Seen::Yes => Seen::Yes,
                _ if always.contains(&&*path) => Seen::Yes,
                Seen::No if directory && always.iter().any(|one| is_below(one, &path)) => {
                    Seen::Inside
                }
                other => other,
            }
        };
        let owner = Some((0, 0));
        let mut trees = vec![(&self.root, Packing { name: Path::new("."), owner, seen: &seen })];
        let all = |_: &Path, _: bool| Seen::Yes;
        trees.extend(
            further.iter().map(|(name, tree)| (&tree.root, Packing { name, owner, seen: &all })),
        );
        Ok(diff::pack_all(&trees, more, to)?)
    }

    /// The file at `path`, read whole, where it is a regular one of at most `limit` bytes; `None` where
    /// there is none. What is ignored counts: a build reads its Dockerfile all the same.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn read(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        use std::io::Read;
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = match self.root.open_at(path, flags, Mode::empty()) {
            Err(error) if is_missing(error.errno()) => return Ok(None),
            other => std::fs::File::from(other?),
        };
        let metadata = file.metadata().at("stat", path)?;
        if !metadata.is_file() {
            return Err(Error::invalid(path, "is not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).at("read", path)?;
        match bytes.len() as u64 > limit {
            true => Err(Error::invalid(path, format!("is larger than {limit} bytes"))),
            false => Ok(Some(bytes)),
        }
    }
}

fn is_missing(errno: Option<Errno>) -> bool {
    matches!(errno, Some(Errno::ENOENT | Errno::ENOTDIR))
}

/// What is copied of a tree: without what it ignores, and what `exclude` names.
pub struct View<'a> {
    /// The tree.
    pub tree: &'a Tree,
    /// `--exclude`; its patterns are about paths below each source.
    pub exclude: &'a Ignore,
    /// Where the build is ended nothing more is seen.
    pub cancel: &'a Cancel,
}

impl View<'_> {
    /// Whether `below` of the source `selected` is copied.
    pub fn seen(&self, selected: &Selected, below: &Path, directory: bool) -> Seen {
        if self.cancel.is_cancelled() {
            return Seen::No;
        }
        let below = below.to_string_lossy();
        let excluded = match self.exclude.excludes(&below) {
            false => Seen::Yes,
            true if directory && self.exclude.may_see_below(&below) => Seen::Inside,
            true => return Seen::No,
        };
        let whole = match selected.path.is_empty() {
            true => below.into_owned(),
            false => format!("{}/{below}", selected.path),
        };
        match (self.tree.seen(&whole, directory), excluded) {
            (Seen::No, _) => Seen::No,
            (Seen::Yes, Seen::Yes) => Seen::Yes,
            _ => Seen::Inside,
        }
    }

    /// Tells every node of a source, in the order of the names.
    ///
    /// # Errors
    /// What the kernel or `each` answers.
    pub fn look(
        &self,
        selected: &Selected,
        each: &mut dyn FnMut(&graft::Node<'_>) -> corten_unionfs::Result<()>,
    ) -> Result<()> {
        match &selected.what {
            What::Directory(root) => {
                let seen = |below: &Path, directory: bool| self.seen(selected, below, directory);
                graft::look(root, Path::new(""), &seen, each)?;
            }
            What::File(path) => graft::look_at(&self.tree.root, path, each)?,
        }
        Ok(())
    }

    // ANCHOR: sum
    /// A digest of all that copying a source depends on: names, kinds, modes and content, but no times;
    /// and owners but of a context, whose files become root's.
    ///
    /// # Errors
    /// Where something cannot be read, or cannot be part of an image.
    pub fn sum(&self, selected: &Selected) -> Result<String> {
        let mut hash = Sha256::new();
        let mut refused = None;
        let directory = selected.is_directory();
        let looked = self.look(selected, &mut |node| {
            let path = if directory { node.path() } else { Path::new("") };
            let name = path.as_os_str().as_encoded_bytes();
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update(node.stat().st_mode.to_le_bytes());
            if !self.tree.is_context {
                hash.update(node.stat().st_uid.to_le_bytes());
                hash.update(node.stat().st_gid.to_le_bytes());
            }
            match node.kind() {
                Kind::File { size } => {
                    hash.update(size.to_le_bytes());
                    hash.update(self.tree.content(node, self.cancel)?);
                }
                Kind::Symlink(target) => hash.update(target.as_encoded_bytes()),
                Kind::Char(_) | Kind::Block(_) if self.tree.is_context => {
                    refused.get_or_insert_with(|| node.path().to_path_buf());
                }
                Kind::Char(_) | Kind::Block(_) => hash.update(node.stat().st_rdev.to_le_bytes()),
                Kind::Directory | Kind::Fifo | Kind::Socket | Kind::HardLink(_) => {}
            }
            for (name, value) in node.xattrs()? {
                hash.update(name.as_encoded_bytes());
                hash.update((value.len() as u64).to_le_bytes());
                hash.update(value);
            }
            Ok(())
        });
        // What was left out or broken off because the build is ended is no digest.
        self.cancel.check()?;
        looked?;
        if let Some(path) = refused {
            let shown = Path::new(&selected.path).join(path);
            return Err(Error::invalid(
                shown.display().to_string(),
                "is a device: a context holds files, directories and links; name it in \
                 .dockerignore",
            ));
        }
        Ok(hex(&hash.finalize()))
    }
    // ANCHOR_END: sum
}

impl Selected {
    /// Whether it is a directory, links followed.
    pub fn is_directory(&self) -> bool {
        matches!(self.what, What::Directory(_))
    }

    /// The directory, open.
    pub fn root(&self) -> Option<&Root> {
        match &self.what {
            What::Directory(root) => Some(root),
            What::File(_) => None,
        }
    }

    /// The path of a file in its tree, links followed.
    pub fn file(&self) -> Option<&Path> {
        match &self.what {
            What::Directory(_) => None,
            What::File(path) => Some(path),
        }
    }
}

/// The digest of a file's content; `ECANCELED` where the build is ended.
fn content(node: &graft::Node<'_>, cancel: &Cancel) -> corten_unionfs::Result<[u8; 32]> {
    use corten_namespaces::error::Context;
    use std::io::Read;
    let mut file = node.open()?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 64 << 10]);
    loop {
        if cancel.is_cancelled() {
            return Err(Errno::ECANCELED).on("read", node.path()).map_err(Into::into);
        }
        let length = match file.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.on("read", node.path())?,
        };
        match buffer.get(..length) {
            Some(bytes) if length > 0 => hash.update(bytes),
            _ => return Ok(hash.finalize().into()),
        }
    }
}

/// Bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;

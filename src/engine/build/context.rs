//! What a build is given: files, and a Dockerfile.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use corten_builder::dockerfile::{self, Dockerfile};
use corten_builder::execute::NamedContext;
use corten_builder::ignore::Ignore;
use corten_builder::remote::{self, Remote};
use corten_builder::run::Cancel;
use corten_builder::sums::Sums;
use corten_builder::tree::Tree;
use corten_builder::work::Work;
use corten_namespaces::Root;
use corten_unionfs::extract::{Extract, extract};

use super::{BuildOptions, Steps};
use crate::engine::error::{At, Error, Result};

/// The files of a build.
pub enum Context<'a> {
    /// A folder, which is read where it is.
    Directory(PathBuf),
    /// A tar archive, compressed or not; or only a Dockerfile.
    Stream(Box<dyn Read + Send + 'a>),
    /// The address of a repository, of an archive or of a Dockerfile.
    Remote(String),
    /// None: the Dockerfile is given apart.
    Nothing,
}

/// Where the Dockerfile is.
#[derive(Debug, Clone, Default)]
pub enum DockerfileSource {
    /// `Dockerfile` in the context.
    #[default]
    Usual,
    /// In the context, at this path.
    Inside(String),
    /// This file of the host.
    File(PathBuf),
    /// This text, under this name.
    Text(String, String),
}

/// A context that is there.
pub(super) struct Prepared {
    pub file: Dockerfile,
    pub tree: Tree,
}

/// No honest Dockerfile is larger.
const LARGEST: u64 = 16 << 20;

/// Brings the context to a folder, and reads the Dockerfile. `directory` is the builder's, `work` a place
/// for what lasts as long as the build.
pub(super) fn prepare(
    context: Context<'_>,
    source: &DockerfileSource,
    places: (&Path, &Work),
    cancel: &Cancel,
) -> Result<Prepared> {
    match bring(context, source, places, cancel) {
        // Whatever was broken off.
        Err(_) if cancel.is_cancelled() => Err(corten_builder::Error::Cancelled.into()),
        other => other,
    }
}

fn bring(
    context: Context<'_>,
    source: &DockerfileSource,
    (directory, work): (&Path, &Work),
    cancel: &Cancel,
) -> Result<Prepared> {
    let mut only = None;
    let whole = |directory: &Path| Tree::context(directory, Ignore::default());
    let tree = match context {
        Context::Directory(path) => {
            // Only a folder that stays is worth remembering.
            let absolute = path.canonicalize().at("resolve", &path)?;
            let name = corten_registry::Digest::sha256(absolute.as_os_str().as_encoded_bytes());
            whole(&path)?.knowing(Sums::open(directory.join("folders").join(name.hex())))
        }
        Context::Nothing => whole(&work.directory()?)?,
        Context::Stream(stream) => whole(&unpack(stream, work, &mut only)?)?,
        Context::Remote(address) => match fetched(&address, work, cancel, &mut only)? {
            Some(folder) => whole(&folder)?,
            None => {
                let why = "is no address: write https://… or git@…";
                return Err(Error::invalid(format!("context {address}"), why));
            }
        },
    };
    let (name, text) = match only {
        Some(text) => ("Dockerfile".to_owned(), text),
        None => read(&tree, source)?,
    };
    let text = String::from_utf8(text)
        .map_err(|_| Error::invalid(name.as_str(), "is not UTF-8: save it as UTF-8"))?;
    let file = dockerfile::parse(&name, &text)?;
    let ignore = ignore(&tree, source)?;
    Ok(Prepared { file, tree: tree.without(ignore) })
}

/// What is at an address, in a folder: a repository, or an archive that is unpacked; what is none comes into
/// `only`. `None` for what is no address.
fn fetched(
    address: &str,
    work: &Work,
    cancel: &Cancel,
    only: &mut Option<Vec<u8>>,
) -> Result<Option<PathBuf>> {
    Ok(match Remote::parse(address) {
        Some(Remote::Git(git)) => {
            let directory = work.directory()?;
            let below = git.clone_to(&directory, false, None, cancel)?;
            // What the directory is called is the repository's: it may be a link to the host's files.
            let found = Root::open(&directory)?.resolve(&below)?;
            let place = format!("/proc/self/fd/{}", found.as_raw_fd());
            Some(std::fs::read_link(&place).at("read", Path::new(&place))?)
        }
        Some(Remote::File(url)) => Some(unpack(remote::open(&url, cancel)?, work, only)?),
        None => None,
    })
}

/// Reads `NAME=PLACE` of `--build-context`, and fetches what is elsewhere to `work`.
fn named(text: &str, work: &Work, cancel: &Cancel) -> Result<(String, NamedContext)> {
    let bad = |why: &str| Error::invalid(format!("--build-context {text}"), why);
    let (name, place) =
        text.split_once('=').ok_or_else(|| bad("has no name: write it as NAME=PLACE"))?;
    let name = name.to_lowercase();
    if let Some(image) = place.strip_prefix("docker-image://") {
        return Ok((name, NamedContext::Image(image.to_owned())));
    }
    let path = PathBuf::from(place);
    if path.is_dir() {
        return Ok((name, NamedContext::Folder(path)));
    }
    let mut only = None;
    let folder = fetched(place, work, cancel, &mut only)?
        .ok_or_else(|| bad("is no folder, no address and no docker-image://NAME"))?;
    if only.is_some() {
        return Err(bad("is no archive"));
    }
    Ok((name, NamedContext::Folder(folder)))
}

/// A folder as it is sent to a builder elsewhere.
#[derive(Debug)]
pub struct Packed {
    tree: Tree,
    /// The Dockerfile's path in the archive.
    pub dockerfile: String,
    /// The Dockerfile, where it is not in the folder.
    more: Option<Vec<u8>>,
    /// Further contexts.
    further: Vec<(PathBuf, Tree)>,
}

impl Packed {
    /// Looks at the folder `path`, and for its Dockerfile.
    ///
    /// # Errors
    /// Where there is none, or what is ignored is told by patterns that are none.
    pub fn new(path: &Path, source: &DockerfileSource) -> Result<Packed> {
        let tree = Tree::context(path, Ignore::default())?;
        let (name, text) = read(&tree, source)?;
        let tree_ignore = ignore(&tree, source)?;
        let whole = |path: &Path| path.canonicalize().at("resolve", path);
        let (dockerfile, more) = match source {
            DockerfileSource::Usual | DockerfileSource::Inside(_) => (name, None),
            DockerfileSource::File(file) => match whole(file)?.strip_prefix(whole(path)?) {
                Ok(inside) => (inside.display().to_string(), None),
                Err(_) => (OUTSIDE.to_owned(), Some(text)),
            },
            DockerfileSource::Text(..) => (OUTSIDE.to_owned(), Some(text)),
        };
        Ok(Packed { tree: tree.without(tree_ignore), dockerfile, more, further: Vec::new() })
    }

    /// Packs the folder `path`, too, at `place` in the archive.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn add(&mut self, place: PathBuf, path: &Path) -> Result<()> {
        self.further.push((place, Tree::context(path, Ignore::default())?));
        Ok(())
    }

    /// Writes the archive: what is ignored is not in it, but for what the builder reads itself.
    ///
    /// # Errors
    /// What the kernel or `to` answers.
    pub fn write(&self, to: impl std::io::Write) -> Result<()> {
        let more = self.more.as_deref().map(|text| (Path::new(OUTSIDE), text));
        let always = [self.dockerfile.as_str(), ".dockerignore"];
        Ok(self.tree.pack(&always, &self.further, more.as_slice(), to)?)
    }
}

/// What a Dockerfile from elsewhere is called in an archive.
const OUTSIDE: &str = ".dockerfile.corten";

/// Unpacks an archive; what is none is a Dockerfile alone.
fn unpack(
    mut stream: Box<dyn Read + Send + '_>,
    work: &Work,
    only: &mut Option<Vec<u8>>,
) -> Result<PathBuf> {
    let directory = work.directory()?;
    let shown = Path::new("the context");
    // Enough for the header of an archive, compressed or not.
    let mut start = Vec::new();
    stream.by_ref().take(1 << 16).read_to_end(&mut start).at("read", shown)?;
    let head = corten_builder::archive::plain(Cursor::new(start.clone()));
    let mut header = Vec::new();
    // A stream that is cut off here goes on behind.
    let _ = head.at("read", shown)?.take(512).read_to_end(&mut header);
    if !corten_builder::archive::is_archive(&header) {
        if start.is_empty() {
            return Ok(directory);
        }
        stream.take(LARGEST).read_to_end(&mut start).at("read", shown)?;
        *only = Some(start);
        return Ok(directory);
    }
    let whole = Cursor::new(start).chain(stream);
    let plain = corten_builder::archive::plain(whole).at("read", shown)?;
    let how = Extract { keep_kinds: false, owner: Some((0, 0)), ..Extract::default() };
    extract(plain, &Root::open(&directory)?, Path::new("/"), &how)?;
    Ok(directory)
}

fn read(tree: &Tree, source: &DockerfileSource) -> Result<(String, Vec<u8>)> {
    let missing = |path: &str| {
        Error::refused(format!(
            "Cannot locate specified Dockerfile: {path}: give its place with -f, below the context \
             {}",
            tree.root().label().display()
        ))
    };
    match source {
        DockerfileSource::Text(name, text) => Ok((name.clone(), text.clone().into_bytes())),
        DockerfileSource::File(path) => {
            let bytes = std::fs::read(path).at("read the Dockerfile", path)?;
            Ok((path.display().to_string(), bytes))
        }
        DockerfileSource::Inside(path) => {
            let bytes = tree.read(path, LARGEST)?.ok_or_else(|| missing(path))?;
            Ok((path.clone(), bytes))
        }
        DockerfileSource::Usual => {
            // Docker takes the lower case, too.
            for name in ["Dockerfile", "dockerfile"] {
                if let Some(bytes) = tree.read(name, LARGEST)? {
                    return Ok((name.to_owned(), bytes));
                }
            }
            Err(missing("Dockerfile"))
        }
    }
}

/// The ignore file: the Dockerfile's own, or the context's.
fn ignore(tree: &Tree, source: &DockerfileSource) -> Result<Ignore> {
    let own = match source {
        DockerfileSource::Inside(path) => Some(format!("{path}.dockerignore")),
        DockerfileSource::File(path) => {
            let path = PathBuf::from(format!("{}.dockerignore", path.display()));
            if let Ok(text) = std::fs::read_to_string(&path) {
                return Ok(Ignore::parse(&path.display().to_string(), &text)?);
            }
            None
        }
        DockerfileSource::Usual => Some("Dockerfile.dockerignore".to_owned()),
        DockerfileSource::Text(..) => None,
    };
    for name in own.into_iter().chain([".dockerignore".to_owned()]) {
        if let Some(bytes) = tree.read(&name, LARGEST)? {
            return Ok(Ignore::parse(&name, &String::from_utf8_lossy(&bytes))?);
        }
    }
    Ok(Ignore::default())
}

/// Takes folders out of the archive that was unpacked to `tree`, since they are contexts of their own. What a
/// stranger has packed may be anything, a link to the host's files, too.
pub(super) fn take_out(
    sent: &BTreeMap<String, String>,
    tree: &Tree,
    work: &Work,
    steps: &mut Steps,
) -> Result<()> {
    for (name, path) in sent {
        let missing = || {
            Error::invalid(format!("context {name}"), format!("is no folder {path} in the archive"))
        };
        let (parent, last) = tree.root().parent(path).map_err(|_| missing())?;
        let directory = work.directory()?;
        let to = std::fs::File::open(&directory).at("open", &directory)?;
        nix::fcntl::renameat(&parent, last.as_os_str(), &to, "context").map_err(|_| missing())?;
        let folder = directory.join("context");
        let is_directory = folder.symlink_metadata().at("stat", &folder)?.is_dir();
        if !is_directory {
            return Err(missing());
        }
        steps.contexts.insert(name.to_lowercase(), NamedContext::Folder(folder));
    }
    // Their own directory; where more is in it, that is in the context, and seen.
    for above in sent.values().filter_map(|path| Path::new(path).parent()) {
        let Ok((parent, last)) = tree.root().parent(above) else { continue };
        let how = nix::unistd::UnlinkatFlags::RemoveDir;
        let _ = nix::unistd::unlinkat(&parent, last.as_os_str(), how);
    }
    Ok(())
}

/// What chapter 8 wants to know: with what build arguments say to the builder itself, and further contexts
/// brought here.
pub(super) fn steps(options: &BuildOptions, work: &Work, cancel: &Cancel) -> Result<Steps> {
    let mut steps = options.steps.clone();
    if let (None, Some(date)) = (steps.source_date_epoch, steps.arguments.get("SOURCE_DATE_EPOCH"))
        && !date.is_empty()
    {
        let bad = |_| {
            let why = format!("{date:?} is no number of seconds since 1970");
            Error::invalid("SOURCE_DATE_EPOCH", why)
        };
        steps.source_date_epoch = Some(date.parse().map_err(bad)?);
    }
    for text in &options.contexts {
        let (name, context) = named(text, work, cancel)?;
        steps.contexts.insert(name, context);
    }
    Ok(steps)
}

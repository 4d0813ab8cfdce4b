//! `COPY` and `ADD`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use corten_namespaces::Root;
use corten_unionfs::extract::{self, Extract};
use corten_unionfs::graft::Graft;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use sha2::{Digest as _, Sha256};

use super::stage::{Effect, Stage};
use super::{NamedContext, Session, describe};
use crate::archive;
use crate::dockerfile::{Copy, Heredoc};
use crate::error::{At, Error, Result};
use crate::expand::{Rules, expand};
use crate::ignore::Ignore;
use crate::owner::{self, Chmod};
use crate::plan::source_stage;
use crate::progress::Event;
use crate::remote::{self, Remote};
use crate::tree::{Selected, Tree, View, hex};

/// One source: where it is, and which of it.
struct Source {
    tree: Held,
    selected: Selected,
    /// The word that named it.
    word: String,
    /// Its digest.
    sum: String,
    /// Whether an archive is unpacked.
    unpacks: bool,
    /// The mode of a file that was fetched.
    mode: Option<u32>,
}

/// A tree of this step's own, or the build's context.
enum Held {
    Context,
    Own(std::rc::Rc<Tree>),
}

/// A `COPY` with its variables expanded.
struct Wanted<'a> {
    copy: &'a Copy,
    name: &'static str,
    sources: Vec<String>,
    contents: Vec<(String, Vec<u8>)>,
    destination: String,
    /// As it was written.
    written: String,
    chown: Option<String>,
    /// `--chmod`, and what it means.
    mode: Option<String>,
    chmod: Chmod,
    /// `--exclude`, and what it means.
    patterns: Vec<String>,
    exclude: Ignore,
}

impl Stage<'_> {
    /// `COPY`, or `ADD` where archives are unpacked and URLs fetched.
    pub(super) fn copy(&mut self, copy: &Copy, is_add: bool) -> Result<()> {
        let wanted = self.wanted(copy, is_add)?;
        let name = wanted.name;
        let failed = |error: Error| match error {
            Error::Refused { message } => {
                Error::Refused { message: format!("{name} failed: {message}") }
            }
            other => other,
        };
        let sources = self.sources(&wanted).map_err(failed)?;
        let many = sources.len() > 1;
        if many && !wanted.destination.ends_with('/') {
            return Err(Error::refused(format!(
                "When using {name} with more than one source file, the destination must be a \
                 directory and end with a /"
            )));
        }
        let effect = self.effect(&wanted, &sources);
        self.cached(effect, |stage| stage.change_tree(|root| stage.place(root, &wanted, &sources)))
    }

    fn wanted<'c>(&self, copy: &'c Copy, is_add: bool) -> Result<Wanted<'c>> {
        let words = |list: &[String]| -> Result<Vec<String>> {
            list.iter().map(|word| self.word(word)).collect()
        };
        let text = |word: &Option<String>| word.as_deref().map(|word| self.word(word)).transpose();
        let destination = self.word(&copy.destination)?;
        let slash = destination.ends_with('/') || destination == "." || destination.ends_with("/.");
        let mut path = self.state.config.directory(&destination);
        if slash && !path.ends_with('/') {
            path.push('/');
        }
        let contents = copy.contents.iter().map(|heredoc| self.content(heredoc));
        let (mode, patterns) = (text(&copy.chmod)?, words(&copy.exclude)?);
        Ok(Wanted {
            copy,
            name: if is_add { "ADD" } else { "COPY" },
            sources: words(&copy.sources)?,
            contents: contents.collect::<Result<_>>()?,
            destination: path,
            written: destination,
            chown: text(&copy.chown)?,
            chmod: mode.as_deref().map_or(Ok(Chmod::Keep), Chmod::parse)?,
            mode,
            exclude: Ignore::of_patterns(&patterns)?,
            patterns,
        })
    }

    fn content(&self, heredoc: &Heredoc) -> Result<(String, Vec<u8>)> {
        let text = heredoc.text();
        if !heredoc.expands {
            return Ok((heredoc.name.clone(), text.into_bytes()));
        }
        let escape = self.session.file.directives.escape;
        let rules = Rules { skip_quotes: true, ..Rules::new(escape) };
        let text = expand(&text, rules, &self.scope()).map_err(Error::refused)?.text;
        Ok((heredoc.name.clone(), text.into_bytes()))
    }

    /// Finds all sources, fetches what is elsewhere, and takes their digests.
    fn sources(&self, wanted: &Wanted<'_>) -> Result<Vec<Source>> {
        let mut sources = Vec::new();
        let from = wanted.copy.from.as_deref().map(|from| self.tree_of(from)).transpose()?;
        let from = from.map(|(tree, key)| (std::rc::Rc::new(tree), key));
        for word in &wanted.sources {
            if let Some(remote) = Remote::parse(word).filter(|_| wanted.copy.from.is_none()) {
                if wanted.name == "COPY" {
                    return Err(Error::refused("source can't be a URL for COPY"));
                }
                sources.push(self.fetch(wanted, word, &remote)?);
                continue;
            }
            let (tree, key) = match &from {
                Some((tree, key)) => (&**tree, key.as_deref()),
                None => (self.session.context, None),
            };
            for selected in tree.select(word)? {
                self.session.check()?;
                let view = View { tree, exclude: &wanted.exclude, cancel: &self.session.cancel };
                let sum = self.sum(&view, &selected, (wanted, key))?;
                let tree = match &from {
                    Some((tree, _)) => Held::Own(std::rc::Rc::clone(tree)),
                    None => Held::Context,
                };
                let unpacks = wanted.name == "ADD" && wanted.copy.unpack != Some(false);
                let word = word.clone();
                sources.push(Source { tree, selected, word, sum, unpacks, mode: None });
            }
        }
        sources.extend(self.written(wanted)?);
        if sources.is_empty() {
            return Err(Error::refused("no source files were specified"));
        }
        Ok(sources)
    }

    /// What is written in the Dockerfile itself, as files.
    fn written(&self, wanted: &Wanted<'_>) -> Result<Vec<Source>> {
        if wanted.contents.is_empty() {
            return Ok(Vec::new());
        }
        let directory = self.session.work.directory()?;
        for (name, content) in &wanted.contents {
            let path = directory.join(name.trim_start_matches('/').replace('/', "_"));
            std::fs::write(&path, content).at("write", &path)?;
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(&path, mode).at("chmod", &path)?;
        }
        let tree = std::rc::Rc::new(Tree::context(&directory, Ignore::default())?);
        let none = Ignore::default();
        let source = |(name, _): &(String, Vec<u8>)| {
            let flat = name.trim_start_matches('/').replace('/', "_");
            let selected = tree.named(&flat)?;
            let sum = View { tree: &tree, exclude: &none, cancel: &self.session.cancel }
                .sum(&selected)?;
            let tree = Held::Own(std::rc::Rc::clone(&tree));
            let word = name.clone();
            Ok(Source { tree, selected, word, sum, unpacks: false, mode: None })
        };
        wanted.contents.iter().map(source).collect()
    }

    fn fetch(&self, wanted: &Wanted<'_>, word: &str, remote: &Remote) -> Result<Source> {
        let directory = self.session.work.directory()?;
        let (checksum, cancel) = (wanted.copy.checksum.as_deref(), &self.session.cancel);
        let (path, unpacks) = match remote {
            Remote::File(url) => {
                let name = remote::download(url, &directory, checksum, cancel)?;
                let name = match name {
                    Some(name) => name,
                    None if wanted.destination.ends_with('/') => {
                        return Err(Error::refused(format!(
                            "cannot determine filename for source {word}"
                        )));
                    }
                    None => "__unnamed__".to_owned(),
                };
                (name, wanted.copy.unpack == Some(true))
            }
            Remote::Git(git) => {
                let path = git.clone_to(&directory, wanted.copy.keep_git_dir, checksum, cancel)?;
                (path, false)
            }
        };
        let tree = std::rc::Rc::new(Tree::context(&directory, Ignore::default())?);
        let selected = tree.named(&path)?;
        let sum = View { tree: &tree, exclude: &wanted.exclude, cancel: &self.session.cancel }
            .sum(&selected)?;
        let mode = matches!(remote, Remote::File(_)).then_some(0o600);
        let (tree, word) = (Held::Own(tree), word.to_owned());
        Ok(Source { tree, selected, word, sum, unpacks, mode })
    }

    /// The tree of a stage, an image or a further context, and what names it for good: a folder changes.
    pub(super) fn tree_of(&self, from: &str) -> Result<(Tree, Option<String>)> {
        let session = self.session;
        if let Some(NamedContext::Folder(path)) = session.options.contexts.get(&from.to_lowercase())
        {
            return Ok((Tree::folder(path)?, None));
        }
        let stage = source_stage(session.file, from, self.plan.index).map_err(Error::refused)?;
        let state = match stage {
            Some(index) => {
                let finished = session.finished(index);
                let why = || {
                    let why =
                        format!("invalid from flag value {from}: that stage is not built yet");
                    Error::refused(why)
                };
                finished.ok_or_else(why)?.state
            }
            None if from == "scratch" => super::State::default(),
            None => {
                let platform = session.options.platform.as_deref();
                let (number, pull) = (self.number, session.options.pull);
                let image = session.base(from, platform, pull, &|notice| {
                    self.tell(Event::Fetching { number, notice });
                })?;
                super::State::of_image(image)?
            }
        };
        session.hold(&state.chain())?;
        let layers = session.builder.layers;
        let tree = layers.build_driver().mount(&layers.lowers(state.top())?, None)?;
        let key = state.top().map(ToString::to_string).unwrap_or_default();
        Ok((Tree::mounted(tree, from), Some(key)))
    }

    /// The digest of a source; of one that cannot change, where it is known.
    fn sum(
        &self,
        view: &View<'_>,
        selected: &Selected,
        (wanted, key): (&Wanted<'_>, Option<&str>),
    ) -> Result<String> {
        let Some(key) = key else { return view.sum(selected) };
        let text = format!("{key}\0{}\0{:?}", selected.path, wanted.patterns);
        let key = hex(&Sha256::digest(text.as_bytes()));
        if let Some(sum) = self.session.cache.sum(&key) {
            return Ok(sum);
        }
        let sum = view.sum(selected)?;
        self.session.cache.put_sum(&key, &sum)?;
        Ok(sum)
    }

    /// What the step depends on, and what the history says of it.
    fn effect(&self, wanted: &Wanted<'_>, sources: &[Source]) -> Effect {
        let mut files: BTreeMap<String, String> = BTreeMap::new();
        for (index, source) in sources.iter().enumerate() {
            // The same file may be named twice.
            let name = match files.contains_key(&source.selected.path) {
                true => format!("{} ({index})", source.selected.path),
                false => source.selected.path.clone(),
            };
            files.insert(if name.is_empty() { ".".into() } else { name }, source.sum.clone());
        }
        let kind = |source: &Source| if source.selected.is_directory() { "dir" } else { "file" };
        let what = match sources {
            [one] => format!("{}:{}", kind(one), one.sum),
            many => {
                let sums: Vec<&str> = many.iter().map(|source| source.sum.as_str()).collect();
                format!("multi:{}", hex(&Sha256::digest(sums.join(",").as_bytes())))
            }
        };
        // Docker leaves no blank after it.
        let chown = wanted.chown.as_ref().map(|owner| format!("--chown={owner}"));
        let target = match wanted.destination.trim_end_matches('/') {
            "" => "/",
            _ if wanted.destination.ends_with('/') => wanted.destination.as_str(),
            path => path,
        };
        let text = format!(
            "{} {}{what} in {} ",
            wanted.name,
            chown.as_deref().unwrap_or_default(),
            wanted.written
        );
        let created_by = describe::nop_files(&self.state.config, &text);
        let instruction = format!(
            "{} {} {target}",
            wanted.name,
            sources.iter().map(|source| source.word.as_str()).collect::<Vec<_>>().join(" ")
        );
        // ANCHOR: parent
        let mut depends = self.depends(&instruction);
        // Only the tree matters: another label does not copy anything anew.
        depends.parent = self.state.top().map(ToString::to_string).unwrap_or_default();
        depends.files = files;
        // ANCHOR_END: parent
        let copy = wanted.copy;
        for (name, value) in [
            ("--chown", wanted.chown.clone().unwrap_or_default()),
            ("--chmod", wanted.mode.clone().unwrap_or_default()),
            ("--exclude", wanted.patterns.join("\n")),
            ("--parents", if copy.parents { "true".into() } else { String::new() }),
            ("--unpack", copy.unpack.map(|unpack| unpack.to_string()).unwrap_or_default()),
            ("classic", if self.session.options.classic { "true".into() } else { String::new() }),
        ] {
            if !value.is_empty() {
                depends.settings.insert(name.to_owned(), value);
            }
        }
        Effect { created_by, depends }
    }

    // ANCHOR: place
    /// Copies all sources into the tree of the stage.
    fn place(&self, root: &Root, wanted: &Wanted<'_>, sources: &[Source]) -> Result<()> {
        let owner = match &wanted.chown {
            Some(text) => owner::chown(root, text)?,
            None => (0, 0),
        };
        for source in sources {
            self.session.check()?;
            let mode = |mode: u32, directory: bool| {
                let mode = if directory { mode } else { source.mode.unwrap_or(mode) };
                wanted.chmod.apply(mode, directory)
            };
            let tree = match &source.tree {
                Held::Context => self.session.context,
                Held::Own(tree) => tree,
            };
            let mut graft = Graft::new(root, owner, &mode);
            // The user's own files become root's, those of stages and images stay their owners'.
            if !tree.is_context() && wanted.chown.is_none() {
                graft.owner = None;
            }
            if self.session.options.classic {
                graft.keep_kinds = false;
                if source.selected.is_directory() {
                    graft.parents = (0, 0);
                }
            }
            let destination = self.below(wanted, source)?;
            match source.selected.root() {
                Some(from) => {
                    let cancel = &self.session.cancel;
                    let view = View { tree, exclude: &wanted.exclude, cancel };
                    let seen =
                        |path: &Path, directory: bool| view.seen(&source.selected, path, directory);
                    graft.directory(from, Path::new(""), &destination, &seen)?;
                }
                None => file(root, &mut graft, (tree, source), (wanted, &destination))?,
            }
        }
        // Then not all of it was seen.
        self.session.check()
    }
    // ANCHOR_END: place

    /// Where a source goes: with `--parents`, below its own directories.
    fn below(&self, wanted: &Wanted<'_>, source: &Source) -> Result<PathBuf> {
        let destination = PathBuf::from(&wanted.destination);
        if !wanted.copy.parents {
            return Ok(destination);
        }
        // What stands before `/./` is left out.
        let path = match source.word.split_once("/./") {
            Some((before, _)) => {
                let before = crate::ignore::clean(before);
                let rest = source.selected.path.strip_prefix(&before);
                rest.unwrap_or(&source.selected.path).trim_start_matches('/').to_owned()
            }
            None => source.selected.path.clone(),
        };
        Ok(match source.selected.is_directory() {
            true => destination.join(path),
            false => destination.join(Path::new(&path).parent().unwrap_or(Path::new(""))),
        })
    }
}

/// Copies a file, or unpacks it.
fn file(
    root: &Root,
    graft: &mut Graft<'_>,
    (tree, source): (&Tree, &Source),
    (wanted, destination): (&Wanted<'_>, &Path),
) -> Result<()> {
    let Some(path) = source.selected.file() else { return Ok(()) };
    if source.unpacks
        && let Some(stream) = archive::open(tree.root(), path)?
    {
        graft.make(destination)?;
        let owner = graft.owner.filter(|_| wanted.chown.is_some());
        let how = Extract { keep_kinds: false, owner, ..Extract::default() };
        extract::extract(stream, root, destination, &how)?;
        return Ok(());
    }
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let is_directory = root.open_at(destination, flags, Mode::empty()).is_ok();
    let into = wanted.destination.ends_with('/') || wanted.copy.parents || is_directory;
    let at = match into {
        true => destination.join(&source.selected.name),
        // A link at the destination is followed, inside the root.
        false => followed(root, destination)?,
    };
    Ok(graft.file(tree.root(), path, &at)?)
}

/// Where a link leads, as a path in the root; what is none stays.
fn followed(root: &Root, path: &Path) -> Result<PathBuf> {
    let mut here = path.to_path_buf();
    for _ in 0..40 {
        let Ok((parent, name)) = root.parent(&here) else { return Ok(here) };
        let Ok(target) = nix::fcntl::readlinkat(&parent, name.as_os_str()) else { return Ok(here) };
        here = here.parent().unwrap_or(Path::new("/")).join(target);
    }
    Err(Error::invalid(path.display().to_string(), "too many levels of symbolic links"))
}

impl Session<'_> {
    /// A copy of a part of a tree, in a directory of this build's own.
    pub(super) fn copy_of(&self, tree: &Tree, source: &str) -> Result<PathBuf> {
        let directory = self.work.directory()?;
        let root = Root::open(&directory)?;
        let none = Ignore::default();
        let view = View { tree, exclude: &none, cancel: &self.cancel };
        let selected = tree.named(source)?;
        let mut graft = Graft::new(&root, (0, 0), &|mode, _| mode);
        if !tree.is_context() {
            graft.owner = None;
        }
        match (selected.root(), selected.file()) {
            (Some(from), _) => {
                let seen = |path: &Path, directory: bool| view.seen(&selected, path, directory);
                graft.directory(from, Path::new(""), Path::new("/data"), &seen)?;
            }
            (None, Some(path)) => graft.file(tree.root(), path, Path::new("/data"))?,
            (None, None) => {}
        }
        self.check()?;
        Ok(directory.join("data"))
    }
}

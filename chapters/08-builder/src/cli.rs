//! The program `corten-builder`: a Dockerfile looked at, planned, and built without an engine. Commands run
//! in containers of an OCI runtime.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use corten_registry::{Image, Reference, Store};
use corten_unionfs::{Compression, LayerStore, Wanted as Layer};

use crate::dockerfile::{self, Dockerfile};
use crate::error::{At, Result};
use crate::execute::{BuildOptions, Builder, host_platform};
use crate::ignore::Ignore;
use crate::interrupt;
use crate::plan::{Plan, Wanted, platform_arguments};
use crate::progress::plain::Plain;
use crate::run::{Bases, Cancel, Tell};
use crate::runtime::Runtime;
use crate::tree::{Tree, View};

/// A Dockerfile looked at, planned and built without an engine.
#[derive(Debug, Parser)]
#[command(name = "corten-builder", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the instructions, as they are understood, with their places
    Parse {
        /// The Dockerfile
        file: PathBuf,
    },
    /// Print the graph of stages
    Plan {
        /// The Dockerfile
        file: PathBuf,
        /// Up to this stage
        #[arg(long)]
        target: Option<String>,
        /// A build argument
        #[arg(long = "build-arg", value_name = "NAME=VALUE")]
        arguments: Vec<String>,
    },
    /// Print the files of a context that a build sees
    Context {
        /// The folder
        folder: PathBuf,
    },
    /// Build an image
    Build(Build),
}

#[derive(Debug, Args)]
struct Build {
    /// Where images and layers are
    #[arg(long)]
    store: PathBuf,
    /// A name for the image
    #[arg(short, long)]
    tag: Vec<String>,
    /// The Dockerfile; that of the folder otherwise
    #[arg(short, long)]
    file: Option<PathBuf>,
    /// Up to this stage
    #[arg(long)]
    target: Option<String>,
    /// A build argument
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
    /// Do all steps again
    #[arg(long)]
    no_cache: bool,
    /// The network of RUN: none, or the host's
    #[arg(long, default_value = "host", value_parser = ["none", "host"])]
    network: String,
    /// The OCI runtime of RUN: corten-runtime, beside this program or in PATH, where nothing is said
    #[arg(long, value_name = "PROGRAM")]
    runtime: Option<PathBuf>,
    /// The folder that is the context
    folder: PathBuf,
}

/// Runs the command line; gives the exit status.
pub fn main(args: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { 2 } else { 0 };
        }
    };
    let done = match &cli.command {
        Command::Parse { file } => parse(file),
        Command::Plan { file, target, arguments } => plan(file, target.clone(), arguments),
        Command::Context { folder } => context(folder),
        Command::Build(wanted) => build(wanted),
    };
    match done.and_then(|text| print(&text)) {
        Ok(()) => 0,
        Err(error) => {
            warn(&error.to_string());
            1
        }
    }
}

/// With standard error closed there is nobody to tell.
fn warn(text: &str) {
    let _ = writeln!(std::io::stderr(), "corten-builder: {text}");
}

fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other.at("write", "standard output"),
    }
}

fn read(path: &Path) -> Result<Dockerfile> {
    let text = std::fs::read_to_string(path).at("read", path)?;
    dockerfile::parse(&path.display().to_string(), &text)
}

fn parse(path: &Path) -> Result<String> {
    let file = read(path)?;
    let mut text = String::new();
    for argument in &file.arguments {
        text.push_str(&format!(
            "{}:{} {:?}\n",
            argument.at.line, argument.at.column, argument.kind
        ));
    }
    for stage in &file.stages {
        let name = stage.name.as_deref().unwrap_or("-");
        let at = stage.at;
        text.push_str(&format!("{}:{} From({:?}, {name})\n", at.line, at.column, stage.base));
        for one in &stage.instructions {
            text.push_str(&format!("{}:{} {:?}\n", one.at.line, one.at.column, one.kind));
        }
    }
    Ok(text)
}

fn plan(path: &Path, target: Option<String>, arguments: &[String]) -> Result<String> {
    let file = read(path)?;
    let host = host_platform();
    let arguments = pairs(arguments);
    let platform = platform_arguments(&host, &host);
    let plan = Plan::new(&file, &Wanted { arguments, target, platform, all_stages: false })?;
    let mut text = String::new();
    for stage in &plan.stages {
        let name = stage.name.clone().unwrap_or_else(|| stage.index.to_string());
        let needs: Vec<String> = stage.needs.iter().map(ToString::to_string).collect();
        let what = match (stage.wanted, stage.index == plan.target) {
            (_, true) => "the target",
            (true, false) => "needed",
            (false, false) => "left out",
        };
        let needs = if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") };
        text.push_str(&format!(
            "stage {} ({name}): from {}, needs {needs}, step {}: {what}\n",
            stage.index, stage.base, stage.number
        ));
    }
    Ok(text)
}

fn pairs(arguments: &[String]) -> BTreeMap<String, String> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').unwrap_or((text, ""));
        (name.to_owned(), value.to_owned())
    };
    arguments.iter().map(pair).collect()
}

fn context(folder: &Path) -> Result<String> {
    let tree = Tree::folder(folder)?;
    let none = Ignore::default();
    let cancel = Cancel::new()?;
    let view = View { tree: &tree, exclude: &none, cancel: &cancel };
    let mut text = String::new();
    for selected in tree.select("/")? {
        view.look(&selected, &mut |node| {
            text.push_str(&format!("{}\n", node.path().display()));
            Ok(())
        })?;
    }
    Ok(text)
}

/// Images of the store: none is fetched.
struct Alone<'a> {
    images: &'a Store,
    layers: &'a LayerStore,
}

impl Bases for Alone<'_> {
    fn base(&self, name: &str, _: Option<&str>, _: bool, _: Tell<'_>) -> Result<Image> {
        let image = self.images.image(name)?;
        let mut wanted = Vec::new();
        for layer in &image.layers {
            let compression = Compression::from_media_type(layer.descriptor.media_type.as_str())?;
            wanted.push(Layer { diff_id: layer.diff_id.to_string().parse()?, compression });
        }
        let open = |at: usize| {
            let layer =
                image.layers.get(at).ok_or_else(|| std::io::Error::other("no such layer"))?;
            let blob = self.images.open_blob(&layer.descriptor.digest);
            Ok(blob.map_err(std::io::Error::other)?)
        };
        self.layers.ensure_all(None, &wanted, 1, open)?;
        Ok(image)
    }
}

/// The OCI runtime: what is asked for; or chapter 4's, beside this program, or in PATH.
fn runtime(wanted: Option<&Path>) -> PathBuf {
    if let Some(program) = wanted {
        return program.to_owned();
    }
    let own = std::env::current_exe().unwrap_or_default().with_file_name("corten-runtime");
    if own.exists() { own } else { "corten-runtime".into() }
}

fn build(wanted: &Build) -> Result<String> {
    let cancel = Cancel::new()?;
    interrupt::on_signal(&cancel, warn)?;
    let store = &wanted.store;
    let images = Store::open(store.join("images"))?;
    let layers = LayerStore::open(store.join("layers"))?;
    let alone = Alone { images: &images, layers: &layers };
    let directory = store.join("build");
    let runtime = Runtime::new(runtime(wanted.runtime.as_deref()), &layers, &directory)?;
    let builder = Builder {
        images: &images,
        layers: &layers,
        volatile: directory.join("secrets"),
        directory,
        runner: &runtime,
        bases: &alone,
    };
    let folder = &wanted.folder;
    let file = read(&wanted.file.clone().unwrap_or_else(|| folder.join("Dockerfile")))?;
    let tree = Tree::folder(folder)?;
    let tags = wanted.tag.iter().map(|tag| Reference::parse(tag));
    let options = BuildOptions {
        tags: tags.collect::<std::result::Result<_, _>>()?,
        arguments: pairs(&wanted.arguments),
        target: wanted.target.clone(),
        no_cache: wanted.no_cache,
        network: wanted.network.clone(),
        ..BuildOptions::default()
    };
    let mut plain = Plain::default();
    let built = builder.build(&file, &tree, &options, &cancel, &mut |event| {
        // A progress that nobody can see is no reason to stop.
        let _ = std::io::stderr().write_all(&plain.event(&event));
    })?;
    Ok(format!("{}\n", built.image.id))
}

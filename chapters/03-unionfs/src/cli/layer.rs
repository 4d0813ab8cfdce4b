//! `apply` and `diff`.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use corten_namespaces::{Context, Error as KernelError, Root};
use corten_unionfs::diff::{LayerWriter, Listing, Sink, of_tree, of_trees};
use corten_unionfs::whiteout::Marks;
use corten_unionfs::{Compression, Driver, Error, Options, OverlayDriver, Result, apply};

use super::stack::xattr;
use super::{invalid, say};

#[derive(Args)]
pub(super) struct Apply {
    /// The layer: tar, plain or compressed with gzip or zstd
    layer: PathBuf,
    /// The directory; made where it is missing
    dir: PathBuf,
    /// The unpacked layers below, topmost first: their directories lend their attributes. Without
    /// any this is a bottom layer, whose whiteouts hide nothing
    #[arg(long, value_delimiter = ':')]
    lower: Vec<PathBuf>,
    /// Mark opaque directories for a mount inside a user namespace
    #[arg(long)]
    userxattr: bool,
}

impl Apply {
    pub(super) fn execute(self) -> Result<()> {
        let file = File::open(&self.layer).on("open", &self.layer)?;
        std::fs::create_dir_all(&self.dir).on("mkdir", &self.dir)?;
        if std::fs::read_dir(&self.dir).on("read", &self.dir)?.next().is_some() {
            let why = "is not empty; a layer is unpacked into a directory of its own";
            return Err(invalid(self.dir.display().to_string(), why));
        }
        let bottom = self.lower.is_empty();
        let lower = self.lower.iter().map(Root::open).collect::<Result<_, KernelError>>()?;
        let options = Options {
            marks: Marks::Overlay(xattr(self.userxattr)),
            bottom,
            lower,
            ..Options::default()
        };
        let applied = apply(file, Compression::Detect, &Root::open(&self.dir)?, &options)?;
        say(&format!("{} {} entries, {} bytes", applied.diff_id, applied.entries, applied.bytes))?;
        if applied.opaque_root {
            say("this layer hides all layers below it: leave them out of the mount")?;
        }
        Ok(())
    }
}

#[derive(Args)]
pub(super) struct Diff {
    /// The tree as it is now; with --lower, a container's directory with `upper` in it
    new: PathBuf,
    /// The tree as it was; without it and without --lower, everything is new
    #[arg(long, conflicts_with = "lower")]
    old: Option<PathBuf>,
    /// The layers of the overlay mount, topmost first
    #[arg(long, value_delimiter = ':')]
    lower: Vec<PathBuf>,
    /// Write a layer instead of a list; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Compress the layer with gzip
    #[arg(long, requires = "output")]
    gzip: bool,
}

impl Diff {
    pub(super) fn execute(self) -> Result<()> {
        let Some(output) = &self.output else {
            let mut listing = Listing::default();
            self.tell(&mut listing)?;
            return listing
                .lines
                .iter()
                .try_for_each(|(letter, path)| say(&format!("{letter} {}", path.display())));
        };
        let to: Box<dyn Write> = match output.as_os_str() == "-" {
            true => Box::new(std::io::stdout().lock()),
            false => Box::new(File::create(output).on("create", output)?),
        };
        let to = BufWriter::with_capacity(256 * 1024, to);
        let wrote = |source| Error::Write { source };
        let written = if self.gzip {
            // Without a time or a name: the same layer gives the same bytes.
            let level = flate2::Compression::default();
            let mut layer = LayerWriter::new(flate2::GzBuilder::new().write(to, level));
            self.tell(&mut layer)?;
            let (to, written) = layer.finish()?;
            to.finish().and_then(|mut to| to.flush()).map_err(wrote)?;
            written
        } else {
            let mut layer = LayerWriter::new(to);
            self.tell(&mut layer)?;
            let (mut to, written) = layer.finish()?;
            to.flush().map_err(wrote)?;
            written
        };
        if output != Path::new("-") {
            say(&format!(
                "{} {} entries, {} bytes",
                written.diff_id, written.entries, written.bytes
            ))?;
        }
        Ok(())
    }

    fn tell(&self, sink: &mut dyn Sink) -> Result<()> {
        if !self.lower.is_empty() {
            return OverlayDriver::default().diff(&self.lower, &self.new, sink);
        }
        let new = Root::open(&self.new)?;
        match &self.old {
            Some(old) => of_trees(&Root::open(old)?, &new, sink),
            None => of_tree(&new, sink),
        }
    }
}

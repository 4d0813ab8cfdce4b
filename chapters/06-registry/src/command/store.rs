//! What is asked of a store.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use clap::Args;
use corten_namespaces::error::Context as _;
use corten_registry::{ImportOptions, Platform, Reference, Removed, Result, Store};

/// Where the images are.
#[derive(Args)]
struct At {
    /// The store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

impl At {
    fn open(&self) -> Result<Store> {
        Store::open(&self.store)
    }
}

#[derive(Args)]
pub(super) struct Ls {
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub(super) struct Tag {
    /// A name or an id
    source: String,
    target: Reference,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub(super) struct History {
    /// A name or an id
    image: String,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub(super) struct Rm {
    /// A name or an id
    image: String,
    /// With all its names
    #[arg(short, long)]
    force: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub(super) struct Prune {
    /// Every image, also those with a name
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub(super) struct Save {
    /// Names or ids
    #[arg(required = true)]
    images: Vec<String>,
    /// The archive
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub(super) struct Load {
    /// The archive; - is standard input
    #[arg(value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub(super) struct Import {
    /// A tar archive of a root file system, plain or compressed with gzip or zstd
    #[arg(value_name = "FILE")]
    input: PathBuf,
    name: Reference,
    #[command(flatten)]
    at: At,
}

#[derive(Args)]
pub(super) struct Fsck {
    #[command(flatten)]
    at: At,
}

impl Ls {
    pub(super) fn execute(self) -> Result<()> {
        let store = self.at.open()?;
        println!("{:<40} {:<12} {:>12}", "NAME", "IMAGE ID", "LAYERS BYTES");
        for entry in store.list()? {
            let name = entry.name.map_or("<none>".to_owned(), |name| name.familiar());
            match store.load(&entry.descriptor) {
                Ok(image) => println!("{name:<40} {:<12} {:>12}", image.id.short(), image.size()),
                Err(error) => println!("{name:<40} damaged: {error}"),
            }
        }
        Ok(())
    }
}

impl Tag {
    pub(super) fn execute(self) -> Result<()> {
        self.at.open()?.tag(&self.source, &self.target)
    }
}

impl History {
    pub(super) fn execute(self) -> Result<()> {
        for step in self.at.open()?.image(&self.image)?.history() {
            let created = step.created.as_deref().unwrap_or("-");
            let layer = step.layer.map_or("no layer".to_owned(), |(digest, size)| {
                format!("{} {size} bytes", digest.short())
            });
            // What an image says of itself goes to a terminal.
            let said = format!("{} {}", step.created_by, step.comment);
            let said: String = said.chars().filter(|c| !c.is_control()).take(120).collect();
            println!("{created} {layer} {}", said.trim());
        }
        Ok(())
    }
}

fn tell(removed: &Removed) {
    for untagged in &removed.untagged {
        println!("untagged {}", untagged.name.familiar());
    }
    for id in &removed.images {
        println!("deleted {id}");
    }
    println!("{} blobs, {} bytes", removed.blobs.len(), removed.freed);
}

impl Rm {
    pub(super) fn execute(self) -> Result<()> {
        tell(&self.at.open()?.remove(&self.image, self.force)?);
        Ok(())
    }
}

impl Prune {
    pub(super) fn execute(self) -> Result<()> {
        tell(&self.at.open()?.prune(self.all, &|_| false)?);
        Ok(())
    }
}

impl Save {
    pub(super) fn execute(self) -> Result<()> {
        let store = self.at.open()?;
        let path = &self.output;
        let mut out = BufWriter::new(File::create(path).on("create", path)?);
        store.save(&self.images, &mut out)?;
        Ok(out.flush().on("write", path)?)
    }
}

impl Load {
    pub(super) fn execute(self) -> Result<()> {
        let store = self.at.open()?;
        let images = if self.input.as_os_str() == "-" {
            store.unpack_archive(&mut std::io::stdin().lock())?
        } else {
            store.unpack_archive(&mut File::open(&self.input).on("open", &self.input)?)?
        };
        for image in images {
            let names: Vec<String> = image.names.iter().map(Reference::familiar).collect();
            println!("{} {}", image.id, names.join(" "));
        }
        Ok(())
    }
}

impl Import {
    pub(super) fn execute(self) -> Result<()> {
        let platform = Platform::host();
        let config = serde_json::Map::from_iter([
            ("os".to_owned(), platform.os.into()),
            ("architecture".to_owned(), platform.architecture.into()),
        ]);
        let message = format!("imported from {}", self.input.display());
        let options = ImportOptions { name: Some(self.name), config, message };
        let mut file = File::open(&self.input).on("open", &self.input)?;
        println!("{}", self.at.open()?.import(&mut file, &options)?.id);
        Ok(())
    }
}

impl Fsck {
    /// `false` where something is wrong.
    pub(super) fn execute(self) -> Result<bool> {
        let health = self.at.open()?.fsck()?;
        for problem in &health.problems {
            println!("{problem}");
        }
        println!(
            "{} blobs verified ({} bytes), {} images complete, {} bytes to be resumed, {} problems",
            health.blobs,
            health.bytes,
            health.images,
            health.partial,
            health.problems.len()
        );
        Ok(health.problems.is_empty())
    }
}

//! `ls` and `why`.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use clap::Args;
use corten_namespaces::{Context, Error as KernelError, Root};
use corten_unionfs::archive::{Archive, Entry, Kind};
use corten_unionfs::path::show;
use corten_unionfs::whiteout::{self, Meaning};
use corten_unionfs::why::{Verdict, why};
use corten_unionfs::{Compression, Error, Limits, Result};

use super::{invalid, say};

#[derive(Args)]
pub(super) struct Ls {
    /// The layer: tar, plain or compressed with gzip or zstd
    layer: PathBuf,
}

impl Ls {
    pub(super) fn execute(self) -> Result<()> {
        let file = File::open(&self.layer).on("open", &self.layer)?;
        let plain = Compression::Detect.decode(BufReader::with_capacity(1 << 18, file))?;
        let mut archive = Archive::new(plain, Limits::default());
        while let Some(entry) = archive.next_entry()? {
            say(&line(&entry)?)?;
        }
        let summary = archive.finish()?;
        say(&format!("{} {} entries, {} bytes", summary.diff_id, summary.entries, summary.bytes))
    }
}

/// One entry, as `ls -l` would show it, and what it means where that is not what it looks like.
fn line(entry: &Entry) -> Result<String> {
    let (letter, detail) = match &entry.kind {
        Kind::Directory => ('d', String::new()),
        Kind::File { size } => ('-', size.to_string()),
        Kind::Symlink(target) => ('l', format!("-> {}", show(target.as_encoded_bytes()))),
        Kind::HardLink(target) => ('h', format!("= {}", target.shown())),
        Kind::Char(device) => ('c', format!("{}:{}", device.major, device.minor)),
        Kind::Block(device) => ('b', format!("{}:{}", device.major, device.minor)),
        Kind::Fifo => ('p', String::new()),
        Kind::Socket => ('s', String::new()),
    };
    let refused = |why| Error::Refused { entry: entry.path.shown(), why };
    let note = match whiteout::meaning(&entry.path).map_err(refused)? {
        Meaning::Plain => String::new(),
        Meaning::Ignored => "   (AUFS's own, ignored)".into(),
        Meaning::Opaque => "   (empties this directory)".into(),
        Meaning::Whiteout(name) => format!("   (deletes {})", show(name.as_encoded_bytes())),
    };
    let xattrs: Vec<_> =
        entry.xattrs.iter().map(|(name, _)| show(name.as_encoded_bytes())).collect();
    let xattrs =
        if xattrs.is_empty() { String::new() } else { format!("   [{}]", xattrs.join(" ")) };
    let (mode, uid, gid, path) = (entry.mode, entry.uid, entry.gid, entry.path.shown());
    Ok(format!("{letter} {mode:04o} {uid}:{gid} {path} {detail}{xattrs}{note}")
        .trim_end()
        .to_owned())
}

#[derive(Args)]
pub(super) struct Why {
    /// The path in the merged tree
    path: PathBuf,
    /// The layers, topmost first, separated by colons
    #[arg(long, value_delimiter = ':', required = true)]
    lower: Vec<PathBuf>,
}

impl Why {
    pub(super) fn execute(self) -> Result<()> {
        if self.path.components().any(|part| part == std::path::Component::ParentDir) {
            return Err(invalid(
                self.path.display().to_string(),
                "has a `..`; name it from the root",
            ));
        }
        let layers = self.lower.iter().map(Root::open).collect::<Result<Vec<_>, KernelError>>()?;
        let verdicts = why(&layers, &self.path)?;
        for (layer, verdict) in self.lower.iter().zip(&verdicts) {
            say(&format!("{:<24} {verdict}", layer.display()))?;
        }
        let seen = verdicts.iter().any(|v| matches!(v, Verdict::Shows | Verdict::Merges));
        match seen {
            true => Ok(()),
            false => {
                Err(invalid(self.path.display().to_string(), "is in the merged tree of no layer"))
            }
        }
    }
}

//! `corten cp`.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use corten_daemon::backend::Backend;

use super::remote::Elsewhere;
use crate::cli::{Error, Result};
use crate::engine::Engine;
use crate::engine::copy::rule::End;
use crate::engine::files::Scope;

#[derive(Debug, Args)]
#[command(
    after_help = "A directory is copied under its own name into one that is there, or becomes \
    one that is not; with `/.` at its end only what is in it is copied. - is a tar archive on standard \
    input or output. A path of the host with a colon begins with / or ./ ."
)]
pub(super) struct Cp {
    /// Owners stay who they are, instead of root in a container and you on the host; and so do
    /// set-user-id programs and devices on the host
    #[arg(short, long)]
    archive: bool,
    /// Copy what a link in the source leads to
    #[arg(short = 'L', long)]
    follow_link: bool,
    /// Say nothing, which is what it does anyway
    #[arg(short, long)]
    quiet: bool,
    /// CONTAINER:PATH, a path of the host, or -
    #[arg(value_name = "SOURCE")]
    source: String,
    /// The same
    #[arg(value_name = "TARGET")]
    target: String,
}

impl Cp {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        match (End::parse(&self.source), End::parse(&self.target)) {
            (End::Container(..), End::Container(..)) => {
                Err(Error::refused("copying between containers is not supported"))
            }
            (End::Container(name, path), to) => self.copy_out(engine, &name, &path, to),
            (from, End::Container(name, path)) => self.copy_in(engine, from, &name, &path),
            _ => Err(Error::refused("must specify at least one container source")),
        }
    }

    fn copy_out(&self, engine: &Engine, name: &str, path: &Path, to: End) -> Result<()> {
        let files = engine.files(name, Scope::Whole)?;
        let to: PathBuf = match to {
            End::Host(to) => to,
            _ => {
                let follow = self.follow_link;
                let part = if follow { files.part_followed(path)? } else { files.part(path)? };
                return Ok(part.write(std::io::stdout())?);
            }
        };
        left_out(files.copy_out(path, &to, self.follow_link, self.archive)?);
        Ok(())
    }

    /// The same with a daemon's container.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let (follow, archive) = (self.follow_link, self.archive);
        match (End::parse(&self.source), End::parse(&self.target)) {
            (End::Container(..), End::Container(..)) => {
                Err(Error::refused("copying between containers is not supported"))
            }
            (End::Container(name, path), to) => {
                let from = Elsewhere { engine, name: &name };
                match to {
                    End::Host(to) => left_out(from.copy_out(&path, &to, follow, archive)?),
                    _ => from.write(&path, follow, &mut std::io::stdout().lock())?,
                }
                Ok(())
            }
            (from, End::Container(name, path)) => {
                let to = Elsewhere { engine, name: &name };
                match from {
                    End::Host(from) => to.copy_in(&from, &path, follow, archive),
                    _ => to.copy_in_archive(&mut std::io::stdin(), &path),
                }
            }
            _ => Err(Error::refused("must specify at least one container source")),
        }
    }

    fn copy_in(&self, engine: &Engine, from: End, name: &str, path: &Path) -> Result<()> {
        let files = engine.files(name, Scope::Whole)?;
        match from {
            End::Host(from) => Ok(files.copy_in(&from, path, self.follow_link, self.archive)?),
            _ => Ok(files.copy_in_archive(std::io::stdin(), path)?),
        }
    }
}

fn left_out(devices: u64) {
    if devices > 0 {
        let text = format!("left out {devices} device nodes; -a makes them on the host");
        let _ = writeln!(std::io::stderr(), "corten: warning: {text}");
    }
}

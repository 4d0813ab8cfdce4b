//! `corten rmi`.

use clap::Args;
use corten_daemon::backend::Backend;

use super::{each, print};
use crate::cli::Result;
use crate::engine::Engine;

#[derive(Debug, Args)]
pub(super) struct Rmi {
    /// Remove an image that has several names by its id, or that a stopped container uses
    #[arg(short, long)]
    force: bool,
    /// For docker's sake: no image has parents without a name here
    #[arg(long)]
    no_prune: bool,
    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

impl Rmi {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<u8> {
        Ok(each(&self.images, debug, |image| {
            let removed = engine.remove_image(image, self.force)?;
            let untagged = removed.untagged.iter().map(|n| format!("Untagged: {}\n", n.familiar()));
            let deleted = removed.deleted.iter().map(|digest| format!("Deleted: {digest}\n"));
            print(&untagged.chain(deleted).collect::<String>())
        }))
    }

    /// The same of a daemon's images.
    pub(super) fn remote(&self, engine: &dyn Backend, debug: bool) -> Result<u8> {
        Ok(each(&self.images, debug, |image| {
            let removed = engine.remove_image(image, self.force, !self.no_prune, &[])?;
            print(&super::remote::removed(&removed, ["Untagged: ", "Deleted: "]).join(""))
        }))
    }
}

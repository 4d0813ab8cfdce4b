//! The command line: what is asked of a registry, of a store, and of both.

mod explain;
mod progress;
mod remote;
mod store;
mod trust;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use corten_registry::{Client, ClientOptions, Platform, Policy, Result};

/// Talks to registries and keeps images in an OCI image layout.
#[derive(Parser)]
#[command(name = "corten-registry", version, about, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    registry: Registry,
}

#[derive(Subcommand)]
enum Command {
    /// Show what stands behind a name in a registry, without keeping it
    Inspect(remote::Inspect),
    /// Bring an image into a store
    Pull(remote::Pull),
    /// Send an image of a store to a registry
    Push(remote::Push),
    /// Copy an image between registries, or within one, byte for byte
    Copy(remote::Copy),
    /// List the tags of a repository
    Tags(remote::Tags),
    /// List the repositories of a registry
    Catalog(remote::Catalog),
    /// Remove an image from a registry
    Delete(remote::Delete),
    /// List what refers to an image in a registry
    Referrers(remote::Referrers),
    /// Print the requests of a pull in their order, each with its reason
    Explain(explain::Explain),
    /// Make a pair of keys
    Keygen(trust::Keygen),
    /// Sign an image in a registry
    Sign(trust::Sign),
    /// Say whether an image in a registry is signed by a key, or let in by a policy
    Verify(trust::Verify),
    /// List the images of a store
    Ls(store::Ls),
    /// Give an image of a store a further name
    Tag(store::Tag),
    /// Show how an image of a store came to be
    History(store::History),
    /// Remove an image from a store
    Rm(store::Rm),
    /// Remove from a store what has no name, and what broken downloads left
    Prune(store::Prune),
    /// Write images of a store into an archive
    Save(store::Save),
    /// Read images from an archive into a store
    Load(store::Load),
    /// Verify every blob and every image of a store
    Fsck(store::Fsck),
}

/// How registries are reached.
#[derive(Args)]
struct Registry {
    /// The platform to choose from an index [default: this machine's]
    #[arg(long, global = true, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// A host or network that may be spoken to without TLS or with any certificate
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    insecure: Vec<String>,
    /// A PEM file with a further certificate authority
    #[arg(long, global = true, value_name = "FILE")]
    ca: Vec<PathBuf>,
    /// Mirrors and insecure registries [default: /etc/corten/registries.json, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    registries: Option<PathBuf>,
    /// What is let in [default: /etc/corten/policy.json, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Registry {
    fn options(&self) -> Result<ClientOptions> {
        let mut options = match &self.registries {
            Some(path) => ClientOptions::default().with_file(path)?,
            None => ClientOptions::system()?,
        };
        options.insecure.extend(self.insecure.iter().cloned());
        options.ca_files.extend(self.ca.iter().cloned());
        Ok(options)
    }

    fn client(&self) -> Result<Client> {
        Ok(Client::new(self.options()?))
    }

    fn platform(&self) -> Platform {
        self.platform.clone().unwrap_or_else(Platform::host)
    }

    fn policy(&self) -> Result<Policy> {
        match &self.policy {
            Some(path) => Policy::read(path),
            None => Policy::system(),
        }
    }
}

impl Arguments {
    /// Does what is asked; `false` where the answer is no, which is no error.
    pub(crate) fn execute(self) -> Result<bool> {
        let registry = &self.registry;
        match self.command {
            Command::Inspect(command) => command.execute(registry)?,
            Command::Pull(command) => command.execute(registry)?,
            Command::Push(command) => command.execute(registry)?,
            Command::Copy(command) => command.execute(registry)?,
            Command::Tags(command) => command.execute(registry)?,
            Command::Catalog(command) => command.execute(registry)?,
            Command::Delete(command) => command.execute(registry)?,
            Command::Referrers(command) => command.execute(registry)?,
            Command::Explain(command) => command.execute(registry)?,
            Command::Keygen(command) => command.execute()?,
            Command::Sign(command) => command.execute(registry)?,
            Command::Verify(command) => return command.execute(registry),
            Command::Ls(command) => command.execute()?,
            Command::Tag(command) => command.execute()?,
            Command::History(command) => command.execute()?,
            Command::Rm(command) => command.execute()?,
            Command::Prune(command) => command.execute()?,
            Command::Save(command) => command.execute()?,
            Command::Load(command) => command.execute()?,
            Command::Fsck(command) => return command.execute(),
        }
        Ok(true)
    }
}

//! `corten-registry`: chapter 6 on its own.
#![deny(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use corten_registry::client::Exchange;
use corten_registry::{
    Client, ClientOptions, Document, Event, ImageConfig, Manifest, Platform, Reference, Result,
    Store, pull,
};

/// Talks to registries and keeps images in an OCI image layout.
#[derive(Parser)]
#[command(name = "corten-registry", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows what stands behind a name, without keeping it
    Inspect {
        name: Reference,
        #[command(flatten)]
        registry: Registry,
    },
    /// Brings an image into a store
    Pull {
        name: Reference,
        /// The store: a directory, which becomes an OCI image layout
        #[arg(long, value_name = "DIR")]
        store: PathBuf,
        #[command(flatten)]
        registry: Registry,
    },
    /// Lists the images of a store
    Ls {
        /// The store
        #[arg(long, value_name = "DIR")]
        store: PathBuf,
    },
    /// Prints the requests of a pull in their order, each with its reason
    Explain {
        name: Reference,
        #[command(flatten)]
        registry: Registry,
    },
}

#[derive(Args)]
struct Registry {
    /// The platform to choose from an index [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// A host that may be spoken to without TLS or with any certificate
    #[arg(long, value_name = "HOST[:PORT]")]
    insecure: Vec<String>,
    /// A PEM file with a further certificate authority
    #[arg(long, value_name = "FILE")]
    ca: Vec<PathBuf>,
}

impl Registry {
    fn options(&self) -> ClientOptions {
        let (insecure, ca_files) = (self.insecure.clone(), self.ca.clone());
        ClientOptions { insecure, ca_files, ..ClientOptions::default() }
    }

    fn platform(&self) -> Platform {
        self.platform.clone().unwrap_or_else(Platform::host)
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Inspect { name, registry } => inspect(&name, &registry),
        Command::Pull { name, store, registry } => pull_into(&name, store, &registry),
        Command::Ls { store } => list(store),
        Command::Explain { name, registry } => explain(&name, &registry),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten-registry: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The manifest for the platform, and its configuration; prints the choice where there is one.
fn look_up(
    client: &Client,
    name: &Reference,
    registry: &Registry,
) -> Result<(Manifest, ImageConfig)> {
    let fetched = client.manifest(name)?;
    println!("{name}");
    println!("  {} {}", fetched.digest, fetched.document.media_type());
    let manifest = match fetched.document {
        Document::Manifest(manifest) => manifest,
        Document::Index(index) => {
            for entry in &index.manifests {
                let platform = entry.platform.as_ref().map_or("any".to_owned(), |p| p.to_string());
                println!("    {} {platform}", entry.digest);
            }
            let chosen = index.choose(&name.familiar(), &registry.platform())?;
            println!("  chosen: {}", chosen.digest);
            match client.manifest_of(name, chosen)?.document {
                Document::Manifest(manifest) => manifest,
                Document::Index(_) => {
                    return Err(corten_registry::Error::malformed(name.familiar(), "nested index"));
                }
            }
        }
    };
    let config = client.config(name, &manifest)?;
    Ok((manifest, config))
}

fn inspect(name: &Reference, registry: &Registry) -> Result<()> {
    let (manifest, config) = look_up(&Client::new(registry.options()), name, registry)?;
    println!("  image id {} for {}", manifest.config.digest, config.platform());
    for layer in &manifest.layers {
        println!("    {} {} bytes {}", layer.digest, layer.size, layer.media_type);
    }
    if let Some(run) = config.spec().config() {
        let words = |list: &Option<Vec<String>>| list.clone().unwrap_or_default().join(" ");
        println!("  runs {} {}", words(run.entrypoint()), words(run.cmd()));
        println!("  env {}", words(run.env()));
    }
    Ok(())
}

fn pull_into(name: &Reference, store: PathBuf, registry: &Registry) -> Result<()> {
    let (client, store) = (Client::new(registry.options()), Store::open(store)?);
    let mut progress = |event: Event<'_>| match event {
        Event::Resolved(digest) => println!("{} is {digest}", name.familiar()),
        Event::LayerExists { digest, .. } => println!("{}: already there", digest.short()),
        Event::LayerStart { digest, size } => println!("{}: {size} bytes", digest.short()),
        Event::LayerDone { digest } => println!("{}: verified", digest.short()),
        Event::OtherPlatform(platform) => eprintln!("warning: this image is for {platform}"),
        _ => {}
    };
    let pulled = pull(&client, &store, name, &registry.platform(), &mut progress)?;
    let state = if pulled.up_to_date { "up to date" } else { "pulled" };
    println!("{}: {state}, image id {}", name.familiar(), pulled.image.id.short());
    Ok(())
}

fn list(store: PathBuf) -> Result<()> {
    let store = Store::open(store)?;
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

fn explain(name: &Reference, registry: &Registry) -> Result<()> {
    let print = |exchange: &Exchange<'_>| {
        let status = exchange.status.map_or("no answer".to_owned(), |status| status.to_string());
        let with = exchange.authorization.map_or(String::new(), |kind| format!(" with {kind}"));
        println!("{} {}{with}\n    {status}: {}", exchange.method, exchange.url, exchange.why);
    };
    let client = Client::with_trace(registry.options(), Arc::new(print));
    let (manifest, _) = look_up(&client, name, registry)?;
    println!("what a pull would go on with:");
    for layer in &manifest.layers {
        let path = format!("/v2/{}/blobs/{}", name.path(), layer.digest);
        println!("GET {path}\n    a layer of {} bytes, unless it is in the store", layer.size);
    }
    Ok(())
}

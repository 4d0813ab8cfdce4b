//! What is asked of a registry.

use std::path::PathBuf;

use clap::Args;
use corten_registry::{
    Client, Document, ImageConfig, Manifest, Platform, Reference, Result, Store, copy,
    pull_trusted, push,
};

use super::Registry;
use super::progress::Shown;

#[derive(Args)]
pub(super) struct Inspect {
    name: Reference,
    /// Print the manifest or index byte for byte
    #[arg(long)]
    raw: bool,
}

#[derive(Args)]
pub(super) struct Pull {
    name: Reference,
    /// The store: a directory, which becomes an OCI image layout
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

#[derive(Args)]
pub(super) struct Push {
    /// The image: a name or an id in the store
    source: String,
    /// The name that it shall have in its registry [default: the same]
    target: Option<Reference>,
    /// The store
    #[arg(long, value_name = "DIR")]
    store: PathBuf,
}

#[derive(Args)]
pub(super) struct Copy {
    from: Reference,
    to: Reference,
    /// Where the layers lie meanwhile [default: a directory that is removed afterwards]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct Tags {
    name: Reference,
}

#[derive(Args)]
pub(super) struct Catalog {
    /// The registry
    #[arg(value_name = "HOST[:PORT]")]
    host: String,
}

#[derive(Args)]
pub(super) struct Delete {
    /// By tag, or by digest, which takes all its tags
    name: Reference,
}

#[derive(Args)]
pub(super) struct Referrers {
    name: Reference,
    /// Only this kind
    #[arg(long, value_name = "MEDIA TYPE")]
    artifact_type: Option<String>,
}

/// The manifest for the platform, and its configuration; prints the choice where there is one.
pub(super) fn look_up(
    client: &Client,
    name: &Reference,
    platform: &Platform,
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
            let chosen = index.choose(&name.familiar(), platform)?;
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

impl Inspect {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        let client = registry.client()?;
        if self.raw {
            let fetched = client.manifest(&self.name)?;
            println!("{}", String::from_utf8_lossy(fetched.document.raw()));
            return Ok(());
        }
        let (manifest, config) = look_up(&client, &self.name, &registry.platform())?;
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
}

impl Pull {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        let (client, store) = (registry.client()?, Store::open(&self.store)?);
        let (policy, platform) = (registry.policy()?, registry.platform());
        let mut shown = Shown::new("verified");
        let pulled = pull_trusted(&client, &store, &policy, &self.name, &platform, &mut shown)?;
        let state = if pulled.up_to_date { "up to date" } else { "pulled" };
        let (name, image) = (self.name.familiar(), &pulled.image);
        let (came, all) = (pulled.downloaded, image.size());
        println!("{name}: {state}, image id {}, {came} of {all} bytes came", image.id.short());
        Ok(())
    }
}

impl Push {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        let (client, store) = (registry.client()?, Store::open(&self.store)?);
        let target = match self.target {
            Some(target) => target,
            None => Reference::parse(&self.source)?,
        };
        let pushed = push(&client, &store, &self.source, &target, &mut Shown::new("pushed"))?;
        let [had, mounted, sent] = pushed.blobs;
        let name = target.familiar();
        println!(
            "{name}: {sent} blobs sent ({} bytes), {mounted} taken, {had} there",
            pushed.uploaded
        );
        Ok(())
    }
}

impl Copy {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        let client = registry.client()?;
        let dir = match &self.store {
            Some(dir) => dir.clone(),
            None => std::env::temp_dir().join(format!("corten-copy-{}", std::process::id())),
        };
        let store = Store::open(&dir)?;
        let mut shown = Shown::new("pushed");
        let only = registry.platform.as_ref();
        let copied = copy(&client, &store, &self.from, &self.to, only, &mut shown);
        if self.store.is_none() {
            // What is left of it is in the directory for temporary files.
            let _ = std::fs::remove_dir_all(&dir);
        }
        let [had, mounted, sent] = copied?.blobs;
        println!("{}: {sent} blobs sent, {mounted} taken, {had} there", self.to.familiar());
        Ok(())
    }
}

impl Tags {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        for tag in registry.client()?.tags(&self.name)? {
            println!("{tag}");
        }
        Ok(())
    }
}

impl Catalog {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        // By way of a name, so that the host is checked.
        let host = Reference::parse(&format!("{}/x", self.host))?;
        for repository in registry.client()?.catalog(host.domain())? {
            println!("{repository}");
        }
        Ok(())
    }
}

impl Delete {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        registry.client()?.delete(&self.name)?;
        println!("{}: deleted", self.name.familiar());
        Ok(())
    }
}

impl Referrers {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        let client = registry.client()?;
        let digest = match self.name.digest() {
            Some(digest) => digest.clone(),
            None => client.manifest(&self.name)?.digest,
        };
        for referrer in client.referrers(&self.name, &digest, self.artifact_type.as_deref())? {
            let kind = referrer.artifact_type.as_deref().unwrap_or("of no kind");
            println!("{} {} bytes {kind}", referrer.descriptor.digest, referrer.descriptor.size);
        }
        Ok(())
    }
}

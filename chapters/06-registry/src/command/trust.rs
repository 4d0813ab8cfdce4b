//! Keys, signatures, policies.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use corten_namespaces::error::Context as _;
use corten_registry::signature::{Payload, signatures};
use corten_registry::{Document, Error, Policy, PrivateKey, PublicKey, Reference, Result, sign};

use super::Registry;

/// Where a passphrase comes from: as cosign has it, or out of a file.
#[derive(Args)]
struct Passphrase {
    /// A file with the private key's passphrase [default: the variable COSIGN_PASSWORD]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    fn read(&self) -> Result<Vec<u8>> {
        let text = match &self.passphrase_file {
            Some(path) => fs::read_to_string(path).on("read", path)?,
            None => std::env::var("COSIGN_PASSWORD").map_err(|_| {
                let why = "give --passphrase-file FILE, or set COSIGN_PASSWORD";
                Error::invalid("passphrase", "", why)
            })?,
        };
        Ok(text.trim_end_matches(['\n', '\r']).as_bytes().to_vec())
    }
}

#[derive(Args)]
pub(super) struct Keygen {
    /// The pair is PREFIX.key and PREFIX.pub
    #[arg(value_name = "PREFIX")]
    prefix: PathBuf,
    #[command(flatten)]
    passphrase: Passphrase,
}

#[derive(Args)]
pub(super) struct Sign {
    /// The image, with its tag
    name: Reference,
    /// The private key
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Also each image of an index, for tools that choose first and verify then, as skopeo
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    passphrase: Passphrase,
}

#[derive(Args)]
pub(super) struct Verify {
    name: Reference,
    /// The public key that must have signed; without it the policy decides
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// `PREFIX.EXTENSION`, whatever dots are in the prefix.
fn with(prefix: &Path, extension: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(extension);
    name.into()
}

impl Keygen {
    pub(super) fn execute(self) -> Result<()> {
        let key = PrivateKey::generate()?;
        let (private, public) = (with(&self.prefix, ".key"), with(&self.prefix, ".pub"));
        key.write(&private, &self.passphrase.read()?)?;
        fs::write(&public, key.public().pem()).on("write", &public)?;
        println!("{} and {}", private.display(), public.display());
        Ok(())
    }
}

impl Sign {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        let key = PrivateKey::read(&self.key, &self.passphrase.read()?)?;
        let digest = sign(&registry.client()?, &key, &self.name, self.recursive)?;
        println!("{}: signed {digest}", self.name.familiar());
        Ok(())
    }
}

impl Verify {
    /// `false` where the image is not trusted.
    pub(super) fn execute(self, registry: &Registry) -> Result<bool> {
        let client = registry.client()?;
        let policy = match &self.key {
            Some(path) => Policy::signed_by(PublicKey::read(path)?),
            None => registry.policy()?,
        };
        let fetched = client.manifest(&self.name)?;
        let mut vouched = vec![fetched.digest.clone()];
        if let Document::Index(index) = &fetched.document {
            vouched.push(index.choose(&self.name.familiar(), &registry.platform())?.digest.clone());
        }
        let mut found = Vec::new();
        for digest in &vouched {
            found.extend(signatures(&client, &self.name, digest)?);
        }
        println!("{} is {}", self.name.familiar(), fetched.digest);
        for signed in &found {
            match Payload::parse(&signed.payload) {
                Ok(payload) => println!("  a signature of {} as {}", payload.digest, payload.name),
                Err(error) => println!("  {error}"),
            }
        }
        match policy.check(&self.name, &vouched, &mut || Ok(found.clone())) {
            Ok(()) => println!("trusted"),
            Err(Error::Untrusted { why, policy, .. }) => {
                println!("not trusted by {policy}: {why}");
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

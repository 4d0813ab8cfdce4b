//! What may come of a build beside the image in the store.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use corten_builder::execute::Built;
use corten_namespaces::Root;
use corten_unionfs::copy::copy_tree;
use corten_unionfs::diff;
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::engine::error::{At, Error, Result};

/// `--output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// What.
    pub kind: OutputKind,
    /// Where to; standard output for `-`.
    pub destination: PathBuf,
}

/// The kinds of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputKind {
    /// An archive that is an OCI image layout, and Docker's format too.
    Archive,
    /// The files of the image in a folder.
    Local,
    /// The files of the image as a tar archive.
    Tar,
    /// The image in the store, which it always is.
    Image,
}

impl Output {
    /// Reads `type=oci,dest=FILE`, or a path alone, which is a folder.
    ///
    /// # Errors
    /// For another type, or one without a destination.
    pub fn parse(text: &str) -> Result<Output> {
        let bad = |why: &str| Error::invalid(format!("--output {text}"), why);
        if !text.contains('=') {
            let kind = if text == "-" { OutputKind::Tar } else { OutputKind::Local };
            return Ok(Output { kind, destination: text.into() });
        }
        let (mut kind, mut destination) = (None, None);
        for field in text.split(',') {
            match field.split_once('=') {
                Some(("type", "oci" | "docker")) => kind = Some(OutputKind::Archive),
                Some(("type", "local")) => kind = Some(OutputKind::Local),
                Some(("type", "tar")) => kind = Some(OutputKind::Tar),
                Some(("type", "image")) => kind = Some(OutputKind::Image),
                Some(("type", _)) => {
                    return Err(bad("has a type that is none of oci, docker, local, tar, image"));
                }
                Some(("dest", path)) => destination = Some(PathBuf::from(path)),
                Some(("name" | "push" | "compression" | "rewrite-timestamp", _)) => {}
                _ => return Err(bad("has a field that is none of type, dest")),
            }
        }
        let kind = kind.ok_or_else(|| bad("has no type: write type=oci,dest=FILE"))?;
        match (kind, destination) {
            (OutputKind::Image, destination) => {
                Ok(Output { kind, destination: destination.unwrap_or_default() })
            }
            (OutputKind::Local, None) => Err(bad("has no dest: write type=local,dest=FOLDER")),
            (kind, destination) => {
                Ok(Output { kind, destination: destination.unwrap_or_else(|| "-".into()) })
            }
        }
    }

    /// Whether it goes to standard output, where nothing else belongs then.
    pub fn is_on_stdout(&self) -> bool {
        self.kind != OutputKind::Image && self.destination == Path::new("-")
    }

    /// The file of an archive, made anew.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn open(&self) -> Result<Box<dyn Write + Send>> {
        let path = self.destination.as_path();
        match self.is_on_stdout() {
            true => Ok(Box::new(std::io::stdout())),
            false => Ok(Box::new(File::create(path).at("create", path)?)),
        }
    }
}

impl Engine {
    /// Writes what was built to where it shall be.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn put_out(&self, built: &Built, names: &[String], output: &Output) -> Result<()> {
        let path = output.destination.as_path();
        match output.kind {
            OutputKind::Image => Ok(()),
            OutputKind::Archive => {
                let id = [built.image.id.to_string()];
                let names = if names.is_empty() { &id[..] } else { names };
                Ok(self.images.save(names, &mut output.open()?)?)
            }
            OutputKind::Local => {
                std::fs::create_dir_all(path).at("make", path)?;
                let tree = Root::from_fd(self.tree(&built.layers, None)?, "the image");
                copy_tree(&tree, &Root::open(path)?)?;
                Ok(())
            }
            OutputKind::Tar => {
                let tree = Root::from_fd(self.tree(&built.layers, None)?, "the image");
                Ok(diff::pack(&tree, Path::new(""), Path::new(""), output.open()?)?)
            }
        }
    }
}

/// What an image was made of, as a statement of in-toto with SLSA's predicate (version 1).
pub fn provenance(built: &Built, arguments: Value, started: &str, finished: &str) -> Value {
    let digest = |id: &str| {
        let hex = id.strip_prefix("sha256:").unwrap_or(id);
        json!({ "sha256": hex })
    };
    let materials: Vec<Value> = built
        .materials
        .iter()
        .map(|(name, id)| json!({"uri": format!("pkg:docker/{name}"), "digest": digest(id)}))
        .collect();
    let names: Vec<String> =
        built.image.names.iter().map(corten_registry::Reference::familiar).collect();
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{
            "name": names.first().map_or("_", String::as_str),
            "digest": digest(&built.image.descriptor.digest.to_string()),
        }],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "corten-build/v1",
                "externalParameters": arguments,
                "resolvedDependencies": materials,
            },
            "runDetails": {
                "builder": {"id": format!("corten {}", env!("CARGO_PKG_VERSION"))},
                "metadata": {"startedOn": started, "finishedOn": finished},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_have_a_type_and_a_destination() {
        let read = |text: &str| Output::parse(text).map(|output| (output.kind, output.destination));
        assert_eq!(read("out").unwrap(), (OutputKind::Local, "out".into()));
        assert_eq!(read("-").unwrap(), (OutputKind::Tar, "-".into()));
        assert_eq!(read("type=oci,dest=x.tar").unwrap(), (OutputKind::Archive, "x.tar".into()));
        assert!(read("type=local").unwrap_err().to_string().contains("has no dest"));
        assert!(read("type=zip,dest=x").unwrap_err().to_string().contains("is none of oci"));
    }
}

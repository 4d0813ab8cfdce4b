//! Is the store whole? Every blob is read and hashed, and every name followed to its last layer.

use std::fs;
use std::io;

use super::Store;
use crate::digest::{Algorithm, Digest};
use crate::error::{At, Result};

/// What [`Store::fsck`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Blobs that were read.
    pub blobs: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Names, and images without one, that are complete.
    pub images: usize,
    /// Bytes of downloads that can be resumed.
    pub partial: u64,
    /// What is wrong: blobs that are not what they are called, images that lack something.
    pub problems: Vec<String>,
}

impl Store {
    /// Verifies every blob, and that every image has all its parts.
    ///
    /// # Errors
    /// Where the store cannot be read; what is wrong in it is no error but stands in the answer.
    pub fn fsck(&self) -> Result<Health> {
        let mut health = Health::default();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let dir = self.root().join("blobs").join(algorithm.name());
            for entry in fs::read_dir(&dir).at("read directory", &dir)? {
                let entry = entry.at("read directory", &dir)?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let text = format!("{}:{name}", algorithm.name());
                match text.parse::<Digest>().ok().and_then(|digest| self.stored(&digest)) {
                    Some(blob) => {
                        health.blobs += 1;
                        let read = self.verified(&blob).and_then(|mut content| {
                            io::copy(&mut content, &mut io::sink()).at("read", &entry.path())
                        });
                        match read {
                            Ok(bytes) => health.bytes += bytes,
                            Err(error) => health.problems.push(error.to_string()),
                        }
                    }
                    None => health.problems.push(format!("{text} is no name of a blob")),
                }
            }
        }
        for entry in self.list()? {
            let name = entry.name.as_ref().map_or("<none>".to_owned(), |name| name.familiar());
            match self.load(&entry.descriptor) {
                Ok(image) => {
                    let before = health.problems.len();
                    for layer in &image.layers {
                        if !self.has_blob(&layer.descriptor)? {
                            let digest = &layer.descriptor.digest;
                            health.problems.push(format!("{name} lacks its layer {digest}"));
                        }
                    }
                    health.images += usize::from(health.problems.len() == before);
                }
                Err(error) => health.problems.push(format!("{name}: {error}")),
            }
        }
        let dir = self.own_dir().join("partial");
        for entry in fs::read_dir(&dir).at("read directory", &dir)? {
            let entry = entry.at("read directory", &dir)?;
            health.partial += entry.metadata().at("stat", &entry.path())?.len();
        }
        Ok(health)
    }
}

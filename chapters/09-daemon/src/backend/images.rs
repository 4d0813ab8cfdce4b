//! Images.

use serde_json::Value;

use super::{Credentials, Download, Filters, Outcome, Sink, Upload};
use crate::version::Version;

/// `POST /images/create` with `fromImage`.
#[derive(Debug, Clone, Default)]
pub struct Pull {
    /// The name, with or without a tag or digest.
    pub image: String,
    /// The tag or digest.
    pub tag: String,
    /// `os/architecture/variant`.
    pub platform: String,
    /// For the registry.
    pub credentials: Credentials,
}

/// Where `POST /images/create` takes an image from.
#[derive(Debug, Clone)]
pub enum PullSource {
    /// A registry.
    Registry(Pull),
    /// An archive.
    Archive(Import),
}

/// `POST /images/create` with `fromSrc`.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// `-` for the body of the request; a URL otherwise.
    pub source: String,
    /// The name; none where empty.
    pub repo: String,
    /// The tag.
    pub tag: String,
    /// For the history.
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// `os/architecture`.
    pub platform: String,
}

/// `POST /commit`.
#[derive(Debug, Clone, Default)]
pub struct Commit {
    /// The container.
    pub container: String,
    /// The name; none where empty.
    pub repo: String,
    /// The tag.
    pub tag: String,
    /// For the history.
    pub comment: String,
    /// Who made it.
    pub author: String,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    /// Instead of the container's configuration; null for that.
    pub config: Value,
}

/// Images.
pub trait Images {
    /// Those that fit.
    ///
    /// # Errors
    /// For a filter that is none.
    fn list_images(
        &self,
        all: bool,
        digests: bool,
        filters: &Filters,
        version: Version,
    ) -> Outcome<Vec<Value>>;

    /// All that is known of one.
    ///
    /// # Errors
    /// 404.
    fn inspect_image(&self, name: &str, version: Version) -> Outcome<Value>;

    /// How it came to be.
    ///
    /// # Errors
    /// 404.
    fn history(&self, name: &str) -> Outcome<Vec<Value>>;

    /// Fetches one.
    ///
    /// # Errors
    /// What the registry says.
    fn pull(&self, wanted: &Pull, sink: Sink<'_>) -> Outcome<()>;

    /// Makes one of an archive.
    ///
    /// # Errors
    /// What is wrong with it.
    fn import(&self, wanted: &Import, archive: Upload<'_>, sink: Sink<'_>) -> Outcome<()>;

    /// Sends one to its registry.
    ///
    /// # Errors
    /// 404; what the registry says.
    fn push(&self, name: &str, tag: &str, credentials: &Credentials, sink: Sink<'_>)
    -> Outcome<()>;

    /// Gives one a further name.
    ///
    /// # Errors
    /// 404; 400 for a name that is none.
    fn tag(&self, name: &str, repo: &str, tag: &str) -> Outcome<()>;

    /// Removes a name or an image: `Untagged` and `Deleted`.
    ///
    /// # Errors
    /// 404, also where it is for none of these platforms (each as JSON; for any where there is none);
    /// 409 where a container uses it.
    fn remove_image(
        &self,
        name: &str,
        force: bool,
        prune: bool,
        platforms: &[String],
    ) -> Outcome<Vec<Value>>;

    /// Removes those that nobody uses.
    ///
    /// # Errors
    /// For a filter that is none.
    fn prune_images(&self, filters: &Filters) -> Outcome<(Vec<Value>, u64)>;

    /// Looks for images in a registry.
    ///
    /// # Errors
    /// What the registry says.
    fn search(&self, term: &str, limit: Option<i64>, filters: &Filters) -> Outcome<Vec<Value>>;

    /// Writes images into an archive.
    ///
    /// # Errors
    /// 404, also where one is for none of these platforms (each as JSON; for any where there is none).
    fn save(&self, names: &[String], platforms: &[String]) -> Outcome<Download>;

    /// Reads images from an archive: those for these platforms (each as JSON), or all.
    ///
    /// # Errors
    /// What is wrong with it.
    fn load(
        &self,
        archive: Upload<'_>,
        quiet: bool,
        platforms: &[String],
        sink: Sink<'_>,
    ) -> Outcome<()>;

    /// Makes one of a container; gives its id.
    ///
    /// # Errors
    /// 404.
    fn commit(&self, wanted: &Commit) -> Outcome<String>;

    /// What a registry has for a name: `Descriptor` and `Platforms`.
    ///
    /// # Errors
    /// What the registry says.
    fn distribution(&self, name: &str, credentials: &Credentials) -> Outcome<Value>;
}

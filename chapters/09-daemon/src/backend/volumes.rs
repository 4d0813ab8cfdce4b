//! Volumes.

use serde_json::Value;

use super::{Filters, Outcome};
use crate::version::Version;

/// Volumes.
pub trait Volumes {
    /// Those that fit.
    ///
    /// # Errors
    /// For a filter that is none.
    fn list_volumes(&self, filters: &Filters) -> Outcome<Vec<Value>>;

    /// One.
    ///
    /// # Errors
    /// 404.
    fn inspect_volume(&self, name: &str) -> Outcome<Value>;

    /// Makes one, or gives the one that is there.
    ///
    /// # Errors
    /// 400, 409.
    fn create_volume(&self, body: &Value) -> Outcome<Value>;

    /// Removes one.
    ///
    /// # Errors
    /// 404; 409 where a container uses it.
    fn remove_volume(&self, name: &str, force: bool) -> Outcome<()>;

    /// Removes those that nobody uses; gives their names, and bytes.
    ///
    /// # Errors
    /// For a filter that is none.
    fn prune_volumes(&self, filters: &Filters, version: Version) -> Outcome<(Vec<String>, u64)>;
}

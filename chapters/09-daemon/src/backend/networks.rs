//! Networks.

use serde_json::Value;

use super::{Filters, Outcome};

/// Networks.
pub trait Networks {
    /// Those that fit.
    ///
    /// # Errors
    /// For a filter that is none.
    fn list_networks(&self, filters: &Filters) -> Outcome<Vec<Value>>;

    /// All that is known of one.
    ///
    /// # Errors
    /// 404.
    fn inspect_network(&self, name: &str, verbose: bool, scope: &str) -> Outcome<Value>;

    /// Makes one; gives its id and a warning.
    ///
    /// # Errors
    /// 409 for a name that is taken; 400, 403, 404 for what cannot be.
    fn create_network(&self, body: &Value) -> Outcome<(String, String)>;

    /// Removes one.
    ///
    /// # Errors
    /// 404; 403 for Docker's own, and where containers are on it.
    fn remove_network(&self, name: &str) -> Outcome<()>;

    /// Connects a container.
    ///
    /// # Errors
    /// 404; 403 where it cannot be.
    fn connect(&self, name: &str, body: &Value) -> Outcome<()>;

    /// Disconnects a container.
    ///
    /// # Errors
    /// 404; 403 where it is not on it.
    fn disconnect(&self, name: &str, body: &Value) -> Outcome<()>;

    /// Removes those that nobody uses; gives their names.
    ///
    /// # Errors
    /// For a filter that is none.
    fn prune_networks(&self, filters: &Filters) -> Outcome<Vec<String>>;
}

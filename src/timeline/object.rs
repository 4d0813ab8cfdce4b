//! Objects of the kernel that a container is made of.

use serde::{Deserialize, Serialize};

/// What kind of object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A process.
    Process,
    /// A namespace (namespaces(7)).
    Namespace,
    /// A mount (mount_namespaces(7)).
    Mount,
    /// A control group (cgroups(7)).
    Cgroup,
    /// A network link, an address, a route or a set of rules.
    Network,
    /// A right that was given up, or a filter.
    Security,
    /// A file that says what there is.
    File,
}

/// A change of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Of what.
    pub kind: Kind,
    /// Which: a path, a name.
    pub name: String,
    /// Whether it is there afterwards.
    pub there: bool,
}

impl Event {
    pub(super) fn made(kind: Kind, name: impl Into<String>) -> Event {
        Event { kind, name: name.into(), there: true }
    }

    pub(super) fn gone(kind: Kind, name: impl Into<String>) -> Event {
        Event { kind, name: name.into(), there: false }
    }
}

//! What a container shall be, under Docker's names.
//!
//! These types are what lies on disk in a container's `config.json`, so that `jq` shows what
//! `docker inspect` would, and what the Engine API's requests are read into. A client may leave any
//! field out, send null for it, or send fields that nobody here knows.
//!
//! ```text
//! request ──merge(image)──▶ Config ─┐
//!                                   ├─check()──▶ the same, completed, and warnings ──▶ oci::generate
//! request ──────────────▶ HostConfig┘   (Machine: what the kernel has)      └▶ supervision()
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`config`] | the portable half: program, environment, user, labels |
//! | [`host`] | the half that concerns this machine: mounts, limits, rights, namespaces |
//! | [`mount`] | an entry of `Mounts` |
//! | [`mode`] | `NetworkMode`, `IpcMode` … as checked types |
//! | [`mod@merge`] | over the image's configuration |
//! | [`check`], [`limit`] | what is refused, and what is dropped with a warning |
//! | [`security`] | `SecurityOpt` as checked type |
//! | [`mod@supervision`] | restarts, stopping, health and the log, for chapter 5 |

pub mod check;
pub mod config;
pub mod host;
pub mod limit;
pub mod merge;
pub mod mode;
pub mod mount;
pub mod null;
pub mod security;
pub mod supervision;

pub use config::{Config, Health};
pub use host::{HostConfig, LogConfig, RestartPolicy};
pub use mode::{IpcMode, NetworkMode, PidMode};
pub use mount::{Mount, MountType};

/// Declares a structure of the Engine API: names in PascalCase, and a field that is absent or null
/// has its type's default.
macro_rules! api {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* pub $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "PascalCase", default)]
        pub struct $name {
            $($(#[$field_meta])*
            #[serde(deserialize_with = "crate::engine::options::null::tolerant")]
            pub $field: $type,)*
        }
    };
}
pub(crate) use api;

#[cfg(test)]
#[path = "refusal_tests.rs"]
mod refusal_tests;
#[cfg(test)]
#[path = "tests.rs"]
mod tests;

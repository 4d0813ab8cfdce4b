//! Images from Dockerfiles: chapter 8's business.

use std::collections::BTreeMap;

use corten_builder::run::Cancel;
use serde_json::Value;

use super::{Credentials, Filters, Outcome, Sink, Upload};

/// `POST /build`, each parameter of it.
#[derive(Debug, Clone, Default)]
pub struct BuildRequest {
    /// The path of the Dockerfile in the context; `Dockerfile` where empty.
    pub dockerfile: String,
    /// Names for the image.
    pub tags: Vec<String>,
    /// A URL of the context, instead of the body.
    pub remote: String,
    /// `NAME:ADDRESS` for /etc/hosts.
    pub extra_hosts: Vec<String>,
    /// Say nothing but the id.
    pub quiet: bool,
    /// Use nothing of earlier builds.
    pub no_cache: bool,
    /// Images whose layers may be used.
    pub cache_from: Vec<String>,
    /// Fetch the base, also where it is there.
    pub pull: bool,
    /// Remove containers in between when all goes well.
    pub remove: bool,
    /// Remove them in any case.
    pub force_remove: bool,
    /// Bytes of memory.
    pub memory: i64,
    /// Bytes of memory and swap.
    pub memory_swap: i64,
    /// The share of the processors.
    pub cpu_shares: i64,
    /// `0-3`.
    pub cpuset_cpus: String,
    /// `0,1`.
    pub cpuset_mems: String,
    /// Microseconds.
    pub cpu_period: i64,
    /// Microseconds in each of these.
    pub cpu_quota: i64,
    /// Values for `ARG`; null takes none.
    pub build_args: BTreeMap<String, Option<String>>,
    /// Docker's limits of processes: `Name`, `Soft`, `Hard`.
    pub ulimits: Value,
    /// The group above those of `RUN`.
    pub cgroup_parent: String,
    /// Bytes of /dev/shm.
    pub shm_size: i64,
    /// All of it as one layer.
    pub squash: bool,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// The network of `RUN`.
    pub network: String,
    /// `os/architecture`.
    pub platform: String,
    /// The stage to end with.
    pub target: String,
    /// `1` for this builder, `2` for BuildKit.
    pub version: String,
    /// Credentials by registry (`X-Registry-Config`).
    pub credentials: BTreeMap<String, Credentials>,
    /// What steps may do that they may not otherwise. This and what follows dockerd does not have.
    pub allow: Vec<String>,
    /// What names mean instead of stages and images: `docker-image://IMAGE`, an address, or a number, which
    /// is a folder in the archive's directory [`CONTEXTS`] and no part of the context.
    pub contexts: BTreeMap<String, String>,
    /// Secrets of steps (`X-Corten-Secrets`): no log has headers, and no file.
    pub secrets: Secrets,
}

/// The directory of an archive in which further contexts come.
pub const CONTEXTS: &str = ".contexts.corten";

/// Secrets, by their ids.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secrets(pub BTreeMap<String, Vec<u8>>);

impl std::fmt::Debug for Secrets {
    /// Which there are, and no more.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Builds.
pub trait Build {
    /// Makes an image of a context; tells what it does in dockerd's lines. It ends when `cancel` says
    /// so: the client has left.
    ///
    /// # Errors
    /// What is wrong with the context, or with the request. What goes wrong later is told.
    fn build(
        &self,
        wanted: &BuildRequest,
        context: Upload<'_>,
        sink: Sink<'_>,
        cancel: &Cancel,
    ) -> Outcome<()>;

    /// Removes what is kept of earlier builds, but `keep` bytes of what was used last; gives ids and
    /// bytes.
    ///
    /// # Errors
    /// For a filter that is none.
    fn prune_builds(
        &self,
        all: bool,
        keep: Option<u64>,
        filters: &Filters,
    ) -> Outcome<(Vec<String>, u64)>;
}

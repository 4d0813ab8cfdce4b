//! The programs of others that drive the engine, and `corten` as a client of others: docker, docker-compose,
//! SDKs, dockerd, buildah. They are the host's, so none of this runs in a VM.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod bollard;
mod building;
mod compose;
mod crowd;
mod docker;
mod dockerfiles;
mod formats;
mod mask;
mod peers;
mod platforms;
mod remote;
mod sdks;
mod service;
#[path = "../support/mod.rs"]
mod support;
mod terminal;
mod versions;

//! Volumes.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::answer::{created, empty, ok};
use crate::call::{Call, blocking};
use crate::failure::{Failure, Outcome};

pub(super) async fn list(call: Call) -> Outcome<Response> {
    let filters = call.query.filters()?;
    let list = blocking(&call.daemon, move |backend| backend.list_volumes(&filters)).await?;
    Ok(ok(&json!({"Volumes": list, "Warnings": null})))
}

pub(super) async fn inspect(call: Call) -> Outcome<Response> {
    let id = call.id();
    Ok(ok(&blocking(&call.daemon, move |backend| backend.inspect_volume(&id)).await?))
}

pub(super) async fn create(call: Call) -> Outcome<Response> {
    let (call, body) = call.body().await?;
    Ok(created(&blocking(&call.daemon, move |backend| backend.create_volume(&body)).await?))
}

pub(super) async fn remove(call: Call) -> Outcome<Response> {
    let (id, force) = (call.id(), call.query.flag("force"));
    blocking(&call.daemon, move |backend| backend.remove_volume(&id, force)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn prune(call: Call) -> Outcome<Response> {
    let (filters, version) = (call.query.filters()?, call.version);
    let (names, bytes) =
        blocking(&call.daemon, move |backend| backend.prune_volumes(&filters, version)).await?;
    Ok(ok(&json!({"VolumesDeleted": names, "SpaceReclaimed": bytes})))
}

/// Volumes that can be updated are a swarm's.
pub(super) async fn no_cluster(_: Call) -> Outcome<Response> {
    Err(Failure::new(503, super::system::NO_SWARM))
}

//! Networks.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::answer::{created, empty, ok};
use crate::call::{Call, blocking};
use crate::failure::Outcome;
use crate::version::{ADDITIONS, Version};

/// The version from which on a network tells how many of its addresses are in use.
const STATUS: Version = ADDITIONS;

pub(super) async fn list(call: Call) -> Outcome<Response> {
    let filters = call.query.filters()?;
    Ok(ok(&blocking(&call.daemon, move |backend| backend.list_networks(&filters)).await?))
}

pub(super) async fn inspect(call: Call) -> Outcome<Response> {
    let (id, verbose, scope) = (call.id(), call.query.flag("verbose"), call.query.string("scope"));
    let inspect =
        move |backend: &dyn crate::backend::Backend| backend.inspect_network(&id, verbose, &scope);
    let mut own = blocking(&call.daemon, inspect).await?;
    if call.version < STATUS
        && let Some(own) = own.as_object_mut()
    {
        own.remove("Status");
    }
    Ok(ok(&own))
}

pub(super) async fn create(call: Call) -> Outcome<Response> {
    let (call, body) = call.body().await?;
    let (id, warning) =
        blocking(&call.daemon, move |backend| backend.create_network(&body)).await?;
    Ok(created(&json!({"Id": id, "Warning": warning})))
}

pub(super) async fn remove(call: Call) -> Outcome<Response> {
    let id = call.id();
    blocking(&call.daemon, move |backend| backend.remove_network(&id)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn connect(call: Call) -> Outcome<Response> {
    let id = call.id();
    let (call, body) = call.body().await?;
    blocking(&call.daemon, move |backend| backend.connect(&id, &body)).await?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn disconnect(call: Call) -> Outcome<Response> {
    let id = call.id();
    let (call, body) = call.body().await?;
    blocking(&call.daemon, move |backend| backend.disconnect(&id, &body)).await?;
    Ok(empty(StatusCode::OK))
}

pub(super) async fn prune(call: Call) -> Outcome<Response> {
    let filters = call.query.filters()?;
    let names = blocking(&call.daemon, move |backend| backend.prune_networks(&filters)).await?;
    let names = if names.is_empty() { Value::Null } else { json!(names) };
    Ok(ok(&json!({"NetworksDeleted": names})))
}

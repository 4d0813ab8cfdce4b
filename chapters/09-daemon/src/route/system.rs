//! The engine as a whole; and what it is no part of.

use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, PRAGMA};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::answer::{lines, ok};
use crate::backend::{Credentials, EventsWanted, UsageWanted};
use crate::call::{Call, blocking};
use crate::failure::{Failure, Outcome};
use crate::negotiation::Form;
use crate::version::{ADDITIONS, NEWEST, OLDEST, Version};

/// The version from which on `system df` may be asked for sums alone, or with what they are of.
const SUMS: Version = ADDITIONS;

pub(super) async fn ping(call: Call) -> Outcome<Response> {
    let is_head = call.request.method() == axum::http::Method::HEAD;
    let mut response = if is_head { "".into_response() } else { "OK".into_response() };
    let headers = response.headers_mut();
    let never = HeaderValue::from_static("no-cache, no-store, must-revalidate");
    headers.insert(CACHE_CONTROL, never);
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    // There is no BuildKit behind POST /build: 1 is the classic builder.
    headers.insert("builder-version", HeaderValue::from_static("1"));
    headers.insert("swarm", HeaderValue::from_static("inactive"));
    Ok(response)
}

pub(super) async fn info(call: Call) -> Outcome<Response> {
    let version = call.version;
    Ok(ok(&blocking(&call.daemon, move |backend| backend.info(version)).await?))
}

pub(super) async fn version(call: Call) -> Outcome<Response> {
    let mut version = blocking(&call.daemon, |backend| Ok(backend.version())).await?;
    version["ApiVersion"] = json!(NEWEST.to_string());
    version["MinAPIVersion"] = json!(OLDEST.to_string());
    let details = &mut version["Components"][0]["Details"];
    if details.is_object() {
        details["ApiVersion"] = json!(NEWEST.to_string());
        details["MinAPIVersion"] = json!(OLDEST.to_string());
    }
    Ok(ok(&version))
}

pub(super) async fn events(call: Call) -> Outcome<Response> {
    let wanted = EventsWanted {
        since: call.query.text("since").map(str::to_owned),
        until: call.query.text("until").map(str::to_owned),
        filters: call.query.filters()?,
    };
    let accept =
        call.request.headers().get_all(ACCEPT).iter().filter_map(|text| text.to_str().ok());
    let form = Form::choose(&accept.collect::<Vec<_>>().join(","), call.version);
    let events = blocking(&call.daemon, move |backend| backend.events(&wanted)).await?;
    Ok(lines(form, events))
}

pub(super) async fn disk_usage(call: Call) -> Outcome<Response> {
    let (kinds, version) = (call.query.all("type"), call.version);
    for kind in &kinds {
        if !["container", "image", "volume", "build-cache"].contains(&kind.as_str()) {
            return Err(Failure::invalid(format!("unknown object type: {kind}")));
        }
    }
    let verbose = if version < SUMS { None } else { call.query.truth("verbose")? };
    let wanted = UsageWanted { kinds, verbose };
    let usage = move |backend: &dyn crate::backend::Backend| backend.disk_usage(&wanted, version);
    Ok(ok(&blocking(&call.daemon, usage).await?))
}

pub(super) async fn auth(call: Call) -> Outcome<Response> {
    let (call, body) = call.body().await?;
    let credentials: Credentials = serde_json::from_value(body)
        .map_err(|why| Failure::invalid(format!("invalid JSON: {why}")))?;
    let token = blocking(&call.daemon, move |backend| backend.login(&credentials)).await?;
    Ok(ok(&json!({"Status": "Login Succeeded", "IdentityToken": token})))
}

/// What is said of everything that only a manager of a swarm can answer.
pub const NO_SWARM: &str = "This node is not a swarm manager. Use \"docker swarm init\" or \
    \"docker swarm join\" to connect this node to swarm and try again.";

pub(super) async fn no_swarm(_: Call) -> Outcome<Response> {
    Err(Failure::new(503, NO_SWARM))
}

pub(super) async fn not_in_a_swarm(_: Call) -> Outcome<Response> {
    Err(Failure::new(503, "This node is not part of a swarm"))
}

pub(super) async fn no_swarm_here(_: Call) -> Outcome<Response> {
    Err(Failure::absent("Corten is not a swarm: run Docker or Kubernetes with corten-runtime"))
}

/// There are no plugins, so there is none of any name.
pub(super) async fn no_plugin(call: Call) -> Outcome<Response> {
    Err(Failure::missing(format!("plugin \"{}\" not found", call.id())))
}

/// Checkpoints need an experimental daemon, which dockerd is not either unless it is told to be.
pub(super) async fn no_checkpoints(_: Call) -> Outcome<Response> {
    Err(Failure::absent(
        "This experimental feature is disabled by default. Start the Docker daemon in experimental mode \
         in order to enable it.",
    ))
}

pub(super) async fn no_plugins(_: Call) -> Outcome<Response> {
    Ok((StatusCode::OK, ok(&json!([]))).into_response())
}

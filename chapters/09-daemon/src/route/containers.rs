//! Containers: made, looked at, started, changed, removed; their files.

use axum::http::StatusCode;
use axum::http::header::{HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::answer::{changed, created, empty, ok};
use crate::backend::{Create, List, Unpack};
use crate::call::{Call, blocking};
use crate::failure::{Failure, Outcome};
use crate::version::Version;

/// The version from which on there are no limits on the kernel's memory.
const NO_KERNEL_MEMORY: Version = Version(1, 42);
/// The version from which on a container's names on a network are told apart from its aliases.
const NAMES_APART: Version = Version(1, 45);

/// The version from which on there are none on its buffers for TCP, either.
const NO_KERNEL_MEMORY_TCP: Version = Version(1, 52);
/// The version from which on a container without `OnBuild` has no such field.
const NO_EMPTY_ON_BUILD: Version = Version(1, 52);

pub(super) async fn list(call: Call) -> Outcome<Response> {
    let query = &call.query;
    let limit = query.number("limit")?.filter(|limit| *limit > 0);
    let wanted = List {
        all: query.flag("all"),
        limit: limit.and_then(|limit| usize::try_from(limit).ok()),
        size: query.flag("size"),
        filters: query.filters()?,
        version: Some(call.version),
    };
    let text = blocking(&call.daemon, move |backend| backend.list(&wanted)).await?;
    Ok(crate::answer::text(text))
}

pub(super) async fn create(call: Call) -> Outcome<Response> {
    let name = call.query.string("name");
    // A slash alone is no name.
    let name = name.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&name).to_owned();
    let platform = call.query.string("platform");
    let (call, body) = call.body().await.map_err(|failure| {
        // Of all malformed bodies dockerd calls this one its own fault.
        let is_json = failure.message.starts_with("invalid JSON");
        if is_json { Failure::internal(failure.message) } else { failure }
    })?;
    if body.is_null() {
        return Err(Failure::invalid("invalid JSON: got EOF while reading request body"));
    }
    let wanted = Create { name, platform, body, version: Some(call.version) };
    let made = blocking(&call.daemon, move |backend| backend.create(&wanted)).await?;
    Ok(created(&json!({"Id": made.id, "Warnings": made.warnings})))
}

pub(super) async fn prune(call: Call) -> Outcome<Response> {
    let filters = call.query.filters()?;
    let (ids, bytes) =
        blocking(&call.daemon, move |backend| backend.prune_containers(&filters)).await?;
    let ids = if ids.is_empty() { Value::Null } else { json!(ids) };
    Ok(ok(&json!({"ContainersDeleted": ids, "SpaceReclaimed": bytes})))
}

pub(super) async fn inspect(call: Call) -> Outcome<Response> {
    let (id, size) = (call.id(), call.query.flag("size"));
    let own = blocking(&call.daemon, move |backend| backend.inspect(&id, size)).await?;
    Ok(ok(&as_of(call.version, own)))
}

/// A container as a version shows it.
///
/// What 1.52 leaves out of `NetworkSettings` (`IPAddress`, `Gateway`, `MacAddress` …), of events
/// (`status`, `id`, `from`) and of what is taken for a container (`MacAddress`) stays: a field that
/// nobody knows hurts nobody, and one that is missing breaks scripts. They have not chosen their version
/// either: clients take the newest by themselves.
fn as_of(version: Version, mut own: Value) -> Value {
    if version < NO_KERNEL_MEMORY {
        for name in ["KernelMemory", "KernelMemoryTCP"] {
            let limit = &mut own["HostConfig"][name];
            if limit.is_null() {
                *limit = json!(0);
            }
        }
    }
    if version < NAMES_APART {
        names_among_aliases(&mut own);
    }
    if version >= NO_KERNEL_MEMORY_TCP
        && let Some(host) = own.get_mut("HostConfig").and_then(Value::as_object_mut)
    {
        host.remove("KernelMemoryTCP");
    }
    if version >= NO_EMPTY_ON_BUILD
        && let Some(config) = own.get_mut("Config").and_then(Value::as_object_mut)
    {
        let is_empty = |list: &Value| list.as_array().is_none_or(Vec::is_empty);
        if config.get("OnBuild").is_some_and(is_empty) {
            config.remove("OnBuild");
        }
    }
    own
}

/// As it was before `DNSNames`: the names that a container has anyway are among its aliases, once it has been
/// started. Of one that has not, docker-compose 1 takes them for a sign that nothing is left to be said of
/// its networks.
fn names_among_aliases(own: &mut Value) {
    if own["State"]["Status"] == "created" {
        return;
    }
    let names: Vec<Value> =
        [own["Id"].as_str().and_then(|id| id.get(..12)), own["Config"]["Hostname"].as_str()]
            .into_iter()
            .flatten()
            .map(Value::from)
            .collect();
    let Some(networks) = own["NetworkSettings"]["Networks"].as_object_mut() else { return };
    // Those networks have no names.
    let named = networks
        .iter_mut()
        .filter(|(name, _)| !["bridge", "host", "none"].contains(&name.as_str()));
    for (_, endpoint) in named {
        let mut aliases = endpoint["Aliases"].as_array().cloned().unwrap_or_default();
        for name in &names {
            if !aliases.contains(name) {
                aliases.push(name.clone());
            }
        }
        endpoint["Aliases"] = Value::Array(aliases);
    }
}

pub(super) async fn top(call: Call) -> Outcome<Response> {
    let id = call.id();
    let arguments: Vec<String> = match call.query.text("ps_args") {
        None => vec!["-ef".to_owned()],
        Some(text) => text.split_whitespace().map(str::to_owned).collect(),
    };
    let top = blocking(&call.daemon, move |backend| backend.top(&id, &arguments)).await?;
    Ok(ok(&json!({"Titles": top.titles, "Processes": top.processes})))
}

pub(super) async fn changes(call: Call) -> Outcome<Response> {
    let id = call.id();
    let changes = blocking(&call.daemon, move |backend| backend.changes(&id)).await?;
    let list: Vec<Value> =
        changes.into_iter().map(|(path, kind)| json!({"Path": path, "Kind": kind})).collect();
    Ok(ok(&if list.is_empty() { Value::Null } else { Value::Array(list) }))
}

pub(super) async fn export(call: Call) -> Outcome<Response> {
    let id = call.id();
    let download = blocking(&call.daemon, move |backend| backend.export(&id)).await?;
    let mut response = crate::answer::archive(download);
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(axum::http::header::CONTENT_TYPE, kind);
    Ok(response)
}

pub(super) async fn resize(call: Call) -> Outcome<Response> {
    let (id, (rows, columns)) = (call.id(), size(&call)?);
    blocking(&call.daemon, move |backend| backend.resize(&id, rows, columns)).await?;
    Ok(empty(StatusCode::OK))
}

/// `h` and `w`.
pub(super) fn size(call: &Call) -> Outcome<(u16, u16)> {
    let side = |name: &str| {
        let text = call.query.text(name).unwrap_or_default();
        let invalid =
            || Failure::invalid(format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
        text.parse().map_err(|_| invalid())
    };
    Ok((side("h")?, side("w")?))
}

pub(super) async fn start(call: Call) -> Outcome<Response> {
    // Long ago a host configuration came here; an empty body and an empty object are let pass.
    let id = call.id();
    let (call, body) = call.bytes().await?;
    let text = String::from_utf8_lossy(&body);
    if !matches!(text.trim(), "" | "{}" | "null") {
        return Err(Failure::invalid(
            "starting container with non-empty request body was deprecated since API v1.22 and \
             removed in v1.24",
        ));
    }
    Ok(changed(blocking(&call.daemon, move |backend| backend.start(&id)).await?))
}

/// `signal` and `t`.
fn ending(call: &Call) -> Outcome<(Option<String>, Option<i64>)> {
    Ok((call.query.text("signal").map(str::to_owned), call.query.number("t")?))
}

pub(super) async fn stop(call: Call) -> Outcome<Response> {
    let (id, (signal, timeout)) = (call.id(), ending(&call)?);
    let stop =
        move |backend: &dyn crate::backend::Backend| backend.stop(&id, signal.as_deref(), timeout);
    Ok(changed(blocking(&call.daemon, stop).await?))
}

pub(super) async fn restart(call: Call) -> Outcome<Response> {
    let (id, (signal, timeout)) = (call.id(), ending(&call)?);
    let restart = move |backend: &dyn crate::backend::Backend| {
        backend.restart(&id, signal.as_deref(), timeout)
    };
    blocking(&call.daemon, restart).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn kill(call: Call) -> Outcome<Response> {
    let (id, signal) = (call.id(), call.query.text("signal").map(str::to_owned));
    blocking(&call.daemon, move |backend| backend.kill(&id, signal.as_deref())).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn pause(call: Call) -> Outcome<Response> {
    let id = call.id();
    blocking(&call.daemon, move |backend| backend.pause(&id)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn unpause(call: Call) -> Outcome<Response> {
    let id = call.id();
    blocking(&call.daemon, move |backend| backend.unpause(&id)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn rename(call: Call) -> Outcome<Response> {
    let (id, name) = (call.id(), call.query.string("name"));
    let name = name.strip_prefix('/').unwrap_or(&name).to_owned();
    blocking(&call.daemon, move |backend| backend.rename(&id, &name)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn update(call: Call) -> Outcome<Response> {
    let id = call.id();
    let (call, body) = call.body().await?;
    let warnings = blocking(&call.daemon, move |backend| backend.update(&id, &body)).await?;
    let warnings = if warnings.is_empty() { Value::Null } else { json!(warnings) };
    Ok(ok(&json!({"Warnings": warnings})))
}

pub(super) async fn remove(call: Call) -> Outcome<Response> {
    let (id, query) = (call.id(), &call.query);
    let (force, volumes, link) = (query.flag("force"), query.flag("v"), query.flag("link"));
    blocking(&call.daemon, move |backend| backend.remove(&id, force, volumes, link)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// A link is named by its container and by its own name: `DELETE /containers/web/db?link=1`.
pub(super) async fn unlink(call: Call) -> Outcome<Response> {
    let name = format!("{}/{}", call.id(), call.name("alias"));
    if !call.query.flag("link") {
        return Err(Failure::missing(format!("No such container: {name}")));
    }
    blocking(&call.daemon, move |backend| backend.remove(&name, false, false, true)).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

/// The header in which a client is told what is at a path.
fn with_stat(mut response: Response, stat: &Value) -> Response {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(stat.to_string());
    let name = HeaderName::from_static("x-docker-container-path-stat");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(name, value);
    }
    response
}

pub(super) async fn stat_archive(call: Call) -> Outcome<Response> {
    let (id, path) = (call.id(), call.wanted("path")?);
    let stat = blocking(&call.daemon, move |backend| backend.stat_path(&id, &path)).await?;
    Ok(with_stat(StatusCode::OK.into_response(), &stat))
}

pub(super) async fn read_archive(call: Call) -> Outcome<Response> {
    let (id, path) = (call.id(), call.wanted("path")?);
    let (stat, download) =
        blocking(&call.daemon, move |backend| backend.read_path(&id, &path)).await?;
    Ok(with_stat(crate::answer::archive(download), &stat))
}

pub(super) async fn write_archive(mut call: Call) -> Outcome<Response> {
    let wanted = Unpack {
        path: call.wanted("path")?,
        no_overwrite: call.query.flag("noOverwriteDirNonDir"),
        copy_owners: call.query.flag("copyUIDGID"),
    };
    let (id, mut archive) = (call.id(), call.upload());
    let write = move |backend: &dyn crate::backend::Backend| {
        let written = backend.write_path(&id, &wanted, &mut archive);
        if written.is_err() {
            archive.drain();
        }
        written
    };
    blocking(&call.daemon, write).await?;
    Ok(empty(StatusCode::OK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_the_fields_of_its_time() {
        let own = json!({"Id": "0123456789abcdef", "Config": {"OnBuild": null, "Env": null},
            "HostConfig": {"KernelMemoryTCP": 4096}, "NetworkSettings": {"IPAddress": "10.0.0.2"}});
        let of = |minor: u16| as_of(Version(1, minor), own.clone());
        assert_eq!(of(41)["HostConfig"], json!({"KernelMemory": 0, "KernelMemoryTCP": 4096}));
        assert_eq!(of(51), own);
        for minor in [52, 53] {
            let shown = of(minor);
            assert_eq!(shown["HostConfig"], json!({}));
            assert_eq!(shown["Config"], json!({"Env": null}));
            assert_eq!(shown["NetworkSettings"]["IPAddress"], "10.0.0.2", "programs read it");
        }
        let mut with = own.clone();
        with["Config"]["OnBuild"] = json!(["RUN x"]);
        assert_eq!(as_of(Version(1, 53), with)["Config"]["OnBuild"], json!(["RUN x"]));
    }
}

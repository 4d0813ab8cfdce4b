//! Images: listed, fetched, sent, named, removed, built.

use axum::http::StatusCode;
use axum::response::Response;
use corten_builder::run::Cancel;
use serde_json::{Value, json};

use crate::answer::{Left, created, empty, ok, progress};
use crate::backend::{BuildRequest, Commit, Credentials, Import, Pull, PullSource, Secrets};
use crate::call::{Call, blocking, decoded};
use crate::failure::{Failure, Outcome};
use crate::version::Version;

/// The version from which on archives may be of a platform.
const PLATFORM: Version = Version(1, 48);
/// The version from which on they may be of several.
const SEVERAL_PLATFORMS: Version = Version(1, 52);
/// The version from which on what is removed may be of platforms.
const PLATFORMS_REMOVED: Version = Version(1, 50);

/// `platform` of an archive, each the JSON of a platform.
fn platforms(call: &Call) -> Outcome<Vec<String>> {
    let texts = call.query.all("platform");
    match texts.len() {
        _ if call.version < PLATFORM => Ok(Vec::new()),
        2.. if call.version < SEVERAL_PLATFORMS => Err(Failure::invalid(format!(
            "multiple platform parameters are not supported in this API version; use API version \
             {SEVERAL_PLATFORMS} or later"
        ))),
        _ => Ok(texts),
    }
}

pub(super) async fn list(call: Call) -> Outcome<Response> {
    let (all, digests) = (call.query.flag("all"), call.query.flag("digests"));
    let mut filters = call.query.filters()?;
    // The form of before 1.25.
    if let Some(name) = call.query.text("filter") {
        filters.entry("reference".to_owned()).or_default().push(name.to_owned());
    }
    let version = call.version;
    let list = move |backend: &dyn crate::backend::Backend| {
        backend.list_images(all, digests, &filters, version)
    };
    Ok(ok(&blocking(&call.daemon, list).await?))
}

pub(super) async fn inspect(call: Call) -> Outcome<Response> {
    let (id, version) = (call.id(), call.version);
    Ok(ok(&blocking(&call.daemon, move |backend| backend.inspect_image(&id, version)).await?))
}

pub(super) async fn history(call: Call) -> Outcome<Response> {
    let id = call.id();
    Ok(ok(&blocking(&call.daemon, move |backend| backend.history(&id)).await?))
}

pub(super) async fn create(mut call: Call) -> Outcome<Response> {
    let (query, backend) = (&call.query, call.daemon.backend());
    let source = match (query.text("fromImage"), query.text("fromSrc")) {
        (Some(image), _) => PullSource::Registry(Pull {
            image: image.to_owned(),
            tag: query.string("tag"),
            platform: query.string("platform"),
            credentials: call.credentials(),
        }),
        (None, source) => PullSource::Archive(Import {
            source: source.unwrap_or_default().to_owned(),
            repo: query.string("repo"),
            tag: query.string("tag"),
            message: query.string("message"),
            changes: query.all("changes"),
            platform: query.string("platform"),
        }),
    };
    match source {
        PullSource::Registry(wanted) => progress(move |sink| backend.pull(&wanted, sink)).await,
        PullSource::Archive(wanted) => {
            let mut archive = call.upload();
            progress(move |sink| backend.import(&wanted, &mut archive, sink)).await
        }
    }
}

pub(super) async fn push(call: Call) -> Outcome<Response> {
    let (name, tag, credentials) = (call.id(), call.query.string("tag"), call.credentials());
    let backend = call.daemon.backend();
    progress(move |sink| backend.push(&name, &tag, &credentials, sink)).await
}

pub(super) async fn tag(call: Call) -> Outcome<Response> {
    let (name, repo, tag) = (call.id(), call.query.string("repo"), call.query.string("tag"));
    blocking(&call.daemon, move |backend| backend.tag(&name, &repo, &tag)).await?;
    Ok(empty(StatusCode::CREATED))
}

pub(super) async fn remove(call: Call) -> Outcome<Response> {
    let (name, force, prune) = (call.id(), call.query.flag("force"), !call.query.flag("noprune"));
    let platforms = match call.version < PLATFORMS_REMOVED {
        true => Vec::new(),
        false => call.query.all("platforms"),
    };
    let remove = move |backend: &dyn crate::backend::Backend| {
        backend.remove_image(&name, force, prune, &platforms)
    };
    Ok(ok(&blocking(&call.daemon, remove).await?))
}

pub(super) async fn prune(call: Call) -> Outcome<Response> {
    let filters = call.query.filters()?;
    let (removed, bytes) =
        blocking(&call.daemon, move |backend| backend.prune_images(&filters)).await?;
    let removed = if removed.is_empty() { Value::Null } else { Value::Array(removed) };
    Ok(ok(&json!({"ImagesDeleted": removed, "SpaceReclaimed": bytes})))
}

pub(super) async fn search(call: Call) -> Outcome<Response> {
    let (term, limit) = (call.query.string("term"), call.query.number("limit")?);
    let filters = call.query.filters()?;
    let found =
        blocking(&call.daemon, move |backend| backend.search(&term, limit, &filters)).await?;
    Ok(ok(&found))
}

pub(super) async fn save(call: Call) -> Outcome<Response> {
    let (names, platforms) = (vec![call.id()], platforms(&call)?);
    let download = blocking(&call.daemon, move |backend| backend.save(&names, &platforms)).await?;
    Ok(crate::answer::archive(download))
}

pub(super) async fn save_many(call: Call) -> Outcome<Response> {
    // A list, by commas where it is one value.
    let names = call.query.all("names");
    let names: Vec<String> =
        names.iter().flat_map(|names| names.split(',')).map(str::to_owned).collect();
    if names.is_empty() {
        return Err(Failure::invalid("bad parameter: names is missing"));
    }
    let platforms = platforms(&call)?;
    let download = blocking(&call.daemon, move |backend| backend.save(&names, &platforms)).await?;
    Ok(crate::answer::archive(download))
}

pub(super) async fn load(mut call: Call) -> Outcome<Response> {
    let (quiet, backend) = (call.query.flag_or("quiet", true), call.daemon.backend());
    let platforms = platforms(&call)?;
    let mut archive = call.upload();
    progress(move |sink| backend.load(&mut archive, quiet, &platforms, sink)).await
}

pub(super) async fn distribution(call: Call) -> Outcome<Response> {
    let (name, credentials) = (call.id(), call.credentials());
    let found =
        blocking(&call.daemon, move |backend| backend.distribution(&name, &credentials)).await?;
    Ok(ok(&found))
}

pub(super) async fn commit(call: Call) -> Outcome<Response> {
    let query = call.query.clone();
    let (call, config) = call.body().await?;
    let wanted = Commit {
        container: query.string("container"),
        repo: query.string("repo"),
        tag: query.string("tag"),
        comment: query.string("comment"),
        author: query.string("author"),
        pause: query.flag_or("pause", true),
        changes: query.all("changes").iter().flat_map(|text| lines(text)).collect(),
        config,
    };
    let id = blocking(&call.daemon, move |backend| backend.commit(&wanted)).await?;
    Ok(created(&json!({"Id": id})))
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

pub(super) async fn build(mut call: Call) -> Outcome<Response> {
    let wanted = build_request(&call)?;
    let (mut context, backend) = (call.upload(), call.daemon.backend());
    let cancel = Cancel::new().map_err(|why| Failure::internal(why.to_string()))?;
    let left = Left::new({
        let cancel = cancel.clone();
        move || cancel.cancel()
    });
    let lines = progress(move |sink| backend.build(&wanted, &mut context, sink, &cancel)).await?;
    Ok(left.watch(lines))
}

fn build_request(call: &Call) -> Outcome<BuildRequest> {
    let query = &call.query;
    let number = |name: &str| Ok::<_, Failure>(query.number(name)?.unwrap_or(0));
    let config = call.header("x-registry-config").and_then(decoded);
    let credentials: std::collections::BTreeMap<String, Credentials> =
        config.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or_default();
    Ok(BuildRequest {
        dockerfile: query.string("dockerfile"),
        tags: query.all("t"),
        remote: query.string("remote"),
        extra_hosts: query
            .all("extrahosts")
            .iter()
            .flat_map(|text| text.split(','))
            .map(str::to_owned)
            .collect(),
        quiet: query.flag("q"),
        no_cache: query.flag("nocache"),
        cache_from: query.json("cachefrom")?,
        pull: query.flag("pull"),
        remove: query.flag_or("rm", true),
        force_remove: query.flag("forcerm"),
        memory: number("memory")?,
        memory_swap: number("memswap")?,
        cpu_shares: number("cpushares")?,
        cpuset_cpus: query.string("cpusetcpus"),
        cpuset_mems: query.string("cpusetmems"),
        cpu_period: number("cpuperiod")?,
        cpu_quota: number("cpuquota")?,
        build_args: query.json("buildargs")?,
        ulimits: query.json("ulimits")?,
        cgroup_parent: query.string("cgroupparent"),
        shm_size: number("shmsize")?,
        squash: query.flag("squash"),
        labels: query.json("labels")?,
        network: query.string("networkmode"),
        platform: query.string("platform"),
        target: query.string("target"),
        version: query.string("version"),
        credentials,
        allow: query.all("allow"),
        contexts: query.json("contexts")?,
        secrets: secrets(call)?,
    })
}

/// The secrets of a build.
fn secrets(call: &Call) -> Outcome<Secrets> {
    let Some(header) = call.header("x-corten-secrets") else { return Ok(Secrets::default()) };
    let bad = || Failure::invalid("the header X-Corten-Secrets is no JSON in base64");
    let bytes = decoded(header).ok_or_else(bad)?;
    let texts: std::collections::BTreeMap<String, String> =
        serde_json::from_slice(&bytes).map_err(|_| bad())?;
    let plain = |(id, text): (String, String)| Some((id, decoded(&text)?));
    Ok(Secrets(texts.into_iter().map(plain).collect::<Option<_>>().ok_or_else(bad)?))
}

pub(super) async fn prune_builds(call: Call) -> Outcome<Response> {
    if call.version < Version(1, 31) {
        return Err(Failure::missing("page not found"));
    }
    let (all, filters) = (call.query.flag("all"), call.query.filters()?);
    let keep = call.query.number("keep-storage")?.and_then(|bytes| u64::try_from(bytes).ok());
    let (ids, bytes) =
        blocking(&call.daemon, move |backend| backend.prune_builds(all, keep, &filters)).await?;
    let ids = if ids.is_empty() { Value::Null } else { json!(ids) };
    Ok(ok(&json!({"CachesDeleted": ids, "SpaceReclaimed": bytes})))
}

//! Builds: chapter 8's business.

use std::collections::BTreeMap;
use std::time::Duration;

use corten_builder::cache::Keep;
use corten_builder::progress::classic::Classic;
use corten_builder::run::Cancel;
use corten_daemon::backend::{Build, BuildRequest, CONTEXTS, Credentials, Filters, Sink, Upload};
use corten_daemon::{Failure, Outcome};
use corten_registry::Reference;
use serde_json::{Map, Value, json};

use super::Api;
use super::failure::registry;
use super::transfer::login;
use crate::engine::Error;
use crate::engine::build::{
    Askers, BuildOptions, Context, DockerfileSource, Secret, Staying, Steps,
};
use crate::engine::clock;

impl Build for Api {
    fn build(
        &self,
        wanted: &BuildRequest,
        context: Upload<'_>,
        sink: Sink<'_>,
        cancel: &Cancel,
    ) -> Outcome<()> {
        let options = options(wanted)?;
        let context = match wanted.remote.as_str() {
            "" | "client-session" => Context::Stream(Box::new(context)),
            address => Context::Remote(address.to_owned()),
        };
        let mut classic = Classic::new(wanted.quiet);
        // With `q`, what has happened is told of a build that fails only.
        let (mut all, mut untold) = (Classic::new(false), Vec::new());
        let mut begun = false;
        let built = self.engine().build(&options, context, cancel, &mut |event| {
            for document in classic.documents(&event) {
                begun = true;
                sink(document);
            }
            if wanted.quiet {
                untold.extend(all.documents(&event));
            }
        });
        match built {
            Ok(_) => Ok(()),
            Err(Error::Build(error)) if begun || !untold.is_empty() => {
                untold.into_iter().for_each(&mut *sink);
                sink(Classic::failure(&error));
                Ok(())
            }
            Err(Error::Build(error)) => Err(Failure::invalid(error.classic())),
            Err(error) => Err(error.into()),
        }
    }

    fn prune_builds(
        &self,
        _all: bool,
        keep: Option<u64>,
        filters: &Filters,
    ) -> Outcome<(Vec<String>, u64)> {
        let mut age = None;
        for (name, values) in filters {
            // Others are passed over: `docker system prune` sends what it has to all that it prunes.
            if let ("until" | "unused-for", [time]) = (name.as_str(), values.as_slice()) {
                age = Some(since(time)?);
            }
        }
        let pruned = self.engine().prune_builds(Keep { age, bytes: keep })?;
        Ok((pruned.removed, pruned.freed))
    }
}

/// How long ago: `24h`, or a point in time.
fn since(text: &str) -> Outcome<Duration> {
    let then = clock::point(text)?;
    let now = corten_supervisor::record::now();
    Ok(Duration::from_nanos(now.saturating_sub(then)))
}

fn options(wanted: &BuildRequest) -> Outcome<BuildOptions> {
    if wanted.squash {
        return Err(Failure::invalid("squash is only supported with experimental mode"));
    }
    if wanted.version == "2" {
        let why = "BuildKit is not supported by this daemon: set DOCKER_BUILDKIT=0";
        return Err(Failure::invalid(why));
    }
    let some = |text: &String| (!text.is_empty()).then(|| text.clone());
    let tags = wanted.tags.iter().filter(|tag| !tag.is_empty());
    let tags = tags.map(|tag| Reference::parse(tag)).collect::<Result<_, _>>().map_err(registry)?;
    let given = |(name, value): (&String, &Option<String>)| Some((name.clone(), value.clone()?));
    let mut steps = Steps {
        tags,
        arguments: wanted.build_args.iter().filter_map(given).collect(),
        target: some(&wanted.target),
        labels: wanted.labels.clone(),
        no_cache: wanted.no_cache,
        cache_from: wanted.cache_from.clone(),
        pull: wanted.pull,
        network: some(&wanted.network).unwrap_or_else(|| "default".to_owned()),
        platform: super::platform::read(&wanted.platform)?.map(|platform| platform.to_string()),
        classic: true,
        allow: wanted.allow.clone(),
        secrets: wanted
            .secrets
            .0
            .iter()
            .map(|(id, bytes)| (id.clone(), Secret::Bytes(bytes.clone())))
            .collect(),
        staying: match (wanted.remove || wanted.force_remove, wanted.force_remove) {
            (false, _) => Staying::All,
            (true, false) => Staying::Failed,
            (true, true) => Staying::Nothing,
        },
        ..Steps::default()
    };
    steps.resources.host_config = resources(wanted);
    let dockerfile = match some(&wanted.dockerfile) {
        Some(path) => DockerfileSource::Inside(path),
        None => DockerfileSource::Usual,
    };
    let askers = askers(&wanted.credentials);
    let mut options = BuildOptions { dockerfile, steps, askers, ..BuildOptions::default() };
    for (name, place) in &wanted.contexts {
        // A path would be one of this machine's.
        match place.bytes().all(|byte| byte.is_ascii_digit()) {
            true => drop(options.sent.insert(name.clone(), format!("{CONTEXTS}/{place}"))),
            false if place.contains("://") || place.starts_with("git@") => {
                options.contexts.push(format!("{name}={place}"));
            }
            false => {
                let why = "is no number, no address and no docker-image://NAME";
                return Err(Failure::invalid(format!("context {name}={place}: {why}")));
            }
        }
    }
    Ok(options)
}

/// The limits of `RUN`, as of a container.
pub(crate) fn resources(wanted: &BuildRequest) -> Map<String, Value> {
    let numbers = [
        ("Memory", wanted.memory),
        ("MemorySwap", wanted.memory_swap),
        ("CpuShares", wanted.cpu_shares),
        ("CpuPeriod", wanted.cpu_period),
        ("CpuQuota", wanted.cpu_quota),
        ("ShmSize", wanted.shm_size),
    ];
    let texts = [
        ("CpusetCpus", &wanted.cpuset_cpus),
        ("CpusetMems", &wanted.cpuset_mems),
        ("CgroupParent", &wanted.cgroup_parent),
    ];
    let numbers = numbers.into_iter().filter(|(_, number)| *number != 0);
    let texts = texts.into_iter().filter(|(_, text)| !text.is_empty());
    let mut host: Map<String, Value> = numbers
        .map(|(name, number)| (name.to_owned(), json!(number)))
        .chain(texts.map(|(name, text)| (name.to_owned(), json!(text))))
        .collect();
    host.insert("ExtraHosts".to_owned(), json!(wanted.extra_hosts));
    if wanted.ulimits.is_array() {
        host.insert("Ulimits".to_owned(), wanted.ulimits.clone());
    }
    host
}

/// The client's credentials, by the domains of references.
fn askers(given: &BTreeMap<String, Credentials>) -> Askers {
    let domain = |registry: &str| {
        let bare = registry.trim_start_matches("https://").trim_start_matches("http://");
        let host = bare.split('/').next().unwrap_or_default();
        // Older names of a registry are those of references, too.
        Some(Reference::parse(&format!("{host}/image")).ok()?.domain().to_owned())
    };
    let known =
        |(registry, given): (&String, &Credentials)| Some((domain(registry)?, login(given)?));
    Askers::Client(given.iter().filter_map(known).collect())
}

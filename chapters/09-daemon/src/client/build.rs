//! Builds of a daemon elsewhere.

use base64::Engine as _;
use corten_builder::run::Cancel;
use serde_json::{Map, Value, json};

use super::http::Request;
use super::{Remote, encode, freed, progress, shown, texts};
use crate::backend::{Build, BuildRequest, Filters, Sink, Upload};
use crate::failure::{Failure, Outcome};

fn request(wanted: &BuildRequest) -> Request {
    let mut request = Request::post(&["build"]);
    for tag in &wanted.tags {
        request = request.with("t", tag);
    }
    let texts = [
        ("dockerfile", &wanted.dockerfile),
        ("remote", &wanted.remote),
        ("cpusetcpus", &wanted.cpuset_cpus),
        ("cpusetmems", &wanted.cpuset_mems),
        ("cgroupparent", &wanted.cgroup_parent),
        ("networkmode", &wanted.network),
        ("platform", &wanted.platform),
        ("target", &wanted.target),
        ("version", &wanted.version),
    ];
    request = texts.into_iter().fold(request, |request, (name, text)| request.with(name, text));
    request = request.with("extrahosts", &wanted.extra_hosts.join(","));
    let numbers = [
        ("memory", wanted.memory),
        ("memswap", wanted.memory_swap),
        ("cpushares", wanted.cpu_shares),
        ("cpuperiod", wanted.cpu_period),
        ("cpuquota", wanted.cpu_quota),
        ("shmsize", wanted.shm_size),
    ];
    for (name, number) in numbers {
        request = request.number(name, Some(number).filter(|number| *number != 0));
    }
    let flags = [
        ("q", wanted.quiet),
        ("nocache", wanted.no_cache),
        ("pull", wanted.pull),
        ("forcerm", wanted.force_remove),
        ("squash", wanted.squash),
    ];
    request = flags.into_iter().fold(request, |request, (name, flag)| request.flag(name, flag));
    let documents = [
        ("buildargs", json!(wanted.build_args)),
        ("labels", json!(wanted.labels)),
        ("cachefrom", json!(wanted.cache_from)),
        ("ulimits", wanted.ulimits.clone()),
    ];
    for (name, document) in documents {
        let is_empty = match &document {
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            _ => true,
        };
        if !is_empty {
            request = request.with(name, &document.to_string());
        }
    }
    let known: Map<String, Value> =
        wanted.credentials.iter().map(|(name, given)| (name.clone(), shown(given))).collect();
    request = wanted.allow.iter().fold(request, |request, right| request.with("allow", right));
    if !wanted.contexts.is_empty() {
        request = request.with("contexts", &json!(wanted.contexts).to_string());
    }
    if !wanted.secrets.0.is_empty() {
        let hidden = |(id, bytes): (&String, &Vec<u8>)| {
            (id.clone(), Value::from(base64::engine::general_purpose::URL_SAFE.encode(bytes)))
        };
        let all: Map<String, Value> = wanted.secrets.0.iter().map(hidden).collect();
        request = request.header("X-Corten-Secrets", encode(&Value::Object(all)));
    }
    request
        .with("rm", if wanted.remove { "1" } else { "0" })
        .header("Content-Type", "application/x-tar".to_owned())
        .header("X-Registry-Config", encode(&Value::Object(known)))
}

impl Build for Remote {
    /// `cancel` is looked at from line to line; a connection that ends is heard at once over there.
    fn build(
        &self,
        wanted: &BuildRequest,
        context: Upload<'_>,
        sink: Sink<'_>,
        cancel: &Cancel,
    ) -> Outcome<()> {
        let mut told = |line: Value| {
            if !cancel.is_cancelled() {
                sink(line);
            }
        };
        let request = request(wanted);
        let done = match wanted.remote.as_str() {
            "" => self.send(request, context, |answer| progress(answer.body, &mut told)),
            _ => progress(self.ask(request)?.body, &mut told),
        };
        match cancel.is_cancelled() {
            true => Err(Failure::internal("the build was cancelled")),
            false => done,
        }
    }

    fn prune_builds(
        &self,
        all: bool,
        keep: Option<u64>,
        filters: &Filters,
    ) -> Outcome<(Vec<String>, u64)> {
        let request = Request::post(&["build", "prune"]);
        let request = request.flag("all", all).number("keep-storage", keep).filters(filters);
        let told = self.value(request)?;
        Ok((texts(&told["CachesDeleted"]), freed(&told)))
    }
}

//! Images of a daemon elsewhere.

use serde_json::Value;

use super::http::Request;
use super::{Remote, credentials, download, freed, list, progress};
use crate::backend::{Commit, Credentials, Download, Filters, Images, Import, Pull, Sink, Upload};
use crate::failure::{Failure, Outcome};
use crate::version::Version;

const AUTH: &str = "X-Registry-Auth";

/// The version from which on archives may be of platforms. Older daemons pass over the parameter.
const PLATFORMS: Version = Version(1, 48);

impl Remote {
    fn knows_platforms(&self, wanted: &[String]) -> Outcome<()> {
        if wanted.is_empty() || self.version >= PLATFORMS {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "archives of a platform need API version {PLATFORMS}; the daemon's is {}",
            self.version
        )))
    }
}

impl Images for Remote {
    /// The version is the one that was agreed on.
    fn list_images(
        &self,
        all: bool,
        digests: bool,
        filters: &Filters,
        _: Version,
    ) -> Outcome<Vec<Value>> {
        let request = Request::get(&["images", "json"]);
        list(self.value(request.flag("all", all).flag("digests", digests).filters(filters))?)
    }

    fn inspect_image(&self, name: &str, _: Version) -> Outcome<Value> {
        self.value(Request::get(&["images", name, "json"]))
    }

    fn history(&self, name: &str) -> Outcome<Vec<Value>> {
        list(self.value(Request::get(&["images", name, "history"]))?)
    }

    fn pull(&self, wanted: &Pull, sink: Sink<'_>) -> Outcome<()> {
        let request = Request::post(&["images", "create"])
            .with("fromImage", &wanted.image)
            .with("tag", &wanted.tag)
            .with("platform", &wanted.platform)
            .header(AUTH, credentials(&wanted.credentials));
        progress(self.ask(request)?.body, sink)
    }

    fn import(&self, wanted: &Import, archive: Upload<'_>, sink: Sink<'_>) -> Outcome<()> {
        let mut request = Request::post(&["images", "create"])
            .with("fromSrc", &wanted.source)
            .with("repo", &wanted.repo)
            .with("tag", &wanted.tag)
            .with("message", &wanted.message)
            .with("platform", &wanted.platform);
        for change in &wanted.changes {
            request = request.with("changes", change);
        }
        if wanted.source != "-" {
            return progress(self.ask(request)?.body, sink);
        }
        let request = request.header("Content-Type", "application/x-tar".to_owned());
        self.send(request, archive, |answer| progress(answer.body, sink))
    }

    fn push(&self, name: &str, tag: &str, given: &Credentials, sink: Sink<'_>) -> Outcome<()> {
        let request = Request::post(&["images", name, "push"]).with("tag", tag);
        progress(self.ask(request.header(AUTH, credentials(given)))?.body, sink)
    }

    fn tag(&self, name: &str, repo: &str, tag: &str) -> Outcome<()> {
        let request = Request::post(&["images", name, "tag"]).with("repo", repo).with("tag", tag);
        self.done(request).map(drop)
    }

    fn remove_image(
        &self,
        name: &str,
        force: bool,
        prune: bool,
        platforms: &[String],
    ) -> Outcome<Vec<Value>> {
        let request = Request::delete(&["images", name]).each("platforms", platforms);
        list(self.value(request.flag("force", force).flag("noprune", !prune))?)
    }

    fn prune_images(&self, filters: &Filters) -> Outcome<(Vec<Value>, u64)> {
        let mut told = self.value(Request::post(&["images", "prune"]).filters(filters))?;
        let bytes = freed(&told);
        Ok((list(told["ImagesDeleted"].take())?, bytes))
    }

    fn search(&self, term: &str, limit: Option<i64>, filters: &Filters) -> Outcome<Vec<Value>> {
        let request = Request::get(&["images", "search"]).with("term", term);
        list(self.value(request.number("limit", limit).filters(filters))?)
    }

    fn save(&self, names: &[String], platforms: &[String]) -> Outcome<Download> {
        self.knows_platforms(platforms)?;
        let request = Request::get(&["images", "get"]).each("names", names);
        let request = request.each("platform", platforms);
        Ok(download(self.ask(request)?.body))
    }

    fn load(
        &self,
        archive: Upload<'_>,
        quiet: bool,
        platforms: &[String],
        sink: Sink<'_>,
    ) -> Outcome<()> {
        self.knows_platforms(platforms)?;
        let request = Request::post(&["images", "load"])
            .each("platform", platforms)
            .with("quiet", if quiet { "1" } else { "0" })
            .header("Content-Type", "application/x-tar".to_owned());
        self.send(request, archive, |answer| progress(answer.body, sink))
    }

    fn commit(&self, wanted: &Commit) -> Outcome<String> {
        let mut request = Request::post(&["commit"])
            .with("container", &wanted.container)
            .with("repo", &wanted.repo)
            .with("tag", &wanted.tag)
            .with("comment", &wanted.comment)
            .with("author", &wanted.author)
            .with("pause", if wanted.pause { "1" } else { "0" });
        for change in &wanted.changes {
            request = request.with("changes", change);
        }
        let made = self.value(request.json(&wanted.config))?;
        Ok(made["Id"].as_str().unwrap_or_default().to_owned())
    }

    fn distribution(&self, name: &str, given: &Credentials) -> Outcome<Value> {
        let request = Request::get(&["distribution", name, "json"]);
        self.value(request.header(AUTH, credentials(given)))
    }
}

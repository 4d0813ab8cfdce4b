//! All that is known of a container or an image, as `docker inspect` shows it.

use corten_registry::{Image, Reference};
use serde_json::{Value, json};

use super::error::Result;
use super::image::chain;
use super::networks::links;
use super::oci::{self, files::FILES};
use super::options::Config;
use super::record::Record;
use super::view::View;
use super::{Engine, clock, shape};

impl Engine {
    /// How an image came to be, as `GET /images/NAME/history` tells it: the latest step first.
    ///
    /// # Errors
    /// Where a layer's digest is none that can be unpacked.
    pub fn history(&self, image: &Image) -> Result<Vec<Value>> {
        let sizes: Vec<u64> =
            chain(image)?.iter().map(|id| self.layers_size(std::slice::from_ref(id))).collect();
        let mut sizes = sizes.into_iter().rev();
        let rows = image.history().into_iter().map(|step| {
            let size = step.layer.as_ref().and_then(|_| sizes.next()).unwrap_or(0);
            let created = step.created.as_deref().map_or(0, clock::seconds);
            json!({"Id": "<missing>", "Created": created, "CreatedBy": step.created_by,
                "Tags": null, "Size": size, "Comment": step.comment})
        });
        let mut rows: Vec<Value> = rows.collect();
        if let Some(first) = rows.first_mut() {
            first["Id"] = json!(image.id.to_string());
            let tags: Vec<String> = image.tags().map(Reference::familiar).collect();
            if !tags.is_empty() {
                first["Tags"] = json!(tags);
            }
        }
        Ok(rows)
    }

    /// A container under Docker's names; `with_sizes`, how many bytes it has written, and what is below, too.
    ///
    /// # Errors
    /// [`super::Error::NoSuchContainer`]; where its files cannot be read.
    pub fn inspect(&self, name_or_id: &str, with_sizes: bool) -> Result<Value> {
        let view = self.view(name_or_id)?;
        let (record, directory) = (&view.record, self.containers.directory_of(&view.record.id));
        let command = record.config.command();
        let (path, args) = command.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let at = |name: &str| directory.join(name).display().to_string();
        // A run that goes on has no end, and the one before it had.
        let before = match view.finished() {
            0 => self.containers.ended_before(&record.id)?,
            _ => None,
        };
        let ended = before.unwrap_or_else(|| clock::at(view.finished()));
        let mut own = json!({
            "Id": record.id,
            "Created": record.created,
            "Path": path,
            "Args": args,
            "State": state(&view, &ended),
            "Image": record.image_id,
            "LogPath": super::life::log_path(&directory, record),
            "Name": format!("/{}", record.shown_name()),
            "RestartCount": restarts(&view),
            "Driver": self.layers.driver().name(),
            "Platform": "linux",
            "MountLabel": "",
            "ProcessLabel": "",
            "AppArmorProfile": "",
            "ExecIDs": null,
            "HostConfig": record.host_config,
            "GraphDriver": shape::graph_driver(self.driver_name(), &at("upper"), &at("work")),
            "Mounts": shape::mounts(record),
            "Config": record.config,
        });
        own["NetworkSettings"] = self.network_settings(&view)?;
        for (name, field) in [
            ("resolv.conf", "ResolvConfPath"),
            ("hostname", "HostnamePath"),
            ("hosts", "HostsPath"),
        ] {
            debug_assert!(FILES.iter().any(|(known, _)| *known == name));
            own[field] = json!(directory.join(name));
        }
        if let Ok(Some((hostname, domainname))) = self.names_of_network(record) {
            own["Config"]["Hostname"] = json!(hostname);
            own["Config"]["Domainname"] = json!(domainname);
        } else if record.config.hostname.is_empty() {
            own["Config"]["Hostname"] = json!(record.short());
        }
        if !record.host_config.links.is_empty() {
            own["HostConfig"]["Links"] = json!(self.shown_links(record));
        }
        if with_sizes {
            let (written, below) = self.sizes(record);
            own["SizeRw"] = json!(written);
            own["SizeRootFs"] = json!(written + below);
        }
        Ok(shape::container(own, oci::hidden(&record.host_config)?))
    }

    /// Links with the names that dockerd's have: of the other, and of this one's own for it.
    fn shown_links(&self, record: &Record) -> Vec<String> {
        let shown = |(target, alias): (&str, &str)| {
            let other = self.other_end(target).map(|(other, _)| other.shown_name().to_owned());
            let other = other.unwrap_or_else(|_| target.to_owned());
            format!("/{other}:/{}/{alias}", record.shown_name())
        };
        links::of(&record.host_config).into_iter().map(shown).collect()
    }

    /// An image under Docker's names.
    ///
    /// # Errors
    /// Where the store cannot be read, or the image's configuration has types that no configuration has.
    pub fn inspect_image(&self, image: &Image) -> Result<Value> {
        let raw: Value = serde_json::from_slice(image.config.raw()).unwrap_or_default();
        let digests: Vec<String> = image.repo_digests.iter().map(Reference::familiar).collect();
        let names: Vec<String> = image.tags().map(Reference::familiar).collect();
        let text = |name: &str| raw[name].as_str().unwrap_or_default();
        let last = raw["history"].as_array().and_then(|history| history.last());
        let comment = last.and_then(|step| step["comment"].as_str()).unwrap_or_default();
        let mut own = json!({
            "Id": image.id.to_string(),
            "RepoTags": names,
            "RepoDigests": digests,
            "Parent": "",
            "Container": text("container"),
            "Comment": comment,
            "Created": raw["created"].as_str().unwrap_or("0001-01-01T00:00:00Z"),
            "DockerVersion": text("docker_version"),
            "Author": text("author"),
            "Config": shape::image_config(json!(Config::of_image(image)?)),
            "Architecture": text("architecture"),
            "Os": text("os"),
            "Size": self.layers_size(&chain(image)?),
            "GraphDriver": shape::graph_driver(self.driver_name(), "", ""),
            "RootFS": {"Type": "layers", "Layers": raw["rootfs"]["diff_ids"]},
            "Metadata": {"LastTagTime": "0001-01-01T00:00:00Z"},
        });
        if !text("variant").is_empty() {
            own["Variant"] = json!(text("variant"));
        }
        Ok(own)
    }
}

/// How often its supervisor has restarted it: as it says now, or said at the end.
fn restarts(view: &View) -> u32 {
    let of_end = || view.exit.as_ref().map_or(0, |exit| exit.restarts);
    view.status.as_ref().map_or_else(of_end, |status| status.restarts)
}

fn state(view: &View, ended: &str) -> Value {
    let word = view.word();
    let runs = ["running", "paused", "restarting"].contains(&word);
    let status = view.status.as_ref();
    let exit = view.exit.as_ref();
    let error = match &view.state {
        super::record::State::Exited { error, .. } => error.clone(),
        _ => exit.and_then(|exit| exit.error.clone()),
    };
    let mut state = json!({
        "Status": word,
        // One that is frozen runs, and so does one that is between two runs.
        "Running": runs,
        "Paused": word == "paused",
        "Restarting": word == "restarting",
        "OOMKilled": exit.is_some_and(|exit| exit.oom_killed),
        "Dead": false,
        "Pid": status.map_or(0, |status| status.pid),
        "ExitCode": view.exit_code(),
        "Error": error.unwrap_or_default(),
        "StartedAt": clock::at(view.started()),
        "FinishedAt": ended,
    });
    if let Some(report) = status.and_then(|status| status.health.as_ref()) {
        let log = report.probes.iter().map(|probe| {
            json!({"Start": clock::at(probe.start), "End": clock::at(probe.end),
                "ExitCode": probe.status, "Output": probe.output})
        });
        state["Health"] = json!({"Status": view.health(), "FailingStreak": report.failing,
            "Log": log.collect::<Vec<_>>()});
    }
    state
}

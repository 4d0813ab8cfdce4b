//! All that is known of a container, as `docker inspect` shows it.

use serde_json::{Value, json};

use super::error::Result;
use super::oci::files::FILES;
use super::view::View;
use super::{Engine, clock};

impl Engine {
    /// A container under Docker's names.
    ///
    /// # Errors
    /// [`super::Error::NoSuchContainer`]; where its files cannot be read.
    pub fn inspect(&self, name_or_id: &str) -> Result<Value> {
        let view = self.view(name_or_id)?;
        let (record, directory) = (&view.record, self.containers.directory_of(&view.record.id));
        let command = record.config.command();
        let (path, args) = command.split_first().map_or(("", &[][..]), |(p, a)| (p.as_str(), a));
        let mut own = json!({
            "Id": record.id,
            "Created": record.created,
            "Path": path,
            "Args": args,
            "State": state(&view),
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
            "GraphDriver": {
                "Name": self.layers.driver().name(),
                "Data": {"UpperDir": directory.join("upper"), "WorkDir": directory.join("work")},
            },
            "Mounts": record.mount_points.iter().map(|point| json!({
                "Type": point.kind, "Name": point.name, "Source": point.source,
                "Destination": point.destination, "Driver": point.driver, "Mode": point.mode,
                "RW": point.writable, "Propagation": point.propagation,
            })).collect::<Vec<_>>(),
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
        Ok(own)
    }
}

/// How often its supervisor has restarted it: as it says now, or said at the end.
fn restarts(view: &View) -> u32 {
    let of_end = || view.exit.as_ref().map_or(0, |exit| exit.restarts);
    view.status.as_ref().map_or_else(of_end, |status| status.restarts)
}

fn state(view: &View) -> Value {
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
        "FinishedAt": clock::at(view.finished()),
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

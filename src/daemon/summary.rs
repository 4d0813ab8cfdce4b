//! `GET /containers/json`.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use corten_daemon::backend::List;
use corten_daemon::version::{ADDITIONS, Version};
use corten_daemon::{Failure, Outcome};
use serde::Serialize;
use serde_json::{Value, json};

use super::Api;
use super::watch::pairs;
use crate::engine::clock::seconds;
use crate::engine::filter::{no_truth, truth};
use crate::engine::options::NetworkMode;
use crate::engine::view::View;

/// The version from which on a line tells of health, and not only its text.
const HEALTH: Version = ADDITIONS;

/// What a container's health check has found, in its line.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Health {
    status: &'static str,
    failing_streak: u32,
}

/// Where the version has that.
pub(super) fn health(view: &View, version: Option<Version>) -> Option<Health> {
    version.filter(|version| *version >= HEALTH)?;
    let report = view.status.as_ref().and_then(|status| status.health.as_ref());
    Some(Health {
        status: view.health(),
        failing_streak: report.map_or(0, |report| report.failing),
    })
}

impl Api {
    pub(super) fn summaries(&self, wanted: &List) -> Outcome<Vec<Value>> {
        let mut filters = wanted.filters.clone();
        // Of swarms and Windows: nothing here is a task or has another isolation.
        for text in filters.remove("is-task").unwrap_or_default() {
            if truth(&text).ok_or_else(|| no_truth("is-task", &text))? {
                return Ok(Vec::new());
            }
        }
        filters.remove("isolation");
        let mut ports = |name| {
            let texts = filters.remove(name);
            let read = |texts: Vec<String>| {
                texts.iter().map(|text| Ports::read(name, text)).collect::<Outcome<Vec<_>>>()
            };
            texts.map(read).transpose()
        };
        let (expose, publish) = (ports("expose")?, ports("publish")?);
        let all = wanted.all || wanted.limit.is_some();
        let mut views = self.engine().views(all, &pairs(&filters))?;
        if expose.is_some() || publish.is_some() {
            views.retain(|view| {
                let ports = self.ports(view);
                fits(&ports, expose.as_deref(), "PrivatePort")
                    && fits(&ports, publish.as_deref(), "PublicPort")
            });
        }
        views.truncate(wanted.limit.unwrap_or(usize::MAX));
        let mut images = HashMap::new();
        let rows = views.iter().map(|view| self.summary(view, wanted, &mut images));
        rows.collect()
    }

    pub(super) fn summary(
        &self,
        view: &View,
        wanted: &List,
        images: &mut HashMap<String, Option<String>>,
    ) -> Outcome<Value> {
        let record = &view.record;
        let networks = self.engine().network_settings(view)?["Networks"].take();
        let mut row = json!({
            "Id": record.id,
            "Names": [format!("/{}", record.shown_name())],
            "Image": self.image_name(record, images),
            "ImageID": record.image_id,
            "Command": command(&record.config.command()),
            "Created": seconds(&record.created),
            "Ports": self.ports(view),
            "Labels": record.config.labels,
            "State": view.word(),
            "Status": view.line(),
            "HostConfig": {"NetworkMode": mode(&record.host_config)},
            "NetworkSettings": {"Networks": networks},
            "Mounts": crate::engine::shape::mounts(record),
        });
        if let Some(found) = health(view, wanted.version) {
            row["Health"] = json!(found);
        }
        if wanted.size {
            let (own, below) = self.engine().sizes(record);
            row["SizeRw"] = json!(own);
            row["SizeRootFs"] = json!(own + below);
        }
        Ok(row)
    }

    /// The name by which it was asked for; the id, where that is another image's by now.
    fn image_name(
        &self,
        record: &crate::engine::record::Record,
        images: &mut HashMap<String, Option<String>>,
    ) -> String {
        let name = &record.config.image;
        let known = images.entry(name.clone()).or_insert_with(|| {
            self.engine().store().image(name).ok().map(|image| image.id.to_string())
        });
        match known {
            Some(id) if *id == record.image_id => name.clone(),
            _ => record.image_id.clone(),
        }
    }

    /// What it serves, and where that is published.
    fn ports(&self, view: &View) -> Vec<Value> {
        if view.status.is_none() {
            return Vec::new();
        }
        let endpoints = self.engine().endpoints(&view.record).unwrap_or_default();
        let published = endpoints.iter().flat_map(|endpoint| &endpoint.ports);
        let mut all: Vec<Value> = published
            .map(|port| {
                json!({"IP": port.host, "PrivatePort": port.container_port,
                    "PublicPort": port.host_port, "Type": port.protocol.to_string()})
            })
            .collect();
        for exposed in view.record.config.exposed_ports.keys() {
            let (number, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
            let Ok(number) = number.parse::<u16>() else { continue };
            let is_it = |port: &Value| port["PrivatePort"] == number && port["Type"] == protocol;
            if !all.iter().any(is_it) {
                all.push(json!({"PrivatePort": number, "Type": protocol}));
            }
        }
        all
    }
}

/// Ports that a filter wants: `80`, `80/tcp`, `80-90/tcp`.
struct Ports {
    numbers: RangeInclusive<u16>,
    protocol: String,
}

impl Ports {
    fn read(filter: &str, text: &str) -> Outcome<Ports> {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |port: &str| {
            let wrong = format!("strconv.ParseUint: parsing {port:?}: invalid syntax");
            let why = format!("error while looking up for {filter} {text}: {wrong}");
            port.parse().map_err(|_| Failure::invalid(why))
        };
        let (first, last) = (number(first)?, number(last)?);
        Ok(Ports { numbers: first..=last, protocol: protocol.to_owned() })
    }
}

/// Whether a container has one of these ports.
fn fits(ports: &[Value], wanted: Option<&[Ports]>, side: &str) -> bool {
    let Some(wanted) = wanted else { return true };
    wanted.iter().any(|wanted| {
        ports.iter().any(|port| {
            let number = port[side].as_u64().and_then(|number| u16::try_from(number).ok());
            number.is_some_and(|number| wanted.numbers.contains(&number))
                && port["Type"] == wanted.protocol
        })
    })
}

/// As dockerd writes it: words with spaces in quotes, but for the program.
fn command(words: &[String]) -> String {
    let shown = words.iter().enumerate().map(|(at, word)| {
        if at > 0 && word.contains(' ') { format!("'{word}'") } else { word.clone() }
    });
    shown.collect::<Vec<_>>().join(" ")
}

fn mode(host: &crate::engine::options::HostConfig) -> String {
    match (host.network_mode.as_str(), host.network()) {
        ("", Ok(NetworkMode::Network(name))) => name,
        (text, _) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_with_spaces_are_quoted_as_dockerd_does() {
        let words = ["sh", "-c", "sleep 1"].map(str::to_owned);
        assert_eq!(command(&words), "sh -c 'sleep 1'");
    }

    #[test]
    fn ports_fit_by_number_range_and_protocol() {
        let ports = [json!({"PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"})];
        let wanted = |text: &str| vec![Ports::read("publish", text).unwrap()];
        assert!(fits(&ports, Some(&wanted("80")), "PrivatePort"));
        assert!(fits(&ports, Some(&wanted("8000-8100/tcp")), "PublicPort"));
        assert!(!fits(&ports, Some(&wanted("80/udp")), "PrivatePort"));
        assert!(fits(&ports, None, "PrivatePort"));
        for text in ["x", "", "1-", "99999"] {
            assert!(Ports::read("publish", text).is_err(), "{text}");
        }
    }
}

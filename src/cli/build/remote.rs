//! `corten build` by a daemon elsewhere: the context is sent, its lines are printed.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::Path;

use corten_daemon::backend::{Backend, BuildRequest};
use corten_namespaces::error::Context as _;
use serde_json::{Value, json};

use super::{Build, Progress, pairs};
use crate::cli::print;
use crate::cli::remote::{every_credential, text};
use crate::engine::build::{Cancel, DockerfileSource, Packed, Staying};
use crate::engine::copy::piped;
use crate::engine::{Error, Result};

impl Build {
    pub(in crate::cli) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        self.only_classic()?;
        let mut request = self.request()?;
        // Whoever ends us ends the connection, which the daemon hears: there is nothing to put in order.
        let cancel = Cancel::new()?;
        let mut shown = Lines { raw: self.progress == Progress::Rawjson, ..Lines::default() };
        shown.silent = self.quiet || self.progress == Progress::Quiet;
        let mut build = |request: &BuildRequest, context: &mut (dyn Read + Send)| {
            Ok(engine.build(request, context, &mut |line| shown.show(&line), &cancel)?)
        };
        let path = Path::new(&self.context);
        if self.context == "-" {
            build(&request, &mut std::io::stdin())?;
        } else if path.is_dir() {
            let packed = Packed::new(path, &self.dockerfile()?)?;
            request.dockerfile.clone_from(&packed.dockerfile);
            piped(|to| packed.write(to), |mut from| build(&request, &mut from))?;
        } else if self.context.contains("://") || self.context.starts_with("git@") {
            request.remote.clone_from(&self.context);
            build(&request, &mut std::io::empty())?;
        } else if path.is_file() {
            build(&request, &mut File::open(path).on("open", path)?)?;
        } else {
            let why = "is no folder, no archive and no address";
            return Err(Error::invalid(format!("the context {}", self.context), why));
        }
        let id = shown.id;
        if let Some(path) = &self.iidfile {
            std::fs::write(path, &id).on("write", path)?;
        }
        if let Some(path) = &self.metadata_file {
            let text = json!({
                "containerimage.config.digest": id, "image.name": self.tags.join(","),
            });
            std::fs::write(path, format!("{text:#}\n")).on("write", path)?;
        }
        if shown.raw { Ok(()) } else { print(&format!("{id}\n")) }
    }

    /// What a classic builder does not have.
    fn only_classic(&self) -> Result<()> {
        let others = [
            ("--build-context", !self.contexts.is_empty()),
            ("--output", !self.outputs.is_empty()),
            ("--secret", !self.secrets.is_empty()),
            ("--ssh", !self.agents.is_empty()),
            ("--allow", !self.allow.is_empty()),
            ("--explain", self.explain),
            ("--provenance-file", self.provenance_file.is_some()),
            ("--cache-limit", self.cache_limit.is_some()),
        ];
        match others.iter().find(|(_, given)| *given) {
            Some((option, _)) => {
                let why = "is for this machine\'s builder only: leave it out, or leave out -H";
                Err(Error::invalid(*option, why))
            }
            None => Ok(()),
        }
    }

    fn request(&self) -> Result<BuildRequest> {
        let host = self.resources()?;
        let number = |name: &str| host.get(name).and_then(Value::as_i64).unwrap_or(0);
        let build_args = self.arguments.iter().map(|argument| match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument.clone(), std::env::var(argument).ok()),
        });
        let dockerfile = match self.dockerfile()? {
            DockerfileSource::Inside(path) => path,
            _ => String::new(),
        };
        Ok(BuildRequest {
            dockerfile,
            tags: self.tags.clone(),
            extra_hosts: self.hosts.clone(),
            quiet: self.quiet,
            no_cache: self.no_cache,
            cache_from: self.cache_from.clone(),
            pull: self.pull,
            remove: self.staying() != Staying::All,
            force_remove: self.staying() == Staying::Nothing,
            memory: number("Memory"),
            shm_size: number("ShmSize"),
            build_args: build_args.collect(),
            ulimits: host.get("Ulimits").cloned().unwrap_or_default(),
            cgroup_parent: self.cgroup_parent.clone(),
            labels: pairs(&self.labels, |_| Some(String::new())),
            network: self.network.clone(),
            platform: self.platform.clone().unwrap_or_default(),
            target: self.target.clone().unwrap_or_default(),
            version: "1".to_owned(),
            credentials: every_credential()?,
            ..BuildRequest::default()
        })
    }
}

/// What a builder elsewhere tells.
#[derive(Default)]
struct Lines {
    silent: bool,
    raw: bool,
    /// The image, once it is there.
    id: String,
}

impl Lines {
    fn show(&mut self, line: &Value) {
        if let Some(id) = line["aux"]["ID"].as_str() {
            self.id = id.to_owned();
        }
        let told = line["stream"].as_str();
        if let Some(id) = told.map(str::trim).filter(|text| text.starts_with("sha256:")) {
            // With -q that is all.
            self.id = id.to_owned();
        }
        if self.raw {
            // A progress that nobody can see is no reason to stop.
            let _ = print(&format!("{line}\r\n"));
        } else if !self.silent {
            let status = || match (text(line, "id"), text(line, "status")) {
                (_, "") => String::new(),
                ("", status) => format!("{status}\n"),
                (id, status) => format!("{id}: {status}\n"),
            };
            let moves = line["progressDetail"]["current"].is_number();
            let shown = told.map_or_else(status, str::to_owned);
            if !moves {
                let _ = write!(std::io::stderr(), "{shown}");
            }
        }
    }
}

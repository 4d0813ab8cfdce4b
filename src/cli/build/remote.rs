//! `corten build` by a daemon elsewhere: the context is sent, its lines are printed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use corten_daemon::backend::{Backend, BuildRequest, CONTEXTS, Create, Download, Secrets};
use corten_namespaces::Root;
use corten_namespaces::error::Context as _;
use corten_registry::notice::Notice;
use corten_unionfs::extract::{Extract, extract};
use serde_json::{Value, json};

use super::{Build, Progress, pairs};
use crate::cli::print;
use crate::cli::remote::every_credential;
use crate::cli::{Error, Result};
use crate::engine;
use crate::engine::build::output::{Output, OutputKind};
use crate::engine::build::{Cancel, DockerfileSource, Packed, Secret, Staying};
use crate::engine::copy::piped;

impl Build {
    pub(in crate::cli) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        self.check(engine)?;
        let mut request = self.request()?;
        let outputs: Vec<Output> =
            self.outputs.iter().map(|text| Output::parse(text)).collect::<engine::Result<_>>()?;
        let folders = self.further(&mut request)?;
        // Whoever ends us ends the connection, which the daemon hears: there is nothing to put in order.
        let cancel = Cancel::new()?;
        let mut shown = Lines { raw: self.progress == Progress::Rawjson, ..Lines::default() };
        shown.silent = self.quiet || self.progress == Progress::Quiet;
        let mut build = |request: &BuildRequest, context: &mut (dyn Read + Send)| {
            engine
                .build(request, context, &mut |line| shown.show(&line), &cancel)
                .map_err(Error::from)
        };
        let path = Path::new(&self.context);
        if self.context == "-" {
            build(&request, &mut std::io::stdin())?;
        } else if path.is_dir() {
            let mut packed = Packed::new(path, &self.dockerfile()?)?;
            for (place, folder) in &folders {
                packed.add(Path::new(CONTEXTS).join(place), folder)?;
            }
            request.dockerfile.clone_from(&packed.dockerfile);
            piped(|to| Ok(packed.write(to)?), |mut from| build(&request, &mut from))?;
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
        for output in &outputs {
            self.put_out(engine, &id, output)?;
        }
        let silent = outputs.iter().any(|output| output.is_on_stdout());
        if shown.raw || silent { Ok(()) } else { print(&format!("{id}\n")) }
    }

    /// Refuses what that daemon cannot do.
    fn check(&self, engine: &dyn Backend) -> Result<()> {
        let refuse = |options: &[(&str, bool)], why: &str| {
            let found = options.iter().find(|(_, given)| *given);
            found.map_or(Ok(()), |(option, _)| Err(Error::invalid(*option, why)))
        };
        refuse(
            &[("--ssh", !self.agents.is_empty())],
            "is for this machine's builder only, since no request of the API carries what is said to an \
             agent: leave it out, or leave out -H",
        )?;
        refuse(
            &[
                ("--explain", self.explain),
                ("--provenance-file", self.provenance_file.is_some()),
                ("--cache-limit", self.cache_limit.is_some()),
            ],
            "is for this machine's builder only: leave it out, or leave out -H",
        )?;
        let asks = |kinds: &[&str]| {
            let asks = |text: &String| kinds.iter().any(|kind| text.contains(kind));
            self.outputs.iter().any(asks)
        };
        let tree = asks(&["type=local", "type=tar"])
            || self.outputs.iter().any(|text| !text.contains('='));
        let own = [
            ("--build-context", !self.contexts.is_empty()),
            ("--secret", !self.secrets.is_empty()),
            ("--allow", !self.allow.is_empty()),
        ];
        // Who asks for none of this need not be asked who he is.
        let any = own.iter().any(|(_, given)| *given) || tree || asks(&["type=oci"]);
        if !any || engine.version()["Platform"]["Name"] == "Corten" {
            return Ok(());
        }
        let why = "needs a daemon of Corten's: the classic builder of this one has no such thing";
        refuse(&own, why)?;
        refuse(
            &[("--output type=oci", asks(&["type=oci"]))],
            "needs a daemon of Corten's: this one's archives are Docker's, which type=docker gives",
        )?;
        refuse(
            &[("--output type=local and type=tar", tree)],
            "need a daemon of Corten's: what this one exports has files that are of a container and not of \
             the image",
        )
    }

    /// Names further contexts in the request; gives the folders among them, which go with the context, by
    /// their names there.
    fn further(&self, request: &mut BuildRequest) -> Result<Vec<(String, PathBuf)>> {
        let mut folders = Vec::new();
        for text in &self.contexts {
            let bad = |why: &str| Error::invalid(format!("--build-context {text}"), why);
            let (name, place) =
                text.split_once('=').ok_or_else(|| bad("has no name: write it as NAME=PLACE"))?;
            let path = Path::new(place);
            let place = match path.is_dir() {
                false => place.to_owned(),
                true if !Path::new(&self.context).is_dir() => {
                    let why = "is a folder, which is sent with the context: with -H that must be a folder, too";
                    return Err(bad(why));
                }
                true => {
                    let number = folders.len().to_string();
                    folders.push((number.clone(), path.to_owned()));
                    number
                }
            };
            request.contexts.insert(name.to_owned(), place);
        }
        Ok(folders)
    }

    /// What of `--secret` is sent: in a header, so not much.
    fn sent_secrets(&self) -> Result<Secrets> {
        let mut all = BTreeMap::new();
        for (id, secret) in self.secrets()? {
            let bytes = match secret {
                Secret::Bytes(bytes) => bytes,
                Secret::File(path) => std::fs::read(&path).on("read", &path)?,
            };
            all.insert(id, bytes);
        }
        if all.values().map(Vec::len).sum::<usize>() > MOST_SECRET {
            let why = "is more than the 96 KiB of secrets that can be sent: leave out -H";
            return Err(Error::invalid("--secret", why));
        }
        Ok(Secrets(all))
    }

    /// Writes what was built over there to where it shall be here.
    fn put_out(&self, engine: &dyn Backend, id: &str, output: &Output) -> Result<()> {
        match output.kind {
            OutputKind::Image => Ok(()),
            OutputKind::Archive => {
                let id = [id.to_owned()];
                let names = if self.tags.is_empty() { &id[..] } else { &self.tags };
                Ok(engine.save(names, &[])?(&mut output.open()?)?)
            }
            OutputKind::Tar => exported(engine, id, |tree| Ok(tree(&mut output.open()?)?)),
            OutputKind::Local => {
                let path = output.destination.as_path();
                std::fs::create_dir_all(path).on("make", path)?;
                let root = Root::open(path)?;
                // Who is not root cannot give files away, nor make devices.
                let user = nix::unistd::geteuid();
                let own = (user.as_raw(), nix::unistd::getegid().as_raw());
                let owner = (!user.is_root()).then_some(own);
                let how = Extract { owner, harmless: owner.is_some(), ..Extract::default() };
                exported(engine, id, |tree| {
                    piped(
                        |mut to| Ok(tree(&mut to)?),
                        |from| Ok(extract(from, &root, Path::new("/"), &how).map(drop)?),
                    )
                })
            }
        }
    }

    fn request(&self) -> Result<BuildRequest> {
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
            quiet: self.quiet,
            no_cache: self.no_cache,
            cache_from: self.cache_from.clone(),
            pull: self.pull,
            remove: self.staying() != Staying::All,
            force_remove: self.staying() == Staying::Nothing,
            build_args: build_args.collect(),
            labels: pairs(&self.labels, |_| Some(String::new())),
            network: self.network.clone(),
            platform: self.platform.clone().unwrap_or_default(),
            target: self.target.clone().unwrap_or_default(),
            version: "1".to_owned(),
            credentials: every_credential()?,
            allow: self.allow.clone(),
            secrets: self.sent_secrets()?,
            ..self.limited()?
        })
    }
}

/// How many bytes of secrets are sent: a daemon takes 256 KiB of headers, and this is in base64 twice.
const MOST_SECRET: usize = 96 << 10;

/// Hands on the tree of an image elsewhere, as an archive: that of a container that is never started.
fn exported(
    engine: &dyn Backend,
    image: &str,
    take: impl FnOnce(Download) -> Result<()>,
) -> Result<()> {
    let body = json!({"Image": image, "Cmd": ["/"], "HostConfig": {"NetworkMode": "none"}});
    let made = engine.create(&Create { body, ..Create::default() })?;
    let taken = engine.export(&made.id).map_err(Error::from).and_then(take);
    let removed = engine.remove(&made.id, true, true, false);
    taken?;
    Ok(removed?)
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
            let notice = || Some(format!("{}\n", Notice::read(line)?.plain()?));
            let shown = told.map(str::to_owned).or_else(notice);
            let _ = write!(std::io::stderr(), "{}", shown.unwrap_or_default());
        }
    }
}

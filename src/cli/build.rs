//! `corten build`.

mod limits;
mod remote;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use clap::Args;
use corten_builder::progress::classic::Classic;
use corten_builder::progress::plain::Plain;
use corten_builder::progress::terminal::Terminal;
use corten_builder::remote::Until;
use corten_daemon::backend::BuildRequest;
use corten_namespaces::error::Context as _;
use corten_registry::Reference;
use corten_supervisor::protocol::Attach;
use serde_json::json;

use limits::Limits;

use super::print;
use crate::cli::{Error, Result};
use crate::daemon::build::resources;
use crate::engine;
use crate::engine::build::output::{Output, provenance};
use crate::engine::build::{
    BuildOptions, Built, Cancel, Context, DockerfileSource, Event, Explained, Secret, Staying,
    Steps,
};
use crate::engine::container::Request;
use crate::engine::options::config::Words;
use crate::engine::{Engine, clock};

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Progress {
    /// As it suits standard error.
    Auto,
    /// Line after line.
    Plain,
    /// Steps that collapse.
    Tty,
    /// Nothing.
    Quiet,
    /// The stream of Docker's classic builder, as JSON.
    Rawjson,
}

#[derive(Debug, Args)]
pub(super) struct Build {
    /// A name for the image; may be given several times
    #[arg(short, long = "tag", value_name = "NAME[:TAG]")]
    tags: Vec<String>,
    /// The Dockerfile; Dockerfile in the context where it is not given, - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<String>,
    /// Set a build argument; without a value, it is the environment's
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    arguments: Vec<String>,
    /// Let a name of FROM, COPY --from or RUN --mount mean a folder, an address or docker-image://IMAGE
    #[arg(long = "build-context", value_name = "NAME=PLACE")]
    contexts: Vec<String>,
    /// Build up to this stage
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// Give the image a label
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// Use nothing of the cache
    #[arg(long)]
    no_cache: bool,
    /// Fetch base images anew
    #[arg(long)]
    pull: bool,
    /// Print the image's id and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// How to show what happens
    #[arg(long, value_enum, default_value = "auto")]
    progress: Progress,
    /// Also write the image: type=oci|docker|tar|local,dest=PATH, or a folder
    #[arg(short, long = "output", value_name = "OUTPUT")]
    outputs: Vec<String>,
    /// Give steps a secret: id=NAME[,src=FILE|env=VARIABLE]
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Give steps a key agent: default, or NAME=SOCKET
    #[arg(long = "ssh", value_name = "AGENT")]
    agents: Vec<String>,
    /// Images whose layers may be used instead of the cache
    #[arg(long = "cache-from", value_name = "IMAGE")]
    cache_from: Vec<String>,
    /// The network of RUN: default, none, host or one by name
    #[arg(long, value_name = "NETWORK", default_value = "default")]
    network: String,
    /// Allow what steps may not otherwise do: network.host, security.insecure
    #[arg(long = "allow", value_name = "RIGHT")]
    allow: Vec<String>,
    /// Add a line to /etc/hosts of RUN: NAME:ADDRESS
    #[arg(long = "add-host", value_name = "HOST:IP")]
    hosts: Vec<String>,
    /// The platform of the image
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Write the image's id to this file
    #[arg(long, value_name = "FILE")]
    iidfile: Option<PathBuf>,
    /// Write what is known of the result to this file, as JSON
    #[arg(long, value_name = "FILE")]
    metadata_file: Option<PathBuf>,
    /// Write what the image was made of to this file, as a statement of in-toto
    #[arg(long, value_name = "FILE")]
    provenance_file: Option<PathBuf>,
    /// As Docker's classic builder: one stage after the other, also those that nobody needs, and
    /// volumes lose what RUN writes to them
    #[arg(long)]
    classic: bool,
    /// Let the build cache have so many bytes, 20g where it is not given; what was not used for longest
    /// goes
    #[arg(long, value_name = "BYTES")]
    cache_limit: Option<String>,
    /// So many stages at once
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    jobs: usize,
    /// Show the plan, and what of it is in the cache, without doing it
    #[arg(long)]
    explain: bool,
    /// Remove the containers of steps; --rm=false leaves them to be looked at
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    rm: Option<bool>,
    /// Remove the container of a step that fails, too: so without --rm=false; --force-rm=false leaves that one
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true",
          require_equals = true)]
    force_rm: Option<bool>,
    /// Accepted for Docker's sake
    #[arg(long, hide = true)]
    load: bool,
    #[command(flatten)]
    limits: Limits,
    /// A folder, the address of a repository or an archive, or - for an archive or a Dockerfile on
    /// standard input
    #[arg(value_name = "PATH|URL|-")]
    context: String,
}

/// What renders events.
enum Shown {
    Plain(Plain),
    Terminal(Terminal),
    Raw(Classic),
    Nothing,
}

impl Build {
    pub(super) fn execute(&self, engine: &Engine, debug: bool) -> Result<()> {
        let cancel = Cancel::new()?;
        corten_builder::interrupt::on_signal(&cancel, super::warn)?;
        let mut options = self.options()?;
        options.steps.keep_failed = debug;
        let context = self.context(&cancel)?;
        if self.explain {
            let steps = engine.explain_build(&options, context, &cancel)?;
            return print(&explained(&steps));
        }
        let outputs: Vec<Output> =
            self.outputs.iter().map(|text| Output::parse(text)).collect::<engine::Result<_>>()?;
        let started = clock::now();
        let mut shown = self.shown();
        let built = engine.build(&options, context, &cancel, &mut |event| show(&mut shown, &event));
        let built = match (built, &shown) {
            (Err(engine::Error::Build(error)), Shown::Raw(raw)) => {
                super::print_bytes(&raw.error(&error))?;
                return Err(engine::Error::Build(error).into());
            }
            (Err(engine::Error::Build(error)), _) => {
                self.look_into(engine, &error)?;
                return Err(engine::Error::Build(error).into());
            }
            (built, _) => built?,
        };
        let names: Vec<String> = options.steps.tags.iter().map(Reference::familiar).collect();
        for output in &outputs {
            engine.put_out(&built, &names, output)?;
        }
        self.leave(&built, &options, &started)?;
        let silent = outputs.iter().any(Output::is_on_stdout);
        match silent || matches!(shown, Shown::Raw(_)) {
            true => Ok(()),
            false => print(&format!("{}\n", built.image.id)),
        }
    }

    /// With `--debug`, a shell in the root of the step that has failed.
    fn look_into(&self, engine: &Engine, error: &corten_builder::Error) -> Result<()> {
        let corten_builder::Error::Failed { kept: Some(image), place, .. } = error else {
            return Ok(());
        };
        if std::io::stdin().is_terminal() {
            super::warn(&format!("{place} has failed: this is its root; exit ends the build"));
            let mut request = Request { image: image.clone(), ..Request::default() };
            request.config.entrypoint = ["/bin/sh"].into();
            request.config.cmd = Words::default();
            (request.config.tty, request.config.open_stdin) = (true, true);
            request.host_config.auto_remove = true;
            request.host_config.network_mode.clone_from(&self.network);
            let attach = Attach {
                stdin: true,
                stdout: true,
                stderr: true,
                wait: true,
                detach_keys: Vec::new(),
            };
            engine.run(&request, attach, true, &mut |_| {})?;
        } else {
            super::warn("there is no terminal for a shell in the root of the step that has failed");
        }
        Ok(engine.remove_image(image, true).map(drop)?)
    }

    fn shown(&self) -> Shown {
        let error = std::io::stderr();
        match self.progress {
            _ if self.quiet => Shown::Nothing,
            Progress::Quiet => Shown::Nothing,
            Progress::Rawjson => Shown::Raw(Classic::new(false)),
            Progress::Plain => Shown::Plain(Plain::default()),
            Progress::Auto if !error.is_terminal() => Shown::Plain(Plain::default()),
            Progress::Auto | Progress::Tty => {
                let (_, columns) = corten_namespaces::terminal::size(error.as_fd());
                let columns = if columns == 0 { 80 } else { columns.into() };
                Shown::Terminal(Terminal::new(columns))
            }
        }
    }

    fn options(&self) -> Result<BuildOptions> {
        let mut steps = Steps {
            tags: self
                .tags
                .iter()
                .map(|tag| Reference::parse(tag))
                .collect::<std::result::Result<_, _>>()?,
            arguments: pairs(&self.arguments, |name| std::env::var(name).ok()),
            target: self.target.clone(),
            labels: pairs(&self.labels, |_| Some(String::new())),
            no_cache: self.no_cache,
            cache_from: self.cache_from.clone(),
            pull: self.pull,
            network: self.network.clone(),
            platform: self.platform.clone(),
            secrets: self.secrets()?,
            agents: self.agents()?,
            allow: self.allow.clone(),
            classic: self.classic,
            staying: self.staying(),
            jobs: self.jobs,
            ..Steps::default()
        };
        if let Ok(date) = std::env::var("SOURCE_DATE_EPOCH") {
            steps.arguments.entry("SOURCE_DATE_EPOCH".to_owned()).or_insert(date);
        }
        steps.resources.host_config = resources(&self.limited()?);
        let dockerfile = self.dockerfile()?;
        let bad = |why| Error::invalid("--cache-limit", why);
        let limit = self.cache_limit.as_deref().map(corten_builder::dockerfile::size);
        let cache_limit = limit.transpose().map_err(bad)?;
        let contexts = self.contexts.clone();
        Ok(BuildOptions { dockerfile, steps, cache_limit, contexts, ..BuildOptions::default() })
    }

    /// Which containers stay. Without a wish none does, also here where docker's builder leaves that of a step
    /// which fails.
    fn staying(&self) -> Staying {
        let remove = self.rm.unwrap_or(true);
        match (remove, self.force_rm.unwrap_or(remove)) {
            (_, true) => Staying::Nothing,
            (true, false) => Staying::Failed,
            (false, false) => Staying::All,
        }
    }

    /// What RUN may use, as a daemon is asked for it.
    fn limited(&self) -> Result<BuildRequest> {
        let mut wanted =
            BuildRequest { extra_hosts: self.hosts.clone(), ..BuildRequest::default() };
        self.limits.fill(&mut wanted)?;
        Ok(wanted)
    }

    fn dockerfile(&self) -> Result<DockerfileSource> {
        let Some(file) = self.file.as_deref() else { return Ok(DockerfileSource::Usual) };
        if file == "-" {
            if self.context == "-" {
                let why = "cannot be standard input together with the context";
                return Err(Error::invalid("the Dockerfile", why));
            }
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).during("read standard input")?;
            return Ok(DockerfileSource::Text("-".to_owned(), text));
        }
        let context = Path::new(&self.context);
        if !context.is_dir() {
            return Ok(DockerfileSource::Inside(file.to_owned()));
        }
        // As with Docker, the path is from where we are; from the context where that has it only.
        let (here, inside) = (Path::new(file), context.join(file));
        Ok(DockerfileSource::File(match here.exists() || !inside.exists() {
            true => here.to_owned(),
            false => inside,
        }))
    }

    fn context(&self, cancel: &Cancel) -> Result<Context<'static>> {
        if self.context == "-" {
            let input = std::io::stdin().as_fd().try_clone_to_owned();
            let input = File::from(input.during("read standard input")?);
            return Ok(Context::Stream(Box::new(Until::new(input, cancel))));
        }
        let path = Path::new(&self.context);
        if path.is_dir() {
            return Ok(Context::Directory(path.to_owned()));
        }
        if self.context.contains("://") || self.context.starts_with("git@") {
            return Ok(Context::Remote(self.context.clone()));
        }
        if path.is_file() {
            let file = File::open(path).on("open", path)?;
            return Ok(Context::Stream(Box::new(file)));
        }
        let why = "is no folder, no archive and no address";
        Err(Error::invalid(format!("the context {}", self.context), why))
    }

    fn secrets(&self) -> Result<BTreeMap<String, Secret>> {
        let mut secrets = BTreeMap::new();
        for text in &self.secrets {
            let bad = |why: &str| Error::invalid(format!("--secret {text}"), why);
            let (mut id, mut file, mut variable) = (None, None, None);
            for field in text.split(',') {
                match field.split_once('=') {
                    Some(("id", value)) => id = Some(value.to_owned()),
                    Some(("src" | "source", value)) => file = Some(PathBuf::from(value)),
                    Some(("env", value)) => variable = Some(value.to_owned()),
                    Some(("type", _)) => {}
                    _ => return Err(bad("has a field that is none of id, src, env")),
                }
            }
            let id = id.ok_or_else(|| bad("has no id: write id=NAME,src=FILE"))?;
            let secret = match (file, variable) {
                (Some(file), _) => {
                    if !file.is_file() {
                        return Err(bad("names a file that is not there"));
                    }
                    Secret::File(file)
                }
                (None, variable) => {
                    let name = variable.unwrap_or_else(|| id.clone());
                    let value = std::env::var(&name).map_err(|_| {
                        bad(&format!("has no src, and there is no variable {name}"))
                    })?;
                    Secret::Bytes(value.into_bytes())
                }
            };
            secrets.insert(id, secret);
        }
        Ok(secrets)
    }

    fn agents(&self) -> Result<BTreeMap<String, PathBuf>> {
        let mut agents = BTreeMap::new();
        for text in &self.agents {
            let (id, path) = match text.split_once('=') {
                Some((id, path)) => (id, PathBuf::from(path)),
                None => {
                    let missing = || {
                        let why = "there is no SSH_AUTH_SOCK: start an agent, or name its socket";
                        Error::invalid(format!("--ssh {text}"), why)
                    };
                    let socket = std::env::var_os("SSH_AUTH_SOCK").ok_or_else(missing)?;
                    (text.as_str(), PathBuf::from(socket))
                }
            };
            agents.insert(id.to_owned(), path);
        }
        Ok(agents)
    }

    /// Writes the files that were asked for.
    fn leave(&self, built: &Built, options: &BuildOptions, started: &str) -> Result<()> {
        let write = |path: &Path, text: String| std::fs::write(path, text).on("write", path);
        let id = built.image.id.to_string();
        if let Some(path) = &self.iidfile {
            write(path, id.clone())?;
        }
        if let Some(path) = &self.metadata_file {
            let names: Vec<String> = options.steps.tags.iter().map(Reference::familiar).collect();
            let text = json!({
                "containerimage.config.digest": id,
                "containerimage.digest": built.image.descriptor.digest.to_string(),
                "image.name": names.join(","),
            });
            write(path, format!("{text:#}\n"))?;
        }
        if let Some(path) = &self.provenance_file {
            // Arguments are told by their names and values: secrets belong to --secret.
            let steps = &options.steps;
            let parameters = json!({
                "arguments": steps.arguments, "labels": steps.labels, "target": steps.target,
            });
            let statement = provenance(built, parameters, started, &clock::now());
            write(path, format!("{statement:#}\n"))?;
        }
        Ok(())
    }
}

/// `NAME=VALUE`, or `NAME`, whose value `lookup` knows.
fn pairs(list: &[String], lookup: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None => lookup(text).map(|value| (text.clone(), value)),
    };
    list.iter().filter_map(pair).collect()
}

fn show(shown: &mut Shown, event: &Event) {
    let (text, raw) = match shown {
        Shown::Plain(plain) => (plain.event(event), false),
        Shown::Terminal(terminal) => (terminal.event(event), false),
        Shown::Raw(classic) => (classic.event(event), true),
        Shown::Nothing => return,
    };
    // A progress that nobody can see is no reason to stop.
    let _ = match raw {
        true => super::print_bytes(&text).map_err(|_| std::io::ErrorKind::Other.into()),
        false => std::io::stderr().write_all(&text),
    };
}

/// The plan as text.
fn explained(steps: &[Explained]) -> String {
    let mut text = String::new();
    for step in steps {
        let what = match (&step.miss, step.wanted) {
            (_, false) => "not needed".to_owned(),
            (None, true) => "cached".to_owned(),
            (Some(why), true) => format!("RUNS: {why}"),
        };
        let first = step.text.lines().next().unwrap_or_default();
        text.push_str(&format!("{:>3} [{}] {first}\n      {what}\n", step.number, step.stage));
    }
    text
}

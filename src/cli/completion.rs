//! What shells and man(1) know of the command line.
//!
//! A shell asks this program at each press of the tabulator key, so that it completes the names of what
//! there is: the script that [`Completion`] prints does no more than that.

use std::path::{Path, PathBuf};

use clap::{Arg, Args, Command, CommandFactory};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use corten_daemon::backend::{Containers, Filters, Images, List, Networks, Volumes};
use corten_daemon::client::Remote;
use corten_daemon::version::NEWEST;
use serde_json::Value;

use super::endpoint::Endpoint;
use super::home::Home;
use super::remote::{self, text};
use super::{Cli, print_bytes};
use crate::cli::{Error, Result};
use crate::engine::Engine;
use crate::engine::error::At;
use corten_namespaces::rootless::NAMESPACES;

/// By which a shell says that it asks.
const ASKS: &str = "COMPLETE";

#[derive(Debug, Args)]
pub(super) struct Completion {
    /// bash, zsh, fish, elvish or powershell
    shell: String,
}

impl Completion {
    pub(super) fn execute(&self) -> Result<()> {
        let shells = Shells::builtins();
        let shell = shells.completer(&self.shell).ok_or_else(|| {
            let known: Vec<_> = shells.names().collect();
            Error::invalid(
                format!("shell {}", self.shell),
                format!("is none of {}", known.join(", ")),
            )
        })?;
        let mut text = Vec::new();
        let written = shell.write_registration(ASKS, "corten", "corten", "corten", &mut text);
        written.at("write", Path::new("the script"))?;
        print_bytes(&text)
    }
}

/// Answers a shell that asks what could stand at the cursor; tells whether one did.
pub(super) fn answer() -> bool {
    if std::env::var_os(ASKS).is_none() {
        return false;
    }
    let here = std::env::current_dir().ok();
    let asked = CompleteEnv::with_factory(|| named(Cli::command())).var(ASKS);
    // A shell has nothing to do with what is wrong.
    let _ = asked.try_complete(std::env::args_os(), here.as_deref());
    true
}

/// The command line, whose words for containers, images, networks and volumes are completed with what
/// there is.
fn named(command: Command) -> Command {
    let add = |arg: Arg| match candidates(&arg) {
        Some(candidates) => arg.add(candidates),
        None => arg,
    };
    command.mut_args(add).mut_subcommands(named)
}

/// What a word names.
#[derive(Debug, Clone, Copy)]
enum What {
    Container,
    Image,
    Network,
    Volume,
}

fn candidates(arg: &Arg) -> Option<ArgValueCandidates> {
    let what: &[What] = match arg.get_value_names()?.first()?.as_str() {
        "CONTAINER" => &[What::Container],
        "IMAGE" => &[What::Image],
        "NETWORK" => &[What::Network],
        "VOLUME" => &[What::Volume],
        "NAME" if arg.is_positional() => {
            &[What::Container, What::Image, What::Network, What::Volume]
        }
        _ => return None,
    };
    Some(ArgValueCandidates::new(move || {
        let found = everything(what).unwrap_or_default();
        found.into_iter().map(CompletionCandidate::new).collect()
    }))
}

/// The names, here or at the daemon that the words so far or the environment name.
fn everything(what: &[What]) -> Result<Vec<String>> {
    let is_local =
        ["CORTEN_ROOT", "CORTEN_STATE"].iter().any(|name| std::env::var_os(name).is_some());
    if let Some(target) = Endpoint::of_words(std::env::args()).target(is_local)? {
        let daemon = target.connect()?;
        let names = what.iter().map(|what| elsewhere(&daemon, *what)).collect::<Result<Vec<_>>>();
        return Ok(names?.concat());
    }
    let Some(engine) = engine() else { return Ok(Vec::new()) };
    Ok(what.iter().map(|what| here(&engine, *what)).collect::<Result<Vec<_>>>()?.concat())
}

/// The engine, where there has been one: looking makes no directories.
fn engine() -> Option<Engine> {
    let home = Home::of_caller().ok()?;
    let root = std::env::var_os("CORTEN_ROOT");
    let root = root.map_or_else(|| home.root().to_owned(), PathBuf::from);
    let state = std::env::var_os("CORTEN_STATE").map(PathBuf::from);
    let is_there = root.join("containers").exists();
    if !is_there || home.enter(NAMESPACES, &root).is_err() {
        return None;
    }
    Engine::open(&root, &home.state(&root, state.as_deref())).ok()
}

fn here(engine: &Engine, what: What) -> Result<Vec<String>> {
    Ok(match what {
        What::Container => {
            let views = engine.views(true, &[])?;
            views.iter().map(|view| view.record.shown_name().to_owned()).collect()
        }
        What::Image => {
            let all = engine.images()?;
            all.into_iter().filter_map(|listed| Some(listed.name?.familiar())).collect()
        }
        What::Network => {
            engine.list_networks(&[])?.into_iter().map(|network| network.name).collect()
        }
        What::Volume => {
            use crate::engine::volumes::filter::{Filters, For};

            let all = engine.volumes().list(&Filters::parse(&[], For::List)?)?;
            all.into_iter().map(|volume| volume.name).collect()
        }
    })
}

fn elsewhere(daemon: &Remote, what: What) -> Result<Vec<String>> {
    let none = Filters::new();
    let names = |list: Vec<Value>| list.iter().map(|one| text(one, "Name").to_owned()).collect();
    Ok(match what {
        What::Container => {
            let list = daemon.list(&List { all: true, ..List::default() })?;
            remote::array(&list)?.iter().map(remote::whole_name).collect()
        }
        What::Image => {
            let list = daemon.list_images(false, false, &none, NEWEST)?;
            let tags = list.iter().filter_map(|image| image["RepoTags"].as_array()).flatten();
            tags.filter_map(|tag| Some(tag.as_str()?.to_owned())).collect()
        }
        What::Network => names(daemon.list_networks(&none)?),
        What::Volume => names(daemon.list_volumes(&none)?),
    })
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Where to: one file for each command
    directory: PathBuf,
}

impl Man {
    pub(super) fn execute(&self) -> Result<()> {
        let directory = &self.directory;
        std::fs::create_dir_all(directory).at("make", directory)?;
        Ok(clap_mangen::generate_to(Cli::command(), directory)
            .at("write manual pages to", directory)?)
    }
}

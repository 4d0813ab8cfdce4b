//! What shells and man(1) know of the command line.
//!
//! A shell asks this program at each press of the tabulator key, so that it completes the names of what
//! there is: the script that [`Completion`] prints does no more than that.

use std::path::{Path, PathBuf};

use clap::{Arg, Args, Command, CommandFactory};
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};

use super::{Cli, USUAL_ROOT, print_bytes, state_of};
use crate::engine::error::At;
use crate::engine::{Engine, Error, Result};

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

fn candidates(arg: &Arg) -> Option<ArgValueCandidates> {
    let names: fn(&Engine) -> Result<Vec<String>> = match arg.get_value_names()?.first()?.as_str() {
        "CONTAINER" => containers,
        "IMAGE" => images,
        "NETWORK" => networks,
        "VOLUME" => volumes,
        "NAME" if arg.is_positional() => everything,
        _ => return None,
    };
    Some(ArgValueCandidates::new(move || {
        let found = engine().and_then(|engine| names(&engine).ok());
        found.into_iter().flatten().map(CompletionCandidate::new).collect()
    }))
}

/// The engine, where there has been one: looking makes no directories.
fn engine() -> Option<Engine> {
    let root = std::env::var_os("CORTEN_ROOT").map_or_else(|| USUAL_ROOT.into(), PathBuf::from);
    let state = std::env::var_os("CORTEN_STATE").map(PathBuf::from);
    let is_there = root.join("containers").exists();
    is_there.then(|| Engine::open(&root, &state_of(&root, state.as_deref())).ok()).flatten()
}

fn containers(engine: &Engine) -> Result<Vec<String>> {
    let views = engine.views(true, &[])?;
    Ok(views.iter().map(|view| view.record.shown_name().to_owned()).collect())
}

fn images(engine: &Engine) -> Result<Vec<String>> {
    let all = engine.images()?;
    Ok(all.into_iter().filter_map(|listed| Some(listed.name?.familiar())).collect())
}

fn networks(engine: &Engine) -> Result<Vec<String>> {
    Ok(engine.list_networks(&[])?.into_iter().map(|network| network.name).collect())
}

fn volumes(engine: &Engine) -> Result<Vec<String>> {
    use crate::engine::volumes::filter::{Filters, For};

    let all = engine.volumes().list(&Filters::parse(&[], For::List)?)?;
    Ok(all.into_iter().map(|volume| volume.name).collect())
}

fn everything(engine: &Engine) -> Result<Vec<String>> {
    Ok([containers(engine)?, images(engine)?, networks(engine)?, volumes(engine)?].concat())
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
        clap_mangen::generate_to(Cli::command(), directory).at("write manual pages to", directory)
    }
}

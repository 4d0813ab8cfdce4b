//! Which commands there are for a daemon elsewhere.

use corten_daemon::client::Remote;

use super::super::endpoint::{Target, only_here};
use super::super::{Command, Error};
use crate::cli::Result;

/// Does what `command` says with the daemon at `target`; gives the exit status.
pub(in crate::cli) fn dispatch(command: &Command, target: &Target, debug: bool) -> Result<u8> {
    // What is of this machine does not ask whether there is a daemon.
    if let Command::Doctor(_) | Command::Explain(_) = command {
        return Err(only_here(name(command), target));
    }
    let engine: &Remote = &target.connect()?;
    let here = || -> Error { only_here(name(command), target) };
    match command {
        Command::OfContainers(any) => return any.remote(engine, debug)?.ok_or_else(here),
        Command::Container(container) => return container.remote(engine, debug)?.ok_or_else(here),
        Command::System(system) => return system.remote(engine)?.ok_or_else(here),
        Command::Network(network) => return network.remote(engine, debug)?.ok_or_else(here),
        Command::Volume(volume) => return volume.remote(engine, debug),
        Command::Image(image) => return image.remote(engine, debug),
        Command::Inspect(inspect) => return inspect.remote(engine, debug),
        Command::Rmi(rmi) => return rmi.remote(engine, debug),
        Command::Ps(ps) => ps.remote(engine)?,
        Command::Pull(pull) => pull.remote(engine)?,
        Command::Push(push) => push.remote(engine)?,
        Command::Search(search) => search.remote(engine)?,
        Command::Images(images) => images.remote(engine)?,
        Command::Tag(tag) => tag.remote(engine)?,
        Command::History(history) => history.remote(engine)?,
        Command::Save(save) => save.remote(engine)?,
        Command::Load(load) => load.remote(engine)?,
        Command::Import(import) => import.remote(engine)?,
        Command::Build(build) => build.remote(engine)?,
        Command::Builder(builder) => builder.remote(engine)?,
        Command::Info(info) => info.remote(engine)?,
        Command::Events(events) => events.remote(engine)?,
        Command::Version(version) => version.remote(engine)?,
        Command::Doctor(_)
        | Command::Explain(_)
        | Command::Tidy { .. }
        | Command::Daemon(_)
        | Command::Login(_)
        | Command::Logout(_)
        | Command::Completion(_)
        | Command::Man(_)
        | Command::Context(_) => return Err(here()),
    }
    Ok(0)
}

/// What a command is called where it has no remote form.
fn name(command: &Command) -> &'static str {
    match command {
        Command::Doctor(_) => "doctor",
        Command::Explain(_) => "explain",
        Command::OfContainers(_) | Command::Container(_) => "run --explain",
        Command::System(_) => "system restore",
        Command::Network(_) => "network unload",
        _ => "this command",
    }
}

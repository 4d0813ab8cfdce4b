//! `corten explain`: what would be done, and what was.

use std::fmt::Write;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::making::Making;
use super::print;
use crate::cli::{Error, Result};
use crate::engine::error::At;
use crate::engine::{Engine, clock};
use crate::timeline::{self, Kind, Timeline};

/// By which a traced command knows that it is one.
const TRACED: &str = "CORTEN_TRACED";

/// The recording of a container, in its directory.
const FILE: &str = "timeline.json";

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// Write the recording of a container into a file instead: a page (.html), JSON (.json) or text
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    making: Making,
}

impl Explain {
    pub(super) fn execute(&self, open: impl FnOnce() -> Result<Engine>) -> Result<()> {
        let engine = open()?;
        if let Some(name) = self.making.only_a_name()
            && let Ok((record, _)) = engine.containers().find(name)
        {
            let path = engine.containers().directory_of(&record.id).join(FILE);
            let missing = |_| {
                let why = "was not recorded: make it with `corten run --explain`";
                Error::invalid(format!("container {name}"), why)
            };
            let text = std::fs::read_to_string(&path).map_err(missing)?;
            let recording: Timeline = serde_json::from_str(&text)
                .map_err(|why| Error::invalid(path.display().to_string(), why.to_string()))?;
            return match &self.to {
                Some(path) => write(&recording, path),
                None => print(&timeline::text(&recording)),
            };
        }
        if self.to.is_some() {
            return Err(Error::invalid(
                "--to",
                "is for a container that was made by `corten run --explain`",
            ));
        }
        print(&plan(&self.making, &engine)?)
    }
}

/// What running such a container would do, one numbered line a step.
fn plan(making: &Making, engine: &Engine) -> Result<String> {
    let explained = engine.explain(&making.request(true)?, &mut making.progress()?)?;
    let lines = explained.before.into_iter().map(|line| format!("engine  {line}"));
    let mut text = String::new();
    for (number, line) in lines.chain(explained.plan.lines()).enumerate() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{:>3} {line}", number + 1);
    }
    Ok(text)
}

/// Whether this command is being recorded: it does what it would otherwise do.
pub(super) fn is_traced() -> bool {
    std::env::var_os(TRACED).is_some()
}

/// Shows the plan of a container, runs it in a process of its own, and tells what that did: on standard
/// error, which the container has too, or in a file. Gives its exit status.
pub(super) fn run(
    making: &Making,
    to: Option<&Path>,
    open: impl FnOnce() -> Result<Engine>,
) -> Result<u8> {
    let engine = open()?;
    let mut err = std::io::stderr();
    if to.is_none() {
        let _ = write!(err, "the plan:\n{}", plan(making, &engine)?);
    }
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_else(|| "corten".into());
    let arguments: Vec<_> = arguments.collect();
    let words = std::iter::once(&called).chain(&arguments);
    let mut recording = Timeline {
        command: words.map(|word| word.to_string_lossy().into_owned()).collect(),
        kernel: release(),
        began: clock::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Timeline::default()
    };
    let program = std::env::current_exe().at("find", Path::new("this program"))?;
    let mut command = std::process::Command::new(program);
    command.args(&arguments).env(TRACED, "1");
    // Where a user is root already, root's usual places are not the user's.
    command.env("CORTEN_ROOT", engine.root());
    command.env("CORTEN_STATE", engine.containers().shims.directory());
    let status = timeline::record(&mut command, &mut recording);
    let status = status.at("trace", Path::new("corten run"))?;
    recording.container = id_of(&recording);
    if let Some(id) = &recording.container {
        let directory = engine.containers().directory_of(id);
        // Not of one that is gone again.
        if directory.exists() {
            write(&recording, &directory.join(FILE))?;
        }
    }
    match to {
        Some(path) => write(&recording, path)?,
        None => {
            let _ = write!(err, "{}", timeline::text(&recording));
        }
    }
    Ok(status)
}

fn release() -> String {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    text.trim().to_owned()
}

/// The container's id is the name of its control group.
fn id_of(recording: &Timeline) -> Option<String> {
    let events = recording.steps.iter().flat_map(|step| &step.events);
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let is_id =
        |name: &String| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    events.filter(|event| event.kind == Kind::Cgroup).map(|event| name(&event.name)).find(is_id)
}

/// Writes a recording in the form that the file's name asks for.
fn write(recording: &Timeline, path: &Path) -> Result<()> {
    let bad = |why: serde_json::Error| Error::invalid("the recording", why.to_string());
    let text = match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => timeline::page(&serde_json::to_value(recording).map_err(bad)?, &book()),
        Some("json") => serde_json::to_string(recording).map_err(bad)? + "\n",
        _ => timeline::text(recording),
    };
    Ok(std::fs::write(path, text).at("write", path)?)
}

/// Where the book is: where `./x install` puts it, or beside the page.
fn book() -> String {
    let installed = Path::new("/usr/local/share/doc/corten/book");
    match installed.exists() {
        true => format!("file://{}/", installed.display()),
        false => String::new(),
    }
}

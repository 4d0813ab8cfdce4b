//! Lines of progress, as daemons send them: bars on a terminal, lines otherwise.

use std::collections::{BTreeMap, HashMap};
use std::io::{IsTerminal, Write};

use corten_daemon::backend::Credentials;
use corten_registry::client::login;
use corten_registry::notice::{Kind, Notice};
use corten_registry::{Credentials as Known, Reference};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use crate::cli::Result;
use crate::cli::progress::Stream;
use crate::cli::table::printable;

/// What is shown of a pull, a push or a load.
pub(in crate::cli) struct Messages {
    stream: Stream,
    bars: Option<MultiProgress>,
    of: HashMap<String, ProgressBar>,
}

impl Messages {
    pub(in crate::cli) fn new(stream: Stream) -> Messages {
        let (terminal, target) = match stream {
            Stream::Output => (std::io::stdout().is_terminal(), ProgressDrawTarget::stdout()),
            Stream::Error => (std::io::stderr().is_terminal(), ProgressDrawTarget::stderr()),
        };
        let bars = terminal.then(|| MultiProgress::with_draw_target(target));
        Messages { stream, bars, of: HashMap::new() }
    }

    /// Shows a line.
    pub(in crate::cli) fn show(&mut self, line: &Value) {
        if let Some(stream) = line["stream"].as_str() {
            return self.print(stream.trim_end_matches('\n'));
        }
        if let Some(notice) = Notice::read(line) {
            self.notice(&notice);
        }
    }

    /// Shows what there is to see of an image on its way.
    pub(in crate::cli) fn notice(&mut self, notice: &Notice) {
        let (id, status) = (printable(&notice.id), printable(&notice.status));
        let clean = Notice { id, status, kind: notice.kind };
        match (self.bars.is_some(), clean.kind) {
            (true, Kind::Layer) => self.bar(&clean, None),
            (true, Kind::Moving(done, size)) => self.bar(&clean, Some((done, size))),
            _ => clean.plain().iter().for_each(|line| self.print(line)),
        }
    }

    fn bar(&mut self, of: &Notice, moves: Option<(u64, u64)>) {
        let Some(bars) = &self.bars else { return };
        let bar = self.of.entry(of.id.clone()).or_insert_with(|| {
            bars.add(
                ProgressBar::new(0).with_style(style("{prefix}: {msg}")).with_prefix(of.id.clone()),
            )
        });
        match moves {
            Some((done, size)) if size > 0 => {
                let template = "{prefix}: {msg} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}";
                bar.set_style(style(template).progress_chars("=> "));
                bar.set_length(size);
                bar.set_position(done);
            }
            _ => bar.set_style(style("{prefix}: {msg}")),
        }
        bar.set_message(of.status.clone());
    }

    /// The bars stay as they are, and what is printed next stands below them.
    pub(in crate::cli) fn rest(&mut self) {
        self.of.drain().for_each(|(_, bar)| bar.abandon());
    }

    /// A line of text, above the bars.
    pub(in crate::cli) fn print(&self, line: &str) {
        // A progress that nobody can see is no reason to stop.
        let _ = match (&self.bars, self.stream) {
            (Some(bars), _) => bars.println(line),
            (None, Stream::Output) => writeln!(std::io::stdout(), "{line}"),
            (None, Stream::Error) => writeln!(std::io::stderr(), "{line}"),
        };
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        self.rest();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The credentials of whoever runs this, for a registry that the daemon shall ask.
pub(in crate::cli) fn credentials_for(name: &Reference) -> Result<Credentials> {
    let known = login::known(name.domain())?;
    Ok(known.map(|(registry, known)| given(registry, known)).unwrap_or_default())
}

/// All of them, by registry: which ones a build needs is found out while it runs.
pub(in crate::cli) fn every_credential() -> Result<BTreeMap<String, Credentials>> {
    let mut all = BTreeMap::new();
    for domain in login::domains()? {
        if let Some((registry, known)) = login::known(&domain)? {
            all.insert(registry.clone(), given(registry, known));
        }
    }
    Ok(all)
}

fn given(serveraddress: String, known: Known) -> Credentials {
    let own = Credentials { serveraddress, ..Credentials::default() };
    match known {
        Known::Password { user: username, password } => Credentials { username, password, ..own },
        Known::Identity(identitytoken) => Credentials { identitytoken, ..own },
        Known::Token(registrytoken) => Credentials { registrytoken, ..own },
    }
}

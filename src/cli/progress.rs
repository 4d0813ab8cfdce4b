//! How a pull is shown: a bar per layer on a terminal, else a line when something is done.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};

use corten_registry::{Digest, Event as Pull};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::engine::pull::Event;

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    /// Standard output, for `pull`.
    Output,
    /// Standard error, for `run`, whose standard output is the container's.
    Error,
}

/// Which way layers go, for the words that Docker users know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

/// The state of what is shown.
pub(super) struct Shown {
    stream: Stream,
    way: Way,
    /// The bars, on a terminal.
    bars: Option<MultiProgress>,
    layers: HashMap<Digest, ProgressBar>,
}

impl Shown {
    pub(super) fn new(stream: Stream) -> Shown {
        let (terminal, target) = match stream {
            Stream::Output => (std::io::stdout().is_terminal(), ProgressDrawTarget::stdout()),
            Stream::Error => (std::io::stderr().is_terminal(), ProgressDrawTarget::stderr()),
        };
        let bars = terminal.then(|| MultiProgress::with_draw_target(target));
        Shown { stream, way: Way::Down, bars, layers: HashMap::new() }
    }

    /// The same for a push.
    pub(super) fn up(stream: Stream) -> Shown {
        Shown { way: Way::Up, ..Shown::new(stream) }
    }

    /// Shows what happened.
    pub(super) fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Pull(Pull::Resolving(reference)) => {
                let tag = reference.selector();
                self.line(&format!("{tag}: Pulling from {}", reference.path()));
            }
            Event::Pull(Pull::LayerExists { digest, size }) => match self.way {
                Way::Down => self.layer(digest, size, "Already exists"),
                Way::Up => self.done(digest, "Layer already exists"),
            },
            Event::Pull(Pull::LayerMounted { digest }) => self.done(digest, "Mounted"),
            Event::Pull(Pull::LayerStart { digest, size }) => match self.way {
                Way::Down => self.layer(digest, size, "Downloading"),
                // What comes of it is not known yet; a line for each end is enough.
                Way::Up if self.bars.is_none() => {}
                Way::Up => self.layer(digest, size, "Pushing"),
            },
            Event::Pull(Pull::LayerBytes { digest, done }) => self.advance(digest, done),
            Event::Pull(Pull::LayerDone { digest }) => match self.way {
                Way::Down => self.done(digest, "Download complete"),
                Way::Up => self.done(digest, "Pushed"),
            },
            Event::Pull(Pull::OtherPlatform(platform)) => {
                self.line(&format!("Warning: this image is for {platform}, not for this machine"));
            }
            Event::Unpacking { digest, done, size } => {
                if self.bars.is_some() {
                    self.layer(digest, size, "Extracting");
                    self.advance(digest, done);
                }
            }
            Event::Unpacked { digest } => self.done(digest, "Pull complete"),
            Event::Warning(text) => self.line(&format!("WARNING: {text}")),
            Event::Pull(_) | Event::Created(_) => {}
        }
    }

    fn layer(&mut self, digest: &Digest, size: u64, what: &'static str) {
        let Some(bars) = &self.bars else {
            return self.line(&format!("{}: {what}", digest.short()));
        };
        let bar = self.layers.entry(digest.clone()).or_insert_with(|| {
            // Dressed before it is shown.
            let bar = ProgressBar::new(size).with_style(running());
            bars.add(bar.with_prefix(digest.short().to_owned()).with_message(what))
        });
        if bar.message() != what {
            bar.set_length(size);
            bar.set_position(0);
            bar.set_message(what);
            bar.set_style(running());
        }
    }

    fn advance(&mut self, digest: &Digest, done: u64) {
        if let Some(bar) = self.layers.get(digest) {
            bar.set_position(done);
        }
    }

    fn done(&mut self, digest: &Digest, what: &'static str) {
        match self.layers.get(digest) {
            Some(bar) => {
                bar.set_message(what);
                bar.set_style(finished());
                if what == "Pull complete" || self.way == Way::Up {
                    bar.finish();
                }
            }
            None => self.line(&format!("{}: {what}", digest.short())),
        }
    }

    /// A line of text, above the bars.
    pub(super) fn line(&self, text: &str) {
        // A progress that nobody can see is no reason to stop.
        let _ = match (&self.bars, self.stream) {
            (Some(bars), _) => bars.println(text),
            (None, Stream::Output) => writeln!(std::io::stdout(), "{text}"),
            (None, Stream::Error) => writeln!(std::io::stderr(), "{text}"),
        };
    }
}

fn running() -> ProgressStyle {
    style("{prefix}: {msg} [{bar:40}] {decimal_bytes}/{decimal_total_bytes}").progress_chars("=> ")
}

fn finished() -> ProgressStyle {
    style("{prefix}: {msg}")
}

fn style(template: &str) -> ProgressStyle {
    // The templates are constants of this file; a mistake in one would show the default bar.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

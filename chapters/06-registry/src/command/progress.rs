//! Layers on their way: bars on a terminal, else a line when one is there.

use std::collections::HashMap;
use std::io::IsTerminal as _;

use corten_registry::{Digest, Event, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

pub(super) struct Shown {
    bars: Option<MultiProgress>,
    layers: HashMap<Digest, ProgressBar>,
    verb: &'static str,
}

impl Shown {
    /// `verb` is what a layer is when it is done: `verified`, `pushed`.
    pub(super) fn new(verb: &'static str) -> Shown {
        let bars = std::io::stderr().is_terminal().then(MultiProgress::new);
        Shown { bars, layers: HashMap::new(), verb }
    }

    fn end(&mut self, digest: &Digest, what: &str) {
        if let Some(bar) = self.layers.remove(digest) {
            bar.finish_and_clear();
        }
        self.line(&format!("{}: {what}", digest.short()));
    }

    fn line(&self, text: &str) {
        match &self.bars {
            // A progress that nobody can see is no reason to stop.
            Some(bars) => drop(bars.println(text)),
            None => println!("{text}"),
        }
    }
}

impl Progress for Shown {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Resolved(digest) => self.line(&format!("digest: {digest}")),
            Event::LayerExists { digest, .. } => self.end(digest, "already there"),
            Event::LayerMounted { digest, .. } => self.end(digest, "taken from another repository"),
            Event::LayerDone { digest } => self.end(digest, self.verb),
            Event::LayerStart { digest, size } => {
                if let Some(bars) = &self.bars {
                    let template = "{prefix}: [{bar:40}] {decimal_bytes}/{decimal_total_bytes}";
                    // A constant; a mistake in it would show the default bar.
                    let style = ProgressStyle::with_template(template)
                        .unwrap_or_else(|_| ProgressStyle::default_bar());
                    let bar = ProgressBar::new(size).with_style(style.progress_chars("=> "));
                    let bar = bars.add(bar.with_prefix(digest.short().to_owned()));
                    self.layers.insert(digest.clone(), bar);
                }
            }
            Event::LayerBytes { digest, done } => {
                if let Some(bar) = self.layers.get(digest) {
                    bar.set_position(done);
                }
            }
            Event::OtherPlatform(platform) => {
                eprintln!("warning: this image is for {platform}");
            }
            Event::Resolving(_)
            | Event::Known(_)
            | Event::Layers(_)
            | Event::Sending(_)
            | Event::LayerGrowing { .. }
            | Event::Done(_) => {}
        }
    }
}

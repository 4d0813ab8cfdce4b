//! `corten pull`.

use clap::{ArgAction, Args};
use corten_daemon::backend::{Backend, Pull as Wanted};
use corten_registry::{Platform, Reference};

use super::{print, progress, remote};
use crate::cli::{Error, Result};
use crate::engine::Engine;
use crate::engine::notices;
use crate::engine::pull::{PullOptions, tags};

#[derive(Debug, Args)]
pub(super) struct Pull {
    /// Print nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Fetch all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
    #[command(flatten)]
    source: Source,
    #[arg(value_name = "REF", help = "NAME[:TAG] or NAME@DIGEST")]
    reference: String,
}

/// Where an image comes from.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// The platform to choose from an image for several, as in linux/arm64
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,
    /// Whether the registry must show a certificate that is trusted; false also allows plain HTTP
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: bool,
}

impl Source {
    /// The platform, as it was written.
    pub(super) fn platform(&self) -> Option<&str> {
        self.platform.as_deref()
    }

    /// Whether the registry must show a certificate.
    pub(super) fn is_verified(&self) -> bool {
        self.tls_verify
    }

    pub(super) fn options(&self) -> Result<PullOptions> {
        let platform = self.platform.as_deref().map(str::parse::<Platform>).transpose()?;
        Ok(PullOptions { platform, insecure: !self.tls_verify, ..PullOptions::default() })
    }
}

/// The image that a text names; with `all`, the repository whose tags are all meant.
pub(super) fn named(text: &str, all: bool) -> Result<Reference> {
    if all && !Reference::is_name_only(text) {
        return Err(Error::invalid(text, "names one image, and --all-tags means all"));
    }
    Ok(Reference::parse(text)?)
}

/// How that is called in full.
pub(super) fn full(named: &Reference, all: bool) -> String {
    if all { named.name() } else { named.to_string() }
}

impl Pull {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let (named, options) = (named(&self.reference, self.all_tags)?, self.source.options()?);
        let all = match self.all_tags {
            true => tags(&named, options.insecure, &options.asker)?,
            false => vec![named.clone()],
        };
        for one in &all {
            self.fetch(engine, one, &options)?;
        }
        print(&format!("{}\n", full(&named, self.all_tags)))
    }

    fn fetch(&self, engine: &Engine, reference: &Reference, options: &PullOptions) -> Result<()> {
        if self.quiet {
            return Ok(engine.pull(reference, options, &mut |_| {}).map(drop)?);
        }
        let mut shown = progress::Shown::new(progress::Stream::Output);
        let pulled = engine.pull(reference, options, &mut |event| shown.event(event))?;
        // What is on a terminal stands above this.
        drop(shown);
        let ended = notices::ended(reference, &pulled);
        print(&ended.iter().map(|notice| format!("{}\n", notice.status)).collect::<String>())
    }

    /// The same for a daemon.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let named = named(&self.reference, self.all_tags)?;
        let PullOptions { platform, insecure, .. } = self.source.options()?;
        if insecure {
            let why =
                "is for this machine's engine only: a daemon knows which registries it trusts";
            return Err(Error::invalid("--tls-verify=false", why));
        }
        let wanted = Wanted {
            image: named.name(),
            // Without a tag all of them are meant.
            tag: if self.all_tags { String::new() } else { named.selector() },
            platform: platform.map(|platform| platform.to_string()).unwrap_or_default(),
            credentials: remote::credentials_for(&named)?,
        };
        let mut messages = remote::Messages::new(progress::Stream::Output);
        engine.pull(&wanted, &mut |line| {
            if !self.quiet {
                messages.show(&line);
            }
        })?;
        drop(messages);
        print(&format!("{}\n", full(&named, self.all_tags)))
    }
}

//! `corten pull`.

use clap::{ArgAction, Args};
use corten_daemon::backend::{Backend, Pull as Wanted};
use corten_registry::{Platform, Reference};

use super::{print, progress, remote};
use crate::cli::{Error, Result};
use crate::engine::Engine;
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

/// What all tags are of: a name alone.
pub(super) fn repository(text: &str) -> Result<Reference> {
    if !Reference::is_name_only(text) {
        return Err(Error::invalid(text, "names one image, and --all-tags means all"));
    }
    Ok(Reference::parse(text)?)
}

impl Pull {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let options = self.source.options()?;
        if self.all_tags {
            let repository = repository(&self.reference)?;
            for tag in tags(&repository, options.insecure, &options.asker)? {
                self.fetch(engine, &tag, &options)?;
            }
            return print(&format!("{}\n", repository.name()));
        }
        let reference = Reference::parse(&self.reference)?;
        self.fetch(engine, &reference, &options)?;
        print(&format!("{reference}\n"))
    }

    fn fetch(&self, engine: &Engine, reference: &Reference, options: &PullOptions) -> Result<()> {
        if self.quiet {
            return Ok(engine.pull(reference, options, &mut |_| {}).map(drop)?);
        }
        let mut shown = progress::Shown::new(progress::Stream::Output);
        let pulled = engine.pull(reference, options, &mut |event| shown.event(event))?;
        let status = if pulled.up_to_date {
            "Image is up to date for"
        } else {
            "Downloaded newer image for"
        };
        let name = reference.familiar();
        print(&format!("Digest: {}\nStatus: {status} {name}\n", pulled.digest))
    }

    /// The same for a daemon.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let (reference, tag, name) = match self.all_tags {
            true => {
                let repository = repository(&self.reference)?;
                let name = repository.name();
                (repository, String::new(), name)
            }
            false => {
                let one = Reference::parse(&self.reference)?;
                let (tag, name) = (one.selector(), one.to_string());
                (one, tag, name)
            }
        };
        let PullOptions { platform, insecure, .. } = self.source.options()?;
        if insecure {
            let why =
                "is for this machine's engine only: a daemon knows which registries it trusts";
            return Err(Error::invalid("--tls-verify=false", why));
        }
        let wanted = Wanted {
            image: reference.name(),
            tag,
            platform: platform.map(|platform| platform.to_string()).unwrap_or_default(),
            credentials: remote::credentials_for(&reference)?,
        };
        let mut messages = remote::Messages::new(progress::Stream::Output);
        engine.pull(&wanted, &mut |line| {
            if !self.quiet {
                messages.show(&line);
            }
        })?;
        messages.finish();
        print(&format!("{name}\n"))
    }
}

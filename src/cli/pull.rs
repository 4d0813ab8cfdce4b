//! `corten pull`.

use clap::{ArgAction, Args};
use corten_daemon::backend::{Backend, Pull as Wanted};
use corten_registry::{Platform, Reference};

use super::{print, progress, remote};
use crate::cli::{Error, Result};
use crate::engine::Engine;
use crate::engine::pull::PullOptions;

#[derive(Debug, Args)]
pub(super) struct Pull {
    /// Print nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
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

impl Pull {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let reference = Reference::parse(&self.reference)?;
        let options = self.source.options()?;
        if self.quiet {
            engine.pull(&reference, &options, &mut |_| {})?;
            return print(&format!("{reference}\n"));
        }
        let mut shown = progress::Shown::new(progress::Stream::Output);
        let pulled = engine.pull(&reference, &options, &mut |event| shown.event(event))?;
        let status = if pulled.up_to_date {
            "Image is up to date for"
        } else {
            "Downloaded newer image for"
        };
        let name = reference.familiar();
        print(&format!("Digest: {}\nStatus: {status} {name}\n{reference}\n", pulled.digest))
    }

    /// The same for a daemon.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let reference = Reference::parse(&self.reference)?;
        let PullOptions { platform, insecure, .. } = self.source.options()?;
        if insecure {
            let why =
                "is for this machine's engine only: a daemon knows which registries it trusts";
            return Err(Error::invalid("--tls-verify=false", why));
        }
        let wanted = Wanted {
            image: reference.name(),
            tag: reference.selector(),
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
        print(&format!("{reference}\n"))
    }
}

//! `corten pull`.

use clap::{ArgAction, Args};
use corten_registry::{Platform, Reference};

use super::{print, progress};
use crate::engine::pull::PullOptions;
use crate::engine::{Engine, Result};

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
}

//! `corten push`.

use clap::{ArgAction, Args};
use corten_daemon::backend::Backend;
use corten_registry::Reference;

use super::{print, progress, remote};
use crate::cli::{Error, Result};
use crate::engine::Engine;
use crate::engine::pull::Asker;

#[derive(Debug, Args)]
pub(super) struct Push {
    /// Print nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Whether the registry must show a certificate that is trusted; false also allows plain HTTP
    #[arg(long, value_name = "BOOL", default_value_t = true, action = ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: bool,
    /// The image, by the name that it shall have in its registry
    #[arg(value_name = "NAME[:TAG]")]
    reference: String,
}

impl Push {
    pub(super) fn execute(&self, engine: &Engine) -> Result<()> {
        let to = Reference::parse(&self.reference)?;
        let source = to.to_string();
        if self.quiet {
            engine.push(&source, &to, !self.tls_verify, &Asker::User, &mut |_| {})?;
            return print(&format!("{to}\n"));
        }
        let mut shown = progress::Shown::up(progress::Stream::Output);
        shown.line(&format!("The push refers to repository [{}]", to.name()));
        let pushed = engine
            .push(&source, &to, !self.tls_verify, &Asker::User, &mut |event| shown.event(event))?;
        let tag = to.tag().unwrap_or_default();
        print(&format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.size))
    }

    /// The same for a daemon.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let to = Reference::parse(&self.reference)?;
        if !self.tls_verify {
            let why =
                "is for this machine's engine only: a daemon knows which registries it trusts";
            return Err(Error::invalid("--tls-verify=false", why));
        }
        let credentials = remote::credentials_for(&to)?;
        let mut messages = remote::Messages::new(progress::Stream::Output);
        let tag = to.tag().unwrap_or_default();
        engine.push(&to.name(), tag, &credentials, &mut |line| {
            if !self.quiet {
                messages.show(&line);
            }
        })?;
        messages.finish();
        if self.quiet { print(&format!("{to}\n")) } else { Ok(()) }
    }
}

//! `corten push`.

use clap::{ArgAction, Args};
use corten_daemon::backend::Backend;
use corten_registry::Reference;

use super::pull::{full, named};
use super::{print, progress, remote};
use crate::cli::{Error, Result};
use crate::engine::Engine;
use crate::engine::pull::Asker;

#[derive(Debug, Args)]
pub(super) struct Push {
    /// Print nothing but the image's name
    #[arg(short, long)]
    quiet: bool,
    /// Send all tags of the repository
    #[arg(short, long)]
    all_tags: bool,
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
        let to = self.named()?;
        let all = match self.all_tags {
            true => engine.tags_of(&to)?,
            false => vec![to.clone()],
        };
        if all.is_empty() {
            return Err(Error::invalid(to.familiar_name(), "is the name of no image here"));
        }
        if !self.quiet {
            print(&format!("The push refers to repository [{}]\n", to.name()))?;
        }
        for one in &all {
            let mut shown = progress::Shown::up(progress::Stream::Output);
            let pushed = engine.push(
                &one.to_string(),
                one,
                !self.tls_verify,
                &Asker::User,
                &mut |event| {
                    if !self.quiet {
                        shown.event(event);
                    }
                },
            )?;
            // What is on a terminal stands above this.
            drop(shown);
            if !self.quiet {
                let tag = one.tag().unwrap_or_default();
                print(&format!("{tag}: digest: {} size: {}\n", pushed.digest, pushed.size))?;
            }
        }
        self.end(&to)
    }

    /// The same for a daemon.
    pub(super) fn remote(&self, engine: &dyn Backend) -> Result<()> {
        let to = self.named()?;
        if !self.tls_verify {
            let why =
                "is for this machine's engine only: a daemon knows which registries it trusts";
            return Err(Error::invalid("--tls-verify=false", why));
        }
        let credentials = remote::credentials_for(&to)?;
        let mut messages = remote::Messages::new(progress::Stream::Output);
        // Without a tag all of them are meant.
        let tag = to.tag().filter(|_| !self.all_tags).unwrap_or_default();
        engine.push(&to.name(), tag, &credentials, &mut |line| {
            if !self.quiet {
                messages.show(&line);
            }
        })?;
        drop(messages);
        self.end(&to)
    }

    /// The image, or the repository whose tags are all meant.
    fn named(&self) -> Result<Reference> {
        let to = named(&self.reference, self.all_tags)?;
        match to.digest() {
            Some(_) => {
                let why = "has a digest, which the registry gives: push it by a tag";
                Err(Error::invalid(&self.reference, why))
            }
            None => Ok(to),
        }
    }

    /// What a quiet push prints.
    fn end(&self, to: &Reference) -> Result<()> {
        match self.quiet {
            true => print(&format!("{}\n", full(to, self.all_tags))),
            false => Ok(()),
        }
    }
}

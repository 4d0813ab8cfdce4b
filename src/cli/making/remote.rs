//! Containers that are made by a daemon elsewhere.

use std::io::Write as _;

use corten_daemon::Failure;
use corten_daemon::backend::{Backend, Create, Created, Pull};
use corten_registry::Reference;
use serde_json::{Value, json};

use super::{IdFile, Making};
use crate::cli::progress::Stream;
use crate::cli::remote::{Messages, credentials_for};
use crate::cli::{Error, Result};
use crate::engine::container::{PullPolicy, Request};

impl Making {
    /// Makes the container only.
    pub(in crate::cli) fn remote_create(&self, engine: &dyn Backend) -> Result<()> {
        let id = self.remote_make(engine, true)?;
        crate::cli::print(&format!("{id}\n"))
    }

    /// Makes the container, and fetches the image first where that is needed; gives its id.
    pub(in crate::cli) fn remote_make(
        &self,
        engine: &dyn Backend,
        attached: bool,
    ) -> Result<String> {
        let request = self.request(attached)?;
        self.only_verified()?;
        let mut note = self.cidfile.as_deref().map(IdFile::new).transpose()?;
        if request.policy == PullPolicy::Always {
            self.remote_pull(engine)?;
        }
        let wanted = Create {
            name: request.name.clone().unwrap_or_default(),
            platform: self.source.platform().unwrap_or_default().to_owned(),
            body: body(&request),
            version: None,
        };
        let made = match engine.create(&wanted) {
            Err(failure) if request.policy == PullPolicy::Missing && is_missing(&failure) => {
                let told = format!("Unable to find image \'{}\' locally", self.image);
                if !self.quiet {
                    let _ = writeln!(std::io::stderr(), "{told}");
                }
                self.remote_pull(engine)?;
                engine.create(&wanted)
            }
            made => made,
        };
        let Created { id, warnings } = match made {
            Err(failure) if failure.message.starts_with(ONE_NETWORK) => {
                self.remote_connected(engine, &request, wanted)?
            }
            made => made?,
        };
        for warning in warnings {
            let _ = writeln!(std::io::stderr(), "WARNING: {warning}");
        }
        if let Some(note) = &mut note {
            note.write(&id);
        }
        Ok(id)
    }

    /// Before version 1.44 a container is made on one network, and connected to the others.
    fn remote_connected(
        &self,
        engine: &dyn Backend,
        request: &Request,
        mut wanted: Create,
    ) -> Result<Created> {
        let mut others = request.networks.clone();
        let mode = request.host_config.network_mode.as_str();
        let first = others.remove(mode).map(|own| json!({mode: own})).unwrap_or_default();
        wanted.body["NetworkingConfig"] = json!({"EndpointsConfig": first});
        let made = engine.create(&wanted)?;
        for (name, own) in &others {
            let connected =
                engine.connect(name, &json!({"Container": made.id, "EndpointConfig": own}));
            if let Err(failure) = connected {
                // What is not as it was asked for is nothing; why it is not says more.
                let _ = engine.remove(&made.id, true, true, false);
                return Err(failure.into());
            }
        }
        Ok(made)
    }

    fn remote_pull(&self, engine: &dyn Backend) -> Result<()> {
        let reference = Reference::parse(&self.image)?;
        let wanted = Pull {
            image: reference.name(),
            tag: reference.selector(),
            platform: self.source.platform().unwrap_or_default().to_owned(),
            credentials: credentials_for(&reference)?,
        };
        let mut messages = Messages::new(Stream::Error);
        engine.pull(&wanted, &mut |line| {
            if !self.quiet {
                messages.show(&line);
            }
        })?;
        Ok(())
    }

    /// Which registries are trusted is said where the daemon is.
    fn only_verified(&self) -> Result<()> {
        match self.source.is_verified() {
            true => Ok(()),
            false => {
                Err(Error::invalid("--tls-verify=false", "is for this machine\'s engine only"))
            }
        }
    }
}

/// What an older daemon says to several networks.
const ONE_NETWORK: &str = "Container cannot be connected to network endpoints";

fn is_missing(failure: &Failure) -> bool {
    failure.status == 404 && failure.message.to_ascii_lowercase().contains("no such image")
}

/// The request as clients write it: both halves of the configuration and the networks.
fn body(request: &Request) -> Value {
    let mut body = json!(request.config);
    body["Image"] = json!(request.image);
    body["HostConfig"] = json!(request.host_config);
    body["NetworkingConfig"] = json!({"EndpointsConfig": request.networks});
    body
}

//! `explain`: the protocol, request by request.

use std::sync::Arc;

use clap::Args;
use corten_registry::client::Exchange;
use corten_registry::{Client, Reference, Result};

use super::Registry;
use super::remote::look_up;

#[derive(Args)]
pub(super) struct Explain {
    name: Reference,
}

impl Explain {
    pub(super) fn execute(self, registry: &Registry) -> Result<()> {
        let print = |exchange: &Exchange<'_>| {
            let status =
                exchange.status.map_or("no answer".to_owned(), |status| status.to_string());
            let with = exchange.authorization.map_or(String::new(), |kind| format!(" with {kind}"));
            println!("{} {}{with}\n    {status}: {}", exchange.method, exchange.url, exchange.why);
        };
        let client = Client::with_trace(registry.options()?, Arc::new(print));
        let (manifest, _) = look_up(&client, &self.name, &registry.platform())?;
        println!("what a pull would go on with:");
        for layer in &manifest.layers {
            let path = format!("/v2/{}/blobs/{}", self.name.path(), layer.digest);
            println!("GET {path}\n    a layer of {} bytes, unless it is in the store", layer.size);
        }
        Ok(())
    }
}

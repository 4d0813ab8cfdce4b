//! `corten version`.

use clap::Args;
use corten_daemon::backend::System as _;
use corten_daemon::client::Remote;
use serde_json::{Value, json};

use super::format::Shown;
use crate::cli::Result;

#[derive(Debug, Args)]
pub(super) struct Version {
    #[command(flatten)]
    shown: Shown,
}

impl Version {
    pub(super) fn execute(&self) -> Result<()> {
        let version = env!("CARGO_PKG_VERSION");
        let api = corten_daemon::version::NEWEST.to_string();
        // The program is both sides.
        let side = json!({
            "Version": version,
            "ApiVersion": api,
            "Os": std::env::consts::OS,
            "Arch": corten_registry::Platform::host().architecture,
        });
        let both = json!({"Client": side, "Server": side});
        self.shown.print_one(&both, || format!("corten {version}, Docker Engine API {api}\n"))
    }

    /// Of both sides, where the server is elsewhere.
    pub(super) fn remote(&self, engine: &Remote) -> Result<()> {
        let client = json!({
            "Version": env!("CARGO_PKG_VERSION"),
            "ApiVersion": engine.api_version().to_string(),
            "DefaultAPIVersion": corten_daemon::version::NEWEST.to_string(),
            "Os": std::env::consts::OS,
            "Arch": corten_registry::Platform::host().architecture,
        });
        let server = engine.version();
        let both = json!({"Client": client, "Server": server});
        self.shown.print_one(&both, || {
            let text = |side: &Value, name: &str| side[name].as_str().unwrap_or("?").to_owned();
            let name = server["Platform"]["Name"].as_str().filter(|name| !name.is_empty());
            format!(
                "Client: Corten\n Version: {}\n API version: {}\n OS/Arch: {}/{}\n\n\
                 Server: {}\n Version: {}\n API version: {} (minimum version {})\n OS/Arch: {}/{}\n",
                text(&client, "Version"),
                text(&client, "ApiVersion"),
                text(&client, "Os"),
                text(&client, "Arch"),
                name.or(server["Components"][0]["Name"].as_str()).unwrap_or("?"),
                text(&server, "Version"),
                text(&server, "ApiVersion"),
                text(&server, "MinAPIVersion"),
                text(&server, "Os"),
                text(&server, "Arch"),
            )
        })
    }
}
